//! Validators in processes of their own: this test binary again, told what to be by its environment.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use assay_proto::wire;
use assay_validator::{Node, clock};

use super::calls::Calls;
use super::checker::{Checker, Summary};
use super::network::{Network, PATIENCE};

const CHILD: &str = "ASSAY_TEST_VALIDATOR";
/// A folder for the children's logs, one file each, as detailed as RUST_LOG says; none are written without it.
const LOGS: &str = "ASSAY_TEST_LOGS";
const LISTENS: &str = "child listens on ";
const STOPS: &str = "child stops: ";
const HOLDS: &str = "child holds ";
/// Exit code of a child whose node stopped by itself, in order.
pub const STOPPED: i32 = 3;
/// The test that is the child.
const MAIN: &str = "outages::the_child_validates_until_it_is_killed";
pub const VALIDATORS: u8 = 4;

/// What a child is.
#[derive(Clone, Debug)]
pub struct Spec {
    pub index: usize,
    /// Where everybody listens for everybody.
    pub consensus: Vec<SocketAddr>,
    /// Where its services are.
    pub listen: SocketAddr,
    pub folder: PathBuf,
    /// By how much its clock is wrong.
    pub wrong_by_ms: i64,
    /// Network namespace that it runs in.
    pub namespace: Option<String>,
}

/// A validator in a process of its own; killed when dropped.
pub struct ChildNode {
    process: Child,
    pub address: SocketAddr,
    holds: mpsc::Receiver<usize>,
}

impl Spec {
    pub fn new(network: &Network, index: usize) -> Self {
        Self {
            index,
            consensus: network.consensus.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            folder: network.config(index).data_dir,
            wrong_by_ms: 0,
            namespace: None,
        }
    }

    fn to_words(&self) -> String {
        let ports: Vec<String> = self.consensus.iter().map(ToString::to_string).collect();
        let Self { index, listen, folder, wrong_by_ms, .. } = self;
        format!("{index} {} {listen} {wrong_by_ms} {}", ports.join(","), folder.display())
    }

    fn of_words(words: &str) -> Self {
        let mut words = words.splitn(5, ' ');
        let mut word = || words.next().expect("index, ports, address, clock, folder");
        Self {
            index: word().parse().expect("an index"),
            consensus: word().split(',').map(|port| port.parse().expect("an address")).collect(),
            listen: word().parse().expect("an address"),
            wrong_by_ms: word().parse().expect("milliseconds"),
            folder: word().into(),
            namespace: None,
        }
    }

    pub fn start(&self) -> ChildNode {
        let program = std::env::current_exe().expect("this binary");
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let mut process = command
            .args(["--exact", MAIN, "--nocapture"])
            .env(CHILD, self.to_words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let address = lines
            .by_ref()
            .map(|line| line.expect("text"))
            .find_map(|line| {
                line.split_once(LISTENS).map(|(_, address)| address.parse().expect("an address"))
            })
            .expect("the child listens");
        let (told, holds) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, bytes)) = line.split_once(HOLDS) {
                    // It is not asked any more where nobody listens.
                    let _ = told.send(bytes.parse().expect("a number"));
                }
            }
        });
        ChildNode { process, address, holds }
    }
}

fn log(index: usize) {
    let Some(folder) = std::env::var_os(LOGS) else { return };
    let path = PathBuf::from(folder).join(format!("validator-{index}-{}.log", std::process::id()));
    let file = std::fs::File::create(path).expect("a log");
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).with_writer(file).init();
}

/// What a child does; nothing in the run that starts children.
pub async fn be_a_child() {
    let Ok(given) = std::env::var(CHILD) else { return };
    let spec = Spec::of_words(&given);
    log(spec.index);
    let mut network = Network::new(VALIDATORS);
    network.consensus = spec.consensus;
    let mut config = network.config(spec.index);
    config.data_dir = spec.folder;
    config.listen = spec.listen;
    clock::set_wrong_by_ms(spec.wrong_by_ms);
    let key = network.keys[spec.index].clone();
    let node = Node::start(config, key, network.chain.genesis.clone()).await.expect("the node starts");
    println!("{LISTENS}{}", node.local_addr());
    std::thread::spawn(|| {
        for _question in std::io::stdin().lines().map_while(Result::ok) {
            println!("{HOLDS}{}", crate::memory::held());
        }
    });
    node.stopped().await;
    // Nobody told it to.
    match node.shutdown().await {
        Ok(()) => {}
        Err(error) => {
            println!("{STOPS}{}", assay_verifier::describe(&error));
            std::process::exit(STOPPED);
        }
    }
}

impl ChildNode {
    pub fn kill(mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("gone");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("a child")
    }

    /// Bytes that it holds now, see [`crate::memory`].
    pub fn held(&mut self) -> usize {
        let questions = self.process.stdin.as_mut().expect("its input");
        questions.write_all(b"\n").expect("it runs");
        self.holds.recv_timeout(PATIENCE).expect("it answers")
    }

    pub async fn calls(&self) -> Calls {
        Calls::to(self.address).await
    }

    pub async fn height(&self) -> u64 {
        self.calls().await.account(assay_proto::PublicKey([0; 32])).await.height
    }

    /// Its log up to a height.
    pub async fn log(&self, height: u64) -> Vec<wire::CommittedBlock> {
        let mut calls = self.calls().await;
        let mut blocks = Vec::new();
        for height in 1..=height {
            let request = wire::GetBlockRequest { height };
            let response = calls.ledger.get_block(request).await.expect("a block").into_inner();
            blocks.push(response.block.expect("a block"));
        }
        blocks
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = tokio::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until everybody has the height of the highest; all logs are one then, and hold.
pub async fn agree(network: &Network, nodes: &[ChildNode]) -> Summary {
    let mut highest = 0;
    for node in nodes {
        highest = highest.max(node.height().await);
    }
    let mut logs = Vec::new();
    for node in nodes {
        until("the height of the others", || async { node.height().await >= highest }).await;
        logs.push(node.log(highest).await);
    }
    let summary = Checker::new(&network.chain.genesis).check(&logs);
    assert_eq!(summary.height, highest);
    summary
}

/// Submits a transfer of 1 and waits until it is committed.
pub async fn transfer(network: &Network, node: &ChildNode, nonce: &mut u64) {
    let mut calls = node.calls().await;
    let transaction = network.chain.transfer(*nonce, 1);
    let wait = calls.submit(&transaction);
    tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("committed");
    *nonce += 1;
}
