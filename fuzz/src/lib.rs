#![doc = include_str!("../README.md")]

use std::path::Path;
use std::sync::LazyLock;

use assay_circuits::ir::Graph;
use assay_circuits::samples;
use assay_proto::block::{CommitCertificate, CommitSignature, CommittedBlock, Precommit};
use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::subnet::{Number, RegisterSubnet, VoteParameter, WeighSubnets};
use assay_proto::transaction::{Body, ProofSystem, RegisterMiner, RegisterModel, Transaction, Transfer};
use assay_proto::{ChainId, Envelope, Height, ModelId, SecretKey, SubnetId};
use assay_prover::groth16::{Prover, ProvingKey, Secret, setup};
use assay_verifier::export;
use assay_verifier::proof::Statement;
use assay_verifier::propose::propose;
use assay_verifier::state::{KeyCache, Record, State};
use assay_verifier::transition::Candidate;

pub mod graphs;

/// ONNX files made by hand, as the importer's tests make them.
#[path = "../../circuits/tests/it/import/onnx.rs"]
pub mod onnx;

/// Writes seeds where cargo-fuzz looks for them; a target calls it before it starts.
pub fn seed(target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    for (number, bytes) in seeds.into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), bytes).expect("the corpus can be written");
    }
}

/// Seeds of arbitrary bytes, long enough for a target that draws a structure from them.
pub fn arbitrary() -> impl Iterator<Item = Vec<u8>> {
    (0..64_u8).map(|number| {
        let mut bytes = vec![0; 1024];
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut bytes);
        bytes
    })
}

/// Honest bytes with changes: four bytes of input are a place and what is added to the byte there, what remains is
/// appended.
pub fn changed(honest: &[u8], input: &[u8]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    let (changes, rest) = input.as_chunks::<4>();
    for &[a, b, c, add] in changes {
        let place = u32::from_le_bytes([a, b, c, 0]) as usize % honest.len();
        bytes[place] = bytes[place].wrapping_add(add);
    }
    bytes.extend(rest);
    bytes
}

/// A model with keys of a fixed seed, and a proof.
pub struct Honest {
    /// The model and its keys.
    pub prover: Prover,
    /// File of the proving key.
    pub proving_key: Vec<u8>,
    /// File of the verifying key.
    pub verifying_key: Vec<u8>,
    /// What is proven.
    pub statement: Statement,
    /// The proof.
    pub proof: Vec<u8>,
}

impl Honest {
    fn new(graph: Graph) -> Self {
        let key = setup(&graph, Secret::Seed([1; 32]), None, &|_, _| ());
        let verifying_key = key.verifying_key().to_vec();
        let mut proving_key = Vec::new();
        key.write(&mut proving_key).expect("a Vec takes any number of bytes");
        let prover = prover(&proving_key, graph);
        let trace = prover.graph().run(&[INPUT.to_vec()]).expect("the input fits");
        let (statement, proof) = prover.prove(&trace, [7; 32], &[]).expect("honest");
        Self { prover, proving_key, verifying_key, statement, proof }
    }
}

/// Reads an honest key.
fn prover(key: &[u8], graph: Graph) -> Prover {
    let key = ProvingKey::read(key, &graph).expect("the key is the model's");
    Prover::new(graph, key).expect("the key is the model's")
}

/// Two layers, three inputs, two outputs.
pub static HONEST: LazyLock<Honest> = LazyLock::new(|| Honest::new(samples::dense()));

/// What [`HONEST`]'s proof is about.
pub const INPUT: [i32; 3] = [1, 2, 3];

/// A chain of one validator, on which [`HONEST`]'s model is registered and one job was proven.
pub struct Chain {
    /// Its export.
    pub log: Vec<u8>,
    /// Its blocks.
    pub blocks: Vec<CommittedBlock>,
    /// Its genesis.
    pub genesis: Genesis,
    /// Keys and values of its last state.
    pub records: Vec<Record>,
    /// A signed job, an output and a proof.
    pub messages: Vec<Envelope>,
}

/// See [`Chain`].
pub static CHAIN: LazyLock<Chain> = LazyLock::new(chain);

fn chain() -> Chain {
    let [validator, miner, client] = [1, 2, 3].map(|seed| SecretKey::from_bytes(&[seed; 32]));
    let chain = ChainId::new("test-fuzz").expect("a valid name");
    let genesis = Genesis {
        chain_id: chain.clone(),
        time_ms: 1000,
        validators: vec![GenesisValidator { public_key: validator.public_key(), power: 1 }],
        accounts: vec![GenesisAccount { public_key: client.public_key(), balance: 1000 }],
        parameters: Parameters { tempo: 2, subnet_price: 1, ..Parameters::default() },
        classes: Vec::new(),
    };

    let model_id = ModelId(HONEST.prover.model_id().0);
    let sign =
        |secret: &SecretKey, nonce, body| secret.sign(&chain, Transaction { nonce, body }).into_envelope();
    let verifying_key = HONEST.verifying_key.clone();
    let model = RegisterModel {
        model_id,
        name: "dense".into(),
        verifying_key,
        proof_system: ProofSystem::Groth16,
        subnet: SubnetId::ROOT,
    };
    let registration = RegisterMiner {
        endpoint: "http://miner:1".into(),
        model_ids: vec![model_id],
        devices: Default::default(),
    };

    let trace = HONEST.prover.graph().run(&[INPUT.to_vec()]).expect("the input fits");
    let graph = HONEST.prover.graph();
    let (inputs, outputs) = (trace.inputs(graph), trace.outputs(graph));
    let job = client.sign(
        &chain,
        Job { model_id, inputs, nonce: 1, max_price: 10, deadline_ms: 1000, tier: Default::default() },
    );
    let job_id = job.id(&chain);
    let binding = job_binding(&chain, &job_id, &miner.public_key());
    let (_, proof) = HONEST.prover.prove(&trace, binding, &[]).expect("honest");
    let output = Output { job_id, outputs, compute_us: 1 };
    let output = miner.sign(&chain, output).into_envelope();
    let proof = miner.sign(&chain, Proof { job_id, proof, prove_us: 1, elapsed_us: 0 }).into_envelope();
    let evidence = Evidence {
        job: job.envelope().clone(),
        miner: miner.public_key(),
        output: Some(output.clone()),
        proof: Some(proof.clone()),
        assigned_at_ms: 2000,
        output_us: 10,
        proof_us: 20,
        ping_us: 0,
    };
    let receipt = Receipt { evidence, verdict: Verdict::Verified };
    let transfer = Transfer { to: miner.public_key(), amount: 5 };
    let number = |name: &str, value| Number { name: name.into(), value };
    let subnet = RegisterSubnet {
        task: "digits".into(),
        models: vec![model_id],
        proof_system: Some(ProofSystem::Groth16),
        labelled: true,
        numbers: vec![number("kappa", 40_000), number("miner_slots", 8)],
    };
    let weights = WeighSubnets { weights: vec![(SubnetId::ROOT, 2), (SubnetId(1), 1)] };
    let vote = VoteParameter { number: number("fee", 1) };

    let transactions = [
        vec![
            sign(&validator, 1, Body::RegisterModel(model)),
            sign(&miner, 1, Body::RegisterMiner(registration)),
        ],
        vec![
            sign(&validator, 2, Body::Receipt(Box::new(receipt))),
            sign(&client, 1, Body::Transfer(transfer)),
            sign(&client, 2, Body::RegisterSubnet(subnet)),
            sign(&validator, 3, Body::WeighSubnets(weights)),
            sign(&validator, 4, Body::VoteParameter(vote)),
        ],
    ];
    let keys = KeyCache::new();
    let mut state = State::genesis(genesis.clone()).expect("a valid genesis");
    let (mut log, mut blocks) = (export::start(&genesis), Vec::new());
    for transactions in transactions {
        let time_ms = state.head().time_ms + 1;
        let candidates: Vec<Candidate<'_>> = transactions.iter().map(Candidate::Sealed).collect();
        let proposal = propose(&state, validator.public_key(), time_ms, &candidates, &keys).expect("honest");
        assert!(proposal.dropped.is_empty(), "{:?}", proposal.dropped);
        let header = &proposal.block.header;
        let precommit = Precommit { height: header.height, round: 0, block_hash: header.hash() };
        let signature = validator.sign(&chain, precommit.vote()).envelope().signature;
        let signatures = vec![CommitSignature { validator: validator.public_key(), signature }];
        let certificate = CommitCertificate { precommit, signatures };
        let block = CommittedBlock { block: proposal.block, certificate };
        log.extend(export::block(&block));
        blocks.push(block);
        state = proposal.transition.state;
    }
    log.extend(export::end(Height(2)));
    let records = state.records().collect();
    Chain { log, blocks, genesis, records, messages: vec![job.into_envelope(), output, proof] }
}
