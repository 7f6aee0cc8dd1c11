//! Yuma consensus, version 3: what score vectors of validators with stake say about miners, and what each validator
//! earns for having said it.
//!
//! For stakes `s_i` and scores `w_ij` of one subnet, both integers, and bonds `b_ij` of the epoch before:
//!
//! ```text
//! S_i  = s_i / sum s                     W_ij = w_ij / sum_j w_ij
//! C_j  = the greatest w with sum_i S_i [W_ij >= w] >= kappa                   consensus
//! Wc_ij = min(W_ij, C_j)                 T_i = sum_j Wc_ij                     trust in the validator
//! I_j  = R_j / sum R                     R_j = sum_i S_i max(Wc_ij, f C_j)     incentive; f: floor
//! Wb_ij = W_ij + beta (Wc_ij - W_ij)                                           beta: penalty of bonds
//! B_ij = min(1, b_ij + a_ij (Wb_ij - b_ij))                                    bonds
//! a_ij = a_lo + (a_hi - a_lo) / (1 + exp(-steepness (d_ij - 1/2)))             liquid
//! d_ij = max(0, Wb_ij - C_j) if Wb_ij >= b_ij, else b_ij - Wb_ij
//! a_ij = rate                                                                  otherwise, and if all C_j are 0
//! D_i  = S_i E_i / sum S E               E_i = sum_j I_j B_ij / sum_k B_kj     dividends
//! b'_ij = floor(65535 B_ij) / 65535                                            what the next epoch starts from
//! ```
//!
//! A quotient by 0 is 0. Consensus compares sums of the integer stakes, so that no rounding decides a tie; everything else
//! is [`Fixed`]. The method is that of Bittensor's subtensor, which keeps bonds in 16 bits too.

use crate::fixed::Fixed;

/// Numbers of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Share of the stake that has to give a score for it to count.
    pub kappa: Fixed,
    /// Share of the consensus that a lower score counts as in a miner's incentive, 0 to 1: who gives others nothing so that
    /// its own has more gains less by it. 0: scores count as they are.
    pub floor: Fixed,
    /// Share of the way from a score to the consensus at which bonds are bought, 0 to 1.
    pub bonds_penalty: Fixed,
    /// Share of the way that a bond goes in an epoch.
    pub rate: Fixed,
    /// A rate for every bond instead.
    pub liquid: Option<Liquid>,
}

/// Rates that rise with the distance from the consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liquid {
    /// At no distance.
    pub low: Fixed,
    /// At a distance of 1.
    pub high: Fixed,
    /// Of the sigmoid between them.
    pub steepness: Fixed,
}

/// What an epoch gives: a number a miner, a validator, or a row of miners for every validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Scores that enough stake agrees with.
    pub consensus: Vec<Fixed>,
    /// Shares of the miners.
    pub incentive: Vec<Fixed>,
    /// Shares of the validators.
    pub dividends: Vec<Fixed>,
    /// In units of `1 / 65535`.
    pub bonds: Vec<Vec<u16>>,
    /// How much of its scores a validator shares with the consensus.
    pub validator_trust: Vec<Fixed>,
}

/// One epoch. `scores` has a row for every stake and `bonds` a row for each of those; a row that ends early goes on
/// with zeros. Validators without stake have their bonds, and no say.
pub fn epoch(rules: &Rules, stakes: &[u64], scores: &[Vec<u64>], bonds: &[Vec<u16>]) -> Outcome {
    let miners = scores.iter().map(Vec::len).max().unwrap_or(0);
    let total: u128 = stakes.iter().copied().map(u128::from).sum();
    let shares: Vec<Fixed> = stakes.iter().map(|&stake| Fixed::ratio(stake.into(), total)).collect();
    let weights: Vec<Vec<Fixed>> = scores.iter().map(|row| normalised(row, miners)).collect();
    let column = |j: usize| weights.iter().filter_map(move |row| row.get(j).copied());

    let consensus: Vec<Fixed> = (0..miners)
        .map(|j| agreed(rules.kappa, total, stakes.iter().copied().zip(column(j)).collect()))
        .collect();
    let clipped: Vec<Vec<Fixed>> = weights
        .iter()
        .map(|row| row.iter().zip(&consensus).map(|(&weight, &agreed)| weight.min(agreed)).collect())
        .collect();
    let validator_trust = clipped.iter().map(|row| row.iter().copied().sum()).collect();
    let rank = |j: usize| {
        let floor = consensus.get(j).map_or(Fixed::ZERO, |agreed| agreed.times(rules.floor));
        let terms = shares.iter().zip(&clipped);
        let terms = terms.filter_map(|(share, row)| Some(share.times((*row.get(j)?).max(floor))));
        terms.sum::<Fixed>()
    };
    let incentive = shared((0..miners).map(rank).collect());

    let moved: Vec<Vec<Fixed>> = weights
        .iter()
        .zip(&clipped)
        .enumerate()
        .map(|(i, (weights, clipped))| {
            let before = bonds.get(i).map_or(&[][..], Vec::as_slice);
            rules.bonds(weights, clipped, &consensus, before)
        })
        .collect();
    let held: Vec<Fixed> =
        (0..miners).map(|j| moved.iter().filter_map(|row| row.get(j).copied()).sum()).collect();
    let earned = |(share, row): (&Fixed, &Vec<Fixed>)| {
        let parts = row.iter().zip(&held).zip(&incentive);
        share.times(parts.map(|((bond, held), incentive)| bond.over(*held).times(*incentive)).sum())
    };
    let dividends = shared(shares.iter().zip(&moved).map(earned).collect());
    let bonds = moved.iter().map(|row| row.iter().map(|bond| bond.to_u16()).collect()).collect();
    Outcome { consensus, incentive, dividends, bonds, validator_trust }
}

impl Rules {
    /// The bonds of one validator after an epoch.
    fn bonds(&self, weights: &[Fixed], clipped: &[Fixed], consensus: &[Fixed], before: &[u16]) -> Vec<Fixed> {
        let liquid = self.liquid.filter(|_| consensus.iter().any(|&agreed| agreed > Fixed::ZERO));
        let before = before.iter().map(|&bond| Fixed::of_u16(bond)).chain(std::iter::repeat(Fixed::ZERO));
        let cells = weights.iter().zip(clipped).zip(consensus).zip(before);
        cells
            .map(|(((&weight, &clipped), &agreed), before)| {
                let target = weight.towards(clipped, self.bonds_penalty);
                let rate = liquid.map_or(self.rate, |liquid| liquid.rate(target, agreed, before));
                before.towards(target, rate).min(Fixed::ONE)
            })
            .collect()
    }
}

impl Liquid {
    fn rate(&self, target: Fixed, agreed: Fixed, before: Fixed) -> Fixed {
        let distance = if target >= before { target.minus(agreed) } else { before.minus(target) };
        let from_middle = distance.max(Fixed::HALF).minus(distance.min(Fixed::HALF));
        let small = self.steepness.times(from_middle).exp_of_negative();
        // 1 / (1 + exp(-x)) for x >= 0, and what is left of 1 for -x.
        let upper = Fixed::ONE.over(Fixed::ONE.plus(small));
        let sigmoid = if distance >= Fixed::HALF { upper } else { Fixed::ONE.minus(upper) };
        self.low.towards(self.high, sigmoid)
    }
}

/// A row of integers as shares of its sum, continued with zeros.
fn normalised(row: &[u64], length: usize) -> Vec<Fixed> {
    let total: u128 = row.iter().copied().map(u128::from).sum();
    let shares = row.iter().map(|&score| Fixed::ratio(score.into(), total));
    shares.chain(std::iter::repeat(Fixed::ZERO)).take(length).collect()
}

/// Numbers as shares of their sum.
fn shared(numbers: Vec<Fixed>) -> Vec<Fixed> {
    let total: Fixed = numbers.iter().copied().sum();
    numbers.into_iter().map(|number| number.over(total)).collect()
}

/// The greatest score that at least `kappa` of the stake gives or exceeds.
fn agreed(kappa: Fixed, total: u128, mut column: Vec<(u64, Fixed)>) -> Fixed {
    column.sort_unstable_by(|(_, a), (_, b)| b.cmp(a));
    let mut stake: u128 = 0;
    for (own, score) in column {
        stake = stake.saturating_add(own.into());
        // Scores are met in descending order: whoever gives the same one again only adds to it.
        if own > 0 && Fixed::ratio(stake, total) >= kappa {
            return score;
        }
    }
    Fixed::ZERO
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules {
            kappa: Fixed::ratio(32_767, 65_535),
            floor: Fixed::ZERO,
            bonds_penalty: Fixed::ONE,
            rate: Fixed::ratio(1, 10),
            liquid: None,
        }
    }

    fn real(x: Fixed) -> f64 {
        x.to_string().parse().unwrap()
    }

    /// The equations above in floating point, cell by cell.
    struct Reference {
        kappa: f64,
        penalty: f64,
        rate: f64,
        liquid: Option<(f64, f64, f64)>,
    }

    impl Reference {
        fn epoch(&self, stakes: &[u64], scores: &[Vec<u64>], bonds: &mut [Vec<f64>]) -> [Vec<f64>; 3] {
            let (n, m) = (stakes.len(), scores[0].len());
            let part = |x: f64, whole: f64| if whole == 0.0 { 0.0 } else { x / whole };
            let sum = |f: &dyn Fn(usize) -> f64, n: usize| (0..n).map(f).sum::<f64>();
            let s = |i: usize| stakes[i] as f64 / stakes.iter().sum::<u64>() as f64;
            let w = |i: usize, j: usize| part(scores[i][j] as f64, scores[i].iter().sum::<u64>() as f64);
            let c: Vec<f64> = (0..m)
                .map(|j| {
                    let enough =
                        |x: f64| sum(&|i| if w(i, j) >= x { s(i) } else { 0.0 }, n) >= self.kappa - 1e-12;
                    (0..n).map(|i| w(i, j)).filter(|&x| enough(x)).fold(0.0, f64::max)
                })
                .collect();
            let clipped = |i: usize, j: usize| w(i, j).min(c[j]);
            let r: Vec<f64> = (0..m).map(|j| sum(&|i| s(i) * clipped(i, j), n)).collect();
            let incentive: Vec<f64> = r.iter().map(|x| part(*x, r.iter().sum())).collect();
            for (i, row) in bonds.iter_mut().enumerate() {
                for (j, bond) in row.iter_mut().enumerate() {
                    let (target, b) = (w(i, j) + self.penalty * (clipped(i, j) - w(i, j)), *bond);
                    let rate = match self.liquid {
                        Some((lo, hi, steepness)) if c.iter().any(|&c| c > 0.0) => {
                            let d = if target >= b { (target - c[j]).max(0.0) } else { b - target };
                            lo + (hi - lo) / (1.0 + (-steepness * (d - 0.5)).exp())
                        }
                        _ => self.rate,
                    };
                    *bond = (b + rate * (target - b)).min(1.0);
                }
            }
            let held = |j: usize| sum(&|k| bonds[k][j], n);
            let e: Vec<f64> =
                (0..n).map(|i| s(i) * sum(&|j| incentive[j] * part(bonds[i][j], held(j)), m)).collect();
            let dividends = e.iter().map(|x| part(*x, e.iter().sum())).collect();
            bonds.iter_mut().flatten().for_each(|b| *b = (*b * 65_535.0).floor() / 65_535.0);
            [c, incentive, dividends]
        }
    }

    /// Validators, and for every epoch their scores for as many miners each.
    fn history() -> impl Strategy<Value = (Vec<u64>, Vec<Vec<Vec<u64>>>)> {
        (1usize..6, 1usize..6, 1usize..8).prop_flat_map(|(validators, miners, epochs)| {
            let row = prop::collection::vec(prop_oneof![Just(0u64), 0u64..100], miners);
            let scores = prop::collection::vec(row, validators);
            (prop::collection::vec(1u64..50, validators), prop::collection::vec(scores, epochs))
        })
    }

    proptest! {
        #[test]
        fn it_is_the_function_of_reals_that_the_equations_state(
            (stakes, history) in history(),
            penalty in 0u64..=1_000_000,
            liquid in prop::option::of((0u64..300_000, 300_000u64..1_000_000, 0u64..20_000_000)),
        ) {
            let ppm = |x: u64| x as f64 / 1e6;
            let reference = Reference {
                kappa: 32_767.0 / 65_535.0,
                penalty: ppm(penalty),
                rate: 0.1,
                liquid: liquid.map(|(low, high, steepness)| (ppm(low), ppm(high), ppm(steepness))),
            };
            let liquid = liquid.map(|(low, high, steepness)| Liquid {
                low: Fixed::of_ppm(low), high: Fixed::of_ppm(high), steepness: Fixed::of_ppm(steepness),
            });
            let rules = Rules { bonds_penalty: Fixed::of_ppm(penalty), liquid, ..rules() };
            let mut bonds = vec![Vec::new(); stakes.len()];
            let mut reals = vec![vec![0.0; history[0][0].len()]; stakes.len()];
            for scores in &history {
                let outcome = epoch(&rules, &stakes, scores, &bonds);
                let expected = reference.epoch(&stakes, scores, &mut reals);
                for (got, expected) in [&outcome.consensus, &outcome.incentive].into_iter().zip(&expected) {
                    for (got, expected) in got.iter().zip(expected) {
                        prop_assert!((real(*got) - expected).abs() < 1e-8, "{} for {}", got, expected);
                    }
                }
                for (got, expected) in outcome.bonds.iter().flatten().zip(reals.iter_mut().flatten()) {
                    prop_assert!((f64::from(*got) - *expected * 65_535.0).abs() < 1.01);
                    // A bond at the border of a unit may be rounded to either side.
                    *expected = f64::from(*got) / 65_535.0;
                }
                for (got, expected) in outcome.dividends.iter().zip(&expected[2]) {
                    prop_assert!((real(*got) - expected).abs() < 1e-8);
                }
                bonds = outcome.bonds;
            }
        }

        #[test]
        fn shares_never_exceed_one((stakes, history) in history()) {
            let mut bonds = Vec::new();
            for scores in &history {
                let outcome = epoch(&rules(), &stakes, scores, &bonds);
                for shares in [&outcome.incentive, &outcome.dividends] {
                    prop_assert!(shares.iter().copied().sum::<Fixed>() <= Fixed::ONE);
                }
                bonds = outcome.bonds;
            }
        }
    }

    #[test]
    fn half_of_the_stake_is_enough_and_less_is_not() {
        let scores = [vec![1, 3], vec![1, 1]];
        let consensus = |stakes: &[u64]| epoch(&rules(), stakes, &scores, &[]).consensus;
        assert_eq!(consensus(&[5, 5]), [Fixed::HALF, Fixed::ratio(3, 4)]);
        assert_eq!(consensus(&[4, 5]), [Fixed::HALF, Fixed::HALF]);
        assert_eq!(consensus(&[5, 4]), [Fixed::ratio(1, 4), Fixed::ratio(3, 4)]);
    }

    #[test]
    fn a_floor_takes_from_a_minority_what_it_gains_by_giving_others_nothing() {
        let scores = [vec![0, 1], vec![1, 1], vec![1, 1]];
        let incentive = |floor| epoch(&Rules { floor, ..rules() }, &[40, 30, 30], &scores, &[]).incentive;
        let near = |share: Fixed, parts: u64| share.to_ppm().abs_diff(parts) <= 1;
        // Ranks 0.3 and 0.5 without a floor, 0.4 and 0.5 with half of one.
        assert!(near(incentive(Fixed::ZERO)[1], 625_000));
        assert!(near(incentive(Fixed::HALF)[1], 555_555));
        assert!(near(incentive(Fixed::ONE)[1], 500_000));
    }

    #[test]
    fn equal_scores_count_together() {
        let scores = [vec![1, 1], vec![1, 1], vec![1, 0]];
        let outcome = epoch(&rules(), &[30, 30, 40], &scores, &[]);
        assert_eq!(outcome.consensus, [Fixed::HALF, Fixed::HALF]);
    }

    #[test]
    fn without_stake_or_scores_all_is_zero() {
        for (stakes, scores) in [(vec![0, 0], vec![vec![1], vec![2]]), (vec![1, 1], vec![vec![0], vec![]])] {
            let outcome = epoch(&rules(), &stakes, &scores, &[]);
            for shares in [outcome.consensus, outcome.incentive, outcome.dividends] {
                assert!(shares.iter().all(|&share| share == Fixed::ZERO));
            }
        }
        assert_eq!(epoch(&rules(), &[], &[], &[]).incentive, []);
    }
}
