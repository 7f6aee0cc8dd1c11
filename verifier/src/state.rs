//! The state of the ledger after a block, and its commitment.
//!
//! A state is a set of records, each a key and a value:
//!
//! ```text
//! key   = tag || id            value = borsh of the record
//! root  = commitment to height and tree of the records (`tree`)
//! ```
//!
//! Two records stay outside the root: the head, since the hash of the last header covers the root, and the bytes of
//! verifying keys, whose digest stands in the model's record.

mod record;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use assay_proto::genesis::{Genesis, Parameters};
use assay_proto::transaction::Purpose;
use assay_proto::{BlockHash, ChainId, Envelope, Epoch, Height, ModelId, PublicKey, Root, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::certificate::ValidatorSet;
use crate::challenge::{Availability, Counts};
use crate::error::Reason;
use crate::governance::Governance;
use crate::holds::Holds;
use crate::jobs::ClientJobs;
use crate::latency::Measured;
use crate::locks::{Locked, StakePower};
use crate::miners::Registrations;
use crate::operating::{self, Operated, OperatingKey};
use crate::proof::{ProofError, VerifyingKey};
use crate::scores::{Ballot, Consensus};
use crate::subnets::{Subnet, Weights};
use crate::transition::{Known, Name};

pub use record::{Kind, Record, RecordError};
use tree::Tree;

/// The last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Its height; 0 for the genesis.
    pub height: Height,
    /// Hash of its header, or of the genesis.
    pub hash: BlockHash,
    /// Its time.
    pub time_ms: u64,
}

/// Base units: `genesis + minted - burned` is the sum of all balances, of all that is locked and of all that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Supply {
    /// Balances of the genesis.
    pub genesis: u64,
    /// Minted by epochs.
    pub minted: u64,
    /// Taken out of circulation.
    pub burned: u64,
}

impl Supply {
    /// What balances and locks add up to.
    pub fn total(&self) -> u64 {
        self.genesis.saturating_add(self.minted).saturating_sub(self.burned)
    }
}

/// An account. One that was never named holds nothing and has nonce 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Account {
    /// Base units.
    pub balance: u64,
    /// Of its latest transaction.
    pub nonce: u64,
}

/// BLAKE3 of the bytes of a verifying key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct KeyDigest(pub [u8; 32]);

impl KeyDigest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

/// A registered model.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Model {
    /// Name for people.
    pub name: String,
    /// Who registered it.
    pub owner: PublicKey,
    /// Names its verifying key.
    pub key: KeyDigest,
}

/// Assignments of a miner in the running epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Work {
    /// Ended verified.
    pub verified: u64,
    /// Ended with an invalid proof or a malformed output.
    pub invalid: u64,
    /// Ended late.
    pub late: u64,
    /// Ended absent.
    pub absent: u64,
    /// Sum of the qualities of the verified ones, parts per million each.
    pub quality_ppm_sum: u64,
}

/// What a miner is and did in one subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// Reputation, parts per million.
    pub reputation_ppm: u64,
    /// Base units that it was paid or awarded since it registered.
    pub earned: u64,
    /// Its running epoch.
    pub work: Work,
    /// Challenges of the miner that ended in the running epoch.
    pub challenges: Counts,
    /// Height at which it took the place; none if it had to leave it, or never had it.
    pub since: Option<Height>,
    /// Base units that the last epoch awarded it.
    pub emission: u64,
}

/// A miner that was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Miner {
    /// Where its Miner service is.
    pub endpoint: String,
    /// Models that it serves.
    pub models: BTreeSet<ModelId>,
    /// Its place in the root.
    pub root: Place,
}

/// A validator that signed what it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offender {
    /// Height that it equivocated at.
    pub offence: Height,
    /// First height that it is no validator of.
    pub removed: Height,
}

/// The ledger after a block. Values of this type come from a genesis and valid blocks, or from the records of one
/// that did.
#[derive(Clone, Debug)]
pub struct State {
    genesis: Arc<Genesis>,
    genesis_hash: BlockHash,
    validators: Arc<ValidatorSet>,
    voters: Arc<ValidatorSet>,
    pub(crate) head: Head,
    pub(crate) supply: Supply,
    pub(crate) accounts: BTreeMap<PublicKey, Account>,
    pub(crate) models: BTreeMap<ModelId, Model>,
    pub(crate) miners: BTreeMap<PublicKey, Miner>,
    pub(crate) clients: BTreeMap<PublicKey, ClientJobs>,
    pub(crate) offenders: BTreeMap<PublicKey, Offender>,
    pub(crate) stake_power: StakePower,
    pub(crate) registrations: Registrations,
    pub(crate) locks: BTreeMap<(Purpose, PublicKey), Locked>,
    pub(crate) ballots: BTreeMap<PublicKey, Ballot>,
    pub(crate) availability: BTreeMap<PublicKey, Availability>,
    pub(crate) holds: BTreeMap<PublicKey, Holds>,
    pub(crate) operating_keys: BTreeMap<PublicKey, OperatingKey>,
    /// By owner.
    pub(crate) operated: BTreeMap<PublicKey, Operated>,
    pub(crate) keys: BTreeMap<KeyDigest, Arc<[u8]>>,
    /// Beside the root.
    pub(crate) subnets: BTreeMap<SubnetId, Subnet>,
    /// Places beside those in the root.
    pub(crate) places: BTreeMap<(SubnetId, PublicKey), Place>,
    /// Ballots beside those of the root.
    pub(crate) subnet_ballots: BTreeMap<(SubnetId, PublicKey), Ballot>,
    /// Subnets of models that are not in the root.
    pub(crate) memberships: BTreeMap<ModelId, SubnetId>,
    pub(crate) weights: BTreeMap<PublicKey, Weights>,
    /// Of miners in subnets, the root among them.
    pub(crate) latencies: BTreeMap<(SubnetId, PublicKey), Measured>,
    /// None before the first vote.
    pub(crate) governance: Option<Governance>,
    /// Those of the genesis with what votes changed.
    parameters: Arc<Parameters>,
    /// Of the records after the last block: those of a block that is being applied come in when it ends.
    tree: Tree,
}

impl State {
    /// The state before the first block.
    pub fn genesis(genesis: Genesis) -> Result<Self, Reason> {
        genesis.check().map_err(Reason::Content)?;
        let account = |balance| Account { balance, nonce: 0 };
        let accounts: BTreeMap<_, _> =
            genesis.accounts.iter().map(|entry| (entry.public_key, account(entry.balance))).collect();
        let balances = accounts.values().fold(0, |sum: u64, account| sum.saturating_add(account.balance));
        let genesis_hash = genesis.hash();
        let validators = Arc::new(ValidatorSet::of(&genesis));
        let mut state = Self {
            voters: Arc::clone(&validators),
            validators,
            head: Head { height: Height(0), hash: genesis_hash, time_ms: genesis.time_ms },
            supply: Supply { genesis: balances, minted: 0, burned: 0 },
            accounts,
            models: BTreeMap::new(),
            miners: BTreeMap::new(),
            clients: BTreeMap::new(),
            offenders: BTreeMap::new(),
            stake_power: StakePower::default(),
            registrations: Registrations::first(&genesis.parameters),
            locks: BTreeMap::new(),
            ballots: BTreeMap::new(),
            availability: BTreeMap::new(),
            holds: BTreeMap::new(),
            operating_keys: BTreeMap::new(),
            operated: BTreeMap::new(),
            keys: BTreeMap::new(),
            subnets: BTreeMap::new(),
            places: BTreeMap::new(),
            subnet_ballots: BTreeMap::new(),
            memberships: BTreeMap::new(),
            weights: BTreeMap::new(),
            latencies: BTreeMap::new(),
            governance: None,
            parameters: Arc::new(genesis.parameters),
            genesis: Arc::new(genesis),
            genesis_hash,
            tree: Tree::default(),
        };
        state.plant();
        Ok(state)
    }

    /// The tree anew, from all records.
    fn plant(&mut self) {
        self.tree = grown(Tree::default(), self.records());
    }

    /// Takes into the tree what differs from the state before.
    pub(crate) fn grow(&mut self, changes: &[Record]) {
        self.tree = grown(self.tree.clone(), changes.iter().cloned());
    }

    /// The siblings of the record under a key, from the root of the tree down.
    pub fn siblings(&self, key: &[u8]) -> Option<Vec<[u8; 32]>> {
        self.tree.siblings(key)
    }

    /// The genesis of the chain.
    pub fn genesis_block(&self) -> &Genesis {
        &self.genesis
    }

    /// Hash of the genesis.
    pub fn genesis_hash(&self) -> BlockHash {
        self.genesis_hash
    }

    /// Name of the chain.
    pub fn chain_id(&self) -> &ChainId {
        &self.genesis.chain_id
    }

    /// Numbers of the rules.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Numbers of a subnet's rules: the chain's, but for those that it has itself.
    pub fn parameters_of(&self, subnet: SubnetId) -> Parameters {
        self.subnets.get(&subnet).map_or(*self.parameters, |own| own.parameters(&self.parameters))
    }

    /// Takes numbers of the rules that votes changed.
    pub(crate) fn set_parameters(&mut self, parameters: Parameters) {
        self.parameters = Arc::new(parameters);
    }

    /// Validators of the next block: those of the genesis and those that stake makes validators, without the offenders that are
    /// removed by then.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// The same validators by the keys that sign blocks for them: of votes, proposals and commit certificates of the next block.
    pub fn voters(&self) -> &ValidatorSet {
        &self.voters
    }

    /// An operating key, of now or of before.
    pub fn operating_key(&self, key: &PublicKey) -> Option<&OperatingKey> {
        self.operating_keys.get(key)
    }

    /// The keys of an owner that named one.
    pub fn operated(&self, owner: &PublicKey) -> Option<&Operated> {
        self.operated.get(owner)
    }

    /// The last block.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Base units in existence.
    pub fn supply(&self) -> &Supply {
        &self.supply
    }

    /// An account; the empty one if it was never named.
    pub fn account(&self, key: &PublicKey) -> Account {
        self.accounts.get(key).copied().unwrap_or_default()
    }

    /// A registered model.
    pub fn model(&self, id: &ModelId) -> Option<&Model> {
        self.models.get(id)
    }

    /// Models in ascending order of their ids.
    pub fn models(&self) -> impl Iterator<Item = (&ModelId, &Model)> {
        self.models.iter()
    }

    /// Bytes of a model's verifying key.
    pub fn verifying_key(&self, id: &ModelId) -> Option<&Arc<[u8]>> {
        self.keys.get(&self.models.get(id)?.key)
    }

    /// A registered miner.
    pub fn miner(&self, key: &PublicKey) -> Option<&Miner> {
        self.miners.get(key)
    }

    /// Miners in ascending order of their keys.
    pub fn miners(&self) -> impl Iterator<Item = (&PublicKey, &Miner)> {
        self.miners.iter()
    }

    /// Subnets beside the root, in ascending order.
    pub fn subnets(&self) -> impl Iterator<Item = (&SubnetId, &Subnet)> {
        self.subnets.iter()
    }

    /// Every subnet, the root first.
    pub fn subnet_ids(&self) -> impl Iterator<Item = SubnetId> + '_ {
        std::iter::once(SubnetId::ROOT).chain(self.subnets.keys().copied())
    }

    /// A subnet beside the root.
    pub fn subnet(&self, id: SubnetId) -> Option<&Subnet> {
        self.subnets.get(&id)
    }

    /// The subnet of a model, the root if nothing else is known of it.
    pub fn subnet_of(&self, model: &ModelId) -> SubnetId {
        self.memberships.get(model).copied().unwrap_or(SubnetId::ROOT)
    }

    /// What a miner is in a subnet, if it ever had a place there, or in the root, if it ever registered.
    pub fn place(&self, subnet: SubnetId, miner: &PublicKey) -> Option<&Place> {
        match subnet {
            SubnetId::ROOT => self.miners.get(miner).map(|miner| &miner.root),
            _ => self.places.get(&(subnet, *miner)),
        }
    }

    pub(crate) fn place_mut(&mut self, subnet: SubnetId, miner: &PublicKey) -> Option<&mut Place> {
        match subnet {
            SubnetId::ROOT => self.miners.get_mut(miner).map(|miner| &mut miner.root),
            _ => self.places.get_mut(&(subnet, *miner)),
        }
    }

    /// Who has or had a place in a subnet, in ascending order of the keys.
    pub fn places(&self, subnet: SubnetId) -> BTreeMap<PublicKey, &Place> {
        let root = self.miners.iter().filter(|_| subnet == SubnetId::ROOT);
        let root = root.map(|(&key, miner)| (key, &miner.root));
        root.chain(self.places.range(of_subnet(subnet)).map(|(&(_, key), place)| (key, place))).collect()
    }

    /// Base units that a miner was paid or awarded in all subnets.
    pub fn earned(&self, miner: &PublicKey) -> u64 {
        let root = self.place(SubnetId::ROOT, miner);
        let others = self.subnets.keys().filter_map(|&subnet| self.place(subnet, miner));
        root.into_iter().chain(others).fold(0, |sum, place| sum.saturating_add(place.earned))
    }

    /// What validators want of the subnets, in ascending order of their keys.
    pub fn weights(&self) -> impl Iterator<Item = (&PublicKey, &Weights)> {
        self.weights.iter()
    }

    /// Votes on numbers of the rules, and what they decided; none before the first vote.
    pub fn governance(&self) -> Option<&Governance> {
        self.governance.as_ref()
    }

    /// Nonces of a client, if it has had a receipt.
    pub fn client(&self, key: &PublicKey) -> Option<&ClientJobs> {
        self.clients.get(key)
    }

    /// Validators that signed what they may not, in ascending order of their keys.
    pub fn offenders(&self) -> impl Iterator<Item = (&PublicKey, &Offender)> {
        self.offenders.iter()
    }

    /// What an account has locked for a purpose, if it ever had anything.
    pub fn lock(&self, purpose: Purpose, owner: PublicKey) -> Option<&Locked> {
        self.locks.get(&(purpose, owner))
    }

    /// Everything that is locked, by purpose and owner.
    pub fn locks(&self) -> impl Iterator<Item = (&(Purpose, PublicKey), &Locked)> {
        self.locks.iter()
    }

    /// Base units that a client's jobs may cost now: of its escrow that it has not asked back where jobs are prepaid, or of
    /// its balance.
    pub fn funds(&self, client: &PublicKey) -> u64 {
        match self.parameters().prepaid {
            0 => self.account(client).balance,
            _ => self.lock(Purpose::Escrow, *client).map_or(0, |locked| locked.amount),
        }
    }

    /// Power from stake, in this epoch and the next.
    pub fn stake_power(&self) -> &StakePower {
        &self.stake_power
    }

    /// What a miner's place in the root costs.
    pub fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// What a miner's place in a subnet costs.
    pub fn registrations_of(&self, subnet: SubnetId) -> &Registrations {
        self.subnets.get(&subnet).map_or(&self.registrations, |own| &own.registrations)
    }

    /// What a validator says about miners of the root, if it ever said anything.
    pub fn ballot(&self, validator: &PublicKey) -> Option<&Ballot> {
        self.ballot_of(SubnetId::ROOT, validator)
    }

    /// What a validator says about miners of a subnet, if it ever said anything.
    pub fn ballot_of(&self, subnet: SubnetId, validator: &PublicKey) -> Option<&Ballot> {
        match subnet {
            SubnetId::ROOT => self.ballots.get(validator),
            _ => self.subnet_ballots.get(&(subnet, *validator)),
        }
    }

    /// What validators say about miners of a subnet, in ascending order of their keys.
    pub(crate) fn ballots_of(&self, subnet: SubnetId) -> BTreeMap<PublicKey, &Ballot> {
        let root = self.ballots.iter().filter(|_| subnet == SubnetId::ROOT);
        let others = self.subnet_ballots.range(of_subnet(subnet));
        root.map(|(&key, own)| (key, own)).chain(others.map(|(&(_, key), own)| (key, own))).collect()
    }

    /// Ends an epoch in what validators say about miners of a subnet.
    pub(crate) fn end_ballots(&mut self, subnet: SubnetId, ended: Epoch, consensus: Option<&Consensus>) {
        match subnet {
            SubnetId::ROOT => {
                self.ballots.iter_mut().for_each(|(key, own)| own.end_epoch(key, ended, consensus))
            }
            _ => {
                let own = self.subnet_ballots.range_mut(of_subnet(subnet));
                own.for_each(|((_, key), own)| own.end_epoch(key, ended, consensus));
            }
        }
    }

    pub(crate) fn ballot_mut(&mut self, subnet: SubnetId, validator: PublicKey) -> &mut Ballot {
        match subnet {
            SubnetId::ROOT => self.ballots.entry(validator).or_default(),
            _ => self.subnet_ballots.entry((subnet, validator)).or_default(),
        }
    }

    /// Validators with a say in a subnet: of those of the next block those with the greatest power.
    pub fn permitted(&self, subnet: SubnetId) -> ValidatorSet {
        let permits = usize::try_from(self.parameters_of(subnet).validator_permits);
        match permits {
            Ok(0) | Err(_) => self.validators().clone(),
            Ok(permits) => self.validators.greatest(permits),
        }
    }

    /// What a miner computes with and whether it is there, if it ever named devices.
    pub fn availability(&self, miner: &PublicKey) -> Option<&Availability> {
        self.availability.get(miner)
    }

    /// What validators measured of miners of a subnet in the running epoch, in ascending order of the keys.
    pub fn latencies(&self, subnet: SubnetId) -> BTreeMap<PublicKey, &Measured> {
        self.latencies.range(of_subnet(subnet)).map(|(&(_, key), measured)| (key, measured)).collect()
    }

    /// Prices of a client's jobs that are locked, if there ever were any.
    pub fn holds(&self, client: &PublicKey) -> Option<&Holds> {
        self.holds.get(client)
    }

    /// Everything that is held.
    pub fn all_holds(&self) -> impl Iterator<Item = (&PublicKey, &Holds)> {
        self.holds.iter()
    }

    /// Sets the head, and with it who may commit the block after it.
    pub(crate) fn set_head(&mut self, head: Head) {
        self.head = head;
        let next = head.height.next();
        let gone = |key: &PublicKey| self.offenders.get(key).is_some_and(|offender| offender.removed <= next);
        let set = ValidatorSet::of(&self.genesis).plus(&self.stake_power.current).without(gone);
        if set != *self.validators {
            self.validators = Arc::new(set);
        }
        let voters = operating::voters(self, &self.validators, next);
        if voters != *self.voters {
            self.voters = Arc::new(voters);
        }
    }

    /// The epoch of a subnet that a block at this height belongs to; the root's are the chain's.
    pub fn epoch_of(&self, subnet: SubnetId, height: Height) -> Epoch {
        let tempo = self.parameters_of(subnet).tempo;
        Epoch(height.0.saturating_sub(1).checked_div(tempo).unwrap_or(0).saturating_add(1))
    }

    /// The epoch of a subnet that the last block is in, if the next one is too: it has begun and does not end yet.
    pub fn running_epoch(&self, subnet: SubnetId) -> Option<Epoch> {
        let [begun, next] =
            [self.head.height, self.head.height.next()].map(|height| self.epoch_of(subnet, height));
        (begun == next).then_some(begun)
    }

    /// Whether the running epoch has an assignment, so that ending it changes something.
    pub fn has_work(&self) -> bool {
        let places = self.miners.values().map(|miner| &miner.root).chain(self.places.values());
        places.into_iter().any(|place| place.work != Work::default())
    }

    /// Every record, in ascending order of the keys.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        record::all(self)
    }

    /// The record under a key.
    pub fn record(&self, key: &[u8]) -> Option<Record> {
        record::find(self, key)
    }

    /// The records that differ from those of an earlier state of the same chain. None is ever deleted.
    pub fn changes_since(&self, earlier: &Self) -> Vec<Record> {
        record::changes(earlier, self)
    }

    /// The state of stored records, each as `(key, value)`, in any order.
    pub fn from_records<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        genesis: Genesis,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, RecordError> {
        record::collect(genesis, records)
    }

    /// The commitment to this state.
    pub fn root(&self) -> Root {
        tree::root(&self.genesis_hash, self.head.height, &self.tree.hash())
    }

    /// Whether balances and locks add up to the supply.
    pub fn check_supply(&self) -> Result<(), Reason> {
        let balances = self.accounts.values().map(|account| u128::from(account.balance));
        let locked = self.locks.values().map(Locked::total).chain(self.holds.values().map(Holds::total));
        let got = balances.chain(locked).fold(0, u128::saturating_add);
        let expected = self.supply.total();
        if got == u128::from(expected) { Ok(()) } else { Err(Reason::Supply { expected, got }) }
    }
}

/// Keys of a subnet's accounts.
pub(crate) fn of_subnet(subnet: SubnetId) -> RangeInclusive<(SubnetId, PublicKey)> {
    (subnet, PublicKey([0; 32]))..=(subnet, PublicKey([u8::MAX; 32]))
}

fn grown(tree: Tree, records: impl Iterator<Item = Record>) -> Tree {
    let committed = records.filter(Record::is_committed);
    committed.fold(tree, |tree, record| tree.with(&record.key(), &record.value()))
}

/// Verifying keys, decoded once. Entries are named by the digest of their bytes, so that one cache serves every state
/// of every chain.
///
/// Beside them it remembers judged receipts until they are in a decided block, the latest [`KNOWN`](crate::limits::KNOWN) of them. That saves
/// time and decides nothing: a proof holds under its key whenever it is asked.
#[derive(Debug, Default)]
pub struct KeyCache {
    keys: Mutex<BTreeMap<KeyDigest, VerifyingKey>>,
    pub(crate) known: Mutex<Known>,
}

impl KeyCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key of a registered model.
    pub fn model(&self, state: &State, id: &ModelId) -> Result<VerifyingKey, Reason> {
        let model = state.models.get(id).ok_or(Reason::ModelUnknown(*id))?;
        let bytes = state.keys.get(&model.key).ok_or(Reason::ModelUnknown(*id))?;
        self.get(model.key, bytes).map_err(Reason::Key)
    }

    /// Forgets a receipt: nobody asks for it again.
    pub fn forget(&self, chain: &ChainId, transaction: &Envelope) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).forget(&Name::of(chain, transaction));
    }

    /// Forgets the receipts that can be in no block after this state.
    pub fn forget_used(&self, state: &State) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget_used(|signer| state.account(signer).nonce);
    }

    /// How many judged receipts are remembered.
    pub fn remembered(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The key of these bytes.
    pub(crate) fn get(&self, digest: KeyDigest, bytes: &[u8]) -> Result<VerifyingKey, ProofError> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        match known {
            Some(key) => Ok(key),
            None => {
                let key = VerifyingKey::decode(bytes)?;
                self.insert(digest, key.clone());
                Ok(key)
            }
        }
    }

    /// Keeps a decoded key.
    pub(crate) fn insert(&self, digest: KeyDigest, key: VerifyingKey) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, key);
    }
}
