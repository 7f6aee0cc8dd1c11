//! A chain of one validator with three miners and a client, all on this machine.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use assay_proto::client::{Client as Rpc, ClientOptions};
use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::report::EpochReport;
use assay_proto::transaction::{Body, RegisterModel, Transaction};
use assay_proto::{ChainId, ModelId, PublicKey, SecretKey, SubnetId};
use assay_prover::service::{Miner, MinerConfig, Registration, register};
use assay_prover::worker::Worker;
use assay_validator::Node;
use assay_validator::config::{BrokerConfig, Config, EngineConfig};
use assay_verifier::proof::VerifyingKey;

use super::client::Client;

/// What the client starts with, base units.
pub const BALANCE: u64 = 1_000_000;
/// What the client offers for an answer, base units.
pub const PRICE: u64 = 100;
/// Blocks of an epoch: few, so that several epochs end in a demo.
const TEMPO: u64 = 12;
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// The running parties.
pub struct Network {
    pub chain: ChainId,
    pub endpoint: String,
    pub client: SecretKey,
    pub model: ModelId,
    pub key: VerifyingKey,
    node: Node,
    miners: Vec<Party>,
    _database: tempfile::TempDir,
}

struct Party {
    name: &'static str,
    key: PublicKey,
    miner: Miner,
}

/// A miner at the end, by what the ledger says.
pub struct Standing {
    pub name: &'static str,
    pub is_liar: bool,
    pub miner: PublicKey,
    pub verified: u64,
    pub invalid: u64,
    pub late: u64,
    pub absent: u64,
    pub reputation_ppm: u64,
    pub rewards: u64,
    pub earned: u64,
    pub balance: u64,
}

impl Network {
    /// Starts a validator, registers the model, starts the miners and has them registered. The first one is honest.
    pub async fn start(
        name: &str,
        verifying_key: Vec<u8>,
        workers: Vec<(&'static str, Box<dyn Worker>)>,
    ) -> Result<Self> {
        let (validator, client) = (SecretKey::generate()?, SecretKey::generate()?);
        let chain = ChainId::new("assay-demo")?;
        let database = tempfile::tempdir().context("a folder for the database")?;
        let config = Config {
            listen: ADDRESS.into(),
            data_dir: database.path().join("data"),
            engine: EngineConfig { block_interval_ms: 200, ..EngineConfig::default() },
            // Liars lose their reputation with their first lie; they are tried again only to explore.
            broker: BrokerConfig { exploration_ppm: 250_000, ..BrokerConfig::default() },
            ..Config::default()
        };
        let genesis = Genesis {
            chain_id: chain.clone(),
            time_ms: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
            validators: vec![GenesisValidator { public_key: validator.public_key(), power: 1 }],
            accounts: vec![GenesisAccount { public_key: client.public_key(), balance: BALANCE }],
            parameters: Parameters { tempo: TEMPO, ..Parameters::default() },
            classes: Vec::new(),
        };
        let node = Node::start(config, validator.clone(), genesis).await?;
        let endpoint = format!("http://{}", node.local_addr());

        let key = VerifyingKey::decode(&verifying_key)?;
        let model = ModelId(key.model_id().0);
        let body = RegisterModel {
            model_id: model,
            name: name.to_owned(),
            verifying_key,
            proof_system: key.system(),
            subnet: SubnetId::ROOT,
        };
        let transaction = Transaction { nonce: 1, body: Body::RegisterModel(body) };
        let rpc = Rpc::connect(&endpoint, ClientOptions::default()).await?;
        rpc.submit(&validator.sign(&chain, transaction)).await.context("registration of the model")?;

        let mut miners = Vec::new();
        for (name, worker) in workers {
            miners.push(Party::start(name, Arc::from(worker), &chain, &endpoint).await.context(name)?);
        }
        Ok(Self { chain, endpoint, client, model, key, node, miners, _database: database })
    }

    /// How many miners serve the model.
    pub fn miners(&self) -> usize {
        self.miners.len()
    }

    /// How the miners stand, with the sums of their rows in the reports of all epochs.
    pub async fn standings(&self, client: &Client, reports: &[EpochReport]) -> Result<Vec<Standing>> {
        let mut standings = Vec::new();
        for (place, party) in self.miners.iter().enumerate() {
            let account = client.rpc.account(&party.key).await?;
            let entry = account.miner.with_context(|| format!("{}: not registered", party.name))?;
            let rows =
                || reports.iter().flat_map(|report| &report.miners).filter(|row| row.miner == party.key);
            standings.push(Standing {
                name: party.name,
                is_liar: place > 0,
                miner: party.key,
                verified: rows().map(|row| row.verified).sum(),
                invalid: rows().map(|row| row.invalid).sum(),
                late: rows().map(|row| row.late).sum(),
                absent: rows().map(|row| row.absent).sum(),
                reputation_ppm: entry.reputation_ppm,
                rewards: rows().map(|row| row.reward).sum(),
                earned: entry.earned,
                balance: account.balance,
            });
        }
        Ok(standings)
    }

    /// Stops every party.
    pub async fn stop(self) -> Result<()> {
        for party in self.miners {
            party.miner.shutdown().await?;
        }
        Ok(self.node.shutdown().await?)
    }
}

impl Party {
    async fn start(
        name: &'static str,
        worker: Arc<dyn Worker>,
        chain: &ChainId,
        validator: &str,
    ) -> Result<Self> {
        let (secret, models) = (SecretKey::generate()?, worker.models());
        let key = secret.public_key();
        let config = MinerConfig {
            listen: ADDRESS.into(),
            chain_id: chain.clone(),
            owner: key,
            queue_capacity: 4,
            devices: Default::default(),
        };
        let miner = Miner::start(config, secret.clone(), worker).await?;
        let registration = Registration {
            validator: validator.to_owned(),
            owner: key,
            tls: None,
            chain_id: chain.clone(),
            endpoint: format!("http://{}", miner.local_addr()),
            models,
            devices: Default::default(),
            patience: Duration::from_secs(10),
        };
        register(&registration, &secret).await?;
        Ok(Self { name, key, miner })
    }
}
