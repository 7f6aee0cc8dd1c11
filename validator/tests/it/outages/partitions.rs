//! Validators on hosts of their own, as far as the network can tell: a namespace each, joined by a bridge that is cut in two.
//!
//! Needs root and `ip`; where they are not to be had, the tests say SKIP and pass.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{ChildNode, Network, Spec, VALIDATORS, agree, transfer};

const PORT: u16 = 26_656;
const SERVICES: u16 = 26_657;
/// Patience with a network that is whole again: connections and rounds back off while it is not.
const RECOVERY: Duration = Duration::from_secs(180);

/// Four hosts, each with a cable to one of two bridges; gone when dropped.
struct Hosts {
    name: String,
    net: u8,
}

fn ip(line: &str) -> bool {
    let quiet = || Stdio::null();
    let status = Command::new("ip").args(line.split(' ')).stdout(quiet()).stderr(quiet()).status();
    status.is_ok_and(|status| status.success())
}

impl Hosts {
    /// `number` tells the tests of one process apart.
    fn new(number: u8) -> Option<Self> {
        let process = std::process::id();
        let net = u8::try_from(process % 40).expect("small") * 6 + number;
        let hosts = Self { name: format!("a{}{number}", process % 100_000), net };
        hosts.make().then_some(hosts)
    }

    fn make(&self) -> bool {
        let Self { name, net } = self;
        let mut made = ["a", "b"].iter().all(|side| {
            ip(&format!("link add {name}{side} type bridge")) && ip(&format!("link set {name}{side} up"))
        });
        made = made && ip(&format!("addr add 10.77.{net}.254/24 dev {name}a"));
        for host in 0..VALIDATORS {
            let (inside, cable) = (self.namespace(host), format!("{name}v{host}"));
            made = made
                && ip(&format!("netns add {inside}"))
                && ip(&format!("link add {cable} type veth peer name eth0 netns {inside}"))
                && ip(&format!("link set {cable} master {name}a up"))
                && ip(&format!("-n {inside} addr add {}/24 dev eth0", self.address(host, 0).ip()))
                && ip(&format!("-n {inside} link set eth0 up"))
                && ip(&format!("-n {inside} link set lo up"));
        }
        made
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}h{host}", self.name)
    }

    fn address(&self, host: u8, port: u16) -> SocketAddr {
        ([10, 77, self.net, host + 1], port).into()
    }

    /// Cuts these hosts off from the rest, and from this process.
    fn cut(&self, hosts: &[u8]) {
        hosts.iter().for_each(|host| self.plug(*host, "b"));
    }

    fn heal(&self) {
        (0..VALIDATORS).for_each(|host| self.plug(host, "a"));
    }

    fn plug(&self, host: u8, side: &str) {
        let name = &self.name;
        assert!(ip(&format!("link set {name}v{host} master {name}{side}")), "host {host} to side {side}");
    }

    /// Makes every cable slow, late and lossy; says how, or nothing where the kernel cannot.
    fn worsen(&self) -> Option<&'static str> {
        let ways = ["netem delay 80ms 40ms loss 3%", "tbf rate 2mbit burst 4kb latency 60ms"];
        ways.into_iter().find(|way| {
            (0..VALIDATORS).all(|host| {
                let line = format!("qdisc replace dev {}v{host} root {way}", self.name);
                let run = Command::new("tc").args(line.split(' ')).stderr(Stdio::null()).status();
                run.is_ok_and(|status| status.success())
            })
        })
    }

    fn start(&self, network: &Network) -> Vec<ChildNode> {
        let consensus: Vec<SocketAddr> = (0..VALIDATORS).map(|host| self.address(host, PORT)).collect();
        let child = |host: u8| {
            let spec = Spec {
                consensus: consensus.clone(),
                listen: self.address(host, SERVICES),
                namespace: Some(self.namespace(host)),
                ..Spec::new(network, usize::from(host))
            };
            spec.start()
        };
        (0..VALIDATORS).map(child).collect()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // What was not made is not there to be taken away.
        for host in 0..VALIDATORS {
            ip(&format!("link del {}v{host}", self.name));
            ip(&format!("netns del {}", self.namespace(host)));
        }
        for side in ["a", "b"] {
            ip(&format!("link del {}{side}", self.name));
        }
    }
}

fn hosts(number: u8) -> Option<Hosts> {
    let hosts = Hosts::new(number);
    if hosts.is_none() {
        println!("SKIP: no network namespaces here; they take root and `ip`");
    }
    hosts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_cut_into_halves_decides_nothing_and_goes_on_as_one_slow() {
    let Some(hosts) = hosts(0) else { return };
    let network = Network::new(VALIDATORS);
    let nodes = hosts.start(&network);
    let mut nonce = 1;
    transfer(&network, &nodes[0], &mut nonce).await;
    for _ in 0..2 {
        agree(&network, &nodes).await;
        hosts.cut(&[2, 3]);
        let before = nodes[0].height().await.max(nodes[1].height().await);
        let pending = {
            let mut calls = nodes[0].calls().await;
            let transaction = network.chain.transfer(nonce, 1);
            tokio::spawn(async move { calls.submit(&transaction).await })
        };
        tokio::time::sleep(Duration::from_secs(8)).await;
        for node in &nodes[..2] {
            assert!(node.height().await <= before, "half of the validators decided a block");
        }
        hosts.heal();
        let healed = tokio::time::Instant::now();
        let client = network.chain.client.public_key();
        // The caller may have given up by now; the transaction has not.
        while nodes[3].calls().await.account(client).await.nonce < nonce {
            assert!(healed.elapsed() < RECOVERY, "nothing is decided after the network is whole again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("decided {:.1} s after the network was whole again", healed.elapsed().as_secs_f64());
        pending.abort();
        nonce += 1;
    }
    let summary = agree(&network, &nodes).await;
    assert_eq!(summary.transactions[&network.chain.client.public_key().to_vec()], nonce - 1);
}

/// Connections that are cut while they are made: some are half there, and nobody knows what was said over them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_cut_into_halves_while_it_starts_goes_on_when_it_is_whole_slow() {
    for (number, after_ms) in [(3, 0), (4, 300), (5, 1_000)] {
        let Some(hosts) = hosts(number) else { return };
        let network = Network::new(VALIDATORS);
        let nodes = hosts.start(&network);
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        hosts.cut(&[2, 3]);
        let pending = {
            let mut calls = nodes[0].calls().await;
            let transaction = network.chain.transfer(1, 1);
            tokio::spawn(async move { calls.submit(&transaction).await })
        };
        tokio::time::sleep(Duration::from_secs(8)).await;
        hosts.heal();
        let healed = tokio::time::Instant::now();
        let client = network.chain.client.public_key();
        while nodes[3].calls().await.account(client).await.nonce < 1 {
            assert!(healed.elapsed() < RECOVERY, "nothing is decided after the network is whole again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!(
            "cut after {after_ms} ms, decided {:.1} s after it was whole",
            healed.elapsed().as_secs_f64()
        );
        pending.abort();
        agree(&network, &nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_go_on_without_the_one_that_is_cut_off_and_it_catches_up_slow() {
    let Some(hosts) = hosts(1) else { return };
    let network = Network::new(VALIDATORS);
    let nodes = hosts.start(&network);
    let mut nonce = 1;
    transfer(&network, &nodes[0], &mut nonce).await;
    agree(&network, &nodes).await;
    hosts.cut(&[3]);
    for _ in 0..10 {
        transfer(&network, &nodes[0], &mut nonce).await;
    }
    hosts.heal();
    transfer(&network, &nodes[0], &mut nonce).await;
    let summary = agree(&network, &nodes).await;
    assert_eq!(summary.transactions[&network.chain.client.public_key().to_vec()], nonce - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_lossy_cables_delay_blocks_and_lose_nothing_slow() {
    let Some(hosts) = hosts(2) else { return };
    let network = Network::new(VALIDATORS);
    let nodes = hosts.start(&network);
    let mut nonce = 1;
    transfer(&network, &nodes[0], &mut nonce).await;
    let Some(way) = hosts.worsen() else {
        println!("SKIP: `tc` has no way here to delay or lose packets");
        return;
    };
    println!("cables: {way}");
    for _ in 0..10 {
        transfer(&network, &nodes[0], &mut nonce).await;
    }
    let summary = agree(&network, &nodes).await;
    assert_eq!(summary.transactions[&network.chain.client.public_key().to_vec()], nonce - 1);
}
