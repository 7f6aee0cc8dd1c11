//! A small chain: three validators, two clients, three miners, one model.

use assay_proto::block::{Block, CommitCertificate, CommitSignature, CommittedBlock, Precommit};
use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::transaction::{
    Body, Lock, ProofSystem, Purpose, RegisterMiner, RegisterModel, Transaction, Transfer,
};
use assay_proto::vote::{Equivocation, Vote, VoteKind};
use assay_proto::{BlockHash, ChainId, Envelope, Height, ModelId, PublicKey, SecretKey, Signed, SubnetId};
use assay_verifier::export;
use assay_verifier::locks::Locked;
use assay_verifier::proof::{KeyOrigin, Statement};
use assay_verifier::propose::{Proposal, propose};
use assay_verifier::state::{KeyCache, State};
use assay_verifier::transition::{Candidate, Transition, apply};
use assay_verifier::{Reason, Rejection};

use crate::trapdoor::Trapdoor;

pub const MODEL: ModelId = ModelId([77; 32]);
pub const PRICE: u64 = 100;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

/// Validators, with voting power 4, 3 and 3.
pub fn validator(n: u8) -> SecretKey {
    key(10 + n)
}

pub fn client(n: u8) -> SecretKey {
    key(20 + n)
}

pub fn miner(n: u8) -> SecretKey {
    key(30 + n)
}

pub fn chain() -> ChainId {
    ChainId::new("test-ledger").unwrap()
}

pub fn parameters() -> Parameters {
    Parameters {
        tempo: 5,
        emission: 1000,
        halving_epochs: 2,
        reputation_rate_ppm: 500_000,
        latency_target_us: 1000,
        subnet_price: 40,
        ..Parameters::default()
    }
}

pub fn genesis() -> Genesis {
    let mut validators: Vec<_> = [(0, 4), (1, 3), (2, 3)]
        .map(|(n, power)| GenesisValidator { public_key: validator(n).public_key(), power })
        .into();
    validators.sort_by_key(|validator| validator.public_key);
    let mut accounts: Vec<_> = [(0, 10_000), (1, 50)]
        .map(|(n, balance)| GenesisAccount { public_key: client(n).public_key(), balance })
        .into();
    accounts.sort_by_key(|account| account.public_key);
    Genesis {
        chain_id: chain(),
        time_ms: 1000,
        validators,
        accounts,
        parameters: parameters(),
        classes: Vec::new(),
    }
}

/// A chain as it grows.
pub struct World {
    pub state: State,
    pub keys: KeyCache,
    pub trapdoor: Trapdoor,
    pub blocks: Vec<CommittedBlock>,
    pub chain: ChainId,
}

/// What a miner sends and when, from an honest answer on.
pub struct Attempt {
    pub job: Signed<Job>,
    pub miner: SecretKey,
    pub outputs: Option<Vec<Vec<i32>>>,
    pub proof: Option<Vec<u8>>,
    pub output_us: u64,
    pub proof_us: u64,
    pub ping_us: u64,
    /// What the miner says it took; 0: nothing.
    pub elapsed_us: u64,
}

impl World {
    /// Height 0.
    pub fn empty() -> Self {
        Self::of(genesis())
    }

    pub fn of(genesis: Genesis) -> Self {
        let chain = genesis.chain_id.clone();
        let trapdoor = Trapdoor::new(MODEL.0, KeyOrigin::TestSeed);
        let state = State::genesis(genesis).unwrap();
        Self { state, keys: KeyCache::new(), trapdoor, blocks: Vec::new(), chain }
    }

    /// Height 1: the model and three miners are registered.
    pub fn ready() -> Self {
        let mut world = Self::empty();
        let mut transactions = vec![world.register_model(1)];
        transactions.extend((0..3).map(|n| world.register_miner(n)));
        world.commit(transactions);
        world
    }

    /// Height 1 of a chain with other numbers: the model is registered, no miner is.
    pub fn with(change: impl FnOnce(&mut Parameters)) -> Self {
        let mut genesis = genesis();
        change(&mut genesis.parameters);
        let mut world = Self::of(genesis);
        world.commit(vec![world.register_model(1)]);
        world
    }

    /// Empty blocks up to this height.
    pub fn advance(&mut self, height: u64) -> Transition {
        let mut transition = self.commit(vec![]);
        while self.state.head().height.0 < height {
            transition = self.commit(vec![]);
        }
        transition
    }

    pub fn lock(&self, owner: &SecretKey, purpose: Purpose, amount: u64) -> Envelope {
        self.next(owner, Body::Lock(Lock { purpose, amount }))
    }

    pub fn unlock(&self, owner: &SecretKey, purpose: Purpose, amount: u64) -> Envelope {
        self.next(owner, Body::Unlock(Lock { purpose, amount }))
    }

    /// What is locked, and what of it leaves.
    pub fn locked(&self, owner: &SecretKey, purpose: Purpose) -> (u64, u64) {
        let none = Locked::default();
        let locked = self.state.lock(purpose, owner.public_key()).unwrap_or(&none);
        (locked.amount, locked.leaving.values().sum())
    }

    pub fn sign(&self, secret: &SecretKey, nonce: u64, body: Body) -> Envelope {
        secret.sign(&self.chain, Transaction { nonce, body }).into_envelope()
    }

    /// Signed with the next nonce of the state.
    pub fn next(&self, secret: &SecretKey, body: Body) -> Envelope {
        self.sign(secret, self.state.account(&secret.public_key()).nonce + 1, body)
    }

    pub fn register_model(&self, nonce: u64) -> Envelope {
        self.register_model_by(&validator(2), nonce)
    }

    pub fn register_model_by(&self, signer: &SecretKey, nonce: u64) -> Envelope {
        let verifying_key = self.trapdoor.bytes.clone();
        let body = RegisterModel {
            model_id: MODEL,
            name: "tiny".into(),
            verifying_key,
            proof_system: ProofSystem::Groth16,
            subnet: SubnetId::ROOT,
        };
        self.sign(signer, nonce, Body::RegisterModel(body))
    }

    pub fn register_miner(&self, n: u8) -> Envelope {
        let body = RegisterMiner {
            endpoint: format!("http://miner-{n}:1"),
            model_ids: vec![MODEL],
            devices: Default::default(),
        };
        self.next(&miner(n), Body::RegisterMiner(body))
    }

    pub fn transfer(&self, from: &SecretKey, to: PublicKey, amount: u64) -> Envelope {
        self.next(from, Body::Transfer(Transfer { to, amount }))
    }

    pub fn job(&self, client: &SecretKey, nonce: u64) -> Signed<Job> {
        client.sign(&self.chain, plain_job(nonce))
    }

    /// An honest, punctual attempt.
    pub fn attempt(&self, job: Signed<Job>, miner: SecretKey) -> Attempt {
        let outputs = vec![vec![1, -1]];
        let proof = self.prove(&job, &miner, &outputs, 0);
        let (outputs, proof) = (Some(outputs), Some(proof));
        Attempt { job, miner, outputs, proof, output_us: 100, proof_us: 500, ping_us: 0, elapsed_us: 0 }
    }

    pub fn prove(&self, job: &Signed<Job>, miner: &SecretKey, outputs: &[Vec<i32>], salt: u64) -> Vec<u8> {
        let binding = job_binding(&self.chain, &job.id(&self.chain), &miner.public_key());
        let statement = Statement::public(binding, job.value().inputs.clone(), outputs.to_vec());
        self.trapdoor.prove(&statement, salt)
    }

    pub fn evidence(&self, attempt: &Attempt) -> Evidence {
        let job_id = attempt.job.id(&self.chain);
        let output = attempt.outputs.clone().map(|outputs| {
            attempt.miner.sign(&self.chain, Output { job_id, outputs, compute_us: 50 }).into_envelope()
        });
        let proof = attempt.proof.clone().map(|proof| {
            let proof = Proof { job_id, proof, prove_us: 400, elapsed_us: attempt.elapsed_us };
            attempt.miner.sign(&self.chain, proof).into_envelope()
        });
        Evidence {
            job: attempt.job.envelope().clone(),
            miner: attempt.miner.public_key(),
            output_us: if output.is_some() { attempt.output_us } else { 0 },
            proof_us: if proof.is_some() { attempt.proof_us } else { 0 },
            ping_us: if proof.is_some() { attempt.ping_us } else { 0 },
            output,
            proof,
            assigned_at_ms: 1234,
        }
    }

    pub fn receipt(&self, attempt: &Attempt, verdict: Verdict) -> Receipt {
        Receipt { evidence: self.evidence(attempt), verdict }
    }

    /// A receipt signed by validator 0, `offset` nonces after its last.
    pub fn signed_receipt(&self, receipt: Receipt, offset: u64) -> Envelope {
        let nonce = self.state.account(&validator(0).public_key()).nonce + offset;
        self.sign(&validator(0), nonce, Body::Receipt(Box::new(receipt)))
    }

    /// Verified receipts of client 0's jobs, `(nonce, miner, proof_us)` each.
    pub fn verified(&self, jobs: &[(u64, u8, u64)]) -> Vec<Envelope> {
        let signed = |(offset, &(nonce, n, proof_us)): (u64, &(u64, u8, u64))| {
            let attempt = Attempt { proof_us, ..self.attempt(self.job(&client(0), nonce), miner(n)) };
            self.signed_receipt(self.receipt(&attempt, Verdict::Verified), offset)
        };
        (1..).zip(jobs).map(signed).collect()
    }

    pub fn propose(&self, transactions: &[Envelope]) -> Proposal {
        let time_ms = self.state.head().time_ms + 10;
        let candidates: Vec<_> = transactions.iter().map(Candidate::Sealed).collect();
        propose(&self.state, validator(0).public_key(), time_ms, &candidates, &self.keys).unwrap()
    }

    /// The next block with these transactions, its roots made to fit whatever the transactions are.
    pub fn block(&self, transactions: Vec<Envelope>) -> Block {
        let mut block = self.propose(&transactions).block;
        block.header.transactions_root = assay_proto::transactions::root(&transactions);
        block.transactions = transactions;
        block
    }

    pub fn certificate(&self, block: &Block, signers: &[u8]) -> CommitCertificate {
        self.certificate_by(block, &signers.iter().map(|&n| validator(n)).collect::<Vec<_>>())
    }

    pub fn certificate_by(&self, block: &Block, keys: &[SecretKey]) -> CommitCertificate {
        let precommit = Precommit { height: block.header.height, round: 0, block_hash: block.header.hash() };
        let sign = |key: &SecretKey| {
            let signed = key.sign(&self.chain, precommit.vote());
            CommitSignature { validator: signed.signer(), signature: signed.envelope().signature }
        };
        CommitCertificate { precommit, signatures: keys.iter().map(sign).collect() }
    }

    /// The proof that a key cast two votes at a height.
    pub fn equivocation(&self, key: &SecretKey, height: Height) -> Body {
        let vote = |block_hash| Vote { kind: VoteKind::Prevote, height, round: 0, block_hash };
        let sign = |block_hash| key.sign(&self.chain, vote(block_hash)).into_envelope();
        Body::Equivocation(Equivocation::new(sign(None), sign(Some(BlockHash([8; 32])))).unwrap())
    }

    /// The log as a validator exports it.
    pub fn exported(&self) -> Vec<u8> {
        let blocks = self.blocks.iter().flat_map(export::block);
        let start = export::start(self.state.genesis_block()).into_iter();
        start.chain(blocks).chain(export::end(self.state.head().height)).collect()
    }

    /// Appends a block that must be valid, with every transaction in it.
    pub fn commit(&mut self, transactions: Vec<Envelope>) -> Transition {
        let proposal = self.propose(&transactions);
        assert!(proposal.dropped.is_empty(), "{:?}", proposal.dropped);
        let transition = apply(&self.state, &proposal.block, &KeyCache::new()).unwrap();
        assert_eq!(transition.state.root(), proposal.transition.state.root());
        let certificate = self.certificate(&proposal.block, &[0, 1, 2]);
        self.blocks.push(CommittedBlock { block: proposal.block, certificate });
        self.state = transition.state.clone();
        transition
    }

    /// The rejection of a block with these transactions.
    pub fn reject(&self, transactions: Vec<Envelope>) -> Rejection {
        apply(&self.state, &self.block(transactions), &KeyCache::new()).unwrap_err()
    }

    /// Why a single transaction may not apply; a proposer must say the same.
    pub fn refusal(&self, transaction: Envelope) -> Reason {
        let rejection = self.reject(vec![transaction.clone()]);
        assert_eq!(rejection.height, self.state.head().height.next());
        assert_eq!(rejection.index, Some(0));
        let proposal = self.propose(&[transaction]);
        assert_eq!((proposal.dropped.len(), proposal.included.len()), (1, 0));
        let dropped = proposal.dropped.into_iter().next().unwrap().reason;
        assert_eq!(dropped.to_string(), rejection.reason.to_string());
        *rejection.reason
    }

    pub fn balance(&self, secret: &SecretKey) -> u64 {
        self.state.account(&secret.public_key()).balance
    }
}

pub fn plain_job(nonce: u64) -> Job {
    Job {
        model_id: MODEL,
        inputs: vec![vec![0, 5, 15, 2]],
        nonce,
        max_price: PRICE,
        deadline_ms: 2,
        tier: Default::default(),
    }
}
