//! Validators that break the rules, one behaviour a file, among three that keep them: the three go on, agree, and decide
//! nothing that breaks a rule.
//!
//! A liar is a validator with the true engine and the true ledger, whose answers to the engine are changed on the way.

mod bad_proof;
mod double_proposal;
mod double_vote;
mod flood;
mod forged_certificate;
mod garbage;
mod replay;
mod twice;
mod withheld;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use assay_proto::block::CommitCertificate;
use assay_proto::vote::Equivocation;
use assay_proto::{BlockHash, Height, PublicKey};
use assay_validator::Node;
use assay_validator::application::Application;
use assay_validator::consensus::{Heard, Ledger};
use assay_validator::mempool::Mempool;
use assay_validator::store::Store;
use assay_validator_bft::{Application as Agreed, Engine, Fault, Proposed, Settings, Verdict};
use tokio::sync::{mpsc, watch};

use crate::support::network::{Network, PATIENCE, agree, calls};

/// Index of the liar among four.
const LIAR: usize = 3;

type Propose = Box<dyn Fn(&Application, Proposed) -> Proposed + Send + Sync>;
type Judge = Box<dyn Fn(Verdict) -> Verdict + Send + Sync>;
type Decided = Box<dyn Fn(Vec<u8>, CommitCertificate) -> (Vec<u8>, CommitCertificate) + Send + Sync>;

/// What is changed.
struct Lies {
    propose: Propose,
    judge: Judge,
    decided: Decided,
}

impl Default for Lies {
    fn default() -> Self {
        Self {
            propose: Box::new(|_, proposed| proposed),
            judge: Box::new(|verdict| verdict),
            decided: Box::new(|bytes, certificate| (bytes, certificate)),
        }
    }
}

struct Liar {
    honest: Ledger,
    application: Arc<Application>,
    lies: Lies,
    proposals: Arc<AtomicUsize>,
}

/// A running liar.
struct Running {
    engine: Engine,
    /// Proposals that it made.
    proposals: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    _heard: mpsc::Receiver<Heard>,
}

impl Running {
    async fn start(network: &Network, lies: Lies) -> Self {
        let (config, key) = (network.config(LIAR), network.keys[LIAR].clone());
        let (store, state) = Store::open(&config.data_dir, &network.chain.genesis).expect("opens");
        let mempool = Mempool::new(config.mempool.clone(), key.public_key());
        let application = Arc::new(Application::new(key.clone(), store, state, mempool).expect("metrics"));
        let (honest, heard) = Ledger::new(Arc::clone(&application), config.engine.clone());
        let settings = Settings {
            chain: application.chain_id(),
            key,
            listen: config.consensus.listen,
            peers: config.consensus.peers().expect("peers"),
            folder: config.data_dir.join("consensus"),
            timeouts: config.consensus.timeouts(),
            deaf: true,
        };
        let (stop, stopped) = watch::channel(false);
        let proposals = Arc::new(AtomicUsize::new(0));
        let liar = Liar { honest, application, lies, proposals: Arc::clone(&proposals) };
        let engine = Engine::start(settings, Arc::new(liar), stopped).await.expect("starts");
        Self { engine, proposals, stop, _heard: heard }
    }

    /// Stops it, whatever became of it.
    async fn abandon(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.engine.ended().await {
            println!("the liar had ended: {error}");
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.engine.ended().await.expect("stops");
    }
}

#[tonic::async_trait]
impl Agreed for Liar {
    fn head(&self) -> Height {
        self.honest.head()
    }

    fn validators(&self) -> Vec<(PublicKey, u64)> {
        self.honest.validators()
    }

    fn known(&self) -> Vec<PublicKey> {
        self.honest.known()
    }

    fn propose(&self, round: u32) -> Result<Proposed, Fault> {
        self.proposals.fetch_add(1, Ordering::SeqCst);
        Ok((self.lies.propose)(&self.application, self.honest.propose(round)?))
    }

    fn validate(&self, bytes: &[u8], live: bool) -> Result<Verdict, Fault> {
        let verdict = self.honest.validate(bytes, live)?;
        Ok(if live { (self.lies.judge)(verdict) } else { verdict })
    }

    fn undecided(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, Fault> {
        self.honest.undecided(hash)
    }

    fn decide(&self, certificate: CommitCertificate) -> Result<(), Fault> {
        self.honest.decide(certificate)
    }

    fn decided(&self, height: Height) -> Result<Option<(Vec<u8>, CommitCertificate)>, Fault> {
        let decided = self.honest.decided(height)?;
        Ok(decided.map(|(bytes, certificate)| (self.lies.decided)(bytes, certificate)))
    }

    fn earliest(&self) -> Result<Height, Fault> {
        self.honest.earliest()
    }

    fn accuse(&self, evidence: Equivocation) -> Result<(), Fault> {
        self.honest.accuse(evidence)
    }

    fn blamed(&self) -> Vec<PublicKey> {
        self.honest.blamed()
    }

    fn hear(&self, from: PublicKey, message: Vec<u8>) {
        self.honest.hear(from, message);
    }

    async fn wanted(&self) {
        self.honest.wanted().await;
    }
}

/// Three honest validators.
async fn honest(network: &Network) -> Vec<Node> {
    let mut nodes = Vec::new();
    for index in 0..LIAR {
        nodes.push(network.start(index).await);
    }
    nodes
}

/// Submits transfers through the first node until the liar has proposed as often as asked; the next nonce.
async fn until_proposed(
    network: &Network,
    nodes: &[Node],
    liar: &Running,
    times: usize,
    mut nonce: u64,
) -> u64 {
    let wanted = liar.proposals.load(Ordering::SeqCst) + times;
    let (mut calls, began) = (calls(&nodes[0]).await, Instant::now());
    while liar.proposals.load(Ordering::SeqCst) < wanted {
        assert!(began.elapsed() < PATIENCE, "the liar is not asked to propose, {nonce} transfers later");
        calls.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
        nonce += 1;
    }
    // The height at which it proposed is decided too.
    calls.submit(&network.chain.transfer(nonce, 1)).await.expect("the others go on");
    nonce + 1
}

/// Whether no decided block is a proposal of the liar, and all honest logs are one.
async fn nothing_of_the_liar_is_decided(network: &Network, nodes: &[Node]) {
    let liar = network.keys[LIAR].public_key();
    let heights = agree(nodes).await.len();
    for height in 1..=u64::try_from(heights).expect("small") {
        let block = nodes[0].application().store().block(Height(height)).expect("reads").expect("no gap");
        assert_ne!(block.block.header.proposer, liar, "height {height}");
    }
}
