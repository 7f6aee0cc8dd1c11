//! The part of applying transactions that does not depend on their order, for many transactions at once.
//!
//! Receipts are judged under the key of their model: the state's, or else the first one registered among the
//! transactions. Where the state that a receipt finally meets holds another key, it is judged again there; so what is
//! prepared ahead saves time and decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use assay_proto::challenge::Challenged;
use assay_proto::hold::Release;
use assay_proto::job::{Job, Output, Proof};
use assay_proto::operating::KeyConsent;
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::signing::{Held, Payload};
use assay_proto::subnet::{RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{Body, Burn, Lock, RegisterMiner, RegisterModel, Transaction, Transfer};
use assay_proto::vote::Offence;
use assay_proto::{ChainId, Envelope, ModelId, PublicKey, Signed};
use rayon::prelude::*;

use super::known::Name;
use crate::challenge::{self, Found};
use crate::error::Reason;
use crate::proof::{self, ProofError, Statement, VerifyingKey};
use crate::receipt::{self, Finding, Judgement};
use crate::state::{KeyCache, KeyDigest, State};
use crate::{limits, operating};

/// A transaction that may come into a block.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// Its signature is yet to be checked.
    Sealed(&'a Envelope),
    /// It was opened, which checks its signature, for the chain of the state that it is to apply after.
    Opened(&'a Signed<Transaction>),
}

impl<'a> Candidate<'a> {
    /// As it stands in a block.
    pub fn envelope(self) -> &'a Envelope {
        match self {
            Self::Sealed(envelope) => envelope,
            Self::Opened(signed) => signed.envelope(),
        }
    }
}

/// A transaction whose signature holds.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) signer: PublicKey,
    pub(super) nonce: u64,
    pub(super) action: Action,
}

/// What it asks for, with what was found out about it.
#[derive(Debug)]
pub(super) enum Action {
    /// The decoded key is that of the registration.
    RegisterModel(RegisterModel, VerifyingKey),
    /// Nothing to find out ahead.
    RegisterMiner(RegisterMiner),
    /// Nothing to find out ahead.
    Transfer(Transfer),
    /// The receipt with its evidence judged.
    Receipt(Arc<Judged>),
    /// What the evidence proves.
    Equivocation(Offence),
    /// Nothing to find out ahead.
    Burn(Burn),
    /// Nothing to find out ahead.
    Lock(Lock),
    /// Nothing to find out ahead.
    Unlock(Lock),
    /// Nothing to find out ahead.
    CommitScores(CommitScores),
    /// Nothing to find out ahead.
    RevealScores(RevealScores),
    /// Nothing to find out ahead.
    RegisterSubnet(RegisterSubnet),
    /// Nothing to find out ahead.
    WeighSubnets(WeighSubnets),
    /// Nothing to find out ahead.
    VoteParameter(VoteParameter),
    /// What the signatures in it say, and whether the sampled rows are right.
    Challenged(Box<Challenged>, Found),
    /// The job in it, opened.
    Hold(Signed<Job>),
    /// Nothing to find out ahead.
    Release(Release),
    /// Whom the key agrees to sign for, and the key.
    SetOperatingKey(PublicKey, PublicKey),
}

#[derive(Debug)]
pub(super) struct Judged {
    pub(super) receipt: Receipt,
    /// The job in the evidence, opened.
    pub(super) job: Signed<Job>,
    /// The key under which the evidence was judged; none if the job's model has none.
    pub(super) key: Option<KeyDigest>,
    pub(super) judgement: Result<Judgement, Reason>,
}

/// A receipt between its examination and the check of its proof.
struct Examined {
    key: VerifyingKey,
    finding: Result<Finding, Reason>,
}

/// Whose costly transactions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Those of validators of the block after the state: whoever is none makes nobody work.
    Validators,
    /// Everybody's: the state may be that of a block long before, and validators took the transactions in already.
    Nobody,
}

/// Prepares transactions that are to apply after `state`, in this order. One result each.
pub(crate) fn prepare(
    state: &State,
    guard: Guard,
    transactions: &[Candidate<'_>],
    keys: &KeyCache,
) -> Vec<Result<Prepared, Reason>> {
    let chain = state.chain_id();
    let name = |candidate: &Candidate<'_>| Name::of(chain, candidate.envelope());
    let names: Vec<Name> = transactions.par_iter().map(name).collect();
    let recalled: Vec<Option<Prepared>> = {
        let known = keys.known.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|name| known.recall(name)).collect()
    };
    let unknown = transactions.iter().zip(&recalled).filter(|(_, recalled)| recalled.is_none());
    let unknown: Vec<Candidate<'_>> = unknown.map(|(candidate, _)| *candidate).collect();
    let mut fresh = prepare_unknown(state, guard, &unknown, keys).into_iter();
    let mut known = keys.known.lock().unwrap_or_else(PoisonError::into_inner);
    let mut results = Vec::with_capacity(transactions.len());
    for ((recalled, name), candidate) in recalled.into_iter().zip(names).zip(transactions) {
        if let Some(prepared) = recalled {
            results.push(Ok(prepared));
        } else if let Some(prepared) = fresh.next() {
            if let Ok(prepared) = &prepared {
                known.note(name, prepared, candidate.envelope().payload.len());
            }
            results.push(prepared);
        }
    }
    results
}

fn prepare_unknown(
    state: &State,
    guard: Guard,
    transactions: &[Candidate<'_>],
    keys: &KeyCache,
) -> Vec<Result<Prepared, Reason>> {
    let chain = state.chain_id();
    let held = held(chain, sealed(transactions));
    let opened: Vec<_> =
        transactions.par_iter().map(|candidate| open(state, guard, *candidate, &held)).collect();
    let held = self::held(chain, opened.iter().flatten().flat_map(inner));
    let opened: Vec<_> = opened.into_par_iter().map(|opened| opened?.with_job(chain, &held)).collect();
    let registered = registrations(&opened);
    let key_of = |id: &ModelId| match registered.get(id) {
        Some(key) if state.model(id).is_none() => Ok((*key).clone()),
        Some(_) | None => keys.model(state, id),
    };
    let examined: Vec<Option<Examined>> =
        opened.par_iter().map(|opened| examine(chain, &held, opened, &key_of)).collect();
    let mut proofs = check_proofs(&opened, &examined);
    let finish = |(index, (opened, examined)): (usize, (Result<WithJob, Reason>, Option<Examined>))| {
        let Opened { signer, nonce, content } = opened?;
        let action = match content {
            Content::Ready(action) => action,
            Content::Receipt(receipt, job) => {
                Action::Receipt(Arc::new(judged(*receipt, job, examined, proofs.remove(&index))))
            }
        };
        Ok(Prepared { signer, nonce, action })
    };
    opened.into_iter().zip(examined).enumerate().map(finish).collect()
}

/// A transaction with its signature checked, and its content decoded further.
struct Opened<R> {
    signer: PublicKey,
    nonce: u64,
    content: Content<R>,
}

#[expect(clippy::large_enum_variant, reason = "it is moved once, while a block is prepared")]
enum Content<R> {
    /// Nothing more to find out.
    Ready(Action),
    /// Its evidence is to be judged.
    Receipt(Box<Receipt>, R),
}

type WithJob = Opened<Signed<Job>>;

impl Opened<()> {
    /// Opens the job of a receipt.
    fn with_job(self, chain: &ChainId, held: &Held) -> Result<WithJob, Reason> {
        let Self { signer, nonce, content } = self;
        let content = match content {
            Content::Ready(action) => Content::Ready(action),
            Content::Receipt(receipt, ()) => {
                let job = receipt.evidence.job.open_held(chain, held).map_err(Reason::Job)?;
                Content::Receipt(receipt, job)
            }
        };
        Ok(Opened { signer, nonce, content })
    }
}

/// An envelope and the kind of message that it must hold.
type Named<'a> = (&'static str, &'a Envelope);

/// Transactions whose signature is yet to be checked.
fn sealed<'a>(transactions: &'a [Candidate<'_>]) -> impl Iterator<Item = Named<'a>> {
    transactions.iter().filter_map(|candidate| match candidate {
        Candidate::Sealed(envelope) => named::<Transaction>(envelope),
        Candidate::Opened(_) => None,
    })
}

/// What is signed inside a receipt.
fn inner(opened: &Opened<()>) -> impl Iterator<Item = Named<'_>> {
    let evidence = match &opened.content {
        Content::Receipt(receipt, ()) => Some(&receipt.evidence),
        Content::Ready(_) => None,
    };
    evidence.into_iter().flat_map(|evidence| {
        let output = evidence.output.as_ref().and_then(named::<Output>);
        let proof = evidence.proof.as_ref().and_then(named::<Proof>);
        named::<Job>(&evidence.job).into_iter().chain(output).chain(proof)
    })
}

/// None of an envelope that is refused for its length.
fn named<T: Payload>(envelope: &Envelope) -> Option<Named<'_>> {
    (envelope.payload.len() <= T::MAX_BYTES).then_some((T::KIND, envelope))
}

/// The signatures that hold among these.
fn held<'a>(chain: &ChainId, envelopes: impl Iterator<Item = Named<'a>>) -> Held {
    let envelopes: Vec<Named<'_>> = envelopes.collect();
    let parts = envelopes.par_chunks(limits::SIGNATURES).map(|part| Held::of(chain, part));
    parts.reduce(Held::default, |mut held, part| {
        held.extend(part);
        held
    })
}

fn open(state: &State, guard: Guard, candidate: Candidate<'_>, held: &Held) -> Result<Opened<()>, Reason> {
    let chain = state.chain_id();
    let (signer, transaction) = match candidate {
        Candidate::Sealed(envelope) => {
            let signed: Signed<Transaction> = envelope.open_held(chain, held).map_err(Reason::Transaction)?;
            (signed.signer(), signed.into_parts().0)
        }
        Candidate::Opened(signed) => (signed.signer(), signed.value().clone()),
    };
    let Transaction { nonce, body } = transaction;
    let content = match body {
        // Only a validator registers a key, so nobody else makes the others decode one.
        Body::RegisterModel(_) if guard == Guard::Validators && !state.validators().contains(&signer) => {
            return Err(Reason::NotValidator(signer));
        }
        Body::RegisterModel(body) => {
            let key = VerifyingKey::decode(&body.verifying_key).map_err(Reason::Key)?;
            Content::Ready(Action::RegisterModel(body, key))
        }
        Body::RegisterMiner(body) => Content::Ready(Action::RegisterMiner(body)),
        Body::Transfer(body) => Content::Ready(Action::Transfer(body)),
        Body::Receipt(receipt) => Content::Receipt(receipt, ()),
        Body::Equivocation(evidence) => {
            let offence = evidence.open(chain).map_err(Reason::Equivocation)?;
            Content::Ready(Action::Equivocation(offence))
        }
        Body::Burn(body) => Content::Ready(Action::Burn(body)),
        Body::Lock(body) => Content::Ready(Action::Lock(body)),
        Body::Unlock(body) => Content::Ready(Action::Unlock(body)),
        Body::CommitScores(body) => Content::Ready(Action::CommitScores(body)),
        Body::RevealScores(body) => Content::Ready(Action::RevealScores(body)),
        Body::RegisterSubnet(body) => Content::Ready(Action::RegisterSubnet(body)),
        Body::WeighSubnets(body) => Content::Ready(Action::WeighSubnets(body)),
        Body::VoteParameter(body) => Content::Ready(Action::VoteParameter(body)),
        // Rows and large jobs are looked at for validators only.
        Body::Challenged(_) | Body::Hold(_)
            if guard == Guard::Validators && !operating::speaks_for_validator(state, &signer) =>
        {
            return Err(Reason::NotValidator(signer));
        }
        Body::Challenged(body) => {
            let found = challenge::examine(chain, &body)?;
            Content::Ready(Action::Challenged(Box::new(body), found))
        }
        Body::Hold(body) => Content::Ready(Action::Hold(receipt::open_job(chain, &body.job)?)),
        Body::Release(body) => Content::Ready(Action::Release(body)),
        Body::SetOperatingKey(body) => {
            let consent: Signed<KeyConsent> = body.consent.open(chain).map_err(Reason::KeyConsent)?;
            Content::Ready(Action::SetOperatingKey(consent.value().owner, consent.signer()))
        }
    };
    Ok(Opened { signer, nonce, content })
}

/// The first registration of each model.
fn registrations(opened: &[Result<WithJob, Reason>]) -> BTreeMap<ModelId, &VerifyingKey> {
    let mut first = BTreeMap::new();
    for opened in opened.iter().flatten() {
        if let Content::Ready(Action::RegisterModel(body, key)) = &opened.content {
            first.entry(body.model_id).or_insert(key);
        }
    }
    first
}

fn receipt_of(opened: &Result<WithJob, Reason>) -> Option<(&Receipt, &Signed<Job>)> {
    match &opened.as_ref().ok()?.content {
        Content::Receipt(receipt, job) => Some((receipt, job)),
        Content::Ready(_) => None,
    }
}

fn examine(
    chain: &ChainId,
    held: &Held,
    opened: &Result<WithJob, Reason>,
    key_of: &(impl Fn(&ModelId) -> Result<VerifyingKey, Reason> + Sync),
) -> Option<Examined> {
    let (receipt, job) = receipt_of(opened)?;
    let key = key_of(&job.value().model_id).ok()?;
    let finding = receipt::examine(chain, held, &receipt.evidence, job, &key);
    Some(Examined { key, finding })
}

fn judged(
    receipt: Receipt,
    job: Signed<Job>,
    examined: Option<Examined>,
    proof: Option<Result<(), ProofError>>,
) -> Judged {
    let unknown = || Reason::ModelUnknown(job.value().model_id);
    let key = examined.as_ref().map(|examined| KeyDigest(examined.key.digest()));
    let finding = examined.map_or_else(|| Err(unknown()), |examined| examined.finding);
    let judgement = finding.map(|finding| match finding {
        Finding::Decided(judgement) => judgement,
        // Every claim was checked; one that was not would not count.
        Finding::Claim { holds, .. } => receipt::conclude(proof.unwrap_or(Err(ProofError::Invalid)), holds),
    });
    Judged { receipt, job, key, judgement }
}

type Item = (Statement, Vec<u8>);

/// Claims under one key, and the transactions that they are from.
struct Group {
    key: VerifyingKey,
    indices: Vec<usize>,
    items: Vec<Item>,
}

/// Checks the proof of every claim; results by index of the transaction.
fn check_proofs(
    opened: &[Result<WithJob, Reason>],
    examined: &[Option<Examined>],
) -> BTreeMap<usize, Result<(), ProofError>> {
    // Proofs that should hold go into batches of one key; those that should not are checked alone.
    let mut groups: BTreeMap<(bool, [u8; 32]), Group> = BTreeMap::new();
    for (index, (opened, examined)) in opened.iter().zip(examined).enumerate() {
        let Some(Examined { key, finding: Ok(Finding::Claim { statement, proof, .. }) }) = examined else {
            continue;
        };
        let holds = receipt_of(opened).is_some_and(|(receipt, _)| match receipt.verdict {
            Verdict::Verified | Verdict::Late => true,
            Verdict::InvalidProof | Verdict::Malformed | Verdict::Absent => false,
        });
        let fresh = || Group { key: key.clone(), indices: Vec::new(), items: Vec::new() };
        let group = groups.entry((holds, key.digest())).or_insert_with(fresh);
        group.indices.push(index);
        group.items.push((statement.clone(), proof.clone()));
    }
    let batches: Vec<(&VerifyingKey, &[usize], &[Item])> = groups
        .iter()
        .flat_map(|((holds, _), Group { key, indices, items })| {
            let size = if *holds { limits::BATCH } else { 1 };
            let pairs = indices.chunks(size).zip(items.chunks(size));
            pairs.map(move |(indices, items)| (key, indices, items))
        })
        .collect();
    batches.par_iter().flat_map(|(key, indices, items)| check_batch(key, indices, items)).collect()
}

/// All at once; where they do not hold together, each half on its own, so that one bad proof costs as much again as all good
/// ones.
fn check_batch(
    key: &VerifyingKey,
    indices: &[usize],
    items: &[Item],
) -> Vec<(usize, Result<(), ProofError>)> {
    if let ([index], [(statement, proof)]) = (indices, items) {
        return vec![(*index, proof::verify(key, statement, proof))];
    }
    if items.is_empty() || proof::batch_holds(key, items) {
        return indices.iter().map(|&index| (index, Ok(()))).collect();
    }
    let middle = items.len() / 2;
    let ((left, right), (first, second)) = (indices.split_at(middle), items.split_at(middle));
    let (mut results, rest) =
        rayon::join(|| check_batch(key, left, first), || check_batch(key, right, second));
    results.extend(rest);
    results
}
