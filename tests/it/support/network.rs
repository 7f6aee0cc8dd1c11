//! A chain of one validator, and what the tests ask it.

use assay_proto::client::{Client, ClientOptions, InferEvent, Position};
use assay_proto::job::Job;
use assay_proto::{ChainId, JobId, ModelId, SecretKey, Signed};

use super::{Files, Service, input};
use crate::assay;

pub const CHAIN: &str = "test-network";
pub const BALANCE: u64 = 100_000;
pub const PRICE: u64 = 10;

/// Files of every party; the client and the miner have keys, the client has money.
pub struct Chain {
    pub files: Files,
    pub client: String,
    pub miner: String,
}

impl Chain {
    /// A validator's home whose epochs are short.
    pub fn new() -> Self {
        Self::with("")
    }

    /// The same with more arguments of `assay validator init`.
    pub fn with(more: &str) -> Self {
        let files = Files::new();
        let (client, miner) = (files.key("client.key"), files.key("miner.key"));
        let home = files.path("home");
        assay!("validator init {home} --chain-id {CHAIN} --account {client}={BALANCE} --tempo 5 {more}").ok();
        let config = String::from_utf8(files.read("home/config.toml")).expect("UTF-8");
        let fast = config.replace("block_interval_ms = 1000", "block_interval_ms = 50");
        assert_ne!(config, fast);
        files.write("home/config.toml", fast.as_bytes());
        Self { files, client, miner }
    }

    pub fn start(&self) -> Service {
        let home = self.files.path("home");
        Service::start(&format!("validator start --home {home} --listen 127.0.0.1:0"), None)
    }

    pub fn register_model(&self, validator: &str) {
        let (key, vk) = (self.files.path("home/validator.key"), self.files.path("keys/digits.vk"));
        assay!("validator register-model --endpoint {validator} --key {key} --vk {vk} --name digits").ok();
    }

    pub fn start_miner(&self, validator: &str) -> Service {
        self.start_miner_with(validator, "")
    }

    /// The same with more arguments.
    pub fn start_miner_with(&self, validator: &str, more: &str) -> Service {
        let path = |name| self.files.path(name);
        let (key, model, keys) = (path("miner.key"), path("digits.assay"), path("keys"));
        let line = format!(
            "miner --key {key} --listen 127.0.0.1:0 --validator {validator} --model {model} --keys {keys} {more}"
        );
        Service::start(&line, Some("registered as "))
    }

    /// The beginning of an `assay infer` line.
    pub fn infer(&self, validator: &str) -> String {
        let (key, x) = (self.files.path("client.key"), self.files.path("x.npy"));
        format!("infer --endpoint {validator} --model digits --input {x} --key {key} --max-price {PRICE}")
    }

    pub fn chain_id(&self) -> ChainId {
        ChainId::new(CHAIN).expect("chain id")
    }

    pub fn secret(&self, name: &str) -> SecretKey {
        let text = String::from_utf8(self.files.read(name)).expect("UTF-8");
        SecretKey::from_hex(&text).expect("key")
    }

    /// A job of the client.
    pub fn job(&self, nonce: u64) -> Signed<Job> {
        let model = super::model();
        let integers =
            input(u32::try_from(nonce).expect("small")).iter().map(|&value| value as i32).collect();
        let job = Job {
            model_id: ModelId(model.id().0),
            inputs: vec![integers],
            nonce,
            max_price: PRICE,
            deadline_ms: 30_000,
            tier: Default::default(),
        };
        self.secret("client.key").sign(&self.chain_id(), job)
    }
}

pub async fn connect(validator: &str) -> Client {
    Client::connect(validator, ClientOptions::default()).await.expect("connected")
}

/// Sees a job through: where it was committed, or none if the validator went away or the job failed.
pub async fn ask(client: &Client, chain: &ChainId, job: &Signed<Job>) -> Option<(JobId, Position)> {
    let mut events = client.infer(chain, job).await.ok()?;
    while let Ok(Some(event)) = events.next().await {
        if let InferEvent::Committed(position) = event {
            return Some((job.id(chain), position));
        }
    }
    None
}
