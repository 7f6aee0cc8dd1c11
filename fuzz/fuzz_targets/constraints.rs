//! An arbitrary small graph and an arbitrary input: the interpreter against the rank-1 constraint system.
//!
//! 1. Every value lies in its tensor's static range.
//! 2. The witness of an inference satisfies every constraint and has its outputs, shown or committed to.
//! 3. With hints or outputs changed, a constraint is broken or the outputs are the honest ones.
//! 4. The columns that the setup makes keys of give the rows that the prover proves, for honest and forged wires.
#![no_main]

use ark_bn254::Fr;
use assay_circuits::commitment::{Salt, commit};
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, Op, TensorId};
use assay_circuits::r1cs::Plan;
use assay_circuits::r1cs::columns::{Column, Columns};
use assay_circuits::r1cs::field::FieldWitness;
use assay_circuits::r1cs::freivalds::FreivaldsWitness;
use assay_circuits::r1cs::witness::{Forgery, Witness};
use assay_fuzz::graphs::{self, Operators};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// What a change adds to a value at most.
const CHANGE_BITS: u32 = 12;
/// Static ranges within which the integers of a forged witness do not overflow: in the field they could not.
const FORGEABLE: i64 = 1 << 26;

/// Whether changed values stay far from 64 bits: at most one product multiplies what was changed.
fn is_forgeable(graph: &Graph) -> bool {
    let products = graph.nodes().iter().filter(|node| matches!(node.op, Op::Multiply | Op::MatMul(_)));
    let small = |tensor| {
        let range = graph.range(TensorId(tensor));
        range.lo > -FORGEABLE && range.hi < FORGEABLE
    };
    products.count() <= 1 && (0..graph.tensors() as u32).all(small)
}

/// Changes of up to three values.
fn changes(u: &mut Unstructured<'_>, honest: &[i64]) -> Result<Vec<(usize, i64)>> {
    let mut changes = Vec::new();
    if !honest.is_empty() {
        for _ in 0..u.int_in_range(0..=3)? {
            let at = u.choose_index(honest.len())?;
            changes.push((at, honest[at] + (u.int_in_range(-2..=2)? << u.int_in_range(0..=CHANGE_BITS)?)));
        }
    }
    Ok(changes)
}

/// The rows over the field: honest salts and commitments.
fn field_rows(graph: &Graph, trace: &Trace, witness: &Witness) -> (FieldWitness, Vec<Fr>) {
    let salts: Vec<Salt> =
        (1..=graph.committed().count()).map(|number| Salt::from_uniform(&[number as u8; 64])).collect();
    let values = trace.inputs(graph).into_iter().chain(trace.outputs(graph));
    let ports = graph.inputs().iter().chain(graph.outputs().iter().map(|output| &output.port));
    let committed = |port| graph.committed().any(|other| std::ptr::eq(other, port));
    let committed = ports.zip(values).filter(|(port, _)| committed(*port));
    let commitments = committed.zip(&salts).map(|((port, values), salt)| {
        commit(&port.quant, &values, salt).element().expect("a commitment is a field element")
    });
    let commitments: Vec<Fr> = commitments.collect();
    let salts: Vec<Fr> = salts.iter().map(Salt::element).collect();
    let rows = FieldWitness::new(&witness.committed, &salts, commitments.clone(), None);
    (rows, commitments)
}

/// Every side of the rows at a point, from the columns and from the rows.
fn agree(
    graph: &Graph,
    plan: &Plan,
    inputs: &[Vec<i32>],
    witness: &Witness,
    (field, commitments): &(FieldWitness, Vec<Fr>),
    seed: u64,
) {
    let point = Fr::from(seed) + Fr::from(1u64 << 40);
    let lambda: Vec<Fr> =
        std::iter::successors(Some(point), |power| Some(*power * point)).take(plan.rows()).collect();
    let columns = Columns::new(graph, plan, &lambda, None);
    let integer = |value: &i64| Fr::from(*value);
    let rho = Fr::from(seed) * Fr::from(seed) + Fr::from(1u64 << 33);
    let matrices = FreivaldsWitness::new(&witness.matrices, rho, None);
    assert_eq!([matrices.a.len(), matrices.wires.len()], [plan.matrix_rows, plan.matrix_wires]);
    // The values of a committed port are among the wires.
    let public = if plan.inputs == 0 { &[] } else { inputs };
    let inputs = public.iter().flatten().map(|&value| Fr::from(value));
    let values = inputs
        .chain(witness.outputs.iter().map(integer))
        .chain(commitments.iter().copied())
        .chain(witness.wires.iter().map(integer))
        .chain(field.wires.iter().chain(&matrices.wires).copied());
    let wires = (columns.inputs.iter().chain(&columns.outputs).chain(&columns.commitments))
        .chain(columns.wires.iter().chain(&columns.field_wires).chain(&columns.matrix_wires));
    assert_eq!(wires.clone().count(), values.clone().count());
    let from_columns = |side: fn(&Column) -> Fr| {
        let sum: Fr = wires.clone().zip(values.clone()).map(|(column, value)| side(column) * value).sum();
        sum + side(&columns.one)
    };
    // The rows of tables and sums do not depend on the model.
    let rows = |first: usize, values: &mut dyn Iterator<Item = Fr>| -> Fr {
        values.zip(&lambda[first..]).map(|(value, lambda)| value * lambda).sum()
    };
    let from_rows = |side: usize| {
        let products =
            rows(plan.first_product(), &mut witness.products.iter().map(|row| integer(&row[side])));
        products + rows(plan.integer_rows(), &mut field.rows.iter().map(|row| row[side]))
    };
    let from_matrices = |values: &mut dyn Iterator<Item = Fr>| rows(plan.first_matrix_row(), values);
    let [a, c] = [&matrices.a, &matrices.c].map(|side| from_matrices(&mut side.iter().copied()));
    let b = from_matrices(&mut matrices.b.iter().map(|b| b.map_or(rho, Fr::from)));
    let gates = |side: fn(&(i64, i64)) -> i64| {
        rows(plan.first_gate(), &mut witness.gates.iter().map(side).map(Fr::from))
    };
    let lookups = rows(0, &mut witness.lookups.iter().map(integer));
    assert_eq!(from_columns(|column| column.a), from_rows(0) + gates(|(a, _)| *a) + a);
    let of_challenge = columns.challenge * rho;
    assert_eq!(
        from_columns(|column| column.b) + of_challenge,
        from_rows(1) + gates(|(_, b)| *b) + lookups + b
    );
    assert_eq!(from_columns(|column| column.c), from_rows(2) + c);
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let Some(graph) = graphs::graph(u, Operators::All)? else { return Ok(()) };
    // A commitment takes hundreds of rows.
    let committing = u.ratio(1, 16)?;
    let graph = if committing { graph.committing(u.arbitrary()?, true) } else { graph };
    let plan = Plan::with_limb_bits(&graph, u.int_in_range(4..=14)?);
    let inputs = graphs::inputs(u, &graph)?;
    let trace = graph.run(&inputs).expect("the input fits");
    for tensor in (0..graph.tensors() as u32).map(TensorId) {
        let range = graph.range(tensor);
        assert!(trace.tensor(tensor).iter().all(|value| (range.lo..=range.hi).contains(value)));
    }

    let witness = Witness::new(&graph, &plan, &trace).expect("the interpreter agrees with the cells");
    for (values, wires) in trace.outputs(&graph).iter().zip(graph.output_wires()) {
        let Some(wires) = wires else { continue };
        assert!(values.iter().map(|&value| i64::from(value)).eq(witness.outputs[wires].iter().copied()));
    }
    assert_eq!(
        [witness.wires.len(), witness.lookups.len(), witness.products.len(), witness.gates.len()],
        [plan.wires, plan.lookups, plan.products, plan.gates]
    );
    assert_eq!(witness.outputs.len(), plan.outputs);
    assert_eq!(Witness::forged(&graph, &plan, &inputs, Forgery::default()), witness);
    let field = field_rows(&graph, &trace, &witness);
    assert!(field.0.rows.iter().all(|[a, b, c]| *a * b == *c), "the commitment is that of the library");
    assert_eq!([field.0.rows.len(), field.0.wires.len()], [plan.field_rows, plan.field_wires]);

    let seed = u.arbitrary()?;
    agree(&graph, &plan, &inputs, &witness, &field, seed);
    // A forged wire of a committed input would be another input.
    if committing || !is_forgeable(&graph) {
        return Ok(());
    }
    let (wires, outputs) = (changes(u, &witness.wires)?, changes(u, &witness.outputs)?);
    let forgery = Forgery { wires: &wires, outputs: &outputs, omit: None };
    let lie = Witness::forged(&graph, &plan, &inputs, forgery);
    assert!(lie.outputs == witness.outputs || !lie.violations().is_empty());
    agree(&graph, &plan, &inputs, &lie, &field, seed);
    Ok(())
}

libfuzzer_sys::fuzz_target!(init: assay_fuzz::seed("constraints", assay_fuzz::arbitrary()), |bytes: &[u8]| {
    // Bytes that end too early are no graph.
    let _ = run(&mut Unstructured::new(bytes));
});
