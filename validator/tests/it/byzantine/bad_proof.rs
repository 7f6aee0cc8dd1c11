//! Proposes blocks of 500 receipts of which one carries a proof that does not hold.

use assay_proto::block::{Block, BlockHeader};
use assay_proto::job::{Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{Canonical, Envelope, Root, SecretKey, transactions};
use assay_validator::application::Application;
use assay_validator_bft::Proposed;
use assay_verifier::Reason;
use assay_verifier::proof::Statement;

use super::{LIAR, Lies, Running, honest, until_proposed};
use crate::support::network::{Network, agree, calls, ready};
use crate::support::secret;

const RECEIPTS: u64 = 500;
const BAD: u64 = 250;

/// A receipt of the liar for a job of the client, verified unless `bad`.
fn receipt(network: &Network, miner: &SecretKey, number: u64) -> Envelope {
    let chain = &network.chain;
    let job = chain.job_with(|job| (job.nonce, job.max_price) = (number, 1));
    let id = job.id(chain.chain_id());
    let (inputs, outputs) = (job.value().inputs.clone(), chain.model.outputs(&job.value().inputs));
    let binding = job_binding(chain.chain_id(), &id, &miner.public_key());
    let mut statement = Statement::public(binding, inputs, outputs.clone());
    if number == BAD {
        statement.job = [9; 32];
    }
    let output = Output { job_id: id, outputs, compute_us: 1 };
    let proof = Proof { job_id: id, proof: chain.model.forge(&statement, 0), prove_us: 1, elapsed_us: 0 };
    let evidence = Evidence {
        job: job.into_envelope(),
        miner: miner.public_key(),
        output: Some(miner.sign(chain.chain_id(), output).into_envelope()),
        proof: Some(miner.sign(chain.chain_id(), proof).into_envelope()),
        assigned_at_ms: 1,
        output_us: 1,
        proof_us: 2,
        ping_us: 0,
    };
    let body = Body::Receipt(Box::new(Receipt { evidence, verdict: Verdict::Verified }));
    network.keys[LIAR].sign(chain.chain_id(), Transaction { nonce: number, body }).into_envelope()
}

fn block(application: &Application, transactions: Vec<Envelope>) -> Block {
    let state = application.state();
    let header = BlockHeader {
        chain_id: state.chain_id().clone(),
        height: state.head().height.next(),
        parent: state.head().hash,
        time_ms: state.head().time_ms,
        proposer: application.public_key(),
        transactions_root: transactions::root(&transactions),
        state_root: Root([0; 32]),
    };
    Block { header, transactions }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_proof_among_500_is_refused_by_its_index_and_the_round_goes_on() {
    let network = Network::new(4);
    let nodes = honest(&network).await;
    let miner = secret(10);
    let mut first = {
        let liar = Running::start(&network, Lies::default()).await;
        for node in &nodes {
            ready(node).await;
        }
        let mut first = calls(&nodes[0]).await;
        first.submit(&network.chain.register_model(1)).await.expect("registered");
        first.submit(&network.chain.register_miner(&miner, "http://127.0.0.1:1")).await.expect("registered");
        liar.stop().await;
        first
    };
    let receipts: Vec<Envelope> = (1..=RECEIPTS).map(|number| receipt(&network, &miner, number)).collect();
    let prepared = receipts.clone();
    let propose = move |application: &Application, _| {
        let block = block(application, prepared.clone());
        Proposed { hash: block.header.hash(), bytes: block.encode() }
    };
    let before = nodes[0].application().state().head().height;
    let liar = Running::start(&network, Lies { propose: Box::new(propose), ..Lies::default() }).await;
    until_proposed(&network, &nodes, &liar, 1, 1).await;
    agree(&nodes).await;
    for height in before.0 + 1..=nodes[0].application().state().head().height.0 {
        let block =
            nodes[0].application().store().block(assay_proto::Height(height)).expect("reads").expect("one");
        assert_ne!(block.block.header.proposer, network.keys[LIAR].public_key());
    }
    // The reason, as every honest validator logs it.
    let application = nodes[0].application();
    let mut proposed = block(application, receipts);
    proposed.header.proposer = network.keys[LIAR].public_key();
    let rejection = application.validate(&proposed).expect_err("a bad proof");
    assert_eq!(rejection.index, Some(usize::try_from(BAD - 1).expect("small")), "{rejection:?}");
    assert!(matches!(*rejection.reason, Reason::Verdict { got: Verdict::Verified, .. }), "{rejection:?}");
    assert!(first.account(miner.public_key()).await.balance == 0, "nothing is paid for it");
    liar.stop().await;
}
