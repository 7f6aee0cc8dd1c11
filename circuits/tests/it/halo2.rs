//! The rows against the interpreter, and against forged cells: for every family of constraints a lie that violates it and
//! nothing else, and that passes where it is left out.

use assay_circuits::error::ModelError;
use assay_circuits::halo2::circuit::Rows;
use assay_circuits::halo2::halo2_proofs::dev::VerifyFailure;
use assay_circuits::halo2::public::{Integers, instance};
use assay_circuits::halo2::{Family, Fp, Layout, Second, Wire, Witness, integer};
use assay_circuits::ir::{Combine, Graph, Op, ZERO};
use assay_circuits::linear::Sparse;
use assay_circuits::samples;
use ff::Field;
use proptest::prelude::*;

use crate::constraints::graph_and_inputs;

fn challenge() -> Fp {
    Fp::from(0x1234_5678_9abc_def1).pow_vartime([5])
}

/// Everything that a forger chooses.
struct Forgery {
    graph: Graph,
    layout: Layout,
    witness: Witness,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
    /// Changes the second phase, knowing the instance.
    second: fn(&Layout, &Witness, &mut Second, &[Fp]),
}

impl Forgery {
    /// An honest inference, to begin with.
    fn new(graph: Graph, bits: u32, taps: usize, inputs: &[i32]) -> Self {
        let layout = Layout::with(&graph, bits, taps).expect("laid out");
        // Two rows that are neither unit nor table.
        let last = layout.last + 2;
        Self::sized(graph, bits, taps, inputs, last)
    }

    /// With a last row of its own.
    fn sized(graph: Graph, bits: u32, taps: usize, inputs: &[i32], last: usize) -> Self {
        let layout = Layout { last, ..Layout::with(&graph, bits, taps).expect("laid out") };
        let trace = graph.run(&[inputs.to_vec()]).expect("inputs fit");
        let witness = Witness::new(&layout, &trace);
        let outputs = trace.outputs(&graph).concat();
        Self { graph, layout, witness, inputs: inputs.to_vec(), outputs, second: |_, _, _, _| () }
    }

    /// The names of the violated constraints, each once, where a family is left out.
    fn violations(&self, omit: Option<Family>) -> Vec<String> {
        let mut layout = self.layout.clone();
        layout.shape.omit = omit;
        let mut witness = self.witness.clone();
        // Where nothing but the lookups of a family is left out, the multiplicities do not count them.
        if omit.is_some_and(|family| {
            layout.shape.lookups() != self.layout.shape.lookups() && family != Family::Lookup
        }) {
            witness.count(&layout);
        }
        let statement = Integers { inputs: vec![&self.inputs], outputs: vec![&self.outputs] };
        let public = instance(&self.graph, &layout, &statement, challenge()).expect("fits");
        let mut second = Second::new(&layout, &witness, &public).expect("no denominator is 0");
        (self.second)(&layout, &witness, &mut second, &public);
        let rows = Rows { layout: &layout, witness: Some(&witness), second: Some(&second) };
        let failures = rows.mock(public).expect("synthesizes").verify().err().unwrap_or_default();
        let mut names: Vec<String> = failures.iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    fn column(&mut self, wire: Wire, row: usize, value: i64) {
        self.witness.set(&self.layout, wire, row, value);
    }
}

fn name(failure: &VerifyFailure) -> String {
    match failure {
        VerifyFailure::ConstraintNotSatisfied { constraint, .. } => {
            let text = constraint.to_string();
            let name = text.split('(').nth(1).and_then(|rest| rest.split(')').next());
            name.unwrap_or(&text).trim_matches('\'').to_owned()
        }
        other => other.to_string(),
    }
}

fn cell(x: i32) -> Forgery {
    Forgery::new(samples::cell(), 8, 1, &[x])
}

fn maximum() -> Forgery {
    Forgery::new(samples::maximum(), 8, 4, &[90, 5, -7, 20])
}

/// The quotient is one too large, and the remainder -1 makes up for it: x = 1 gives 111 = 6 * 16 + 15.
fn short_remainder() -> Forgery {
    let mut lie = cell(1);
    lie.witness.put_output(&lie.layout, 1, 7, 255);
    lie.witness.put_remainder(&lie.layout, 1, -1, 15);
    lie.witness.count(&lie.layout);
    lie.outputs = vec![7];
    lie
}

/// Honest cells, another output claimed.
fn other_output(mut honest: Forgery) -> Forgery {
    honest.outputs[0] += 1;
    honest
}

/// What the sum of the last row has to be multiplied with to be what the verifier expects.
fn missing(layout: &Layout, second: &Second, public: &[Fp]) -> Fp {
    public[layout.last] * second.linear[layout.last - 1].invert().expect("not 0")
}

/// A lie for each family.
fn lie(family: Family) -> Forgery {
    match family {
        Family::Requantize => {
            let mut lie = cell(1);
            lie.witness.put_output(&lie.layout, 1, 7, 255);
            lie.witness.count(&lie.layout);
            lie.outputs = vec![7];
            lie
        }
        Family::Saturate => {
            // 87 + 255 (2 87 - 255) / 255 = 6
            let mut lie = cell(1);
            lie.witness.put_output(&lie.layout, 1, 87, 255);
            lie.witness.put_excess(&lie.layout, 1, 255);
            lie.witness.count(&lie.layout);
            lie.outputs = vec![87];
            lie
        }
        Family::Window => {
            let mut lie = maximum();
            raise_maximum(&mut lie, 100);
            lie
        }
        Family::DistanceRange => {
            let mut lie = maximum();
            raise_maximum(&mut lie, 20);
            lie
        }
        Family::OutputRange => {
            // x = 41 gives u = 256, one more than the type has; the cell behind it sees 256.
            let mut lie = Forgery::new(samples::hidden_cell(), 8, 1, &[41]);
            lie.witness.put_output(&lie.layout, 1, 256, 255);
            lie.witness.put_excess(&lie.layout, 1, 0);
            let honest = i64::from(lie.outputs[0]);
            lie.witness.put_output(&lie.layout, 2, honest + 1 + 512, 1023);
            let before = lie.witness.get(&lie.layout, Wire::Maximum, 2);
            lie.column(Wire::Maximum, 2, before + 16);
            lie.witness.count(&lie.layout);
            lie.outputs[0] += 1;
            lie
        }
        Family::RemainderRange | Family::LookupEnd => short_remainder(),
        Family::ExcessRange => {
            // 0 - (-6) = 6
            let mut lie = cell(1);
            lie.witness.put_output(&lie.layout, 1, 0, 255);
            lie.witness.put_excess(&lie.layout, 1, -6);
            lie.witness.count(&lie.layout);
            lie.outputs = vec![0];
            lie
        }
        Family::LookupStart => {
            let second = |layout: &Layout, _: &Witness, second: &mut Second, _: &[Fp]| {
                let end = second.lookups.len() - 1;
                let excess = second.lookups[end][layout.last - 1];
                second.lookups.iter_mut().flatten().for_each(|sum| *sum -= excess);
            };
            Forgery { second, ..short_remainder() }
        }
        Family::Lookup => {
            let second = |layout: &Layout, _: &Witness, second: &mut Second, _: &[Fp]| {
                let end = second.lookups.len() - 1;
                second.lookups[end][layout.last - 1] = Fp::ZERO;
            };
            Forgery { second, ..short_remainder() }
        }
        Family::LinearEnd => other_output(cell(1)),
        Family::LinearStart => {
            let second = |layout: &Layout, _: &Witness, second: &mut Second, public: &[Fp]| {
                let inverse = challenge().invert().expect("not 0");
                let mut add = public[layout.last] - second.linear[layout.last - 1];
                for row in (0..layout.last).rev() {
                    second.linear[row] += add;
                    add *= inverse;
                }
            };
            Forgery { second, ..other_output(cell(1)) }
        }
        Family::Linear => {
            let second = |layout: &Layout, _: &Witness, second: &mut Second, public: &[Fp]| {
                second.linear[layout.last - 1] = public[layout.last];
            };
            Forgery { second, ..other_output(cell(1)) }
        }
        Family::ChallengeStart => {
            // A challenge of the forger's own, under which the sum is what the verifier expects of another one. The sum is
            // that of row 1 times a power of the challenge; here it is the 16th, and one in 16 numbers has such a root.
            let mut lie = Forgery::sized(samples::cell(), 4, 1, &[1], 18);
            lie.second = |layout, witness, second, public| {
                let mut root =
                    Option::<Fp>::from(second.linear[1].invert()).map(|inverse| public[18] * inverse);
                for _ in 0..4 {
                    root = root.and_then(|square| square.sqrt().into());
                }
                if let Some(own) = root {
                    let public: Vec<Fp> = [own].into_iter().chain(public[1..].iter().copied()).collect();
                    *second = Second::new(layout, witness, &public).expect("no denominator is 0");
                }
            };
            lie.outputs = vec![20];
            while lie.violations(None) != ["challenge start"] && lie.outputs[0] < 250 {
                lie.outputs[0] += 1;
            }
            lie
        }
        Family::Challenge => {
            // A row that sums nothing scales the sum by the challenge that it has. Its lookups are all of 0, as many as its
            // multiplicity says, so they cancel whatever the challenge.
            let mut lie = other_output(cell(1));
            let (row, idle) = (lie.layout.last - 2, lie.layout.shape.lookups().len() as i64);
            let counted = lie.witness.get(&lie.layout, Wire::Multiplicity, 1);
            lie.column(Wire::Multiplicity, 1, counted - idle);
            lie.column(Wire::Multiplicity, row, idle);
            lie.second = |layout, _, second, public| {
                let (row, factor) = (layout.last - 2, missing(layout, second, public));
                second.challenge[row] *= factor;
                second.linear[row] *= factor;
                second.linear[row + 1] *= factor;
                let (last, columns) = (layout.last, second.lookups.len());
                let before = second.lookups[columns - 1][row - 1];
                let r = second.challenge[row].invert().expect("not 0");
                let idle = layout.shape.lookups().len();
                let mut sum = before - r * Fp::from(idle as u64);
                for at in 0..columns {
                    let terms = if at == 0 { 2 } else { 3.min(idle + 1 - 3 * at) };
                    sum += r * Fp::from(terms as u64);
                    second.lookups[at][row] = sum;
                }
                assert!(last > row);
            };
            lie
        }
        Family::ChallengeSquare => {
            let mut lie = other_output(maximum());
            // Half of all numbers have a root.
            lie.second = |layout, _, second, public| {
                let (row, factor) = (layout.last - 2, missing(layout, second, public));
                if let Some(root) = Option::<Fp>::from(factor.sqrt()) {
                    second.square[row] *= root;
                    second.linear[row] *= factor;
                    second.linear[row + 1] *= factor;
                }
            };
            while lie.violations(None) != ["challenge square"] && lie.outputs[0] < 120 {
                lie.outputs[0] += 1;
            }
            lie
        }
    }
}

/// Another maximum, and the output that follows from it.
fn raise_maximum(lie: &mut Forgery, value: i64) {
    let inputs = lie.inputs.clone();
    for (tap, &x) in inputs.iter().enumerate() {
        lie.witness.put_distance(&lie.layout, 1, tap, value - i64::from(x));
    }
    let least = lie.layout.blocks[0].range.lo;
    lie.column(Wire::Maximum, 1, value - least);
    let output = (value + 1) >> 1;
    lie.witness.put_output(&lie.layout, 1, output + 128, 255);
    lie.witness.put_remainder(&lie.layout, 1, value + 1 - 2 * output, 1);
    lie.witness.count(&lie.layout);
    lie.outputs = vec![output as i32];
}

/// What a lie violates: its family, or what the family's lookups end in.
fn named(family: Family) -> Vec<&'static str> {
    match family {
        Family::OutputRange | Family::RemainderRange | Family::ExcessRange | Family::DistanceRange => {
            vec![Family::LookupEnd.name()]
        }
        family => vec![family.name()],
    }
}

#[test]
fn each_family_of_constraints_names_a_lie_that_passes_without_it() {
    for family in Family::ALL {
        let lie = lie(family);
        let honest =
            lie.graph.run(std::slice::from_ref(&lie.inputs)).expect("inputs fit").outputs(&lie.graph);
        assert_eq!(lie.violations(None), named(family), "{family:?}");
        assert_ne!(honest.concat(), lie.outputs, "{family:?}: the lie changes nothing");
        assert_eq!(lie.violations(Some(family)), Vec::<String>::new(), "{family:?} does not bite");
    }
}

#[test]
fn every_sample_satisfies_the_rows_at_every_width() {
    let cases: [(Graph, Vec<i32>); 5] = [
        (samples::cell(), vec![127]),
        (samples::hidden_cell(), vec![-5]),
        (samples::maximum(), vec![5, 90, -7, 20]),
        (samples::dense(), vec![1, 200, 3]),
        (samples::convolution(), (0..36).map(|i| i * 7 % 64).collect()),
    ];
    for (graph, inputs) in cases {
        for taps in 1..=4 {
            for bits in [4, 8] {
                let honest = Forgery::new(graph.clone(), bits, taps, &inputs);
                assert_eq!(honest.violations(None), Vec::<String>::new(), "{:?}", honest.layout.shape);
            }
        }
    }
}

#[test]
fn the_remainders_of_the_design_are_refused() {
    // 111 = 6 * 16 + 15: remainders 2^f, -1 and -16 with the quotient that makes up for each.
    for (output, remainder) in [(5, 31), (7, -1), (8, -17), (6, 16)] {
        let mut lie = cell(1);
        lie.witness.put_output(&lie.layout, 1, output, 255);
        lie.witness.put_remainder(&lie.layout, 1, remainder, 15);
        lie.witness.count(&lie.layout);
        lie.outputs = vec![output as i32];
        assert!(!lie.violations(None).is_empty(), "{output} {remainder}");
    }
}

#[test]
fn saturation_without_need_and_none_where_it_is_needed_are_refused() {
    // x = 1 gives u = 6, x = 127 gives u = 794.
    for (x, output, excess) in
        [(1, 255, -249), (1, 255, 249), (1, 0, -6), (1, 0, 6), (127, 254, 540), (127, 255, 538)]
    {
        let mut lie = cell(x);
        lie.witness.put_output(&lie.layout, 1, output, 255);
        lie.witness.put_excess(&lie.layout, 1, excess);
        lie.witness.count(&lie.layout);
        lie.outputs = vec![output as i32];
        assert!(!lie.violations(None).is_empty(), "{x}: {output} {excess}");
    }
}

#[test]
fn multiplicities_that_do_not_count_the_lookups_are_refused() {
    let rows = [(1, -1), (1, 1), (200, 1)];
    for (row, change) in rows {
        let mut lie = cell(1);
        let counted = lie.witness.get(&lie.layout, Wire::Multiplicity, row);
        lie.column(Wire::Multiplicity, row, counted + change);
        assert_eq!(lie.violations(None), [Family::LookupEnd.name()], "{row} {change}");
    }
}

#[test]
fn rows_that_are_left_over_hold_nothing() {
    // A maximum in a row of no block adds to the sum of the linear relations.
    let mut lie = cell(1);
    let row = lie.layout.units + 3;
    lie.column(Wire::Maximum, row, 5);
    lie.second = |layout, _, second, _| {
        let mut add = integer(5);
        for row in layout.units + 3..layout.last {
            second.linear[row] += add;
            add *= challenge();
        }
    };
    assert_eq!(lie.violations(None), [Family::LinearEnd.name()]);
}

#[test]
fn one_weight_changed_is_another_instance() {
    let model = |weight| {
        let chain = samples::Chain::new(vec![1, 1], -128, 127);
        chain.dense(vec![weight], vec![3]).requantize(4, 0, 255).graph().expect("valid")
    };
    let (ours, theirs) = (model(100), model(101));
    let layouts = [&ours, &theirs].map(|graph| Layout::with(graph, 8, 1).expect("laid out"));
    assert_eq!(layouts[0].shape, layouts[1].shape);
    let instances = [(&ours, &layouts[0]), (&theirs, &layouts[1])].map(|(graph, layout)| {
        instance(graph, layout, &Integers { inputs: vec![&[2]], outputs: vec![&[13]] }, challenge())
            .expect("fits")
    });
    assert_ne!(instances[0], instances[1]);
}

#[test]
fn statements_that_do_not_fit_and_a_challenge_of_0_have_no_instance() {
    let graph = samples::cell();
    let layout = Layout::with(&graph, 8, 1).expect("laid out");
    let of = |input: Vec<i32>, output: Vec<i32>, r| {
        instance(&graph, &layout, &Integers { inputs: vec![&input], outputs: vec![&output] }, r)
    };
    assert!(of(vec![1], vec![6], challenge()).is_ok());
    assert!(matches!(of(vec![128], vec![6], challenge()), Err(ModelError::Input { .. })));
    assert!(matches!(of(vec![1], vec![256], challenge()), Err(ModelError::Input { .. })));
    assert!(matches!(of(vec![1, 2], vec![6], challenge()), Err(ModelError::Input { .. })));
    assert!(matches!(of(vec![1], vec![6], Fp::ZERO), Err(ModelError::Malformed(_))));
    let none = Integers { inputs: vec![], outputs: vec![] };
    assert!(matches!(instance(&graph, &layout, &none, challenge()), Err(ModelError::Malformed(_))));
}

/// Random graphs of what the rows have.
fn laid_out() -> impl Strategy<Value = (Graph, Vec<i32>)> {
    graph_and_inputs().prop_filter("has no rows", |(graph, _)| Layout::new(graph).is_ok())
}

/// Everything linear: rearrangement, sums of two tensors, a sparse matrix, and groups of which the greatest counts.
fn linear() -> Graph {
    let chain = samples::Chain::new(vec![2, 3], -16, 15).then(Op::Select(vec![0, 3, 1, 4, 2, ZERO]), vec![6]);
    let chain = chain.requantize(1, -8, 7).then(Op::Select(vec![5, ZERO, 0, 1, 2, 3]), vec![6]);
    let chain = chain.with(0, Op::Combine(Combine { factors: vec![5, -2], bias: 7 }), vec![6]);
    let rows =
        [(4, vec![(0, 3), (5, -1)]), (0, vec![(2, 2), (3, 1), (4, 7)]), (-9, vec![]), (1, vec![(1, 1)])];
    let chain = chain.then(Op::Sparse(Sparse::new(rows)), vec![4]);
    chain.then(Op::Max(2), vec![2]).requantize(2, -128, 127).graph().expect("valid")
}

#[test]
fn rearrangements_sums_and_sparse_matrices_cost_no_rows() {
    for taps in 1..=4 {
        let honest = Forgery::new(linear(), 6, taps, &[-16, 15, 0, 3, -7, 9]);
        assert_eq!(honest.violations(None), Vec::<String>::new());
        assert_eq!(honest.layout.units, 6 + 2);
    }
}

#[test]
fn what_the_rows_do_not_have_is_refused_by_node_and_operator() {
    let cases =
        [(samples::function(), "Table"), (samples::product(), "Multiply"), (samples::attention(), "MatMul")];
    let wide = samples::Chain::new(vec![1, 1], -128, 127).dense(vec![1 << 12], vec![0]).requantize(
        1,
        -(1 << 17),
        (1 << 17) - 1,
    );
    let wide = wide.dense(vec![1], vec![0]).requantize(10, -128, 127).graph().expect("valid");
    let cases =
        cases.into_iter().chain([(samples::norm(), "Multiply"), (wide, "Requantize to more than 16 bits")]);
    for (graph, expected) in cases {
        let error = Layout::new(&graph).expect_err("refused");
        let ModelError::Unsupported { node, op, .. } = &error else { panic!("{error}") };
        assert_eq!(op, expected);
        assert!(graph.nodes().iter().any(|other| other.name == *node));
    }
    let wide = samples::Chain::new(vec![1, 1], 0, 1 << 17).dense(vec![1], vec![0]).requantize(1, -128, 127);
    let error = Layout::new(&wide.graph().expect("valid")).expect_err("refused");
    assert!(
        matches!(&error, ModelError::Unsupported { op, .. } if op.contains("more than 16 bits")),
        "{error}"
    );
    for (inputs, outputs) in [(true, false), (false, true)] {
        let error = Layout::new(&samples::cell().committing(inputs, outputs)).expect_err("refused");
        assert!(matches!(&error, ModelError::Unsupported { op, .. } if op == "a committed port"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_inference_satisfies_the_rows((graph, inputs) in laid_out(), bits in 4..=9u32, taps in 1..=4usize) {
        let honest = Forgery::new(graph, bits, taps, &inputs);
        prop_assert_eq!(honest.violations(None), Vec::<String>::new());
    }

    #[test]
    fn no_change_of_two_cells_changes_an_output(
        (graph, inputs) in laid_out(),
        bits in 4..=8u32,
        taps in 1..=4usize,
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), -3..=3i64), 1..3),
        output in (any::<prop::sample::Index>(), 1..=2i32),
    ) {
        let mut lie = Forgery::new(graph, bits, taps, &inputs);
        for (column, row, delta) in picks {
            let row = 1 + row.index(lie.layout.units);
            let column = column.index(lie.witness.columns.len() - 1);
            lie.witness.columns[column][row] += delta;
        }
        lie.witness.count(&lie.layout);
        let at = output.0.index(lie.outputs.len());
        let port = &lie.graph.outputs()[0].port.quant;
        let moved = if lie.outputs[at] + output.1 <= port.hi { output.1 } else { -output.1 };
        prop_assume!(lie.outputs[at] + moved >= port.lo);
        lie.outputs[at] += moved;
        prop_assert!(!lie.violations(None).is_empty());
    }
}
