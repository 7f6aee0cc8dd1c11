//! Availability: which miners are asked to show their device, by whom, and what follows from the answers.
//!
//! ```text
//! drawn     after the block with hash h, a miner in service that names devices and has no open challenge,
//!           if H(h, miner) mod 10^6 < challenge_ppm
//! askers    the challenge_validators validators other than the miner with the least H(h, miner, validator), in that order
//! seed      from the asker's signature over the challenge: known to nobody before, to everybody after
//! outcome   offline       no answer that the miner signed                        the asker's word
//!           wrong device  it signed another class than it registered, or a       the miner's own signature: counts at once
//!                         sampled row is not what the work gives
//!           slow          operations * 10^6 > rate * (answer - network + slack)  the asker's word about the time
//!           online        otherwise
//! ends      with an outcome that askers with more than half of the askers' power give, and, where it blames the miner, at
//!           least two of them if there are two; or without any after challenge_blocks
//! ```
//!
//! Every validator and the auditor derive drawn miners, askers and seeds, check signatures and sampled rows, and refuse an
//! outcome that does not follow; only times, and that nothing came, are words.
//!
//! ```text
//! a         = online / (online + slow + offline) of the epoch, 1 without any, 0 after a wrong device
//! factor    = 1 - availability_ppm (1 - a)       multiplies the miner's performance of this epoch, see `epoch`
//! ```
//!
//! A missed challenge costs that and nothing else. A wrong device costs a share of the collateral, like an invalid answer,
//! and takes the miner out of service until it registers again.

pub mod work;

use std::collections::BTreeMap;

use assay_proto::challenge::{Challenge, ChallengeAnswer, Challenged, Outcome};
use assay_proto::genesis::Parameters;
use assay_proto::limits::PPM;
use assay_proto::transaction::Devices;
use assay_proto::{BlockHash, ChainId, Height, PublicKey, Signed, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::is_majority;
use crate::error::Reason;
use crate::state::State;
use crate::{locks, operating};
use work::Work;

/// Microseconds that an answer takes beside the work: to be signed, and to get to the device and back.
pub const SLACK_US: u64 = 50_000;

/// Challenges of a miner that ended in the running epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Counts {
    /// Ended online.
    pub online: u64,
    /// Ended slow.
    pub slow: u64,
    /// Ended with the wrong device.
    pub wrong_device: u64,
    /// Ended offline.
    pub offline: u64,
}

/// A validator that is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Asker {
    /// Its key.
    pub validator: PublicKey,
    /// Its voting power.
    pub power: u64,
    /// What it said: the number of an outcome.
    word: Option<u8>,
}

/// A challenge that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Open {
    /// Height of the block that chose the miner.
    pub height: Height,
    /// Hash of its header.
    pub block_hash: BlockHash,
    /// Side of the matrices.
    pub side: u32,
    /// Number of products.
    pub rounds: u32,
    /// Class that the miner had registered.
    pub class: u32,
    /// Who is to ask, in their order.
    pub askers: Vec<Asker>,
}

/// What a miner computes with, and whether it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Availability {
    /// As it registered them.
    pub devices: Devices,
    /// The challenge that has not ended.
    pub open: Option<Open>,
}

impl Open {
    /// What an asker signs.
    pub fn challenge(&self, miner: PublicKey) -> Challenge {
        let Self { height, block_hash, side, rounds, .. } = *self;
        Challenge { miner, height, block_hash, side, rounds }
    }

    /// The place of a validator that is to ask and has not said anything; 0 for the first.
    pub fn place(&self, validator: &PublicKey) -> Option<usize> {
        self.askers.iter().position(|asker| asker.validator == *validator && asker.word.is_none())
    }

    /// The outcome that enough askers give.
    fn outcome(&self) -> Option<Outcome> {
        let total = power(self.askers.iter());
        let enough = self.askers.len().min(2);
        let agreed = |outcome: Outcome| {
            let said = || self.askers.iter().filter(|asker| asker.word == Some(number(outcome)));
            let several = outcome == Outcome::Online || said().count() >= enough;
            several && is_majority(power(said()), total)
        };
        [Outcome::Online, Outcome::Slow, Outcome::Offline].into_iter().find(|&outcome| agreed(outcome))
    }
}

fn power<'a>(askers: impl Iterator<Item = &'a Asker>) -> u64 {
    askers.fold(0, |sum: u64, asker| sum.saturating_add(asker.power))
}

fn number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Online => 1,
        Outcome::Slow => 2,
        Outcome::WrongDevice => 3,
        Outcome::Offline => 4,
    }
}

/// The challenges that the hash of the last block draws, by miner.
pub fn drawn(state: &State) -> BTreeMap<PublicKey, Open> {
    let (parameters, head) = (state.parameters(), state.head());
    let (Ok(side), Ok(rounds), Ok(count)) = (
        u32::try_from(parameters.challenge_side),
        u32::try_from(parameters.challenge_rounds),
        usize::try_from(parameters.challenge_validators),
    ) else {
        return BTreeMap::new();
    };
    if parameters.challenge_ppm == 0 {
        return BTreeMap::new();
    }
    let falls_on = |miner: &PublicKey| {
        let [a, b, c, d, e, f, g, h, ..] =
            blake3::derive_key("assay.v1 challenge draw", &[head.hash.0, miner.0].concat());
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).checked_rem(PPM) < Some(parameters.challenge_ppm)
    };
    let serves = |miner: &PublicKey| state.miners.get(miner).is_some_and(|miner| !miner.models.is_empty());
    let ready = state.availability.iter().filter(|(miner, availability)| {
        availability.devices.class > 0 && availability.open.is_none() && serves(miner) && falls_on(miner)
    });
    let open = |(miner, availability): (&PublicKey, &Availability)| {
        let others = state.validators().iter().filter(|(validator, _)| validator != miner);
        let rank = |validator: &PublicKey| {
            blake3::derive_key("assay.v1 challenge asker", &[head.hash.0, miner.0, validator.0].concat())
        };
        let mut ranked: Vec<_> =
            others.map(|(validator, power)| (rank(&validator), validator, power)).collect();
        ranked.sort_unstable();
        let asker = |(_, validator, power)| Asker { validator, power, word: None };
        let askers: Vec<Asker> = ranked.into_iter().take(count).map(asker).collect();
        let (height, block_hash, class) = (head.height, head.hash, availability.devices.class);
        (*miner, Open { height, block_hash, side, rounds, class, askers })
    };
    ready.map(open).filter(|(_, open)| !open.askers.is_empty()).collect()
}

/// Challenges that a validator is to set: those of the last block, and open ones that it has said nothing about.
pub fn to_ask(state: &State, validator: &PublicKey) -> Vec<(PublicKey, Open)> {
    let open = state.availability.iter().filter_map(|(miner, entry)| Some((*miner, entry.open.clone()?)));
    open.chain(drawn(state)).filter(|(_, open)| open.place(validator).is_some()).collect()
}

/// At the beginning of a block: what the hash of the one before draws is open.
pub(crate) fn begin(before: &State, state: &mut State) {
    for (miner, open) in drawn(before) {
        if let Some(availability) = state.availability.get_mut(&miner) {
            availability.open = Some(open);
        }
    }
}

/// At the end of a block: challenges that enough askers agree about count, those that are too old do not.
pub(crate) fn end(state: &mut State) {
    let (height, blocks) = (state.head.height, state.parameters().challenge_blocks);
    let mut outcomes = Vec::new();
    for (miner, availability) in &mut state.availability {
        let Some(open) = &availability.open else { continue };
        let outcome = open.outcome();
        if outcome.is_some() || height.0 >= open.height.0.saturating_add(blocks) {
            availability.open = None;
        }
        outcomes.extend(outcome.map(|outcome| (*miner, outcome)));
    }
    outcomes.into_iter().for_each(|(miner, outcome)| count(state, &miner, outcome));
}

/// Counts an outcome in every place that the miner has: its devices are the same, whatever it serves.
fn count(state: &mut State, miner: &PublicKey, outcome: Outcome) {
    let subnets: Vec<SubnetId> = state.subnet_ids().collect();
    for subnet in subnets {
        let Some(place) = state.place_mut(subnet, miner).filter(|place| place.since.is_some()) else {
            continue;
        };
        let counts = &mut place.challenges;
        let counter = match outcome {
            Outcome::Online => &mut counts.online,
            Outcome::Slow => &mut counts.slow,
            Outcome::WrongDevice => &mut counts.wrong_device,
            Outcome::Offline => &mut counts.offline,
        };
        *counter = counter.saturating_add(1);
    }
}

/// What the signatures in a report say, whatever the state.
#[derive(Debug)]
pub(crate) struct Found {
    challenge: Signed<Challenge>,
    answer: Option<Answered>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    by: PublicKey,
    class: u32,
    /// Whether the sampled rows are what the work gives.
    right: bool,
}

/// Opens challenge and answer and checks the sampled rows. What fails here is no evidence.
pub(crate) fn examine(chain: &ChainId, body: &Challenged) -> Result<Found, Reason> {
    let evidence = |what| move |source| Reason::Evidence { what, source };
    let challenge: Signed<Challenge> = body.challenge.open(chain).map_err(evidence("challenge"))?;
    if body.answer.is_some() != (body.answer_us > 0) {
        return Err(Reason::Timings("the time of the answer is 0 if and only if there is none"));
    }
    let Some(envelope) = &body.answer else { return Ok(Found { challenge, answer: None }) };
    let answer: Signed<ChallengeAnswer> = envelope.open(chain).map_err(evidence("answer"))?;
    let id = challenge.id(chain);
    if answer.value().challenge != id {
        return Err(Reason::ChallengeAnswer { expected: id, got: answer.value().challenge });
    }
    let right = work::is_right(&Work::of(challenge.value(), &id), answer.value(), envelope);
    let by = answer.signer();
    Ok(Found { answer: Some(Answered { by, class: answer.value().device_class, right }), challenge })
}

/// The outcome of a challenge. A miner that registered another class meanwhile may sign for either; the time is that of the class
/// it had, so that nobody gets out of a challenge by registering anew.
fn outcome(state: &State, open: &Open, found: &Found, body: &Challenged) -> Outcome {
    let Some(Answered { class, right, by: _ }) = found.answer else { return Outcome::Offline };
    let registered = locks::devices(state, &found.challenge.value().miner).class;
    if !right || (class != open.class && class != registered) {
        return Outcome::WrongDevice;
    }
    let (seed, side, rounds) = (0, open.side, open.rounds);
    let operations = Work { seed, side, rounds }.operations();
    let took_us = body.answer_us.saturating_sub(body.network_us).saturating_sub(SLACK_US);
    let rate = state.genesis_block().class(open.class).map_or(0, |class| class.rate);
    if u128::from(took_us).saturating_mul(rate.into()) > u128::from(operations).saturating_mul(PPM.into()) {
        Outcome::Slow
    } else {
        Outcome::Online
    }
}

/// The outcome that a validator has to attest.
pub fn judge(state: &State, open: &Open, body: &Challenged) -> Result<Outcome, Reason> {
    let found = examine(state.chain_id(), body)?;
    check_answer(state, &found)?;
    Ok(outcome(state, open, &found, body))
}

/// Whether one of the miner's keys signed the answer, if there is one.
fn check_answer(state: &State, found: &Found) -> Result<(), Reason> {
    let signers = operating::signers(state, &found.challenge.value().miner);
    match found.answer {
        Some(Answered { by: got, .. }) if !signers.contains(&got) => {
            Err(Reason::EvidenceSigner { what: "answer", expected: signers.owner(), got })
        }
        Some(_) | None => Ok(()),
    }
}

/// Takes what a validator says about a challenge, or changes nothing.
pub(crate) fn note(
    state: &mut State,
    signer: PublicKey,
    body: &Challenged,
    found: &Found,
) -> Result<(), Reason> {
    let (challenge, asker) = (found.challenge.value(), found.challenge.signer());
    let (miner, height) = (challenge.miner, challenge.height);
    if !operating::may_work(state, &signer, &asker) {
        return Err(Reason::EvidenceSigner { what: "challenge", expected: signer, got: asker });
    }
    check_answer(state, found)?;
    let unknown = Reason::ChallengeUnknown { miner, height };
    let open = state.availability.get(&miner).and_then(|availability| availability.open.as_ref());
    let Some(open) = open.filter(|open| open.challenge(miner) == *challenge) else { return Err(unknown) };
    let place = open.place(&signer).ok_or(Reason::NotAsker { validator: signer, miner, height })?;
    let (expected, got) = (outcome(state, open, found, body), body.outcome);
    if expected != got {
        return Err(Reason::Outcome { expected, got });
    }
    if got == Outcome::WrongDevice {
        locks::slash_collateral(state, miner)?;
        if let Some(miner) = state.miners.get_mut(&miner) {
            miner.models.clear();
        }
    }
    if got == Outcome::WrongDevice {
        count(state, &miner, got);
    }
    let Some(availability) = state.availability.get_mut(&miner) else { return Err(unknown) };
    if got == Outcome::WrongDevice {
        availability.open = None;
    } else if let Some(asker) = availability.open.as_mut().and_then(|open| open.askers.get_mut(place)) {
        asker.word = Some(number(got));
    }
    Ok(())
}

/// Whether a miner may name these devices.
pub(crate) fn check_devices(state: &State, devices: Devices, serves: bool) -> Result<(), Reason> {
    let classes = &state.genesis_block().classes;
    // Where the genesis has no classes there is none to name; where it has, a miner in service names one.
    let allowed = match devices.class {
        0 => !serves || classes.is_empty(),
        id => classes.iter().any(|class| class.id == id),
    };
    if allowed { Ok(()) } else { Err(Reason::DeviceClass(devices.class)) }
}

/// Notes the devices of a miner that registers.
pub(crate) fn register(state: &mut State, miner: PublicKey, devices: Devices) {
    if devices != Devices::default() || state.availability.contains_key(&miner) {
        state.availability.entry(miner).or_default().devices = devices;
    }
}

/// A miner leaves its place.
pub(crate) fn leave(state: &mut State, miner: PublicKey) {
    if let Some(availability) = state.availability.get_mut(&miner) {
        *availability = Availability::default();
    }
}

/// Base units that a miner with these devices has locked while it serves:
/// `collateral * count * multiplier`, `collateral` where it names none.
pub fn collateral(state: &State, devices: Devices) -> u64 {
    let one = state.parameters().collateral;
    match state.genesis_block().class(devices.class) {
        None => one,
        Some(class) => {
            let share = u128::from(one).saturating_mul(class.collateral_ppm.into());
            let all = share.saturating_mul(devices.count.into()) / u128::from(PPM);
            u64::try_from(all).unwrap_or(u64::MAX)
        }
    }
}

/// What a miner's challenges of an epoch say about it, parts per million.
pub fn availability_ppm(counts: &Counts) -> u64 {
    let Counts { online, slow, wrong_device, offline } = *counts;
    let ended = u128::from(online).saturating_add(slow.into()).saturating_add(offline.into());
    if wrong_device > 0 {
        return 0;
    }
    let share = u128::from(online).saturating_mul(PPM.into()).checked_div(ended);
    share.and_then(|share| u64::try_from(share).ok()).unwrap_or(PPM)
}

/// What multiplies a miner's performance, parts per million.
pub fn factor_ppm(parameters: &Parameters, counts: &Counts) -> u64 {
    let missing = PPM.saturating_sub(availability_ppm(counts));
    let lost = parameters.availability_ppm.min(PPM).saturating_mul(missing).checked_div(PPM).unwrap_or(0);
    PPM.saturating_sub(lost)
}
