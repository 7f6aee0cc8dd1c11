//! How wide a row is: the limbs of each of its values, hence the columns of the circuit.
//!
//! A value `v` in `0..=max` of `n` limbs of `b` bits takes `n` cells, and where `max` is not implied by the limbs a
//! *complement* `max - v` of `n` limbs, whose lowest is no cell but `max - v - sum_(j>0) 2^(bj) k_j`. All limbs are
//! looked up in `0..2^b`, so `0 <= v <= max`.
//!
//! | value | range | limbs |
//! |---|---|---|
//! | `y - lo` | `0..=hi - lo`, complement | `output` |
//! | remainder | `0..2^f`, complement | `remainder` |
//! | excess | not negative | `excess` |
//! | distance of each tap from the maximum | not negative | `distance` |

/// Families of constraints: the name of a violated one, and what a test can leave out to see that it bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `m + 2^(f-1) = (y + s e) 2^f + r`, `s` the side that `y` saturates at.
    Requantize,
    /// `e (y - lo) (hi - y) = 0`.
    Saturate,
    /// `d_0 .. d_(T-1) = 0`: the maximum is one of its taps.
    Window,
    /// `r` is the same in every row.
    Challenge,
    /// The first `r` is the verifier's.
    ChallengeStart,
    /// `r2 = r r`.
    ChallengeSquare,
    /// `h' = h r^T + sum_j r^j (m - d_j) - g y`.
    Linear,
    /// `h` begins at 0.
    LinearStart,
    /// `h` ends at the verifier's `c`.
    LinearEnd,
    /// `p' = p + sum 1 / (r + q) - m_t / (r + t)`.
    Lookup,
    /// `p` begins at 0.
    LookupStart,
    /// `p` ends at 0.
    LookupEnd,
    /// `0 <= y - lo <= hi - lo`.
    OutputRange,
    /// `0 <= r < 2^f`.
    RemainderRange,
    /// `0 <= e`.
    ExcessRange,
    /// `0 <= d_j`.
    DistanceRange,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 16] = [
        Self::Requantize,
        Self::Saturate,
        Self::Window,
        Self::Challenge,
        Self::ChallengeStart,
        Self::ChallengeSquare,
        Self::Linear,
        Self::LinearStart,
        Self::LinearEnd,
        Self::Lookup,
        Self::LookupStart,
        Self::LookupEnd,
        Self::OutputRange,
        Self::RemainderRange,
        Self::ExcessRange,
        Self::DistanceRange,
    ];

    /// The name that the circuit gives the constraint.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requantize => "requantize",
            Self::Saturate => "saturate",
            Self::Window => "window",
            Self::Challenge => "challenge",
            Self::ChallengeStart => "challenge start",
            Self::ChallengeSquare => "challenge square",
            Self::Linear => "linear",
            Self::LinearStart => "linear start",
            Self::LinearEnd => "linear end",
            Self::Lookup => "lookup",
            Self::LookupStart => "lookup start",
            Self::LookupEnd => "lookup end",
            Self::OutputRange => "output range",
            Self::RemainderRange => "remainder range",
            Self::ExcessRange => "excess range",
            Self::DistanceRange => "distance range",
        }
    }
}

/// A column of the first phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Limb of `y - lo`.
    Output(usize),
    /// Limb of `hi - y`, from 1.
    OutputComplement(usize),
    /// Limb of the remainder.
    Remainder(usize),
    /// Limb of `2^f - 1 - r`, from 1.
    RemainderComplement(usize),
    /// Limb of the excess.
    Excess(usize),
    /// Limb of the distance of a tap from the maximum: tap, limb.
    Distance(usize, usize),
    /// The maximum, less the least value that it can have.
    Maximum,
    /// How often a row of the table is looked up.
    Multiplicity,
}

/// Lookups, the table among them, that share a column of the second phase.
pub const LOOKUPS_PER_COLUMN: usize = 3;

/// Columns of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Limb width `b`; the table has `2^b` rows.
    pub limb_bits: u32,
    /// Taps of a row, 1 to 4.
    pub taps: usize,
    /// Limbs of an output.
    pub output: usize,
    /// Limbs of a remainder.
    pub remainder: usize,
    /// Limbs of an excess; 0 where no output can saturate.
    pub excess: usize,
    /// Limbs of a distance; 0 with one tap.
    pub distance: usize,
    /// A family that the circuit leaves out. For tests; no key is made with it.
    pub omit: Option<Family>,
}

/// A lookup: what is shown to be in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A cell.
    Cell(Wire),
    /// The lowest limb of `hi - y`.
    OutputRest,
    /// The lowest limb of `2^f - 1 - r`.
    RemainderRest,
}

impl Shape {
    /// The least that a circuit can be.
    pub const LEAST: Self =
        Self { limb_bits: 1, taps: 1, output: 1, remainder: 1, excess: 0, distance: 0, omit: None };

    /// Rows of the table.
    pub fn table(&self) -> usize {
        1 << self.limb_bits
    }

    /// Whether a family of constraints is in the circuit.
    pub fn has(&self, family: Family) -> bool {
        self.omit != Some(family)
    }

    /// Columns of the first phase, in order.
    pub fn wires(&self) -> Vec<Wire> {
        let mut wires: Vec<Wire> = (0..self.output).map(Wire::Output).collect();
        wires.extend((1..self.output).map(Wire::OutputComplement));
        wires.extend((0..self.remainder).map(Wire::Remainder));
        wires.extend((1..self.remainder).map(Wire::RemainderComplement));
        wires.extend((0..self.excess).map(Wire::Excess));
        if self.taps > 1 {
            let limbs = |tap| (0..self.distance).map(move |limb| Wire::Distance(tap, limb));
            wires.extend((0..self.taps).flat_map(limbs));
        }
        wires.extend([Wire::Maximum, Wire::Multiplicity]);
        wires
    }

    /// Where a wire is among the columns of the first phase.
    pub fn column(&self, wire: Wire) -> usize {
        let complement = |limbs: usize| limbs + limbs - 1;
        let remainder = complement(self.output);
        let excess = remainder + complement(self.remainder);
        let distance = excess + self.excess;
        let maximum = distance + if self.taps > 1 { self.taps * self.distance } else { 0 };
        match wire {
            Wire::Output(limb) => limb,
            Wire::OutputComplement(limb) => self.output + limb - 1,
            Wire::Remainder(limb) => remainder + limb,
            Wire::RemainderComplement(limb) => remainder + self.remainder + limb - 1,
            Wire::Excess(limb) => excess + limb,
            Wire::Distance(tap, limb) => distance + tap * self.distance + limb,
            Wire::Maximum => maximum,
            Wire::Multiplicity => maximum + 1,
        }
    }

    /// Columns of the first phase.
    pub fn first_phase(&self) -> usize {
        self.column(Wire::Multiplicity) + 1
    }

    /// Columns of the second phase: `r`, its square where a power above 2 occurs, `h`, and the sums of the lookups.
    pub fn second_phase(&self) -> usize {
        2 + usize::from(self.squares()) + self.lookup_columns()
    }

    /// Whether the square of the challenge has a column.
    pub fn squares(&self) -> bool {
        self.taps > 2
    }

    /// Columns of sums of lookups; the table takes part as one more.
    pub fn lookup_columns(&self) -> usize {
        (self.lookups().len() + 1).div_ceil(LOOKUPS_PER_COLUMN)
    }

    /// The lookups of a row, in order.
    pub fn lookups(&self) -> Vec<Lookup> {
        let mut lookups = Vec::new();
        for wire in self.wires() {
            let family = match wire {
                Wire::Output(_) | Wire::OutputComplement(_) => Family::OutputRange,
                Wire::Remainder(_) | Wire::RemainderComplement(_) => Family::RemainderRange,
                Wire::Excess(_) => Family::ExcessRange,
                Wire::Distance(..) => Family::DistanceRange,
                Wire::Maximum | Wire::Multiplicity => continue,
            };
            if self.has(family) {
                lookups.push(Lookup::Cell(wire));
            }
        }
        if self.has(Family::OutputRange) {
            lookups.push(Lookup::OutputRest);
        }
        if self.has(Family::RemainderRange) {
            lookups.push(Lookup::RemainderRest);
        }
        lookups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_is_where_the_list_of_columns_has_it() {
        for taps in 1..=4 {
            for limbs in 1..=3 {
                let shape = Shape {
                    limb_bits: 8,
                    taps,
                    output: limbs,
                    remainder: 4 - limbs,
                    excess: limbs - 1,
                    distance: if taps > 1 { limbs } else { 0 },
                    omit: None,
                };
                let wires = shape.wires();
                assert_eq!(wires.len(), shape.first_phase());
                wires.iter().enumerate().for_each(|(at, &wire)| assert_eq!(shape.column(wire), at));
            }
        }
    }
}
