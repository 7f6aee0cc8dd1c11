//! A chain of one validator, a client, and a model whose proofs the tests can forge; and what calls it.

pub mod calls;
pub mod checker;
pub mod miner;
pub mod model;
pub mod network;
pub mod process;

use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::job::Job;
use assay_proto::transaction::{
    Body, Devices, ProofSystem, RegisterMiner, RegisterModel, Transaction, Transfer,
};
use assay_proto::{ChainId, PublicKey, SecretKey, Signed, SubnetId};
use assay_validator::config::{BrokerConfig, Config, EngineConfig};
use assay_validator::{Error, Node};
use model::TestModel;

pub const PRICE: u64 = 10;
pub const BALANCE: u64 = 1_000;

/// Keys, genesis, model and a folder for the database.
pub struct Chain {
    pub validator: SecretKey,
    pub client: SecretKey,
    pub genesis: Genesis,
    pub model: TestModel,
    /// Where the model is served.
    pub subnet: SubnetId,
    pub dir: tempfile::TempDir,
}

impl Chain {
    pub fn new() -> Self {
        Self::with(Parameters { tempo: 1_000, ..Parameters::default() })
    }

    pub fn with(parameters: Parameters) -> Self {
        let (validator, client) = (secret(1), secret(2));
        let genesis = Genesis {
            chain_id: ChainId::new("test-validator").expect("chain id"),
            time_ms: 1,
            validators: vec![GenesisValidator { public_key: validator.public_key(), power: 1 }],
            accounts: vec![GenesisAccount { public_key: client.public_key(), balance: BALANCE }],
            parameters,
            classes: Vec::new(),
        };
        let dir = tempfile::tempdir().expect("a folder");
        Self { validator, client, genesis, model: TestModel::new(), subnet: SubnetId::ROOT, dir }
    }

    pub fn chain_id(&self) -> &ChainId {
        &self.genesis.chain_id
    }

    /// Short times, so that tests are.
    pub fn config(&self) -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: self.dir.path().join("data"),
            engine: EngineConfig { block_interval_ms: 50, gather_ms: 0 },
            broker: BrokerConfig {
                late_grace_ms: 1_500,
                connect_timeout_ms: 500,
                assign_timeout_ms: 5_000,
                ..BrokerConfig::default()
            },
            ..Config::default()
        }
    }

    pub async fn start(&self) -> Node {
        self.start_with(self.config()).await.expect("the node starts")
    }

    pub async fn start_with(&self, config: Config) -> Result<Node, Error> {
        Node::start(config, self.validator.clone(), self.genesis.clone()).await
    }

    pub fn sign(&self, key: &SecretKey, nonce: u64, body: Body) -> Signed<Transaction> {
        key.sign(self.chain_id(), Transaction { nonce, body })
    }

    pub fn transfer(&self, nonce: u64, amount: u64) -> Signed<Transaction> {
        self.sign(&self.client, nonce, Body::Transfer(Transfer { to: PublicKey([9; 32]), amount }))
    }

    pub fn register_model(&self, nonce: u64) -> Signed<Transaction> {
        let body = RegisterModel {
            model_id: self.model.id(),
            name: "sum".to_owned(),
            verifying_key: self.model.key_bytes().to_vec(),
            proof_system: ProofSystem::Groth16,
            subnet: self.subnet,
        };
        self.sign(&self.validator, nonce, Body::RegisterModel(body))
    }

    pub fn register_miner(&self, key: &SecretKey, endpoint: &str) -> Signed<Transaction> {
        let body = RegisterMiner {
            endpoint: endpoint.to_owned(),
            model_ids: vec![self.model.id()],
            devices: self.devices(),
        };
        self.sign(key, 1, Body::RegisterMiner(body))
    }

    /// What miners say that they compute with: a device of the first class, where there is one.
    fn devices(&self) -> Devices {
        self.genesis
            .classes
            .first()
            .map_or_else(Devices::default, |class| Devices { class: class.id, count: 1 })
    }

    pub fn job(&self, nonce: u64) -> Signed<Job> {
        self.job_with(|job| job.nonce = nonce)
    }

    pub fn job_with(&self, change: impl FnOnce(&mut Job)) -> Signed<Job> {
        let mut job = Job {
            model_id: self.model.id(),
            inputs: vec![vec![3, 4]],
            nonce: 1,
            max_price: PRICE,
            deadline_ms: 10_000,
            tier: Default::default(),
        };
        change(&mut job);
        self.client.sign(self.chain_id(), job)
    }
}

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}
