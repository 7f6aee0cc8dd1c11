//! From a trace to a proof.

use std::sync::Arc;

use ark_bn254::{Fr, G1Projective, G2Projective};
use ark_ec::CurveGroup;
use ark_ec::short_weierstrass::Projective;
use ark_ff::{AdditiveGroup, Zero, batch_inversion};
use assay_circuits::commitment::Salt;
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, ModelId};
use assay_circuits::r1cs::Plan;
use assay_circuits::r1cs::field::FieldWitness;
use assay_circuits::r1cs::freivalds::FreivaldsWitness;
use assay_circuits::r1cs::witness::Witness;
use assay_cuda_kernels::DeviceError;
use assay_verifier::proof::{self, PortValue, Statement, VerifyingKey, groth16};
use rayon::prelude::*;

use super::key::ProvingKey;
use super::random;
use super::resident::{self, KeyBases, Resident};
use crate::backend::{Accelerator, Lease, least_busy};
use crate::bases::{Bases, Curve};
use crate::fft::Coset;
use crate::prover::{ProveError, statement};

/// A model with its key, ready to prove.
#[derive(Debug)]
pub struct Prover {
    graph: Graph,
    plan: Plan,
    key: ProvingKey,
    verifying: VerifyingKey,
    coset: Coset,
    /// The key on each device.
    residents: Vec<Resident>,
}

/// The values of all rows after the challenge.
struct Rows {
    /// `1/(rho + e_t)`.
    inverses: Vec<Fr>,
    /// `m_t/(rho + e_t)`.
    table: Vec<Fr>,
    rho: Fr,
    field: FieldWitness,
    matrices: FreivaldsWitness,
}

impl Prover {
    /// Joins a model and its key.
    pub fn new(graph: Graph, key: ProvingKey) -> Result<Self, ProveError> {
        let plan = Plan::with_limb_bits(&graph, key.limb_bits);
        let verifying = groth16::VerifyingKey::decode(key.verifying_key()).map(VerifyingKey::Groth16)?;
        let coset = Coset::new(plan.domain());
        Ok(Self { graph, plan, key, verifying, coset, residents: Vec::new() })
    }

    /// Copies the key to one more device, which then multiplies and transforms in turn with the others; the same randomness
    /// makes the same proof there.
    ///
    /// # Errors
    /// If the key does not fit; the prover then stays where it was.
    pub fn copy_to(&mut self, accelerator: &Arc<Accelerator>) -> Result<(), DeviceError> {
        self.residents.push(Resident::new(accelerator, &self.key, &self.coset)?);
        Ok(())
    }

    /// Gives a device's memory back; the others, or the processor, go on.
    pub fn leave(&mut self, accelerator: &Arc<Accelerator>) {
        self.residents.retain(|resident| !Arc::ptr_eq(resident.accelerator(), accelerator));
    }

    /// The devices of a proof that begins, in the order in which they are asked: the one that has the least to do first.
    fn devices(&self) -> (Vec<&Resident>, Option<Lease>) {
        let Some((first, lease)) = least_busy(self.residents.iter().map(Resident::accelerator)) else {
            return (Vec::new(), None);
        };
        let (before, from) = self.residents.split_at(first);
        (from.iter().chain(before).collect(), Some(lease))
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

    /// Proves an inference for a job and checks the proof before it is handed out. `salts` hide the values of the ports
    /// that the model commits to, one a port; see [`super::draw_salts`].
    pub fn prove(
        &self,
        trace: &Trace,
        job: [u8; 32],
        salts: &[Salt],
    ) -> Result<(Statement, Vec<u8>), ProveError> {
        let committed = self.graph.committed().count();
        if salts.len() != committed {
            return Err(ProveError::Salts { expected: committed, got: salts.len() });
        }
        let witness = Witness::new(&self.graph, &self.plan, trace)?;
        let statement = self.statement(trace, job, salts);
        let (devices, _lease) = self.devices();
        let proof = self.prove_on(&devices, &witness, &statement, salts, &mut random);
        let wrong = match proof::verify(&self.verifying, &statement, &proof) {
            Ok(()) => return Ok((statement, proof)),
            Err(error) => error,
        };
        if devices.is_empty() {
            return Err(ProveError::SelfCheck(wrong));
        }
        // The processor shows whether the device is wrong, or the witness, for which no device is to blame.
        let proof = self.prove_on(&[], &witness, &statement, salts, &mut random);
        proof::verify(&self.verifying, &statement, &proof).map_err(ProveError::SelfCheck)?;
        // Those that were lost on the way are given up already; the first of the others went on with it.
        if let Some(device) = devices.iter().find(|resident| resident.accelerator().gpu().is_some()) {
            device.accelerator().give_up("a proof made with it does not verify");
        }
        Ok((statement, proof))
    }

    /// What a proof of this trace says.
    ///
    /// # Panics
    /// If the number of salts is not that of the committed ports.
    pub fn statement(&self, trace: &Trace, job: [u8; 32], salts: &[Salt]) -> Statement {
        statement(&self.graph, trace, job, salts).expect("a salt for every committed port")
    }

    /// Proves whatever witness it is given; the proof holds only if the witness does.
    pub fn prove_witness(&self, witness: &Witness, statement: &Statement, salts: &[Salt]) -> Vec<u8> {
        self.prove_with(witness, statement, salts, &mut random)
    }

    /// Proves with field elements from elsewhere as randomness: for tests that compare two provers. Two proofs from the
    /// same randomness, and any from known randomness, reveal the witness.
    pub fn prove_with(
        &self,
        witness: &Witness,
        statement: &Statement,
        salts: &[Salt],
        random: &mut dyn FnMut() -> Fr,
    ) -> Vec<u8> {
        let (devices, _lease) = self.devices();
        self.prove_on(&devices, witness, statement, salts, random)
    }

    /// Proves on the first of these devices that answers, on the processor if none does.
    fn prove_on(
        &self,
        devices: &[&Resident],
        witness: &Witness,
        statement: &Statement,
        salts: &[Salt],
        random: &mut dyn FnMut() -> Fr,
    ) -> Vec<u8> {
        let [alpha, beta, delta1, delta2, challenge1, c_lookups] = self.key.g1;
        let [beta2, delta2_2, challenge2] = self.key.g2;

        let fixed: Vec<i64> = witness
            .wires
            .iter()
            .copied()
            .chain(witness.multiplicities.iter().map(|&m| i64::from(m)))
            .collect();
        let bases = KeyBases::new(&self.key, devices);
        let committed = bases.l1.msm_small(&fixed);
        // A denominator that is 0 has chance 2^-240; another blinding gives another challenge.
        let field = field_witness(witness, statement, salts);
        let table: Vec<i64> = self.plan.table_values().collect();
        let (r1, c1, rows) = loop {
            let r1 = random();
            let c1 = (committed + delta2 * r1).into_affine();
            let rho = proof::challenge(&self.verifying.digest(), statement, &c1);
            let matrices = FreivaldsWitness::new(&witness.matrices, rho, witness.omitted());
            if let Some(rows) = Rows::new(rho, &table, &witness.multiplicities, &field, matrices) {
                break (r1, c1, rows);
            }
        };
        let b_rows = self.b_rows(witness, &table);
        let [_, b_field, c_field] = rows.wide_sides();
        // The challenge has a point of its own.
        let b_matrices: Vec<i64> = rows.matrices.b.iter().map(|b| b.unwrap_or(0)).collect();

        let (quotient, ((a, l2), (b1, b2))) = rayon::join(
            || self.quotient(devices, &bases, witness, &b_rows, &rows),
            || {
                rayon::join(
                    || {
                        rayon::join(
                            || self.a_query(&bases, witness, &rows),
                            || self.after_challenge(&bases, witness, &rows),
                        )
                    },
                    || {
                        rayon::join(
                            || mixed(&bases.lagrange1, &b_rows, &b_field, &b_matrices),
                            || mixed(&bases.lagrange2, &b_rows, &b_field, &b_matrices),
                        )
                    },
                )
            },
        );
        let products = witness.products.iter().map(|[_, _, c]| *c);
        let c_rows: Vec<i64> = fixed[witness.wires.len()..].iter().copied().chain(products).collect();
        let c_side = mixed(&bases.c_rows, &c_rows, &c_field, &[]) + c_lookups;

        let (r, s) = (random(), random());
        let a: G1Projective = a + alpha + delta2 * r;
        let b1: G1Projective = b1 + challenge1 * rows.rho + beta + delta2 * s;
        let b2: G2Projective = b2 + challenge2 * rows.rho + beta2 + delta2_2 * s;
        let c2 = l2 + quotient + c_side + a * s + b1 * r - delta2 * (r * s) - delta1 * r1;
        let [a, c2] = [a.into_affine(), c2.into_affine()];
        proof::encode_proof(&a, &b2.into_affine(), &c1, &c2)
    }

    /// `b_row` of the rows over integers, less the challenge: `q_k`, `e_t`, the right factors of products and gates, 1.
    fn b_rows(&self, witness: &Witness, table: &[i64]) -> Vec<i64> {
        let products = witness.products.iter().map(|[_, b, _]| *b);
        let gates = witness.gates.iter().map(|(_, b)| *b);
        let sums = (self.plan.first_sum()..self.plan.integer_rows()).map(|_| 1);
        let table = table.iter().copied();
        witness.lookups.iter().copied().chain(table).chain(products).chain(gates).chain(sums).collect()
    }

    /// `sum_row a_row [lambda_row]`; the sum rows are 0.
    fn a_query(&self, bases: &KeyBases<'_>, witness: &Witness, rows: &Rows) -> G1Projective {
        let (queries, rest) = bases.lagrange1.clone().split_at(self.plan.first_product());
        let sums = vec![0; self.plan.integer_rows() - self.plan.first_sum()];
        let products = witness.products.iter().map(|[a, _, _]| *a);
        let small: Vec<i64> = products.chain(witness.gates.iter().map(|(a, _)| *a)).chain(sums).collect();
        let [a_wide, _, _] = rows.wide_sides();
        let (inverses, small) =
            rayon::join(|| grouped(&queries, witness, rows), || mixed(&rest, &small, &a_wide, &[]));
        inverses + small
    }

    /// `sum_(R2) w_i [K_i/delta2]`.
    fn after_challenge(&self, bases: &KeyBases<'_>, witness: &Witness, rows: &Rows) -> G1Projective {
        let (inverses, wide) = bases.l2.clone().split_at(self.plan.first_product());
        let wires: Vec<Fr> = rows.field.wires.iter().chain(&rows.matrices.wires).copied().collect();
        grouped(&inverses, witness, rows) + wide.msm(&wires)
    }

    /// The part of `[h Z/delta2]` that comes from `D = A B` on the coset.
    fn quotient(
        &self,
        devices: &[&Resident],
        bases: &KeyBases<'_>,
        witness: &Witness,
        b_rows: &[i64],
        rows: &Rows,
    ) -> G1Projective {
        let size = self.plan.domain();
        let integer = |value: i64| Fr::from(value);
        let [a_wide, b_field, _] = rows.wide_sides();
        let a = || {
            let mut a = Vec::with_capacity(size);
            a.extend(witness.rows.iter().map(|&row| rows.inverses[row as usize]));
            a.extend(&rows.table);
            a.extend(witness.products.iter().map(|[a, _, _]| integer(*a)));
            a.extend(witness.gates.iter().map(|(a, _)| integer(*a)));
            a.resize(self.plan.integer_rows(), Fr::ZERO);
            a.extend(a_wide);
            a.resize(size, Fr::ZERO);
            a
        };
        let b = || {
            let mut b: Vec<Fr> = Vec::with_capacity(size);
            b.extend(b_rows.iter().map(|&value| integer(value)));
            b[..self.plan.first_product()].iter_mut().for_each(|value| *value += rows.rho);
            b.extend(b_field);
            b.extend(rows.matrices.b.iter().map(|b| b.map_or(rows.rho, integer)));
            b.resize(size, Fr::ZERO);
            b
        };
        let (mut a, mut b) = rayon::join(a, b);
        if let Some(sum) = resident::quotient(devices, &a, &b) {
            return sum;
        }
        rayon::join(|| self.coset.extend(&mut a), || self.coset.extend(&mut b));
        a.par_iter_mut().zip(&b).with_min_len(1024).for_each(|(a, b)| *a *= b);
        bases.quotient.msm(&a)
    }
}

fn field_witness(witness: &Witness, statement: &Statement, salts: &[Salt]) -> FieldWitness {
    let ports = statement.inputs.iter().chain(&statement.outputs);
    let commitments = ports.filter_map(|port| match port {
        PortValue::Public(_) => None,
        PortValue::Committed(commitment) => Some(commitment.element().unwrap_or(Fr::ZERO)),
    });
    let salts: Vec<Fr> = salts.iter().map(Salt::element).collect();
    FieldWitness::new(&witness.committed, &salts, commitments.collect(), witness.omitted())
}

/// `sum_k u_k P_k + sum_t v_t P_(K+t)`: the inverses take few values, so points are summed by value first.
fn grouped<P: Curve>(points: &Bases<'_, P>, witness: &Witness, rows: &Rows) -> Projective<P> {
    let scalars: Vec<Fr> = rows.inverses.iter().chain(&rows.table).copied().collect();
    points.grouped(&witness.rows, rows.inverses.len(), &scalars)
}

/// Small integers on the first points, field elements on the next ones, small integers on the rest.
fn mixed<P: Curve>(points: &Bases<'_, P>, small: &[i64], wide: &[Fr], last: &[i64]) -> Projective<P> {
    let (first, rest) = points.clone().split_at(small.len());
    let (next, rest) = rest.split_at(wide.len());
    let mut sum = first.msm_small(small);
    if !wide.is_empty() {
        sum += next.msm(wide);
    }
    if !last.is_empty() {
        sum += rest.msm_small(last);
    }
    sum
}

impl Rows {
    fn new(
        rho: Fr,
        table: &[i64],
        multiplicities: &[u32],
        field: &FieldWitness,
        matrices: FreivaldsWitness,
    ) -> Option<Self> {
        let mut inverses: Vec<Fr> = table.iter().map(|&e| rho + Fr::from(e)).collect();
        if inverses.iter().any(Fr::is_zero) {
            return None;
        }
        batch_inversion(&mut inverses);
        let table = inverses.iter().zip(multiplicities).map(|(inverse, &m)| *inverse * Fr::from(m)).collect();
        Some(Self { inverses, table, rho, field: field.clone(), matrices })
    }

    /// The sides `a`, `b`, `c` of the rows over the field, and `a` and `c` of those of products of matrices.
    fn wide_sides(&self) -> [Vec<Fr>; 3] {
        let field = |side: usize| self.field.rows.iter().map(move |row| row[side]);
        let with = |side, rest: &[Fr]| field(side).chain(rest.iter().copied()).collect();
        [with(0, &self.matrices.a), field(1).collect(), with(2, &self.matrices.c)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_ff::Field;

    const TABLE: [i64; 4] = [0, 1, 2, 3];

    #[test]
    fn a_challenge_that_meets_a_table_row_is_drawn_again() {
        let rows = |rho, multiplicities: [u32; 4]| {
            Rows::new(rho, &TABLE, &multiplicities, &FieldWitness::default(), FreivaldsWitness::default())
        };
        for row in 0..4u64 {
            assert!(rows(-Fr::from(row), [0; 4]).is_none(), "{row}");
        }
        let rows = rows(Fr::from(1u64), [0, 3, 0, 2]).expect("no denominator is 0");
        assert_eq!(rows.inverses[1] * Fr::from(2u64), Fr::ONE);
        assert_eq!(rows.table[3] * Fr::from(4u64), Fr::from(2u64));
    }
}
