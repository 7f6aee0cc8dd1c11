//! Real proofs of halo2, and everything that must be refused. What each constraint stops is shown, family by family, with
//! the tests of `assay-circuits`.

use std::sync::OnceLock;

use assay_circuits::halo2::{Wire, Witness};
use assay_circuits::ir::Graph;
use assay_circuits::samples::{self, Chain};
use assay_prover::halo2::Prover;
use assay_verifier::proof::{self, PortValue, ProofError, Statement, VerifyingKey, halo2};
use proptest::prelude::*;

fn prover(graph: &Graph) -> Prover {
    Prover::new(graph).expect("the graph has a circuit")
}

fn dense() -> &'static Prover {
    static PROVER: OnceLock<Prover> = OnceLock::new();
    PROVER.get_or_init(|| prover(&samples::dense()))
}

/// An honest proof of the dense sample.
fn proven(inputs: &[i32], job: u8) -> (Statement, Vec<u8>) {
    let trace = dense().graph().run(&[inputs.to_vec()]).expect("inputs fit");
    dense().prove(&trace, [job; 32], &[]).expect("an honest proof")
}

/// What the verifier makes of a proof of cells that `forge` has changed, for outputs that it may change too.
fn outcome(
    prover: &Prover,
    inputs: &[i32],
    forge: impl FnOnce(&mut Witness, &mut Vec<i32>),
) -> Result<(), ProofError> {
    let inputs = vec![inputs.to_vec()];
    let trace = prover.graph().run(&inputs).expect("inputs fit");
    let mut witness = Witness::new(prover.layout(), &trace);
    let mut outputs = trace.outputs(prover.graph());
    forge(&mut witness, &mut outputs[0]);
    let statement = Statement::public([1; 32], inputs, outputs);
    let proof = prover.prove_witness(&witness, &statement).expect("a proof is made of anything");
    proof::verify(prover.verifying_key(), &statement, &proof)
}

#[test]
fn honest_proofs_of_every_kind_of_row_hold() {
    for graph in [
        samples::cell(),
        samples::hidden_cell(),
        samples::maximum(),
        samples::dense(),
        samples::convolution(),
    ] {
        let prover = prover(&graph);
        let port = &graph.inputs()[0];
        let count = assay_circuits::ir::elements(&port.shape) as i32;
        let width = port.quant.hi - port.quant.lo + 1;
        let inputs = (0..count).map(|i| port.quant.lo + i * 37 % width).collect();
        let trace = graph.run(&[inputs]).expect("inputs fit");
        let (statement, proof) = prover.prove(&trace, [7; 32], &[]).expect("honest");
        proof::verify(prover.verifying_key(), &statement, &proof).expect("holds");
        let VerifyingKey::Halo2(key) = prover.verifying_key() else { panic!("another system") };
        assert_eq!(proof.len(), key.proof_bytes());
    }
}

#[test]
fn forged_cells_are_refused_one_kind_at_a_time() {
    let cell = prover(&samples::cell());
    let layout = cell.layout().clone();
    // 100 * 1 + 3 + 8 = 6 * 16 + 15, 100 * 127 + 3 + 8 = 794 * 16 + 7
    let lies: [(&str, i32, i64, i64, i64); 9] = [
        ("quotient one too large", 1, 7, 15, 0),
        ("remainder -1", 1, 7, -1, 0),
        ("remainder 2^f", 1, 5, 31, 0),
        ("saturated without need", 1, 255, 15, -249),
        ("saturated at the other side", 1, 0, 15, -6),
        ("between the two sides", 1, 87, 15, 255),
        ("not saturated", 127, 254, 7, 540),
        ("excess too small", 127, 255, 7, 538),
        ("ReLU(-x) = x", -1, 6, 7, 0),
    ];
    outcome(&cell, &[1], |_, _| ()).expect("the honest cells hold");
    for (name, x, output, remainder, excess) in lies {
        let refused = outcome(&cell, &[x], |witness, outputs| {
            witness.put_output(&layout, 1, output, 255);
            witness.put_remainder(&layout, 1, remainder, 15);
            witness.put_excess(&layout, 1, excess);
            witness.count(&layout);
            outputs[0] = output as i32;
        });
        assert!(matches!(refused, Err(ProofError::Invalid)), "{name}: {refused:?}");
    }
}

#[test]
fn a_maximum_that_is_not_one_of_the_window_or_not_its_greatest_is_refused() {
    let maximum = prover(&samples::maximum());
    let layout = maximum.layout().clone();
    let inputs = [90, 5, -7, 20];
    for value in [100, 20, -128] {
        let refused = outcome(&maximum, &inputs, |witness, outputs| {
            let output = (value + 1) >> 1;
            for (row, taps) in rows(&layout) {
                for (tap, input) in taps.into_iter().enumerate() {
                    let x = input.map_or(value, |input: usize| i64::from(inputs[input]));
                    witness.put_distance(&layout, row, tap, value - x);
                }
                witness.set(&layout, Wire::Maximum, row, value + 128);
            }
            let row = layout.blocks[0].row_of(0);
            witness.put_output(&layout, row, output + 128, 255);
            witness.put_remainder(&layout, row, value + 1 - 2 * output, 1);
            witness.count(&layout);
            outputs[0] = output as i32;
        });
        assert!(matches!(refused, Err(ProofError::Invalid)), "{value}: {refused:?}");
    }
}

/// Rows of the first block with the elements that they take the maximum of.
fn rows(layout: &assay_circuits::halo2::Layout) -> Vec<(usize, Vec<Option<usize>>)> {
    use assay_circuits::halo2::layout::Tap;
    let mut rows = Vec::new();
    layout.blocks[0].for_each(layout.shape.taps, |unit| {
        let taps = unit.taps.iter().map(|tap| match tap {
            Tap::Element(element) => Some(*element),
            Tap::Previous => None,
        });
        rows.push((unit.row, taps.collect()));
    });
    rows
}

#[test]
fn multiplicities_that_do_not_count_the_lookups_are_refused() {
    let layout = dense().layout().clone();
    for (row, change) in [(1, -1), (1, 1), (2, 1)] {
        let refused = outcome(dense(), &[3, 200, 17], |witness, _| {
            let counted = witness.get(&layout, Wire::Multiplicity, row);
            witness.set(&layout, Wire::Multiplicity, row, counted + change);
        });
        assert!(matches!(refused, Err(ProofError::Invalid)), "{row} {change}");
    }
}

/// The manifest: every field of a statement, each with a change that must be refused. A field added to the statement
/// breaks the destructuring.
#[test]
fn every_field_of_the_statement_is_bound() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let Statement { job, inputs, outputs } = &statement;
    let other_job = Statement { job: [2; 32], ..statement.clone() };
    let other_input = Statement { inputs: vec![vec![3, 201, 17].into()], ..statement.clone() };
    let mut moved = outputs[0].public().expect("public").to_vec();
    moved[0] += 1;
    let other_output = Statement { outputs: vec![moved.into()], ..statement.clone() };
    assert!(*job != other_job.job && *inputs != other_input.inputs);
    // The third input has no weight, so no relation between the cells reads it.
    let unread = Statement { inputs: vec![vec![3, 200, 18].into()], ..statement.clone() };
    let same = dense().graph().run(&[vec![3, 200, 18]]).expect("fits").outputs(dense().graph());
    assert_eq!(unread.outputs, [PortValue::from(same[0].clone())]);
    let key = dense().verifying_key();
    for wrong in [other_job, other_input, other_output, unread] {
        assert!(matches!(proof::verify(key, &wrong, &proof), Err(ProofError::Invalid)));
    }
    proof::verify(key, &statement, &proof).expect("the proof itself holds");
}

#[test]
fn every_word_of_a_proof_is_bound() {
    let ((statement, proof), (_, second)) = (proven(&[3, 200, 17], 1), proven(&[3, 200, 17], 1));
    let key = dense().verifying_key();
    for at in (0..proof.len()).step_by(32) {
        assert_ne!(
            proof[at..at + 32],
            second[at..at + 32],
            "word {at} is the same in two proofs of one statement"
        );
        let mut spliced = proof.clone();
        spliced[at..at + 32].copy_from_slice(&second[at..at + 32]);
        assert!(proof::verify(key, &statement, &spliced).is_err(), "word {at}");
    }
}

#[test]
fn statements_of_the_wrong_shape_or_range_are_errors() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let key = dense().verifying_key();
    let inputs = |inputs: Vec<Vec<i32>>| Statement {
        inputs: inputs.into_iter().map(PortValue::from).collect(),
        ..statement.clone()
    };
    assert!(matches!(
        proof::verify(key, &inputs(vec![]), &proof),
        Err(ProofError::Ports { expected: 1, got: 0, .. })
    ));
    for tensor in [vec![3, 200], vec![3, 200, 17, 0], vec![3, 256, 17], vec![-1, 200, 17]] {
        assert!(matches!(proof::verify(key, &inputs(vec![tensor]), &proof), Err(ProofError::Statement(_))));
    }
    let outputs = Statement { outputs: vec![vec![0, 128].into()], ..statement.clone() };
    assert!(matches!(proof::verify(key, &outputs, &proof), Err(ProofError::Statement(_))));
}

#[test]
fn proofs_of_wrong_length_or_with_words_that_are_not_canonical_are_errors() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let key = dense().verifying_key();
    for length in [0, 1, 31, proof.len() - 32, proof.len() - 1] {
        let refused = proof::verify(key, &statement, &proof[..length]);
        assert!(matches!(refused, Err(ProofError::Length { got, .. }) if got == length));
    }
    let long = [&proof[..], &[0]].concat();
    assert!(matches!(proof::verify(key, &statement, &long), Err(ProofError::Length { .. })));
    for at in (0..proof.len()).step_by(32) {
        for filling in [0x00, 0xff] {
            let mut bytes = proof.clone();
            bytes[at..at + 32].fill(filling);
            assert!(proof::verify(key, &statement, &bytes).is_err(), "word {at} of {filling}");
        }
    }
    // The identity and a coordinate above the modulus, in place of the first commitment.
    for filling in [0x00, 0xff] {
        let mut bytes = proof.clone();
        bytes[..32].fill(filling);
        assert!(matches!(proof::verify(key, &statement, &bytes), Err(ProofError::Encoding(_))));
    }
}

#[test]
fn a_proof_of_a_model_with_one_weight_changed_is_refused() {
    let model = |weight| {
        let chain = Chain::new(vec![1, 1], -128, 127).dense(vec![weight], vec![3]);
        chain.requantize(4, 0, 255).graph().expect("valid")
    };
    let (ours, theirs) = (prover(&model(100)), prover(&model(101)));
    // An input on which both models agree, so that only the weights can tell them apart.
    let trace = theirs.graph().run(&[vec![2]]).expect("fits");
    let (statement, proof) = theirs.prove(&trace, [0; 32], &[]).expect("honest");
    let same = ours.graph().run(&[vec![2]]).expect("fits").outputs(ours.graph());
    assert_eq!(statement.outputs, [PortValue::from(same[0].clone())]);
    assert!(matches!(proof::verify(ours.verifying_key(), &statement, &proof), Err(ProofError::Invalid)));
}

#[test]
fn a_batch_holds_and_its_first_culprit_is_named() {
    let key = dense().verifying_key();
    let proofs: Vec<(Statement, Vec<u8>)> = (0..5).map(|i| proven(&[i, 7, 255 - i], i as u8)).collect();
    for size in [0, 1, 2, 5] {
        proof::verify_batch(key, &proofs[..size]).expect("all hold");
    }
    for culprit in 0..5 {
        let mut bad = proofs.clone();
        bad[culprit].0.job = [99; 32];
        bad[4].0.job = [98; 32];
        let error = proof::verify_batch(key, &bad).expect_err("one does not hold");
        assert!(error.index == culprit && matches!(error.source, ProofError::Invalid), "{error}");
        bad[culprit].1.pop();
        let error = proof::verify_batch(key, &bad).expect_err("one is cut");
        assert!(error.index == culprit && matches!(error.source, ProofError::Length { .. }), "{error}");
    }
    // An earlier proof that does not hold goes before a later one that is malformed, or that does not fit.
    let mut bad = proofs.clone();
    bad[1].0.job = [99; 32];
    bad[3].1.pop();
    assert_eq!(proof::verify_batch(key, &bad).expect_err("two are bad").index, 1);
    bad[0].0.inputs.clear();
    let error = proof::verify_batch(key, &bad).expect_err("three are bad");
    assert!(error.index == 0 && matches!(error.source, ProofError::Ports { .. }), "{error}");
}

#[test]
fn a_key_is_the_model_and_nothing_else_is_a_key() {
    let graph = samples::dense();
    let bytes = halo2::key_bytes(&graph);
    let key = VerifyingKey::decode(&bytes).expect("a key");
    assert_eq!(key.model_id(), graph.id());
    assert_eq!(proof::system_of(&bytes), key.system());
    assert!(!key.is_test_key());
    for length in 0..bytes.len() {
        assert!(VerifyingKey::decode(&bytes[..length]).is_err(), "{length}");
    }
    assert!(VerifyingKey::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn keys_of_too_many_rows_or_public_values_are_refused_at_once() {
    let refused = |chain: Chain| {
        let graph = chain.graph().expect("valid");
        VerifyingKey::decode(&halo2::key_bytes(&graph)).expect_err("refused").to_string()
    };
    let rows = refused(Chain::new(vec![1, 300_000], 0, 1).requantize(1, 0, 1));
    assert!(rows.contains("k = 19, the limit is 18"), "{rows}");
    let count = 1 << 20;
    let wide = Chain::new(vec![1, count], 0, 1).dense(vec![0; count as usize], vec![0]);
    let values = refused(wide.requantize(1, 0, 1));
    assert!(values.contains("public values: 1048577, the limit is 1048576"), "{values}");
    let error = Prover::new(&samples::product()).expect_err("refused").to_string();
    assert!(error.contains("Multiply"), "{error}");
}

#[test]
fn a_groth16_proof_is_none_of_halo2_and_the_other_way_round() {
    let groth16 = crate::keys::dense();
    let (statement, small) = crate::keys::proven(&[3, 200, 17], 1);
    let (same, large) = proven(&[3, 200, 17], 1);
    assert_eq!(statement, same);
    for (key, proof) in [(groth16.verifying_key(), &large), (dense().verifying_key(), &small)] {
        assert!(matches!(proof::verify(key, &statement, proof), Err(ProofError::Length { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_with_any_byte_changed_is_refused(at: prop::sample::Index, change in 1..=255u8) {
        static PROVEN: OnceLock<(Statement, Vec<u8>)> = OnceLock::new();
        let (statement, mut proof) = PROVEN.get_or_init(|| proven(&[3, 200, 17], 1)).clone();
        let at = at.index(proof.len());
        proof[at] ^= change;
        prop_assert!(proof::verify(dense().verifying_key(), &statement, &proof).is_err());
    }
}
