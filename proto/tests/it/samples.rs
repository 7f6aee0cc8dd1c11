//! One valid value of every message.

use assay_proto::block::{Block, BlockHeader, CommitCertificate, CommitSignature, CommittedBlock, Precommit};
use assay_proto::challenge::{Challenge, ChallengeAnswer, Challenged, Outcome};
use assay_proto::genesis::{DeviceClass, Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::hold::{Hold, Release, ReleaseReason};
use assay_proto::job::{Job, Output, Proof, Tier};
use assay_proto::operating::{KeyConsent, SetOperatingKey};
use assay_proto::operator::Backup;
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::report::{EpochReport, MinerEpoch, SubnetEpoch, ValidatorEpoch};
use assay_proto::scores::{CommitScores, RevealScores};
use assay_proto::subnet::{Number, RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{
    Body, Burn, Devices, Lock, ProofSystem, Purpose, RegisterMiner, RegisterModel, Transaction, Transfer,
};
use assay_proto::vote::{Equivocation, Proposal, Vote, VoteKind};
use assay_proto::{
    BlockHash, ChainId, Epoch, Height, JobId, ModelId, PublicKey, Root, SecretKey, Signature, Signed,
    SubnetId,
};

pub fn chain() -> ChainId {
    ChainId::new("test-wire").unwrap()
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

pub fn job() -> Job {
    Job {
        model_id: ModelId([7; 32]),
        inputs: vec![vec![0, 1, -1, i32::MAX, i32::MIN], vec![]],
        nonce: 5,
        max_price: 100,
        deadline_ms: 2000,
        tier: Tier::Priority,
    }
}

pub fn output(job_id: JobId) -> Output {
    Output { job_id, outputs: vec![vec![3, -3]], compute_us: 12 }
}

pub fn proof(job_id: JobId) -> Proof {
    Proof { job_id, proof: vec![9; 160], prove_us: 345, elapsed_us: 0 }
}

pub fn receipt(verdict: Verdict) -> Receipt {
    let job = key(1).sign(&chain(), job());
    let job_id = job.id(&chain());
    let evidence = Evidence {
        miner: key(2).public_key(),
        output: Some(key(2).sign(&chain(), output(job_id)).into_envelope()),
        proof: Some(key(2).sign(&chain(), proof(job_id)).into_envelope()),
        job: job.into_envelope(),
        assigned_at_ms: 1_700_000_000_000,
        output_us: 50,
        proof_us: 900,
        ping_us: 70,
    };
    Receipt { evidence, verdict }
}

pub fn transactions() -> Vec<Transaction> {
    let bodies = [
        Body::RegisterModel(RegisterModel {
            model_id: ModelId([7; 32]),
            name: "lenet5".into(),
            verifying_key: vec![1, 2, 3],
            proof_system: ProofSystem::Groth16,
            subnet: SubnetId(3),
        }),
        Body::RegisterMiner(RegisterMiner {
            endpoint: "http://127.0.0.1:9000".into(),
            model_ids: vec![ModelId([7; 32]), ModelId([6; 32])],
            devices: Devices { class: 3, count: 8 },
        }),
        Body::Transfer(Transfer { to: PublicKey([4; 32]), amount: 1 }),
        Body::Receipt(Box::new(receipt(Verdict::Verified))),
        Body::Equivocation(equivocation()),
        Body::Burn(Burn { amount: 3 }),
        Body::Lock(Lock { purpose: Purpose::Stake(PublicKey([4; 32])), amount: 5 }),
        Body::Unlock(Lock { purpose: Purpose::Collateral, amount: 5 }),
        Body::Unlock(Lock { purpose: Purpose::Escrow, amount: u64::MAX }),
        Body::CommitScores(commitment()),
        Body::RevealScores(scores()),
        Body::RegisterSubnet(RegisterSubnet {
            task: "digits".into(),
            models: vec![ModelId([6; 32]), ModelId([7; 32])],
            proof_system: Some(ProofSystem::Groth16),
            labelled: true,
            numbers: vec![number("kappa", 40_000), number("miner_slots", 8)],
        }),
        Body::WeighSubnets(WeighSubnets { weights: vec![(SubnetId::ROOT, 1), (SubnetId(3), u16::MAX)] }),
        Body::VoteParameter(VoteParameter { number: number("fee", 7) }),
        Body::Challenged(challenged()),
        Body::Hold(Hold { job: key(1).sign(&chain(), job()).into_envelope() }),
        Body::Release(Release { client: key(1).public_key(), nonce: 5, reason: ReleaseReason::MinersFailed }),
    ];
    (1..).zip(bodies).map(|(nonce, body)| Transaction { nonce, body }).collect()
}

pub fn consent() -> KeyConsent {
    KeyConsent { owner: key(1).public_key() }
}

pub fn operating_key() -> SetOperatingKey {
    SetOperatingKey::new(&chain(), key(1).public_key(), &key(2))
}

pub fn challenge() -> Challenge {
    let (height, block_hash) = (Height(9), BlockHash([8; 32]));
    Challenge { miner: key(2).public_key(), height, block_hash, side: 64, rounds: 3 }
}

pub fn answer() -> ChallengeAnswer {
    let challenge = key(3).sign(&chain(), challenge()).id(&chain());
    ChallengeAnswer { challenge, device_class: 3, rows: vec![[1; 8], [2; 8]], compute_us: 77 }
}

pub fn challenged() -> Challenged {
    Challenged {
        challenge: key(3).sign(&chain(), challenge()).into_envelope(),
        answer: Some(key(2).sign(&chain(), answer()).into_envelope()),
        outcome: Outcome::Slow,
        answer_us: 900,
        network_us: 90,
    }
}

pub fn scores() -> RevealScores {
    let scores = vec![(PublicKey([2; 32]), 1), (PublicKey([4; 32]), u16::MAX)];
    RevealScores { epoch: Epoch(7), scores, salt: [5; 32], subnet: SubnetId(3) }
}

pub fn commitment() -> CommitScores {
    let commitment = scores().commitment(&chain(), &key(3).public_key());
    CommitScores { epoch: Epoch(7), commitment, subnet: SubnetId(3) }
}

pub fn number(name: &str, value: u64) -> Number {
    Number { name: name.into(), value }
}

pub fn signed_transactions() -> Vec<Signed<Transaction>> {
    transactions().into_iter().map(|transaction| key(3).sign(&chain(), transaction)).collect()
}

pub fn header() -> BlockHeader {
    let transactions: Vec<_> = signed_transactions().into_iter().map(Signed::into_envelope).collect();
    BlockHeader {
        chain_id: chain(),
        height: Height(1),
        parent: BlockHash([1; 32]),
        time_ms: 1_700_000_000_000,
        proposer: key(3).public_key(),
        transactions_root: assay_proto::transactions::root(&transactions),
        state_root: Root([2; 32]),
    }
}

pub fn block() -> Block {
    let transactions = signed_transactions().into_iter().map(Signed::into_envelope).collect();
    Block { header: header(), transactions }
}

pub fn precommit() -> Precommit {
    Precommit { height: Height(1), round: 2, block_hash: header().hash() }
}

pub fn vote() -> Vote {
    precommit().vote()
}

pub fn round_proposal() -> Proposal {
    Proposal { height: Height(1), round: 2, block_hash: header().hash(), valid_round: Some(0) }
}

pub fn equivocation() -> Equivocation {
    let vote = |block_hash| Vote { kind: VoteKind::Prevote, height: Height(1), round: 2, block_hash };
    let sign = |block_hash| key(3).sign(&chain(), vote(block_hash)).into_envelope();
    Equivocation::new(sign(None), sign(Some(BlockHash([8; 32])))).unwrap()
}

pub fn backup() -> Backup {
    Backup::new("nightly-1", 1_700_000_000_000).unwrap()
}

pub fn committed() -> CommittedBlock {
    let vote = key(3).sign(&chain(), precommit().vote());
    let signature = CommitSignature { validator: vote.signer(), signature: vote.envelope().signature };
    let certificate = CommitCertificate { precommit: precommit(), signatures: vec![signature] };
    CommittedBlock { block: block(), certificate }
}

pub fn genesis() -> Genesis {
    Genesis {
        chain_id: chain(),
        time_ms: 1,
        validators: vec![GenesisValidator { public_key: PublicKey([1; 32]), power: 10 }],
        accounts: vec![
            GenesisAccount { public_key: PublicKey([1; 32]), balance: 0 },
            GenesisAccount { public_key: PublicKey([2; 32]), balance: 1000 },
        ],
        parameters: Parameters::default(),
        classes: vec![DeviceClass { id: 3, rate: 1_000_000, collateral_ppm: 2_000_000 }],
    }
}

pub fn report() -> EpochReport {
    let miner = MinerEpoch {
        miner: PublicKey([2; 32]),
        verified: 3,
        invalid: 1,
        late: 2,
        absent: 4,
        online: 5,
        slow: 6,
        wrong_device: 7,
        offline: 8,
        availability_ppm: 100_000,
        latency_us: 2_100_000,
        measured_by: 2,
        quality_ppm: 900_000,
        reputation_ppm: 1_000_000,
        consensus_ppm: 6,
        incentive_ppm: 5,
        reward: 70,
    };
    let validator = ValidatorEpoch {
        validator: PublicKey([1; 32]),
        power: 10,
        revealed: true,
        trust_ppm: 400_000,
        dividend_ppm: 1_000_000,
        reward: 30,
    };
    EpochReport {
        epoch: Epoch(1),
        height: Height(10),
        emission: 201,
        scored: true,
        miners: vec![miner],
        validators: vec![validator],
        subnets: vec![SubnetEpoch {
            subnet: SubnetId(3),
            epoch: Epoch(2),
            emission: 100,
            scored: false,
            miners: vec![miner],
            validators: vec![validator],
        }],
    }
}

pub fn flipped(signature: Signature) -> Signature {
    let mut bytes = signature.0;
    bytes[10] ^= 1;
    Signature(bytes)
}
