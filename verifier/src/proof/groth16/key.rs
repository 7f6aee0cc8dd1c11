//! The verifying key: the identity of a model on the ledger.
//!
//! A file is a magic with a version, then borsh: how the key was made, the model's id, its ports, and the points,
//! each in the strict encoding.

use std::sync::Arc;

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::pairing::{Pairing, PairingOutput};
use ark_ec::{AffineRepr, VariableBaseMSM};
use ark_ff::AdditiveGroup;
use assay_circuits::ir::{ModelId, Port, Visibility, elements};
use borsh::{BorshDeserialize, BorshSerialize};

use super::super::{ProofError, limits};
use super::pairing::Coefficient;
use super::{Value, encoding};

/// What the file of a key begins with.
pub const MAGIC: &[u8; 8] = b"ASSAYVK\x02";

/// How the secret exponents of a key came about. Whoever knew them could forge proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = false)]
pub enum KeyOrigin {
    /// One party drew them from the operating system and is trusted to have forgotten them.
    SingleParty,
    /// A fixed seed: anyone can forge. Only for tests.
    TestSeed,
}

impl std::fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SingleParty => "single party",
            Self::TestSeed => "fixed test seed: anyone can forge",
        })
    }
}

/// The content of a key file.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct KeyParts {
    /// How the key was made.
    pub origin: KeyOrigin,
    /// The model that it stands for.
    pub model: ModelId,
    /// The model's inputs.
    pub inputs: Vec<Port>,
    /// The model's outputs.
    pub outputs: Vec<Port>,
    /// `[alpha]1`.
    pub alpha: [u8; 32],
    /// `[beta]2`.
    pub beta: [u8; 64],
    /// `[gamma]2`.
    pub gamma: [u8; 64],
    /// `[delta1]2`.
    pub delta1: [u8; 64],
    /// `[delta2]2`.
    pub delta2: [u8; 64],
    /// `[K_i / gamma]1` of the constant, the inputs, the outputs and the challenge, with one point for all values of a
    /// committed port. The identity stands for a value
    /// that no constraint reads.
    pub ic: Vec<[u8; 32]>,
}

impl KeyParts {
    /// Compressed bytes of a point of G1.
    pub fn g1(point: &G1Affine) -> [u8; 32] {
        encoding::g1_bytes(point)
    }

    /// Compressed bytes of a point of G2.
    pub fn g2(point: &G2Affine) -> [u8; 64] {
        encoding::g2_bytes(point)
    }

    /// Strict inverse of [`KeyParts::to_bytes`]; points are checked by [`VerifyingKey::decode`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let format = |reason: String| ProofError::KeyFormat(reason);
        if bytes.len() > limits::KEY_BYTES {
            return Err(format(format!("{} bytes, the limit is {}", bytes.len(), limits::KEY_BYTES)));
        }
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| format("no magic".into()))?;
        borsh::from_slice(body).map_err(|e| format(e.to_string()))
    }

    /// Bytes of the key file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // A Vec takes any number of bytes.
        let written = borsh::to_writer(&mut bytes, self);
        debug_assert!(written.is_ok());
        bytes
    }
}

/// A verifying key, checked and prepared for pairings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifyingKey(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    parts: KeyParts,
    digest: [u8; 32],
    alpha_beta: PairingOutput<Bn254>,
    gamma: <Bn254 as Pairing>::G2Prepared,
    delta1: <Bn254 as Pairing>::G2Prepared,
    delta2: <Bn254 as Pairing>::G2Prepared,
    one: G1Affine,
    public: Vec<G1Affine>,
    rho: G1Affine,
}

impl VerifyingKey {
    /// Decodes a key file and checks every point.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let format = |reason: String| ProofError::KeyFormat(reason);
        let parts = KeyParts::from_bytes(bytes)?;
        for port in parts.inputs.iter().chain(&parts.outputs) {
            port.validate().map_err(|e| format(e.to_string()))?;
        }
        let values: usize = parts.inputs.iter().chain(&parts.outputs).map(public_values).sum();
        if values > limits::PUBLIC_VALUES {
            return Err(format(format!("{values} public values, the limit is {}", limits::PUBLIC_VALUES)));
        }
        if parts.ic.len() != values + 2 {
            return Err(format(format!("{} public points, expected {}", parts.ic.len(), values + 2)));
        }
        Self::prepare(parts, *blake3::hash(bytes).as_bytes())
    }

    fn prepare(parts: KeyParts, digest: [u8; 32]) -> Result<Self, ProofError> {
        let point = |name, source| ProofError::KeyPoint { name, source };
        let g2 = |name, bytes| encoding::g2(bytes).map_err(|e| point(name, e));
        let alpha = encoding::g1(&parts.alpha).map_err(|e| point("alpha", e))?;
        let beta = g2("beta", &parts.beta)?;
        let gamma = g2("gamma", &parts.gamma)?;
        let delta1 = g2("delta1", &parts.delta1)?;
        let delta2 = g2("delta2", &parts.delta2)?;
        distinct(alpha, beta, gamma, delta1, delta2)?;
        let mut public = Vec::with_capacity(parts.ic.len());
        for bytes in &parts.ic {
            public.push(encoding::g1_or_identity(bytes).map_err(|e| point("IC", e))?);
        }
        let rho = public.pop().filter(|rho| !rho.is_zero());
        let rho = rho.ok_or(ProofError::KeyDegenerate("no constraint reads the challenge"))?;
        public.reverse();
        let one = public.pop().ok_or(ProofError::KeyDegenerate("no constant"))?;
        public.reverse();
        Ok(Self(Arc::new(Prepared {
            digest,
            alpha_beta: Bn254::pairing(alpha, beta),
            gamma: gamma.into(),
            delta1: delta1.into(),
            delta2: delta2.into(),
            one,
            public,
            rho,
            parts,
        })))
    }

    /// The model that this key stands for.
    pub fn model_id(&self) -> ModelId {
        self.0.parts.model
    }

    /// The model's inputs.
    pub fn inputs(&self) -> &[Port] {
        &self.0.parts.inputs
    }

    /// The model's outputs.
    pub fn outputs(&self) -> &[Port] {
        &self.0.parts.outputs
    }

    /// How the key was made.
    pub fn origin(&self) -> KeyOrigin {
        self.0.parts.origin
    }

    /// Whether the key comes from a fixed seed, so that anyone can forge.
    pub fn is_test_key(&self) -> bool {
        self.origin() == KeyOrigin::TestSeed
    }

    /// BLAKE3 of the key file.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    pub(super) fn alpha_beta(&self) -> PairingOutput<Bn254> {
        self.0.alpha_beta
    }

    pub(super) fn gamma(&self) -> <Bn254 as Pairing>::G2Prepared {
        self.0.gamma.clone()
    }

    pub(super) fn delta1(&self) -> <Bn254 as Pairing>::G2Prepared {
        self.0.delta1.clone()
    }

    pub(super) fn delta2(&self) -> <Bn254 as Pairing>::G2Prepared {
        self.0.delta2.clone()
    }

    /// `IC_0 + sum x_i IC_i + rho IC_rho`.
    pub(super) fn public_point(&self, values: impl Iterator<Item = Value>, rho: Fr) -> G1Projective {
        let (mut points, mut scalars) = (Vec::new(), Vec::new());
        let mut sum = self.0.rho * rho + self.0.one;
        for (&point, value) in self.0.public.iter().zip(values) {
            match value {
                Value::Integer(0) => {}
                Value::Integer(value) => {
                    points.push(if value < 0 { -point } else { point });
                    scalars.push(value.unsigned_abs());
                }
                Value::Element(value) => sum += point * value,
            }
        }
        sum + G1Projective::msm_u32(&points, &scalars)
    }

    /// `sum_j c_j (IC_0 + sum x_ij IC_i + rho_j IC_rho)`.
    pub(super) fn public_point_batch<V: Iterator<Item = Value>>(
        &self,
        items: impl Iterator<Item = (V, Fr, Coefficient)>,
    ) -> G1Projective {
        let mut sums = vec![Sum::default(); self.0.public.len()];
        let (mut one, mut challenge) = (Fr::ZERO, Fr::ZERO);
        for (values, rho, coefficient) in items {
            let scalar = coefficient.scalar();
            one += scalar;
            challenge += rho * scalar;
            sums.iter_mut().zip(values).for_each(|(sum, value)| sum.add(coefficient, value));
        }
        let sums: Vec<Fr> = sums.iter().map(Sum::value).collect();
        G1Projective::msm_unchecked(&self.0.public, &sums) + self.0.one * one + self.0.rho * challenge
    }
}

/// `low + lambda high + element`: a sum of coefficients times values. Products of a half by a 25-bit integer leave each part
/// room for `2^38` of them.
#[derive(Clone, Debug, Default)]
struct Sum {
    low: i128,
    high: i128,
    element: Fr,
}

impl Sum {
    fn add(&mut self, coefficient: Coefficient, value: Value) {
        match value {
            Value::Integer(value) => {
                self.low += i128::from(coefficient.low) * i128::from(value);
                self.high += i128::from(coefficient.high) * i128::from(value);
            }
            Value::Element(value) => self.element += coefficient.scalar() * value,
        }
    }

    fn value(&self) -> Fr {
        Coefficient::combine(Fr::from(self.low), Fr::from(self.high)) + self.element
    }
}

/// Public inputs that a port takes.
fn public_values(port: &Port) -> usize {
    match port.visibility {
        Visibility::Public => elements(&port.shape),
        Visibility::Committed => 1,
    }
}

/// An honest setup draws independent exponents; equal ones, or 1, would let a prover move terms between them.
fn distinct(
    alpha: G1Affine,
    beta: G2Affine,
    gamma: G2Affine,
    delta1: G2Affine,
    delta2: G2Affine,
) -> Result<(), ProofError> {
    let points = [
        (beta, "beta is the generator or equals another element"),
        (gamma, "gamma is the generator or equals another element"),
        (delta1, "delta1 is the generator or equals another element"),
        (delta2, "delta2 is the generator or equals another element"),
    ];
    if alpha == G1Affine::generator() {
        return Err(ProofError::KeyDegenerate("alpha is the generator"));
    }
    for (index, (point, reason)) in points.iter().enumerate() {
        let earlier = points.iter().take(index).map(|(other, _)| *other);
        if earlier.chain([G2Affine::generator()]).any(|other| other == *point || other == -*point) {
            return Err(ProofError::KeyDegenerate(reason));
        }
    }
    Ok(())
}
