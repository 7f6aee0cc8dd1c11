//! halo2 over Pasta: verification. The circuit is that of `assay_circuits::halo2`, the argument that of `halo2_proofs`:
//! PLONKish arithmetisation with inner product commitments, no setup.
//!
//! A proof begins with the commitments `A_1 .. A_n` to the columns of the first phase. The challenge is a hash of them
//! and of the whole statement, and the instance column follows from it, the model and the statement:
//!
//! ```text
//! r        = H(tag, digest of the key, job, inputs, outputs, A_1 .. A_n)
//! instance = r, g_i r^(T i), c r^(T (last - 1))                                see assay_circuits::halo2::public
//! ```
//!
//! Then the transcript absorbs the key, a commitment to the instance and all columns, the first ones again. So every
//! value of the first phase is fixed before `r`, and `r` before anything of the second phase: a challenge in the middle
//! of the proof that needs no hash inside the circuit. The job is in no constraint; with another one `r` is another.
//!
//! Of a batch each proof is reduced to a sum of points that must be 0, and the sums are added up with 128-bit
//! coefficients from a hash of the whole batch, so that one multi-scalar multiplication decides them all. Where it fails,
//! halving finds the first culprit.

mod key;
mod parameters;

use assay_circuits::halo2::halo2_proofs::plonk::{Error, VerificationStrategy, verify_proof};
use assay_circuits::halo2::halo2_proofs::poly::commitment::{Guard, MSM};
use assay_circuits::halo2::halo2_proofs::transcript::{Blake2bRead, Challenge255, EncodedChallenge};
use assay_circuits::halo2::public::{Integers, instance};
use assay_circuits::halo2::{EqAffine, Fp};
use ff::{FromUniformBytes, PrimeField};
use rayon::prelude::*;

pub use key::{MAGIC, VerifyingKey, key_bytes};
pub use parameters::Parameters;

use super::{BatchError, PortValue, ProofError, Statement, absorb, absorb_statement};

/// The challenge of a statement and of commitments to the first phase under a key.
pub fn challenge(key_digest: &[u8; 32], statement: &Statement, commitments: &[u8]) -> Fp {
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 halo2 challenge");
    hash.update(key_digest);
    absorb_statement(&mut hash, statement);
    absorb(&mut hash, commitments);
    let mut wide = [0; 64];
    hash.finalize_xof().fill(&mut wide);
    Fp::from_uniform_bytes(&wide)
}

/// The integers of every input and output. A circuit of halo2 commits to no port, so a statement that fits has all of them.
pub fn integers(statement: &Statement) -> Integers<'_> {
    fn side(ports: &[PortValue]) -> Vec<&[i32]> {
        ports.iter().map(|port| port.public().unwrap_or_default()).collect()
    }
    Integers { inputs: side(&statement.inputs), outputs: side(&statement.outputs) }
}

/// Checks one proof of a statement that fits the model.
pub(super) fn verify(key: &VerifyingKey, statement: &Statement, proof: &[u8]) -> Result<(), ProofError> {
    let parameters = key.prepared()?;
    let sum = reduce(key, parameters, statement, proof)?;
    if sum.eval() { Ok(()) } else { Err(ProofError::Invalid) }
}

/// Checks many proofs of statements that fit the model.
pub(super) fn verify_batch(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Result<(), BatchError> {
    let prepared = key.prepared().map_err(|source| BatchError { index: 0, source })?;
    let reduced: Vec<_> =
        items.par_iter().map(|(statement, proof)| reduce(key, prepared, statement, proof)).collect();
    let mut sums = Vec::with_capacity(reduced.len());
    let mut malformed = None;
    for (index, (reduced, coefficient)) in reduced.into_iter().zip(coefficients(key, items)).enumerate() {
        match reduced {
            Ok(mut sum) => {
                sum.scale(Fp::from_u128(coefficient));
                sums.push(sum);
            }
            Err(source) => {
                malformed = Some(BatchError { index, source });
                break;
            }
        }
    }
    match first_culprit(&sums, prepared) {
        Some(index) => Err(BatchError { index, source: ProofError::Invalid }),
        None => malformed.map_or(Ok(()), Err),
    }
}

type Sum<'a> = MSM<'a, EqAffine>;

/// The index of the first sum that is not 0. Sums are scaled by coefficients that whoever made them cannot foresee, so a
/// total of 0 says that each is 0.
fn first_culprit(sums: &[Sum<'_>], prepared: &key::Prepared) -> Option<usize> {
    let holds = |sums: &[Sum<'_>]| {
        let mut total = prepared.parameters().empty_msm();
        sums.iter().for_each(|sum| total.add_msm(sum));
        total.eval()
    };
    if sums.is_empty() || holds(sums) {
        return None;
    }
    let (mut first, mut suspects) = (0, sums);
    while suspects.len() > 1 {
        let (left, right) = suspects.split_at(suspects.len() / 2);
        if holds(left) {
            first += left.len();
            suspects = right;
        } else {
            suspects = left;
        }
    }
    Some(first)
}

/// Everything about a proof but its last multi-scalar multiplication.
fn reduce<'a>(
    key: &VerifyingKey,
    prepared: &'a key::Prepared,
    statement: &Statement,
    proof: &[u8],
) -> Result<Sum<'a>, ProofError> {
    let expected = key.proof_bytes();
    let wrong = || ProofError::Length { expected, got: proof.len() };
    let commitments = proof.get(..key.commitment_bytes()).ok_or_else(wrong)?;
    if proof.len() != expected {
        return Err(wrong());
    }
    let r = challenge(&key.digest(), statement, commitments);
    let public = instance(key.graph(), key.layout(), &integers(statement), r);
    let public = public.map_err(ProofError::Statement)?;
    let mut rest = proof;
    let mut transcript = Blake2bRead::<_, EqAffine, Challenge255<_>>::init(&mut rest);
    let strategy = Unevaluated(prepared.parameters().empty_msm());
    let verified =
        verify_proof(prepared.parameters(), prepared.key(), strategy, &[&[&public]], &mut transcript);
    let sum = verified.map_err(|error| match error {
        Error::Transcript(source) => ProofError::Encoding(source),
        _ => ProofError::Invalid,
    })?;
    if rest.is_empty() { Ok(sum) } else { Err(ProofError::Invalid) }
}

/// Leaves the last multi-scalar multiplication to whoever asks.
struct Unevaluated<'a>(Sum<'a>);

impl<'a> VerificationStrategy<'a, EqAffine> for Unevaluated<'a> {
    type Output = Sum<'a>;

    fn process<E: EncodedChallenge<EqAffine>>(
        self,
        check: impl FnOnce(Sum<'a>) -> Result<Guard<'a, EqAffine, E>, Error>,
    ) -> Result<Sum<'a>, Error> {
        Ok(check(self.0)?.use_challenges())
    }
}

/// 128-bit coefficients that depend on every statement and every proof of the batch.
fn coefficients(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Vec<u128> {
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 halo2 batch");
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
