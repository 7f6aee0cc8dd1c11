//! `assay miner`: serves models to validators until it is told to stop.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use assay_proto::client::{AccountEntry, Client, ClientError, ClientOptions, ClientTls};
use assay_proto::transaction::Devices;
use assay_proto::{ChainId, PublicKey, SecretKey};
use assay_prover::backend::{Backend, Choice, OpenError};
use assay_prover::cuda::CudaWorker;
use assay_prover::prover::Prover;
use assay_prover::service::{Miner, MinerConfig, Registration, register, remaining};
use assay_prover::worker::Worker;
use tonic::transport::Identity;

use crate::connection::{Tls, read_pem};
use crate::service::{Logs, told_to_stop};
use crate::{Answer, key, model, prove};

/// Time between looks at which devices work.
const LOOK: Duration = Duration::from_secs(10);
/// Pause between two tries to reach the validator.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `assay miner`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Secret key that signs for the miner: its own, or its operating key, which moves none of its base units
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Public key of the miner, if --key is its operating key [default: as the ledger says]. A key that its owner has not
    /// named yet is refused then, instead of becoming a miner of its own
    #[arg(long, value_name = "PUBKEY")]
    owner: Option<PublicKey>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7200")]
    listen: SocketAddr,
    /// Where validators reach this miner, http://HOST:PORT or https://HOST:PORT [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    public: Option<String>,
    /// A validator's services, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    validator: String,
    #[command(flatten)]
    tls: Tls,
    /// PEM file of the certificate chain that this miner shows to validators: it listens for https:// then
    #[arg(long, value_name = "FILE", requires = "serve_key")]
    serve_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "serve_cert")]
    serve_key: Option<PathBuf>,
    /// Model to serve; may be repeated
    #[arg(long = "model", required = true, value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Folder with NAME.pk, or NAME.vk of halo2, for every model
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Jobs that are held at a time, the one being worked on included
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// Refuse a validator of another chain
    #[arg(long)]
    chain_id: Option<ChainId>,
    /// Seconds to wait for the validator to be up
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// What runs models and makes Groth16 proofs: auto (every CUDA device that answers), cpu or cuda:N[,cuda:M..]; a device that
    /// fails later is replaced by the others, or by the processor
    #[arg(long, default_value_t = Choice::Auto)]
    device: Choice,
    /// MiB of each device's memory that may be taken [default: all]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    device_memory: Option<u32>,
    /// Device class of this chain that the devices are of, for validators to challenge; 0: none
    #[arg(long, default_value_t = 0)]
    device_class: u32,
    /// Number of devices of this class [default: those in use, 1 for the processor]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    devices: Option<u32>,
    #[command(flatten)]
    logs: Logs,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Answer> {
    let secret = key::load(&arguments.key)?;
    let mut provers = Vec::new();
    for path in &arguments.models {
        provers.push(prove::load(path, model::load(path)?, &arguments.keys, None)?);
    }
    let _telemetry = arguments.logs.start("assay-miner")?;
    let memory = arguments.device_memory.map(|mib| mib as usize * (1 << 20));
    let worker = worker(provers, &arguments.device, memory)?;
    tracing::info!(backend = worker.backend(), "what computes");
    let in_use = u32::try_from(worker.devices().max(1)).context("the number of devices")?;
    let devices = match arguments.device_class {
        0 => Devices::default(),
        class => Devices { class, count: arguments.devices.unwrap_or(in_use) },
    };
    let worker = Arc::new(worker);
    tokio::runtime::Runtime::new()
        .context("the runtime")?
        .block_on(serve(arguments, secret, worker, devices))?;
    Ok(Answer::Yes)
}

async fn serve(
    arguments: Arguments,
    secret: SecretKey,
    worker: Arc<dyn Worker>,
    devices: Devices,
) -> Result<()> {
    let tls = arguments.tls.read()?;
    let patience = Duration::from_secs(arguments.patience);
    // Once told to stop it does, whatever it is waiting for.
    let stop = told_to_stop();
    tokio::pin!(stop);
    let account = tokio::select! {
        stopped = &mut stop => return stopped,
        account = account_of(&arguments.validator, tls.as_ref(), &secret, patience) => account?,
    };
    let owner = owner_of(&account, secret.public_key(), arguments.owner)?;
    let chain_id = account.chain_id;
    if let Some(expected) = &arguments.chain_id {
        anyhow::ensure!(chain_id == *expected, "the validator is on chain {chain_id}, expected {expected}");
    }
    let models = worker.models();
    let config = MinerConfig {
        listen: arguments.listen,
        chain_id: chain_id.clone(),
        owner,
        queue_capacity: arguments.queue,
        devices,
    };
    let (certificate, key) = (&arguments.serve_cert, &arguments.serve_key);
    let (miner, scheme) = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let identity = Identity::from_pem(read_pem(certificate)?, read_pem(key)?);
            let worker = Arc::clone(&worker);
            (Miner::start_encrypted(config, identity, secret.clone(), worker).await?, "https")
        }
        _ => (Miner::start(config, secret.clone(), Arc::clone(&worker)).await?, "http"),
    };
    writeln!(std::io::stdout(), "listening on {}", miner.local_addr())?;
    let endpoint = arguments.public.unwrap_or_else(|| format!("{scheme}://{}", miner.local_addr()));
    let mut registration = Registration {
        validator: arguments.validator,
        tls,
        chain_id,
        owner,
        endpoint,
        models,
        devices,
        patience,
    };
    let registered = tokio::select! {
        stopped = &mut stop => { stopped?; None }
        registered = register(&registration, &secret) => Some(registered),
    };
    let outcome = match registered {
        None => Ok(()),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(registered)) => {
            tracing::info!(?registered, endpoint = registration.endpoint, "miner serves");
            // Whoever started this process may have stopped listening.
            let _ = writeln!(std::io::stdout(), "registered as {owner}");
            tokio::select! {
                stopped = &mut stop => stopped,
                never = follow_devices(&mut registration, &secret, worker.as_ref()) => match never {},
            }
        }
    };
    miner.shutdown().await?;
    outcome
}

/// Registers anew with the devices that are left when some are lost: the collateral of a device that answers no challenge is at
/// stake.
async fn follow_devices(
    registration: &mut Registration,
    secret: &SecretKey,
    worker: &dyn Worker,
) -> Infallible {
    let all = registration.devices;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = remaining(all, worker.lost());
        if now == registration.devices {
            continue;
        }
        tracing::warn!(from = registration.devices.count, to = now.count, "devices are lost");
        let before = std::mem::replace(&mut registration.devices, now);
        if let Err(error) = register(registration, secret).await {
            tracing::error!(error = %assay_verifier::describe(&error), "the devices are not registered anew");
            registration.devices = before;
        }
    }
}

/// The miner that a key signs for: what the ledger says, and what the caller expects of it.
fn owner_of(account: &AccountEntry, key: PublicKey, expected: Option<PublicKey>) -> Result<PublicKey> {
    let owner = account.operates.map_or(key, |operating| operating.owner);
    match expected {
        Some(expected) if expected != owner => anyhow::bail!(
            "the ledger knows no key {key} of {expected}: its owner names it by `assay tx set-operating-key`"
        ),
        _ => Ok(owner),
    }
}

/// The key's account at the validator, which may not be up yet.
async fn account_of(
    validator: &str,
    tls: Option<&ClientTls>,
    secret: &SecretKey,
    patience: Duration,
) -> Result<AccountEntry> {
    let began = Instant::now();
    loop {
        let account = async {
            let client =
                Client::connect(validator, ClientOptions { tls: tls.cloned(), ..ClientOptions::default() })
                    .await?;
            client.account(&secret.public_key()).await
        };
        match account.await {
            Ok(account) => return Ok(account),
            Err(ClientError::Connect { .. }) if began.elapsed() + PAUSE < patience => {
                tracing::info!(validator, "the validator is not up yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The worker on what was chosen. A device that was named must take the models and keys; one that was found need not.
fn worker(provers: Vec<Prover>, choice: &Choice, memory: Option<usize>) -> Result<CudaWorker> {
    let named = |ordinal: u32| format!("--device cuda:{ordinal}");
    let backend = Backend::open(choice, memory)
        .map_err(|OpenError { ordinal, reason }| anyhow::Error::new(reason).context(named(ordinal)))?;
    let mut worker = CudaWorker::new(provers);
    for accelerator in backend.into_accelerators() {
        let ordinal = accelerator.ordinal();
        match worker.add(accelerator) {
            Ok(()) => {}
            Err(reason) if *choice == Choice::Auto => {
                tracing::warn!(device = format!("cuda:{ordinal}"), %reason, "the models stay off the device");
            }
            Err(reason) => {
                return Err(reason).with_context(|| format!("{}: the models and keys", named(ordinal)));
            }
        }
    }
    Ok(worker)
}
