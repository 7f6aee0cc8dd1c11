//! A verifying key whose exponents are known, so that a valid proof can be made for any statement.
//!
//! With `A = a G1`, `B = b G2`, `C1 = c1 G1` and `x` the exponent of the public point,
//! `C2 = ((a b - alpha beta - x gamma - c1 delta1) / delta2) G1` satisfies the verification equation.

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::Field;
use assay_circuits::ir::{ModelId, Port, QuantParams, Visibility, elements};
use assay_verifier::proof::{
    KeyOrigin, KeyParts, PortValue, Statement, VerifyingKey, challenge, encode_proof,
};

pub struct Trapdoor {
    pub bytes: Vec<u8>,
    pub key: VerifyingKey,
    alpha: Fr,
    beta: Fr,
    gamma: Fr,
    delta1: Fr,
    delta2: Fr,
    ic: Vec<Fr>,
}

fn g1(exponent: Fr) -> G1Affine {
    (G1Projective::generator() * exponent).into_affine()
}

fn g2(exponent: Fr) -> G2Affine {
    (G2Projective::generator() * exponent).into_affine()
}

pub fn port(name: &str, length: u32, lo: i32, hi: i32) -> Port {
    Port::public(name, vec![1, length], QuantParams { scale: 0.5, lo, hi })
}

impl Trapdoor {
    /// A key of a model with one input of 4 values in 0..=15 and one output of 2 values in -8..=7.
    pub fn new(model: [u8; 32], origin: KeyOrigin) -> Self {
        Self::with_seed(model, origin, 11)
    }

    pub fn with_seed(model: [u8; 32], origin: KeyOrigin, seed: u64) -> Self {
        let (inputs, outputs) = (vec![port("x", 4, 0, 15)], vec![port("y", 2, -8, 7)]);
        let values: usize = inputs.iter().chain(&outputs).map(|port| elements(&port.shape)).sum();
        let exponent = |n: u64| Fr::from(seed * 1_000_003 + 7919 * n);
        let [alpha, beta, gamma, delta1, delta2] = [1, 2, 3, 4, 5].map(exponent);
        let ic: Vec<Fr> = (0..values + 2).map(|n| exponent(10 + u64::try_from(n).unwrap())).collect();
        let parts = KeyParts {
            origin,
            model: ModelId(model),
            inputs,
            outputs,
            alpha: KeyParts::g1(&g1(alpha)),
            beta: KeyParts::g2(&g2(beta)),
            gamma: KeyParts::g2(&g2(gamma)),
            delta1: KeyParts::g2(&g2(delta1)),
            delta2: KeyParts::g2(&g2(delta2)),
            ic: ic.iter().map(|&exponent| KeyParts::g1(&g1(exponent))).collect(),
        };
        let bytes = parts.to_bytes();
        let key = VerifyingKey::decode(&bytes).unwrap();
        Self { bytes, key, alpha, beta, gamma, delta1, delta2, ic }
    }

    /// The same key for a model whose inputs are committed to: one point in place of four.
    pub fn committing(mut self) -> Self {
        let mut parts = KeyParts::from_bytes(&self.bytes).unwrap();
        parts.inputs.iter_mut().for_each(|port| port.visibility = Visibility::Committed);
        parts.ic.drain(1..4);
        self.bytes = parts.to_bytes();
        self.key = VerifyingKey::decode(&self.bytes).unwrap();
        self
    }

    /// A proof that holds; another `salt` gives other bytes.
    pub fn prove(&self, statement: &Statement, salt: u64) -> Vec<u8> {
        let [a, b, c1] = [101, 103, 107].map(|n| Fr::from(n + salt));
        let c1_point = g1(c1);
        let rho = challenge(&self.key.digest(), statement, &c1_point);
        let ports = statement.inputs.iter().chain(&statement.outputs);
        let values = ports.filter_map(PortValue::public).flatten().map(|&value| Fr::from(value));
        let scalars = std::iter::once(Fr::ONE).chain(values).chain([rho]);
        let x: Fr = self.ic.iter().zip(scalars).map(|(&ic, scalar)| ic * scalar).sum();
        let rest = a * b - self.alpha * self.beta - x * self.gamma - c1 * self.delta1;
        let c2 = rest * self.delta2.inverse().unwrap();
        encode_proof(&g1(a), &g2(b), &c1_point, &g1(c2))
    }
}

#[test]
fn proofs_made_with_the_trapdoor_hold_for_their_statement_only() {
    let trapdoor = Trapdoor::new([1; 32], KeyOrigin::TestSeed);
    let statement = Statement::public([3; 32], vec![vec![0, 1, 2, 15]], vec![vec![-8, 7]]);
    let proof = trapdoor.prove(&statement, 0);
    let check = |statement: &Statement| assay_verifier::proof::verify(&trapdoor.key, statement, &proof);
    assert!(check(&statement).is_ok());
    assert!(check(&Statement { job: [4; 32], ..statement.clone() }).is_err());
    assert!(check(&Statement { outputs: vec![vec![-8, 6].into()], ..statement }).is_err());
}
