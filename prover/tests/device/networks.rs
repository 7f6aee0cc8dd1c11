//! Every tensor of a model on the device is the interpreter's.

use assay_circuits::ir::{Combine, Graph, MatMul, Op, ZERO, elements};
use assay_circuits::linear::{Conv2d, Sparse, Window};
use assay_circuits::pool::MaxPool2d;
use assay_circuits::samples::{self, Chain};
use assay_prover::network::{Network, NetworkError};

use crate::device;

/// Inputs from one end of each port's type to the other, mixed by a seed.
fn inputs(graph: &Graph, seed: i64) -> Vec<Vec<i32>> {
    let port = |port: &assay_circuits::ir::Port| {
        let (lo, hi) = (i64::from(port.quant.lo), i64::from(port.quant.hi));
        let value = |i: i64| match (i + seed) % 7 {
            0 => lo,
            1 => hi,
            _ => lo + (i * 2_654_435_761 + seed * 40_503) % (hi - lo + 1),
        };
        (0..elements(&port.shape) as i64).map(|i| value(i) as i32).collect()
    };
    graph.inputs().iter().map(port).collect()
}

/// A window of 3 by 3 with padding, depthwise; two steps at a time; 16-bit weights and activations; a pool with padding.
fn windows() -> Graph {
    let window = Window { stride: [1, 1], pad: [1, 1, 1, 1], dilation: [1, 1] };
    let conv = |outputs: usize, depth: usize, groups, window, bound: i32| {
        let weight = |i: i32| i * 7919 % (2 * bound) - bound;
        let weights = (0..(outputs * depth * 9) as i32).map(weight).collect();
        Op::Conv2d(Conv2d { weights, bias: (0..outputs as i64).collect(), kernel: [3, 3], window, groups })
    };
    let chain = Chain::new(vec![1, 8, 9, 9], -128, 127).then(conv(8, 1, 8, window, 128), vec![1, 8, 9, 9]);
    let chain = chain.requantize(4, -30_000, 30_000);
    let strided = Window { stride: [2, 2], ..window };
    let chain = chain.then(conv(12, 4, 2, strided, 2000), vec![1, 12, 5, 5]).requantize(14, -128, 127);
    let pool = MaxPool2d { kernel: [3, 3], window: Window { stride: [2, 2], ..window } };
    let chain = chain.then(Op::MaxPool2d(pool), vec![1, 12, 3, 3]).reshape(vec![1, 108]);
    chain.requantize(1, -128, 127).graph().expect("a valid graph")
}

/// The operators of attention with rows wider than a tile.
fn wide() -> Graph {
    let sizes = MatMul { batch: 2, rows: 5, inner: 70, columns: 5 };
    let transposed =
        (0..2).flat_map(|b| (0..70).flat_map(move |l| (0..5).map(move |j| (b * 5 + j) * 70 + l)));
    let chain = Chain::new(vec![2, 5, 70], -128, 127);
    let chain = chain.then(Op::Select(transposed.collect()), vec![2, 70, 5]);
    let chain = chain.with(1, Op::MatMul(sizes), vec![2, 5, 5]).requantize(9, -128, 127);
    let chain = chain.with(0, Op::Combine(Combine { factors: vec![3, -1], bias: -4 }), vec![50]);
    let chain = chain.requantize(1, -128, 127).table(-128, (0..256).map(|i| i * i / 2 - 99).collect());
    let chain = chain.then(Op::Select(vec![49, ZERO, 0, 7]), vec![4]);
    let rows = [(-7, vec![(0, 9), (3, -2)]), (0, vec![]), (5, vec![(1, 100), (2, 1)])];
    let chain = chain.then(Op::Sparse(Sparse::new(rows)), vec![3]).then(Op::Max(3), vec![1]);
    chain.requantize(2, -1000, 1000).graph().expect("a valid graph")
}

#[test]
fn every_tensor_of_every_sample_is_the_interpreters() {
    let Some(gpu) = device() else { return };
    let graphs = [
        samples::cell(),
        samples::hidden_cell(),
        samples::maximum(),
        samples::dense(),
        samples::function(),
        samples::product(),
        samples::norm(),
        samples::attention(),
        samples::convolution(),
        windows(),
        wide(),
    ];
    for (number, graph) in graphs.iter().enumerate() {
        let network = Network::new(&gpu, graph).expect("room");
        let batch: Vec<_> = (0..5).map(|seed| inputs(graph, seed)).collect();
        let traces = network.run(&gpu, graph, &batch).expect("a run");
        for (inputs, trace) in batch.iter().zip(traces) {
            assert!(trace == graph.run(inputs).expect("inputs fit"), "model {number}");
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_before_the_device_sees_them() {
    let Some(gpu) = device() else { return };
    let graph = samples::dense();
    let network = Network::new(&gpu, &graph).expect("room");
    for wrong in [vec![], vec![vec![1, 2]], vec![vec![1, 2, 256]]] {
        assert!(matches!(network.run(&gpu, &graph, &[wrong]), Err(NetworkError::Model(_))));
    }
    assert!(network.run(&gpu, &graph, &[]).expect("nothing to do").is_empty());
}
