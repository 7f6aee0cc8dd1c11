//! What an operator can set. Every field has a unit, a default and a range; [`Config::validate`] names the
//! field that is out of it. The library reads no environment: the program reads a TOML file into this struct.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use assay_proto::{Height, PublicKey, limits};
use assay_validator_bft::{Peer, Timeouts};
use assay_verifier::limits as rules;
use assay_verifier::snapshot::Trusted;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Settings of a validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address that the gRPC services listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the database; made when it is missing.
    pub data_dir: PathBuf,
    /// Public key of the validator, if this node's key is its operating key; empty if it is the validator's own.
    pub owner: String,
    /// When blocks are made.
    pub engine: EngineConfig,
    /// How validators agree.
    pub consensus: ConsensusConfig,
    /// What of the log is kept.
    pub store: StoreConfig,
    /// Transactions that wait for a block.
    pub mempool: MempoolConfig,
    /// How jobs are taken and assigned.
    pub broker: BrokerConfig,
    /// How much one listener serves at a time.
    pub services: ServicesConfig,
    /// Encryption of the gRPC services.
    pub tls: TlsConfig,
    /// Beginning with another validator's state.
    pub sync: SyncConfig,
    /// Metrics and health over HTTP.
    pub monitor: MonitorConfig,
    /// Questions with known answers, for the models of a subnet with a labelled task.
    pub questions: QuestionsConfig,
}

/// When blocks are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Milliseconds between empty blocks, which are made only to end an epoch in which work was done; 1 to 3,600,000.
    pub block_interval_ms: u64,
    /// Milliseconds that a block waits for more transactions while few are there; 0 to 10,000.
    pub gather_ms: u64,
}

/// How validators agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsensusConfig {
    /// Address that other validators connect to; port 0 takes a free one, which suits a validator that is alone.
    pub listen: SocketAddr,
    /// Every other validator and where it listens: each connects to each. One that joins later names those that are there; it
    /// need not be named by them, since whom the ledger names may connect.
    pub peers: Vec<PeerConfig>,
    /// Milliseconds for the proposal of a round and the check of its block, proofs included, in the first round of a
    /// height; 100 to 600,000.
    pub propose_timeout_ms: u64,
    /// Milliseconds for the votes of a round once more than two thirds came, in the first round of a height; 50 to
    /// 600,000.
    pub vote_timeout_ms: u64,
}

/// Another validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// The public key that it signs with, which is its identity on the network too.
    pub validator: String,
    /// Its owner, if that is an operating key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Where it listens: an IP address and a port.
    pub address: SocketAddr,
}

/// What of the log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Blocks that are kept, the latest ones; 0 keeps all, which an export needs. A node keeps at least an epoch of its
    /// chain and two of `snapshot_blocks`, so that whoever takes a snapshot from it finds the blocks after it.
    pub retain_blocks: u64,
    /// Blocks between two states that are offered as snapshots; 1 to 1,000,000. Two of them are held in memory.
    pub snapshot_blocks: u64,
}

/// Transactions that wait for a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MempoolConfig {
    /// Transactions in all; 1 to 1,000,000.
    pub transactions: usize,
    /// Bytes in all; at least one transaction's limit.
    pub bytes: usize,
    /// Transactions of one signer other than this validator; 1 to `transactions`.
    pub per_signer: usize,
    /// Milliseconds that a caller waits for its transaction to be decided; 1 to 600,000.
    pub commit_timeout_ms: u64,
}

/// How jobs are taken and assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Jobs in progress; 1 to 65,536.
    pub jobs: usize,
    /// Jobs in progress of one client; 1 to `jobs`.
    pub jobs_per_client: usize,
    /// Jobs that one miner holds at a time. With 1 the measured latency is the miner's own and not that of this
    /// broker's queue; 1 to 1,024.
    pub jobs_per_miner: usize,
    /// Miners that are tried before a job fails; 1 to the number of receipts that the ledger takes for one job.
    pub attempts: u32,
    /// Least price of a job in base units, so that only accounts that hold something use this broker.
    pub price_min: u64,
    /// Least deadline of a job in milliseconds; at least 1.
    pub deadline_min_ms: u64,
    /// Greatest deadline of a job in milliseconds; `deadline_min_ms` to 3,600,000.
    pub deadline_max_ms: u64,
    /// Milliseconds past the deadline in which an answer is still received, as evidence that it is late rather
    /// than absent; 0 to 600,000.
    pub late_grace_ms: u64,
    /// Milliseconds to connect to a miner; 1 to 60,000.
    pub connect_timeout_ms: u64,
    /// Milliseconds that a job waits for a miner with room; 0 to 3,600,000.
    pub assign_timeout_ms: u64,
    /// Share of assignments drawn evenly among the eligible miners, in parts per million, so that a newcomer or
    /// a miner at zero is sampled again; 0 to 1,000,000.
    pub exploration_ppm: u32,
    /// PEM file of the authorities that may vouch for miners whose endpoint is https://; if empty, those get no job.
    pub miner_ca: PathBuf,
}

/// How much one listener serves at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServicesConfig {
    /// Open connections; 1 to 65,536. One more waits until another closes.
    pub connections: usize,
    /// Calls in progress on one connection; 1 to 65,536.
    pub calls_per_connection: u32,
    /// Unary calls in progress, all connections together; 1 to 65,536.
    pub calls: usize,
    /// Open `StreamBlocks` and `Export` streams; 1 to 65,536.
    pub streams: usize,
    /// Seconds between keep-alive pings on an idle connection, which find callers that went away; 1 to 3,600.
    pub keepalive_s: u64,
    /// Calls a second of one caller's address in the long run, twice as many at once; 1 to 1,000,000.
    pub calls_per_second: u32,
}

/// Encryption of the gRPC services. Without a certificate they are in the clear, which suits one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the certificate chain of this server; none if empty.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the authorities whose certificates callers must show; callers need none if empty.
    pub client_ca: PathBuf,
}

/// Beginning with another validator's state instead of with blocks: at a start whose database is behind the trusted
/// block. All three of peer, height and hash, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// The services of a validator that offers the snapshot; it need not be trusted. None if empty.
    pub peer: String,
    /// Height of a block that is known to be of the chain.
    pub trust_height: u64,
    /// Hash of that block's header, in hexadecimal.
    pub trust_hash: String,
    /// PEM file of the authorities that may vouch for a peer at https://; none if empty.
    pub ca: PathBuf,
}

/// Metrics and health over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Whether they are served.
    pub enabled: bool,
    /// Address of `/metrics` and `/health`, for those who watch this node only: it is not encrypted.
    pub listen: SocketAddr,
}

/// Questions with known answers, for the models of a subnet with a labelled task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionsConfig {
    /// The subnet; 0: none is asked anything.
    pub subnet: u64,
    /// File of the questions, private to this validator.
    pub file: PathBuf,
    /// File of the secret key, not sealed, of the account that asks and pays: not this validator's.
    pub key: PathBuf,
    /// Questions a model and epoch; 1 to 1,024.
    pub questions: u32,
    /// Base units a question.
    pub price: u64,
    /// Milliseconds to answer one; 1 to 3,600,000.
    pub deadline_ms: u64,
}

impl Default for QuestionsConfig {
    fn default() -> Self {
        let (file, key) = (PathBuf::new(), PathBuf::new());
        Self { subnet: 0, file, key, questions: 8, price: 1, deadline_ms: 10_000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7100)),
            data_dir: PathBuf::from("validator-data"),
            owner: String::new(),
            engine: EngineConfig::default(),
            consensus: ConsensusConfig::default(),
            store: StoreConfig::default(),
            mempool: MempoolConfig::default(),
            broker: BrokerConfig::default(),
            services: ServicesConfig::default(),
            tls: TlsConfig::default(),
            sync: SyncConfig::default(),
            monitor: MonitorConfig::default(),
            questions: QuestionsConfig::default(),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { block_interval_ms: 1_000, gather_ms: 100 }
    }
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peers: Vec::new(),
            propose_timeout_ms: 3_000,
            vote_timeout_ms: 1_000,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { retain_blocks: 0, snapshot_blocks: 1_000 }
    }
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self { transactions: 4_096, bytes: 256 << 20, per_signer: 64, commit_timeout_ms: 30_000 }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            jobs: 256,
            jobs_per_client: 32,
            jobs_per_miner: 1,
            attempts: 3,
            price_min: 1,
            deadline_min_ms: 10,
            deadline_max_ms: 600_000,
            late_grace_ms: 500,
            connect_timeout_ms: 2_000,
            assign_timeout_ms: 60_000,
            exploration_ppm: 100_000,
            miner_ca: PathBuf::new(),
        }
    }
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            connections: 1_024,
            calls_per_connection: 128,
            calls: 512,
            streams: 64,
            keepalive_s: 20,
            calls_per_second: 2_000,
        }
    }
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self { enabled: false, listen: SocketAddr::from(([127, 0, 0, 1], 7300)) }
    }
}

impl Config {
    /// Where backups are made: beside the database, since their files are links where that can be.
    pub fn backup_dir(&self) -> PathBuf {
        let name = self.data_dir.file_name().unwrap_or_default().to_string_lossy();
        self.data_dir.with_file_name(format!("{name}-backups"))
    }

    /// The validator that the node's key signs for, if that is not the key itself.
    pub fn owner(&self) -> Result<Option<PublicKey>, Error> {
        match self.owner.as_str() {
            "" => Ok(None),
            text => public_key("owner", text).map(Some),
        }
    }

    /// Refuses a value outside its documented range, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        let Self {
            listen: _,
            data_dir,
            owner: _,
            engine,
            consensus,
            store,
            mempool,
            broker,
            services,
            tls,
            sync,
            monitor: _,
            questions,
        } = self;
        if data_dir.as_os_str().is_empty() {
            return Err(Error::Config { field: "data_dir", value: String::new(), allowed: "a path".into() });
        }
        within("engine.block_interval_ms", engine.block_interval_ms, 1, 3_600_000)?;
        within("engine.gather_ms", engine.gather_ms, 0, 10_000)?;
        within("consensus.propose_timeout_ms", consensus.propose_timeout_ms, 100, 600_000)?;
        within("consensus.vote_timeout_ms", consensus.vote_timeout_ms, 50, 600_000)?;
        self.owner()?;
        consensus.peers()?;
        consensus.owners()?;
        within("store.snapshot_blocks", store.snapshot_blocks, 1, 1_000_000)?;
        within("mempool.transactions", wide(mempool.transactions), 1, 1_000_000)?;
        within("mempool.bytes", wide(mempool.bytes), MEMPOOL_BYTES_MIN, MEMPOOL_BYTES_MAX)?;
        within("mempool.per_signer", wide(mempool.per_signer), 1, wide(mempool.transactions))?;
        within("mempool.commit_timeout_ms", mempool.commit_timeout_ms, 1, 600_000)?;
        within("broker.jobs", wide(broker.jobs), 1, 65_536)?;
        within("broker.jobs_per_client", wide(broker.jobs_per_client), 1, wide(broker.jobs))?;
        within("broker.jobs_per_miner", wide(broker.jobs_per_miner), 1, 1_024)?;
        within("broker.attempts", u64::from(broker.attempts), 1, wide(rules::ATTEMPTS))?;
        within("broker.deadline_min_ms", broker.deadline_min_ms, 1, broker.deadline_max_ms)?;
        within(
            "broker.deadline_max_ms",
            broker.deadline_max_ms,
            broker.deadline_min_ms,
            limits::DEADLINE_MS,
        )?;
        within("broker.late_grace_ms", broker.late_grace_ms, 0, 600_000)?;
        within("broker.connect_timeout_ms", broker.connect_timeout_ms, 1, 60_000)?;
        within("broker.assign_timeout_ms", broker.assign_timeout_ms, 0, 3_600_000)?;
        within("broker.exploration_ppm", u64::from(broker.exploration_ppm), 0, 1_000_000)?;
        within("services.connections", wide(services.connections), 1, 65_536)?;
        within("services.calls_per_connection", u64::from(services.calls_per_connection), 1, 65_536)?;
        within("services.calls", wide(services.calls), 1, 65_536)?;
        within("services.streams", wide(services.streams), 1, 65_536)?;
        within("services.keepalive_s", services.keepalive_s, 1, 3_600)?;
        within("services.calls_per_second", u64::from(services.calls_per_second), 1, 1_000_000)?;
        let set = |path: &PathBuf| !path.as_os_str().is_empty();
        if set(&tls.certificate) != set(&tls.key) || (set(&tls.client_ca) && !set(&tls.certificate)) {
            return Err(Error::Config {
                field: "tls",
                value: format!("{tls:?}"),
                allowed: "a certificate and its key, and a client_ca only beside them".into(),
            });
        }
        sync.trusted()?;
        within("questions.questions", u64::from(questions.questions), 1, 1_024)?;
        within("questions.deadline_ms", questions.deadline_ms, 1, limits::DEADLINE_MS)?;
        if questions.subnet > 0 && !(set(&questions.file) && set(&questions.key)) {
            return Err(Error::Config {
                field: "questions",
                value: format!("{questions:?}"),
                allowed: "a file and a key beside a subnet".into(),
            });
        }
        Ok(())
    }
}

impl EngineConfig {
    /// Time between empty blocks.
    pub fn block_interval(&self) -> Duration {
        Duration::from_millis(self.block_interval_ms)
    }

    /// Time that a block waits for more transactions.
    pub fn gather(&self) -> Duration {
        Duration::from_millis(self.gather_ms)
    }
}

impl SyncConfig {
    /// The block whose state is fetched; none if there is no peer to fetch it from.
    pub fn trusted(&self) -> Result<Option<Trusted>, Error> {
        let Self { peer, trust_height, trust_hash, ca: _ } = self;
        if (peer.as_str(), *trust_height, trust_hash.as_str()) == ("", 0, "") {
            return Ok(None);
        }
        match trust_hash.parse() {
            Ok(hash) if !peer.is_empty() && *trust_height > 0 => {
                Ok(Some(Trusted { height: Height(*trust_height), hash }))
            }
            Ok(_) | Err(_) => Err(Error::Config {
                field: "sync",
                value: format!("{self:?}"),
                allowed: "a peer, a trust_height and a trust_hash of 64 hexadecimal digits, or none of them"
                    .into(),
            }),
        }
    }
}

impl ConsensusConfig {
    /// The other validators, none twice.
    pub fn peers(&self) -> Result<Vec<Peer>, Error> {
        let wrong = |value: &str, allowed: &str| Error::Config {
            field: "consensus.peers",
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        };
        let mut peers: Vec<Peer> = Vec::new();
        for PeerConfig { validator, owner: _, address } in &self.peers {
            let key = public_key("consensus.peers", validator)?;
            if peers.iter().any(|peer| peer.key == key) {
                return Err(wrong(validator, "each validator once"));
            }
            peers.push(Peer { key, address: *address });
        }
        if peers.len() > limits::VALIDATORS {
            return Err(wrong(&peers.len().to_string(), &format!("at most {} entries", limits::VALIDATORS)));
        }
        Ok(peers)
    }

    /// The other validators on the ledger, whatever keys sign for them.
    pub fn owners(&self) -> Result<Vec<PublicKey>, Error> {
        let owner = |peer: &PeerConfig| {
            let text = if peer.owner.is_empty() { &peer.validator } else { &peer.owner };
            public_key("consensus.peers", text)
        };
        self.peers.iter().map(owner).collect()
    }

    /// Patience of the engine.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            propose: Duration::from_millis(self.propose_timeout_ms),
            vote: Duration::from_millis(self.vote_timeout_ms),
        }
    }
}

impl MempoolConfig {
    /// Time that a caller waits for its transaction to be decided.
    pub fn commit_timeout(&self) -> Duration {
        Duration::from_millis(self.commit_timeout_ms)
    }
}

/// Least room of a mempool: one transaction of the greatest size that a message may have.
const MEMPOOL_BYTES_MIN: u64 = 16 << 20;
const MEMPOOL_BYTES_MAX: u64 = 64 << 30;

fn public_key(field: &'static str, text: &str) -> Result<PublicKey, Error> {
    let wrong = |_| Error::Config { field, value: text.to_owned(), allowed: "public keys".into() };
    text.parse().map_err(wrong)
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn within(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Config { field, value: value.to_string(), allowed: format!("{least} to {most}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut Config);

    fn peer(validator: &str) -> PeerConfig {
        PeerConfig {
            validator: validator.to_owned(),
            owner: String::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
        }
    }

    #[test]
    fn the_default_is_valid() {
        Config::default().validate().expect("default");
    }

    #[test]
    fn every_bound_names_its_field() {
        let cases: &[(&str, Spoil)] = &[
            ("data_dir", |c| c.data_dir = PathBuf::new()),
            ("owner", |c| c.owner = "no key".into()),
            ("consensus.peers", |c| {
                c.consensus.peers = vec![PeerConfig { owner: "no key".into(), ..peer(&"ab".repeat(32)) }]
            }),
            ("engine.block_interval_ms", |c| c.engine.block_interval_ms = 0),
            ("engine.gather_ms", |c| c.engine.gather_ms = 10_001),
            ("consensus.propose_timeout_ms", |c| c.consensus.propose_timeout_ms = 99),
            ("consensus.vote_timeout_ms", |c| c.consensus.vote_timeout_ms = 600_001),
            ("consensus.peers", |c| c.consensus.peers = vec![peer("no key")]),
            ("consensus.peers", |c| c.consensus.peers = vec![peer(&"ab".repeat(32)), peer(&"ab".repeat(32))]),
            ("store.snapshot_blocks", |c| c.store.snapshot_blocks = 0),
            ("mempool.transactions", |c| c.mempool.transactions = 0),
            ("mempool.bytes", |c| c.mempool.bytes = 1),
            ("mempool.per_signer", |c| c.mempool.per_signer = 0),
            ("mempool.commit_timeout_ms", |c| c.mempool.commit_timeout_ms = 0),
            ("broker.jobs", |c| c.broker.jobs = 0),
            ("broker.jobs_per_client", |c| c.broker.jobs_per_client = 257),
            ("broker.jobs_per_miner", |c| c.broker.jobs_per_miner = 0),
            ("broker.attempts", |c| c.broker.attempts = 0),
            ("broker.deadline_min_ms", |c| c.broker.deadline_min_ms = 0),
            ("broker.deadline_max_ms", |c| c.broker.deadline_max_ms = limits::DEADLINE_MS + 1),
            ("broker.late_grace_ms", |c| c.broker.late_grace_ms = 600_001),
            ("broker.connect_timeout_ms", |c| c.broker.connect_timeout_ms = 0),
            ("broker.assign_timeout_ms", |c| c.broker.assign_timeout_ms = 3_600_001),
            ("broker.exploration_ppm", |c| c.broker.exploration_ppm = 1_000_001),
            ("services.connections", |c| c.services.connections = 0),
            ("services.calls_per_connection", |c| c.services.calls_per_connection = 0),
            ("services.calls", |c| c.services.calls = 0),
            ("services.streams", |c| c.services.streams = 0),
            ("services.keepalive_s", |c| c.services.keepalive_s = 0),
            ("services.calls_per_second", |c| c.services.calls_per_second = 0),
            ("tls", |c| c.tls.certificate = "a".into()),
            ("tls", |c| c.tls.key = "a".into()),
            ("tls", |c| c.tls.client_ca = "a".into()),
            ("questions.questions", |c| c.questions.questions = 0),
            ("questions.deadline_ms", |c| c.questions.deadline_ms = 0),
            ("questions", |c| c.questions.subnet = 1),
            ("sync", |c| c.sync.peer = "http://a:1".into()),
            ("sync", |c| (c.sync.trust_height, c.sync.trust_hash) = (7, "ab".repeat(32))),
            ("sync", |c| {
                c.sync = SyncConfig { peer: "http://a:1".into(), trust_height: 7, ..SyncConfig::default() }
            }),
        ];
        for (name, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            match config.validate() {
                Err(Error::Config { field, .. }) => assert_eq!(field, *name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_sets_what_it_names_and_an_unknown_name_is_refused() {
        let config: Config = toml::from_str("[broker]\nattempts = 2\n").expect("a setting");
        assert_eq!(config.broker.attempts, 2);
        assert_eq!(config.engine, EngineConfig::default());
        for unknown in ["attempts = 2", "[broker]\nattemps = 2", "[agreement]\n"] {
            assert!(toml::from_str::<Config>(unknown).is_err(), "{unknown}");
        }
    }
}
