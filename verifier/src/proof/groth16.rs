//! Groth16 with a challenge over BN254: verification.
//!
//! The two-delta form of Groth16 (ePrint 2016/260) that Mirage (ePrint 2020/278) introduced. A proof is
//! `(A, B, C1, C2)`; `C1` commits to the wires that are fixed before the challenge
//!
//! ```text
//! rho = H(tag, digest of the key, job, inputs, outputs, C1)
//! e(A, B) = e(alpha, beta) * e(IC_0 + sum x_i IC_i + rho IC_rho, gamma) * e(C1, delta1) * e(C2, delta2)
//! ```
//!
//! `rho` absorbs the whole statement, so a value that no constraint reads (the job, a pixel with zero weights) binds
//! as well: with another one the equation has another `rho`.
//!
//! A batch of `n` proofs of one key, with 128-bit coefficients `c_j` drawn from a hash of the whole batch:
//!
//! ```text
//! prod e(c_j A_j, B_j) = e(alpha, beta)^(sum c_j) * e(sum c_j X_j, gamma) * e(sum c_j C1_j, delta1)
//!                        * e(sum c_j C2_j, delta2)
//! ```
//!
//! which takes `n + 3` Miller loops and one final exponentiation.

mod encoding;
mod key;

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::pairing::{MillerLoopOutput, Pairing, PairingOutput};
use ark_ec::{CurveGroup, PrimeGroup, VariableBaseMSM};
use ark_ff::{Field, PrimeField};
use rayon::prelude::*;

pub use encoding::PointError;
pub use key::{KeyOrigin, KeyParts, VerifyingKey};

use super::{BatchError, PortValue, ProofError, Statement, absorb, absorb_statement};

/// Bytes of a proof: `A`, `C1`, `C2` in G1 and `B` in G2, compressed.
pub const PROOF_BYTES: usize = 160;

/// A decoded proof: every point on its curve, in its subgroup, not the identity.
#[derive(Clone, Copy, Debug)]
struct Proof {
    a: G1Affine,
    b: G2Affine,
    c1: G1Affine,
    c2: G1Affine,
}

impl Proof {
    fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let wrong = || ProofError::Length { expected: PROOF_BYTES, got: bytes.len() };
        let bytes: &[u8; PROOF_BYTES] = bytes.try_into().map_err(|_| wrong())?;
        let (a, rest) = bytes.split_first_chunk::<32>().ok_or_else(wrong)?;
        let (b, rest) = rest.split_first_chunk::<64>().ok_or_else(wrong)?;
        let (c1, rest) = rest.split_first_chunk::<32>().ok_or_else(wrong)?;
        let (c2, _) = rest.split_first_chunk::<32>().ok_or_else(wrong)?;
        let g1 = |name, bytes| encoding::g1(bytes).map_err(|source| ProofError::Point { name, source });
        Ok(Self {
            a: g1("A", a)?,
            b: encoding::g2(b).map_err(|source| ProofError::Point { name: "B", source })?,
            c1: g1("C1", c1)?,
            c2: g1("C2", c2)?,
        })
    }
}

/// Canonical bytes of a proof.
pub fn encode_proof(a: &G1Affine, b: &G2Affine, c1: &G1Affine, c2: &G1Affine) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PROOF_BYTES);
    bytes.extend(encoding::g1_bytes(a));
    bytes.extend(encoding::g2_bytes(b));
    bytes.extend(encoding::g1_bytes(c1));
    bytes.extend(encoding::g1_bytes(c2));
    bytes
}

/// The challenge of a statement and a commitment under a key.
pub fn challenge(key_digest: &[u8; 32], statement: &Statement, c1: &G1Affine) -> Fr {
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 groth16 challenge");
    hash.update(key_digest);
    absorb_statement(&mut hash, statement);
    hash.update(&encoding::g1_bytes(c1));
    let mut wide = [0; 64];
    hash.finalize_xof().fill(&mut wide);
    Fr::from_le_bytes_mod_order(&wide)
}

/// Checks one proof of a statement that fits the model.
pub(super) fn verify(key: &VerifyingKey, statement: &Statement, proof: &[u8]) -> Result<(), ProofError> {
    let proof = Proof::decode(proof)?;
    let rho = challenge(&key.digest(), statement, &proof.c1);
    let public = key.public_point(values(statement), rho);
    let left = Bn254::multi_miller_loop(
        [proof.a, (-public).into(), -proof.c1, -proof.c2],
        [proof.b.into(), key.gamma(), key.delta1(), key.delta2()],
    );
    if Bn254::final_exponentiation(left) == Some(key.alpha_beta()) {
        Ok(())
    } else {
        Err(ProofError::Invalid)
    }
}

/// Checks many proofs of statements that fit the model. If the batch fails, each is checked alone and the first culprit named.
pub(super) fn verify_batch(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Result<(), BatchError> {
    if items.len() < 2 {
        return one_by_one(key, items);
    }
    let decoded: Vec<_> = items
        .par_iter()
        .enumerate()
        .map(|(index, (statement, bytes))| {
            let fail = |source| BatchError { index, source };
            let proof = Proof::decode(bytes).map_err(fail)?;
            Ok((proof, challenge(&key.digest(), statement, &proof.c1)))
        })
        .collect::<Vec<Result<_, BatchError>>>()
        .into_iter()
        .collect::<Result<_, _>>()?;
    if holds(key, items, &decoded) { Ok(()) } else { one_by_one(key, items) }
}

fn one_by_one(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Result<(), BatchError> {
    let check = |(index, (statement, proof)): (usize, &(Statement, Vec<u8>))| {
        verify(key, statement, proof).err().map(|source| BatchError { index, source })
    };
    items.par_iter().enumerate().find_map_first(check).map_or(Ok(()), Err)
}

fn holds(key: &VerifyingKey, items: &[(Statement, Vec<u8>)], decoded: &[(Proof, Fr)]) -> bool {
    let coefficients = coefficients(key, items);
    let scaled: Vec<G1Affine> = {
        let points: Vec<G1Projective> = decoded
            .par_iter()
            .zip(&coefficients)
            .map(|((proof, _), c)| proof.a.into_group_scaled(*c))
            .collect();
        G1Projective::normalize_batch(&points)
    };
    let scalars: Vec<Fr> = coefficients.iter().map(|&c| Fr::from(c)).collect();
    let sum = |pick: fn(&Proof) -> G1Affine| {
        let points: Vec<G1Affine> = decoded.iter().map(|(proof, _)| pick(proof)).collect();
        G1Projective::msm_unchecked(&points, &scalars)
    };
    let (c1, c2) = rayon::join(|| sum(|p| p.c1), || sum(|p| p.c2));
    let weighted = decoded.iter().zip(items).zip(&coefficients);
    let public =
        key.public_point_batch(weighted.map(|(((_, rho), (statement, _)), &c)| (values(statement), *rho, c)));

    let total: Fr = scalars.iter().sum();
    let loops = scaled
        .par_iter()
        .zip(decoded)
        .fold_chunks(16, Vec::new, |mut chunk, (&a, (proof, _))| {
            chunk.push((a, proof.b));
            chunk
        })
        .map(|chunk| {
            let (a, b): (Vec<_>, Vec<_>) = chunk.into_iter().unzip();
            Bn254::multi_miller_loop(a, b).0
        })
        .reduce(|| <Bn254 as Pairing>::TargetField::ONE, |x, y| x * y);
    let fixed = Bn254::multi_miller_loop(
        [-public, -c1, -c2].map(|point| point.into_affine()),
        [key.gamma(), key.delta1(), key.delta2()],
    );
    let product = MillerLoopOutput(loops * fixed.0);
    let expected: PairingOutput<Bn254> = key.alpha_beta() * total;
    Bn254::final_exponentiation(product) == Some(expected)
}

/// 128-bit coefficients that depend on every statement and every proof of the batch.
fn coefficients(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Vec<u128> {
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 groth16 batch");
    hash.update(&key.digest());
    for (statement, proof) in items {
        absorb_statement(&mut hash, statement);
        absorb(&mut hash, proof);
    }
    let mut stream = hash.finalize_xof();
    let draw = |_| {
        let mut bytes = [0; 16];
        stream.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    };
    items.iter().map(draw).collect()
}

/// A public input of the constraint system.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// At most `ACTIVATION_BITS` wide.
    Integer(i32),
    Element(Fr),
}

fn values(statement: &Statement) -> impl Iterator<Item = Value> {
    let ports = statement.inputs.iter().chain(&statement.outputs);
    ports.flat_map(|port| {
        let (integers, commitment) = match port {
            PortValue::Public(values) => (values.as_slice(), None),
            // Statements were checked: every commitment is a field element.
            PortValue::Committed(commitment) => (&[][..], commitment.element()),
        };
        integers.iter().map(|&value| Value::Integer(value)).chain(commitment.map(Value::Element))
    })
}

trait Scaled {
    fn into_group_scaled(self, by: u128) -> G1Projective;
}

impl Scaled for G1Affine {
    fn into_group_scaled(self, by: u128) -> G1Projective {
        let (low, high) = (by as u64, (by >> 64) as u64);
        G1Projective::from(self).mul_bigint([low, high])
    }
}
