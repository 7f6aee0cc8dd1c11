//! A quantised model on a device, its weights resident, equal bit for bit to [`Graph::run`].
//!
//! Every operator has a kernel. Products split their operands into bytes by the graph's static ranges, which every value
//! that the interpreter makes lies in.

use assay_circuits::error::ModelError;
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, Node, Op, Range, TensorId, elements};
use assay_circuits::linear::Window;
use assay_cuda_kernels::tensor::{Filter, Image, Index, Lookup, SparseMatrix, Tensor, Weights};
use assay_cuda_kernels::{DeviceError, Gpu};

/// Why a device did not run a model.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The inputs do not fit the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// What each node needs on the device.
#[derive(Debug)]
pub struct Network {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Dense(Weights),
    Convolve(Filter),
    Sparse(SparseMatrix),
    Select(Index),
    Table(Lookup),
    /// Nothing but what the node says.
    Plain,
}

impl Network {
    /// Copies a model's weights.
    pub fn new(gpu: &Gpu, graph: &Graph) -> Result<Self, DeviceError> {
        let step = |node: &Node| {
            Ok(match &node.op {
                Op::Dense(dense) => Step::Dense(gpu.weights(&dense.weights, &dense.bias)?),
                Op::Conv2d(conv) => {
                    let image = image(graph, node, conv.kernel, &conv.window, conv.groups);
                    Step::Convolve(gpu.filter(image, &conv.weights, &conv.bias)?)
                }
                Op::Sparse(sparse) => {
                    let inputs = elements(graph.shape(node.inputs[0]));
                    Step::Sparse(gpu.sparse_matrix(inputs, &sparse.bias, &sparse.ends, &sparse.taps)?)
                }
                Op::Select(index) => Step::Select(gpu.index(index)?),
                Op::Table(table) => Step::Table(gpu.lookup(table.lo, &table.values)?),
                Op::Combine(_)
                | Op::Multiply
                | Op::MatMul(_)
                | Op::MaxPool2d(_)
                | Op::Max(_)
                | Op::Requantize(_)
                | Op::Reshape
                | Op::Sqrt => Step::Plain,
            })
        };
        let steps = graph.nodes().iter().map(step).collect::<Result<_, DeviceError>>()?;
        // Other threads will use them.
        gpu.finish()?;
        Ok(Self { steps })
    }

    /// Runs the model that this was made of on a batch of inputs; every tensor of every inference.
    pub fn run(&self, gpu: &Gpu, graph: &Graph, batch: &[Vec<Vec<i32>>]) -> Result<Vec<Trace>, NetworkError> {
        batch.iter().try_for_each(|inputs| graph.check_inputs(inputs))?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut tensors: Vec<Tensor> = Vec::with_capacity(graph.tensors());
        for port in 0..graph.inputs().len() {
            let wide = |inputs: &Vec<Vec<i32>>| inputs[port].iter().map(|&v| i64::from(v)).collect();
            let rows: Vec<Vec<i64>> = batch.iter().map(wide).collect();
            tensors.push(gpu.tensor(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())?);
        }
        for (node, step) in graph.nodes().iter().zip(&self.steps) {
            let y = evaluate(gpu, graph, node, step, &tensors)?;
            tensors.push(y);
        }
        let mut traces: Vec<Vec<Vec<i64>>> = vec![Vec::with_capacity(tensors.len()); batch.len()];
        for tensor in tensors {
            for (trace, row) in traces.iter_mut().zip(tensor.read()?) {
                trace.push(row);
            }
        }
        Ok(traces.into_iter().map(Trace::from_tensors).collect())
    }
}

fn evaluate(
    gpu: &Gpu,
    graph: &Graph,
    node: &Node,
    step: &Step,
    tensors: &[Tensor],
) -> Result<Tensor, DeviceError> {
    let operand = |id: TensorId| &tensors[id.0 as usize];
    let range = |id: TensorId| {
        let Range { lo, hi } = graph.range(id);
        (lo, hi)
    };
    let all = || node.inputs.iter().map(|&id| operand(id)).collect::<Vec<_>>();
    let first = node.inputs[0];
    let x = operand(first);
    match (&node.op, step) {
        (Op::Dense(_), Step::Dense(weights)) => gpu.dense(weights, x, range(first)),
        (Op::Conv2d(_), Step::Convolve(filter)) => gpu.convolve(filter, x, range(first)),
        (Op::Sparse(_), Step::Sparse(matrix)) => gpu.sparse(matrix, x),
        (Op::Select(_), Step::Select(index)) => gpu.select(index, &all()),
        (Op::Table(_), Step::Table(table)) => gpu.table(table, x),
        (Op::Combine(combine), _) => gpu.combine(&all(), &combine.factors, combine.bias),
        (Op::Multiply, _) => gpu.multiply(x, operand(node.inputs[1])),
        (Op::MatMul(sizes), _) => {
            let second = node.inputs[1];
            let sizes = [sizes.batch, sizes.rows, sizes.inner, sizes.columns].map(|n| n as usize);
            gpu.matmul(sizes, (x, range(first)), (operand(second), range(second)))
        }
        (Op::MaxPool2d(pool), _) => gpu.max_pool(image(graph, node, pool.kernel, &pool.window, 1), x),
        (Op::Max(group), _) => gpu.max(*group, x),
        (Op::Requantize(rule), _) => gpu.requantize(x, rule.shift, rule.lo, rule.hi),
        (Op::Reshape, _) => Ok(x.clone()),
        (Op::Sqrt, _) => gpu.root(x),
        (Op::Dense(_) | Op::Conv2d(_) | Op::Sparse(_) | Op::Select(_) | Op::Table(_), _) => {
            unreachable!("a network runs the model that it was made of")
        }
    }
}

/// # Panics
/// If the operand or the result is no image: a graph was checked for that.
fn image(graph: &Graph, node: &Node, kernel: [u32; 2], window: &Window, groups: u32) -> Image {
    let sides = |shape: &[u32]| match *shape {
        [1, c, h, w] => [c, h, w],
        _ => panic!("an image has four axes, the first of length 1"),
    };
    Image {
        from: sides(graph.shape(node.inputs[0])),
        to: sides(&node.shape),
        kernel,
        stride: window.stride,
        pad: [window.pad[0], window.pad[1]],
        dilation: window.dilation,
        groups,
    }
}
