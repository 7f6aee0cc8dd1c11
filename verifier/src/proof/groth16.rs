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
//! A batch of `n` proofs of one key, with coefficients `c_j` of 128 bits drawn from a hash of the whole batch:
//!
//! ```text
//! prod e(c_j A_j, B_j) = e(alpha, beta)^(sum c_j) * e(sum c_j X_j, gamma) * e(sum c_j C1_j, delta1)
//!                        * e(sum c_j C2_j, delta2)
//! ```
//!
//! which takes `n + 3` Miller loops and one final exponentiation. Whether each `B_j` is in its subgroup is seen in its own
//! Miller loop (`pairing`).

mod encoding;
mod key;
mod pairing;

use ark_bn254::{Bn254, Fr, G1Affine, G2Affine};
use ark_ec::CurveGroup;
use ark_ec::pairing::{MillerLoopOutput, Pairing, PairingOutput};
use ark_ff::{Field, PrimeField};
use rayon::prelude::*;

pub use encoding::PointError;
pub use key::{KeyOrigin, KeyParts, VerifyingKey};

use super::{BatchError, PortValue, ProofError, Statement, absorb, absorb_statement};
use pairing::{Coefficient, miller_loops, scaled, weighted_sum};

/// Pairs whose Miller loops share their squarings; beyond them other threads may take part.
const LOOPS: usize = 32;

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
        Self::decode_with(bytes, encoding::g2)
    }

    /// The same, but that `B` may lie outside its subgroup.
    fn decode_on_curve(bytes: &[u8]) -> Result<Self, ProofError> {
        Self::decode_with(bytes, encoding::g2_on_curve)
    }

    fn decode_with(
        bytes: &[u8],
        g2: fn(&[u8; 64]) -> Result<G2Affine, PointError>,
    ) -> Result<Self, ProofError> {
        let wrong = || ProofError::Length { expected: PROOF_BYTES, got: bytes.len() };
        let bytes: &[u8; PROOF_BYTES] = bytes.try_into().map_err(|_| wrong())?;
        let (a, rest) = bytes.split_first_chunk::<32>().ok_or_else(wrong)?;
        let (b, rest) = rest.split_first_chunk::<64>().ok_or_else(wrong)?;
        let (c1, rest) = rest.split_first_chunk::<32>().ok_or_else(wrong)?;
        let (c2, _) = rest.split_first_chunk::<32>().ok_or_else(wrong)?;
        let g1 = |name, bytes| encoding::g1(bytes).map_err(|source| ProofError::Point { name, source });
        Ok(Self {
            a: g1("A", a)?,
            b: g2(b).map_err(|source| ProofError::Point { name: "B", source })?,
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
    if items.len() > 1 && holds(key, items) {
        return Ok(());
    }
    let check = |(index, (statement, proof)): (usize, &(Statement, Vec<u8>))| {
        verify(key, statement, proof).err().map(|source| BatchError { index, source })
    };
    items.par_iter().enumerate().find_map_first(check).map_or(Ok(()), Err)
}

/// Whether every proof holds.
pub(super) fn holds(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> bool {
    let decode = |(statement, bytes): &(Statement, Vec<u8>)| {
        let proof = Proof::decode_on_curve(bytes).ok()?;
        Some((proof, challenge(&key.digest(), statement, &proof.c1)))
    };
    let Some(decoded) = items.par_iter().map(decode).collect::<Option<Vec<(Proof, Fr)>>>() else {
        return false;
    };
    let coefficients = coefficients(key, items);
    let points = |pick: fn(&Proof) -> G1Affine| -> Vec<G1Affine> {
        decoded.iter().map(|(proof, _)| pick(proof)).collect()
    };
    let (c1, c2) =
        (weighted_sum(&points(|p| p.c1), &coefficients), weighted_sum(&points(|p| p.c2), &coefficients));
    let weighted = decoded.iter().zip(items).zip(&coefficients);
    let public =
        key.public_point_batch(weighted.map(|(((_, rho), (statement, _)), &c)| (values(statement), *rho, c)));
    let total: Fr = coefficients.iter().map(|c| c.scalar()).sum();
    let loops =
        decoded.par_chunks(LOOPS).zip(coefficients.par_chunks(LOOPS)).map(|(decoded, coefficients)| {
            let a: Vec<G1Affine> = decoded.iter().map(|(proof, _)| proof.a).collect();
            let pairs = scaled(&a, coefficients).into_iter().zip(decoded.iter().map(|(proof, _)| proof.b));
            miller_loops(&pairs.collect::<Vec<_>>())
        });
    let multiply = |x: Option<_>, y: Option<_>| Some(x? * y?);
    let Some(loops) = loops.reduce(|| Some(<Bn254 as Pairing>::TargetField::ONE), multiply) else {
        return false;
    };
    let fixed = Bn254::multi_miller_loop(
        [-public, -c1, -c2].map(|point| point.into_affine()),
        [key.gamma(), key.delta1(), key.delta2()],
    );
    let expected: PairingOutput<Bn254> = key.alpha_beta() * total;
    Bn254::final_exponentiation(MillerLoopOutput(loops * fixed.0)) == Some(expected)
}

/// Coefficients of 128 bits that depend on every statement and every proof of the batch.
fn coefficients(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Vec<Coefficient> {
    let mut hash = blake3::Hasher::new_derive_key("assay.v1 groth16 batch");
    hash.update(&key.digest());
    for (statement, proof) in items {
        absorb_statement(&mut hash, statement);
        absorb(&mut hash, proof);
    }
    let mut stream = hash.finalize_xof();
    let mut draw = || {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    items.iter().map(|_| Coefficient { low: draw(), high: draw() }).collect()
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
