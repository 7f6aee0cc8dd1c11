//! Scores of validators: sealed in one epoch, shown in the next, weighed at its end.
//!
//! ```text
//! epoch e      commit   once a validator, subnet and epoch, with a permit: the `validator_permits` of the greatest power
//! epoch e + 1  reveal   opens the commitment of e; whoever does not has no dividends at the end of e + 1
//! end, of each subnet alone, with its own epoch, over its miners and the validators with a permit:
//!              W_ij = 0 if i = j, or if j took its place after i committed; otherwise what i showed
//!              more than two thirds of the voting power showed scores: `yuma::epoch` over power, W and bonds
//!              otherwise verified work decides (`epoch`), and bonds rest
//! local        w_j = sum of the qualities of j's answers in the subnet that i's receipts call verified, 0 after an invalid one,
//!              a quality being that of the latency that all validators' receipts give j (`latency`);
//!              in a subnet with a labelled task as `labels` says;
//!              score_j = max(1, floor(65535 w_j / max w)) where w_j > 0
//! ```
//!
//! A copy of somebody's commitment opens for nobody else, and a copy of what was shown is an epoch late.

use std::collections::{BTreeMap, BTreeSet};

use assay_proto::block::Block;
use assay_proto::genesis::Parameters;
use assay_proto::job::Job;
use assay_proto::limits::{PPM, SCORES};
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{Canonical, Commitment, Epoch, Height, PublicKey, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::ValidatorSet;
use crate::epoch;
use crate::error::Reason;
use crate::fixed::Fixed;
use crate::labels::Labels;
use crate::latency::{self, Measured};
use crate::state::{Place, State};
use crate::yuma::{self, Liquid, Outcome, Rules};
use crate::{operating, subnets};

/// Scores that are not shown yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sealed {
    /// Height of the commitment.
    pub height: Height,
    /// Stands for them.
    pub commitment: Commitment,
}

/// Scores that are shown.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Revealed {
    /// Height of their commitment.
    pub committed: Height,
    /// Of each miner that has any.
    pub scores: BTreeMap<PublicKey, u16>,
}

/// What a validator says about miners.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ballot {
    /// By the epoch of the commitment: the running one and the one before.
    pub sealed: BTreeMap<Epoch, Sealed>,
    /// Shown in the running epoch.
    pub revealed: Option<Revealed>,
    /// In units of 1/65535; miners without any are not there.
    pub bonds: BTreeMap<PublicKey, u16>,
}

/// Takes a commitment, or changes nothing.
pub(crate) fn commit(state: &mut State, signer: PublicKey, body: CommitScores) -> Result<(), Reason> {
    let CommitScores { epoch, commitment, subnet } = body;
    check(state, signer, epoch, state.epoch_of(subnet, state.head.height))?;
    subnets::check_known(state, subnet)?;
    if !state.permitted(subnet).contains(&signer) {
        return Err(Reason::Permit { validator: signer, subnet });
    }
    let height = state.head.height;
    let ballot = state.ballot_mut(subnet, signer);
    if ballot.sealed.contains_key(&epoch) {
        return Err(Reason::ScoresSealed { validator: signer, epoch });
    }
    ballot.sealed.insert(epoch, Sealed { height, commitment });
    Ok(())
}

/// Opens a commitment, or changes nothing.
pub(crate) fn reveal(state: &mut State, signer: PublicKey, body: RevealScores) -> Result<(), Reason> {
    let before = Epoch(state.epoch_of(body.subnet, state.head.height).0.saturating_sub(1));
    check(state, signer, body.epoch, before)?;
    let got = body.commitment(state.chain_id(), &signer);
    let sealed =
        state.ballot_of(body.subnet, &signer).and_then(|ballot| ballot.sealed.get(&body.epoch).copied());
    let missing = Reason::ScoresUnknown { validator: signer, epoch: body.epoch };
    let sealed = sealed.ok_or(missing)?;
    if sealed.commitment != got {
        return Err(Reason::ScoresCommitment { expected: sealed.commitment, got });
    }
    let ballot = state.ballot_mut(body.subnet, signer);
    ballot.sealed.remove(&body.epoch);
    ballot.revealed = Some(Revealed { committed: sealed.height, scores: body.scores.into_iter().collect() });
    Ok(())
}

fn check(state: &State, signer: PublicKey, got: Epoch, expected: Epoch) -> Result<(), Reason> {
    if !state.validators().contains(&signer) {
        return Err(Reason::NotValidator(signer));
    }
    if got == expected { Ok(()) } else { Err(Reason::ScoresEpoch { expected, got }) }
}

/// What the scores of an epoch say in one subnet.
#[derive(Clone, Debug)]
pub struct Consensus {
    miners: Vec<PublicKey>,
    validators: Vec<(PublicKey, bool)>,
    outcome: Outcome,
}

impl Consensus {
    /// Of the scores that were shown; none if too few showed theirs.
    pub fn of(
        parameters: &Parameters,
        validators: &ValidatorSet,
        miners: &BTreeMap<PublicKey, &Place>,
        ballots: &BTreeMap<PublicKey, &Ballot>,
    ) -> Option<Self> {
        let shown = |key: &PublicKey| ballots.get(key).and_then(|ballot| ballot.revealed.as_ref());
        let stakes: Vec<u64> =
            validators.iter().map(|(key, power)| if shown(&key).is_some() { power } else { 0 }).collect();
        if !validators.is_quorum(stakes.iter().fold(0, |sum: u64, &power| sum.saturating_add(power))) {
            return None;
        }
        let voters: Vec<(PublicKey, bool)> =
            validators.iter().map(|(key, _)| (key, shown(&key).is_some())).collect();
        let own = |key: &PublicKey| ballots.get(key).map(|ballot| &ballot.bonds);
        let named = voters.iter().flat_map(|(key, _)| {
            let scored = shown(key).into_iter().flat_map(|revealed| revealed.scores.keys());
            scored.chain(own(key).into_iter().flat_map(BTreeMap::keys))
        });
        // Places only: who has left earns nothing, and its bonds are gone.
        let placed: BTreeMap<PublicKey, Height> = named
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter_map(|key| Some((*key, miners.get(key)?.since?)))
            .collect();
        let score = |validator: &PublicKey, miner: &PublicKey, since: Height| {
            let revealed =
                shown(validator).filter(|revealed| miner != validator && since <= revealed.committed);
            revealed.and_then(|revealed| revealed.scores.get(miner)).map_or(0, |&score| u64::from(score))
        };
        let row = |(key, _): &(PublicKey, bool)| {
            placed.iter().map(|(miner, &since)| score(key, miner, since)).collect()
        };
        let bond = |key: &PublicKey, miner: &PublicKey| {
            own(key).and_then(|bonds| bonds.get(miner)).copied().unwrap_or(0)
        };
        let bonds = |(key, _): &(PublicKey, bool)| placed.keys().map(|miner| bond(key, miner)).collect();
        let scores: Vec<Vec<u64>> = voters.iter().map(row).collect();
        let bonds: Vec<Vec<u16>> = voters.iter().map(bonds).collect();
        let outcome = yuma::epoch(&rules(parameters), &stakes, &scores, &bonds);
        Some(Self { miners: placed.into_keys().collect(), validators: voters, outcome })
    }

    /// Consensus and incentive of a miner.
    pub fn miner(&self, key: &PublicKey) -> (Fixed, Fixed) {
        let Ok(index) = self.miners.binary_search(key) else { return Default::default() };
        (at(&self.outcome.consensus, index), at(&self.outcome.incentive, index))
    }

    /// Trust in a validator and its dividend.
    pub fn validator(&self, key: &PublicKey) -> (Fixed, Fixed) {
        let found = self.validators.binary_search_by(|(other, _)| other.cmp(key));
        let Ok(index) = found else { return Default::default() };
        (at(&self.outcome.validator_trust, index), at(&self.outcome.dividends, index))
    }

    /// Bonds of a validator, if it had a say.
    fn bonds(&self, key: &PublicKey) -> Option<BTreeMap<PublicKey, u16>> {
        let index = self.validators.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let held = self.miners.iter().copied().zip(self.outcome.bonds.get(index)?.iter().copied());
        Some(held.filter(|&(_, bond)| bond > 0).collect())
    }

    /// Whether a validator showed its scores.
    pub fn revealed(&self, key: &PublicKey) -> bool {
        self.validators.iter().any(|(validator, revealed)| validator == key && *revealed)
    }

    /// Miners that a share of the incentive goes to.
    pub fn rewarded(&self) -> impl Iterator<Item = &PublicKey> {
        let shares = self.miners.iter().zip(&self.outcome.incentive);
        shares.filter(|(_, share)| **share > Fixed::ZERO).map(|(miner, _)| miner)
    }
}

fn at(numbers: &[Fixed], index: usize) -> Fixed {
    numbers.get(index).copied().unwrap_or_default()
}

/// The numbers of a chain's epoch function.
pub fn rules(parameters: &Parameters) -> Rules {
    let liquid = Liquid {
        low: Fixed::of_ppm(parameters.liquid_low_ppm),
        high: Fixed::of_ppm(parameters.liquid_high_ppm),
        steepness: Fixed::of_ppm(parameters.liquid_steepness_ppm),
    };
    Rules {
        kappa: Fixed::ratio(parameters.kappa.into(), u16::MAX.into()),
        floor: Fixed::of_ppm(parameters.floor_ppm),
        bonds_penalty: Fixed::of_ppm(parameters.bonds_penalty_ppm),
        rate: Fixed::of_ppm(parameters.bonds_rate_ppm),
        liquid: (parameters.liquid_high_ppm > 0).then_some(liquid),
    }
}

impl Ballot {
    /// Ends an epoch: bonds are as the consensus left them, what was shown is done with, what was not shown is lost. Who
    /// never said anything has no bonds.
    pub fn end_epoch(&mut self, validator: &PublicKey, ended: Epoch, consensus: Option<&Consensus>) {
        self.revealed = None;
        self.sealed.retain(|&epoch, _| epoch == ended);
        if let Some(bonds) = consensus.and_then(|consensus| consensus.bonds(validator)) {
            self.bonds = bonds;
        }
    }
}

/// A validator's own receipts of one subnet, counted for its scores, with the latencies that all validators measured.
#[derive(Clone, Debug, Default)]
pub struct Tally<'a> {
    labels: Option<&'a Labels>,
    miners: BTreeMap<PublicKey, Count>,
    measured: BTreeMap<PublicKey, Measured>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    verified: u64,
    quality_ppm_sum: u64,
    lied: bool,
    /// Questions, and those that were answered right.
    asked: u64,
    right: u64,
}

impl<'a> Tally<'a> {
    /// In a subnet with a labelled task.
    pub fn labelled(labels: &'a Labels) -> Self {
        Self { labels: Some(labels), ..Self::default() }
    }

    /// Counts the receipts of `validator` for a subnet's models in a decided block, and what those of all measured.
    pub fn count(&mut self, state: &State, subnet: SubnetId, validator: &PublicKey, block: &Block) {
        let parameters = state.parameters_of(subnet);
        for envelope in &block.transactions {
            // What is in a decided block decodes.
            let Ok(Transaction { body: Body::Receipt(receipt), .. }) = Transaction::decode(&envelope.payload)
            else {
                continue;
            };
            let Receipt { evidence, verdict } = *receipt;
            let Ok(job) = Job::decode(&evidence.job.payload) else { continue };
            if state.subnet_of(&job.model_id) != subnet {
                continue;
            }
            let counted_us = latency::of(&parameters, &evidence);
            let signer = operating::owner_of(state, &envelope.signer);
            if latency::is_shared(&parameters) && verdict == Verdict::Verified {
                let power = state.validators().power(&signer);
                self.measured.entry(evidence.miner).or_default().note(signer, power, counted_us);
            }
            if signer == *validator {
                self.note(&parameters, evidence.miner, verdict, counted_us);
                if let Some(right) = self.labels.and_then(|labels| labels.right(&job, &evidence, verdict)) {
                    self.ask(evidence.miner, right);
                }
            }
        }
    }

    /// Counts one assignment of its own.
    pub fn note(&mut self, parameters: &Parameters, miner: PublicKey, verdict: Verdict, counted_us: u64) {
        let count = self.miners.entry(miner).or_default();
        match verdict {
            Verdict::Verified => {
                let quality = epoch::quality_ppm(parameters, counted_us);
                count.verified = count.verified.saturating_add(1);
                count.quality_ppm_sum = count.quality_ppm_sum.saturating_add(quality);
            }
            Verdict::InvalidProof | Verdict::Malformed => count.lied = true,
            Verdict::Late | Verdict::Absent => {}
        }
    }

    /// Counts a question that was put to a miner.
    pub fn ask(&mut self, miner: PublicKey, right: bool) {
        let count = self.miners.entry(miner).or_default();
        count.asked = count.asked.saturating_add(1);
        count.right = count.right.saturating_add(u64::from(right));
    }

    /// Its scores, the greatest [`SCORES`] of them.
    pub fn scores(mut self, parameters: &Parameters) -> Vec<(PublicKey, u16)> {
        for (miner, count) in &mut self.miners {
            let latency_us = self.measured.get(miner).and_then(Measured::latency_us);
            if let Some(latency_us) = latency_us {
                let quality = epoch::quality_ppm(parameters, latency_us);
                count.quality_ppm_sum = quality.saturating_mul(count.verified);
            }
        }
        let labelled = self.labels.is_some();
        let weight = |count: &Count| match labelled {
            false => count.quality_ppm_sum,
            true => {
                let quality = count.quality_ppm_sum.checked_div(count.verified).unwrap_or(0);
                let part = u128::from(quality).saturating_mul(PPM.into()).saturating_mul(count.right.into());
                // At most 10^12.
                u64::try_from(part.checked_div(count.asked.into()).unwrap_or(0)).unwrap_or(u64::MAX)
            }
        };
        let honest = self.miners.into_iter().filter(|(_, count)| !count.lied);
        let mut ranked: Vec<(u64, PublicKey)> =
            honest.map(|(miner, count)| (weight(&count), miner)).collect();
        ranked.retain(|(weight, _)| *weight > 0);
        ranked.sort_unstable_by(|(a, x), (b, y)| b.cmp(a).then(x.cmp(y)));
        ranked.truncate(SCORES);
        let most = ranked.first().map_or(1, |&(weight, _)| weight);
        let score = |weight: u64| Fixed::ratio(weight.into(), most.into()).to_u16().max(1);
        let mut scores: Vec<_> = ranked.into_iter().map(|(weight, miner)| (miner, score(weight))).collect();
        scores.sort_unstable();
        scores
    }
}
