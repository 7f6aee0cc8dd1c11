//! `assay devnet`: validators and miners on this machine, each a process of its own.
//!
//! ```text
//! DIR/network.json     who is where; with it there, the same network is started again
//! DIR/validator-N/     home of a validator
//! DIR/keys/            keys of the miners and of a client that holds money; keys of the model
//! DIR/devnet.log       what every process says, each line under its name
//! DIR/devnet.lock      held while it runs; the process that holds it
//! ```
//!
//! It is up when every validator is ready: each takes jobs then. A process that ends by itself is said to; the others go on.

mod layout;
mod process;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use assay_proto::SubnetId;

use crate::connection::Tls;
use crate::service::told_to_stop;
use crate::validator::register::register;
use crate::{Answer, key, output};
use layout::Network;
use process::{Log, Process};

/// Time that processes get to stop by themselves.
const STOP_TIME: Duration = Duration::from_secs(20);
/// Time that the validators get to decide their first block, and then to be ready.
const START_TIME: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes of files of a network.
const FILE_BYTES: usize = 1 << 20;

/// Arguments of `assay devnet`.
#[derive(clap::Args)]
#[command(
    after_help = "Runs until it is told to stop: Ctrl-C, or `assay devnet --dir DIR --stop` from elsewhere."
)]
pub struct Arguments {
    /// Folder of the network; one that holds a network is started again as it was
    #[arg(long)]
    dir: PathBuf,
    /// Validators, each with the same power
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    validators: u8,
    /// Miners, all of them honest
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=64))]
    miners: u8,
    /// Model that the miners serve, as written by `assay model import` [default: a small sample]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// First of the ports that are used; 0 takes free ones
    #[arg(long, default_value_t = 7100)]
    port: u16,
    /// Stop the network that runs in the folder
    #[arg(long, conflicts_with_all = ["validators", "miners", "model", "port"])]
    stop: bool,
    /// Print a JSON object when it is up
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<Answer> {
    let dir = &arguments.dir;
    if arguments.stop {
        return stop(dir);
    }
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut lock = lock_file(dir)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("{}: a network runs in this folder", dir.display()),
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| dir.display().to_string()),
    }
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    write!(lock, "{}", std::process::id())?;
    let network = match Network::read(dir)? {
        Some(network) => network,
        None => Network::make(arguments)?,
    };
    let log = Log::open(&dir.join("devnet.log"))?;
    let runtime = tokio::runtime::Runtime::new().context("the runtime")?;
    let mut processes = Vec::new();
    let ran = runtime.block_on(async {
        tokio::select! {
            stopped = told_to_stop() => stopped,
            ran = serve(dir, &network, &log, &mut processes, arguments.json) => ran,
        }
    });
    process::stop_all(processes, STOP_TIME);
    drop(lock);
    ran?;
    Ok(Answer::Yes)
}

/// Starts everything, says where it is, and then watches it.
async fn serve(
    dir: &Path,
    network: &Network,
    log: &Log,
    processes: &mut Vec<Process>,
    json: bool,
) -> Result<()> {
    for (index, validator) in network.validators.iter().enumerate() {
        let home = dir.join(format!("validator-{index}"));
        let line =
            ["validator", "start", "--home"].map(Into::into).into_iter().chain([home.into_os_string()]);
        processes.push(Process::start(format!("validator-{index}"), line, log)?);
        log.say("devnet", &format!("validator-{index} is {}", validator.public_key));
    }
    for process in processes.iter_mut() {
        process.wait_for("listening on ", START_TIME).await?;
    }
    let first = network.validators.first().context("no validator")?;
    let secret = key::load(&dir.join("validator-0").join("validator.key"))?;
    let vk = output::read(&dir.join("keys").join("model.vk"), assay_verifier::proof::limits::KEY_BYTES)?;
    let (tls, endpoint, began) = (Tls::default(), first.services(), Instant::now());
    while let Err(error) =
        register(&tls, &endpoint, &secret, network.model.clone(), vk.clone(), SubnetId::ROOT).await
    {
        ensure!(began.elapsed() < START_TIME, "the model was not registered: {error:#}");
        tokio::time::sleep(PAUSE).await;
    }
    let started = processes.len();
    for (index, (miner, validator)) in
        network.miners.iter().zip(network.validators.iter().cycle()).enumerate()
    {
        let keys = dir.join("keys");
        let name = format!("miner-{index}");
        let line = [
            "miner".into(),
            "--key".into(),
            keys.join(format!("{name}.key")).into_os_string(),
            "--listen".into(),
            miner.address.to_string().into(),
            "--validator".into(),
            validator.services().into(),
            "--model".into(),
            keys.join("model.assay").into_os_string(),
            "--keys".into(),
            keys.into_os_string(),
            "--device-class".into(),
            layout::CLASS.id.to_string().into(),
        ];
        processes.push(Process::start(name, line, log)?);
    }
    for process in processes.iter_mut().skip(started) {
        process.wait_for("registered as ", START_TIME).await?;
    }
    for validator in &network.validators {
        until_ready(&validator.services()).await?;
    }
    network.say(dir, json)?;
    loop {
        tokio::time::sleep(PAUSE).await;
        for process in processes.iter_mut() {
            process.forget();
            if let Some(status) = process.ended()? {
                log.say("devnet", &format!("{} ended: {status}", process.name));
            }
        }
    }
}

/// Waits until a validator serves: it is connected with enough of the others, and where they are.
async fn until_ready(validator: &str) -> Result<()> {
    let client = Tls::default().connect(validator).await?;
    let began = Instant::now();
    while !client.status().await?.ready {
        ensure!(began.elapsed() < START_TIME, "{validator} is not ready in time");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn lock_file(dir: &Path) -> Result<File> {
    let path = dir.join("devnet.lock");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| path.display().to_string())
}

/// Tells the process that runs the network to stop, and waits until it has.
fn stop(dir: &Path) -> Result<Answer> {
    ensure!(
        dir.join("devnet.lock").exists(),
        "{}: no network was ever started in this folder",
        dir.display()
    );
    let mut lock = lock_file(dir)?;
    if lock.try_lock().is_ok() {
        println!("nothing runs in {}", dir.display());
        return Ok(Answer::Yes);
    }
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    let id: u32 = text.parse().with_context(|| format!("{}: no process is named there", dir.display()))?;
    process::terminate(id)?;
    let began = Instant::now();
    while lock.try_lock().is_err() {
        ensure!(began.elapsed() < STOP_TIME * 2, "process {id} does not stop");
        std::thread::sleep(PAUSE);
    }
    println!("stopped");
    Ok(Answer::Yes)
}
