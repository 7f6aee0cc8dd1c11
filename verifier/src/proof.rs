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
use assay_circuits::commitment::Commitment;
use assay_circuits::error::ModelError;
use rayon::prelude::*;

pub use encoding::PointError;
pub use key::{KeyOrigin, KeyParts, VerifyingKey, limits};

/// Bytes of a proof: `A`, `C1`, `C2` in G1 and `B` in G2, compressed.
pub const PROOF_BYTES: usize = 160;

/// What a statement says of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortValue {
    /// Its integers.
    Public(Vec<i32>),
    /// A hiding commitment to them.
    Committed(Commitment),
}

impl From<Vec<i32>> for PortValue {
    fn from(values: Vec<i32>) -> Self {
        Self::Public(values)
    }
}

impl PortValue {
    /// The integers, unless they are committed to.
    pub fn public(&self) -> Option<&[i32]> {
        match self {
            Self::Public(values) => Some(values),
            Self::Committed(_) => None,
        }
    }
}

/// What a proof is about: these inputs give these outputs under the key's model, for this job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Digest that names the client, its nonce and the miner.
    pub job: [u8; 32],
    /// Every input port.
    pub inputs: Vec<PortValue>,
    /// Every output port.
    pub outputs: Vec<PortValue>,
}

impl Statement {
    /// A statement that shows every value.
    pub fn public(job: [u8; 32], inputs: Vec<Vec<i32>>, outputs: Vec<Vec<i32>>) -> Self {
        let ports = |tensors: Vec<Vec<i32>>| tensors.into_iter().map(PortValue::from).collect();
        Self { job, inputs: ports(inputs), outputs: ports(outputs) }
    }
}

/// Why a key or a proof is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The key's bytes are not a verifying key of this version.
    #[error("not a verifying key of this version: {0}")]
    KeyFormat(String),
    /// A point of the key is not acceptable.
    #[error("verifying key: point {name}: {source}")]
    KeyPoint {
        /// Which point.
        name: &'static str,
        /// What is wrong with it.
        source: PointError,
    },
    /// Two elements of the key coincide, or one is a generator: its setup was not honest.
    #[error("verifying key: {0}")]
    KeyDegenerate(&'static str),
    /// The number of bytes is wrong.
    #[error("a proof has {PROOF_BYTES} bytes, got {0}")]
    Length(usize),
    /// A point of the proof is not acceptable.
    #[error("proof: point {name}: {source}")]
    Point {
        /// Which point.
        name: &'static str,
        /// What is wrong with it.
        source: PointError,
    },
    /// The number of tensors differs from the model's.
    #[error("statement: expected {expected} {side}, got {got}")]
    Ports {
        /// "inputs" or "outputs".
        side: &'static str,
        /// Ports of the model.
        expected: usize,
        /// Tensors of the statement.
        got: usize,
    },
    /// A tensor does not fit its port.
    #[error("statement: {0}")]
    Statement(ModelError),
    /// The model commits to a port that the statement shows, or the other way round.
    #[error("statement: port {port} is to be {expected}")]
    Visibility {
        /// Name of the port.
        port: String,
        /// "public" or "committed".
        expected: &'static str,
    },
    /// A commitment is no canonical field element.
    #[error("statement: the commitment to port {port} is no field element")]
    Commitment {
        /// Name of the port.
        port: String,
    },
    /// The equation does not hold.
    #[error("the proof does not hold for this statement under this key")]
    Invalid,
}

/// The first proof of a batch that does not hold.
#[derive(Debug, thiserror::Error)]
#[error("proof {index} of the batch")]
pub struct BatchError {
    /// Its index.
    pub index: usize,
    /// Why.
    pub source: ProofError,
}

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
        let wrong = || ProofError::Length(bytes.len());
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

/// Checks one proof.
pub fn verify(key: &VerifyingKey, statement: &Statement, proof: &[u8]) -> Result<(), ProofError> {
    key.check(statement)?;
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

/// Checks many proofs of one key at once. If the batch fails, each is checked alone and the first culprit named.
pub fn verify_batch(key: &VerifyingKey, items: &[(Statement, Vec<u8>)]) -> Result<(), BatchError> {
    if items.len() < 2 {
        return one_by_one(key, items);
    }
    let decoded: Vec<_> = items
        .par_iter()
        .enumerate()
        .map(|(index, (statement, bytes))| {
            let fail = |source| BatchError { index, source };
            key.check(statement).map_err(fail)?;
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
    let weighted = decoded.iter().zip(items).zip(&scalars);
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

fn absorb(hash: &mut blake3::Hasher, bytes: &[u8]) {
    hash.update(&length(bytes.len()));
    hash.update(bytes);
}

fn absorb_statement(hash: &mut blake3::Hasher, statement: &Statement) {
    hash.update(&statement.job);
    for side in [&statement.inputs, &statement.outputs] {
        hash.update(&length(side.len()));
        for port in side {
            match port {
                PortValue::Public(values) => {
                    hash.update(&[0]);
                    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    absorb(hash, &bytes);
                }
                PortValue::Committed(commitment) => {
                    hash.update(&[1]);
                    hash.update(&commitment.0);
                }
            }
        }
    }
}

fn length(length: usize) -> [u8; 8] {
    // usize is at most 64 bits wide on every platform that Rust supports.
    u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes()
}

/// A public input of the constraint system.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// At most 16 bits wide.
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
