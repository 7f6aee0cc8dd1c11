//! Small integer graphs of every operator, drawn from bytes; about half of what is drawn is valid.

use assay_circuits::ir::{
    Combine, Graph, MatMul, Node, Op, Output, Port, QuantParams, Requantize, Shape, Table, TensorId, ZERO,
    elements,
};
use assay_circuits::linear::{Conv2d, Dense, Sparse, Window};
use assay_circuits::pool::MaxPool2d;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// Elements of a tensor.
const ELEMENTS: usize = 64;
/// Nodes of a graph.
const NODES: usize = 7;

/// A tensor that operators may read.
struct Tensor {
    shape: Shape,
    /// The range of an input or of what a `Requantize` or a `Table` makes.
    range: Option<(i32, i32)>,
}

/// An operator with its operands, and what it makes.
struct Drawn {
    op: Op,
    operands: Vec<usize>,
    tensor: Tensor,
}

/// Which operators occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operators {
    /// Linear ones, maxima, requantisation: what both constraint systems have.
    Common,
    /// Products of activations and tables of functions as well.
    All,
}

/// A graph; none where the choices contradict each other.
pub fn graph(u: &mut Unstructured<'_>, operators: Operators) -> Result<Option<Graph>> {
    let shape = if u.arbitrary()? {
        vec![1, u.int_in_range(1..=2)?, u.int_in_range(1..=5)?, u.int_in_range(1..=5)?]
    } else {
        vec![u.int_in_range(1..=2)?, u.int_in_range(1..=8)?]
    };
    let mut inputs = vec![port("x", shape, quant(u)?)];
    if u.ratio(1, 8)? {
        inputs.push(port("z", vec![1, u.int_in_range(1..=4)?], quant(u)?));
    }
    let known =
        |port: &Port| Tensor { shape: port.shape.clone(), range: Some((port.quant.lo, port.quant.hi)) };
    let mut tensors: Vec<Tensor> = inputs.iter().map(known).collect();
    let mut nodes: Vec<Node> = Vec::new();
    for index in 0..u.int_in_range(1..=NODES)? {
        let Some(Drawn { op, operands, tensor }) = operator(u, operators, &tensors)? else { continue };
        if elements(&tensor.shape) > ELEMENTS {
            continue;
        }
        let inputs = operands.into_iter().map(|operand| TensorId(operand as u32)).collect();
        nodes.push(Node { name: format!("n{index}"), op, inputs, shape: tensor.shape.clone() });
        tensors.push(tensor);
    }
    let mut outputs = Vec::new();
    for (index, node) in nodes.iter().enumerate().rev() {
        if let (Op::Requantize(_) | Op::Table(_), Some(range)) =
            (&node.op, tensors[inputs.len() + index].range)
            && (outputs.is_empty() || u.ratio(1, 4)?)
        {
            let tensor = TensorId((inputs.len() + index) as u32);
            outputs.push(Output { port: port("y", node.shape.clone(), range), tensor });
        }
    }
    Ok(Graph::new(inputs, nodes, outputs).ok())
}

/// Values of every input port; the ends of a type are frequent.
pub fn inputs(u: &mut Unstructured<'_>, graph: &Graph) -> Result<Vec<Vec<i32>>> {
    let value = |u: &mut Unstructured<'_>, quant: &QuantParams| match u.int_in_range(0..=3)? {
        0 => Ok(quant.lo),
        1 => Ok(quant.hi),
        _ => u.int_in_range(quant.lo..=quant.hi),
    };
    let mut port =
        |port: &Port| (0..elements(&port.shape)).map(|_| value(u, &port.quant)).collect::<Result<Vec<_>>>();
    graph.inputs().iter().map(&mut port).collect()
}

fn port(name: &str, shape: Shape, (lo, hi): (i32, i32)) -> Port {
    Port::public(name, shape, QuantParams { scale: 1.0, lo, hi })
}

fn quant(u: &mut Unstructured<'_>) -> Result<(i32, i32)> {
    match u.int_in_range(0..=5)? {
        0 => Ok((0, 255)),
        1 => Ok((-128, 127)),
        2 => Ok((0, 1)),
        3 => Ok((-(1 << 15), (1 << 15) - 1)),
        _ => Ok((u.int_in_range(-200..=0)?, u.int_in_range(1..=300)?)),
    }
}

fn window(u: &mut Unstructured<'_>) -> Result<Window> {
    let mut small = |lo, hi| u.int_in_range(lo..=hi);
    Ok(Window {
        stride: [small(1, 3)?, small(1, 3)?],
        pad: [small(0, 2)?, small(0, 2)?, small(0, 2)?, small(0, 2)?],
        dilation: [small(1, 2)?, small(1, 2)?],
    })
}

/// Mostly small, up to 16 bits.
fn weight(u: &mut Unstructured<'_>) -> Result<i32> {
    Ok(i32::from(u.arbitrary::<i16>()?) >> u.int_in_range(0..=15)?)
}

fn bias(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(i64::from(u.arbitrary::<i32>()?) >> u.int_in_range(0..=31)?)
}

fn many<T>(
    u: &mut Unstructured<'_>,
    count: usize,
    draw: fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..count).map(|_| draw(u)).collect()
}

/// A divisor of a number.
fn divisor(u: &mut Unstructured<'_>, number: usize) -> Result<usize> {
    let divisors: Vec<usize> = (1..=number).filter(|divisor| number.is_multiple_of(*divisor)).collect();
    u.choose(&divisors).copied()
}

fn operator(u: &mut Unstructured<'_>, operators: Operators, tensors: &[Tensor]) -> Result<Option<Drawn>> {
    // Mostly the tensor before, so that chains are frequent.
    let first = if u.ratio(7, 8)? { tensors.len() - 1 } else { u.choose_index(tensors.len())? };
    let second = u.choose_index(tensors.len())?;
    let from = &tensors[first].shape;
    let count = elements(from);
    let image = match from[..] {
        [1, c, h, w] => Some([c, h, w]),
        _ => None,
    };
    let one =
        |op, shape: Shape| Some(Drawn { op, operands: vec![first], tensor: Tensor { shape, range: None } });
    let two = |op, shape: Shape| {
        Some(Drawn { op, operands: vec![first, second], tensor: Tensor { shape, range: None } })
    };
    let last = match operators {
        Operators::Common => 15,
        Operators::All => 20,
    };
    Ok(match (u.int_in_range(0..=last)?, image) {
        (0..=2, _) => {
            let (width, outputs) = (divisor(u, count)?, u.int_in_range(1..=4)?);
            let (weights, bias) = (many(u, outputs * width, weight)?, many(u, outputs, bias)?);
            one(Op::Dense(Dense { weights, bias }), vec![(count / width) as u32, outputs as u32])
        }
        (3 | 4, Some([c, h, w])) => {
            let (window, kernel) = (window(u)?, [u.int_in_range(1..=3)?, u.int_in_range(1..=3)?]);
            let groups = if u.arbitrary()? { c } else { 1 };
            let out = groups * u.int_in_range(1..=2)?;
            let weights = many(u, (out * (c / groups) * kernel[0] * kernel[1]) as usize, weight)?;
            let bias = many(u, out as usize, bias)?;
            let Some([h, w]) = window.output([h, w], kernel) else { return Ok(None) };
            one(Op::Conv2d(Conv2d { weights, bias, kernel, window, groups }), vec![1, out, h, w])
        }
        (5 | 6, Some([c, h, w])) => {
            let (window, kernel) = (window(u)?, [u.int_in_range(1..=3)?, u.int_in_range(1..=3)?]);
            let Some([h, w]) = window.output([h, w], kernel) else { return Ok(None) };
            one(Op::MaxPool2d(MaxPool2d { kernel, window }), vec![1, c, h, w])
        }
        (7, _) => {
            let outputs = u.int_in_range(1..=4)?;
            let mut rows = Vec::new();
            for _ in 0..outputs {
                let taps =
                    (0..u.int_in_range(0..=4)?).map(|_| Ok((u.choose_index(count)? as u32, weight(u)?)));
                rows.push((0, taps.collect::<Result<Vec<_>>>()?));
            }
            rows.iter_mut().try_for_each(|row| bias(u).map(|bias| row.0 = bias))?;
            one(Op::Sparse(Sparse::new(rows)), vec![outputs])
        }
        (8, _) => {
            let factors = [bias(u)? >> 16, bias(u)? >> 16].to_vec();
            two(Op::Combine(Combine { factors, bias: bias(u)? }), from.clone())
        }
        (9, _) => {
            let both = count + elements(&tensors[second].shape);
            let outputs = u.int_in_range(1..=12)?;
            let index = (0..outputs).map(|_| match u.choose_index(both + 1)? {
                place if place == both => Ok(ZERO),
                place => Ok(place as u32),
            });
            two(Op::Select(index.collect::<Result<Vec<_>>>()?), vec![outputs])
        }
        (16, _) => two(Op::Multiply, from.clone()),
        (20, _) => one(Op::Sqrt, from.clone()),
        (17, _) => {
            let inner = divisor(u, count)?;
            let (rows, columns) = (count / inner, elements(&tensors[second].shape) / inner);
            let [rows, inner, columns] = [rows, inner, columns].map(|size| size as u32);
            two(Op::MatMul(MatMul { batch: 1, rows, inner, columns }), vec![rows, columns])
        }
        (10, _) => {
            let group = divisor(u, count)?;
            one(Op::Max(group as u32), vec![(count / group) as u32])
        }
        (18 | 19, _) => {
            let Some((lo, hi)) = tensors[first].range.filter(|(lo, hi)| hi - lo < 600) else {
                return Ok(None);
            };
            let values = (lo..=hi).map(|_| Ok(u.arbitrary::<i8>()?.into())).collect::<Result<Vec<i32>>>()?;
            let range = (
                values.iter().copied().min().unwrap_or(0).min(0),
                values.iter().copied().max().unwrap_or(0).max(1),
            );
            let table = one(Op::Table(Table { lo, values }), from.clone());
            table.map(|drawn| Drawn { tensor: Tensor { range: Some(range), ..drawn.tensor }, ..drawn })
        }
        (11, _) => one(Op::Reshape, vec![1, 1, 1, count as u32]),
        _ => {
            let (lo, hi) = quant(u)?;
            let rule = Requantize { shift: u.int_in_range(1..=30)?, lo, hi };
            let drawn = one(Op::Requantize(rule), from.clone());
            drawn.map(|drawn| Drawn { tensor: Tensor { range: Some((lo, hi)), ..drawn.tensor }, ..drawn })
        }
    })
}
