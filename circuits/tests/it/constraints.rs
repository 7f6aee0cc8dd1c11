//! The constraint system against the interpreter, and against forged witnesses.

use ark_bn254::Fr;
use assay_circuits::ir::{Combine, Graph, MatMul, Op, elements};
use assay_circuits::linear::Sparse;
use assay_circuits::r1cs::freivalds::FreivaldsWitness;
use assay_circuits::r1cs::witness::{Forgery, Witness};
use assay_circuits::r1cs::{Family, Plan};
use assay_circuits::samples::{self, Chain};
use proptest::prelude::*;

/// A graph of random shape and weights, with inputs over the whole range of its type.
pub fn graph_and_inputs() -> impl Strategy<Value = (Graph, Vec<i32>)> {
    let weight = -40..=40i32;
    let dense = (1..6usize, 1..5usize, 1..5usize).prop_flat_map(move |(inputs, hidden, outputs)| {
        let first = prop::collection::vec(-40..=40i32, inputs * hidden);
        let second = prop::collection::vec(-40..=40i32, hidden * outputs);
        (first, second, prop::collection::vec(-500..=500i64, hidden), 1..9u8, 3..300i32, -9..=0i32).prop_map(
            move |(first, second, bias, shift, hi, lo)| {
                let chain = Chain::new(vec![1, inputs as u32], -128, 127)
                    .dense(first, bias)
                    .requantize(shift, lo, hi);
                chain.dense(second, vec![0; outputs]).requantize(shift, -100, 99).graph().expect("valid")
            },
        )
    });
    let conv = (prop::collection::vec(weight, 9), -300..=300i64, 1..7u8, 1..200i32).prop_map(
        |(weights, bias, shift, hi)| {
            let chain = Chain::new(vec![1, 1, 6, 6], -8, 255).conv(weights, vec![bias], [3, 3]).pool();
            chain.requantize(shift, 0, hi).graph().expect("valid")
        },
    );
    let samples = prop_oneof![
        Just(samples::function()),
        Just(samples::product()),
        Just(samples::norm()),
        Just(samples::attention()),
        Just(samples::attention().committing(true, false)),
        Just(samples::matrices()),
    ];
    prop_oneof![dense, conv, samples].prop_flat_map(|graph| {
        let port = &graph.inputs()[0];
        let values = prop_oneof![Just(port.quant.lo), Just(port.quant.hi), port.quant.lo..=port.quant.hi];
        let inputs = prop::collection::vec(values, elements(&port.shape));
        (Just(graph), inputs)
    })
}

fn forged(
    graph: &Graph,
    plan: &Plan,
    inputs: &[i32],
    wires: &[(usize, i64)],
    outputs: &[(usize, i64)],
) -> Witness {
    Witness::forged(graph, plan, &[inputs.to_vec()], Forgery { wires, outputs, omit: None })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_inference_satisfies_the_constraints((graph, inputs) in graph_and_inputs(), limb_bits in 4..=14u32) {
        let plan = Plan::with_limb_bits(&graph, limb_bits);
        let trace = graph.run(std::slice::from_ref(&inputs)).expect("inputs fit");
        let witness = Witness::new(&graph, &plan, &trace).expect("the interpreter agrees with the cells");
        let outputs: Vec<i64> = trace.outputs(&graph).concat().into_iter().map(i64::from).collect();
        prop_assert_eq!(&witness.outputs, &outputs);
        prop_assert_eq!(&witness, &forged(&graph, &plan, &inputs, &[], &[]));
        prop_assert_eq!(witness.wires.len(), plan.wires);
        prop_assert_eq!(witness.lookups.len(), plan.lookups);
        prop_assert_eq!(witness.gates.len(), plan.gates);
        prop_assert_eq!(witness.products.len(), plan.products);
        let after = FreivaldsWitness::new(&witness.matrices, Fr::from(77u64), None);
        prop_assert_eq!([after.a.len(), after.wires.len()], [plan.matrix_rows, plan.matrix_wires]);
        let counted: u32 = witness.multiplicities.iter().sum();
        prop_assert_eq!(counted as usize, plan.lookups);
    }

    #[test]
    fn no_change_of_two_wires_changes_an_output(
        (graph, inputs) in graph_and_inputs(),
        limb_bits in 4..=10u32,
        picks in prop::collection::vec((any::<prop::sample::Index>(), -3..=3i64, 0..18u32), 1..3),
        output in (any::<prop::sample::Index>(), -2..=2i64),
    ) {
        let plan = Plan::with_limb_bits(&graph, limb_bits);
        let honest = forged(&graph, &plan, &inputs, &[], &[]);
        let change = |(index, delta, scale): &(prop::sample::Index, i64, u32)| {
            let at = index.index(plan.wires);
            (at, honest.wires[at] + (delta << scale))
        };
        let wires: Vec<_> = if plan.wires == 0 { vec![] } else { picks.iter().map(change).collect() };
        let at = output.0.index(plan.outputs);
        let outputs = [(at, honest.outputs[at] + output.1)];
        let lie = forged(&graph, &plan, &inputs, &wires, &outputs);
        prop_assert!(lie.outputs == honest.outputs || !lie.violations().is_empty());
    }
}

/// All single and double changes around one cell, for every input of its type: the output never moves.
#[test]
fn a_cell_has_one_output_for_every_input() {
    let graph = samples::cell();
    for limb_bits in [4, 8, 11] {
        let plan = Plan::with_limb_bits(&graph, limb_bits);
        for x in [-128, -3, -1, 0, 1, 2, 40, 41, 127] {
            let honest = forged(&graph, &plan, &[x], &[], &[]);
            assert!(honest.violations().is_empty());
            for y in -2..=257 {
                if y == honest.outputs[0] {
                    continue;
                }
                let plain = forged(&graph, &plan, &[x], &[], &[(0, y)]);
                assert!(!plain.violations().is_empty(), "x {x} y {y}");
                // u = y - e_lo + e_hi can be kept by moving either excess.
                let u = honest.outputs[0] - honest.wires[0] + honest.wires[1];
                for excesses in [[y - u, 0], [0, u - y], [y - u + 1, 1], [1, u - y + 1]] {
                    let wires = [(0, excesses[0]), (1, excesses[1])];
                    let lie = forged(&graph, &plan, &[x], &wires, &[(0, y)]);
                    assert!(!lie.violations().is_empty(), "x {x} y {y} excesses {excesses:?}");
                }
            }
        }
    }
}

fn names(graph: &Graph, inputs: &[i32], wires: &[(usize, i64)], outputs: &[(usize, i64)]) -> Vec<Family> {
    let plan = Plan::with_limb_bits(graph, 8);
    let mut families = forged(graph, &plan, inputs, wires, outputs).violations().to_vec();
    families.dedup();
    families
}

#[test]
fn a_quotient_off_by_one_breaks_the_remainder() {
    // 100 * 1 + 3 + 8 = 6 * 16 + 15
    for y in [5, 7] {
        assert_eq!(names(&samples::cell(), &[1], &[(0, 0), (1, 0)], &[(0, y)]), [Family::Remainder]);
    }
}

#[test]
fn an_unsaturated_value_above_the_type_breaks_its_range() {
    // 100 * 127 + 3 + 8 = 794 * 16 + 7
    assert_eq!(names(&samples::cell(), &[127], &[(0, 0), (1, 0)], &[(0, 794)]), [Family::OutputRange]);
}

#[test]
fn saturation_without_need_breaks_a_gate_or_the_excess() {
    let graph = samples::cell();
    assert_eq!(names(&graph, &[1], &[(0, 249), (1, 0)], &[(0, 255)]), [Family::SaturateLow]);
    assert_eq!(names(&graph, &[1], &[(0, 0), (1, -249)], &[(0, 255)]), [Family::Excess]);
    assert_eq!(names(&graph, &[1], &[(0, 0), (1, 6)], &[(0, 0)]), [Family::SaturateHigh]);
    assert_eq!(names(&graph, &[1], &[(0, -6), (1, 0)], &[(0, 0)]), [Family::Excess]);
}

#[test]
fn relu_of_a_negative_value_is_zero_and_nothing_else() {
    let graph = samples::cell();
    // 100 * -1 + 3 + 8 = -6 * 16 + 7
    assert_eq!(names(&graph, &[-1], &[(0, 6), (1, 0)], &[(0, 0)]), []);
    assert_eq!(names(&graph, &[-1], &[(0, 12), (1, 0)], &[(0, 6)]), [Family::SaturateLow]);
    assert!(names(&graph, &[-1], &[(0, 0), (1, 0)], &[(0, -6)]).contains(&Family::OutputRange));
    assert_eq!(names(&graph, &[-1], &[(0, 7), (1, 0)], &[(0, 1)]), [Family::SaturateLow]);
}

#[test]
fn a_maximum_that_is_not_the_greatest_or_not_in_the_window_is_named() {
    let graph = samples::maximum();
    let (inputs, honest) = ([5, 90, -7, 20], 45);
    let plan = Plan::with_limb_bits(&graph, 8);
    let witness = forged(&graph, &plan, &inputs, &[], &[]);
    assert_eq!(witness.outputs, [honest]);
    let wires: Vec<usize> = (0..witness.wires.len()).filter(|&i| witness.wires[i] != 0).collect();
    assert!(!wires.is_empty());
    for &wire in &wires {
        let lie = forged(&graph, &plan, &inputs, &[(wire, 0)], &[]);
        assert!(!lie.violations().is_empty(), "the greater operand dropped at wire {wire}");
        let lie = forged(&graph, &plan, &inputs, &[(wire, witness.wires[wire] + 1)], &[]);
        assert!(!lie.violations().is_empty(), "a value from outside the window at wire {wire}");
    }
}

#[test]
fn a_top_limb_is_checked_at_its_exact_width() {
    // shift 4 under limbs of 8 bits: a remainder of 16..255 fits the limb but not the width.
    let graph = samples::cell();
    let families = names(&graph, &[1], &[(0, 0), (1, 0)], &[(0, 5)]);
    assert_eq!(
        families,
        [Family::Remainder],
        "remainder 31 passes the plain lookup and fails the shifted one"
    );
}

#[test]
fn the_planner_picks_the_least_cost() {
    let graph = samples::convolution();
    let best = Plan::new(&graph);
    for limb_bits in 4..=14 {
        assert!(best.cost() <= Plan::with_limb_bits(&graph, limb_bits).cost());
    }
    let costs = best.nodes.iter().map(|cost| cost.constraints()).sum::<usize>();
    assert_eq!(best.rows(), costs + best.table() + 1);
}

#[test]
fn every_operator_computes_its_equation() {
    // (3 * 60 - 2 * 10 + 16) >> 5 = 5, (60 + 4 * 10 + 5 + 16) >> 5 = 3: the function gives 104 and 106.
    let trace = samples::function().run(&[vec![60, 10]]).expect("fits");
    assert_eq!(trace.outputs(&samples::function()), [[(9 * 104 + 2 * 106 + 4) >> 3]]);
    let trace = samples::product().run(&[vec![-100]]).expect("fits");
    assert_eq!(trace.outputs(&samples::product()), [[(-75 * -100 + 32) >> 6]]);
    // 90^2 + 128^2 = 24484 lies between the squares of 156 and 157.
    let trace = samples::norm().run(&[vec![90, -128]]).expect("fits");
    assert_eq!(trace.outputs(&samples::norm()), [[(156 * 5 - 3 + 2) >> 2]]);
    // [[1 2 3] [4 5 6]] rearranged to [[1 4 2] [5 3 6]] times [[1 2] [3 4] [5 6]].
    let graph = samples::attention();
    let trace = graph.run(&[vec![1, 2, 3, 4, 5, 6]]).expect("fits");
    let product = [1 + 4 * 3 + 2 * 5, 2 + 4 * 4 + 2 * 6, 5 + 3 * 3 + 6 * 5, 5 * 2 + 3 * 4 + 6 * 6];
    let [a, b, c, d] = product.map(|sum: i64| (sum + 4) >> 3);
    let combined = [d, 0, a, b, c, 0].map(|x| (5 - 2) * x + 7);
    let [x0, x1, x2, x3, x4, x5] = combined;
    let rows = [4 + 3 * x0 - x5, 2 * x2 + x3 + 7 * x4, -9, 1 + x1];
    let expected = [rows[0].max(rows[1]), rows[2].max(rows[3])].map(|sum| ((sum + 2) >> 2) as i32);
    assert_eq!(trace.outputs(&graph), [expected]);
}

#[test]
fn an_operator_that_contradicts_its_operands_is_refused() {
    let chain = || Chain::new(vec![1, 4], -8, 7);
    let sizes = MatMul { batch: 1, rows: 2, inner: 2, columns: 3 };
    let sparse = |ends, taps| Op::Sparse(Sparse { bias: vec![0, 0], ends, taps });
    let cases = [
        ("the table does not reach", chain().table(-7, vec![0; 15])),
        ("values are out of range", chain().table(-8, vec![1 << 17; 16])),
        ("an index is beyond", chain().then(Op::Select(vec![4]), vec![1])),
        ("an index for every element", chain().then(Op::Select(vec![0, 1]), vec![1])),
        ("not a group", chain().then(Op::Max(3), vec![1])),
        ("not a group", chain().then(Op::Max(0), vec![4])),
        ("sizes and shapes", chain().with(0, Op::MatMul(sizes), vec![2, 3])),
        ("expected two operands", chain().then(Op::Multiply, vec![1, 4])),
        (
            "a factor for every operand",
            chain().then(Op::Combine(Combine { factors: vec![], bias: 0 }), vec![4]),
        ),
        ("taps and bias", chain().then(sparse(vec![1, 1], vec![(4, 1)]), vec![2])),
        ("taps and bias", chain().then(sparse(vec![1, 0], vec![(0, 1)]), vec![2])),
        ("taps and bias", chain().then(sparse(vec![0, 0], vec![(0, 1)]), vec![2])),
        ("weights and bias", chain().dense(vec![1; 9], vec![0; 3])),
        ("may be negative", chain().then(Op::Sqrt, vec![1, 4])),
    ];
    for (reason, chain) in cases {
        let error = chain.requantize(1, -8, 7).graph().expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let mut sums = Chain::new(vec![1, 1], 0, 1);
    for _ in 0..7 {
        sums = sums.with(0, Op::Combine(Combine { factors: vec![1, 1], bias: 0 }), vec![1, 1]);
    }
    let error = sums.requantize(1, 0, 1).graph().expect_err("128 terms").to_string();
    assert!(error.contains("combines is 128, the limit is 64"), "{error}");
}
