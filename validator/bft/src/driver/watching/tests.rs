use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_proto::block::CommitCertificate;
use assay_proto::vote::Equivocation;
use assay_proto::{BlockHash, ChainId, Height, PublicKey};
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::super::{Driver, Reply};
use crate::application::{Application, Fault, Proposed, Verdict};
use crate::engine::{Mode, PeerLog, Status, Timeouts};
use crate::signing_state::SigningState;

const OWN: PublicKey = PublicKey([9; 32]);

/// Four validators of the same power, and a head that is set by hand.
#[derive(Default)]
struct Stub(AtomicU64);

#[async_trait]
impl Application for Stub {
    fn head(&self) -> Height {
        Height(self.0.load(Ordering::SeqCst))
    }

    fn validators(&self) -> Vec<(PublicKey, u64)> {
        [1, 2, 3, 9].map(|byte| (PublicKey([byte; 32]), 1)).into()
    }

    fn propose(&self, _: u32) -> Result<Proposed, Fault> {
        Err("not asked".into())
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

    fn hear(&self, _: PublicKey, _: Vec<u8>) {}

    async fn wanted(&self) {
        std::future::pending().await
    }
}

struct Bench {
    driver: Driver,
    application: Arc<Stub>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let chain = ChainId::new("test-watching").expect("chain id");
        let state = SigningState::create(&folder.path().join("state"), &chain, &OWN).expect("made");
        let application = Arc::new(Stub::default());
        let timeouts = Timeouts { propose: Duration::from_secs(1), vote: Duration::from_secs(1) };
        let (_, gossip) = mpsc::channel(1);
        let (status, _) = watch::channel(Status::default());
        let state = Arc::new(Mutex::new(state));
        let driver = Driver::new(Arc::clone(&application) as _, OWN, state, mode, timeouts, gossip, status);
        Self { driver, application, _folder: folder }
    }

    fn told(&mut self, validator: u8, head: u64) {
        let log = PeerLog { head: Height(head), earliest: Height(1) };
        self.driver.heads.insert(PublicKey([validator; 32]), log);
    }

    fn decided(&mut self, height: u64) {
        self.application.0.store(height, Ordering::SeqCst);
        self.driver.advance();
    }

    fn record(&self) -> Height {
        self.driver.signing_state().height()
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
