//! Several validators of one chain, each with its own folder and ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use assay_proto::genesis::{GenesisValidator, Parameters};
use assay_proto::{Height, Root, SecretKey};
use assay_validator::config::{Config, PeerConfig};
use assay_validator::{Error, Node, begin_signing};

use super::calls::Calls;
use super::{Chain, secret};

/// Patience with anything that several nodes do together.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Network {
    pub chain: Chain,
    pub keys: Vec<SecretKey>,
    pub consensus: Vec<SocketAddr>,
}

impl Network {
    /// A chain of as many validators, each with power 1; the first one registers models.
    pub fn new(count: u8) -> Self {
        Self::with(count, Parameters { tempo: 1_000, ..Parameters::default() })
    }

    /// The same in a folder of the caller's choice.
    pub fn within(dir: tempfile::TempDir, count: u8) -> Self {
        let mut chain = Chain::with(Parameters { tempo: 1_000, ..Parameters::default() });
        chain.dir = dir;
        Self::of(chain, count)
    }

    pub fn with(count: u8, parameters: Parameters) -> Self {
        Self::of(Chain::with(parameters), count)
    }

    fn of(mut chain: Chain, count: u8) -> Self {
        let keys: Vec<SecretKey> = (20..20 + count).map(secret).collect();
        let validator = |key: &SecretKey| GenesisValidator { public_key: key.public_key(), power: 1 };
        chain.genesis.validators = keys.iter().map(validator).collect();
        chain.genesis.validators.sort_by_key(|validator| validator.public_key);
        chain.validator = keys[0].clone();
        // Held together, so that no two are the same, at an address where nobody else takes ports when they are free.
        let address = address_of_this_process();
        let held: Vec<TcpListener> =
            keys.iter().map(|_| TcpListener::bind((address, 0)).expect("a port")).collect();
        let consensus = held.iter().map(|port| port.local_addr().expect("an address")).collect();
        let network = Self { chain, keys, consensus };
        for (index, key) in network.keys.iter().enumerate() {
            let folder = network.config(index).data_dir;
            begin_signing(&folder, network.chain.chain_id(), &key.public_key()).expect("a fresh key");
        }
        network
    }

    /// Settings of one of them.
    pub fn config(&self, index: usize) -> Config {
        let mut config = self.chain.config();
        config.data_dir = self.chain.dir.path().join(format!("validator-{index}"));
        config.consensus.listen = self.consensus[index];
        config.consensus.propose_timeout_ms = 1_500;
        config.consensus.vote_timeout_ms = 300;
        let others = self.keys.iter().zip(&self.consensus).enumerate().filter(|(other, _)| *other != index);
        config.consensus.peers = others
            .map(|(_, (key, &address))| PeerConfig {
                validator: key.public_key().to_string(),
                owner: String::new(),
                address,
            })
            .collect();
        config
    }

    pub async fn try_start(&self, index: usize) -> Result<Node, Error> {
        Node::start(self.config(index), self.keys[index].clone(), self.chain.genesis.clone()).await
    }

    pub async fn start(&self, index: usize) -> Node {
        self.try_start(index).await.expect("the node starts")
    }

    /// All of them, ready.
    pub async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for index in 0..self.keys.len() {
            nodes.push(self.start(index).await);
        }
        for node in &nodes {
            ready(node).await;
        }
        nodes
    }
}

/// An address of the loopback interface that no other test uses at the same time.
fn address_of_this_process() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + (high & 0x3f), middle, low)
}

/// Waits until a node has caught up.
pub async fn ready(node: &Node) {
    let mut ready = node.ready();
    let waited = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await;
    assert!(waited.is_ok(), "not ready: {:?}", node.consensus().borrow().clone());
}

/// Waits until a node has decided a height.
pub async fn reach(node: &Node, height: u64) {
    let mut head = node.application().follow();
    let waited =
        tokio::time::timeout(PATIENCE, head.wait_for(|state| state.head().height >= Height(height))).await;
    assert!(waited.is_ok(), "height {height} is not reached: {:?}", node.consensus().borrow().clone());
}

pub fn height(node: &Node) -> u64 {
    node.application().state().head().height.0
}

/// Commitments to the state after every block, from the first.
pub fn roots(node: &Node) -> Vec<Root> {
    let root = |height| {
        let block = node.application().store().block(Height(height)).expect("reads").expect("no gap");
        block.block.header.state_root
    };
    (1..=height(node)).map(root).collect()
}

/// Waits until every node has the height of the highest, then demands that all say the same of every height.
pub async fn agree(nodes: &[Node]) -> Vec<Root> {
    let highest = nodes.iter().map(height).max().expect("a node");
    for node in nodes {
        reach(node, highest).await;
    }
    let all: Vec<Vec<Root>> = nodes.iter().map(roots).collect();
    let shortest = all.iter().map(Vec::len).min().expect("a node");
    for roots in &all {
        assert_eq!(roots[..shortest], all[0][..shortest]);
    }
    all[0].clone()
}

pub async fn calls(node: &Node) -> Calls {
    Calls::to(node.local_addr()).await
}
