//! What a lying miner would try, with real keys and real proofs.

use assay_circuits::commitment::{Commitment, Salt, commit};
use assay_circuits::ir::Graph;
use assay_circuits::r1cs::witness::{Forgery, Witness};
use assay_circuits::r1cs::{Family, Plan};
use assay_circuits::samples::{self, Chain};
use assay_prover::groth16::{ProveError, Prover, draw_salts, setup};
use assay_verifier::proof::{self, PortValue, ProofError, Statement, VerifyingKey};
use proptest::prelude::*;

use crate::keys::{SEED, dense, outcome, outcome_of, proven, prover};

/// A lie that only one family of constraints stops.
struct Lie {
    family: Family,
    graph: Graph,
    inputs: &'static [i32],
    wires: Vec<(usize, i64)>,
    outputs: &'static [(usize, i64)],
    /// What the statement commits to, where the model commits to its input.
    committed: &'static [i32],
}

/// One lie for every family. In `samples::cell`, wire 0 is `e_lo`, wire 1 is `e_hi`; in `samples::hidden_cell`, wire 0 is
/// `y`, 1 is `e_lo`, 2 is `e_hi`; in `samples::maximum`, the first wire is the first `p`; a committed input is wire 0.
fn lies() -> Vec<Lie> {
    let lie = |family, graph, inputs, wires: &[(usize, i64)], outputs, committed| Lie {
        family,
        graph,
        inputs,
        wires: wires.to_vec(),
        outputs,
        committed,
    };
    let hidden = || samples::cell().committing(true, false);
    // 100 x + 3 + 8 = 16 u + r: x = 1 gives u = 6, x = -1 gives u = -6, x = 41 gives u = 256.
    let mut lies = vec![
        lie(Family::Remainder, samples::cell(), &[1], &[(0, 0), (1, 0)], &[(0, 7)], &[]),
        lie(Family::OutputRange, samples::hidden_cell(), &[41], &[(0, 256), (1, 0), (2, 0)], &[], &[]),
        lie(Family::Excess, samples::cell(), &[1], &[(0, -6), (1, 0)], &[(0, 0)], &[]),
        lie(Family::SaturateLow, samples::cell(), &[-1], &[(0, 12), (1, 0)], &[(0, 6)], &[]),
        lie(Family::SaturateHigh, samples::cell(), &[1], &[(0, 0), (1, 3)], &[(0, 3)], &[]),
        lie(Family::MaxRange, samples::maximum(), &[90, 5, -7, 20], &[(0, 0)], &[], &[]),
        lie(Family::MaxChoice, samples::maximum(), &[5, 90, -7, 20], &[(0, 3)], &[], &[]),
        lie(Family::InputRange, hidden(), &[1], &[(0, 129)], &[], &[129]),
        lie(Family::Commitment, hidden(), &[1], &[(0, 2)], &[], &[1]),
    ];
    // (3 * 60 - 2 * 10 + 16) >> 5 = 5: the argument stays, the value of its function moves from 107 - 25 / 8 to 106.
    let (graph, inputs) = (samples::function(), &[60, 10]);
    let value = wire(&graph, inputs, 104);
    lies.push(lie(Family::Entry, graph, inputs, &[(value, 106)], &[], &[]));
    // (3 * 100 - 1 + 2) >> 2 = 75, times 100.
    let (graph, inputs) = (samples::product(), &[100]);
    let value = wire(&graph, inputs, 7500);
    lies.push(lie(Family::Product, graph, inputs, &[(value, 7000)], &[], &[]));
    // The square of a matrix with one element, 13.
    let (graph, inputs) = (samples::matrices(), &ONE_ELEMENT);
    let value = wire(&graph, inputs, 169);
    lies.push(lie(Family::Matrix, graph, inputs, &[(value, 150)], &[], &[]));
    // 30^2 + 41^2 = 2581, of which the root is 50; its square follows the lie.
    for (family, root) in [(Family::RootHigh, 47), (Family::RootLow, 53)] {
        let (graph, inputs) = (samples::norm(), &[30, 41]);
        let value = wire(&graph, inputs, 50);
        lies.push(lie(family, graph, inputs, &[(value, root), (value + 1, root * root)], &[], &[]));
    }
    lies
}

const ONE_ELEMENT: [i32; 64] = {
    let mut elements = [0; 64];
    elements[9] = 13;
    elements
};

/// The only private wire with this value.
fn wire(graph: &Graph, inputs: &[i32], value: i64) -> usize {
    let honest = Witness::forged(graph, &Plan::new(graph), &[inputs.to_vec()], Forgery::default());
    let mut wires = (0..honest.wires.len()).filter(|&i| honest.wires[i] == value);
    let wire = wires.next().expect("a wire has the value");
    assert_eq!(wires.next(), None, "no other wire has it");
    wire
}

#[test]
fn each_family_of_constraints_stops_a_lie_that_passes_without_it() {
    for Lie { family, graph, inputs, wires, outputs, committed } in lies() {
        let with = prover(graph.clone(), None);
        let lie = Forgery { wires: &wires, outputs, omit: None };
        let refused = outcome(&with, inputs, lie, committed);
        assert!(matches!(refused, Err(ProofError::Invalid)), "{family:?} lets the lie pass: {refused:?}");

        let without = prover(graph, Some(family));
        let lie = Forgery { omit: Some(family), ..lie };
        let honest = Witness::forged(with.graph(), with.plan(), &[inputs.to_vec()], Forgery::default());
        let forged = Witness::forged(without.graph(), without.plan(), &[inputs.to_vec()], lie);
        assert_ne!(forged.outputs, honest.outputs, "{family:?}: the lie changes nothing");
        assert!(forged.violations().is_empty(), "{family:?}: {:?}", forged.violations());
        outcome(&without, inputs, lie, committed).unwrap_or_else(|e| panic!("{family:?} does not bite: {e}"));
    }
}

#[test]
fn every_family_has_a_lie() {
    let mut families: Vec<Family> = lies().iter().map(|lie| lie.family).collect();
    families.sort();
    // A value that passes for a function's but for its range is a fraction, which no integer witness can hold; see
    // `a_fraction_fits_a_table_and_is_out_of_range`.
    assert_eq!(families, Family::ALL.into_iter().filter(|f| *f != Family::EntryRange).collect::<Vec<_>>());
}

#[test]
fn honest_proofs_of_every_kind_of_cell_hold() {
    for graph in [
        samples::cell(),
        samples::hidden_cell(),
        samples::maximum(),
        samples::dense(),
        samples::convolution(),
        samples::function(),
        samples::product(),
        samples::attention(),
        samples::matrices(),
        samples::matrices().committing(true, false),
        samples::norm(),
        samples::dense().committing(true, false),
        samples::dense().committing(false, true),
        samples::function().committing(true, true),
    ] {
        let prover = prover(graph, None);
        let port = &prover.graph().inputs()[0];
        let count = assay_circuits::ir::elements(&port.shape) as i32;
        for seed in 0..3 {
            let width = port.quant.hi - port.quant.lo + 1;
            let inputs = (0..count).map(|i| port.quant.lo + (i * 37 + seed * 101) % width).collect();
            let trace = prover.graph().run(&[inputs]).expect("inputs fit");
            let salts = draw_salts(prover.graph());
            let (statement, proof) = prover.prove(&trace, [7; 32], &salts).expect("honest");
            assert_eq!(proof.len(), proof::PROOF_BYTES);
            proof::verify(prover.verifying_key(), &statement, &proof).expect("holds");
        }
    }
}

/// The manifest: every field of a statement and of a proof, each with a change that must be refused. A field added to
/// the statement breaks the destructuring; the ranges cover every byte of a proof.
#[test]
fn every_field_of_statement_and_proof_is_bound() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let Statement { job, inputs, outputs } = &statement;
    let other_job = Statement { job: [2; 32], ..statement.clone() };
    let other_input = Statement { inputs: vec![vec![3, 201, 17].into()], ..statement.clone() };
    let mut moved = outputs[0].public().expect("the sample shows its output").to_vec();
    moved[0] += 1;
    let other_output = Statement { outputs: vec![moved.into()], ..statement.clone() };
    assert!(*job != other_job.job && *inputs != other_input.inputs);
    let key = dense().verifying_key();
    for wrong in [other_job, other_input, other_output] {
        assert!(matches!(proof::verify(key, &wrong, &proof), Err(ProofError::Invalid)));
    }
    let (_, second) = proven(&[3, 200, 17], 1);
    for (name, field) in [("A", 0..32), ("B", 32..96), ("C1", 96..128), ("C2", 128..160)] {
        let mut spliced = proof.clone();
        spliced[field.clone()].copy_from_slice(&second[field]);
        assert!(matches!(proof::verify(key, &statement, &spliced), Err(ProofError::Invalid)), "{name}");
    }
    proof::verify(key, &statement, &proof).expect("the proof itself holds");
}

#[test]
fn a_value_that_no_constraint_reads_binds_all_the_same() {
    // The third input of the dense sample has weight 0 everywhere.
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let wrong = Statement { inputs: vec![vec![3, 200, 18].into()], ..statement };
    let trace = dense().graph().run(&[vec![3, 200, 18]]).expect("fits");
    assert_eq!(dense().statement(&trace, wrong.job, &[]), wrong, "both inputs have one output");
    assert!(matches!(proof::verify(dense().verifying_key(), &wrong, &proof), Err(ProofError::Invalid)));
}

#[test]
fn statements_of_the_wrong_shape_or_range_are_errors() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let key = dense().verifying_key();
    let inputs = |inputs: Vec<Vec<i32>>| {
        let inputs = inputs.into_iter().map(Into::into).collect();
        Statement { inputs, ..statement.clone() }
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
fn a_commitment_binds_its_port_and_hides_its_values() {
    let prover = prover(samples::dense().committing(true, true), None);
    let key = prover.verifying_key();
    let trace = prover.graph().run(&[vec![3, 200, 17]]).expect("fits");
    let prove = |salts: &[Salt]| prover.prove(&trace, [1; 32], salts).expect("honest");
    let salts = draw_salts(prover.graph());
    let (statement, proof) = prove(&salts);
    let [PortValue::Committed(input)] = statement.inputs[..] else { panic!("the input is hidden") };
    assert_eq!(input, commit(&prover.graph().inputs()[0].quant, &[3, 200, 17], &salts[0]));
    assert_ne!(
        prove(&draw_salts(prover.graph())).0.inputs,
        statement.inputs,
        "another salt, another commitment"
    );

    let with = |inputs: Vec<PortValue>| Statement { inputs, ..statement.clone() };
    let other = commit(&prover.graph().inputs()[0].quant, &[3, 200, 18], &salts[0]);
    let swapped =
        Statement { inputs: statement.outputs.clone(), outputs: statement.inputs.clone(), ..statement };
    for wrong in [with(vec![PortValue::Committed(other)]), swapped] {
        assert!(matches!(proof::verify(key, &wrong, &proof), Err(ProofError::Invalid)));
    }
    let not_reduced = with(vec![PortValue::Committed(Commitment([255; 32]))]);
    assert!(matches!(proof::verify(key, &not_reduced, &proof), Err(ProofError::Commitment { .. })));
    let shown = with(vec![vec![3, 200, 17].into()]);
    assert!(matches!(proof::verify(key, &shown, &proof), Err(ProofError::Visibility { .. })));
    let hidden = Statement { inputs: statement.inputs.clone(), ..proven(&[3, 200, 17], 1).0 };
    assert!(matches!(
        proof::verify(dense().verifying_key(), &hidden, &proof),
        Err(ProofError::Visibility { .. })
    ));
    assert!(matches!(
        prover.prove(&trace, [1; 32], &salts[..1]),
        Err(ProveError::Salts { expected: 2, got: 1 })
    ));

    let batch: Vec<_> = (0..5).map(|_| prove(&draw_salts(prover.graph()))).collect();
    proof::verify_batch(key, &batch).expect("all hold");
}

#[test]
fn a_tuple_from_another_table_is_refused() {
    // Two functions of the same argument; the second's value is looked up in the first's place.
    let values = |offset: i32| (-8..8).map(|x| x * x / 8 + offset).collect();
    let chain = Chain::new(vec![1, 1], -128, 127).requantize(5, -8, 7).table(-8, values(0));
    let graph = chain.requantize(1, -8, 7).table(-8, values(20)).requantize(1, 0, 31).graph().expect("valid");
    let prover = prover(graph, None);
    let inputs = [vec![100]];
    let mut witness = Witness::forged(prover.graph(), prover.plan(), &inputs, Forgery::default());
    outcome_of(&prover, inputs.to_vec(), &witness, &[]).expect("the honest witness holds");
    let tables = prover.plan().table_ranges();
    assert_eq!(tables.len(), 3);
    let lookup = witness.rows.iter().position(|&row| tables[1].contains(&(row as usize))).expect("looked up");
    let (from, to) = (witness.rows[lookup] as usize, tables[2].start + 3);
    witness.rows[lookup] = to as u32;
    witness.lookups[lookup] = prover.plan().table_values().nth(to).expect("a row");
    witness.multiplicities[from] -= 1;
    witness.multiplicities[to] += 1;
    let refused = outcome_of(&prover, inputs.to_vec(), &witness, &[]);
    assert!(matches!(refused, Err(ProofError::Invalid)), "{refused:?}");
}

#[test]
fn a_proof_of_a_model_with_one_weight_changed_is_refused() {
    let model = |weight| Chain::new(vec![1, 1], -128, 127).dense(vec![weight], vec![3]).requantize(4, 0, 255);
    let (ours, theirs) = (model(100).graph().expect("valid"), model(101).graph().expect("valid"));
    let (ours, theirs) = (prover(ours, None), prover(theirs, None));
    // An input on which both models agree, so that only the key can tell them apart.
    let trace = theirs.graph().run(&[vec![2]]).expect("fits");
    let (statement, proof) = theirs.prove(&trace, [0; 32], &[]).expect("honest");
    let trace = ours.graph().run(&[vec![2]]).expect("fits");
    assert_eq!(ours.statement(&trace, statement.job, &[]), statement);
    assert!(matches!(proof::verify(ours.verifying_key(), &statement, &proof), Err(ProofError::Invalid)));
}

#[test]
fn multiplicities_that_do_not_count_the_lookups_are_refused() {
    let prover = dense();
    let inputs = vec![vec![3, 200, 17]];
    let honest = Witness::forged(prover.graph(), prover.plan(), &inputs, Forgery::default());
    outcome_of(prover, inputs.clone(), &honest, &[]).expect("the honest counts hold");
    let used = honest.multiplicities.iter().position(|&m| m > 0).expect("something is looked up");
    let unused = honest.multiplicities.iter().position(|&m| m == 0).expect("something is not");
    for (row, change) in [(used, -1), (used, 1), (unused, 1)] {
        let mut forged = honest.clone();
        forged.multiplicities[row] = forged.multiplicities[row].wrapping_add_signed(change);
        assert!(
            matches!(outcome_of(prover, inputs.clone(), &forged, &[]), Err(ProofError::Invalid)),
            "{row} {change}"
        );
    }
    let mut moved = honest.clone();
    moved.multiplicities[used] -= 1;
    moved.multiplicities[unused] += 1;
    assert!(matches!(outcome_of(prover, inputs, &moved, &[]), Err(ProofError::Invalid)));
}

#[test]
fn a_lookup_outside_the_table_is_refused() {
    let prover = dense();
    let inputs = vec![vec![3, 200, 17]];
    for value in [-1, prover.plan().table() as i64, i64::MAX] {
        let mut forged = Witness::forged(prover.graph(), prover.plan(), &inputs, Forgery::default());
        forged.lookups[0] = value;
        assert!(
            matches!(outcome_of(prover, inputs.clone(), &forged, &[]), Err(ProofError::Invalid)),
            "{value}"
        );
    }
}

#[test]
fn two_proofs_of_one_statement_differ_in_every_element() {
    let ((statement, first), (same, second)) = (proven(&[9, 9, 9], 3), proven(&[9, 9, 9], 3));
    assert_eq!(statement, same);
    for field in [0..32, 32..96, 96..128, 128..160] {
        assert_ne!(first[field.clone()], second[field]);
    }
}

#[test]
fn proofs_of_wrong_length_or_with_bad_points_are_errors() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let key = dense().verifying_key();
    for length in [0, 1, 159] {
        assert!(
            matches!(proof::verify(key, &statement, &proof[..length]), Err(ProofError::Length { got, .. }) if got == length)
        );
    }
    let long = [&proof[..], &[0]].concat();
    assert!(matches!(proof::verify(key, &statement, &long), Err(ProofError::Length { got: 161, .. })));
    for field in [0..32, 32..96, 96..128, 128..160] {
        let with = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = proof.clone();
            change(&mut bytes[field.clone()]);
            proof::verify(key, &statement, &bytes)
        };
        let last = field.len() - 1;
        let identity = with(&|bytes| {
            bytes.fill(0);
            bytes[last] = 0x40;
        });
        assert!(matches!(identity, Err(ProofError::Point { .. })), "identity");
        let dirty_identity = with(&|bytes| bytes[last] |= 0x40);
        assert!(matches!(dirty_identity, Err(ProofError::Point { .. })), "identity with coordinates");
        let not_canonical = with(&|bytes| bytes.fill(0xff));
        assert!(matches!(not_canonical, Err(ProofError::Point { .. })), "coordinate above the modulus");
        let negated = with(&|bytes| bytes[last] ^= 0x80);
        assert!(matches!(negated, Err(ProofError::Invalid)), "negated point");
    }
}

#[test]
fn a_point_outside_the_subgroup_is_refused() {
    use ark_bn254::{Fq2, G2Affine};
    use ark_serialize::CanonicalSerialize;
    let (statement, mut proof) = proven(&[3, 200, 17], 1);
    let outside = (1u64..)
        .filter_map(|x| G2Affine::get_point_from_x_unchecked(Fq2::new(x.into(), 1u64.into()), false))
        .find(|point| !point.is_in_correct_subgroup_assuming_on_curve())
        .expect("most points of the curve are outside");
    let mut bytes = Vec::new();
    outside.serialize_compressed(&mut bytes).expect("writes to memory");
    proof[32..96].copy_from_slice(&bytes);
    let refused = proof::verify(dense().verifying_key(), &statement, &proof);
    assert!(matches!(refused, Err(ProofError::Point { name: "B", .. })));
}

#[test]
fn a_batch_holds_and_its_first_culprit_is_named() {
    let key = dense().verifying_key();
    let mut batch: Vec<(Statement, Vec<u8>)> = (0..20).map(|i| proven(&[i, 7, 255 - i], i as u8)).collect();
    for size in [0, 1, 2, 20] {
        proof::verify_batch(key, &batch[..size]).expect("all hold");
    }
    for culprit in [0, 7, 19] {
        let mut bad = batch.clone();
        bad[culprit].0.job = [99; 32];
        assert_eq!(proof::verify_batch(key, &bad).expect_err("one does not hold").index, culprit);
        bad[culprit].1.pop();
        assert_eq!(proof::verify_batch(key, &bad).expect_err("one is cut").index, culprit);
    }
    // Two errors that cancel in a plain sum: the coefficients keep them apart.
    let (first, second) = (batch[0].1[128..160].to_vec(), batch[1].1[128..160].to_vec());
    batch[0].1[128..160].copy_from_slice(&second);
    batch[1].1[128..160].copy_from_slice(&first);
    assert_eq!(proof::verify_batch(key, &batch).expect_err("swapped").index, 0);
}

#[test]
fn a_key_of_another_setup_refuses_the_proof() {
    let (statement, proof) = proven(&[3, 200, 17], 1);
    let key = setup(&samples::dense(), assay_prover::groth16::Secret::Random, None, &|_, _| ());
    let other = VerifyingKey::decode(key.verifying_key()).expect("valid");
    assert!(matches!(proof::verify(&other, &statement, &proof), Err(ProofError::Invalid)));
    assert!(!other.is_test_key() && dense().verifying_key().is_test_key());
}

#[test]
fn the_prover_refuses_a_damaged_key_rather_than_hand_out_a_bad_proof() {
    let graph = samples::dense();
    let key = setup(&graph, SEED, None, &|_, _| ());
    let other = setup(&graph, assay_prover::groth16::Secret::Random, None, &|_, _| ());
    let mixed = key.with_verifying_key_of(&other);
    let prover = Prover::new(graph, mixed).expect("the parts fit");
    let trace = prover.graph().run(&[vec![1, 2, 3]]).expect("fits");
    assert!(matches!(prover.prove(&trace, [0; 32], &[]), Err(ProveError::SelfCheck(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_with_any_byte_changed_is_refused(at in 0..160usize, change in 1..=255u8) {
        let (statement, mut proof) = proven(&[3, 200, 17], 1);
        proof[at] ^= change;
        prop_assert!(proof::verify(dense().verifying_key(), &statement, &proof).is_err());
    }

    #[test]
    fn a_key_with_any_byte_changed_is_refused_or_refuses_the_proof(at: prop::sample::Index, change in 1..=255u8) {
        let (statement, proof) = proven(&[3, 200, 17], 1);
        let mut bytes = setup(&samples::dense(), SEED, None, &|_, _| ()).verifying_key().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok(key) = VerifyingKey::decode(&bytes) {
            prop_assert!(proof::verify(&key, &statement, &proof).is_err());
        }
    }
}
