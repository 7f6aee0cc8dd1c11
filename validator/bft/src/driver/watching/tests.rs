use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_proto::block::CommitCertificate;
use assay_proto::vote::Equivocation;
use assay_proto::{BlockHash, ChainId, Height, PublicKey, SecretKey};
use async_trait::async_trait;
use malachitebft_app_channel::app::types::SignedConsensusMsg;
use malachitebft_app_channel::{AppMsg, Channels};
use malachitebft_core_types::{self as core, NilOrVal, Round, VoteType};
use malachitebft_engine::util::events::TxEvent;
use malachitebft_signing::Signer as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::super::connections::TELLING;
use super::super::echo::{Echo, of_key};
use super::super::{Driver, READING, Reply};
use crate::application::{Application, Fault, Proposed, Verdict};
use crate::context::{Address, Context, SignedVote};
use crate::engine::{Mode, PeerLog, Settings, Status, Timeouts};
use crate::signer::Signer;
use crate::signing_state::SigningState;

fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

fn key(number: u8) -> PublicKey {
    secret(number).public_key()
}

const OWN: u8 = 9;

/// Four validators of the same power, and a head that is set by hand.
#[derive(Default)]
struct Stub(AtomicU64);

#[async_trait]
impl Application for Stub {
    fn head(&self) -> Height {
        Height(self.0.load(Ordering::SeqCst))
    }

    fn validators(&self) -> Vec<(PublicKey, u64)> {
        [1, 2, 3, OWN].map(|number| (key(number), 1)).into()
    }

    fn known(&self) -> Vec<PublicKey> {
        Vec::new()
    }

    fn propose(&self, _: u32) -> Result<Proposed, Fault> {
        Ok(Proposed { hash: BlockHash([1; 32]), bytes: vec![1] })
    }

    fn validate(&self, _: &[u8], _: bool) -> Result<Verdict, Fault> {
        Ok(Verdict::NoBlock)
    }

    fn undecided(&self, _: &BlockHash) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn decide(&self, _: CommitCertificate) -> Result<(), Fault> {
        Ok(())
    }

    fn decided(&self, _: Height) -> Result<Option<(Vec<u8>, CommitCertificate)>, Fault> {
        Ok(None)
    }

    fn earliest(&self) -> Result<Height, Fault> {
        Ok(Height(1))
    }

    fn accuse(&self, _: Equivocation) -> Result<(), Fault> {
        Ok(())
    }

    fn blamed(&self) -> Vec<PublicKey> {
        Vec::new()
    }

    fn hear(&self, _: PublicKey, _: Vec<u8>) {}

    async fn wanted(&self) {
        std::future::pending().await
    }
}

fn chain() -> ChainId {
    ChainId::new("test-watching").expect("chain id")
}

struct Bench {
    driver: Driver,
    application: Arc<Stub>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = SigningState::create(&folder.path().join("state"), &chain(), &key(OWN)).expect("made");
        let application = Arc::new(Stub::default());
        let settings = Settings {
            chain: chain(),
            key: secret(OWN),
            listen: ([127, 0, 0, 1], 0).into(),
            peers: Vec::new(),
            folder: folder.path().to_owned(),
            timeouts: Timeouts { propose: Duration::from_secs(1), vote: Duration::from_secs(1) },
            deaf: false,
        };
        let (_, gossip) = mpsc::channel(1);
        let (status, _) = watch::channel(Status::default());
        let state = Arc::new(Mutex::new(state));
        let driver = Driver::new(Arc::clone(&application) as _, &settings, state, mode, gossip, status);
        Self { driver, application, folder }
    }

    fn are_connected(&mut self, validators: &[u8], since: Instant) {
        let connected = validators.iter().map(|number| key(*number)).collect();
        self.driver.connections.begin();
        self.driver.connections.are(connected, since);
    }

    fn told(&mut self, validator: u8, head: u64) {
        let log = PeerLog { head: Height(head), earliest: Height(1) };
        self.driver.heads.insert(key(validator), log);
    }

    fn decided(&mut self, height: u64) {
        self.application.0.store(height, Ordering::SeqCst);
        self.driver.advance();
    }

    /// As long as a node listens.
    fn time_passes(&mut self) {
        self.driver.listens_until = self.driver.listens_until.map(|_| Instant::now());
    }

    fn record(&self) -> Height {
        self.driver.signing_state().height()
    }

    /// A vote by a process of its own.
    async fn signed(&self, author: u8, kind: VoteType, height: u64, block: u8) -> core::SignedVote<Context> {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a folder");
        let state = SigningState::create(&folder.path().join("state"), &chain(), &key(author)).expect("made");
        let state = Arc::new(Mutex::new(state));
        let signer = Signer { chain: chain(), key: secret(author), state, refused: Arc::default() };
        let value = NilOrVal::Val(crate::context::Value(BlockHash([block; 32])));
        let height = crate::context::Height(height);
        let address = Address(key(author));
        let vote = match kind {
            VoteType::Prevote => core::Context::new_prevote(&Context, height, Round::new(0), value, address),
            VoteType::Precommit => {
                core::Context::new_precommit(&Context, height, Round::new(0), value, address)
            }
        };
        signer.sign_vote(vote).await.expect("signed")
    }

    /// A peer heard a vote of this node's key.
    async fn told_of(&mut self, height: u64, block: u8) {
        let vote = self.signed(OWN, VoteType::Prevote, height, block).await;
        self.driver.heed(&SignedVote::from(&vote)).expect("written");
    }
}

#[test]
fn a_node_without_its_record_watches_six_heights_beyond_what_more_than_half_say() {
    let mut bench = Bench::new(Mode::Watch(None));
    bench.told(1, 10);
    assert!(!bench.driver.has_watched().expect("written"));
    assert_eq!(bench.driver.mode, Mode::Watch(None), "one of three is not enough");
    bench.told(2, 8);
    assert!(!bench.driver.has_watched().expect("written"));
    assert_eq!(bench.driver.mode, Mode::Watch(Some(Height(16))));
    assert_eq!(bench.record(), Height(12), "it may have signed up to there, and a restart knows it");
    bench.decided(15);
    assert!(!bench.driver.has_watched().expect("written"));
    bench.decided(16);
    bench.told(1, 16);
    assert!(!bench.driver.has_watched().expect("written"), "what the others heard up to there is not told");
    bench.told(2, 17);
    assert!(!bench.driver.has_watched().expect("written"), "too early");
    bench.time_passes();
    assert!(bench.driver.has_watched().expect("written"));
}

#[test]
fn a_chain_without_a_block_needs_no_watching() {
    let mut bench = Bench::new(Mode::Watch(None));
    bench.told(1, 0);
    bench.told(2, 0);
    assert!(bench.driver.has_watched().expect("written"));
}

#[test]
fn a_signature_of_its_key_that_is_not_its_own_makes_a_node_go_on_watching() {
    let mut bench = Bench::new(Mode::Watch(None));
    bench.told(1, 10);
    bench.told(2, 10);
    bench.driver.has_watched().expect("written");
    bench.driver.recognise(Height(12)).expect("written");
    assert_eq!(bench.driver.mode, Mode::Watch(Some(Height(16))), "it may have signed that itself");
    bench.driver.recognise(Height(15)).expect("written");
    assert_eq!(bench.driver.mode, Mode::Watch(Some(Height(19))));
    bench.decided(18);
    assert!(!bench.driver.has_watched().expect("written"));
}

#[test]
fn a_record_that_is_older_than_the_log_is_not_believed() {
    let mut bench = Bench::new(Mode::Sign);
    bench.driver.signing_state().concede(Height(5)).expect("written");
    bench.driver.recognise(Height(5)).expect("written");
    assert!(!bench.driver.unaware);
    bench.driver.recognise(Height(6)).expect("written");
    assert!(bench.driver.unaware);
    assert_eq!(bench.record(), Height(6));
}

#[tokio::test]
async fn a_record_of_no_signature_is_believed_only_where_the_chain_has_no_block() {
    for (head, known, unaware) in [(0, 0, false), (7, 0, true), (7, 3, false)] {
        let mut bench = Bench::new(Mode::Sign);
        bench.driver.signing_state().concede(Height(known)).expect("written");
        bench.told(1, head);
        let (reply, _) = oneshot::channel();
        bench.driver.hold(Reply::First(reply, Instant::now() + Duration::from_secs(60)));
        assert_eq!(bench.driver.unaware, unaware, "{head} {known}");
    }
}

#[tokio::test]
async fn the_first_height_waits_until_all_who_are_connected_had_the_time_to_tell() {
    let mut bench = Bench::new(Mode::Sign);
    bench.driver.signing_state().concede(Height(3)).expect("written");
    let (reply, mut begun) = oneshot::channel();
    bench.driver.hold(Reply::First(reply, Instant::now() + Duration::from_secs(60)));
    let now = Instant::now();
    bench.are_connected(&[1, 2], now);
    bench.driver.consider();
    assert!(begun.try_recv().is_err(), "they may know of a vote of this key");
    bench.told(1, 0);
    bench.driver.consider();
    assert!(begun.try_recv().is_err(), "so may the other one");
    bench.are_connected(&[1, 2], now - TELLING);
    bench.driver.consider();
    assert!(begun.try_recv().is_ok());
}

/// The sides of a conversation that nobody listens to.
fn channels() -> Channels<Context> {
    let (_, consensus) = mpsc::channel(1);
    let (network, _) = mpsc::channel(1);
    let (requests, _) = mpsc::channel(1);
    let (net_requests, _) = mpsc::channel(1);
    Channels { consensus, network, events: TxEvent::new(), requests, net_requests }
}

#[tokio::test]
async fn the_first_proposal_waits_until_what_was_told_is_read_and_no_longer() {
    let channels = channels();
    for (told, waits, proposes) in
        [(&[1, 2][..], Duration::ZERO, true), (&[1], Duration::ZERO, false), (&[1], READING, true)]
    {
        let mut bench = Bench::new(Mode::Sign);
        bench.are_connected(&[1, 2], Instant::now());
        let ask = |round| {
            let (reply, answer) = oneshot::channel();
            let (height, timeout) = (crate::context::Height(1), Duration::from_secs(1));
            (AppMsg::GetValue { height, round: Round::new(round), timeout, reply }, answer)
        };
        let (question, mut answer) = ask(0);
        bench.driver.answer(question, &channels).await.expect("kept");
        told.iter().for_each(|&validator| bench.told(validator, 0));
        bench.driver.asked.as_mut().expect("asked").since -= waits;
        bench.driver.propose(&channels).await.expect("as it is");
        assert_eq!(answer.try_recv().is_ok(), proposes, "{told:?} {waits:?}");
        // Later heights wait for nobody.
        bench.driver.is_first = false;
        let (question, mut answer) = ask(1);
        bench.driver.answer(question, &channels).await.expect("kept");
        bench.driver.propose(&channels).await.expect("as it is");
        assert!(answer.try_recv().is_ok());
    }
}

#[tokio::test]
async fn a_vote_of_its_key_that_a_peer_heard_makes_a_node_watch_or_go_on_watching() {
    let mut bench = Bench::new(Mode::Sign);
    bench.driver.signing_state().concede(Height(5)).expect("written");
    bench.told_of(5, 1).await;
    assert!(!bench.driver.unaware, "it may have signed that itself");
    bench.told_of(6, 1).await;
    assert!(bench.driver.unaware);
    assert_eq!(bench.record(), Height(6));

    let mut bench = Bench::new(Mode::Watch(None));
    bench.told(1, 10);
    bench.told(2, 10);
    bench.driver.has_watched().expect("written");
    bench.told_of(12, 1).await;
    assert_eq!(bench.driver.mode, Mode::Watch(Some(Height(16))), "it may have signed that itself");
    bench.told_of(14, 1).await;
    assert_eq!(bench.driver.mode, Mode::Watch(Some(Height(18))));
    bench.told_of(13, 1).await;
    assert_eq!(bench.driver.mode, Mode::Watch(Some(Height(18))), "an earlier one says nothing new");
    bench.decided(17);
    bench.told(1, 18);
    bench.told(2, 18);
    assert!(!bench.driver.has_watched().expect("written"));
    bench.decided(18);
    bench.time_passes();
    assert!(bench.driver.has_watched().expect("written"));
}

#[tokio::test]
async fn a_second_vote_in_a_place_that_the_record_knows_is_another_process() {
    let mut bench = Bench::new(Mode::Sign);
    let own = bench.signed(OWN, VoteType::Prevote, 6, 1).await.message.message().expect("of a round");
    bench.driver.signing_state().admit_vote(&own).expect("written").expect("admitted");
    bench.told_of(6, 1).await;
    assert!(!bench.driver.unaware);
    bench.told_of(6, 2).await;
    assert!(bench.driver.unaware);
}

#[tokio::test]
async fn the_last_vote_of_each_other_validator_is_kept_if_its_signature_holds() {
    let bench = Bench::new(Mode::Sign);
    let (mut echo, driver) = (Echo::default(), &bench.driver);
    let mut note = |vote: &core::SignedVote<Context>| {
        let message = SignedConsensusMsg::Vote(vote.clone());
        echo.note(&message, &driver.set, &driver.own, &driver.verifier);
        echo.votes()
    };
    let early = bench.signed(1, VoteType::Prevote, 6, 1).await;
    let late = bench.signed(1, VoteType::Precommit, 6, 1).await;
    assert_eq!(note(&late), [SignedVote::from(&late)]);
    assert_eq!(note(&early), [SignedVote::from(&late)]);
    let own = bench.signed(OWN, VoteType::Prevote, 7, 1).await;
    let stranger = bench.signed(4, VoteType::Prevote, 7, 1).await;
    let mut forged = bench.signed(1, VoteType::Prevote, 8, 1).await;
    forged.signature = late.signature;
    for vote in [&own, &stranger, &forged] {
        assert_eq!(note(vote), [SignedVote::from(&late)]);
    }
    let other = bench.signed(2, VoteType::Prevote, 1, 1).await;
    let told = note(&other);
    assert_eq!(told.len(), 2);
    assert_eq!(of_key(&told, &key(1), &driver.verifier), Some(SignedVote::from(&late)));
    assert_eq!(of_key(&told, &key(OWN), &driver.verifier), None);
    let made_up = SignedVote::from(&forged);
    assert_eq!(of_key(&[made_up], &key(1), &driver.verifier), None);
}
