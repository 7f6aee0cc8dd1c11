//! What each kind of transaction needs and does.

use assay_proto::job::Job;
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::transaction::RegisterModel;
use assay_proto::vote::Offence;
use assay_proto::{Height, JobId, PublicKey, Signed, SubnetId};

use super::LoggedReceipt;
use super::prepare::{Action, Judged, Prepared};
use crate::error::Reason;
use crate::jobs::ClientJobs;
use crate::proof::VerifyingKey;
use crate::receipt::Judgement;
use crate::state::{KeyCache, KeyDigest, Model, Offender, Place, State};
use crate::{
    accounts, challenge, epoch, governance, holds, latency, limits, locks, miners, operating, receipt,
    scores, subnets, tiers,
};

/// The effect of a receipt.
#[derive(Debug)]
pub(crate) struct Logged {
    job_id: JobId,
    miner: PublicKey,
    verdict: Verdict,
}

impl Logged {
    pub(crate) fn at(self, index: usize) -> LoggedReceipt {
        // A block has at most `limits::TRANSACTIONS` transactions.
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        LoggedReceipt { index, job_id: self.job_id, miner: self.miner, verdict: self.verdict }
    }
}

/// Applies one transaction, or leaves the state as it is.
pub(crate) fn execute(
    state: &mut State,
    prepared: Prepared,
    keys: &KeyCache,
) -> Result<Option<Logged>, Reason> {
    let Prepared { signer, nonce, action } = prepared;
    let last = state.account(&signer).nonce;
    if !(1..=limits::NONCE_STEP).contains(&nonce.saturating_sub(last)) {
        return Err(Reason::Nonce { last, got: nonce });
    }
    let actor = actor(state, signer, &action)?;
    let fee = fee(state, &action);
    accounts::burn(state, signer, fee)?;
    let logged = perform(state, (signer, actor), action, keys).inspect_err(|_| {
        // What was burned a moment ago is there to be given back.
        state.supply.burned = state.supply.burned.saturating_sub(fee);
        let _ = accounts::credit(state, signer, fee);
    })?;
    state.accounts.entry(signer).or_default().nonce = nonce;
    Ok(logged)
}

/// Whom a transaction speaks for: its signer, or the owner whose duty an operating key signs.
fn actor(state: &State, signer: PublicKey, action: &Action) -> Result<PublicKey, Reason> {
    match action {
        Action::Transfer(_) | Action::Burn(_) => Ok(signer),
        Action::RegisterMiner(_)
        | Action::Receipt(_)
        | Action::Equivocation(_)
        | Action::CommitScores(_)
        | Action::RevealScores(_)
        | Action::WeighSubnets(_)
        | Action::Challenged(..)
        | Action::Hold(_)
        | Action::Release(_) => operating::act(state, signer),
        Action::RegisterModel(..)
        | Action::RegisterSubnet(_)
        | Action::VoteParameter(_)
        | Action::Lock(_)
        | Action::Unlock(_)
        | Action::SetOperatingKey(..) => match operating::owner_of(state, &signer) {
            owner if owner == signer => Ok(signer),
            owner => Err(Reason::KeyDuty { key: signer, owner }),
        },
    }
}

/// What a validator signs by duty costs it nothing, nor does the proof that one did wrong.
fn fee(state: &State, action: &Action) -> u64 {
    match action {
        Action::Receipt(_)
        | Action::Equivocation(_)
        | Action::CommitScores(_)
        | Action::RevealScores(_)
        | Action::Challenged(..)
        | Action::Hold(_)
        | Action::Release(_) => 0,
        Action::RegisterModel(..)
        | Action::RegisterSubnet(_)
        | Action::WeighSubnets(_)
        | Action::VoteParameter(_)
        | Action::RegisterMiner(_)
        | Action::Transfer(_)
        | Action::Burn(_)
        | Action::Lock(_)
        | Action::Unlock(_)
        | Action::SetOperatingKey(..) => state.parameters().fee,
    }
}

/// `signer` pays, `actor` is who does it.
fn perform(
    state: &mut State,
    (signer, actor): (PublicKey, PublicKey),
    action: Action,
    keys: &KeyCache,
) -> Result<Option<Logged>, Reason> {
    match action {
        Action::RegisterModel(body, key) => register_model(state, actor, body, key, keys)?,
        Action::RegisterMiner(body) => miners::register(state, signer, actor, body)?,
        Action::Transfer(body) => accounts::pay(state, actor, body.to, body.amount)?,
        Action::Burn(body) => accounts::burn(state, actor, body.amount)?,
        Action::Lock(body) => locks::lock(state, actor, body)?,
        Action::Unlock(body) => locks::unlock(state, actor, body)?,
        Action::CommitScores(body) => scores::commit(state, actor, body)?,
        Action::RevealScores(body) => scores::reveal(state, actor, body)?,
        Action::RegisterSubnet(body) => subnets::register(state, actor, body)?,
        Action::WeighSubnets(body) => subnets::weigh(state, actor, body)?,
        Action::VoteParameter(body) => governance::vote(state, actor, body)?,
        Action::Equivocation(offence) => remove_validator(state, offence)?,
        Action::Challenged(body, found) => challenge::note(state, actor, &body, &found)?,
        Action::Hold(job) => hold(state, actor, &job, keys)?,
        Action::Release(body) => holds::release(state, actor, body)?,
        Action::SetOperatingKey(consents_to, key) => operating::set(state, actor, (consents_to, key))?,
        Action::Receipt(judged) => return Ok(Some(settle(state, actor, &judged, keys)?)),
    }
    Ok(None)
}

fn register_model(
    state: &mut State,
    signer: PublicKey,
    body: RegisterModel,
    key: VerifyingKey,
    keys: &KeyCache,
) -> Result<(), Reason> {
    // Whoever made a key could forge under it, so a miner must not bring its own: a validator answers for a key.
    if !state.validators().contains(&signer) {
        return Err(Reason::NotValidator(signer));
    }
    subnets::check_model(state, &body)?;
    let RegisterModel { model_id, name, verifying_key, proof_system, subnet } = body;
    if key.system() != proof_system {
        return Err(Reason::KeySystem { expected: proof_system, got: key.system() });
    }
    let got = receipt::key_model(&key);
    if got != model_id {
        return Err(Reason::KeyModel { expected: model_id, got });
    }
    if key.is_test_key() && !state.chain_id().as_str().starts_with("test-") {
        return Err(Reason::TestKey);
    }
    if !key.is_public() {
        return Err(Reason::CommittedPorts);
    }
    if state.models.contains_key(&model_id) {
        return Err(Reason::ModelExists(model_id));
    }
    if state.models.len() >= limits::MODELS {
        return Err(Reason::Models(limits::MODELS));
    }
    let digest = KeyDigest(key.digest());
    keys.insert(digest, key);
    state.keys.insert(digest, verifying_key.into());
    state.models.insert(model_id, Model { name, owner: signer, key: digest });
    if subnet != SubnetId::ROOT {
        state.memberships.insert(model_id, subnet);
    }
    Ok(())
}

/// A validator that equivocated leaves the set, at a height that everybody knows one block ahead; the stake on it is
/// slashed.
fn remove_validator(state: &mut State, offence: Offence) -> Result<(), Reason> {
    let Offence { validator: key, height: offence, round: _ } = offence;
    let validator = operating::owner_of(state, &key);
    let height = state.head.height;
    if state.offenders.contains_key(&validator) {
        return Err(Reason::OffenderKnown(validator));
    }
    // Who left answers for what it signed as long as base units are bound to it, those on their way back included.
    if !state.validators().contains(&validator) && !locks::has_stake(state, validator) {
        return Err(Reason::NotValidator(validator));
    }
    if offence >= height {
        return Err(Reason::OffenceHeight { got: offence, height });
    }
    if !operating::was_in_force(state, &validator, &key, offence) {
        return Err(Reason::OffenceKey { key, owner: validator, height: offence });
    }
    locks::slash_stake(state, validator)?;
    let removed = Height(height.0.saturating_add(limits::REMOVAL_BLOCKS));
    state.offenders.insert(validator, Offender { offence, removed });
    Ok(())
}

/// Whether a job may be brokered in this state: what the broker asks before it accepts a job, and what its receipt is
/// held against later. Returns the key under which the proof must hold.
pub fn check_job(state: &State, job: &Signed<Job>, keys: &KeyCache) -> Result<VerifyingKey, Reason> {
    let key = keys.model(state, &job.value().model_id)?;
    receipt::check_job(job.value(), &key)?;
    tiers::check(state.parameters(), job.value())?;
    let (client, job_id) = (job.signer(), job.id(state.chain_id()));
    jobs(state, &client).check(client, job.value().nonce, job_id)?;
    let (balance, needed) = (state.funds(&client), job.value().max_price);
    if balance < needed {
        return Err(Reason::Balance { account: client, balance, needed });
    }
    Ok(key)
}

/// Locks the price of a job that could be settled, for the validator that assigns it.
fn hold(state: &mut State, signer: PublicKey, job: &Signed<Job>, keys: &KeyCache) -> Result<(), Reason> {
    if !state.validators().contains(&signer) {
        return Err(Reason::NotValidator(signer));
    }
    if signer == operating::owner_of(state, &job.signer()) {
        return Err(Reason::OwnReceipt(signer));
    }
    check_job(state, job, keys)?;
    holds::hold(state, signer, job)
}

fn jobs(state: &State, client: &PublicKey) -> ClientJobs {
    state.clients.get(client).cloned().unwrap_or_default()
}

fn settle(state: &mut State, signer: PublicKey, judged: &Judged, keys: &KeyCache) -> Result<Logged, Reason> {
    let Judged { receipt: Receipt { evidence, verdict }, job, key, judgement } = judged;
    let verdict = *verdict;
    let (client, miner_key, job_id) = (job.signer(), evidence.miner, job.id(state.chain_id()));
    let (signed, job) = (job, job.value());
    tiers::check(state.parameters(), job)?;
    check_parties(state, signer, client, miner_key)?;
    let model = state.models.get(&job.model_id).ok_or(Reason::ModelUnknown(job.model_id))?;
    let miner = state.miners.get(&miner_key).ok_or(Reason::MinerUnknown(miner_key))?;
    if !miner.models.contains(&job.model_id) {
        return Err(Reason::MinerModel { miner: miner_key, model: job.model_id });
    }
    let mut client_jobs = jobs(state, &client);
    client_jobs.check_attempt(client, job.nonce, job_id, miner_key)?;
    let signers = operating::signers(state, &miner_key);
    receipt::check_signers(evidence, &signers)?;
    // What was found ahead settles a receipt that says the same under the same key; any other is judged here.
    let agrees = |judgement: &Judgement| *key == Some(model.key) && judgement.verdict == verdict;
    if !judgement.as_ref().is_ok_and(agrees) {
        let judgement =
            receipt::judge(state.chain_id(), &signers, evidence, &keys.model(state, &job.model_id)?)?;
        if judgement.verdict != verdict {
            let cause = judgement.cause.map(Box::new);
            return Err(Reason::Verdict { expected: judgement.verdict, got: verdict, cause });
        }
    }
    let settled = verdict == Verdict::Verified;
    if settled {
        match state.parameters().prepaid {
            0 => accounts::pay(state, client, miner_key, job.max_price)?,
            _ if holds::are_needed(state) => holds::pay(state, signer, signed, miner_key)?,
            _ => locks::draw(state, client, miner_key, job.max_price)?,
        }
    }
    if matches!(verdict, Verdict::InvalidProof | Verdict::Malformed) {
        locks::slash_collateral(state, miner_key)?;
    }
    client_jobs.record(job.nonce, job_id, miner_key, settled);
    state.clients.insert(client, client_jobs);
    let subnet = state.subnet_of(&job.model_id);
    let parameters = state.parameters_of(subnet);
    let counted_us = latency::of(&parameters, evidence);
    if settled && latency::is_shared(&parameters) {
        latency::note(state, subnet, (signer, miner_key), counted_us);
    }
    let quality = epoch::quality_ppm(&parameters, counted_us);
    if let Some(place) = state.place_mut(subnet, &miner_key) {
        count(place, verdict, quality, job.max_price);
    }
    Ok(Logged { job_id, miner: miner_key, verdict })
}

fn check_parties(
    state: &State,
    signer: PublicKey,
    client: PublicKey,
    miner: PublicKey,
) -> Result<(), Reason> {
    if !state.validators().contains(&signer) {
        return Err(Reason::NotValidator(signer));
    }
    let client = operating::owner_of(state, &client);
    if signer == client || signer == miner {
        return Err(Reason::OwnReceipt(signer));
    }
    if client == miner {
        return Err(Reason::OwnJob(client));
    }
    Ok(())
}

/// Counts an assignment in its miner's epoch, in the model's subnet. An invalid answer costs the reputation at once.
fn count(place: &mut Place, verdict: Verdict, quality_ppm: u64, price: u64) {
    let work = &mut place.work;
    let counter = match verdict {
        Verdict::Verified => &mut work.verified,
        Verdict::InvalidProof | Verdict::Malformed => &mut work.invalid,
        Verdict::Late => &mut work.late,
        Verdict::Absent => &mut work.absent,
    };
    *counter = counter.saturating_add(1);
    match verdict {
        Verdict::Verified => {
            work.quality_ppm_sum = work.quality_ppm_sum.saturating_add(quality_ppm);
            place.earned = place.earned.saturating_add(price);
        }
        Verdict::InvalidProof | Verdict::Malformed => place.reputation_ppm = 0,
        Verdict::Late | Verdict::Absent => {}
    }
}
