//! `kill -9` at any moment: no receipt that was committed is lost, none is paid twice.
//!
//! The node runs in a child process, which is this test binary again; miners and the client run here.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay_proto::JobId;
use assay_proto::genesis::Parameters;
use assay_proto::receipt::Verdict;
use assay_proto::wire::infer_response::Event;
use assay_verifier::audit::audit;

use crate::support::calls::Calls;
use crate::support::miner::{Behaviour, FakeMiner};
use crate::support::network::ready;
use crate::support::{BALANCE, Chain, PRICE};

/// Folder of the child's database; unset in the run that starts children.
const CHILD: &str = "ASSAY_TEST_CRASH_DIR";
const LISTENS: &str = "child listens on ";
const ROUNDS: u64 = 8;
const JOBS_PER_ROUND: u64 = 6;

fn chain() -> Chain {
    Chain::with(Parameters { tempo: 4, emission: 0, ..Parameters::default() })
}

/// A node in a process of its own; killed when dropped.
struct ChildNode {
    process: Child,
    address: SocketAddr,
}

impl ChildNode {
    fn start(chain: &Chain) -> Self {
        let program = std::env::current_exe().expect("this binary");
        let mut process = Command::new(program)
            .args(["--exact", "crash::the_child_serves_until_it_is_killed", "--nocapture"])
            .env(CHILD, chain.config().data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let address = lines
            .map(|line| line.expect("text"))
            .find_map(|line| {
                line.split_once(LISTENS).map(|(_, address)| address.parse().expect("an address"))
            })
            .expect("the child listens");
        Self { process, address }
    }

    fn kill(mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_serves_until_it_is_killed() {
    let chain = chain();
    let Some(dir) = std::env::var_os(CHILD) else {
        // Not the child: the node that it would run starts and stops.
        chain.start().await.shutdown().await.expect("stops");
        return;
    };
    let mut config = chain.config();
    config.data_dir = dir.into();
    let node = chain.start_with(config).await.expect("the node starts");
    ready(&node).await;
    println!("{LISTENS}{}", node.local_addr());
    node.stopped().await;
}

/// What the client was told is committed, by job.
type Told = BTreeMap<JobId, (u64, u32)>;

/// When a node is killed.
#[derive(Clone, Copy)]
enum Moment {
    /// This long after its jobs were accepted.
    After(Duration),
    /// When the client hears that a receipt is committed.
    FirstCommit,
}

/// Runs jobs until the node is killed; whatever the client was told stays in `told`.
async fn a_round(chain: &Chain, first_nonce: u64, moment: Moment, told: &mut Told) {
    let node = ChildNode::start(chain);
    let mut calls = Calls::to(node.address).await;
    let mut streams = Vec::new();
    for nonce in first_nonce..first_nonce + JOBS_PER_ROUND {
        let job = chain.job(nonce);
        streams.push((job.id(chain.chain_id()), calls.start(&job).await.expect("accepted")));
    }
    let mut node = Some(node);
    if let Moment::After(time) = moment {
        tokio::time::sleep(time).await;
        node.take().expect("alive").kill();
    }
    for (job, mut stream) in streams {
        while let Ok(Some(response)) = stream.message().await {
            if let Some(Event::Committed(committed)) = response.event {
                told.insert(job, (committed.height, committed.index));
                if let Some(node) = node.take() {
                    node.kill();
                }
            }
        }
    }
    assert!(node.is_none(), "no job was committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_committed_receipt_and_pays_none_twice_slow() {
    let chain = chain();
    let node = ChildNode::start(&chain);
    let mut calls = Calls::to(node.address).await;
    let behaviours =
        [Behaviour::Honest, Behaviour::ProofAfter(Duration::from_millis(15)), Behaviour::GarbageProof];
    let miners: Vec<FakeMiner> = calls.set_up(&chain, &behaviours).await;
    node.kill();

    let mut told = Told::new();
    for round in 0..ROUNDS {
        let moment = match round % 2 {
            0 => Moment::After(Duration::from_millis(12 * round)),
            _ => Moment::FirstCommit,
        };
        a_round(&chain, 1 + round * JOBS_PER_ROUND, moment, &mut told).await;
    }

    let node = ChildNode::start(&chain);
    let mut calls = Calls::to(node.address).await;
    // What the last run kept in its outbox is decided now, and the running epoch ends.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut paid = 0;
    for nonce in 1..=ROUNDS * JOBS_PER_ROUND {
        let job = chain.job(nonce).id(chain.chain_id());
        let receipts = calls.receipts(job).await;
        let verified: Vec<(u64, u32)> = receipts
            .iter()
            .filter(|(_, _, receipt)| receipt.verdict == Verdict::Verified)
            .map(|(height, index, _)| (*height, *index))
            .collect();
        assert!(verified.len() <= 1, "job {nonce} is paid {} times", verified.len());
        let mut assigned: Vec<_> = receipts.iter().map(|(_, _, receipt)| receipt.evidence.miner).collect();
        assigned.sort_unstable();
        assigned.dedup();
        assert_eq!(assigned.len(), receipts.len(), "job {nonce}: a miner has two receipts for it");
        if let Some(place) = told.get(&job) {
            assert_eq!(verified, [*place], "job {nonce} was committed");
        }
        paid += u64::try_from(verified.len()).expect("small");
    }
    assert!(paid < ROUNDS * JOBS_PER_ROUND, "every job was committed: no kill hit a job in progress");
    assert_eq!(calls.account(chain.client.public_key()).await.balance, BALANCE - PRICE * paid);
    let mut earned = 0;
    for miner in &miners {
        earned += calls.account(miner.key.public_key()).await.balance;
    }
    assert_eq!(earned, PRICE * paid);
    let liar = miners[2].key.public_key();
    assert_eq!(calls.account(liar).await.balance, 0);
    audit(calls.export().await.as_slice(), &mut |_| {}).expect("the log is whole");
    let next = calls.infer(&chain.job(1_000)).await.expect("the node goes on");
    assert!(matches!(next.last(), Some(Event::Committed(_))), "{next:?}");
    node.kill();
}
