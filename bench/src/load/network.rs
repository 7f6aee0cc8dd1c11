//! Four validators, each this program again, in a folder of its own.
//!
//! A validator stops when its standard input ends, so none outlives the process that measures it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use assay_proto::client::{Client, ClientOptions};
use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::transaction::{Body, ProofSystem, RegisterMiner, RegisterModel, Transaction};
use assay_proto::{Canonical, ChainId, Height, SecretKey, SubnetId};
use assay_validator::config::PeerConfig;
use assay_validator::{Config, Node, begin_signing};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::receipts::{CHAIN, MINERS, Stock, clients, miner, secret};

const VALIDATORS: u64 = 4;
const BALANCE: u64 = 1 << 40;
/// Time that the validators get to become ready.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// As in `deploy/`: memory that one thread gave back serves the others.
const ARENAS: &str = "2";
const LISTENS: &str = "listening on ";

/// Arguments of a validator's own process.
#[derive(clap::Args)]
pub struct NodeArguments {
    /// Folder with config.json and genesis.bin
    dir: PathBuf,
    /// Number of its key
    number: u64,
}

/// Runs one validator until standard input ends.
pub fn serve(arguments: NodeArguments) -> Result<bool> {
    let config: Config = serde_json::from_slice(&std::fs::read(arguments.dir.join("config.json"))?)?;
    let genesis = Genesis::decode(&std::fs::read(arguments.dir.join("genesis.bin"))?)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let node = Node::start(config, validator(arguments.number), genesis).await?;
        writeln!(std::io::stdout(), "{LISTENS}{}", node.local_addr())?;
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            // Its end is all that matters, however it comes.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = end.send(());
        });
        tokio::select! {
            _ = ended => {}
            () = node.stopped() => {}
        }
        anyhow::Ok(node.shutdown().await?)
    })?;
    Ok(true)
}

/// A validator's key.
pub fn validator(number: u64) -> SecretKey {
    secret(0, number)
}

/// The running network.
pub struct Network {
    pub chain: ChainId,
    nodes: Vec<Process>,
    folder: tempfile::TempDir,
}

struct Process {
    child: Child,
    client: Client,
}

/// Bytes of memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory {
    /// All that is resident.
    pub resident: u64,
    /// Of it what is not mapped from files, of which the program's own is most: what it allocated.
    pub anonymous: u64,
}

/// Tells when blocks came.
pub struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Vec<(Height, Instant)>>,
}

impl Watch {
    /// Heights and the moments at which they were shown.
    pub async fn stop(self) -> Vec<(Height, Instant)> {
        // A watch that ended by itself has nobody to tell.
        let _ = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

impl Network {
    /// Starts it, and registers the model and the miners.
    pub async fn start(stock: &Stock) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the network")?;
        let chain = ChainId::new(CHAIN)?;
        let genesis = genesis(&chain)?;
        let mut network = Self { chain, nodes: Vec::new(), folder };
        let held: Vec<TcpListener> =
            (0..VALIDATORS).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
        let ports: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        drop(held);
        let mut children = Vec::new();
        for number in 0..VALIDATORS {
            let dir = network.folder.path().join(format!("validator-{number}"));
            std::fs::create_dir_all(&dir)?;
            let config = config(&dir, number, &ports)?;
            begin_signing(&config.data_dir, &network.chain, &validator(number).public_key())?;
            std::fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
            std::fs::write(dir.join("genesis.bin"), genesis.encode())?;
            children.push(Starting::begin(&dir, number)?);
        }
        for child in children {
            network.nodes.push(child.connect().await?);
        }
        let began = Instant::now();
        for node in &network.nodes {
            while !node.client.status().await?.ready {
                ensure!(began.elapsed() < PATIENCE, "the validators are not ready in time");
                tokio::time::sleep(PAUSE).await;
            }
        }
        network.register(stock).await?;
        Ok(network)
    }

    async fn register(&self, stock: &Stock) -> Result<()> {
        let client = self.client(0)?;
        let body = RegisterModel {
            model_id: stock.model,
            name: stock.name.clone(),
            verifying_key: stock.verifying_key.clone(),
            proof_system: ProofSystem::Groth16,
            subnet: SubnetId::ROOT,
        };
        let model = Transaction { nonce: 1, body: Body::RegisterModel(body) };
        client.submit(&validator(0).sign(&self.chain, model)).await.context("the model")?;
        for number in 0..MINERS {
            // Nobody calls it: its answers are there already.
            let body = RegisterMiner {
                endpoint: "http://127.0.0.1:1".to_owned(),
                model_ids: vec![stock.model],
                devices: Default::default(),
            };
            let transaction = Transaction { nonce: 1, body: Body::RegisterMiner(body) };
            client.submit(&miner(number).sign(&self.chain, transaction)).await.context("a miner")?;
        }
        Ok(())
    }

    /// How many validators there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A connection to one of them.
    pub fn client(&self, number: usize) -> Result<Client> {
        Ok(self.nodes.get(number).context("a validator")?.client.clone())
    }

    /// Notes when the first validator shows a block.
    pub async fn watch_blocks(&self) -> Result<Watch> {
        let client = self.client(0)?;
        let next = client.status().await?.head.height.next();
        let mut blocks = client.blocks(next).await?;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                tokio::select! {
                    _ = &mut stopped => return seen,
                    block = blocks.next() => match block {
                        Ok(Some(block)) => seen.push((block.block.header.height, Instant::now())),
                        Ok(None) | Err(_) => return seen,
                    },
                }
            }
        });
        Ok(Watch { stop, task })
    }

    /// Bytes that every database takes together.
    pub fn disk_bytes(&self) -> Result<u64> {
        folder_bytes(self.folder.path())
    }

    /// Memory of the validator that has most.
    pub fn memory(&self) -> Memory {
        self.nodes.iter().filter_map(|node| memory(node.child.id())).max().unwrap_or_default()
    }

    /// Processor seconds that the validators have taken together.
    pub fn processor_seconds(&self) -> f64 {
        self.nodes.iter().map(|node| processor_seconds(node.child.id()).unwrap_or_default()).sum()
    }

    /// Stops every validator and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        for node in &mut self.nodes {
            drop(node.child.stdin.take());
        }
        for node in &mut self.nodes {
            let ended = node.child.wait()?;
            ensure!(ended.success(), "a validator ended: {ended}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or nobody needs it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that has not said yet where it listens.
struct Starting(Child);

impl Starting {
    fn begin(dir: &Path, number: u64) -> Result<Self> {
        let log = std::fs::File::create(dir.join("log"))?;
        let child = Command::new(std::env::current_exe()?)
            .arg("load-node")
            .arg(dir)
            .arg(number.to_string())
            .env("MALLOC_ARENA_MAX", ARENAS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("a validator")?;
        Ok(Self(child))
    }

    async fn connect(mut self) -> Result<Process> {
        let mut said = String::new();
        BufReader::new(self.0.stdout.take().context("its output")?).read_line(&mut said)?;
        let address = said.trim().strip_prefix(LISTENS).context("a validator does not start")?;
        let client = Client::connect(&format!("http://{address}"), ClientOptions::default()).await?;
        Ok(Process { child: self.0, client })
    }
}

fn genesis(chain: &ChainId) -> Result<Genesis> {
    let validators = (0..VALIDATORS)
        .map(|number| GenesisValidator { public_key: validator(number).public_key(), power: 1 });
    let accounts = clients().map(|public_key| GenesisAccount { public_key, balance: BALANCE });
    let mut genesis = Genesis {
        chain_id: chain.clone(),
        time_ms: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
        validators: validators.collect(),
        accounts: accounts.collect(),
        parameters: Parameters::default(),
        classes: Vec::new(),
    };
    genesis.validators.sort_by_key(|validator| validator.public_key);
    genesis.accounts.sort_by_key(|account| account.public_key);
    Ok(genesis)
}

/// The documented defaults, but for places.
fn config(dir: &Path, number: u64, ports: &[SocketAddr]) -> Result<Config> {
    let mut config =
        Config { listen: ([127, 0, 0, 1], 0).into(), data_dir: dir.join("data"), ..Config::default() };
    for (other, &address) in (0..).zip(ports) {
        if other == number {
            config.consensus.listen = address;
        } else {
            let validator = validator(other).public_key().to_string();
            config.consensus.peers.push(PeerConfig { validator, owner: String::new(), address });
        }
    }
    Ok(config)
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Files of a database come and go.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        bytes += if metadata.is_dir() { folder_bytes(&path)? } else { metadata.len() };
    }
    Ok(bytes)
}

fn memory(process: u32) -> Option<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
}

/// User and system time, which Linux counts in hundredths of a second.
fn processor_seconds(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in brackets, may hold blanks.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = |word: &str| word.parse::<u64>().ok();
    let mut words = rest.split_whitespace().skip(11);
    let (user, system) = (ticks(words.next()?)?, ticks(words.next()?)?);
    Some((user + system) as f64 / 100.0)
}

/// What else ran here in the last minute, as Linux counts it.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
