//! Jobs: taken from clients, assigned to miners, answered, attested.
//!
//! ```text
//! admit      signature, model, input, deadline, price; room; funds beside the jobs in progress; nonce   (admission)
//! hold       where jobs are prepaid: the price is locked on the ledger before anybody is assigned        (session)
//! assign     in turn by tier (places), a miner by reputation, with an exploration share                 (assignment)
//! exchange   Output, then Proof, each bounded in size and time                                          (exchange)
//! judge      `verifier::receipt::judge`: the verdict of what came
//! attest     a receipt of every assignment, durable before it is submitted                              (session)
//! ```
//!
//! A job that is admitted runs to its end whether or not its client stays: the miner's work and the client's
//! payment do not hang on a connection.

mod admission;
pub mod assignment;
mod exchange;
mod places;
mod session;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_proto::client::ClientTls;
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::{Envelope, Height, JobId, PublicKey};
use assay_verifier::operating::Signers;
use assay_verifier::receipt::open_job;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::application::Application;
use crate::config::BrokerConfig;
use crate::error::Error;
use crate::stop::Stopped;
use admission::{Admitted, Reservations};
use places::Places;
use session::Session;

pub(crate) use exchange::{is_encrypted, miner_endpoint};

/// Time that jobs in progress get to end when the node stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// What a client is told about its job, in this order; the three in the middle repeat with every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A miner was chosen.
    Assigned {
        /// The job.
        job_id: JobId,
        /// 1 for the first.
        attempt: u32,
        /// The miner and the keys that sign for it.
        signers: Signers,
    },
    /// The miner's signed output.
    Output(Envelope),
    /// The miner's signed proof.
    Proof(Envelope),
    /// The assignment ended without a verified answer.
    AttemptFailed {
        /// The miner.
        miner: PublicKey,
        /// How.
        verdict: Verdict,
        /// Why.
        detail: String,
    },
    /// The receipt of the verified answer is in a block.
    Committed {
        /// Its height.
        height: Height,
        /// Its place.
        index: u32,
    },
    /// There will be no verified answer, or none that is paid.
    Failed {
        /// The kind of failure.
        reason: FailureReason,
        /// Why.
        detail: String,
    },
}

/// Kinds of failure of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// No miner serves the model, or none has room.
    NoMiner,
    /// Every attempt failed.
    MinersFailed,
    /// The answer was verified, its receipt was not committed.
    CommitFailed,
    /// The price was not locked on the ledger; nobody was assigned.
    NotHeld,
}

/// Takes jobs and sees them through.
#[derive(Debug)]
pub struct Broker {
    application: Arc<Application>,
    config: BrokerConfig,
    miner_tls: Option<ClientTls>,
    commit_timeout: Duration,
    reservations: Arc<Reservations>,
    places: Arc<Places>,
    sessions: Mutex<JoinSet<()>>,
    stopped: Stopped,
}

impl Broker {
    /// A broker for this node, with what `broker.miner_ca` holds. `stopped` turns true when the node stops.
    pub fn new(
        application: Arc<Application>,
        config: BrokerConfig,
        miner_ca: Option<Vec<u8>>,
        commit_timeout: Duration,
        stopped: Stopped,
    ) -> Self {
        Self {
            application,
            commit_timeout,
            reservations: Arc::new(Reservations::new(config.jobs, config.jobs_per_client)),
            places: Arc::new(Places::new(config.jobs_per_miner)),
            config,
            miner_tls: miner_ca.map(|ca| ClientTls { ca, identity: None }),
            sessions: Mutex::default(),
            stopped,
        }
    }

    /// Submits the receipts again that a former run of this node left behind. Their prices stay reserved until
    /// they are decided.
    pub fn resume(&self) -> Result<usize, Error> {
        let mut receipts = self.application.store().kept_receipts()?;
        // A verified receipt closes its job: those of the attempts before it must come first to count.
        receipts
            .sort_by_key(|receipt| (receipt.evidence.assigned_at_ms, receipt.verdict == Verdict::Verified));
        let count = receipts.len();
        for receipt in receipts {
            let reservation = self.reserve_again(&receipt)?;
            let wait = self.application.submit_receipt(receipt)?;
            self.spawn(async move {
                // However it ends, the reservation does too.
                let _ = wait.await;
                drop(reservation);
            });
        }
        Ok(count)
    }

    /// Admits a job and starts it. Its nonce is used up, durably, when this returns.
    pub async fn accept(&self, envelope: Envelope) -> Result<mpsc::Receiver<Event>, Error> {
        if *self.stopped.borrow() {
            return Err(Error::Stopping);
        }
        let admission = admission::Admission {
            application: Arc::clone(&self.application),
            config: self.config.clone(),
            reservations: Arc::clone(&self.reservations),
        };
        let admitted: Admitted = tokio::task::spawn_blocking(move || admission.admit(&envelope)).await??;
        let (events, stream) = mpsc::channel(session::events(self.config.attempts));
        let session = Session {
            application: Arc::clone(&self.application),
            config: self.config.clone(),
            miner_tls: self.miner_tls.clone(),
            commit_timeout: self.commit_timeout,
            places: Arc::clone(&self.places),
            admitted,
            events,
        };
        self.application.metrics().took_job();
        let span = tracing::info_span!("job", job = %session.admitted.id);
        self.spawn(session.run().instrument(span));
        Ok(stream)
    }

    /// Gives the jobs in progress two seconds, then abandons them.
    pub async fn shutdown(&self) {
        let mut sessions = std::mem::take(&mut *self.sessions());
        let ended = async { while sessions.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, ended).await.is_err() {
            sessions.shutdown().await;
        }
    }

    fn reserve_again(&self, receipt: &Receipt) -> Result<Option<admission::Reservation>, Error> {
        match receipt.verdict {
            Verdict::Verified => {
                let job = open_job(&self.application.chain_id(), &receipt.evidence.job)?;
                Ok(Some(self.reservations.hold(job.signer(), job.value().max_price)))
            }
            Verdict::InvalidProof | Verdict::Malformed | Verdict::Late | Verdict::Absent => Ok(None),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut sessions = self.sessions();
        while sessions.try_join_next().is_some() {}
        sessions.spawn(task);
    }

    /// Spawning and joining leave the set whole, so a poisoned lock is still good.
    fn sessions(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
