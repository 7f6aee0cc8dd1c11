//! From a trace to a proof.

use ark_bn254::{Fr, G1Projective, G2Projective};
use ark_ec::CurveGroup;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ff::{AdditiveGroup, Field, Zero, batch_inversion};
use assay_circuits::error::ModelError;
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, ModelId, TensorId};
use assay_circuits::r1cs::Plan;
use assay_circuits::r1cs::witness::Witness;
use assay_verifier::proof::{self, ProofError, Statement, VerifyingKey};
use rayon::prelude::*;

use super::key::ProvingKey;
use super::random;
use crate::fft::Coset;
use crate::msm::{group_sums, msm, msm_small};

/// Why no proof was made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The input does not fit, or the model's witness does not.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The key is not usable.
    #[error(transparent)]
    Key(#[from] ProofError),
    /// The proof that was made does not verify: the key is damaged, or this program is wrong.
    #[error("the proof made does not verify and was not handed out: {0}")]
    SelfCheck(ProofError),
}

/// A model with its key, ready to prove.
#[derive(Debug)]
pub struct Prover {
    graph: Graph,
    plan: Plan,
    key: ProvingKey,
    verifying: VerifyingKey,
    coset: Coset,
}

/// The values of all rows after the challenge.
struct Rows {
    /// `1/(rho + t)`.
    inverses: Vec<Fr>,
    /// `m_t/(rho + t)`.
    table: Vec<Fr>,
    rho: Fr,
}

impl Prover {
    /// Joins a model and its key.
    pub fn new(graph: Graph, key: ProvingKey) -> Result<Self, ProveError> {
        let plan = Plan::with_limb_bits(&graph, key.limb_bits);
        let verifying = VerifyingKey::decode(key.verifying_key())?;
        let coset = Coset::new(plan.domain());
        Ok(Self { graph, plan, key, verifying, coset })
    }

    /// The model.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Sizes of its constraint system.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its id.
    pub fn model_id(&self) -> ModelId {
        self.verifying.model_id()
    }

    /// The key that its proofs are checked with.
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Proves an inference for a job and checks the proof before it is handed out.
    pub fn prove(&self, trace: &Trace, job: [u8; 32]) -> Result<(Statement, Vec<u8>), ProveError> {
        let witness = Witness::new(&self.graph, &self.plan, trace)?;
        let statement = self.statement(trace, job);
        let proof = self.prove_witness(&witness, &statement);
        proof::verify(&self.verifying, &statement, &proof).map_err(ProveError::SelfCheck)?;
        Ok((statement, proof))
    }

    /// What a proof of this trace says.
    pub fn statement(&self, trace: &Trace, job: [u8; 32]) -> Statement {
        let port = |port| trace.tensor(TensorId(port)).iter().map(|&v| v as i32).collect();
        let inputs = (0..self.graph.inputs().len() as u32).map(port).collect();
        Statement { job, inputs, outputs: trace.outputs(&self.graph) }
    }

    /// Proves whatever witness it is given; the proof holds only if the witness does.
    pub fn prove_witness(&self, witness: &Witness, statement: &Statement) -> Vec<u8> {
        let [alpha, beta, delta1, delta2, challenge1, c_lookups] = self.key.g1;
        let [beta2, delta2_2, challenge2] = self.key.g2;
        let table = self.plan.table();

        let fixed: Vec<i64> = witness
            .wires
            .iter()
            .copied()
            .chain(witness.multiplicities.iter().map(|&m| i64::from(m)))
            .collect();
        let committed = msm_small(&self.key.l1, &fixed);
        // A denominator that is 0 has chance 2^-240; another blinding gives another challenge.
        let (r1, c1, rows) = loop {
            let r1 = random();
            let c1 = (committed + delta2 * r1).into_affine();
            let rho = proof::challenge(&self.verifying.digest(), statement, &c1);
            if let Some(rows) = Rows::new(rho, &witness.multiplicities) {
                break (r1, c1, rows);
            }
        };
        let groups: Vec<u32> = witness.lookups.iter().map(|&q| q.clamp(0, table as i64 - 1) as u32).collect();
        let small = self.small_rows(witness);

        let (quotient, ((a, l2), (b1, b2))) = rayon::join(
            || self.quotient(witness, &rows),
            || {
                rayon::join(
                    || {
                        rayon::join(
                            || self.a_query(witness, &groups, &rows),
                            || self.grouped(&self.key.l2, &groups, &rows),
                        )
                    },
                    || {
                        rayon::join(
                            || msm_small(&self.key.lagrange1, &small),
                            || msm_small(&self.key.lagrange2, &small),
                        )
                    },
                )
            },
        );
        let multiplicities: Vec<i64> = fixed[witness.wires.len()..].to_vec();
        let c_side = msm_small(&self.key.c_table, &multiplicities) + c_lookups;

        let (r, s) = (random(), random());
        let a: G1Projective = a + alpha + delta2 * r;
        let b1: G1Projective = b1 + challenge1 * rows.rho + beta + delta2 * s;
        let b2: G2Projective = b2 + challenge2 * rows.rho + beta2 + delta2_2 * s;
        let c2 = l2 + quotient + c_side + a * s + b1 * r - delta2 * (r * s) - delta1 * r1;
        let [a, c2] = [a.into_affine(), c2.into_affine()];
        proof::encode_proof(&a, &b2.into_affine(), &c1, &c2)
    }

    /// `b_row` less the challenge: `q_k`, `t`, the gates' right sides, 1.
    fn small_rows(&self, witness: &Witness) -> Vec<i64> {
        let table = 0..self.plan.table() as i64;
        let gates = witness.gates.iter().map(|(_, b)| *b);
        witness.lookups.iter().copied().chain(table).chain(gates).chain([1]).collect()
    }

    /// `sum_row a_row [lambda_row]`; the sum row is 0.
    fn a_query(&self, witness: &Witness, groups: &[u32], rows: &Rows) -> G1Projective {
        let first_gate = self.plan.first_gate();
        let gates: Vec<i64> = witness.gates.iter().map(|(a, _)| *a).collect();
        let (inverses, gates) = rayon::join(
            || self.grouped(&self.key.lagrange1[..first_gate], groups, rows),
            || msm_small(&self.key.lagrange1[first_gate..], &gates),
        );
        inverses + gates
    }

    /// `sum_k u_k P_k + sum_t v_t P_(K+t)`: the inverses take few values, so points are summed by value first.
    fn grouped<P: SWCurveConfig<ScalarField = Fr>>(
        &self,
        points: &[Affine<P>],
        groups: &[u32],
        rows: &Rows,
    ) -> Projective<P> {
        let (lookups, table) = points.split_at(groups.len());
        let mut bases = group_sums(lookups, groups, rows.inverses.len());
        bases.extend(table);
        let scalars: Vec<Fr> = rows.inverses.iter().chain(&rows.table).copied().collect();
        msm(&bases, &scalars)
    }

    /// The part of `[h Z/delta2]` that comes from `D = A B` on the coset.
    fn quotient(&self, witness: &Witness, rows: &Rows) -> G1Projective {
        let size = self.plan.domain();
        let integer = |value: i64| Fr::from(value);
        let a = || {
            let mut a = Vec::with_capacity(size);
            a.extend(
                witness.lookups.iter().map(|&q| rows.inverses.get(q as usize).copied().unwrap_or(Fr::ZERO)),
            );
            a.extend(&rows.table);
            a.extend(witness.gates.iter().map(|(a, _)| integer(*a)));
            a.resize(size, Fr::ZERO);
            self.coset.extend(&mut a);
            a
        };
        let b = || {
            let mut b = Vec::with_capacity(size);
            let table = 0..self.plan.table() as i64;
            b.extend(witness.lookups.iter().copied().chain(table).map(|q| rows.rho + integer(q)));
            b.extend(witness.gates.iter().map(|(_, b)| integer(*b)));
            b.push(Fr::ONE);
            b.resize(size, Fr::ZERO);
            self.coset.extend(&mut b);
            b
        };
        let (mut a, b) = rayon::join(a, b);
        a.par_iter_mut().zip(&b).with_min_len(1024).for_each(|(a, b)| *a *= b);
        msm(&self.key.quotient, &a)
    }
}

impl Rows {
    fn new(rho: Fr, multiplicities: &[u32]) -> Option<Self> {
        let mut inverses: Vec<Fr> = (0..multiplicities.len()).map(|t| rho + Fr::from(t as u64)).collect();
        if inverses.iter().any(Fr::is_zero) {
            return None;
        }
        batch_inversion(&mut inverses);
        let table = inverses.iter().zip(multiplicities).map(|(inverse, &m)| *inverse * Fr::from(m)).collect();
        Some(Self { inverses, table, rho })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_that_meets_a_table_row_is_drawn_again() {
        for row in 0..4u64 {
            assert!(Rows::new(-Fr::from(row), &[0; 4]).is_none(), "{row}");
        }
        let rows = Rows::new(Fr::from(1u64), &[0, 3, 0, 2]).expect("no denominator is 0");
        assert_eq!(rows.inverses[1] * Fr::from(2u64), Fr::ONE);
        assert_eq!(rows.table[3] * Fr::from(4u64), Fr::from(2u64));
    }
}
