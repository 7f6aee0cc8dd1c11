//! A state as records: what a store keeps and what the root commits to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_proto::genesis::Genesis;
use assay_proto::transaction::Purpose;
use assay_proto::{Height, ModelId, PublicKey, SubnetId};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Account, Head, KeyDigest, Miner, Model, Offender, Place, State, Supply};
use crate::challenge::Availability;
use crate::error::Reason;
use crate::governance::Governance;
use crate::holds::Holds;
use crate::jobs::ClientJobs;
use crate::latency::Measured;
use crate::locks::{Locked, StakePower};
use crate::miners::Registrations;
use crate::operating::{Operated, OperatingKey};
use crate::scores::Ballot;
use crate::subnets::{Subnet, Weights};

/// One entry of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The last block.
    Head(Head),
    /// Base units in existence.
    Supply(Supply),
    /// An account.
    Account(PublicKey, Account),
    /// A model.
    Model(ModelId, Model),
    /// A miner.
    Miner(PublicKey, Miner),
    /// Nonces of a client.
    Client(PublicKey, ClientJobs),
    /// A validator that signed what it may not.
    Offender(PublicKey, Offender),
    /// Power from stake.
    StakePower(StakePower),
    /// What a miner's place costs.
    Registrations(Registrations),
    /// What an account has locked.
    Lock(Purpose, PublicKey, Locked),
    /// What a validator says about miners.
    Ballot(PublicKey, Ballot),
    /// What a miner computes with, and whether it is there.
    Availability(PublicKey, Availability),
    /// Prices of a client's jobs that are locked.
    Holds(PublicKey, Holds),
    /// A key that signs for an owner.
    OperatingKey(PublicKey, OperatingKey),
    /// The keys of an owner.
    Operated(PublicKey, Operated),
    /// Bytes of a verifying key.
    Key(KeyDigest, Arc<[u8]>),
    /// A subnet beside the root.
    Subnet(SubnetId, Subnet),
    /// What a miner is in one.
    Place(SubnetId, PublicKey, Place),
    /// What a validator says about miners of one.
    SubnetBallot(SubnetId, PublicKey, Ballot),
    /// The subnet of a model that is not in the root.
    Membership(ModelId, SubnetId),
    /// What a validator wants of the subnets.
    Weights(PublicKey, Weights),
    /// Votes on the numbers of the rules.
    Governance(Governance),
    /// What validators measured of a miner in a subnet.
    Latency(SubnetId, PublicKey, Measured),
}

/// Why stored records are not a state.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The genesis that goes with them.
    #[error("the genesis of the state")]
    Genesis(#[source] Reason),
    /// A key of no known form.
    #[error("no record has the key {0}")]
    Key(String),
    /// A value that does not decode, or not under its key.
    #[error("the record {key} has a malformed value")]
    Value {
        /// Its key in hexadecimal.
        key: String,
    },
    /// There must be exactly one head, one supply, one power of stake and one price of places, and every model needs its verifying key.
    #[error("the state has no {0}")]
    Missing(&'static str),
    /// Records of different heights, or of another genesis.
    #[error("the records contradict each other")]
    Inconsistent(#[source] Reason),
}

const HEAD: u8 = 0;
const SUPPLY: u8 = 1;
const ACCOUNT: u8 = 2;
const MODEL: u8 = 3;
const MINER: u8 = 4;
const CLIENT: u8 = 5;
const KEY: u8 = 6;
const OFFENDER: u8 = 7;
const STAKE_POWER: u8 = 8;
const REGISTRATIONS: u8 = 9;
const STAKE: u8 = 10;
const COLLATERAL: u8 = 11;
const ESCROW: u8 = 12;
const BALLOT: u8 = 13;
const SUBNET: u8 = 14;
const PLACE: u8 = 15;
const SUBNET_BALLOT: u8 = 16;
const MEMBERSHIP: u8 = 17;
const WEIGHTS: u8 = 18;
const GOVERNANCE: u8 = 19;
const AVAILABILITY: u8 = 20;
const HOLDS: u8 = 21;
const OPERATING_KEY: u8 = 30;
const OPERATED: u8 = 31;
const LATENCY: u8 = 24;

/// Kinds of record with an id that somebody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An account's balance and nonce.
    Account,
    /// A model.
    Model,
    /// A miner.
    Miner,
    /// Nonces of a client.
    Client,
    /// A validator that equivocated.
    Offender,
    /// A miner's collateral.
    Collateral,
    /// A client's escrow.
    Escrow,
    /// What a validator says about miners.
    Ballot,
    /// The subnet of a model that is not in the root.
    Membership,
    /// What a validator wants of the subnets.
    Weights,
    /// What a miner computes with, and whether it is there.
    Availability,
    /// Prices of a client's jobs that are locked.
    Holds,
    /// An operating key.
    OperatingKey,
    /// The keys of an owner.
    Operated,
}

impl Kind {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 14] = [
        ("account", Self::Account),
        ("model", Self::Model),
        ("miner", Self::Miner),
        ("client", Self::Client),
        ("offender", Self::Offender),
        ("collateral", Self::Collateral),
        ("escrow", Self::Escrow),
        ("ballot", Self::Ballot),
        ("membership", Self::Membership),
        ("weights", Self::Weights),
        ("availability", Self::Availability),
        ("holds", Self::Holds),
        ("operating-key", Self::OperatingKey),
        ("operated", Self::Operated),
    ];

    /// The key of the record with this id.
    pub fn key(self, id: &[u8; 32]) -> Vec<u8> {
        let tag = match self {
            Self::Account => ACCOUNT,
            Self::Model => MODEL,
            Self::Miner => MINER,
            Self::Client => CLIENT,
            Self::Offender => OFFENDER,
            Self::Collateral => COLLATERAL,
            Self::Escrow => ESCROW,
            Self::Ballot => BALLOT,
            Self::Membership => MEMBERSHIP,
            Self::Weights => WEIGHTS,
            Self::Availability => AVAILABILITY,
            Self::Holds => HOLDS,
            Self::OperatingKey => OPERATING_KEY,
            Self::Operated => OPERATED,
        };
        [&[tag], &id[..]].concat()
    }

    /// The key of the record with this id in a subnet, for what is kept of each: miners and ballots.
    pub fn in_subnet(self, subnet: SubnetId, id: &[u8; 32]) -> Option<Vec<u8>> {
        match self {
            _ if subnet == SubnetId::ROOT => Some(self.key(id)),
            Self::Miner => Some(in_subnet(PLACE, subnet, id)),
            Self::Ballot => Some(in_subnet(SUBNET_BALLOT, subnet, id)),
            _ => None,
        }
    }

    /// The key of a subnet's record.
    pub fn subnet(subnet: SubnetId) -> Vec<u8> {
        in_subnet(SUBNET, subnet, &[])
    }

    /// The key of the record of votes on the numbers of the rules.
    pub fn votes() -> Vec<u8> {
        vec![GOVERNANCE]
    }
}

/// `tag || subnet || id`, the subnet in 8 bytes, big-endian.
fn in_subnet(tag: u8, subnet: SubnetId, id: &[u8]) -> Vec<u8> {
    [&[tag], &subnet.0.to_be_bytes()[..], id].concat()
}

/// Subnet and account of such a key after its tag.
fn split(id: &[u8]) -> Option<(SubnetId, PublicKey)> {
    let (subnet, id) = id.split_first_chunk::<8>()?;
    Some((SubnetId(u64::from_be_bytes(*subnet)), PublicKey::try_from(id).ok()?))
}

impl Record {
    /// `tag || id`.
    pub fn key(&self) -> Vec<u8> {
        let tagged = |tag: u8, id: &[u8]| [&[tag], id].concat();
        match self {
            Self::Head(_) => vec![HEAD],
            Self::Supply(_) => vec![SUPPLY],
            Self::Account(id, _) => tagged(ACCOUNT, &id.0),
            Self::Model(id, _) => tagged(MODEL, &id.0),
            Self::Miner(id, _) => tagged(MINER, &id.0),
            Self::Client(id, _) => tagged(CLIENT, &id.0),
            Self::Offender(id, _) => tagged(OFFENDER, &id.0),
            Self::Key(id, _) => tagged(KEY, &id.0),
            Self::StakePower(_) => vec![STAKE_POWER],
            Self::Registrations(_) => vec![REGISTRATIONS],
            Self::Lock(Purpose::Stake(validator), owner, _) => {
                [&[STAKE], &validator.0[..], &owner.0].concat()
            }
            Self::Lock(Purpose::Collateral, owner, _) => tagged(COLLATERAL, &owner.0),
            Self::Lock(Purpose::Escrow, owner, _) => tagged(ESCROW, &owner.0),
            Self::Ballot(id, _) => tagged(BALLOT, &id.0),
            Self::Subnet(id, _) => in_subnet(SUBNET, *id, &[]),
            Self::Place(subnet, id, _) => in_subnet(PLACE, *subnet, &id.0),
            Self::SubnetBallot(subnet, id, _) => in_subnet(SUBNET_BALLOT, *subnet, &id.0),
            Self::Membership(id, _) => tagged(MEMBERSHIP, &id.0),
            Self::Weights(id, _) => tagged(WEIGHTS, &id.0),
            Self::Governance(_) => vec![GOVERNANCE],
            Self::Availability(id, _) => tagged(AVAILABILITY, &id.0),
            Self::Holds(id, _) => tagged(HOLDS, &id.0),
            Self::OperatingKey(id, _) => tagged(OPERATING_KEY, &id.0),
            Self::Operated(id, _) => tagged(OPERATED, &id.0),
            Self::Latency(subnet, id, _) => in_subnet(LATENCY, *subnet, &id.0),
        }
    }

    /// The value's bytes.
    pub fn value(&self) -> Vec<u8> {
        match self {
            Self::Head(value) => encode(value),
            Self::Supply(value) => encode(value),
            Self::Account(_, value) => encode(value),
            Self::Model(_, value) => encode(value),
            Self::Miner(_, value) => encode(value),
            Self::Client(_, value) => encode(value),
            Self::Offender(_, value) => encode(value),
            Self::StakePower(value) => encode(value),
            Self::Registrations(value) => encode(value),
            Self::Lock(_, _, value) => encode(value),
            Self::Ballot(_, value) => encode(value),
            Self::Availability(_, value) => encode(value),
            Self::Holds(_, value) => encode(value),
            Self::OperatingKey(_, value) => encode(value),
            Self::Operated(_, value) => encode(value),
            Self::Key(_, bytes) => bytes.to_vec(),
            Self::Subnet(_, value) => encode(value),
            Self::Place(_, _, value) => encode(value),
            Self::SubnetBallot(_, _, value) => encode(value),
            Self::Membership(_, value) => encode(value),
            Self::Weights(_, value) => encode(value),
            Self::Governance(value) => encode(value),
            Self::Latency(_, _, value) => encode(value),
        }
    }

    /// Whether the root takes it in.
    pub fn is_committed(&self) -> bool {
        !matches!(self, Self::Head(_) | Self::Key(..))
    }

    /// The record of a stored key and value.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, RecordError> {
        let unknown = || RecordError::Key(name(key));
        let (&tag, id) = key.split_first().ok_or_else(unknown)?;
        if matches!(tag, HEAD | SUPPLY | STAKE_POWER | REGISTRATIONS | GOVERNANCE) {
            return match (tag, id) {
                (HEAD, []) => Ok(Self::Head(decode(key, value)?)),
                (SUPPLY, []) => Ok(Self::Supply(decode(key, value)?)),
                (STAKE_POWER, []) => Ok(Self::StakePower(decode(key, value)?)),
                (REGISTRATIONS, []) => Ok(Self::Registrations(decode(key, value)?)),
                (GOVERNANCE, []) => Ok(Self::Governance(decode(key, value)?)),
                _ => Err(unknown()),
            };
        }
        if tag == STAKE {
            let (validator, owner) = id.split_at_checked(32).ok_or_else(unknown)?;
            let id = |bytes: &[u8]| PublicKey::try_from(bytes).map_err(|_| unknown());
            return Ok(Self::Lock(Purpose::Stake(id(validator)?), id(owner)?, decode(key, value)?));
        }
        if tag == SUBNET {
            let id = id.try_into().map_err(|_| unknown())?;
            return Ok(Self::Subnet(SubnetId(u64::from_be_bytes(id)), decode(key, value)?));
        }
        if tag == PLACE {
            let (subnet, id) = split(id).ok_or_else(unknown)?;
            return Ok(Self::Place(subnet, id, decode(key, value)?));
        }
        if tag == SUBNET_BALLOT {
            let (subnet, id) = split(id).ok_or_else(unknown)?;
            return Ok(Self::SubnetBallot(subnet, id, decode(key, value)?));
        }
        if tag == LATENCY {
            let (subnet, id) = split(id).ok_or_else(unknown)?;
            return Ok(Self::Latency(subnet, id, decode(key, value)?));
        }
        let id: [u8; 32] = id.try_into().map_err(|_| unknown())?;
        match tag {
            MEMBERSHIP => Ok(Self::Membership(ModelId(id), decode(key, value)?)),
            WEIGHTS => Ok(Self::Weights(PublicKey(id), decode(key, value)?)),
            ACCOUNT => Ok(Self::Account(PublicKey(id), decode(key, value)?)),
            MODEL => Ok(Self::Model(ModelId(id), decode(key, value)?)),
            MINER => Ok(Self::Miner(PublicKey(id), decode(key, value)?)),
            CLIENT => Ok(Self::Client(PublicKey(id), decode(key, value)?)),
            OFFENDER => Ok(Self::Offender(PublicKey(id), decode(key, value)?)),
            COLLATERAL => Ok(Self::Lock(Purpose::Collateral, PublicKey(id), decode(key, value)?)),
            ESCROW => Ok(Self::Lock(Purpose::Escrow, PublicKey(id), decode(key, value)?)),
            BALLOT => Ok(Self::Ballot(PublicKey(id), decode(key, value)?)),
            AVAILABILITY => Ok(Self::Availability(PublicKey(id), decode(key, value)?)),
            HOLDS => Ok(Self::Holds(PublicKey(id), decode(key, value)?)),
            OPERATING_KEY => Ok(Self::OperatingKey(PublicKey(id), decode(key, value)?)),
            OPERATED => Ok(Self::Operated(PublicKey(id), decode(key, value)?)),
            KEY if KeyDigest::of(value) == KeyDigest(id) => Ok(Self::Key(KeyDigest(id), value.into())),
            KEY => Err(RecordError::Value { key: name(key) }),
            _ => Err(unknown()),
        }
    }
}

fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    // A Vec takes any number of bytes, and no type here has an encoding that can fail.
    borsh::to_vec(value).unwrap_or_default()
}

fn decode<T: BorshDeserialize>(key: &[u8], value: &[u8]) -> Result<T, RecordError> {
    borsh::from_slice(value).map_err(|_| RecordError::Value { key: name(key) })
}

fn name(key: &[u8]) -> String {
    key.iter().take(40).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn all(state: &State) -> impl Iterator<Item = Record> + '_ {
    let single = [Record::Head(state.head), Record::Supply(state.supply)];
    let accounts = state.accounts.iter().map(|(&id, &value)| Record::Account(id, value));
    let models = state.models.iter().map(|(&id, value)| Record::Model(id, value.clone()));
    let miners = state.miners.iter().map(|(&id, value)| Record::Miner(id, value.clone()));
    let clients = state.clients.iter().map(|(&id, value)| Record::Client(id, value.clone()));
    let keys = state.keys.iter().map(|(&id, value)| Record::Key(id, value.clone()));
    let offenders = state.offenders.iter().map(|(&id, &value)| Record::Offender(id, value));
    let numbers = [Record::StakePower(state.stake_power.clone()), Record::Registrations(state.registrations)];
    let locks = state.locks.iter().map(|(&(purpose, id), value)| Record::Lock(purpose, id, value.clone()));
    let ballots = state.ballots.iter().map(|(&id, value)| Record::Ballot(id, value.clone()));
    let first = single.into_iter().chain(accounts).chain(models).chain(miners).chain(clients).chain(keys);
    let availability = state.availability.iter().map(|(&id, value)| Record::Availability(id, value.clone()));
    let holds = state.holds.iter().map(|(&id, value)| Record::Holds(id, value.clone()));
    let operating = state.operating_keys.iter().map(|(&id, &value)| Record::OperatingKey(id, value));
    let operated = state.operated.iter().map(|(&id, &value)| Record::Operated(id, value));
    let first = first.chain(offenders).chain(numbers).chain(locks).chain(ballots);
    let latencies = state.latencies.iter();
    let latencies = latencies.map(|(&(subnet, id), value)| Record::Latency(subnet, id, value.clone()));
    let operating = operating.chain(operated);
    first.chain(of_subnets(state)).chain(availability).chain(holds).chain(latencies).chain(operating)
}

/// Records that a chain without votes and without subnets beside the root has none of.
fn of_subnets(state: &State) -> impl Iterator<Item = Record> + '_ {
    let subnets = state.subnets.iter().map(|(&id, value)| Record::Subnet(id, value.clone()));
    let places = state.places.iter().map(|(&(subnet, id), value)| Record::Place(subnet, id, value.clone()));
    let ballots = state.subnet_ballots.iter();
    let ballots = ballots.map(|(&(subnet, id), value)| Record::SubnetBallot(subnet, id, value.clone()));
    let memberships = state.memberships.iter().map(|(&id, &value)| Record::Membership(id, value));
    let weights = state.weights.iter().map(|(&id, value)| Record::Weights(id, value.clone()));
    let governance = state.governance.iter().map(|voted| Record::Governance(voted.clone()));
    subnets.chain(places).chain(ballots).chain(memberships).chain(weights).chain(governance)
}

/// The record under a key.
pub(super) fn find(state: &State, key: &[u8]) -> Option<Record> {
    let (&tag, id) = key.split_first()?;
    match (tag, id) {
        (HEAD, []) => return Some(Record::Head(state.head)),
        (SUPPLY, []) => return Some(Record::Supply(state.supply)),
        (STAKE_POWER, []) => return Some(Record::StakePower(state.stake_power.clone())),
        (REGISTRATIONS, []) => return Some(Record::Registrations(state.registrations)),
        (GOVERNANCE, []) => return state.governance.clone().map(Record::Governance),
        _ => {}
    }
    if tag == STAKE {
        let (validator, owner) = id.split_at_checked(32)?;
        let (purpose, owner) = (Purpose::Stake(validator.try_into().ok()?), PublicKey::try_from(owner).ok()?);
        return state.lock(purpose, owner).map(|value| Record::Lock(purpose, owner, value.clone()));
    }
    match tag {
        SUBNET => {
            let id = SubnetId(u64::from_be_bytes(id.try_into().ok()?));
            return state.subnets.get(&id).map(|value| Record::Subnet(id, value.clone()));
        }
        PLACE => {
            let (subnet, id) = split(id)?;
            return state.places.get(&(subnet, id)).map(|value| Record::Place(subnet, id, value.clone()));
        }
        SUBNET_BALLOT => {
            let (subnet, id) = split(id)?;
            let value = state.subnet_ballots.get(&(subnet, id))?;
            return Some(Record::SubnetBallot(subnet, id, value.clone()));
        }
        LATENCY => {
            let (subnet, id) = split(id)?;
            return state
                .latencies
                .get(&(subnet, id))
                .map(|value| Record::Latency(subnet, id, value.clone()));
        }
        _ => {}
    }
    let id: [u8; 32] = id.try_into().ok()?;
    let account = PublicKey(id);
    let lock =
        |purpose| state.lock(purpose, account).map(|value| Record::Lock(purpose, account, value.clone()));
    match tag {
        ACCOUNT => state.accounts.get(&account).map(|&value| Record::Account(account, value)),
        MODEL => state.models.get(&ModelId(id)).map(|value| Record::Model(ModelId(id), value.clone())),
        MINER => state.miners.get(&account).map(|value| Record::Miner(account, value.clone())),
        CLIENT => state.clients.get(&account).map(|value| Record::Client(account, value.clone())),
        OFFENDER => state.offenders.get(&account).map(|&value| Record::Offender(account, value)),
        COLLATERAL => lock(Purpose::Collateral),
        ESCROW => lock(Purpose::Escrow),
        BALLOT => state.ballots.get(&account).map(|value| Record::Ballot(account, value.clone())),
        MEMBERSHIP => {
            state.memberships.get(&ModelId(id)).map(|&value| Record::Membership(ModelId(id), value))
        }
        WEIGHTS => state.weights.get(&account).map(|value| Record::Weights(account, value.clone())),
        AVAILABILITY => {
            state.availability(&account).map(|value| Record::Availability(account, value.clone()))
        }
        HOLDS => state.holds(&account).map(|value| Record::Holds(account, value.clone())),
        OPERATING_KEY => state.operating_key(&account).map(|&value| Record::OperatingKey(account, value)),
        OPERATED => state.operated(&account).map(|&value| Record::Operated(account, value)),
        KEY => state.keys.get(&KeyDigest(id)).map(|value| Record::Key(KeyDigest(id), value.clone())),
        _ => None,
    }
}

pub(super) fn changes(old: &State, new: &State) -> Vec<Record> {
    let mut records = Vec::new();
    if old.head != new.head {
        records.push(Record::Head(new.head));
    }
    if old.supply != new.supply {
        records.push(Record::Supply(new.supply));
    }
    records.extend(changed(&old.accounts, &new.accounts).map(|(&id, &value)| Record::Account(id, value)));
    records.extend(changed(&old.models, &new.models).map(|(&id, value)| Record::Model(id, value.clone())));
    records.extend(changed(&old.miners, &new.miners).map(|(&id, value)| Record::Miner(id, value.clone())));
    records.extend(changed(&old.clients, &new.clients).map(|(&id, value)| Record::Client(id, value.clone())));
    records.extend(changed(&old.offenders, &new.offenders).map(|(&id, &value)| Record::Offender(id, value)));
    if old.stake_power != new.stake_power {
        records.push(Record::StakePower(new.stake_power.clone()));
    }
    if old.registrations != new.registrations {
        records.push(Record::Registrations(new.registrations));
    }
    let locks = changed(&old.locks, &new.locks);
    records.extend(locks.map(|(&(purpose, id), value)| Record::Lock(purpose, id, value.clone())));
    records.extend(changed(&old.ballots, &new.ballots).map(|(&id, value)| Record::Ballot(id, value.clone())));
    records.extend(changed(&old.subnets, &new.subnets).map(|(&id, value)| Record::Subnet(id, value.clone())));
    let places = changed(&old.places, &new.places);
    records.extend(places.map(|(&(subnet, id), value)| Record::Place(subnet, id, value.clone())));
    let ballots = changed(&old.subnet_ballots, &new.subnet_ballots);
    records.extend(ballots.map(|(&(subnet, id), value)| Record::SubnetBallot(subnet, id, value.clone())));
    let memberships = changed(&old.memberships, &new.memberships);
    records.extend(memberships.map(|(&id, &value)| Record::Membership(id, value)));
    records
        .extend(changed(&old.weights, &new.weights).map(|(&id, value)| Record::Weights(id, value.clone())));
    if old.governance != new.governance {
        records.extend(new.governance.clone().map(Record::Governance));
    }
    let availability = changed(&old.availability, &new.availability);
    records.extend(availability.map(|(&id, value)| Record::Availability(id, value.clone())));
    records.extend(changed(&old.holds, &new.holds).map(|(&id, value)| Record::Holds(id, value.clone())));
    let operating = changed(&old.operating_keys, &new.operating_keys);
    records.extend(operating.map(|(&id, &value)| Record::OperatingKey(id, value)));
    records.extend(changed(&old.operated, &new.operated).map(|(&id, &value)| Record::Operated(id, value)));
    let latencies = changed(&old.latencies, &new.latencies);
    records.extend(latencies.map(|(&(subnet, id), value)| Record::Latency(subnet, id, value.clone())));
    // The bytes under a digest never change.
    let keys = new.keys.iter().filter(|(digest, _)| !old.keys.contains_key(digest));
    records.extend(keys.map(|(&id, value)| Record::Key(id, value.clone())));
    records
}

fn changed<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    new.iter().filter(|(key, value)| old.get(key) != Some(value))
}

pub(super) fn collect<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    genesis: Genesis,
    records: impl IntoIterator<Item = (K, V)>,
) -> Result<State, RecordError> {
    let mut state = State::genesis(genesis).map_err(RecordError::Genesis)?;
    let start = state.clone();
    state.accounts.clear();
    let (mut head, mut supply, mut stake_power, mut registrations) = (None, None, None, None);
    for (key, value) in records {
        match Record::decode(key.as_ref(), value.as_ref())? {
            Record::Head(value) => head = Some(value),
            Record::Supply(value) => supply = Some(value),
            Record::Account(id, value) => drop(state.accounts.insert(id, value)),
            Record::Model(id, value) => drop(state.models.insert(id, value)),
            Record::Miner(id, value) => drop(state.miners.insert(id, value)),
            Record::Client(id, value) => drop(state.clients.insert(id, value)),
            Record::Offender(id, value) => drop(state.offenders.insert(id, value)),
            Record::Key(id, value) => drop(state.keys.insert(id, value)),
            Record::StakePower(value) => stake_power = Some(value),
            Record::Registrations(value) => registrations = Some(value),
            Record::Lock(purpose, id, value) => drop(state.locks.insert((purpose, id), value)),
            Record::Ballot(id, value) => drop(state.ballots.insert(id, value)),
            Record::Subnet(id, value) => drop(state.subnets.insert(id, value)),
            Record::Place(subnet, id, value) => drop(state.places.insert((subnet, id), value)),
            Record::SubnetBallot(subnet, id, value) => {
                drop(state.subnet_ballots.insert((subnet, id), value));
            }
            Record::Membership(id, value) => drop(state.memberships.insert(id, value)),
            Record::Weights(id, value) => drop(state.weights.insert(id, value)),
            Record::Governance(value) => state.governance = Some(value),
            Record::Availability(id, value) => drop(state.availability.insert(id, value)),
            Record::Holds(id, value) => drop(state.holds.insert(id, value)),
            Record::OperatingKey(id, value) => drop(state.operating_keys.insert(id, value)),
            Record::Operated(id, value) => drop(state.operated.insert(id, value)),
            Record::Latency(subnet, id, value) => drop(state.latencies.insert((subnet, id), value)),
        }
    }
    state.stake_power = stake_power.ok_or(RecordError::Missing("power of stake"))?;
    state.registrations = registrations.ok_or(RecordError::Missing("price of places"))?;
    if let Some(voted) = &state.governance {
        state.set_parameters(voted.parameters(&state.genesis_block().parameters));
    }
    state.set_head(head.ok_or(RecordError::Missing("head"))?);
    state.supply = supply.ok_or(RecordError::Missing("supply"))?;
    let registered: BTreeSet<KeyDigest> = state.models.values().map(|model| model.key).collect();
    if registered != state.keys.keys().copied().collect() {
        return Err(RecordError::Missing("verifying key of a model, or the model of a key"));
    }
    if state.head.height == Height(0) && state.head.hash != start.genesis_hash {
        let (expected, got) = (start.genesis_hash, state.head.hash);
        return Err(RecordError::Inconsistent(Reason::Parent { expected, got }));
    }
    state.check_supply().map_err(RecordError::Inconsistent)?;
    state.plant();
    Ok(state)
}
