//! Roots of sums of squares, `sqrt(sum_j c_j a_j^2 + d)` with `c_j, d >= 0`, without tables.
//!
//! As functions, the squares and the root are tables over few bits, and what is small is lost in them: the squares of 16
//! bits have 32. As one layer ([`Kind::Root`]) the squares are products, their sum is exact, and the root is taken of it
//! in integers.

use std::sync::Arc;

use super::builder::replay;
use super::network::{Kind, Layer, Map, Network};
use super::scalar::{Function, Pair, Scalar};

/// The same network with every root of a sum of squares as a layer of its own, without layers that nothing reads.
pub fn fused(network: Network) -> Network {
    let Network { inputs, layers, mut outputs } = network;
    let old = layers;
    let mut pass =
        Pass { inputs: inputs.len(), old: &old, new: Vec::new(), places: (0..inputs.len()).collect() };
    for layer in &old {
        let place = match pass.root_of(layer) {
            Some(place) => place,
            None => {
                let inputs = layer.inputs.iter().map(|&input| pass.places[input]).collect();
                pass.push(Layer { inputs, ..layer.clone() })
            }
        };
        pass.places.push(place);
    }
    let (mut layers, places) = (pass.new, pass.places);
    outputs.iter_mut().for_each(|output| output.activation = places[output.activation]);
    let shown: Vec<usize> = outputs.iter().map(|output| output.activation).collect();
    let kept = keep_read(&mut layers, inputs.len(), &shown);
    outputs.iter_mut().for_each(|output| output.activation = kept[output.activation]);
    Network { inputs, layers, outputs }
}

/// Removes layers that lead to no output; returns where each activation is now.
fn keep_read(layers: &mut Vec<Layer>, inputs: usize, shown: &[usize]) -> Vec<usize> {
    let mut read = vec![false; inputs + layers.len()];
    shown.iter().for_each(|&activation| read[activation] = true);
    for (index, layer) in layers.iter().enumerate().rev() {
        if read[inputs + index] {
            layer.inputs.iter().for_each(|&input| read[input] = true);
        }
    }
    let mut places: Vec<usize> = (0..inputs).collect();
    let mut next = inputs;
    for &read in &read[inputs..] {
        // The place of a layer that goes is never asked for.
        places.push(next);
        next += usize::from(read);
    }
    let mut index = inputs;
    layers.retain_mut(|layer| {
        layer.inputs.iter_mut().for_each(|input| *input = places[*input]);
        index += 1;
        read[index - 1]
    });
    places
}

struct Pass<'a> {
    inputs: usize,
    old: &'a [Layer],
    new: Vec<Layer>,
    /// Where each activation of the old network is in the new one.
    places: Vec<usize>,
}

impl Pass<'_> {
    fn push(&mut self, layer: Layer) -> usize {
        self.new.push(layer);
        self.inputs + self.new.len() - 1
    }

    /// The layer that makes an activation, if nothing comes after its map.
    fn plain(&self, activation: usize) -> Option<&Layer> {
        let layer = self.old.get(activation.checked_sub(self.inputs)?)?;
        (layer.pools.is_empty() && layer.clamp == (f64::NEG_INFINITY, f64::INFINITY)).then_some(layer)
    }

    /// A function that begins with the root of a sum of squares, as a root and what comes after it.
    fn root_of(&mut self, layer: &Layer) -> Option<usize> {
        let Kind::Function(function) = &layer.kind else { return None };
        let (root, a, b) = first_root(function).filter(|_| reads_once(function))?;
        let rest = replay(function, &root);
        let sum = self.plain(layer.inputs[0])?.clone();
        let kind = scaled(&sum.kind, a, b)?;
        let squares: Option<Vec<Square>> = sum.inputs.iter().map(|&input| self.square(input)).collect();
        let inputs = squares?.into_iter().map(|square| self.operand(square)).collect();
        let linear = Layer { inputs, kind: Kind::Root(Box::new(kind)), ..sum };
        if rest == Scalar::X {
            let Layer { pools, clamp, name, .. } = layer.clone();
            return Some(self.push(Layer { pools, clamp, name, ..linear }));
        }
        let name = format!("{}.root", layer.name);
        let root = self.push(Layer { name, ..linear });
        Some(self.push(Layer { inputs: vec![root], kind: Kind::Function(Arc::new(rest)), ..layer.clone() }))
    }

    /// The activation of which another one has the squares.
    fn square(&self, activation: usize) -> Option<Square> {
        let layer = self.plain(activation)?;
        match &layer.kind {
            Kind::Function(function) if is_square(function) => {
                Some(Square { of: layer.inputs[0], select: None })
            }
            Kind::Select(_) => match layer.inputs[..] {
                [input] => {
                    let Square { of, select: None } = self.square(input)? else { return None };
                    Some(Square { of, select: Some(layer.clone()) })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn operand(&mut self, square: Square) -> usize {
        let of = self.places[square.of];
        match square.select {
            None => of,
            Some(select) => self.push(Layer { inputs: vec![of], ..select }),
        }
    }
}

/// Squares of an activation, or of some of its elements.
struct Square {
    of: usize,
    select: Option<Layer>,
}

/// The innermost `sqrt(a x + b)` of an expression, with `a > 0` and `b >= 0`.
fn first_root(expression: &Scalar) -> Option<(Scalar, f64, f64)> {
    match expression {
        Scalar::X | Scalar::Constant(_) => None,
        Scalar::Of(function, of) if is_root(*function) => {
            // Bounds of a sum of squares at or below 0 are none.
            let bounded = |x: &Scalar| match x {
                Scalar::Clamp(lo, hi, of) if *lo <= 0.0 && *hi == f64::INFINITY => (**of).clone(),
                other => other.clone(),
            };
            let found = match bounded(of) {
                Scalar::X => Some((1.0, 0.0)),
                Scalar::Affine(a, b, of) if bounded(&of) == Scalar::X && a > 0.0 && b >= 0.0 => Some((a, b)),
                _ => None,
            };
            found.map(|(a, b)| (expression.clone(), a, b)).or_else(|| first_root(of))
        }
        Scalar::Affine(_, _, of) | Scalar::Clamp(_, _, of) | Scalar::Of(_, of) | Scalar::Looked(_, of) => {
            first_root(of)
        }
        Scalar::Both(..) => None,
    }
}

/// Whether an expression reads its variable once: then what is left of it beside the root does not.
fn reads_once(expression: &Scalar) -> bool {
    match expression {
        Scalar::X | Scalar::Constant(_) => true,
        Scalar::Affine(_, _, of) | Scalar::Clamp(_, _, of) | Scalar::Of(_, of) | Scalar::Looked(_, of) => {
            reads_once(of)
        }
        Scalar::Both(..) => false,
    }
}

fn is_root(function: Function) -> bool {
    matches!(function, Function::Sqrt | Function::Power(0.5))
}

fn is_square(function: &Scalar) -> bool {
    let plain = |x: &Scalar| match x {
        Scalar::X => true,
        Scalar::Of(Function::Abs, of) => **of == Scalar::X,
        _ => false,
    };
    match function {
        Scalar::Both(Pair::Multiply, a, b) => plain(a) && plain(b),
        Scalar::Of(Function::Power(exponent), of) => *exponent == 2.0 && plain(of),
        _ => false,
    }
}

/// `a (linear) + b`, if none of its factors and summands is negative.
fn scaled(kind: &Kind, a: f64, b: f64) -> Option<Kind> {
    let weights = |weights: &[f32]| -> Option<Vec<f32>> {
        weights.iter().map(|&w| (w >= 0.0).then(|| (f64::from(w) * a) as f32)).collect()
    };
    let summands = |bias: &[f32]| -> Option<Vec<f32>> {
        bias.iter().map(|&c| (c >= 0.0).then(|| (f64::from(c) * a + b) as f32)).collect()
    };
    Some(match kind {
        Kind::Sum { factors, bias } => {
            if *bias < 0.0 || factors.iter().any(|factor| *factor < 0.0) {
                return None;
            }
            Kind::Sum { factors: factors.iter().map(|factor| a * factor).collect(), bias: a * bias + b }
        }
        Kind::Map(map) => Kind::Map(Arc::new(match &**map {
            Map::Dense { weights: w, bias } => Map::Dense { weights: weights(w)?, bias: summands(bias)? },
            Map::Conv2d { weights: w, bias, kernel, window, groups } => Map::Conv2d {
                weights: weights(w)?,
                bias: summands(bias)?,
                kernel: *kernel,
                window: *window,
                groups: *groups,
            },
            Map::Affine { scale, offset } => {
                Map::Affine { scale: weights(scale)?, offset: summands(offset)? }
            }
            Map::Sparse { bias, taps } => {
                let row = |row: &Vec<(u32, f32)>| -> Option<Vec<(u32, f32)>> {
                    row.iter().map(|&(i, w)| (w >= 0.0).then(|| (i, (f64::from(w) * a) as f32))).collect()
                };
                Map::Sparse { bias: summands(bias)?, taps: taps.iter().map(row).collect::<Option<Vec<_>>>()? }
            }
        })),
        _ => return None,
    })
}
