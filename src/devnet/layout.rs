//! Who is where in a network, and the files that each of them needs.

use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use assay_circuits::ir::Graph;
use assay_circuits::samples;
use assay_proto::ChainId;
use assay_proto::genesis::{DeviceClass, Parameters};
use assay_prover::groth16::{Secret, setup};
use assay_validator::Config;
use assay_validator::config::PeerConfig;
use serde::{Deserialize, Serialize};

use super::{Arguments, FILE_BYTES};
use crate::validator::{Home, init};
use crate::{key, model, output, tensors};

const CHAIN: &str = "test-devnet";
/// Base units of the client.
const BALANCE: u64 = 1_000_000_000;

/// The class of its miners' devices: so slow that a busy machine is of it too.
pub const CLASS: DeviceClass = DeviceClass { id: 1, rate: 1_000_000, collateral_ppm: 1_000_000 };

/// Devices are challenged, and what that shows counts.
fn parameters() -> Parameters {
    let (challenge_side, challenge_rounds) = (64, 8);
    Parameters {
        challenge_ppm: 100_000,
        challenge_side,
        challenge_rounds,
        availability_ppm: 500_000,
        ..Parameters::default()
    }
}

/// A network.
#[derive(Serialize, Deserialize)]
pub struct Network {
    /// Name of the chain.
    pub chain_id: String,
    /// Name of the model.
    pub model: String,
    /// Validators.
    pub validators: Vec<Validator>,
    /// Miners.
    pub miners: Vec<Miner>,
}

/// A validator.
#[derive(Serialize, Deserialize)]
pub struct Validator {
    /// Its public key.
    pub public_key: String,
    /// Where its services are.
    pub address: SocketAddr,
    /// Where other validators reach it.
    pub consensus: SocketAddr,
}

/// A miner.
#[derive(Serialize, Deserialize)]
pub struct Miner {
    /// Its public key.
    pub public_key: String,
    /// Where validators reach it.
    pub address: SocketAddr,
}

impl Validator {
    /// Its services.
    pub fn services(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Network {
    /// The network of a folder; none if there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("network.json");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = output::read(&path, FILE_BYTES)?;
        Ok(Some(serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?))
    }

    /// A new network. `network.json` is written last, so that a folder with it is complete.
    pub fn make(arguments: &Arguments) -> Result<Self> {
        let (dir, keys) = (&arguments.dir, arguments.dir.join("keys"));
        std::fs::create_dir_all(&keys).with_context(|| keys.display().to_string())?;
        let client = key::create(&keys.join("client.key"))?;
        let (validators, miners) = (usize::from(arguments.validators), usize::from(arguments.miners));
        let mut ports = ports(arguments.port, 2 * validators + miners)?.into_iter();
        let mut port = || ports.next().context("a port");

        let mut secrets = Vec::new();
        let mut network = Self {
            chain_id: CHAIN.to_owned(),
            model: write_model(arguments.model.as_deref(), &keys)?,
            validators: Vec::new(),
            miners: Vec::new(),
        };
        for _ in 0..validators {
            let secret = assay_proto::SecretKey::generate()?;
            let (address, consensus) = (port()?, port()?);
            let public_key = secret.public_key().to_string();
            network.validators.push(Validator { public_key, address, consensus });
            secrets.push(secret);
        }
        for index in 0..miners {
            let secret = key::create(&keys.join(format!("miner-{index}.key")))?;
            network.miners.push(Miner { public_key: secret.public_key().to_string(), address: port()? });
        }

        let chain_id = ChainId::new(CHAIN)?;
        let powers: Vec<_> = secrets.iter().map(|secret| (secret.public_key(), 1)).collect();
        let accounts = vec![(client.public_key(), BALANCE)];
        let classes = vec![CLASS];
        let genesis =
            init::genesis(chain_id.clone(), init::sorted(&powers)?, accounts, parameters(), classes)?;
        for (index, secret) in secrets.iter().enumerate() {
            let home = Home(dir.join(format!("validator-{index}")));
            home.claim()?;
            let config = toml::to_string(&network.config(index)?).context("the settings")?;
            home.make(secret, &genesis, &config)?;
            assay_validator::begin_signing(&home.path().join("data"), &chain_id, &secret.public_key())?;
        }
        let json = serde_json::to_vec_pretty(&network)?;
        output::write(&dir.join("network.json"), |file| Ok(file.write_all(&json)?))?;
        Ok(network)
    }

    fn config(&self, index: usize) -> Result<Config> {
        let own = self.validators.get(index).context("a validator")?;
        let mut config = Config { listen: own.address, data_dir: "data".into(), ..Config::default() };
        config.consensus.listen = own.consensus;
        let others = self.validators.iter().enumerate().filter(|(other, _)| *other != index);
        config.consensus.peers = others
            .map(|(_, peer)| PeerConfig {
                validator: peer.public_key.clone(),
                owner: String::new(),
                address: peer.consensus,
            })
            .collect();
        Ok(config)
    }

    /// Says that it is up, and how to use it.
    pub fn say(&self, dir: &Path, json: bool) -> Result<()> {
        if json {
            return output::json(self);
        }
        let mut out = std::io::stdout();
        writeln!(out, "chain        {}", self.chain_id)?;
        for (index, validator) in self.validators.iter().enumerate() {
            writeln!(out, "validator-{index}  {}", validator.services())?;
        }
        for (index, miner) in self.miners.iter().enumerate() {
            writeln!(out, "miner-{index}      http://{}", miner.address)?;
        }
        let dir = dir.display();
        writeln!(out, "log          {dir}/devnet.log")?;
        if let (Some(validator), false) = (self.validators.first(), self.miners.is_empty()) {
            let (url, model) = (validator.services(), &self.model);
            writeln!(
                out,
                "ask          assay infer --endpoint {url} --model {model} --input {dir}/keys/x.npy --key {dir}/keys/client.key --wait-verified"
            )?;
        }
        writeln!(out, "stop         assay devnet --dir {dir} --stop")?;
        Ok(writeln!(out, "ready")?)
    }
}

/// Ports from the first one on, or free ones.
fn ports(first: u16, count: usize) -> Result<Vec<SocketAddr>> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if first > 0 {
        let last = usize::from(first) + count;
        anyhow::ensure!(last <= usize::from(u16::MAX), "there are no {count} ports from {first} on");
        return Ok((first..).take(count).map(local).collect());
    }
    // Held together, so that no two are the same.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind(local(0))).collect::<Result<_, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// The model, its keys and an input; the model's name.
fn write_model(given: Option<&Path>, keys: &Path) -> Result<String> {
    let (graph, name): (Graph, String) = match given {
        Some(path) => {
            let name = path.file_stem().with_context(|| format!("{}: not a file name", path.display()))?;
            (model::load(path)?, name.to_string_lossy().into_owned())
        }
        None => (samples::convolution(), "sample".to_owned()),
    };
    let key = setup(&graph, Secret::Random, None, &|_, _| {});
    output::write(&keys.join("model.assay"), |file| Ok(file.write_all(&graph.to_bytes())?))?;
    output::write(&keys.join("model.pk"), |file| Ok(key.write(BufWriter::with_capacity(1 << 20, file))?))?;
    output::write(&keys.join("model.vk"), |file| Ok(file.write_all(key.verifying_key())?))?;
    if given.is_none() {
        let values = (0..36_u8).map(|i| f32::from(i * 7 % 64)).collect();
        tensors::write(&keys.join("x.npy"), &[1, 1, 6, 6], values)?;
    }
    Ok(name)
}
