//! A model `y = a + b` under a verifying key whose trapdoors the test knows, so that it can make proofs that hold
//! without a prover:
//!
//! ```text
//! e(A, B) = e(alpha, beta) e(IC(x, rho), gamma) e(C1, delta1) e(C2, delta2)
//! c2      = (a b - alpha beta - ic(x, rho) gamma - c1 delta1) / delta2
//! ```

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::Field;
use assay_circuits::ir::{Port, QuantParams};
use assay_proto::ModelId;
use assay_verifier::proof::{
    KeyOrigin, KeyParts, PortValue, Statement, VerifyingKey, challenge, encode_proof,
};

const ALPHA: u64 = 3;
const BETA: u64 = 5;
const GAMMA: u64 = 7;
const DELTA1: u64 = 11;
const DELTA2: u64 = 13;
/// Of the constant, of each of the three public values, and of the challenge.
const IC: [u64; 5] = [17, 19, 23, 29, 31];

/// The model, its key, and the way to forge proofs.
#[derive(Clone)]
pub struct TestModel {
    bytes: Vec<u8>,
    key: VerifyingKey,
}

impl TestModel {
    pub fn new() -> Self {
        let port = |name: &str, shape: &[u32]| {
            Port::public(name, shape.to_vec(), QuantParams { scale: 1.0, lo: -128, hi: 127 })
        };
        let parts = KeyParts {
            origin: KeyOrigin::TestSeed,
            model: assay_circuits::ir::ModelId([7; 32]),
            inputs: vec![port("x", &[2])],
            outputs: vec![port("y", &[1])],
            alpha: KeyParts::g1(&g1(ALPHA.into())),
            beta: KeyParts::g2(&g2(BETA.into())),
            gamma: KeyParts::g2(&g2(GAMMA.into())),
            delta1: KeyParts::g2(&g2(DELTA1.into())),
            delta2: KeyParts::g2(&g2(DELTA2.into())),
            ic: IC.map(|scalar| KeyParts::g1(&g1(scalar.into()))).to_vec(),
        };
        let bytes = parts.to_bytes();
        let key = VerifyingKey::decode(&bytes).expect("the test key decodes");
        Self { bytes, key }
    }

    pub fn id(&self) -> ModelId {
        ModelId(self.key.model_id().0)
    }

    pub fn key_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What an honest miner answers.
    pub fn outputs(&self, inputs: &[Vec<i32>]) -> Vec<Vec<i32>> {
        vec![vec![inputs.iter().flatten().sum()]]
    }

    /// A proof that holds for any statement; `blinding` makes proofs of one statement differ.
    pub fn forge(&self, statement: &Statement, blinding: u64) -> Vec<u8> {
        let (a, b, c1) = (Fr::from(blinding + 41), Fr::from(43u64), Fr::from(blinding + 47));
        let rho = challenge(&self.key.digest(), statement, &g1(c1));
        let ports = statement.inputs.iter().chain(&statement.outputs);
        let values = ports.filter_map(PortValue::public).flatten();
        let [one, first, second, third, of_rho] = IC.map(Fr::from);
        let public: Fr =
            [first, second, third].into_iter().zip(values).map(|(ic, &x)| ic * Fr::from(x)).sum();
        let public = one + public + of_rho * rho;
        let rest = a * b - Fr::from(ALPHA * BETA) - public * Fr::from(GAMMA) - c1 * Fr::from(DELTA1);
        let c2 = rest * Fr::from(DELTA2).inverse().expect("not zero");
        encode_proof(&g1(a), &g2(b), &g1(c1), &g1(c2))
    }
}

fn g1(scalar: Fr) -> G1Affine {
    (G1Projective::generator() * scalar).into_affine()
}

fn g2(scalar: Fr) -> G2Affine {
    (G2Projective::generator() * scalar).into_affine()
}

#[test]
fn forged_proofs_hold_for_their_statement_only() {
    let model = TestModel::new();
    let statement = Statement::public([1; 32], vec![vec![3, -4]], vec![vec![-1]]);
    let proof = model.forge(&statement, 0);
    assay_verifier::proof::verify(&model.key, &statement, &proof).expect("holds");
    let other = Statement { job: [2; 32], ..statement };
    assert!(assay_verifier::proof::verify(&model.key, &other, &proof).is_err());
}
