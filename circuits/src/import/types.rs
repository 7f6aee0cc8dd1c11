//! Types for networks of any shape: one width for all activations, the least whose measured error is within the
//! tolerance.
//!
//! An activation's step follows from the greatest size seen; numbers that are whole wherever they were seen keep steps
//! of 1, so that indices, flags and counts are exact. A product's step is `factor s_a s_b 2^f`, with the least `f` at
//! which the type holds what was seen, so that its result needs no factor of its own. A function's operand has at most
//! [`TABLE_BITS`] bits, since its table has a row for every value.

use super::network::{Activations, Kind, Layer, Network};
use super::profile::range;
use super::quantise::Choice;
use crate::ir::{Port, QuantParams, limits};

/// Widths that are tried, in order.
pub const WIDTHS: [u8; 4] = [10, 12, 14, 16];
/// Greatest width of a function's operand, and what it gains with the activations' beyond it.
const TABLE_BITS: u8 = 12;
/// Width of an output; outputs are few.
const OUTPUT_BITS: u8 = 16;
/// Bits of accumulated precision below a step.
const SHIFT: u8 = 14;
/// Room above the greatest size seen.
const ROOM: f64 = 1.1;

/// A choice for every layer under one width.
pub fn choices(network: &Network, ports: &[Port], activations: &Activations, bits: u8) -> Vec<Choice> {
    let inputs = network.inputs.len();
    let readers = readers(network);
    let mut types: Vec<QuantParams> = ports.iter().map(|port| port.quant).collect();
    let mut choices = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let at = inputs + index;
        let is_output = network.outputs.iter().any(|output| output.activation == at);
        let functions_only =
            !readers[at].is_empty() && readers[at].iter().all(|&reader| is_function(&network.layers[reader]));
        let width = match (is_output, functions_only) {
            (true, _) => OUTPUT_BITS,
            (false, true) => table_bits(bits),
            (false, false) => bits,
        };
        let values = &activations[at];
        let choice = choose(layer, values, &types, width, bits, |operand| {
            fitted(&activations[operand], TABLE_BITS.min(bits))
        });
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

fn is_function(layer: &Layer) -> bool {
    matches!(layer.kind, Kind::Function(_) | Kind::Functions { .. })
}

fn choose(
    layer: &Layer,
    values: &[Vec<f64>],
    types: &[QuantParams],
    width: u8,
    bits: u8,
    narrow: impl Fn(usize) -> QuantParams,
) -> Choice {
    let quant = bounded(fitted(values, width), layer.clamp);
    let plain = Choice { shift: SHIFT, quant, argument: None };
    match &layer.kind {
        Kind::Map(_) | Kind::Sum { .. } | Kind::Select(_) => plain,
        Kind::Function(_) | Kind::Functions { .. } => {
            let operand = layer.inputs[0];
            // An index that is rounded finds another row: whole numbers keep steps of 1.
            let whole = types[operand].scale == 1.0;
            let wide = !whole && span(types[operand]) >= 1 << table_bits(bits);
            Choice { argument: wide.then(|| narrow(operand)), ..plain }
        }
        Kind::Product(_) | Kind::MatMul(..) => {
            let unit = layer.kind.factor().abs()
                * layer.inputs.iter().map(|&input| types[input].scale).product::<f64>();
            let shift = (1..=limits::SHIFT).find(|&f| unit * f64::from(1u32 << f) >= quant.scale);
            let shift = shift.unwrap_or(limits::SHIFT);
            Choice {
                shift,
                quant: QuantParams { scale: unit * f64::from(1u32 << shift), ..quant },
                argument: None,
            }
        }
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

/// The type of `bits` bits that holds what was seen.
fn fitted(values: &[Vec<f64>], bits: u8) -> QuantParams {
    let (lo, hi) = range(values);
    let signed = lo < 0.0;
    let reach = hi.max(-lo);
    if values.iter().flatten().all(|v| v.fract() == 0.0)
        && let Some(bits) = (1..=16).find(|bits| reach <= f64::from((1 << (bits - u8::from(signed))) - 1))
    {
        let bits = bits.max(2);
        let greatest = (1 << (bits - u8::from(signed))) - 1;
        return QuantParams { scale: 1.0, lo: if signed { -greatest - 1 } else { 0 }, hi: greatest };
    }
    let hi_integer = if signed { (1 << (bits - 1)) - 1 } else { (1 << bits) - 1 };
    let lo_integer = if signed { -hi_integer - 1 } else { 0 };
    QuantParams { scale: reach * ROOM / f64::from(hi_integer), lo: lo_integer, hi: hi_integer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], bits: u8, clamp: (f64, f64)) -> QuantParams {
        bounded(fitted(&[values.to_vec()], bits), clamp)
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
