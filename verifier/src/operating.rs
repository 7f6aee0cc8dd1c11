//! Operating keys: who signs the work of a miner or a validator, so that the key that owns its base units may stay offline.
//!
//! ```text
//! identity   the owner: records, reputation, rewards, stake and collateral are its own, whoever signs
//! set        at height h, signed by the owner, with the consent of the new key k: k signs from h + KEY_BLOCKS on
//! k          was never anything: no account that signed, no client, no validator, no operating key; and is nothing else ever after
//! one        at every height an owner has one key: itself, until the first one that it named is in force
//! votes      and proposals of height h are by the key of h alone
//! work       outputs, proofs, answers and transactions by the key of h, or by one whose time ended at most OVERLAP_BLOCKS before h
//! offence    at height h counts against the owner if the key of h signed it, however long ago that was
//! ```
//!
//! The owner may sign any transaction itself. An operating key signs the duties of a miner and of a validator, which move nobody's
//! base units. What such a transaction costs is the operating key's own to pay, so that whoever steals the key spends nothing of the
//! owner's. Transfers and burns of an operating key are of its own account.

use assay_proto::limits::SIGNERS;
use assay_proto::{Height, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::ValidatorSet;
use crate::error::Reason;
use crate::limits::{KEY_BLOCKS, OVERLAP_BLOCKS};
use crate::state::State;

/// An operating key, of now or of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OperatingKey {
    /// Whom it signs for.
    pub owner: PublicKey,
    /// First height at which it signs.
    pub from: Height,
    /// First height at which another one does.
    pub until: Option<Height>,
    /// The one before it; none before the first, when the owner signed itself.
    pub former: Option<PublicKey>,
}

/// What an owner has that named a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Operated {
    /// First height at which it does not sign itself.
    pub since: Height,
    /// Its latest key, which may not be in force yet.
    pub latest: PublicKey,
}

/// Heights `from <= h < until` at which a key signs.
#[derive(Clone, Copy)]
struct Term {
    from: Height,
    until: Option<Height>,
}

impl Term {
    /// Whether it covers a height, or ended at most so many blocks before it.
    fn covers(self, height: Height, after: u64) -> bool {
        let ended = self.until.is_some_and(|until| until.0.saturating_add(after) <= height.0);
        self.from <= height && !ended
    }
}

/// The term of a key with an owner; none if it never signs for it.
fn term(state: &State, owner: &PublicKey, key: &PublicKey) -> Option<Term> {
    if key == owner {
        let until = state.operated(owner).map(|operated| operated.since);
        return Some(Term { from: Height(0), until });
    }
    let OperatingKey { owner: its, from, until, former: _ } = *state.operating_key(key)?;
    (its == *owner).then_some(Term { from, until })
}

/// The one that a key signs, or signed, for: itself if it is no operating key.
pub fn owner_of(state: &State, key: &PublicKey) -> PublicKey {
    state.operating_key(key).map_or(*key, |operating| operating.owner)
}

/// The keys of an owner, the latest first; itself last.
fn keys<'a>(state: &'a State, owner: &'a PublicKey) -> impl Iterator<Item = PublicKey> + 'a {
    let latest = state.operated(owner).map(|operated| operated.latest);
    let former = |key: &PublicKey| state.operating_key(key).and_then(|operating| operating.former);
    std::iter::successors(latest, former).chain([*owner])
}

/// The one key that signs for an owner at a height that is the next at most: votes and proposals are by it alone.
pub fn key_of(state: &State, owner: &PublicKey, height: Height) -> PublicKey {
    keys(state, owner).find(|key| was_in_force(state, owner, key, height)).unwrap_or(*owner)
}

/// The keys by which an owner's work counts at the state's height, the one in force first.
pub fn signers(state: &State, owner: &PublicKey) -> Signers {
    let height = state.head().height;
    let waits = |key: &PublicKey| !was_in_force(state, owner, key, height);
    let keys = keys(state, owner).skip_while(waits).take_while(|key| may_work(state, owner, key));
    Signers { owner: *owner, keys: keys.collect() }
}

/// Keys by which an owner's work counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    owner: PublicKey,
    keys: Vec<PublicKey>,
}

// A key is in force for `KEY_BLOCKS` blocks at least. To those that ended within the overlap come the one in force and one that ended
// between two blocks of them.
const _: () = assert!(OVERLAP_BLOCKS / KEY_BLOCKS + 2 <= 64 && SIGNERS == 64);

impl Signers {
    /// Of an owner, by these keys.
    pub fn new(owner: PublicKey, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self { owner, keys: keys.into_iter().collect() }
    }

    /// Whose they are.
    pub fn owner(&self) -> PublicKey {
        self.owner
    }

    /// Whether work by this key counts.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// All of them, the one in force first.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }
}

/// Whether a key signs an owner's work at the state's height, or did until a short while ago.
pub fn may_work(state: &State, owner: &PublicKey, key: &PublicKey) -> bool {
    term(state, owner, key).is_some_and(|term| term.covers(state.head().height, OVERLAP_BLOCKS))
}

/// Whether a key speaks for a validator in the next block: what is asked before its transactions cost anybody work. A block may
/// refuse more.
pub fn speaks_for_validator(state: &State, key: &PublicKey) -> bool {
    let (owner, next) = (owner_of(state, key), state.head().height.next());
    let speaks = owner == *key || may_work(state, &owner, key) || was_in_force(state, &owner, key, next);
    speaks && state.validators().contains(&owner)
}

/// Whether a key was the one of its owner at a height.
pub(crate) fn was_in_force(state: &State, owner: &PublicKey, key: &PublicKey, height: Height) -> bool {
    term(state, owner, key).is_some_and(|term| term.covers(height, 0))
}

/// Validators by the keys that vote for them at a height.
pub(crate) fn voters(state: &State, validators: &ValidatorSet, height: Height) -> ValidatorSet {
    validators.renamed(|owner| key_of(state, owner, height))
}

/// Whom a transaction speaks for that an operating key signed for its owner.
pub(crate) fn act(state: &State, key: PublicKey) -> Result<PublicKey, Reason> {
    let Some(&OperatingKey { owner, from, until, former: _ }) = state.operating_key(&key) else {
        return Ok(key);
    };
    if may_work(state, &owner, &key) { Ok(owner) } else { Err(Reason::KeyTerm { key, owner, from, until }) }
}

/// Names the key that signs for an owner, or changes nothing.
pub(crate) fn set(
    state: &mut State,
    owner: PublicKey,
    (consents_to, key): (PublicKey, PublicKey),
) -> Result<(), Reason> {
    if consents_to != owner {
        return Err(Reason::KeyOwner { expected: owner, got: consents_to });
    }
    if !is_fresh(state, &owner, &key) {
        return Err(Reason::KeyTaken(key));
    }
    let height = state.head().height;
    let before = state.operated(&owner).copied();
    let latest = before.and_then(|operated| state.operating_key(&operated.latest));
    if let Some(&OperatingKey { from, .. }) = latest.filter(|latest| latest.from > height) {
        return Err(Reason::KeyPending { owner, from });
    }
    let from = Height(height.0.saturating_add(KEY_BLOCKS));
    let former = before.map(|operated| operated.latest);
    if let Some(former) = former.and_then(|key| state.operating_keys.get_mut(&key)) {
        former.until = Some(from);
    }
    let since = before.map_or(from, |operated| operated.since);
    state.operating_keys.insert(key, OperatingKey { owner, from, until: None, former });
    state.operated.insert(owner, Operated { since, latest: key });
    Ok(())
}

/// Whether a key is nothing yet. A balance makes it nothing: anybody can pay to any key.
fn is_fresh(state: &State, owner: &PublicKey, key: &PublicKey) -> bool {
    let genesis = state.genesis_block();
    let named = genesis.validators.iter().any(|validator| validator.public_key == *key)
        || genesis.accounts.iter().any(|account| account.public_key == *key);
    let known = key == owner || named || state.account(key).nonce > 0 || state.client(key).is_some();
    !known && state.operating_key(key).is_none()
}
