//! Four applications, what they were told, and what happens next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use assay_proto::block::{Block, CommitCertificate, CommitSignature, Precommit};
use assay_proto::genesis::{GenesisValidator, Parameters};
use assay_proto::job::{Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{BlockHash, Canonical, Envelope, Height, JobId, PublicKey, SecretKey, Signed};
use assay_validator::application::Application;
use assay_validator::consensus::Ledger;
use assay_validator::mempool::Mempool;
use assay_validator::store::Store;
use assay_validator_bft::{Application as Agreed, Verdict as Found};
use assay_verifier::proof::Statement;

use crate::support::{BALANCE, Chain, PRICE, secret};

/// Who said something, and what.
type Said = (PublicKey, Vec<u8>);

fn by(envelope: &Envelope) -> Said {
    (envelope.signer, envelope.payload.clone())
}

const NODES: usize = 4;
const QUORUM: usize = 3;
/// Rounds in which the rest must be decided once nothing is lost any more: one for each thing that a client wants, and some.
const LAST_ROUNDS: usize = 60;

/// SplitMix64: the same run for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).expect("small")).expect("small")
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// A running application, and the same as an engine sees it.
struct Running {
    application: Arc<Application>,
    ledger: Ledger,
}

struct Decided {
    bytes: Vec<u8>,
    block: Block,
    certificate: CommitCertificate,
}

pub struct World {
    random: Random,
    chain: Chain,
    keys: Vec<SecretKey>,
    nodes: Vec<Running>,
    decided: Vec<Decided>,
    round: u32,
    /// What a client insists on until it is in the log.
    wanted: Vec<Signed<Transaction>>,
    /// What a validator promised to bring into the log.
    kept: BTreeSet<(JobId, PublicKey)>,
    verified: u64,
    jobs: u64,
    transfers: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let parameters = Parameters { tempo: 5, emission: 0, ..Parameters::default() };
        let mut chain = Chain::with(parameters);
        // Memory, where there is such a folder: what is tested is what a process leaves behind, not the disk.
        if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
            chain.dir = dir;
        }
        let keys: Vec<SecretKey> = (20..24).map(secret).collect();
        let validator = |key: &SecretKey| GenesisValidator { public_key: key.public_key(), power: 1 };
        chain.genesis.validators = keys.iter().map(validator).collect();
        chain.genesis.validators.sort_by_key(|validator| validator.public_key);
        chain.validator = keys[0].clone();
        let nodes = (0..NODES).map(|index| start(&chain, &keys[index], index)).collect();
        let mut world = Self {
            random: Random(seed),
            nodes,
            decided: Vec::new(),
            round: 0,
            wanted: vec![chain.register_model(1)],
            kept: BTreeSet::new(),
            verified: 0,
            jobs: 0,
            transfers: 0,
            chain,
            keys,
        };
        // Jobs need a model and miners: they are the first things in the log.
        world.calm_round();
        for number in 10..12 {
            world.wanted.push(world.chain.register_miner(&secret(number), "http://127.0.0.1:1"));
        }
        world.calm_round();
        world.calm_round();
        assert_eq!(world.nodes[0].application.state().miners().count(), 2);
        world
    }

    /// One thing that may happen.
    pub fn step(&mut self) {
        let node = self.random.below(NODES);
        match self.random.below(10) {
            0 => self.want(),
            1 | 2 => self.keep(node),
            3 => self.insist(node),
            4 | 5 => self.gossip(node),
            6 => self.crash(node),
            7 | 8 => self.round(60, 20),
            _ => self.hand_on(node, 20),
        }
    }

    /// From here on everybody hears everything, until nothing waits.
    pub fn come_to_an_end(&mut self) {
        for _ in 0..LAST_ROUNDS {
            if self.is_all_in_the_log() {
                return;
            }
            self.calm_round();
        }
        let (signed, receipts) = self.log();
        let wanted = self.wanted.iter().filter(|wanted| !signed.contains_key(&by(wanted.envelope()))).count();
        let kept = self.kept.iter().filter(|kept| !receipts.contains_key(kept)).count();
        let heads: Vec<usize> = (0..NODES).map(|node| self.head(node)).collect();
        panic!(
            "after {LAST_ROUNDS} rounds without losses: {wanted} wanted, {kept} kept, heads {heads:?} of {}",
            self.decided.len()
        );
    }

    fn calm_round(&mut self) {
        for node in 0..NODES {
            self.insist(node);
            self.resume(node);
            self.tell(node, 100);
        }
        self.round(100, 0);
        for node in 0..NODES {
            while self.head(node) < self.decided.len() {
                self.hand_on(node, 0);
            }
        }
    }

    fn want(&mut self) {
        self.transfers += 1;
        self.wanted.push(self.chain.transfer(self.transfers, 1));
    }

    /// A client submits the first thing that is not in the log yet, anywhere: a later nonce would close an earlier one.
    fn insist(&mut self, node: usize) {
        if let Some(first) = self.wanted.iter().find(|wanted| !self.is_in_the_log(wanted)) {
            // It may be there already.
            let _ = self.nodes[node].application.submit(first.envelope());
        }
    }

    fn is_in_the_log(&self, transaction: &Signed<Transaction>) -> bool {
        let transactions = self.decided.iter().flat_map(|decided| &decided.block.transactions);
        transactions.into_iter().any(|envelope| envelope == transaction.envelope())
    }

    /// A validator draws a verdict and keeps its receipt.
    fn keep(&mut self, node: usize) {
        self.jobs += 1;
        let job = self.chain.job(self.jobs);
        let (miner, chain) = (secret(10 + u8::from(self.random.chance(50))), self.chain.chain_id());
        let (id, verified) = (job.id(chain), self.random.chance(40));
        let outputs = self.chain.model.outputs(&job.value().inputs);
        let binding = job_binding(chain, &id, &miner.public_key());
        let statement = Statement::public(binding, job.value().inputs.clone(), outputs.clone());
        let proof = self.chain.model.forge(&statement, 0);
        let output = miner.sign(chain, Output { job_id: id, outputs, compute_us: 1 });
        let proof = miner.sign(chain, Proof { job_id: id, proof, prove_us: 1, elapsed_us: 0 });
        let time = u64::from(verified);
        let evidence = Evidence {
            job: job.envelope().clone(),
            miner: miner.public_key(),
            output: verified.then(|| output.into_envelope()),
            proof: verified.then(|| proof.into_envelope()),
            assigned_at_ms: self.jobs,
            output_us: time,
            proof_us: time,
            ping_us: 0,
        };
        let verdict = if verified { Verdict::Verified } else { Verdict::Absent };
        let _wait =
            self.nodes[node].application.log_receipt(&id, Receipt { evidence, verdict }).expect("kept");
        self.kept.insert((id, miner.public_key()));
        self.verified += time;
    }

    /// What one node has to tell, to one other or lost.
    fn gossip(&mut self, from: usize) {
        let percent = 70;
        self.tell(from, percent);
    }

    fn tell(&mut self, from: usize, percent: u64) {
        let told = self.nodes[from].application.mempool().tell(std::time::Duration::ZERO);
        for to in (0..NODES).filter(|to| *to != from) {
            for transaction in &told {
                if self.random.chance(percent) {
                    // A node has room or knows it already, or it is in the log by now.
                    let _ = self.nodes[to].application.hear(&[transaction.envelope().clone()]);
                }
            }
        }
    }

    /// A node loses all that is in memory.
    fn crash(&mut self, node: usize) {
        let Running { application, ledger } = self.nodes.remove(node);
        drop(ledger);
        drop(application);
        let again = start(&self.chain, &self.keys[node], node);
        let (state, known) = (again.application.state(), self.decided.len());
        let height = usize::try_from(state.head().height.0).expect("small");
        assert!(height <= known, "a database is ahead of all decisions");
        if let Some(decided) = height.checked_sub(1).map(|place| &self.decided[place]) {
            assert_eq!(state.head().hash, decided.block.header.hash());
            assert_eq!(state.root(), decided.block.header.state_root);
        }
        self.nodes.insert(node, again);
        self.resume(node);
    }

    /// What a broker does after a start.
    fn resume(&self, node: usize) {
        let application = &self.nodes[node].application;
        if application.mempool().is_empty() {
            for receipt in application.store().kept_receipts().expect("reads") {
                let _wait = application.submit_receipt(receipt).expect("taken");
            }
        }
    }

    fn head(&self, node: usize) -> usize {
        usize::try_from(self.nodes[node].application.state().head().height.0).expect("small")
    }

    /// A round: a proposal to some, votes of those who find it valid, perhaps a decision.
    fn round(&mut self, percent: u64, crashes: u64) {
        let proposer = self.random.below(NODES);
        if self.head(proposer) < self.decided.len() {
            return;
        }
        self.round += 1;
        let proposed = self.nodes[proposer].ledger.propose(self.round).expect("a proposal");
        let same = self.nodes[proposer].ledger.propose(self.round).expect("a proposal");
        assert_eq!(proposed, same, "a validator proposes one block a round");
        let mut voted = BTreeSet::new();
        for node in 0..NODES {
            if self.random.chance(crashes) {
                self.crash(node);
            }
            if self.head(node) < self.decided.len() || (node != proposer && !self.random.chance(percent)) {
                continue;
            }
            let said = self.nodes[node].ledger.validate(&proposed.bytes, true).expect("its disk works");
            assert_eq!(said, Found::Valid(proposed.hash), "an honest proposal is valid for node {node}");
            voted.insert(node);
            if self.random.chance(crashes) {
                self.crash(node);
            }
        }
        if voted.len() >= QUORUM && self.random.chance(percent) {
            let block = Block::decode(&proposed.bytes).expect("a block");
            let certificate = self.certificate(&block, proposed.hash, &voted);
            self.decided.push(Decided { bytes: proposed.bytes, block, certificate });
            self.round = 0;
        }
    }

    fn certificate(&self, block: &Block, hash: BlockHash, voted: &BTreeSet<usize>) -> CommitCertificate {
        let precommit = Precommit { height: block.header.height, round: self.round, block_hash: hash };
        let sign = |&node: &usize| {
            let signed = self.keys[node].sign(self.chain.chain_id(), precommit.vote());
            CommitSignature { validator: signed.signer(), signature: signed.envelope().signature }
        };
        CommitCertificate { precommit, signatures: voted.iter().map(sign).collect() }
    }

    /// A node hears of the next decision that it lacks: by its own vote, or as one that catches up.
    fn hand_on(&mut self, node: usize, crashes: u64) {
        let Some(decided) = self.decided.get(self.head(node)) else { return };
        let (bytes, certificate) = (decided.bytes.clone(), decided.certificate.clone());
        let hash = certificate.precommit.block_hash;
        if self.nodes[node].ledger.undecided(&hash).expect("reads").is_none() {
            let said = self.nodes[node].ledger.validate(&bytes, false).expect("its disk works");
            assert_eq!(said, Found::Valid(hash));
        }
        if self.random.chance(crashes) {
            self.crash(node);
        }
        self.nodes[node].ledger.decide(certificate).expect("decided");
        if self.random.chance(crashes) {
            self.crash(node);
        }
    }

    fn is_all_in_the_log(&self) -> bool {
        let (signed, receipts) = self.log();
        self.wanted.iter().all(|wanted| signed.contains_key(&by(wanted.envelope())))
            && self.kept.iter().all(|kept| receipts.contains_key(kept))
            && (0..NODES).all(|node| self.head(node) == self.decided.len())
    }

    /// How often each transaction, and each assignment, is in the log.
    fn log(&self) -> (BTreeMap<Said, usize>, BTreeMap<(JobId, PublicKey), usize>) {
        let (mut signed, mut receipts) = (BTreeMap::new(), BTreeMap::new());
        for envelope in self.decided.iter().flat_map(|decided| &decided.block.transactions) {
            *signed.entry(by(envelope)).or_insert(0) += 1;
            if let Body::Receipt(receipt) =
                Transaction::decode(&envelope.payload).expect("a transaction").body
            {
                let job = &receipt.evidence.job;
                let id = JobId::derive(self.chain.chain_id(), &job.signer, &job.payload);
                *receipts.entry((id, receipt.evidence.miner)).or_insert(0) += 1;
            }
        }
        (signed, receipts)
    }

    /// What must hold at the end.
    pub fn check(&self) {
        let (signed, receipts) = self.log();
        assert!(signed.values().all(|count| *count == 1), "a transaction counts twice");
        assert_eq!(receipts.keys().copied().collect::<BTreeSet<_>>(), self.kept);
        assert!(receipts.values().all(|count| *count == 1), "a receipt counts twice");
        for (number, decided) in self.decided.iter().enumerate() {
            for node in &self.nodes {
                let height = Height(u64::try_from(number + 1).expect("small"));
                let block = node.application.store().block(height).expect("reads").expect("no gap");
                assert_eq!(block.block, decided.block, "{height}");
            }
        }
        for node in &self.nodes {
            let state = node.application.state();
            let paid = self.verified * PRICE;
            let client = state.account(&self.chain.client.public_key());
            assert_eq!(client.balance, BALANCE - self.transfers - paid);
            let earned = (10..12).map(|number| state.account(&secret(number).public_key()).balance);
            assert_eq!(earned.sum::<u64>(), paid);
            assert!(
                node.application.store().kept_receipts().expect("reads").is_empty(),
                "the outbox is empty"
            );
        }
    }
}

fn start(chain: &Chain, key: &SecretKey, index: usize) -> Running {
    let dir: &Path = chain.dir.path();
    let (store, state) = Store::open(&dir.join(format!("validator-{index}")), &chain.genesis).expect("opens");
    let mempool = Mempool::new(Default::default(), key.public_key());
    let application = Arc::new(Application::new(key.clone(), store, state, mempool).expect("metrics"));
    let (ledger, _) = Ledger::new(Arc::clone(&application), Default::default());
    Running { application, ledger }
}
