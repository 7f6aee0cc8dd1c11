//! `assay epoch FILE`: the epoch function alone, on scores written down by hand, from another network or by another
//! implementation.
//!
//! ```text
//! { "kappa", "liquid_alpha", "alpha_low", "alpha_high", "steepness", "bonds_moving_average", "bonds_penalty",
//!   "epochs": [ { "stake": [ .. ], "weights": [ [ .. ], .. ] }, .. ] }
//! ```
//!
//! A stake and a row of weights for each validator, a column for each miner; bonds start at 0. Weights of a row count as
//! shares of its sum, stakes as shares of theirs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use assay_verifier::fixed::Fixed;
use assay_verifier::yuma::{self, Liquid, Outcome, Rules};
use serde::{Deserialize, Serialize};

use crate::{Answer, output};

/// Bytes of a case.
const CASE_BYTES: usize = 64 << 20;
/// Digits after the binary point of weights and stakes that are no integers.
const DIGITS: i32 = 48;
/// Integers up to here are exact in a JSON number.
const EXACT: f64 = (1u64 << 53) as f64;

/// Arguments of `assay epoch`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Case: parameters, and stakes and weights of every epoch, as JSON
    file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Case {
    kappa: f64,
    liquid_alpha: bool,
    alpha_low: f64,
    alpha_high: f64,
    steepness: f64,
    bonds_moving_average: f64,
    bonds_penalty: f64,
    epochs: Vec<Scores>,
}

#[derive(Deserialize)]
struct Scores {
    stake: Vec<f64>,
    weights: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct Report {
    epochs: Vec<EpochReport>,
}

#[derive(Serialize)]
struct EpochReport {
    consensus: Vec<f64>,
    incentive: Vec<f64>,
    dividends: Vec<f64>,
    bonds: Vec<Vec<f64>>,
    validator_trust: Vec<f64>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let name = arguments.file.display();
    let bytes = output::read(&arguments.file, CASE_BYTES)?;
    let case: Case = serde_json::from_slice(&bytes).with_context(|| format!("{name}"))?;
    let report = case.run().with_context(|| format!("{name}"))?;
    if arguments.json {
        output::json(&report)?;
    } else {
        report.print();
    }
    Ok(Answer::Yes)
}

impl Case {
    fn run(&self) -> Result<Report> {
        let rules = self.rules()?;
        let shape = self.epochs.first().map(Scores::shape).unwrap_or_default();
        let mut bonds = Vec::new();
        let epochs = self.epochs.iter().enumerate().map(|(index, scores)| {
            let outcome = scores.epoch(&rules, shape, &bonds).with_context(|| format!("epoch {index}"))?;
            bonds.clone_from(&outcome.bonds);
            Ok(outcome.into())
        });
        Ok(Report { epochs: epochs.collect::<Result<_>>()? })
    }

    fn rules(&self) -> Result<Rules> {
        let rate = share("bonds_moving_average", self.bonds_moving_average)?;
        let liquid = Liquid {
            low: share("alpha_low", self.alpha_low)?,
            high: share("alpha_high", self.alpha_high)?,
            steepness: number("steepness", self.steepness, 32_768.0)?,
        };
        ensure!(liquid.low <= liquid.high, "alpha_low is greater than alpha_high");
        Ok(Rules {
            kappa: share("kappa", self.kappa)?,
            floor: Fixed::ZERO,
            bonds_penalty: share("bonds_penalty", self.bonds_penalty)?,
            rate: Fixed::ONE.minus(rate),
            liquid: self.liquid_alpha.then_some(liquid),
        })
    }
}

impl Scores {
    /// Validators and miners.
    fn shape(&self) -> (usize, usize) {
        (self.stake.len(), self.weights.first().map_or(0, Vec::len))
    }

    fn epoch(&self, rules: &Rules, shape: (usize, usize), bonds: &[Vec<u16>]) -> Result<Outcome> {
        let (validators, miners) = shape;
        ensure!(self.stake.len() == validators, "{} stakes, not {validators}", self.stake.len());
        ensure!(self.weights.len() == validators, "{} rows of weights, not {validators}", self.weights.len());
        let stakes = integers(&self.stake).context("stake")?;
        let rows = self.weights.iter().enumerate().map(|(row, weights)| {
            let what = || format!("row {row} of weights");
            ensure!(weights.len() == miners, "{}: {} columns, not {miners}", what(), weights.len());
            integers(weights).with_context(what)
        });
        Ok(yuma::epoch(rules, &stakes, &rows.collect::<Result<Vec<_>>>()?, bonds))
    }
}

/// Integers in the same proportions: the numbers themselves where they are integers.
fn integers(numbers: &[f64]) -> Result<Vec<u64>> {
    ensure!(numbers.iter().all(|x| x.is_finite() && *x >= 0.0), "expected numbers of at least 0");
    let greatest = numbers.iter().copied().fold(0.0, f64::max);
    let factor = match numbers.iter().all(|x| x.fract() == 0.0 && *x <= EXACT) {
        true => 1.0,
        false => 2f64.powi(DIGITS) / greatest,
    };
    // At most 2^53.
    Ok(numbers.iter().map(|x| (x * factor).round() as u64).collect())
}

fn share(name: &str, value: f64) -> Result<Fixed> {
    number(name, value, 1.0)
}

fn number(name: &str, value: f64, most: f64) -> Result<Fixed> {
    ensure!((0.0..=most).contains(&value), "{name} is {value}, not between 0 and {most}");
    // Below 2^(15 + 48).
    Ok(Fixed::ratio((value * 2f64.powi(DIGITS)) as u128, 1 << DIGITS))
}

/// To nine digits.
fn real(number: Fixed) -> f64 {
    number.to_string().parse().unwrap_or(f64::NAN)
}

impl From<Outcome> for EpochReport {
    fn from(outcome: Outcome) -> Self {
        let reals = |numbers: Vec<Fixed>| numbers.into_iter().map(real).collect();
        let bonds = |row: Vec<u16>| row.into_iter().map(|bond| real(Fixed::of_u16(bond))).collect();
        Self {
            consensus: reals(outcome.consensus),
            incentive: reals(outcome.incentive),
            dividends: reals(outcome.dividends),
            bonds: outcome.bonds.into_iter().map(bonds).collect(),
            validator_trust: reals(outcome.validator_trust),
        }
    }
}

impl Report {
    fn print(&self) {
        let row = |numbers: &[f64]| numbers.iter().map(|x| format!("{x:9.6}")).collect::<Vec<_>>().join(" ");
        for (index, epoch) in self.epochs.iter().enumerate() {
            println!("epoch {index}");
            println!("  consensus        {}", row(&epoch.consensus));
            println!("  incentive        {}", row(&epoch.incentive));
            println!("  dividends        {}", row(&epoch.dividends));
            println!("  validator trust  {}", row(&epoch.validator_trust));
            for (validator, bonds) in epoch.bonds.iter().enumerate() {
                println!("  bonds of {validator:<8}{}", row(bonds));
            }
        }
    }
}
