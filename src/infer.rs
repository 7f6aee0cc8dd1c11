//! `assay infer`: asks a validator for an inference and believes nothing but the proof.
//!
//! The input is quantised by the ports of the model's key. What a miner answers is judged here, by the function that
//! validators and auditors use ([`assay_verifier::receipt::judge`]): signed by the assigned miner, for this job, with a
//! proof that holds for exactly this input and this output under the key that the caller trusts.

mod follow;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use assay_proto::client::ModelEntry;
use assay_proto::job::{Job, Tier};
use assay_proto::{ChainId, ModelId, SecretKey};
use assay_verifier::proof::VerifyingKey;

use crate::connection::Tls;
use crate::{Answer, key, tensors, verify};
use follow::Follower;

/// Arguments of `assay infer`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 a proof of the answer holds, 1 answers came and no proof held, 2 could not tell \
                        (wrong input, no connection, no miner).\nWith --json, one JSON object a line."
)]
pub struct Arguments {
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    endpoint: String,
    #[command(flatten)]
    tls: Tls,
    /// Name or id of a registered model
    #[arg(long, value_name = "NAME|ID")]
    model: String,
    /// Input: a .npy for the only input, NAME=FILE for one of several, or a .npz with an array named like each
    #[arg(long = "input", required = true, value_name = "[NAME=]FILE")]
    inputs: Vec<String>,
    /// Secret key of the account that pays
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print nothing before a proof of the answer holds
    #[arg(long)]
    wait_verified: bool,
    /// Verifying key to trust; without it the one on the ledger, as the validator tells it
    #[arg(long, value_name = "FILE")]
    vk: Option<PathBuf>,
    /// Refuse a validator of another chain
    #[arg(long)]
    chain_id: Option<ChainId>,
    /// Base units paid for a verified answer
    #[arg(long, default_value_t = 1)]
    max_price: u64,
    /// Milliseconds that a miner has for output and proof
    #[arg(long, default_value_t = 60_000)]
    deadline_ms: u64,
    /// How urgent it is: economy, standard or priority; the price must be at least what the chain asks for that tier
    #[arg(long, default_value_t = Tier::Standard)]
    tier: Tier,
    /// Seconds to wait for the whole job
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// Write the proof that held, for `assay verify`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON objects, one a line
    #[arg(long)]
    json: bool,
}

/// A key and why it is trusted.
struct Trusted {
    key: VerifyingKey,
    source: String,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let secret = key::load(&arguments.key)?;
    let pinned = match &arguments.vk {
        Some(path) => Some(Trusted { key: verify::load(path)?, source: path.display().to_string() }),
        None => None,
    };
    tokio::runtime::Runtime::new().context("the runtime")?.block_on(ask(arguments, secret, pinned))
}

async fn ask(arguments: Arguments, secret: SecretKey, pinned: Option<Trusted>) -> Result<Answer> {
    let client = arguments.tls.connect(&arguments.endpoint).await?;
    let entry = find(client.models().await?, &arguments.model)?;
    let trusted = trust(&entry, pinned)?;
    if trusted.key.is_test_key() {
        eprintln!("warning: the key of this model comes from a fixed seed: anyone can forge its proofs");
    }
    let inputs = tensors::sample(trusted.key.inputs(), &arguments.inputs)?;
    let account = client.account(&secret.public_key()).await?;
    if let Some(expected) = &arguments.chain_id {
        ensure!(
            account.chain_id == *expected,
            "the validator is on chain {}, expected {expected}",
            account.chain_id
        );
    }
    let job = Job {
        model_id: entry.model_id,
        inputs,
        nonce: account.job_nonce.checked_add(1).context("the account has no job nonce left")?,
        max_price: arguments.max_price,
        deadline_ms: arguments.deadline_ms,
        tier: arguments.tier,
    };
    let job = secret.sign(&account.chain_id, job);
    let stream = client.infer(&account.chain_id, &job).await?;
    let mut follower = Follower::new(&account.chain_id, &job, &trusted.key, &trusted.source);
    follower.json = arguments.json;
    follower.wait_verified = arguments.wait_verified;
    follower.output = arguments.output;
    let patience = Duration::from_secs(arguments.patience);
    match tokio::time::timeout(patience, follower.follow(stream)).await {
        Ok(ended) => ended?,
        Err(_) => follower.cut(format!("the job did not end within {} s", arguments.patience)),
    }
    follower.answer()
}

/// The model that a name or an id means.
fn find(models: Vec<ModelEntry>, wanted: &str) -> Result<ModelEntry> {
    let id: Option<ModelId> = wanted.parse().ok();
    let mut found = models.into_iter().filter(|entry| Some(entry.model_id) == id || entry.name == wanted);
    let entry = found.next().with_context(|| format!("model {wanted:?} is not registered on this chain"))?;
    match found.next() {
        None => Ok(entry),
        Some(other) => bail!("model {wanted:?} is ambiguous: say {} or {}", entry.model_id, other.model_id),
    }
}

/// The key that proofs must hold under.
fn trust(entry: &ModelEntry, pinned: Option<Trusted>) -> Result<Trusted> {
    let (name, id) = (&entry.name, entry.model_id);
    let ledger = VerifyingKey::decode(&entry.verifying_key).context("the key that the validator sent")?;
    ensure!(
        ledger.model_id().0 == id.0,
        "the validator sent the key of model {} for {id}",
        ledger.model_id()
    );
    let Some(pinned) = pinned else { return Ok(Trusted { key: ledger, source: "the ledger".to_owned() }) };
    let (key, file) = (&pinned.key, &pinned.source);
    ensure!(
        key.model_id().0 == id.0,
        "{file}: the key is for model {}, {name:?} is model {id}",
        key.model_id()
    );
    ensure!(
        key.digest() == ledger.digest(),
        "{file}: not the key of {name:?} on the ledger, made by another setup"
    );
    Ok(pinned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_proto::PublicKey;

    fn entry(id: u8, name: &str) -> ModelEntry {
        let (model_id, owner) = (ModelId([id; 32]), PublicKey([0; 32]));
        ModelEntry { model_id, name: name.to_owned(), verifying_key: Vec::new(), owner, miners: 1 }
    }

    #[test]
    fn a_model_is_found_by_name_or_id() {
        let models = || vec![entry(1, "a"), entry(2, "b")];
        assert_eq!(find(models(), "b").unwrap().model_id, ModelId([2; 32]));
        assert_eq!(find(models(), &"01".repeat(32)).unwrap().name, "a");
        assert!(find(models(), "c").unwrap_err().to_string().contains("not registered"));
    }

    #[test]
    fn a_name_that_two_models_have_is_no_choice() {
        let error = find(vec![entry(1, "a"), entry(2, "a")], "a").unwrap_err().to_string();
        assert!(error.contains(&"01".repeat(32)) && error.contains(&"02".repeat(32)), "{error}");
        // Nor can a model be taken by another that is named like its id.
        let named = "01".repeat(32);
        assert!(
            find(vec![entry(1, "a"), entry(2, &named)], &named)
                .unwrap_err()
                .to_string()
                .contains("ambiguous")
        );
    }
}
