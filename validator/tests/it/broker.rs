//! Jobs over gRPC, with miners that are absent, late, wrong and hostile.

use std::time::{Duration, Instant};

use assay_proto::job::{Job, Output, Proof, Tier, job_binding};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::transaction::{Body, RegisterMiner};
use assay_proto::wire::infer_response::Event;
use assay_proto::{ChainId, ModelId, PublicKey, SecretKey, Signed};
use assay_validator::config::{BrokerConfig, Config};
use assay_verifier::proof::Statement;
use tonic::Code;

use crate::support::calls::{Calls, names};
use crate::support::miner::Behaviour;
use crate::support::{BALANCE, Chain, PRICE, secret};

/// A job whose first miner behaves like this; the events, the verdict in the log, the miner's words.
async fn one_attempt(behaviour: Behaviour, deadline_ms: u64) -> (Vec<String>, Vec<Verdict>, String) {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[behaviour]).await;
    let job = chain.job_with(|job| job.deadline_ms = deadline_ms);
    let events = calls.infer(&job).await.expect("events");
    let verdicts = calls.verdicts(job.id(chain.chain_id()), 1).await;
    let failed = events.iter().find_map(|event| match event {
        Event::AttemptFailed(failed) => Some(failed.detail.clone()),
        _ => None,
    });
    let balance = calls.account(chain.client.public_key()).await.balance;
    let paid = verdicts.iter().filter(|verdict| **verdict == Verdict::Verified).count();
    assert_eq!(
        balance,
        BALANCE - PRICE * u64::try_from(paid).expect("small"),
        "paid if and only if verified"
    );
    node.shutdown().await.expect("stops");
    (names(&events), verdicts, failed.unwrap_or_default())
}

const FAILED: &str = "failed: MinersFailed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_answer_is_passed_on_verified_paid_and_committed() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let job = chain.job(1);
    let events = calls.infer(&job).await.expect("events");
    assert_eq!(names(&events), ["assigned 1", "output", "proof", "committed"]);
    let receipts = calls.receipts(job.id(chain.chain_id())).await;
    let Some(Event::Committed(committed)) = events.last() else { panic!("not committed") };
    assert_eq!(receipts.len(), 1);
    let (height, index, receipt) = &receipts[0];
    assert_eq!((*height, *index), (committed.height, committed.index));
    assert_eq!(receipt.verdict, Verdict::Verified);
    assert!(receipt.evidence.proof_us >= receipt.evidence.output_us && receipt.evidence.output_us > 0);
    assert_eq!(calls.account(chain.client.public_key()).await.balance, BALANCE - PRICE);
    let miner = calls.account(miners[0].key.public_key()).await;
    assert_eq!((miner.balance, miner.miner.expect("a miner").earned), (PRICE, PRICE));
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_goes_with_the_job_and_its_answer_counts_if_it_comes_before_the_proof() {
    for behaviour in [Behaviour::ProofAfter(Duration::from_secs(1)), Behaviour::NoPing] {
        let chain = Chain::new();
        let node = chain.start().await;
        let mut calls = Calls::to(node.local_addr()).await;
        let _miners = calls.set_up(&chain, &[behaviour]).await;
        let job = chain.job(1);
        let events = calls.infer(&job).await.expect("events");
        assert_eq!(names(&events), ["assigned 1", "output", "proof", "committed"]);
        let receipts = calls.receipts(job.id(chain.chain_id())).await;
        let Evidence { ping_us, proof_us, .. } = receipts[0].2.evidence;
        match behaviour {
            Behaviour::NoPing => assert_eq!(ping_us, 0),
            _ => {
                assert!(0 < ping_us && ping_us < 900_000 && 1_000_000 <= proof_us, "{ping_us} of {proof_us}")
            }
        }
        node.shutdown().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_miner_is_absent() {
    let (events, verdicts, detail) = one_attempt(Behaviour::Silent, 50).await;
    assert_eq!(events, ["assigned 1", "attempt failed: Absent", FAILED]);
    assert_eq!((verdicts, detail.as_str()), (vec![Verdict::Absent], "no output in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_that_refuses_is_absent_and_its_words_are_cut_and_printable() {
    let (events, verdicts, detail) = one_attempt(Behaviour::Refuses, 5_000).await;
    assert_eq!(events, ["assigned 1", "attempt failed: Absent", FAILED]);
    assert_eq!(verdicts, [Verdict::Absent]);
    assert!(detail.starts_with("it answered ResourceExhausted: full[31m!!"), "{detail}");
    assert!(detail.len() < 300 && !detail.contains(char::is_control), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_without_a_proof_is_absent() {
    let (events, verdicts, _) = one_attempt(Behaviour::OutputOnly, 5_000).await;
    assert_eq!(events, ["assigned 1", "output", "attempt failed: Absent", FAILED]);
    assert_eq!(verdicts, [Verdict::Absent]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_a_stranger_signed_is_absent_though_the_miner_answered_the_ping() {
    let strangers = Behaviour::StrangersProof(Duration::from_millis(300));
    let (events, verdicts, _) = one_attempt(strangers, 5_000).await;
    assert_eq!(events, ["assigned 1", "output", "attempt failed: Absent", FAILED]);
    assert_eq!(verdicts, [Verdict::Absent]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_before_its_output_ends_the_exchange() {
    let (events, verdicts, detail) = one_attempt(Behaviour::ProofFirst, 5_000).await;
    assert_eq!(events, ["assigned 1", "attempt failed: Absent", FAILED]);
    assert_eq!((verdicts, detail.as_str()), (vec![Verdict::Absent], "it sent no output"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_without_an_event_ends_the_exchange() {
    let (events, verdicts, detail) = one_attempt(Behaviour::Nothing, 5_000).await;
    assert_eq!(events, ["assigned 1", "attempt failed: Absent", FAILED]);
    assert_eq!((verdicts, detail.as_str()), (vec![Verdict::Absent], "it sent no output"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_past_the_deadline_is_late_and_not_paid() {
    let (events, verdicts, detail) =
        one_attempt(Behaviour::ProofAfter(Duration::from_millis(300)), 100).await;
    assert_eq!(events, ["assigned 1", "output", "proof", "attempt failed: Late", FAILED]);
    assert_eq!(verdicts, [Verdict::Late]);
    assert!(detail.contains("deadline was 100 ms"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_past_the_grace_is_absent() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.broker.late_grace_ms = 500;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::ProofAfter(Duration::from_secs(60))]).await;
    let job = chain.job_with(|job| job.deadline_ms = 50);
    let began = Instant::now();
    let events = calls.infer(&job).await.expect("events");
    assert!(began.elapsed() < Duration::from_secs(30), "the exchange ends with the grace");
    assert_eq!(names(&events), ["assigned 1", "output", "attempt failed: Absent", FAILED]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_of_another_output_is_invalid() {
    let (events, verdicts, _) = one_attempt(Behaviour::OtherOutput, 5_000).await;
    assert_eq!(events, ["assigned 1", "output", "proof", "attempt failed: InvalidProof", FAILED]);
    assert_eq!(verdicts, [Verdict::InvalidProof]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_proof_are_invalid() {
    let (events, verdicts, _) = one_attempt(Behaviour::GarbageProof, 5_000).await;
    assert_eq!(events, ["assigned 1", "output", "proof", "attempt failed: InvalidProof", FAILED]);
    assert_eq!(verdicts, [Verdict::InvalidProof]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_miners_proof_is_invalid() {
    let (events, verdicts, _) = one_attempt(Behaviour::OtherMinersProof, 5_000).await;
    assert_eq!(events, ["assigned 1", "output", "proof", "attempt failed: InvalidProof", FAILED]);
    assert_eq!(verdicts, [Verdict::InvalidProof]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_does_not_fit_the_model_is_malformed_at_once() {
    let began = Instant::now();
    let (events, verdicts, _) = one_attempt(Behaviour::Malformed, 20_000).await;
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for its proof");
    assert_eq!(events, ["assigned 1", "attempt failed: Malformed", FAILED]);
    assert_eq!(verdicts, [Verdict::Malformed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_miner_did_not_sign_for_this_job_is_neither_passed_on_nor_evidence() {
    for behaviour in [Behaviour::OtherJob, Behaviour::OtherSigner, Behaviour::OtherChain] {
        let (events, verdicts, _) = one_attempt(behaviour, 5_000).await;
        assert_eq!(events, ["assigned 1", "attempt failed: Absent", FAILED], "{behaviour:?}");
        assert_eq!(verdicts, [Verdict::Absent], "{behaviour:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_the_message_limit_is_not_received() {
    let (events, verdicts, detail) = one_attempt(Behaviour::Oversized, 5_000).await;
    assert_eq!(events, ["assigned 1", "attempt failed: Absent", FAILED]);
    assert_eq!(verdicts, [Verdict::Absent]);
    assert!(detail.contains("OutOfRange"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_after_the_proof() {
    let (events, verdicts, _) = one_attempt(Behaviour::Endless, 5_000).await;
    assert_eq!(events, ["assigned 1", "output", "proof", "committed"]);
    assert_eq!(verdicts, [Verdict::Verified]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_miner_is_absent() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    drop(calls.set_up(&chain, &[Behaviour::Honest]).await);
    // The miner's port is closed once its server is gone.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let events = calls.infer(&chain.job(1)).await.expect("events");
    assert_eq!(names(&events), ["assigned 1", "attempt failed: Absent", FAILED]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_whose_port_is_open_but_dumb_is_absent_in_time() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.broker.late_grace_ms = 0;
    config.broker.connect_timeout_ms = 60_000;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let _none = calls.set_up(&chain, &[]).await;
    let dumb = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", dumb.local_addr().expect("an address"));
    calls.submit(&chain.register_miner(&secret(10), &endpoint)).await.expect("registered");
    let began = Instant::now();
    let events = calls.infer(&chain.job_with(|job| job.deadline_ms = 200)).await.expect("events");
    assert_eq!(names(&events), ["assigned 1", "attempt failed: Absent", FAILED]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_job_goes_to_miners_that_have_not_had_it_until_one_answers() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let liars = [Behaviour::GarbageProof, Behaviour::Refuses];
    let mut miners = calls.set_up(&chain, &liars).await;
    miners.push(calls.add_miner(&chain, secret(50), Behaviour::Honest).await);
    let honest = miners[2].key.public_key();
    for nonce in 1..=4 {
        let job = chain.job(nonce);
        let events = calls.infer(&job).await.expect("events");
        assert_eq!(names(&events).last().map(String::as_str), Some("committed"), "{:?}", names(&events));
        let assigned: Vec<&[u8]> = events
            .iter()
            .filter_map(|event| match event {
                Event::Assigned(assigned) => Some(assigned.miner.as_slice()),
                _ => None,
            })
            .collect();
        let mut once = assigned.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), assigned.len(), "no miner has a job twice");
        assert_eq!(assigned.last().copied(), Some(honest.0.as_slice()));
        let verdicts = calls.verdicts(job.id(chain.chain_id()), assigned.len()).await;
        let verified = verdicts.iter().filter(|verdict| **verdict == Verdict::Verified).count();
        assert_eq!((verdicts.len(), verified), (assigned.len(), 1), "a receipt an attempt, one of them paid");
    }
    assert_eq!(calls.account(honest).await.balance, 4 * PRICE);
    for liar in &miners[..2] {
        assert_eq!(calls.account(liar.key.public_key()).await.balance, 0);
    }
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_does_not_take_the_miners_pay_with_it() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::ProofAfter(Duration::from_millis(200))]).await;
    let job = chain.job(1);
    let mut stream = calls.start(&job).await.expect("accepted");
    assert!(matches!(stream.message().await, Ok(Some(_))));
    drop(stream);
    assert_eq!(calls.verdicts(job.id(chain.chain_id()), 1).await, [Verdict::Verified]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_a_miner_fails_with_its_reason() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[]).await;
    let events = calls.infer(&chain.job(1)).await.expect("events");
    assert_eq!(names(&events), ["failed: NoMiner"]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_the_client_nor_the_validator_is_assigned_the_job() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _none = calls.set_up(&chain, &[]).await;
    calls.submit(&chain.register_miner(&chain.client, "http://127.0.0.1:1")).await.expect("registered");
    // The validator's first nonce went to the model's registration.
    let body = RegisterMiner {
        endpoint: "http://127.0.0.1:1".to_owned(),
        model_ids: vec![chain.model.id()],
        devices: Default::default(),
    };
    let validators = chain.sign(&chain.validator, 2, Body::RegisterMiner(body));
    calls.submit(&validators).await.expect("registered");
    let events = calls.infer(&chain.job(1)).await.expect("events");
    assert_eq!(names(&events), ["failed: NoMiner"]);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_holds_one_job_at_a_time_and_the_others_wait_for_it() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::ProofAfter(Duration::from_millis(50))]).await;
    let mut streams = Vec::new();
    for nonce in 1..=5 {
        streams.push(calls.start(&chain.job(nonce)).await.expect("accepted"));
    }
    for mut stream in streams {
        let mut last = None;
        while let Some(response) = stream.message().await.expect("an event") {
            last = response.event;
        }
        assert!(matches!(last, Some(Event::Committed(_))), "{last:?}");
    }
    assert_eq!((miners[0].served.most(), miners[0].served.all()), (1, 5));
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_finds_no_room_in_time_fails() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.broker.assign_timeout_ms = 50;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::Silent]).await;
    let mut held = calls.start(&chain.job_with(|job| job.deadline_ms = 20_000)).await.expect("accepted");
    let first = held.message().await.expect("an event").and_then(|response| response.event);
    assert!(matches!(first, Some(Event::Assigned(_))), "{first:?}");
    let events = calls.infer(&chain.job(2)).await.expect("events");
    assert_eq!(names(&events), ["failed: NoMiner"]);
    node.shutdown().await.expect("stops");
}

/// The status with which a job is refused.
async fn refused(calls: &mut Calls, job: &Signed<Job>) -> (Code, String) {
    let status = calls.infer(job).await.expect_err("must be refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_break_a_rule_are_refused_before_any_work() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.broker =
        BrokerConfig { deadline_min_ms: 10, deadline_max_ms: 20_000, price_min: 2, ..config.broker };
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let cases = [
        ("unknown model", Code::NotFound, chain.job_with(|job| job.model_id = ModelId([1; 32]))),
        ("a value too few", Code::InvalidArgument, chain.job_with(|job| job.inputs = vec![vec![1]])),
        ("a port too many", Code::InvalidArgument, chain.job_with(|job| job.inputs.push(vec![]))),
        ("out of range", Code::InvalidArgument, chain.job_with(|job| job.inputs = vec![vec![1, 128]])),
        ("too short", Code::InvalidArgument, chain.job_with(|job| job.deadline_ms = 9)),
        ("too long", Code::InvalidArgument, chain.job_with(|job| job.deadline_ms = 20_001)),
        ("too cheap", Code::InvalidArgument, chain.job_with(|job| job.max_price = 1)),
        ("too dear", Code::FailedPrecondition, chain.job_with(|job| job.max_price = BALANCE + 1)),
        ("nonce 0", Code::FailedPrecondition, chain.job_with(|job| job.nonce = 0)),
        ("nonce far ahead", Code::FailedPrecondition, chain.job_with(|job| job.nonce = u64::MAX)),
    ];
    for (name, code, job) in cases {
        let (got, message) = refused(&mut calls, &job).await;
        assert_eq!(got, code, "{name}: {message}");
        assert!(!message.is_empty(), "{name}");
    }
    let job = chain.job(1);
    let other_chain = ChainId::new("test-other").expect("chain id");
    let foreign = chain.client.sign(&other_chain, job.value().clone());
    assert_eq!(refused(&mut calls, &foreign).await.0, Code::InvalidArgument, "another chain's signature");
    let pauper = SecretKey::from_bytes(&[60; 32]).sign(chain.chain_id(), job.value().clone());
    assert_eq!(refused(&mut calls, &pauper).await.0, Code::FailedPrecondition, "no balance");
    let own = chain.validator.sign(chain.chain_id(), job.value().clone());
    let (code, message) = refused(&mut calls, &own).await;
    assert_eq!(code, Code::FailedPrecondition, "the validator's own job");
    assert!(message.contains("its own receipt"), "{message}");
    assert_eq!(miners[0].served.all(), 0, "no miner heard of them");
    let events = calls.infer(&job).await.expect("a refused job uses no nonce up");
    assert_eq!(names(&events).last().map(String::as_str), Some("committed"));
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_is_taken_once_also_across_a_restart() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let _none = calls.set_up(&chain, &[]).await;
    // Without a miner the job is never settled on the ledger: only this broker knows its nonce.
    calls.infer(&chain.job(7)).await.expect("events");
    assert_eq!(calls.account(chain.client.public_key()).await.job_nonce, 7);
    assert_eq!(refused(&mut calls, &chain.job(7)).await.0, Code::FailedPrecondition);
    node.shutdown().await.expect("stops");
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    assert_eq!(refused(&mut calls, &chain.job(7)).await.0, Code::FailedPrecondition);
    assert_eq!(calls.account(chain.client.public_key()).await.job_nonce, 7);
    calls.infer(&chain.job(6)).await.expect("a nonce that was passed over is still good");
    node.shutdown().await.expect("stops");
}

/// A node whose only miner keeps jobs busy.
async fn busy(change: impl FnOnce(&mut Config)) -> (Chain, assay_validator::Node, Calls, impl Drop) {
    let chain = Chain::new();
    let mut config = chain.config();
    change(&mut config);
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let miner = calls.set_up(&chain, &[Behaviour::Silent]).await.remove(0);
    (chain, node, calls, miner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_progress_are_bounded_for_one_client() {
    let (chain, node, mut calls, _miner) = busy(|config| config.broker.jobs_per_client = 2).await;
    let _first = calls.start(&chain.job(1)).await.expect("one");
    let _second = calls.start(&chain.job(2)).await.expect("two");
    assert_eq!(refused(&mut calls, &chain.job(3)).await.0, Code::ResourceExhausted);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_progress_are_bounded_in_all() {
    let (chain, node, mut calls, _miner) = busy(|config| {
        config.broker.jobs = 1;
        config.broker.jobs_per_client = 1;
    })
    .await;
    let _first = calls.start(&chain.job(1)).await.expect("one");
    let (code, message) = refused(&mut calls, &chain.job(2)).await;
    assert_eq!(
        (code, message.as_str()),
        (Code::ResourceExhausted, "busy: jobs in progress are at their limit of 1")
    );
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_order_more_than_it_can_pay_at_once() {
    let (chain, node, mut calls, _miner) = busy(|_| {}).await;
    let dear = |nonce| {
        chain.job_with(|job| {
            job.nonce = nonce;
            job.max_price = BALANCE / 2 + 1;
        })
    };
    let _first = calls.start(&dear(1)).await.expect("one");
    let (code, message) = refused(&mut calls, &dear(2)).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("501 are reserved"), "{message}");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_a_crash_left_undecided_is_decided_after_the_restart() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    let job = chain.job(1);
    let id = job.id(chain.chain_id());
    let receipt = unanswered(&job, miners[0].key.public_key());
    // What a node leaves behind that is killed between keeping the receipt and deciding its block; the second one
    // can be in no block.
    node.application().store().keep_receipt(&id, &receipt).expect("kept");
    let mut void = receipt.clone();
    void.evidence.miner = secret(99).public_key();
    node.application().store().keep_receipt(&id, &void).expect("kept");
    node.shutdown().await.expect("stops");
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    assert_eq!(calls.verdicts(id, 1).await, [Verdict::Absent]);
    for _ in 0..100 {
        if node.application().store().kept_receipts().expect("reads").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        node.application().store().kept_receipts().expect("reads").is_empty(),
        "nothing is left to submit"
    );
    assert_eq!(calls.verdicts(id, 1).await.len(), 1, "and nothing was submitted twice");
    node.shutdown().await.expect("stops");
}

/// The receipt of an assignment that nothing came of.
fn unanswered(job: &Signed<Job>, miner: PublicKey) -> Receipt {
    let evidence = Evidence {
        job: job.envelope().clone(),
        miner,
        output: None,
        proof: None,
        assigned_at_ms: 1,
        output_us: 0,
        proof_us: 0,
        ping_us: 0,
    };
    Receipt { evidence, verdict: Verdict::Absent }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_of_one_job_are_submitted_again_in_the_order_of_its_attempts() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    let mut miners = calls.set_up(&chain, &[Behaviour::Silent, Behaviour::Honest]).await;
    // The database sorts by miner: the one that failed must come second there.
    miners.sort_by_key(|miner| miner.key.public_key());
    let (answered, failed) = (&miners[0].key, miners[1].key.public_key());
    let job = chain.job(1);
    let id = job.id(chain.chain_id());
    let mut verified = unanswered(&job, answered.public_key());
    let outputs = chain.model.outputs(&job.value().inputs);
    let binding = job_binding(chain.chain_id(), &id, &answered.public_key());
    let statement = Statement::public(binding, job.value().inputs.clone(), outputs.clone());
    let proof = Proof { job_id: id, proof: chain.model.forge(&statement, 0), prove_us: 1, elapsed_us: 0 };
    let output = Output { job_id: id, outputs, compute_us: 1 };
    verified.evidence.output = Some(answered.sign(chain.chain_id(), output).into_envelope());
    verified.evidence.proof = Some(answered.sign(chain.chain_id(), proof).into_envelope());
    (verified.evidence.output_us, verified.evidence.proof_us) = (1, 2);
    verified.verdict = Verdict::Verified;
    for receipt in [unanswered(&job, failed), verified] {
        node.application().store().keep_receipt(&id, &receipt).expect("kept");
    }
    node.shutdown().await.expect("stops");
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    assert_eq!(calls.verdicts(id, 2).await, [Verdict::Absent, Verdict::Verified]);
    assert_eq!(calls.account(answered.public_key()).await.balance, PRICE);
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn render_priority_jobs_go_first_and_an_economy_job_is_passed_over_eight_times_at_most() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.broker.assign_timeout_ms = 60_000;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    // One miner with one place, 300 ms a job.
    let slow = Behaviour::ProofAfter(Duration::from_millis(300));
    let _miners = calls.set_up(&chain, &[slow]).await;
    let job = |nonce, tier| chain.job_with(|job| (job.nonce, job.tier) = (nonce, tier));
    let mut jobs = vec![job(1, Tier::Standard), job(2, Tier::Economy)];
    jobs.extend((3..13).map(|nonce| job(nonce, Tier::Priority)));
    let mut streams = Vec::new();
    for job in &jobs {
        streams.push(calls.start(job).await.expect("taken"));
    }
    for mut stream in streams {
        let mut last = None;
        while let Some(response) = stream.message().await.expect("events") {
            last = response.event;
        }
        assert!(matches!(last, Some(Event::Committed(_))), "{last:?}");
    }
    let mut order = Vec::new();
    for job in &jobs {
        let receipts = calls.receipts(job.id(chain.chain_id())).await;
        order.push((receipts[0].2.evidence.assigned_at_ms, job.value().nonce));
        // The tier is in the receipt, under the client's signature.
        let shown: Signed<Job> = receipts[0].2.evidence.job.open(chain.chain_id()).expect("signed");
        assert_eq!(shown.value().tier, job.value().tier);
    }
    order.sort_unstable();
    let place = order.iter().position(|(_, nonce)| *nonce == 2).expect("it ran");
    // The job that was there first, then eight that came later and are dearer; two of those go after it.
    assert!((2..=9).contains(&place), "{order:?}");
    node.shutdown().await.expect("stops");
}
