//! Canonical bytes of a model, and what is refused.

use assay_circuits::error::ModelError;
use assay_circuits::ir::Graph;
use assay_circuits::samples::{self, Chain};
use proptest::prelude::*;

#[test]
fn bytes_round_trip_and_the_id_follows_every_weight() {
    let graph = samples::convolution();
    let bytes = graph.to_bytes();
    assert_eq!(Graph::from_bytes(&bytes).expect("canonical"), graph);
    let other = Chain::new(vec![1, 1], -128, 127)
        .dense(vec![101], vec![3])
        .requantize(4, 0, 255)
        .graph()
        .expect("valid");
    assert_ne!(samples::cell().id(), other.id());
}

#[test]
fn cut_and_extended_bytes_are_refused() {
    let bytes = samples::dense().to_bytes();
    for length in 0..bytes.len() {
        assert!(Graph::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    assert!(matches!(Graph::from_bytes(&[&bytes[..], &[0]].concat()), Err(ModelError::Malformed(_))));
    assert!(matches!(Graph::from_bytes(b"something else"), Err(ModelError::Magic)));
}

#[test]
fn an_accumulator_that_could_overflow_is_refused_with_its_layer() {
    let chain = Chain::new(vec![1, 1], -128, 127).dense(vec![1], vec![1 << 61]).requantize(4, 0, 255);
    assert!(matches!(chain.graph(), Err(ModelError::Overflow { node, .. }) if node == "node0"));
}

#[test]
fn shapes_types_and_windows_that_do_not_fit_are_refused() {
    let start = || Chain::new(vec![1, 2], -128, 127);
    assert!(start().dense(vec![1, 2, 3], vec![0]).requantize(4, 0, 255).graph().is_err(), "weights");
    assert!(start().dense(vec![1, 2], vec![0]).requantize(0, 0, 255).graph().is_err(), "shift");
    assert!(start().dense(vec![1, 2], vec![0]).requantize(31, 0, 255).graph().is_err(), "shift");
    assert!(start().dense(vec![1, 2], vec![0]).requantize(4, 1, 255).graph().is_err(), "type without zero");
    assert!(start().dense(vec![1, 2], vec![0]).requantize(4, 0, 1 << 24).graph().is_err(), "type too wide");
    assert!(start().reshape(vec![1, 3]).requantize(1, 0, 1).graph().is_err(), "reshape");
    assert!(start().conv(vec![1], vec![0], [1, 1]).requantize(1, 0, 1).graph().is_err(), "rank");
    assert!(start().dense(vec![1, 2], vec![0]).graph().is_err(), "no requantisation before the output");
    assert!(Chain::new(vec![1, 0], -1, 1).requantize(1, 0, 1).graph().is_err(), "empty");
    assert!(Chain::new(vec![1 << 20, 1 << 20], -1, 1).requantize(1, 0, 1).graph().is_err(), "too large");
}

#[test]
fn a_window_that_would_take_hours_to_walk_is_refused_at_once() {
    use assay_circuits::ir::{Node, Op, Output, Port, QuantParams, Requantize, TensorId, limits};
    use assay_circuits::linear::{Conv2d, Window};
    use assay_circuits::pool::MaxPool2d;
    let quant = QuantParams { scale: 1.0, lo: 0, hi: 1 };
    let image = |side| vec![1, 1, side, side];
    let window = Window { stride: [1, 1], pad: [0; 4], dilation: [1, 1] };
    let node =
        |op, input, side| Node { name: "n".into(), op, inputs: vec![TensorId(input)], shape: image(side) };
    let pool = Op::MaxPool2d(MaxPool2d { kernel: [2049, 2049], window });
    // The limit comes before any look at the weights.
    let conv = Op::Conv2d(Conv2d { weights: vec![], bias: vec![], kernel: [2049, 2049], window, groups: 1 });
    let rule = Requantize { shift: 1, lo: 0, hi: 1 };
    let input = Port::public("x", image(4096), quant);
    let port = Port::public("y", image(2048), quant);
    let output = Output { port, tensor: TensorId(2) };
    for op in [pool, conv] {
        let nodes = vec![node(op, 0, 2048), node(Op::Requantize(rule), 1, 2048)];
        let graph = Graph::new(vec![input.clone()], nodes, vec![output.clone()]);
        assert!(matches!(graph, Err(ModelError::Limit { limit, .. }) if limit == limits::TAPS as u64));
    }
}

#[test]
fn inputs_outside_their_type_are_refused() {
    let graph = samples::dense();
    for inputs in [vec![], vec![vec![0; 2]], vec![vec![0; 4]], vec![vec![0, 0, 256]], vec![vec![-1, 0, 0]]] {
        assert!(matches!(graph.run(&inputs), Err(ModelError::Input { .. })), "{inputs:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic_and_never_pass_for_the_same_model(at in any::<prop::sample::Index>(), to: u8) {
        let graph = samples::convolution();
        let mut bytes = graph.to_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        if let Ok(other) = Graph::from_bytes(&bytes) {
            prop_assert_ne!(other.id(), graph.id());
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }
}
