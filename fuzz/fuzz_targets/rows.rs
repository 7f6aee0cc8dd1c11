//! An arbitrary small graph and an arbitrary input: the interpreter against the rows of the halo2 circuit.
//!
//! 1. The cells of an inference satisfy every constraint.
//! 2. With cells changed and another output claimed, a constraint is broken.
#![no_main]

use assay_circuits::halo2::circuit::Rows;
use assay_circuits::halo2::public::{Integers, instance};
use assay_circuits::halo2::{Fp, Layout, Second, Witness};
use assay_circuits::ir::Graph;
use assay_fuzz::graphs::{self, Operators};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// Rows that compute something: larger circuits are slow to check one constraint at a time.
const UNITS: usize = 96;

/// Whether every constraint holds.
fn holds(
    graph: &Graph,
    layout: &Layout,
    witness: &Witness,
    inputs: &[Vec<i32>],
    outputs: &[Vec<i32>],
) -> bool {
    let statement = Integers {
        inputs: inputs.iter().map(Vec::as_slice).collect(),
        outputs: outputs.iter().map(Vec::as_slice).collect(),
    };
    let seed = Fp::from(0x1234_5678_9abc_def1);
    let challenge = seed * seed * seed * seed * seed;
    let public = instance(graph, layout, &statement, challenge).expect("the statement fits");
    let second = Second::new(layout, witness, &public).expect("no denominator is 0");
    let rows = Rows { layout, witness: Some(witness), second: Some(&second) };
    rows.mock(public).expect("the circuit is well-formed").verify().is_ok()
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let Some(graph) = graphs::graph(u, Operators::Common)? else { return Ok(()) };
    let (bits, taps) = (u.int_in_range(4..=7)?, u.int_in_range(1..=4)?);
    // The planner's own choice must be one, too.
    let Ok(layout) = Layout::with(&graph, bits, taps) else { return Ok(()) };
    assert!(Layout::new(&graph).is_ok());
    if layout.units > UNITS {
        return Ok(());
    }
    let inputs = graphs::inputs(u, &graph)?;
    let trace = graph.run(&inputs).expect("the input fits");
    let mut outputs = trace.outputs(&graph);
    let mut witness = Witness::new(&layout, &trace);
    assert!(holds(&graph, &layout, &witness, &inputs, &outputs));

    for _ in 0..u.int_in_range(0..=2)? {
        let row = 1 + u.choose_index(layout.units)?;
        // The last column counts lookups, which follows.
        let column = u.choose_index(witness.columns.len() - 1)?;
        witness.columns[column][row] += u.int_in_range(-3..=3)?;
    }
    witness.count(&layout);
    let port = u.choose_index(outputs.len())?;
    let quant = &graph.outputs()[port].port.quant;
    let output = u.choose_index(outputs[port].len())?;
    let claimed = u.int_in_range(quant.lo..=quant.hi)?;
    if claimed != outputs[port][output] {
        outputs[port][output] = claimed;
        assert!(!holds(&graph, &layout, &witness, &inputs, &outputs));
    }
    Ok(())
}

libfuzzer_sys::fuzz_target!(init: assay_fuzz::seed("rows", assay_fuzz::arbitrary()), |bytes: &[u8]| {
    // Bytes that end too early are no graph.
    let _ = run(&mut Unstructured::new(bytes));
});
