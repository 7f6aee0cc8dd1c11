//! `assay validator register-model`: makes a model provable on the ledger. A validator does so, once a model, and answers for
//! how its key was made.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use assay_proto::transaction::{Body, RegisterModel, Transaction};
use assay_proto::{ModelId, SecretKey, SubnetId};
use assay_verifier::proof::{VerifyingKey, limits};

use super::block_on;
use crate::connection::Tls;
use crate::{Answer, key, output};

/// Arguments of `assay validator register-model`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// Secret key of a validator, which answers for how the key was made
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Verifying key of the model, as written by `assay setup`
    #[arg(long, value_name = "FILE")]
    vk: PathBuf,
    /// Subnet that it is served in; 0: the root
    #[arg(long, default_value_t = 0)]
    subnet: u64,
    /// Name for people [default: the key's file name]
    #[arg(long)]
    name: Option<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// A model on the ledger.
#[derive(serde::Serialize)]
pub struct Report {
    model_id: String,
    name: String,
    /// Block of the registration; none if it was registered before.
    height: Option<u64>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let secret = key::load(&arguments.key)?;
    let verifying_key = output::read(&arguments.vk, limits::KEY_BYTES)?;
    VerifyingKey::decode(&verifying_key).with_context(|| arguments.vk.display().to_string())?;
    let stem = || arguments.vk.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name =
        arguments.name.clone().or_else(stem).context("the key's file has no name: give one with --name")?;
    let subnet = SubnetId(arguments.subnet);
    let report =
        block_on(register(&arguments.tls, &arguments.endpoint, &secret, name, verifying_key, subnet))?;
    if arguments.json {
        output::json(&report)?;
    } else {
        println!("model  {} {}", report.model_id, report.name);
        match report.height {
            Some(height) => println!("registered at height {height}"),
            None => println!("registered before"),
        }
    }
    Ok(Answer::Yes)
}

/// Registers a model, unless it is registered.
pub async fn register(
    tls: &Tls,
    endpoint: &str,
    secret: &SecretKey,
    name: String,
    verifying_key: Vec<u8>,
    subnet: SubnetId,
) -> Result<Report> {
    let decoded = VerifyingKey::decode(&verifying_key)?;
    let model_id = ModelId(decoded.model_id().0);
    let client = tls.connect(endpoint).await?;
    if let Some(entry) = client.models().await?.into_iter().find(|entry| entry.model_id == model_id) {
        let same = entry.verifying_key == verifying_key;
        ensure!(same, "model {model_id} is registered with another verifying key, by {}", entry.owner);
        return Ok(Report { model_id: model_id.to_string(), name: entry.name, height: None });
    }
    let account = client.account(&secret.public_key()).await?;
    let nonce = account.nonce.checked_add(1).context("the account has no nonce left")?;
    let proof_system = decoded.system();
    let body = RegisterModel { model_id, name: name.clone(), verifying_key, proof_system, subnet };
    let transaction = Transaction { nonce, body: Body::RegisterModel(body) };
    let position = client.submit(&secret.sign(&account.chain_id, transaction)).await?;
    Ok(Report { model_id: model_id.to_string(), name, height: Some(position.height.0) })
}
