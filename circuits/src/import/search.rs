//! Chooses limb width, activation types and shifts: the least domain whose error is within the tolerance.
//!
//! For one limb width, with `v_l` the error variance of layer `l` in squares of the outputs' range and `r_l` its
//! rows, coordinate descent minimises the Lagrangian
//!
//! ```text
//! sum_l v_l / tolerance^2 + lambda sum_l r_l
//! ```
//!
//! for a ladder of `lambda`. Of all candidates, the one with the least error is kept for every domain size.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::f64::consts::{PI, SQRT_2};

use rayon::prelude::*;

use super::profile::{Profile, REACHES};
use super::quantise::Choice;
use crate::domain;
use crate::ir::{Port, QuantParams, Range, Requantize, limits};
use crate::r1cs::LIMB_BITS;

/// Greatest width of an activation.
const BITS: u8 = 12;
/// Greatest width of an output; outputs are few.
const OUTPUT_BITS: u8 = 16;
/// Least and greatest shift.
const SHIFTS: std::ops::RangeInclusive<u8> = 2..=20;
/// Factors between a saturating and the widest scale that is tried.
const WIDEST: u32 = 64;
/// `lambda` runs up and down through these powers of two.
const LADDER: std::ops::Range<i32> = -24..8;
/// Layers that take one more step at a time on the ladder.
const DEEP: usize = 64;
/// Sweeps of the descent for one `lambda`.
const SWEEPS: usize = 4;

/// A choice for every layer, with what it is expected to cost.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// One choice a layer.
    pub choices: Vec<Choice>,
    /// Rows, table included.
    pub rows: usize,
    /// Expected mean absolute error of the outputs, as a share of their range.
    pub error: f64,
}

/// The candidate of least error for every domain size that is worth its price, in order of size.
pub fn candidates(profiles: &[Profile], ports: &[Port], bits: Option<u8>, tolerance: f64) -> Vec<Candidate> {
    let widths: Vec<u32> = LIMB_BITS.collect();
    let search = |&limb: &u32| Search { profiles, ports, bits, limb, tolerance }.ladder();
    let all: Vec<Candidate> = widths.par_iter().flat_map_iter(search).collect();
    let mut best: BTreeMap<usize, Candidate> = BTreeMap::new();
    for candidate in all.into_iter().filter(|candidate| candidate.rows <= domain::MAX_SIZE) {
        let size = domain::size_for(candidate.rows);
        match best.get(&size) {
            Some(other) if (other.error, other.rows) <= (candidate.error, candidate.rows) => {}
            _ => drop(best.insert(size, candidate)),
        }
    }
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in best.into_values() {
        if kept.last().is_none_or(|last| candidate.error < last.error) {
            kept.push(candidate);
        }
    }
    kept
}

struct Search<'a> {
    profiles: &'a [Profile],
    ports: &'a [Port],
    bits: Option<u8>,
    limb: u32,
    tolerance: f64,
}

/// Rows, and error variance in squares of the outputs' range.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    rows: usize,
    variance: f64,
}

/// A layer's operand: real value of one step, and greatest size in real units.
#[derive(Clone, Copy, Debug)]
struct Operand {
    scale: f64,
    size: f64,
}

/// Accumulators lie in `-lo..=hi`, in real units; rounded weights may add `slack` accumulator units to both.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    lo: f64,
    hi: f64,
    slack: f64,
}

/// A choice a layer, and how far its accumulators reach.
#[derive(Clone, Debug, Default)]
struct State {
    choices: Vec<Choice>,
    bounds: Vec<Bounds>,
}

impl Search<'_> {
    fn ladder(&self) -> Vec<Candidate> {
        let Some(mut state) = self.start() else { return Vec::new() };
        let mut found = Vec::new();
        // The deeper the network, the coarser the ladder.
        let stride = 1 + self.profiles.len() / DEEP;
        for step in LADDER.chain(LADDER.rev()).step_by(stride) {
            self.descend(2f64.powi(step), &mut state);
            let mut total = Price { rows: (1 << self.limb) + 1, variance: 0.0 };
            for (layer, choice) in state.choices.iter().enumerate() {
                let price = self.price(layer, choice, self.operand(layer, &state));
                total = Price { rows: total.rows + price.rows, variance: total.variance + price.variance };
            }
            let (choices, error) = (state.choices.clone(), (2.0 / PI * total.variance).sqrt());
            found.push(Candidate { choices, rows: total.rows, error });
        }
        found
    }

    /// Widest types and greatest shifts; `None` if a layer has no option.
    fn start(&self) -> Option<State> {
        let mut state = State::default();
        for layer in 0..self.profiles.len() {
            let operand = self.operand(layer, &state);
            let fine = |choice: &Choice| (-choice.quant.scale, choice.shift);
            let options = self.options(layer, operand).into_iter();
            let choice = options.max_by(|a, b| fine(a).partial_cmp(&fine(b)).unwrap_or(Ordering::Equal))?;
            state.bounds.push(self.bounds(layer, operand));
            state.choices.push(choice);
        }
        Some(state)
    }

    fn descend(&self, lambda: f64, state: &mut State) {
        let unit = self.tolerance * self.tolerance;
        let worth = |price: Price| price.variance / unit + lambda * price.rows as f64;
        for _ in 0..SWEEPS {
            let mut changed = false;
            for (layer, profile) in self.profiles.iter().enumerate() {
                let operand = self.operand(layer, state);
                let bounds = state.bounds[layer];
                let cost = |choice: &Choice| {
                    let read = Operand::of(choice.quant, &bounds);
                    let after = |&reader: &usize| worth(self.price(reader, &state.choices[reader], read));
                    worth(self.price(layer, choice, operand)) + profile.readers.iter().map(after).sum::<f64>()
                };
                let before = state.choices[layer];
                let (mut best, mut least) = (before, cost(&before));
                for option in self.options(layer, operand) {
                    let cost = cost(&option);
                    if cost < least {
                        (best, least) = (option, cost);
                    }
                }
                if best != before {
                    state.choices[layer] = best;
                    changed = true;
                    self.refresh(layer, state);
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// Brings the bounds of what reads a layer up to date, as far as they change.
    fn refresh(&self, layer: usize, state: &mut State) {
        let mut stale = self.profiles[layer].readers.clone();
        while let Some(reader) = stale.pop() {
            let bounds = self.bounds(reader, self.operand(reader, state));
            if bounds != state.bounds[reader] {
                state.bounds[reader] = bounds;
                stale.extend(&self.profiles[reader].readers);
            }
        }
    }

    /// Every type and shift worth trying for a layer.
    ///
    /// Only whole limbs are worth their rows, except for the shift of accumulators that are compared.
    fn options(&self, layer: usize, operand: Operand) -> Vec<Choice> {
        let profile = &self.profiles[layer];
        let whole = |most: u8| {
            let limbs = (1..=3).map(|limbs| (limbs * self.limb) as u8).filter(move |&bits| bits < most);
            limbs.chain([most]).collect::<Vec<u8>>()
        };
        let bits = match self.bits {
            Some(bits) if !profile.is_output => vec![bits],
            _ => whole(if profile.is_output { OUTPUT_BITS } else { BITS }),
        };
        let compared = profile.cells.compares();
        let shifts = if compared { SHIFTS.collect() } else { whole(*SHIFTS.end()) };
        let bounds = self.bounds(layer, operand);
        let mut options = Vec::new();
        for bits in bits {
            let most = f64::from(greatest(bits, profile.is_signed()));
            let tight = profile.reach() / most;
            let steps = (1..=2 * WIDEST.ilog2()).map(|step| tight * sqrt_2_to(step));
            let scales: Vec<f64> = REACHES.iter().map(|share| tight * share).chain(steps).collect();
            for &shift in &shifts {
                let unit = f64::from(1u32 << shift);
                let wide = self.thresholds(compared, &bounds, most, unit).into_iter();
                let wide = wide.filter(|&scale| scale > tight && scale < tight * f64::from(WIDEST));
                let quants =
                    scales.iter().copied().chain(wide).filter_map(|scale| quant(profile, scale, bits));
                options.extend(quants.map(|quant| Choice { shift, quant, argument: None }));
            }
        }
        options
    }

    /// Scales just wide enough to save a gate or a limb.
    fn thresholds(&self, compared: bool, bounds: &Bounds, most: f64, unit: f64) -> Vec<f64> {
        let slack = bounds.slack / unit;
        let room = |limbs: u32| 2f64.powi((limbs * self.limb) as i32);
        // The upper side cannot saturate.
        let mut scales = vec![bounds.hi / (most + 0.45 - slack)];
        // The excess fits a number of limbs.
        scales.extend([1, 2].map(|limbs| {
            let excess = room(limbs) - 1.0 - slack;
            (bounds.lo / excess).max(bounds.hi / (excess + most))
        }));
        // Differences of accumulators do.
        if compared {
            let width = bounds.lo + bounds.hi;
            scales.extend([1, 2, 3].map(|limbs| width / (room(limbs) / unit - 2.0 * (slack + 1.0))));
        }
        scales
    }

    fn price(&self, layer: usize, choice: &Choice, operand: Operand) -> Price {
        let profile = &self.profiles[layer];
        let Choice { shift, quant, .. } = *choice;
        let bounds = self.bounds(layer, operand);
        let unit = f64::from(1u32 << shift);
        // The conversion saturates; what is beyond the bound is refused when the graph is built.
        let integer = |bound: f64| ((bound / quant.scale * unit + bounds.slack) as i64).clamp(-BOUND, BOUND);
        let range = Range { lo: -integer(bounds.lo), hi: integer(bounds.hi) };
        let rule = Requantize { shift, lo: quant.lo, hi: quant.hi };
        let rounding = quant.scale * quant.scale / 12.0;
        let weights = (quant.scale / unit / operand.scale).powi(2) / 12.0 * profile.energy;
        let variance = rounding + weights + profile.saturation_of(quant);
        Price { rows: profile.cells.rows(range, &rule, self.limb), variance: variance * profile.gain }
    }

    /// The operand of a layer, given all layers before it.
    fn operand(&self, layer: usize, state: &State) -> Operand {
        let input = self.profiles[layer].input;
        match input.checked_sub(self.ports.len()) {
            None => {
                let quant = self.ports[input].quant;
                Operand { scale: quant.scale, size: held(quant) }
            }
            Some(before) => Operand::of(state.choices[before].quant, &state.bounds[before]),
        }
    }

    fn bounds(&self, layer: usize, operand: Operand) -> Bounds {
        let profile = &self.profiles[layer];
        // Rounded weights reach further than the real ones: three standard deviations of a sum of roundings.
        let slack = 3.0 * (profile.taps / 12.0).sqrt() * operand.size / operand.scale;
        let (lo, hi) = (profile.least.at(operand.size), profile.greatest.at(operand.size));
        Bounds { lo: lo.max(0.0), hi: hi.max(0.0), slack }
    }
}

impl Operand {
    /// What a layer's result is to its readers: no greater than its type and than its accumulators.
    fn of(quant: QuantParams, bounds: &Bounds) -> Self {
        let reached = if quant.lo < 0 { bounds.lo.max(bounds.hi) } else { bounds.hi };
        Self { scale: quant.scale, size: held(quant).min(reached + quant.scale) }
    }
}

/// Greatest size of a type in real units.
fn held(quant: QuantParams) -> f64 {
    f64::from(quant.hi.max(-quant.lo)) * quant.scale
}

const BOUND: i64 = 1 << (limits::ACCUMULATOR_BITS - 1);

fn greatest(bits: u8, signed: bool) -> i32 {
    if signed { (1 << (bits - 1)) - 1 } else { (1 << bits) - 1 }
}

/// `sqrt(2)^step`, the same on every machine.
fn sqrt_2_to(step: u32) -> f64 {
    let whole = 2f64.powi((step / 2) as i32);
    if step.is_multiple_of(2) { whole } else { whole * SQRT_2 }
}

/// The type of `bits` bits in steps of at most `scale`, cut where the layer's own bounds are.
fn quant(profile: &Profile, scale: f64, bits: u8) -> Option<QuantParams> {
    let most = greatest(bits, profile.is_signed());
    let (lo, hi) = profile.clamp;
    // Steps that end exactly at the upper bound, so that the bound needs no range of its own.
    let scale = if hi >= -lo { scale.min(hi / f64::from(most)) } else { scale };
    if !(scale > 0.0 && scale.is_finite()) {
        return None;
    }
    let greatest = (hi / scale).round().clamp(1.0, most.into()) as i32;
    let least = match profile.is_signed() {
        false => 0,
        // A lower bound of as many steps as the upper one is moved by one, to a type that is a power of two.
        true if (lo / scale).round() <= f64::from(-most) => -most - 1,
        true => (lo / scale).round() as i32,
    };
    Some(QuantParams { scale, lo: least, hi: greatest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::cost::Cells;
    use crate::import::profile::Envelope;

    fn profile(clamp: (f64, f64)) -> Profile {
        Profile {
            input: 0,
            readers: Vec::new(),
            cells: Cells::new(100, 0),
            taps: 10.0,
            energy: 1.0,
            greatest: Envelope::new(vec![(8.0, 0.0)]),
            least: Envelope::new(vec![(8.0, 0.0)]),
            clamp,
            seen: (clamp.0.max(-1.0), clamp.1.min(1.0)),
            saturation: [0.3, 0.2, 0.1, 0.0],
            gain: 1.0,
            is_output: false,
        }
    }

    fn ports() -> Vec<Port> {
        vec![Port::public("x", vec![10], QuantParams { scale: 1.0 / 255.0, lo: 0, hi: 255 })]
    }

    #[test]
    fn a_relu_is_an_unsigned_type_and_an_unbounded_layer_a_signed_one() {
        let relu = quant(&profile((0.0, f64::INFINITY)), 0.1, 8).unwrap();
        assert_eq!((relu.lo, relu.hi, relu.scale), (0, 255, 0.1));
        let free = quant(&profile((f64::NEG_INFINITY, f64::INFINITY)), 0.1, 8).unwrap();
        assert_eq!((free.lo, free.hi, free.scale), (-128, 127, 0.1));
    }

    #[test]
    fn bounds_cut_the_type_where_they_are() {
        let six = quant(&profile((0.0, 6.0)), 0.1, 8).unwrap();
        assert_eq!((six.lo, six.hi), (0, 255));
        assert!((six.scale - 6.0 / 255.0).abs() < 1e-12);
        let symmetric = quant(&profile((-1.0, 1.0)), 0.1, 8).unwrap();
        assert_eq!((symmetric.lo, symmetric.hi), (-128, 127));
        let upper = quant(&profile((f64::NEG_INFINITY, 0.5)), 0.1, 8).unwrap();
        assert_eq!((upper.lo, upper.hi, upper.scale), (-128, 5, 0.1));
        let lower = quant(&profile((-0.5, 20.0)), 0.1, 8).unwrap();
        assert_eq!((lower.lo, lower.hi, lower.scale), (-5, 127, 0.1));
    }

    #[test]
    fn larger_domains_are_only_kept_for_smaller_errors() {
        let mut first = profile((0.0, f64::INFINITY));
        first.readers = vec![1];
        let second = Profile { input: 1, is_output: true, ..profile((f64::NEG_INFINITY, f64::INFINITY)) };
        let candidates = candidates(&[first, second], &ports(), None, 0.005);
        assert!(candidates.len() > 1);
        for pair in candidates.windows(2) {
            assert!(domain::size_for(pair[0].rows) < domain::size_for(pair[1].rows));
            assert!(pair[0].error > pair[1].error);
        }
    }

    #[test]
    fn bits_that_are_given_hold_for_inner_layers_only() {
        let mut first = profile((0.0, f64::INFINITY));
        first.readers = vec![1];
        let second = Profile { input: 1, is_output: true, ..profile((f64::NEG_INFINITY, f64::INFINITY)) };
        for candidate in candidates(&[first, second], &ports(), Some(7), 0.005) {
            assert_eq!(candidate.choices[0].quant.hi, 127);
        }
    }

    #[test]
    fn powers_of_the_root_of_two_are_exact_at_even_steps() {
        assert_eq!([0, 2, 4].map(sqrt_2_to), [1.0, 2.0, 4.0]);
        assert!((sqrt_2_to(3) - 8f64.sqrt()).abs() < 1e-12);
    }
}
