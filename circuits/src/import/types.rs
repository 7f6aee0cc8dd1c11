//! Types for networks of any shape: one width for all activations, the least whose measured error is within the
//! tolerance.
//!
//! An activation's step follows from the greatest size seen; numbers that are whole wherever they were seen keep steps
//! of 1, so that indices, flags and counts are exact. A product's step is `factor s_a s_b 2^f`, with the least `f` at
//! which the type holds what was seen, so that its result needs no factor of its own. A root has as many bits below its
//! step as its least weight needs to be a good integer. A function's operand has at most
//! [`TABLE_BITS`] bits, since its table has a row for every value, and reaches no further than the function changes.
//! Inputs, outputs and what is put together of parts have more bits where most of their numbers are small.

use super::network::{Activations, Kind, Layer, Map, Network, finite};
use super::profile::range;
use super::quantise::Choice;
use super::scalar::Scalar;
use crate::ir::{Port, QuantParams, limits};

/// Widths that are tried, in order.
pub const WIDTHS: [u8; 4] = [10, 12, 14, 16];
/// Greatest width of a function's operand, and what it gains with the activations' beyond it.
const TABLE_BITS: u8 = 12;
/// Width of an output; outputs are few.
const OUTPUT_BITS: u8 = 16;
/// Bits of accumulated precision below a step: the least at which the greatest weight has as many bits as an activation.
const SHIFTS: std::ops::RangeInclusive<u8> = SHIFT..=20;
const SHIFT: u8 = 14;
/// Bits below a root's step, and bits of the least weight under it.
const ROOT_SHIFTS: std::ops::RangeInclusive<u8> = 2..=12;
const ROOT_BITS: u8 = 12;
/// Bits that operands of sums, and activations beside a root, have more than others.
const WIDE: u8 = 4;
/// How many times its middle the greatest of evenly spread numbers may be, as a power of two.
const EVEN: u8 = 3;
/// Share of a function's range that it passes between two points where it is taken to be a step.
const JUMP: f64 = 0.25;
/// Points at which a function is looked at.
const POINTS: usize = 1024;
/// Room above the greatest size seen.
const ROOM: f64 = 1.1;

/// A choice for every layer under one width.
pub fn choices(network: &Network, ports: &[Port], activations: &Activations, bits: u8) -> Vec<Choice> {
    let inputs = network.inputs.len();
    let readers = readers(network);
    let wide = added_or_squared(network, &readers);
    let mut types: Vec<QuantParams> = ports.iter().map(|port| port.quant).collect();
    let mut choices = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let at = inputs + index;
        let is_output = network.outputs.iter().any(|output| output.activation == at);
        let functions_only =
            !readers[at].is_empty() && readers[at].iter().all(|&reader| is_function(&network.layers[reader]));
        let values = &activations[at];
        let width = match () {
            () if is_output => resolving(values, OUTPUT_BITS),
            () if functions_only => table_bits(bits),
            () if wide[at] => bits + WIDE,
            () if matches!(layer.kind, Kind::Select(_)) => resolving(values, bits),
            () => bits,
        };
        let width = if is_function(layer) { width.min(limits::VALUE_BITS as u8) } else { width };
        let reach = (functions_only && !is_output).then(|| {
            let parts = readers[at].iter().map(|&reader| active(&network.layers[reader], values, bits));
            parts.fold((0.0, 0.0), hull)
        });
        let quant = bounded(fitted(values, reach, width), layer.clamp);
        let choice = choose(layer, quant, &types, bits, activations);
        types.push(match &layer.kind {
            Kind::Select(_) if layer.inputs.iter().all(|&input| types[input] == types[layer.inputs[0]]) => {
                types[layer.inputs[0]]
            }
            _ => choice.quant,
        });
        choices.push(choice);
    }
    choices
}

/// Layers that read each activation.
fn readers(network: &Network) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); network.inputs.len() + network.layers.len()];
    for (index, layer) in network.layers.iter().enumerate() {
        layer.inputs.iter().for_each(|&input| readers[input].push(index));
    }
    readers
}

/// Activations that only sums read, or only roots and linear layers on either side of a root. What these lose is lost
/// twice, and they have no table that more bits would lengthen.
fn added_or_squared(network: &Network, readers: &[Vec<usize>]) -> Vec<bool> {
    let inputs = network.inputs.len();
    let mut under = vec![false; readers.len()];
    for at in (0..readers.len()).rev() {
        let root = |&reader: &usize| match network.layers[reader].kind {
            Kind::Root(_) => true,
            Kind::Select(_) => under[inputs + reader],
            _ => false,
        };
        under[at] = !readers[at].is_empty() && readers[at].iter().all(root);
    }
    let linear = |&reader: &usize| matches!(network.layers[reader].kind, Kind::Map(_) | Kind::Sum { .. });
    let sum = |&reader: &usize| matches!(network.layers[reader].kind, Kind::Sum { .. });
    for (index, layer) in network.layers.iter().enumerate() {
        let at = inputs + index;
        let read = |by: &dyn Fn(&usize) -> bool| !readers[at].is_empty() && readers[at].iter().all(by);
        under[at] |= matches!(layer.kind, Kind::Root(_)) && read(&linear) || read(&sum);
    }
    under
}

fn is_function(layer: &Layer) -> bool {
    matches!(layer.kind, Kind::Function(_) | Kind::Functions { .. })
}

/// Bits at which the numbers of a type are as fine for those of middle size as `bits` are for the greatest.
pub fn resolving(values: &[Vec<f64>], bits: u8) -> u8 {
    let mut sizes: Vec<f64> = values.iter().flatten().map(|v| v.abs()).filter(|&v| v > 0.0).collect();
    if sizes.is_empty() {
        return bits;
    }
    let greatest = sizes.iter().copied().fold(0.0, f64::max);
    let middle = sizes.len() / 2;
    let (_, &mut middle, _) = sizes.select_nth_unstable_by(middle, f64::total_cmp);
    // Saturates; of numbers that are evenly spread, the middle is half the greatest.
    let more = ((greatest / middle).log2().ceil() as u8).saturating_sub(EVEN);
    bits.saturating_add(more).min(limits::ACTIVATION_BITS as u8)
}

/// The part of the numbers seen outside of which a layer's functions are constant, to half a step of `bits` bits.
fn active(layer: &Layer, values: &[Vec<f64>], bits: u8) -> (f64, f64) {
    let (lo, hi) = range(values);
    let (lo, hi) = (lo * ROOM, hi * ROOM);
    let of = |function: &Scalar| {
        let x = |point: usize| lo + (hi - lo) * point as f64 / POINTS as f64;
        let y: Vec<f64> = (0..=POINTS).map(|point| finite(function.at(x(point)))).collect();
        let least = y.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let slack = (greatest - least) / 2f64.powi(i32::from(bits) + 1);
        // Of a step, finer arguments would only show how they were rounded.
        if y.windows(2).any(|pair| (pair[1] - pair[0]).abs() > JUMP * (greatest - least)) {
            return (lo, hi);
        }
        let moved = |from: f64| move |y: &f64| (y - from).abs() > slack;
        match (y.iter().position(moved(y[0])), y.iter().rposition(moved(y[POINTS]))) {
            (Some(first), Some(last)) => (x(first.saturating_sub(1)), x((last + 1).min(POINTS))),
            _ => (lo, hi),
        }
    };
    match &layer.kind {
        Kind::Function(function) => of(function),
        Kind::Functions { functions, .. } => functions.iter().map(of).fold((0.0, 0.0), hull),
        _ => (lo, hi),
    }
}

fn hull(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0.min(b.0), a.1.max(b.1))
}

fn choose(
    layer: &Layer,
    quant: QuantParams,
    types: &[QuantParams],
    bits: u8,
    activations: &Activations,
) -> Choice {
    let plain = Choice { shift: SHIFT, quant, argument: None };
    match &layer.kind {
        Kind::Select(_) => plain,
        Kind::Map(_) | Kind::Sum { .. } => {
            let greatest = weights(&layer.kind, |operand| types[layer.inputs[operand]].scale / quant.scale)
                .fold(0.0, f64::max);
            let shift = SHIFTS.clone().find(|&f| greatest * f64::from(1u32 << f) >= f64::from(1u32 << bits));
            Choice { shift: shift.unwrap_or(*SHIFTS.end()), ..plain }
        }
        Kind::Function(_) | Kind::Functions { .. } => {
            let operand = layer.inputs[0];
            // An index that is rounded finds another row: whole numbers keep steps of 1.
            let whole = types[operand].scale == 1.0;
            let values = &activations[operand];
            let wide = !whole && span(types[operand]) >= 1 << table_bits(bits);
            let narrow = || fitted(values, Some(active(layer, values, bits)), table_bits(bits));
            Choice { argument: wide.then(narrow), ..plain }
        }
        Kind::Root(linear) => {
            let scale = |operand: usize| types[layer.inputs[operand]].scale.powi(2) / quant.scale.powi(2);
            let least = weights(linear, scale).filter(|&weight| weight > 0.0).fold(f64::INFINITY, f64::min);
            let shift =
                ROOT_SHIFTS.clone().find(|&f| least * 4f64.powi(f.into()) >= f64::from(1u32 << ROOT_BITS));
            Choice { shift: shift.unwrap_or(*ROOT_SHIFTS.end()), ..plain }
        }
        Kind::Product(_) | Kind::MatMul(..) => {
            let unit = layer.kind.factor().abs()
                * layer.inputs.iter().map(|&input| types[input].scale).product::<f64>();
            let shift = (0..=limits::SHIFT).find(|&f| unit * f64::from(1u32 << f) >= quant.scale);
            let shift = shift.unwrap_or(limits::SHIFT);
            Choice {
                // A product that needs no rounding is doubled, and halved by the least shift there is.
                shift: shift.max(1),
                quant: QuantParams { scale: unit * f64::from(1u32 << shift), ..quant },
                argument: None,
            }
        }
    }
}

/// Sizes of a linear layer's weights, each times what `scale` gives for its operand.
fn weights<'a>(linear: &'a Kind, scale: impl Fn(usize) -> f64 + 'a) -> Box<dyn Iterator<Item = f64> + 'a> {
    match linear {
        Kind::Sum { factors, .. } => {
            Box::new(factors.iter().enumerate().map(move |(operand, factor)| factor.abs() * scale(operand)))
        }
        Kind::Map(map) => {
            let scale = scale(0);
            let size = move |weight: &f32| f64::from(weight.abs()) * scale;
            match &**map {
                Map::Dense { weights, .. } | Map::Conv2d { weights, .. } => {
                    Box::new(weights.iter().map(size))
                }
                Map::Affine { scale, .. } => Box::new(scale.iter().map(size)),
                Map::Sparse { taps, .. } => Box::new(taps.iter().flatten().map(move |(_, w)| size(w))),
            }
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// The type with its ends at the layer's bounds, where those are seen or nearer than the type's own.
fn bounded(quant: QuantParams, (lo, hi): (f64, f64)) -> QuantParams {
    // Steps that end exactly at a bound need no range of their own for it.
    let at_bound = |bound: f64, end: i32| {
        let ratio = bound / (f64::from(end) * quant.scale);
        (0.9..=1.0).contains(&ratio) && quant.scale != 1.0
    };
    let scale = match () {
        () if at_bound(hi, quant.hi) => hi / f64::from(quant.hi),
        () if quant.lo < 0 && at_bound(lo, quant.lo + 1) => lo / f64::from(quant.lo + 1),
        () => quant.scale,
    };
    let least = (lo / scale).round().max(f64::from(quant.lo));
    let least = if least <= f64::from(quant.lo + 1) { f64::from(quant.lo) } else { least };
    // The conversions saturate at infinities; a type holds 0 and 1.
    QuantParams {
        scale,
        lo: (least as i32).min(0),
        hi: ((hi / scale).round().min(f64::from(quant.hi)) as i32).max(1),
    }
}

/// Width of a function's operand under a width of activations: half of what is beyond [`TABLE_BITS`] is given up.
fn table_bits(bits: u8) -> u8 {
    bits.min(TABLE_BITS) + bits.saturating_sub(TABLE_BITS) / 2
}

fn span(quant: QuantParams) -> i64 {
    i64::from(quant.hi) - i64::from(quant.lo)
}

/// The type of `bits` bits that holds what was seen, or as much of it as lies within `reach`.
fn fitted(values: &[Vec<f64>], reach: Option<(f64, f64)>, bits: u8) -> QuantParams {
    let (lo, hi) = range(values);
    let signed = lo < 0.0;
    let size = hi.max(-lo);
    if values.iter().flatten().all(|v| v.fract() == 0.0)
        && let Some(bits) = (1..=16).find(|bits| size <= f64::from((1 << (bits - u8::from(signed))) - 1))
    {
        let bits = bits.max(2);
        let greatest = (1 << (bits - u8::from(signed))) - 1;
        return QuantParams { scale: 1.0, lo: if signed { -greatest - 1 } else { 0 }, hi: greatest };
    }
    let reach = match reach {
        Some((least, greatest)) if greatest.max(-least) > 0.0 => size.min(greatest.max(-least) / ROOM),
        _ => size,
    };
    let hi_integer = if signed { (1 << (bits - 1)) - 1 } else { (1 << bits) - 1 };
    let lo_integer = if signed { -hi_integer - 1 } else { 0 };
    QuantParams { scale: reach * ROOM / f64::from(hi_integer), lo: lo_integer, hi: hi_integer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], bits: u8, clamp: (f64, f64)) -> QuantParams {
        bounded(fitted(&[values.to_vec()], None, bits), clamp)
    }

    const FREE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

    #[test]
    fn a_type_holds_what_was_seen() {
        let signed = of(&[-2.0, 0.5, 1.0], 8, FREE);
        assert_eq!((signed.lo, signed.hi), (-128, 127));
        assert!(signed.scale * 127.0 >= 2.0 && signed.scale * 127.0 < 2.3);
        let unsigned = of(&[0.25, 3.0], 8, FREE);
        assert_eq!((unsigned.lo, unsigned.hi), (0, 255));
    }

    #[test]
    fn whole_numbers_keep_steps_of_one() {
        assert_eq!(of(&[-3.0, 100.0], 8, FREE).scale, 1.0);
        assert_eq!(of(&[-3.0, 700.0], 8, FREE), QuantParams { scale: 1.0, lo: -1024, hi: 1023 });
        assert!(of(&[-3.0, 70000.0], 8, FREE).scale > 1.0);
        assert!(of(&[0.5, 1.0], 8, FREE).scale < 1.0);
    }

    #[test]
    fn bounds_cut_the_type() {
        // Flags: 0 and 1, though a sum of two would be 2.
        assert_eq!(of(&[0.0, 1.0], 8, (0.0, 1.0)), QuantParams { scale: 1.0, lo: 0, hi: 1 });
        let six = of(&[0.0, 5.9], 8, (0.0, 6.0));
        assert_eq!((six.hi, six.scale), (255, 6.0 / 255.0));
        let below = of(&[-4.0, 0.0], 8, (f64::NEG_INFINITY, 1.0));
        assert!((f64::from(below.hi) * below.scale - 1.0).abs() < below.scale);
    }
}
