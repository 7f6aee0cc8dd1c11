//! Keys of a model: `[K_i/gamma]`, `[K_i/delta1]`, `[K_i/delta2]` and the Lagrange points of the domain at `tau`.
//!
//! The columns come from a walk over the model ([`assay_circuits::r1cs::columns`]); no matrix is stored.

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::{CurveGroup, PrimeGroup};
use ark_ff::{Field, PrimeField};
use assay_circuits::domain;
use assay_circuits::ir::{Graph, Visibility, elements};
use assay_circuits::r1cs::columns::{Column, Columns};
use assay_circuits::r1cs::{Family, Plan};
use assay_verifier::proof::{KeyOrigin, KeyParts};

use super::key::ProvingKey;
use super::random;
use crate::fft::Coset;

/// Points made between two reports of progress.
const CHUNK: usize = 4096;

/// Where the secret exponents come from.
#[derive(Clone, Copy, Debug)]
pub enum Secret {
    /// The operating system; forgotten when the setup returns.
    Random,
    /// A seed that anyone may know: keys for tests, which say so and are refused elsewhere.
    Seed([u8; 32]),
}

struct Exponents {
    alpha: Fr,
    beta: Fr,
    gamma: Fr,
    delta1: Fr,
    delta2: Fr,
    tau: Fr,
}

impl Secret {
    fn origin(self) -> KeyOrigin {
        match self {
            Self::Random => KeyOrigin::SingleParty,
            Self::Seed(_) => KeyOrigin::TestSeed,
        }
    }

    fn exponents(self) -> Exponents {
        let mut stream = match self {
            Self::Random => None,
            Self::Seed(seed) => {
                Some(blake3::Hasher::new_derive_key("assay.v1 test setup").update(&seed).finalize_xof())
            }
        };
        let mut draw = || match &mut stream {
            None => random(),
            Some(stream) => {
                let mut bytes = [0; 64];
                stream.fill(&mut bytes);
                Fr::from_le_bytes_mod_order(&bytes)
            }
        };
        Exponents { alpha: draw(), beta: draw(), gamma: draw(), delta1: draw(), delta2: draw(), tau: draw() }
    }
}

/// Makes the proving key of a model; the verifying key is inside it. `progress(done, total)` counts points.
///
/// `omit` leaves a family of constraints out of the keys, which makes them unsound: tests show with it that a forged
/// witness then passes. Such keys take a [`Secret::Seed`].
///
/// # Panics
/// If a family is left out of keys that are not for tests.
pub fn setup(
    graph: &Graph,
    secret: Secret,
    omit: Option<Family>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> ProvingKey {
    assert!(omit.is_none() || matches!(secret, Secret::Seed(_)), "only test keys may leave constraints out");
    let plan = Plan::new(graph);
    loop {
        // A secret that meets a root of unity or an inverse of zero is drawn again; the chance is 2^-230.
        if let Some(key) = attempt(graph, &plan, secret, omit, progress) {
            return key;
        }
    }
}

fn attempt(
    graph: &Graph,
    plan: &Plan,
    secret: Secret,
    omit: Option<Family>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Option<ProvingKey> {
    let Exponents { alpha, beta, gamma, delta1, delta2, tau } = secret.exponents();
    let (inverse_gamma, inverse_delta1, inverse_delta2) =
        (gamma.inverse()?, delta1.inverse()?, delta2.inverse()?);
    let size = plan.domain();
    let mut lambda = domain::lagrange(size, Fr::ONE, tau)?;
    lambda.truncate(plan.rows());
    let coset = domain::lagrange(size, Coset::shift(size), tau)?;
    let half_vanishing = (tau.pow([size as u64]) - Fr::ONE) * Fr::from(2).inverse()? * inverse_delta2;

    let columns = Columns::new(graph, plan, &lambda, omit);
    let (lookups, table) = lambda[..plan.first_product()].split_at(plan.lookups);
    let sum_rows = &lambda[plan.first_sum()..plan.integer_rows()];
    let k = |column: &Column| beta * column.a + alpha * column.b + column.c;

    // The constant is 1 on the B side of the sums, e_t on the B side of table row t, and the C side of every lookup.
    let weighted_table: Fr = table.iter().zip(plan.table_values()).map(|(l, e)| *l * Fr::from(e)).sum();
    let all_lookups: Fr = lookups.iter().sum();
    let challenge: Fr = all_lookups + table.iter().sum::<Fr>() + columns.challenge;
    let one = k(&columns.one) + alpha * (sum_rows.iter().sum::<Fr>() + weighted_table) + all_lookups;
    let public = public_columns(graph, &columns).into_iter().map(k);
    let ic: Vec<Fr> =
        [one].into_iter().chain(public).chain([alpha * challenge]).map(|x| x * inverse_gamma).collect();

    let wires = columns.wires.iter().map(k).chain(table.iter().copied());
    let l1: Vec<Fr> = wires.map(|x| x * inverse_delta1).collect();
    // An inverse is on the A side of its row, and of the sum of its table.
    let lookup_sums = columns.lookup_tables.iter().map(|&index| sum_rows[index as usize]);
    let table_sums = plan.table_ranges().into_iter().zip(sum_rows).flat_map(|(rows, sum)| rows.map(|_| *sum));
    let u = lookups.iter().zip(lookup_sums).map(|(l, sum)| beta * (*l + sum));
    let v = table.iter().zip(table_sums).map(|(l, sum)| beta * (*l - sum));
    let after = u.chain(v).chain(columns.field_wires.iter().chain(&columns.matrix_wires).map(k));
    let l2: Vec<Fr> = after.map(|x| x * inverse_delta2).collect();
    let quotient: Vec<Fr> = coset.iter().map(|l| -(*l * half_vanishing)).collect();
    let products = &lambda[plan.first_product()..plan.first_gate()];
    let c_rows = table.iter().chain(products).chain(&lambda[plan.integer_rows()..]);
    let c_rows: Vec<Fr> = c_rows.map(|l| *l * half_vanishing).collect();

    let total = lambda.len() * 2 + ic.len() + l1.len() + l2.len() + quotient.len() + c_rows.len();
    let mut points = Points::new(total, progress);
    let singles = points.g1(&[alpha, beta, delta1, delta2, challenge, all_lookups * half_vanishing]);
    let [alpha1, beta1, delta1_1, delta2_1, challenge1, c_lookups]: [G1Affine; 6] =
        singles.try_into().ok()?;
    let singles = points.g2(&[beta, gamma, delta1, delta2, challenge]);
    let [beta2, gamma2, delta1_2, delta2_2, challenge2]: [G2Affine; 5] = singles.try_into().ok()?;
    let parts = KeyParts {
        origin: secret.origin(),
        model: graph.id(),
        inputs: graph.inputs().to_vec(),
        outputs: graph.outputs().iter().map(|output| output.port.clone()).collect(),
        alpha: KeyParts::g1(&alpha1),
        beta: KeyParts::g2(&beta2),
        gamma: KeyParts::g2(&gamma2),
        delta1: KeyParts::g2(&delta1_2),
        delta2: KeyParts::g2(&delta2_2),
        ic: points.g1(&ic).iter().map(KeyParts::g1).collect(),
    };
    Some(ProvingKey {
        verifying: parts.to_bytes(),
        limb_bits: plan.limb_bits,
        g1: [alpha1, beta1, delta1_1, delta2_1, challenge1, c_lookups],
        g2: [beta2, delta2_2, challenge2],
        lagrange1: points.g1(&lambda),
        lagrange2: points.g2(&lambda),
        l1: points.g1(&l1),
        l2: points.g1(&l2),
        quotient: points.g1(&quotient),
        c_rows: points.g1(&c_rows),
    })
}

/// The columns of the public inputs in the order of a statement: ports in order, a committed port's commitment in place
/// of its values.
fn public_columns<'a>(graph: &Graph, columns: &'a Columns) -> Vec<&'a Column> {
    let mut public =
        Vec::with_capacity(columns.inputs.len() + columns.outputs.len() + columns.commitments.len());
    let (mut inputs, mut commitments) = (columns.inputs.iter(), columns.commitments.iter());
    for port in graph.inputs() {
        match port.visibility {
            Visibility::Public => public.extend(inputs.by_ref().take(elements(&port.shape))),
            Visibility::Committed => public.extend(commitments.next()),
        }
    }
    // Outputs are in the order of the nodes, statements name them in the order of the ports.
    for wires in graph.output_wires() {
        match wires {
            Some(wires) => public.extend(&columns.outputs[wires]),
            None => public.extend(commitments.next()),
        }
    }
    public
}

/// Fixed-base multiplication with progress.
struct Points<'a> {
    g1: BatchMulPreprocessing<G1Projective>,
    g2: BatchMulPreprocessing<G2Projective>,
    done: usize,
    total: usize,
    progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Points<'a> {
    fn new(total: usize, progress: &'a (dyn Fn(usize, usize) + Sync)) -> Self {
        let g1 = BatchMulPreprocessing::new(G1Projective::generator(), total);
        let g2 = BatchMulPreprocessing::new(G2Projective::generator(), total);
        Self { g1, g2, done: 0, total, progress }
    }

    fn g1(&mut self, scalars: &[Fr]) -> Vec<G1Affine> {
        Self::batch(&self.g1, scalars, &mut self.done, self.total, self.progress)
    }

    fn g2(&mut self, scalars: &[Fr]) -> Vec<G2Affine> {
        Self::batch(&self.g2, scalars, &mut self.done, self.total, self.progress)
    }

    fn batch<G: CurveGroup<ScalarField = Fr>>(
        base: &BatchMulPreprocessing<G>,
        scalars: &[Fr],
        done: &mut usize,
        total: usize,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Vec<G::Affine> {
        let mut points = Vec::with_capacity(scalars.len());
        for chunk in scalars.chunks(CHUNK) {
            points.extend(base.batch_mul(chunk));
            *done += chunk.len();
            progress((*done).min(total), total);
        }
        points
    }
}
