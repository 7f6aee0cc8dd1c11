//! `assay-bench simulate`: who earns what among honest and dishonest validators and miners.
//!
//! ```text
//! epoch e   reveal what was sealed in e - 1; seal scores; assign jobs; end the epoch
//! honest    seals what its own assignments of e - 1 say            lazy     its first scores, for ever
//! copier    seals the mean of what is shown in e                   cartel   all for its own miner
//! ```
//!
//! Assignment is the broker's ([`choose`]), scores, consensus, reputation and rewards are the verifier's; only the world is
//! made up here: how fast miners are from epoch to epoch, who lies and who is away. A run is a seed.

mod plot;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use assay_proto::genesis::{Genesis, GenesisValidator, Parameters};
use assay_proto::receipt::Verdict;
use assay_proto::{ChainId, Epoch, Height, PublicKey, SubnetId};
use assay_validator::broker::assignment::{Candidate, Draw, choose};
use assay_verifier::certificate::ValidatorSet;
use assay_verifier::epoch::{self, Standing};
use assay_verifier::operating::Signers;
use assay_verifier::scores::{Ballot, Consensus, Revealed, Tally};
use assay_verifier::state::Place;
use serde::Serialize;

use crate::table::table;

/// Arguments of `assay-bench simulate`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Names the run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Epochs
    #[arg(long, default_value_t = 40)]
    epochs: u64,
    /// Jobs an epoch
    #[arg(long, default_value_t = 20_000)]
    jobs: u64,
    /// Share of the voting power that a cartel has, percent: at most 40
    #[arg(long, default_value_t = 40)]
    cartel: u64,
    /// Nobody but the cartel is dishonest: no copier, no lazy validator
    #[arg(long)]
    honest: bool,
    /// Draw shares of the rewards by epoch into a file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What a validator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voter {
    Honest,
    Lazy,
    Copier,
    Cartel,
}

/// What a miner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    Honest,
    /// The cartel's: honest, but slow.
    Cartel,
    /// One answer of five is invalid.
    Liar,
    /// Away for half of its jobs.
    Flaky,
    /// The fastest, from epoch [`ARRIVAL`] on.
    Newcomer,
}

/// Epoch in which the newcomer takes its place.
const ARRIVAL: u64 = 15;
/// Share of the jobs that go to anyone.
const EXPLORATION_PPM: u32 = 150_000;
/// Voting power of the validators other than the cartel.
const MIXED: [(&str, Voter, u64); 5] = [
    ("honest-a", Voter::Honest, 260),
    ("honest-b", Voter::Honest, 160),
    ("honest-c", Voter::Honest, 70),
    ("copier", Voter::Copier, 70),
    ("lazy", Voter::Lazy, 40),
];
/// The same where nobody but the cartel is dishonest.
const HONEST: [(&str, Voter, u64); 5] = [
    ("honest-a", Voter::Honest, 260),
    ("honest-b", Voter::Honest, 160),
    ("honest-c", Voter::Honest, 70),
    ("honest-d", Voter::Honest, 70),
    ("honest-e", Voter::Honest, 40),
];

/// Rewards of one participant.
#[derive(Clone, Debug, Serialize)]
struct Course {
    name: String,
    /// Base units a epoch.
    rewards: Vec<u64>,
    /// Parts per million, after each epoch; empty for a validator.
    reputation_ppm: Vec<u64>,
}

/// What a run gave.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    seed: u64,
    validators: Vec<Course>,
    miners: Vec<Course>,
}

impl Course {
    fn total(&self) -> u64 {
        self.rewards.iter().sum()
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<bool> {
    ensure!(arguments.cartel <= 40, "a cartel of more than 40 % is not simulated");
    let others = if arguments.honest { HONEST } else { MIXED };
    let outcome = World::new(arguments.seed, others, arguments.cartel).run(arguments.epochs, arguments.jobs);
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::svg(&[("validators", &outcome.validators), ("miners", &outcome.miners)]))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        outcome.print();
    }
    Ok(true)
}

impl Outcome {
    fn print(&self) {
        for (what, courses) in [("validator", &self.validators), ("miner", &self.miners)] {
            let total: u64 = courses.iter().map(Course::total).sum();
            let mut rows = table(&[what, "earned", "share", "reputation"], &[1, 2, 3]);
            for course in courses {
                let share = course.total() as f64 / total.max(1) as f64;
                let reputation = course.reputation_ppm.last().map(|ppm| format!("{:.3}", *ppm as f64 / 1e6));
                let earned = course.total().to_string();
                rows.add_row([
                    course.name.clone(),
                    earned,
                    format!("{share:.4}"),
                    reputation.unwrap_or_default(),
                ]);
            }
            println!("{rows}");
        }
    }
}

/// Numbers that follow from a seed: SplitMix64.
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }
}

/// Everybody, and the part of the ledger's state that rewards depend on.
struct World {
    seed: u64,
    parameters: Parameters,
    /// Of assignments and their outcomes.
    numbers: Numbers,
    /// Of the miners' paces, so that two runs of a seed have the same ones whoever votes.
    drifts: Numbers,
    set: ValidatorSet,
    voters: BTreeMap<PublicKey, (String, Voter, u64)>,
    workers: BTreeMap<PublicKey, (String, Worker)>,
    /// Microseconds that a miner takes, on average.
    pace: BTreeMap<PublicKey, f64>,
    miners: BTreeMap<PublicKey, Place>,
    ballots: BTreeMap<PublicKey, Ballot>,
    /// Scores of the epoch before that are to be shown.
    sealed: BTreeMap<PublicKey, BTreeMap<PublicKey, u16>>,
    /// What each validator saw in the epoch before.
    seen: BTreeMap<PublicKey, BTreeMap<PublicKey, u16>>,
    /// What each validator saw first.
    first: BTreeMap<PublicKey, BTreeMap<PublicKey, u16>>,
    supply: u64,
}

fn key(kind: u8, n: u8) -> PublicKey {
    let mut bytes = [kind; 32];
    bytes[31] = n;
    PublicKey(bytes)
}

impl World {
    fn new(seed: u64, others: [(&str, Voter, u64); 5], cartel: u64) -> Self {
        let parameters = Parameters {
            tempo: 10,
            emission: 1_000_000,
            reputation_rate_ppm: 500_000,
            latency_target_us: 500_000,
            floor_ppm: 1_000_000,
            ..Parameters::default()
        };
        let power: u64 = others.iter().map(|(.., power)| power).sum();
        let mut voters: BTreeMap<_, _> = (0..)
            .zip(others)
            .map(|(n, (name, voter, power))| (key(1, n), (name.to_owned(), voter, power)))
            .collect();
        if let power @ 1.. = power * cartel / (100 - cartel) {
            voters.insert(key(1, 99), ("cartel".to_owned(), Voter::Cartel, power));
        }
        let honest = (0..8).map(|n| (key(2, n), (format!("honest-{n}"), Worker::Honest)));
        let special = [
            ("cartel's", Worker::Cartel),
            ("liar", Worker::Liar),
            ("flaky", Worker::Flaky),
            ("newcomer", Worker::Newcomer),
        ];
        let special = (20..).zip(special).map(|(n, (name, worker))| (key(2, n), (name.to_owned(), worker)));
        let workers: BTreeMap<_, _> = honest.chain(special).collect();
        let mut numbers = Numbers(seed);
        let pace = workers.iter().map(|(key, (_, worker))| {
            let pace = match worker {
                Worker::Newcomer => 500_000.0,
                Worker::Cartel => 1_000_000.0,
                Worker::Honest | Worker::Liar | Worker::Flaky => numbers.between(700_000.0, 1_200_000.0),
            };
            (*key, pace)
        });
        let pace = pace.collect();
        let validators =
            voters.iter().map(|(key, (.., power))| GenesisValidator { public_key: *key, power: *power });
        let genesis = Genesis {
            chain_id: ChainId::new("test-simulation").expect("a valid name"),
            time_ms: 0,
            validators: validators.collect(),
            accounts: vec![],
            parameters,
            classes: vec![],
        };
        Self {
            seed,
            parameters,
            numbers,
            drifts: Numbers(!seed),
            set: ValidatorSet::of(&genesis),
            voters,
            workers,
            pace,
            miners: BTreeMap::new(),
            ballots: BTreeMap::new(),
            sealed: BTreeMap::new(),
            seen: BTreeMap::new(),
            first: BTreeMap::new(),
            supply: 0,
        }
    }

    fn run(mut self, epochs: u64, jobs: u64) -> Outcome {
        let course = |name: &String| Course { name: name.clone(), rewards: vec![], reputation_ppm: vec![] };
        let mut validators: BTreeMap<_, _> =
            self.voters.iter().map(|(key, (name, ..))| (*key, course(name))).collect();
        let mut miners: BTreeMap<_, _> =
            self.workers.iter().map(|(key, (name, _))| (*key, course(name))).collect();
        for number in 1..=epochs {
            self.arrive(number);
            self.show(number);
            self.seal();
            self.work(jobs);
            let ballots = self.ballots.iter().map(|(key, ballot)| (*key, ballot)).collect();
            let places: BTreeMap<_, _> = self.miners.iter().map(|(key, place)| (*key, place)).collect();
            let consensus = Consensus::of(&self.parameters, &self.set, &places, &ballots);
            let emission = epoch::emission(&self.parameters, Epoch(number), self.supply);
            let share = (SubnetId::ROOT, Epoch(number), emission);
            let standing = Standing { miners: &places, latencies: &BTreeMap::new() };
            let report = epoch::close(&self.parameters, share, &self.set, standing, consensus.as_ref());
            self.supply += report.minted();
            for (key, ballot) in &mut self.ballots {
                ballot.end_epoch(key, Epoch(number), consensus.as_ref());
            }
            for (key, course) in &mut miners {
                let row = report.miners.iter().find(|row| row.miner == *key);
                course.rewards.push(row.map_or(0, |row| row.reward));
                course.reputation_ppm.push(row.map_or(0, |row| row.reputation_ppm));
            }
            for row in &report.validators {
                if let Some(course) = validators.get_mut(&row.validator) {
                    course.rewards.push(row.reward);
                }
            }
            for (key, miner) in &mut self.miners {
                let row = report.miners.iter().find(|row| row.miner == *key);
                miner.reputation_ppm = row.map_or(miner.reputation_ppm, |row| row.reputation_ppm);
                miner.work = Default::default();
            }
        }
        let (validators, miners) = (validators.into_values().collect(), miners.into_values().collect());
        Outcome { seed: self.seed, validators, miners }
    }

    /// Miners take their places, and every miner's pace drifts.
    fn arrive(&mut self, number: u64) {
        let since = Some(Height((number - 1) * self.parameters.tempo + 1));
        for (key, (_, worker)) in &self.workers {
            if *worker != Worker::Newcomer || number >= ARRIVAL {
                self.miners.entry(*key).or_insert_with(|| Place { since, ..Place::default() });
            }
        }
        for (key, pace) in &mut self.pace {
            let drift = self.drifts.between(0.7, 1.0 / 0.7);
            // The newcomer's and the cartel's stay: what they earn is to follow from what they do.
            if matches!(self.workers.get(key), Some((_, Worker::Honest))) {
                *pace = (*pace * drift).clamp(700_000.0, 1_600_000.0);
            }
        }
    }

    fn show(&mut self, number: u64) {
        let committed = Height(number.saturating_sub(2) * self.parameters.tempo + 2);
        for (key, scores) in std::mem::take(&mut self.sealed) {
            self.ballots.entry(key).or_default().revealed = Some(Revealed { committed, scores });
        }
    }

    fn seal(&mut self) {
        let cartels = |workers: &BTreeMap<PublicKey, (String, Worker)>| {
            let own = workers.iter().find(|(_, (_, worker))| *worker == Worker::Cartel);
            own.map(|(key, _)| BTreeMap::from([(*key, u16::MAX)])).unwrap_or_default()
        };
        for (key, (_, voter, _)) in &self.voters {
            let scores = match voter {
                Voter::Honest => self.seen.get(key).cloned(),
                Voter::Lazy => self.first.get(key).cloned(),
                Voter::Copier => Some(self.shown_by_others(key)).filter(|scores| !scores.is_empty()),
                Voter::Cartel => Some(cartels(&self.workers)),
            };
            if let Some(scores) = scores {
                self.sealed.insert(*key, scores);
            }
        }
    }

    /// The mean of what honest validators show now: a copier knows whom to copy.
    fn shown_by_others(&self, copier: &PublicKey) -> BTreeMap<PublicKey, u16> {
        let mut sums = BTreeMap::<PublicKey, (u64, u64)>::new();
        for (key, (_, voter, _)) in &self.voters {
            let shown = self.ballots.get(key).and_then(|ballot| ballot.revealed.as_ref());
            for (miner, score) in shown.iter().flat_map(|revealed| &revealed.scores) {
                if key != copier && *voter == Voter::Honest {
                    let (sum, count) = sums.entry(*miner).or_default();
                    (*sum, *count) = (*sum + u64::from(*score), *count + 1);
                }
            }
        }
        let mean = |(sum, count): (u64, u64)| u16::try_from(sum / count).unwrap_or(u16::MAX);
        sums.into_iter().map(|(miner, sums)| (miner, mean(sums))).collect()
    }

    /// Validators broker jobs as their power is.
    fn work(&mut self, jobs: u64) {
        let candidates: Vec<Candidate> = self
            .miners
            .iter()
            .map(|(key, miner)| Candidate {
                miner: *key,
                endpoint: String::new(),
                reputation_ppm: miner.reputation_ppm,
                signers: Signers::new(*key, [*key]),
            })
            .collect();
        let mut tallies = BTreeMap::<PublicKey, Tally<'_>>::new();
        for (validator, (.., power)) in &self.voters {
            let tally = tallies.entry(*validator).or_default();
            for _ in 0..jobs * power / self.set.total() {
                let draw = Draw { explore: self.numbers.next(), pick: self.numbers.next() };
                let Some(chosen) = choose(&candidates, EXPLORATION_PPM, draw) else { continue };
                let (worker, pace) = (self.workers[&chosen.miner].1, self.pace[&chosen.miner]);
                let luck = self.numbers.unit();
                let verdict = match worker {
                    Worker::Liar if luck < 0.2 => Verdict::InvalidProof,
                    Worker::Flaky if luck < 0.5 => Verdict::Absent,
                    _ => Verdict::Verified,
                };
                let proof_us = (pace * self.numbers.between(0.9, 1.1)) as u64;
                tally.note(&self.parameters, chosen.miner, verdict, proof_us);
                count(&self.parameters, self.miners.get_mut(&chosen.miner), verdict, proof_us);
            }
        }
        let seen: BTreeMap<_, _> = tallies
            .into_iter()
            .map(|(key, tally)| (key, tally.scores(&self.parameters).into_iter().collect()))
            .collect();
        for (key, scores) in &seen {
            self.first.entry(*key).or_insert_with(|| BTreeMap::clone(scores));
        }
        self.seen = seen;
    }
}

/// What a receipt does to its miner.
fn count(parameters: &Parameters, miner: Option<&mut Place>, verdict: Verdict, proof_us: u64) {
    let Some(miner) = miner else { return };
    match verdict {
        Verdict::Verified => {
            miner.work.verified += 1;
            miner.work.quality_ppm_sum += epoch::quality_ppm(parameters, proof_us);
        }
        Verdict::InvalidProof | Verdict::Malformed => {
            miner.work.invalid += 1;
            miner.reputation_ppm = 0;
        }
        Verdict::Late => miner.work.late += 1,
        Verdict::Absent => miner.work.absent += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course<'a>(courses: &'a [Course], name: &str) -> &'a Course {
        courses.iter().find(|course| course.name == name).expect("it takes part")
    }

    fn run(seed: u64, cartel: u64) -> Outcome {
        World::new(seed, MIXED, cartel).run(30, 20_000)
    }

    #[test]
    fn a_run_is_its_seed() {
        let json =
            |seed| serde_json::to_string(&World::new(seed, MIXED, 40).run(5, 500)).expect("plain numbers");
        assert_eq!(json(7), json(7));
        assert_ne!(json(7), json(8));
    }

    #[test]
    fn a_copier_and_a_lazy_validator_earn_less_than_one_that_scores_itself() {
        for seed in 1..=3 {
            for cartel in [0, 40] {
                let outcome = run(seed, cartel);
                let honest = course(&outcome.validators, "honest-c").total();
                let copier = course(&outcome.validators, "copier").total();
                // The same power as the copier's has the honest one; the lazy one has 4 for its 7.
                let lazy = course(&outcome.validators, "lazy").total() * 7 / 4;
                assert!(copier * 100 < honest * 98, "seed {seed}, cartel {cartel}: {copier}, {honest}");
                assert!(lazy * 100 < honest * 98, "seed {seed}, cartel {cartel}: {lazy}, {honest}");
            }
        }
    }

    #[test]
    fn a_liar_has_no_reputation_within_three_epochs_and_earns_nothing_after() {
        for seed in 1..=3 {
            let outcome = run(seed, 40);
            let liar = course(&outcome.miners, "liar");
            assert!(liar.reputation_ppm[2..].iter().all(|&ppm| ppm < 50_000), "{:?}", liar.reputation_ppm);
            assert_eq!(liar.rewards[3..].iter().sum::<u64>(), 0);
        }
    }

    #[test]
    fn a_flaky_miner_earns_less_than_half_of_an_honest_one() {
        for seed in 1..=3 {
            let outcome = run(seed, 40);
            let honest: u64 = (0..8).map(|n| course(&outcome.miners, &format!("honest-{n}")).total()).sum();
            assert!(course(&outcome.miners, "flaky").total() * 2 < honest / 8, "seed {seed}");
        }
    }

    #[test]
    fn a_newcomer_with_the_best_model_is_in_the_top_quarter_within_five_epochs() {
        for seed in 1..=3 {
            let outcome = run(seed, 40);
            let epoch = usize::try_from(ARRIVAL + 4).expect("a small number");
            let own = course(&outcome.miners, "newcomer").rewards[epoch];
            let better = outcome.miners.iter().filter(|course| course.rewards[epoch] > own).count();
            assert!(own > 0 && better * 4 < outcome.miners.len(), "seed {seed}: {better} earn more");
        }
    }

    #[test]
    fn a_cartel_below_half_cannot_lift_its_miner_by_a_tenth() {
        for seed in 1..=3 {
            let share = |cartel| {
                // Enough jobs that what honest validators see differs little.
                let outcome = World::new(seed, HONEST, cartel).run(30, 100_000);
                let total: u64 = outcome.miners.iter().map(Course::total).sum();
                course(&outcome.miners, "cartel's").total() as f64 / total as f64
            };
            let honest = share(0);
            for cartel in [40, 49] {
                let lifted = share(cartel);
                assert!(lifted < honest * 1.1, "seed {seed}, {cartel} %: {lifted} instead of {honest}");
            }
        }
    }
}
