//! From a trace to a proof.

use std::iter::repeat_n;
use std::sync::Arc;

use ark_bn254::{Fr, G1Projective};
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
use crate::column::{Part, on_processor};
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

/// Both sides of the rows, but for those of the queries, whose left side is in [`Rows`].
struct Columns {
    /// Left side of the other rows over integers: of products and gates, and 0 of sums.
    a: Vec<i64>,
    /// Right side of all rows over integers, less the challenge: `q_k`, `e_t`, of products and gates, and 1 of sums.
    b: Vec<i64>,
    /// Right side of the rows of products of matrices, where it is an integer, 0 where it is the challenge.
    b_matrices: Vec<i64>,
    /// `a`, `b`, `c` of the rows over the field; `a` and `c` of those of products of matrices as well.
    wide: [Vec<Fr>; 3],
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
        let columns = Columns::new(self, witness, &table, &rows);
        let products = witness.products.iter().map(|[_, _, c]| *c);
        let c_rows: Vec<i64> = fixed[witness.wires.len()..].iter().copied().chain(products).collect();
        let (r, s) = (random(), random());

        let rho = rows.rho;
        // What each point of the proof has beside its sums.
        let apart = || {
            let a = alpha + delta2 * r;
            let b1 = challenge1 * rho + beta + delta2 * s;
            let b2 = challenge2 * rho + beta2 + delta2_2 * s;
            (a, b1, b2, c_lookups - delta2 * (r * s) - delta1 * r1)
        };
        let (((a, b1), (b2, l2)), (quotient, (c_rows, apart))) = rayon::join(
            || {
                rayon::join(
                    || {
                        rayon::join(
                            || self.a_query(&bases, witness, &rows, &columns),
                            || mixed(&bases.lagrange1, &columns.b, &columns.wide[1], &columns.b_matrices),
                        )
                    },
                    || {
                        rayon::join(
                            || mixed(&bases.lagrange2, &columns.b, &columns.wide[1], &columns.b_matrices),
                            || self.after_challenge(&bases, witness, &rows),
                        )
                    },
                )
            },
            || {
                rayon::join(
                    || self.quotient(devices, &bases, witness, &rows, &columns),
                    || rayon::join(|| mixed(&bases.c_rows, &c_rows, &columns.wide[2], &[]), apart),
                )
            },
        );
        let (a, b1, b2) = (a + apart.0, b1 + apart.1, b2 + apart.2);
        let (a_s, b1_r) = rayon::join(|| a * s, || b1 * r);
        let c2 = l2 + quotient + c_rows + apart.3 + a_s + b1_r;
        let [a, c2] = [a.into_affine(), c2.into_affine()];
        proof::encode_proof(&a, &b2.into_affine(), &c1, &c2)
    }

    /// `sum_row a_row [lambda_row]`.
    fn a_query(
        &self,
        bases: &KeyBases<'_>,
        witness: &Witness,
        rows: &Rows,
        columns: &Columns,
    ) -> G1Projective {
        let (queries, rest) = bases.lagrange1.clone().split_at(self.plan.first_product());
        let (inverses, others) = rayon::join(
            || grouped(&queries, witness, rows),
            || mixed(&rest, &columns.a, &columns.wide[0], &[]),
        );
        inverses + others
    }

    /// `sum_(R2) w_i [K_i/delta2]`.
    fn after_challenge(&self, bases: &KeyBases<'_>, witness: &Witness, rows: &Rows) -> G1Projective {
        let (inverses, wide) = bases.l2.clone().split_at(self.plan.first_product());
        let wires: Vec<Fr> = rows.field.wires.iter().chain(&rows.matrices.wires).copied().collect();
        let (inverses, wide) = rayon::join(|| grouped(&inverses, witness, rows), || wide.msm(&wires));
        inverses + wide
    }

    /// The part of `[h Z/delta2]` that comes from `D = A B` on the coset.
    fn quotient(
        &self,
        devices: &[&Resident],
        bases: &KeyBases<'_>,
        witness: &Witness,
        rows: &Rows,
        columns: &Columns,
    ) -> G1Projective {
        let size = self.plan.domain();
        let (queries, others) = columns.b.split_at(self.plan.first_product());
        let matrices: Vec<Fr> = rows.matrices.b.iter().map(|b| b.map_or(rows.rho, Fr::from)).collect();
        let a = [
            Part::Chosen(&witness.rows, &rows.inverses),
            Part::Field(&rows.table),
            Part::Small(&columns.a, Fr::ZERO),
            Part::Field(&columns.wide[0]),
        ];
        let b = [
            Part::Small(queries, rows.rho),
            Part::Small(others, Fr::ZERO),
            Part::Field(&columns.wide[1]),
            Part::Field(&matrices),
        ];
        if let Some(sum) = resident::quotient(devices, size, &a, &b) {
            return sum;
        }
        let extended = |parts: &[Part<'_>]| {
            let mut column = on_processor(size, parts);
            self.coset.extend(&mut column);
            column
        };
        let (mut a, b) = rayon::join(|| extended(&a), || extended(&b));
        a.par_iter_mut().zip(&b).with_min_len(1024).for_each(|(a, b)| *a *= b);
        bases.quotient.msm(&a)
    }
}

impl Columns {
    fn new(prover: &Prover, witness: &Witness, table: &[i64], rows: &Rows) -> Self {
        let sums = prover.plan.integer_rows() - prover.plan.first_sum();
        let (products, gates) = (&witness.products, &witness.gates);
        let a = products.iter().map(|[a, _, _]| *a).chain(gates.iter().map(|(a, _)| *a));
        let b = products.iter().map(|[_, b, _]| *b).chain(gates.iter().map(|(_, b)| *b));
        let queries = witness.lookups.iter().chain(table).copied();
        Self {
            a: a.chain(repeat_n(0, sums)).collect(),
            b: queries.chain(b).chain(repeat_n(1, sums)).collect(),
            // The challenge has a point of its own.
            b_matrices: rows.matrices.b.iter().map(|b| b.unwrap_or(0)).collect(),
            wide: rows.wide_sides(),
        }
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
    let (small, (wide, last)) =
        rayon::join(|| first.msm_small(small), || rayon::join(|| next.msm(wide), || rest.msm_small(last)));
    small + wide + last
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
