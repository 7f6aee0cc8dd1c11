//! Hiding commitments to the values of a port, for statements that do not show them.
//!
//! ```text
//! w_i = sum_j (x_(in+j) - lo) 2^(bj)        n = floor(253 / b) values a word, b the bits of the type
//! commitment = Poseidon(salt, w_0, w_1, ..)
//! ```
//!
//! Poseidon (ePrint 2019/458) over BN254's scalar field: width 9 (rate 8), exponent 5, 8 full and 63 partial rounds,
//! constants and matrix from the authors' Grain generator, in the sponge of `ark-crypto-primitives`. The salt is a
//! uniform field element, so the commitment says nothing of the values to whoever does not know it; the numbers of
//! values and words are fixed by the model, so no two messages are padded to one.

use std::sync::LazyLock;

use ark_bn254::Fr;
use ark_crypto_primitives::sponge::poseidon::{PoseidonConfig, PoseidonSponge, find_poseidon_ark_and_mds};
use ark_crypto_primitives::sponge::{CryptographicSponge, FieldBasedCryptographicSponge};
use ark_ff::{BigInteger, PrimeField};

use crate::ir::QuantParams;

/// Elements absorbed a permutation.
pub const RATE: usize = 8;
/// Rounds with an S-box on every element.
pub const FULL_ROUNDS: usize = 8;
/// Rounds with an S-box on the first element.
pub const PARTIAL_ROUNDS: usize = 63;
/// Bits of a word: one less than every field element has.
const WORD_BITS: u32 = 253;

/// What a statement says of a committed port.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);

/// What hides the values of one port in one proof. Whoever knows it can open the commitment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl std::fmt::Debug for Commitment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(hidden)")
    }
}

impl Commitment {
    /// The field element; `None` if the bytes are no canonical one.
    pub fn element(&self) -> Option<Fr> {
        let element = Fr::from_le_bytes_mod_order(&self.0);
        (bytes(element) == self.0).then_some(element)
    }
}

impl Salt {
    /// The salt of 64 uniform bytes.
    pub fn from_uniform(uniform: &[u8; 64]) -> Self {
        Self(bytes(Fr::from_le_bytes_mod_order(uniform)))
    }

    /// The field element, of any 32 bytes.
    pub fn element(&self) -> Fr {
        Fr::from_le_bytes_mod_order(&self.0)
    }
}

/// Commits to the values of a port.
pub fn commit(quant: &QuantParams, values: &[i32], salt: &Salt) -> Commitment {
    let mut sponge = PoseidonSponge::new(parameters());
    sponge.absorb(&salt.element());
    for word in values.chunks(values_a_word(quant)) {
        let factor = Fr::from(1u64 << value_bits(quant));
        let offset = |value: i32| Fr::from(i64::from(value) - i64::from(quant.lo));
        let word = word.iter().rev().fold(Fr::from(0u64), |sum, &value| sum * factor + offset(value));
        sponge.absorb(&word);
    }
    Commitment(bytes(sponge.squeeze_native_field_elements(1)[0]))
}

/// Bits of a value of a type.
pub fn value_bits(quant: &QuantParams) -> u32 {
    (i64::from(quant.hi) - i64::from(quant.lo)).ilog2() + 1
}

/// Values that one word holds.
pub fn values_a_word(quant: &QuantParams) -> usize {
    (WORD_BITS / value_bits(quant)) as usize
}

/// Words that a port's values take.
pub fn words(quant: &QuantParams, values: usize) -> usize {
    values.div_ceil(values_a_word(quant))
}

/// Constants of the permutation.
pub fn parameters() -> &'static PoseidonConfig<Fr> {
    static PARAMETERS: LazyLock<PoseidonConfig<Fr>> = LazyLock::new(|| {
        let (full, partial) = (FULL_ROUNDS as u64, PARTIAL_ROUNDS as u64);
        let (ark, mds) = find_poseidon_ark_and_mds::<Fr>(Fr::MODULUS_BIT_SIZE.into(), RATE, full, partial, 0);
        PoseidonConfig::new(FULL_ROUNDS, PARTIAL_ROUNDS, 5, mds, ark, RATE, 1)
    });
    &PARAMETERS
}

fn bytes(element: Fr) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&element.into_bigint().to_bytes_le());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTE: QuantParams = QuantParams { scale: 1.0, lo: -128, hi: 127 };

    #[test]
    fn every_value_and_the_salt_change_the_commitment() {
        let values: Vec<i32> = (0..70).map(|i| i * 3 - 100).collect();
        let salt = Salt::from_uniform(&[7; 64]);
        let honest = commit(&BYTE, &values, &salt);
        assert_eq!(honest, commit(&BYTE, &values, &salt));
        for at in 0..values.len() {
            let mut other = values.clone();
            other[at] += 1;
            assert_ne!(honest, commit(&BYTE, &other, &salt), "{at}");
        }
        assert_ne!(honest, commit(&BYTE, &values, &Salt::from_uniform(&[8; 64])));
    }

    #[test]
    fn bytes_above_the_modulus_are_no_commitment() {
        assert!(Commitment([255; 32]).element().is_none());
        let modulus = Commitment(Fr::MODULUS.to_bytes_le().try_into().expect("32 bytes"));
        assert!(modulus.element().is_none());
        assert!(Commitment([0; 32]).element().is_some());
    }

    #[test]
    fn words_hold_as_many_values_as_fit() {
        assert_eq!((value_bits(&BYTE), values_a_word(&BYTE), words(&BYTE, 63)), (8, 31, 3));
        let wide = QuantParams { scale: 1.0, lo: -32768, hi: 32767 };
        assert_eq!((value_bits(&wide), values_a_word(&wide)), (16, 15));
    }
}
