//! An arbitrary small graph and an arbitrary input: the interpreter against the constraint system.
//!
//! 1. Every value lies in its tensor's static range.
//! 2. The witness of an inference satisfies every constraint and has its outputs.
//! 3. With hints or outputs changed, a constraint is broken or the outputs are the honest ones.
//! 4. The columns that the setup makes keys of give the rows that the prover proves, for honest and forged wires.
#![no_main]

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use assay_circuits::ir::{Graph, Node, Op, Output, Port, QuantParams, Requantize, Shape, TensorId, elements};
use assay_circuits::linear::{Conv2d, Dense, Window};
use assay_circuits::pool::MaxPool2d;
use assay_circuits::r1cs::Plan;
use assay_circuits::r1cs::columns::{Column, Columns};
use assay_circuits::r1cs::witness::{Forgery, Witness};
use libfuzzer_sys::arbitrary::{Result, Unstructured};

/// Elements of a tensor.
const ELEMENTS: usize = 64;

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

/// An operator over a tensor, and its result's shape; none where they do not fit.
fn operator(u: &mut Unstructured<'_>, from: &Shape) -> Result<Option<(Op, Shape)>> {
    let weight = |u: &mut Unstructured<'_>| Ok(i32::from(u.arbitrary::<i16>()?) >> u.int_in_range(0..=15)?);
    let bias = |u: &mut Unstructured<'_>| Ok(i64::from(u.arbitrary::<i32>()?) >> u.int_in_range(0..=31)?);
    let image = match from[..] {
        [1, c, h, w] => Some([c, h, w]),
        _ => None,
    };
    Ok(match (u.int_in_range(0..=9)?, image) {
        (0 | 1, _) => {
            let outputs = u.int_in_range(1..=4)?;
            let weights = (0..outputs * elements(from)).map(|_| weight(u)).collect::<Result<Vec<_>>>()?;
            let bias = (0..outputs).map(|_| bias(u)).collect::<Result<Vec<_>>>()?;
            Some((Op::Dense(Dense { weights, bias }), vec![1, outputs as u32]))
        }
        (2 | 3, Some([c, h, w])) => {
            let (window, kernel) = (window(u)?, [u.int_in_range(1..=3)?, u.int_in_range(1..=3)?]);
            let groups = if u.arbitrary()? { c } else { 1 };
            let out = groups * u.int_in_range(1..=2)?;
            let weights = out * (c / groups) * kernel[0] * kernel[1];
            let weights = (0..weights).map(|_| weight(u)).collect::<Result<Vec<_>>>()?;
            let bias = (0..out).map(|_| bias(u)).collect::<Result<Vec<_>>>()?;
            let to = window.output([h, w], kernel);
            to.map(|[h, w]| {
                (Op::Conv2d(Conv2d { weights, bias, kernel, window, groups }), vec![1, out, h, w])
            })
        }
        (4 | 5, Some([c, h, w])) => {
            let (window, kernel) = (window(u)?, [u.int_in_range(1..=3)?, u.int_in_range(1..=3)?]);
            let to = window.output([h, w], kernel);
            to.map(|[h, w]| (Op::MaxPool2d(MaxPool2d { kernel, window }), vec![1, c, h, w]))
        }
        (6, _) => Some((Op::Reshape, vec![1, 1, 1, elements(from) as u32])),
        _ => {
            let (lo, hi) = quant(u)?;
            Some((Op::Requantize(Requantize { shift: u.int_in_range(1..=30)?, lo, hi }), from.clone()))
        }
    })
}

fn graph(u: &mut Unstructured<'_>) -> Result<Option<Graph>> {
    let port = |name: &str, shape, (lo, hi)| Port {
        name: name.into(),
        shape,
        quant: QuantParams { scale: 1.0, lo, hi },
    };
    let shape = if u.arbitrary()? {
        vec![1, u.int_in_range(1..=2)?, u.int_in_range(1..=5)?, u.int_in_range(1..=5)?]
    } else {
        vec![1, u.int_in_range(1..=8)?]
    };
    let mut inputs = vec![port("x", shape, quant(u)?)];
    if u.ratio(1, 8)? {
        inputs.push(port("z", vec![1, u.int_in_range(1..=4)?], quant(u)?));
    }
    let mut shapes: Vec<Shape> = inputs.iter().map(|port| port.shape.clone()).collect();
    let mut nodes: Vec<Node> = Vec::new();
    for index in 0..u.int_in_range(1..=7)? {
        // Mostly the tensor before, so that chains are frequent.
        let from = if u.ratio(7, 8)? { shapes.len() - 1 } else { u.choose_index(shapes.len())? };
        let Some((op, shape)) = operator(u, &shapes[from])? else { continue };
        if elements(&shape) > ELEMENTS {
            continue;
        }
        shapes.push(shape.clone());
        nodes.push(Node { name: format!("n{index}"), op, inputs: vec![TensorId(from as u32)], shape });
    }
    let mut outputs = Vec::new();
    for (index, node) in nodes.iter().enumerate().rev() {
        if let Op::Requantize(rule) = &node.op
            && (outputs.is_empty() || u.ratio(1, 4)?)
        {
            let tensor = TensorId((inputs.len() + index) as u32);
            outputs.push(Output { port: port("y", node.shape.clone(), (rule.lo, rule.hi)), tensor });
        }
    }
    Ok(Graph::new(inputs, nodes, outputs).ok())
}

fn inputs(u: &mut Unstructured<'_>, graph: &Graph) -> Result<Vec<Vec<i32>>> {
    let value = |u: &mut Unstructured<'_>, (lo, hi): (i32, i32)| match u.int_in_range(0..=3)? {
        0 => Ok(lo),
        1 => Ok(hi),
        _ => u.int_in_range(lo..=hi),
    };
    let mut port = |port: &Port| {
        (0..elements(&port.shape))
            .map(|_| value(u, (port.quant.lo, port.quant.hi)))
            .collect::<Result<Vec<_>>>()
    };
    graph.inputs().iter().map(&mut port).collect()
}

/// Changes of up to three values.
fn changes(u: &mut Unstructured<'_>, honest: &[i64]) -> Result<Vec<(usize, i64)>> {
    let mut changes = Vec::new();
    if !honest.is_empty() {
        for _ in 0..u.int_in_range(0..=3)? {
            let at = u.choose_index(honest.len())?;
            changes.push((at, honest[at] + (u.int_in_range(-3..=3)? << u.int_in_range(0..=18)?)));
        }
    }
    Ok(changes)
}

/// Both sides of every row at a point, from the columns and from the rows.
fn agree(graph: &Graph, plan: &Plan, inputs: &[Vec<i32>], witness: &Witness, seed: u64) {
    let point = Fr::from(seed) + Fr::from(1u64 << 40);
    let mut power = Fr::ONE;
    let mut lambda = vec![Fr::ZERO; plan.rows()];
    lambda.iter_mut().for_each(|entry| {
        power *= point;
        *entry = power;
    });
    let columns = Columns::new(graph, plan, &lambda, None);
    let inputs = inputs.iter().flatten().map(|&value| i64::from(value));
    let values = inputs.chain(witness.outputs.iter().copied()).chain(witness.wires.iter().copied());
    let wires = columns.inputs.iter().chain(&columns.outputs).chain(&columns.wires);
    assert_eq!(wires.clone().count(), values.clone().count());
    let side = |side: fn(&Column) -> Fr| {
        let sum: Fr =
            wires.clone().zip(values.clone()).map(|(column, value)| side(column) * Fr::from(value)).sum();
        sum + side(&columns.one)
    };
    let lookups = witness.lookups.iter().zip(&lambda);
    let gates = || witness.gates.iter().zip(&lambda[plan.first_gate()..]);
    let looked_up: Fr = lookups.map(|(&value, lambda)| Fr::from(value) * lambda).sum();
    let right: Fr = gates().map(|(&(_, b), lambda)| Fr::from(b) * lambda).sum();
    let left: Fr = gates().map(|(&(a, _), lambda)| Fr::from(a) * lambda).sum();
    assert_eq!(side(|column| column.a), left);
    assert_eq!(side(|column| column.b), looked_up + right);
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let Some(graph) = graph(u)? else { return Ok(()) };
    let plan = Plan::with_limb_bits(&graph, u.int_in_range(4..=14)?);
    let inputs = inputs(u, &graph)?;
    let trace = graph.run(&inputs).expect("the input fits");
    for tensor in (0..graph.tensors() as u32).map(TensorId) {
        let range = graph.range(tensor);
        assert!(trace.tensor(tensor).iter().all(|value| (range.lo..=range.hi).contains(value)));
    }

    let witness = Witness::new(&graph, &plan, &trace).expect("the interpreter agrees with the cells");
    let outputs = trace.outputs(&graph);
    for (values, wires) in outputs.iter().zip(graph.output_wires()) {
        assert!(values.iter().map(|&value| i64::from(value)).eq(witness.outputs[wires].iter().copied()));
    }
    assert_eq!(
        [witness.wires.len(), witness.lookups.len(), witness.gates.len(), witness.outputs.len()],
        [plan.wires, plan.lookups, plan.gates, plan.outputs]
    );
    let none = Forgery::default();
    assert_eq!(Witness::forged(&graph, &plan, &inputs, none), witness);

    let (wires, changed) = (changes(u, &witness.wires)?, changes(u, &witness.outputs)?);
    let forgery = Forgery { wires: &wires, outputs: &changed, omit: None };
    let lie = Witness::forged(&graph, &plan, &inputs, forgery);
    assert!(lie.outputs == witness.outputs || !lie.violations().is_empty());
    let seed = u.arbitrary()?;
    agree(&graph, &plan, &inputs, &witness, seed);
    agree(&graph, &plan, &inputs, &lie, seed);
    Ok(())
}

libfuzzer_sys::fuzz_target!(init: assay_fuzz::seed("constraints", assay_fuzz::arbitrary()), |bytes: &[u8]| {
    // Bytes that end too early are no graph.
    let _ = run(&mut Unstructured::new(bytes));
});
