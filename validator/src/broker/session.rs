//! One job from its first assignment to its end.
//!
//! ```text
//! prepaid:           Hold, and its block before anything else; Release with a reason where no attempt is verified
//! for each attempt:  Assigned, then Output and Proof as they come, then the verdict, then a receipt
//!     Verified       wait for the receipt's block: Committed, or Failed(CommitFailed)
//!     anything else  AttemptFailed, and the job goes to a miner that has not had it
//! no miner is left, or no attempt:  Failed
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::PublicKey;
use assay_proto::client::ClientTls;
use assay_proto::hold::{Hold, Release, ReleaseReason};
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::transaction::Body;
use assay_verifier::miners::may_serve;
use assay_verifier::operating::{owner_of, signers};
use assay_verifier::{describe, holds};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::admission::Admitted;
use super::assignment::{Candidate, Draw, choose};
use super::exchange::{Assignment, Exchange, is_encrypted};
use super::places::{Place, Places};
use super::{Event, FailureReason};
use crate::application::Application;
use crate::clock;
use crate::config::BrokerConfig;
use crate::error::Error;
use crate::mempool::{Outcome, Wait};

/// Events that a session sends at most: four an attempt and one at the end. The channel holds them all, so that
/// a client that does not read never holds a job up.
pub(super) fn events(attempts: u32) -> usize {
    usize::try_from(attempts).unwrap_or(usize::MAX).saturating_mul(4).saturating_add(1)
}

/// A job in progress.
#[derive(Debug)]
pub(super) struct Session {
    pub application: Arc<Application>,
    pub config: BrokerConfig,
    /// How miners at https:// are recognised; without it they get no job.
    pub miner_tls: Option<ClientTls>,
    pub commit_timeout: Duration,
    pub places: Arc<Places>,
    pub admitted: Admitted,
    pub events: mpsc::Sender<Event>,
}

/// How an attempt ended.
enum Attempt {
    Verified(Wait),
    Failed,
}

impl Session {
    /// Sees the job through.
    pub async fn run(mut self) {
        let id = self.admitted.id;
        match self.held_attempts().await {
            Ok(()) => tracing::info!(job = %id, "job ended"),
            Err(error) => {
                tracing::error!(job = %id, error = %describe(&error), "job failed here");
                self.fail(FailureReason::CommitFailed, describe(&error));
            }
        }
    }

    /// The attempts, with the price locked on the ledger meanwhile where jobs are prepaid. That costs the client the time of a
    /// block before its first answer, and buys that nobody works for money that is promised elsewhere too.
    async fn held_attempts(&mut self) -> Result<(), Error> {
        if !holds::are_needed(&self.application.state()) {
            return self.attempts().await.map(|_| ());
        }
        if !self.hold().await? {
            return Ok(());
        }
        self.admitted.reservation.is_held();
        match self.attempts().await? {
            Some(reason) => self.release(reason),
            // It was paid, or its receipt may still be decided: the hold ends with that, or at its height.
            None => Ok(()),
        }
    }

    /// Locks the price; false, and the job has failed, where that is not decided.
    async fn hold(&self) -> Result<bool, Error> {
        let job = self.admitted.job.envelope().clone();
        let mut wait = self.application.say(Body::Hold(Hold { job }))?;
        let detail = match timeout(self.commit_timeout, &mut wait).await {
            Ok(Ok(Outcome::Committed { .. })) => return Ok(true),
            Ok(Ok(Outcome::Dropped { reason })) => reason,
            Ok(Err(_)) => Error::Stopping.to_string(),
            Err(_) => {
                let ms = self.commit_timeout.as_millis();
                self.fail(FailureReason::NotHeld, format!("the price is not locked after {ms} ms"));
                // The client is told; what is locked later is given back.
                if let Ok(Outcome::Committed { .. }) = wait.await {
                    self.release(ReleaseReason::NoMiner)?;
                }
                return Ok(false);
            }
        };
        self.fail(FailureReason::NotHeld, detail);
        Ok(false)
    }

    /// Gives the price back. How that ends nobody waits for: the hold ends at its height in any case.
    fn release(&self, reason: ReleaseReason) -> Result<(), Error> {
        let (client, nonce) = (self.admitted.job.signer(), self.admitted.job.value().nonce);
        self.application.say(Body::Release(Release { client, nonce, reason }))?;
        Ok(())
    }

    /// Why there is no verified answer; none if there is one.
    async fn attempts(&self) -> Result<Option<ReleaseReason>, Error> {
        let job = Arc::new(self.admitted.job.clone());
        let mut tried = BTreeSet::new();
        for attempt in 1..=self.config.attempts {
            let (candidate, place) = match self.assign(&tried).await? {
                Ok(assigned) => assigned,
                Err(why) => {
                    let nobody = tried.is_empty();
                    let (reason, release) = match nobody {
                        true => (FailureReason::NoMiner, ReleaseReason::NoMiner),
                        false => (FailureReason::MinersFailed, ReleaseReason::MinersFailed),
                    };
                    self.fail(reason, why.to_owned());
                    return Ok(Some(release));
                }
            };
            tried.insert(candidate.miner);
            let assignment = Assignment {
                chain: self.application.chain_id(),
                job: Arc::clone(&job),
                id: self.admitted.id,
                key: self.admitted.key.clone(),
                tls: self.miner_tls.clone(),
                candidate,
                assigned_at_ms: clock::unix_ms(),
                began: Instant::now(),
                connect_timeout: Duration::from_millis(self.config.connect_timeout_ms),
                late_grace: Duration::from_millis(self.config.late_grace_ms),
            };
            match self.attempt(assignment, attempt, place).await? {
                Attempt::Verified(wait) => return self.committed(wait).await.map(|()| None),
                Attempt::Failed => {}
            }
        }
        self.fail(FailureReason::MinersFailed, format!("{} attempts failed", self.config.attempts));
        Ok(Some(ReleaseReason::MinersFailed))
    }

    /// A miner that has not had this job, waiting for one with room; why there is none.
    async fn assign(
        &self,
        tried: &BTreeSet<PublicKey>,
    ) -> Result<Result<(Candidate, Place), &'static str>, Error> {
        let until = Instant::now() + Duration::from_millis(self.config.assign_timeout_ms);
        let ticket = self.places.join(self.admitted.job.value().tier);
        loop {
            let freed = self.places.freed();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let candidates = self.candidates(tried);
            if candidates.is_empty() {
                return Ok(Err("no other miner serves this model"));
            }
            let draw = Draw::random()?;
            let exploration = self.config.exploration_ppm;
            let pick = |free: &[Candidate]| choose(free, exploration, draw).cloned();
            if let Some(assigned) = ticket.take(candidates, pick) {
                return Ok(Ok(assigned));
            }
            if timeout_at(until, freed).await.is_err() {
                return Ok(Err("no miner had room for another job in time"));
            }
        }
    }

    /// Miners whose receipt for this job the ledger would take.
    fn candidates(&self, tried: &BTreeSet<PublicKey>) -> Vec<Candidate> {
        let state = self.application.state();
        let (job, id) = (self.admitted.job.value(), self.admitted.id);
        let client = self.admitted.job.signer();
        let (own, paying) = (self.application.validator(), owner_of(&state, &client));
        let nonces = state.client(&client);
        let subnet = state.subnet_of(&job.model_id);
        let reputation = |miner| state.place(subnet, miner).map_or(0, |place| place.reputation_ppm);
        let open =
            |miner| nonces.is_none_or(|nonces| nonces.check_attempt(client, job.nonce, id, miner).is_ok());
        state
            .miners()
            .filter(|(key, miner)| {
                miner.models.contains(&job.model_id)
                    && !tried.contains(key)
                    && **key != paying
                    && **key != own
                    && open(**key)
                    && may_serve(&state, key)
                    && (self.miner_tls.is_some() || !is_encrypted(&miner.endpoint))
            })
            .map(|(key, miner)| Candidate {
                miner: *key,
                endpoint: miner.endpoint.clone(),
                reputation_ppm: reputation(key),
                signers: signers(&state, key),
            })
            .collect()
    }

    /// One assignment: exchange, verdict, receipt.
    #[tracing::instrument(skip_all, fields(attempt))]
    async fn attempt(&self, assignment: Assignment, attempt: u32, place: Place) -> Result<Attempt, Error> {
        let (job_id, miner) = (assignment.id, assignment.candidate.miner);
        tracing::info!(job = %job_id, %miner, attempt, "job assigned");
        let signers = assignment.candidate.signers.clone();
        self.send(Event::Assigned { job_id, attempt, signers });
        let Exchange { evidence, trouble } = assignment.exchange(|event| self.send(event)).await?;
        drop(place);
        let application = Arc::clone(&self.application);
        let logged = tokio::task::spawn_blocking(move || {
            let judgement = assignment.judge(&evidence)?;
            let receipt = Receipt { evidence, verdict: judgement.verdict };
            let wait = application.log_receipt(&job_id, receipt)?;
            Ok::<_, Error>((judgement, wait))
        });
        let (judgement, wait) = logged.await??;
        let verdict = judgement.verdict;
        if verdict == Verdict::Verified {
            tracing::info!(job = %job_id, %miner, "answer verified");
            return Ok(Attempt::Verified(wait));
        }
        let cause = judgement.cause.map(|cause| describe(&cause));
        // Where nothing was signed, what was seen on the wire says more than "absent".
        let detail = match (verdict, trouble) {
            (Verdict::Absent, Some(trouble)) => trouble,
            (_, trouble) => cause.or(trouble).unwrap_or_default(),
        };
        tracing::warn!(job = %job_id, %miner, %verdict, detail, "attempt failed");
        self.send(Event::AttemptFailed { miner, verdict, detail });
        Ok(Attempt::Failed)
    }

    /// Waits for the block of the verified receipt. The price stays reserved until the receipt is decided.
    async fn committed(&self, mut wait: Wait) -> Result<(), Error> {
        let outcome = match timeout(self.commit_timeout, &mut wait).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let ms = self.commit_timeout.as_millis();
                let detail = format!("the receipt is not decided after {ms} ms; it may be later");
                self.fail(FailureReason::CommitFailed, detail);
                // However it ends, nobody listens any more.
                let _ = wait.await;
                return Ok(());
            }
        };
        match outcome {
            Ok(Outcome::Committed { height, index }) => self.send(Event::Committed { height, index }),
            Ok(Outcome::Dropped { reason }) => self.fail(FailureReason::CommitFailed, reason),
            Err(_) => self.fail(FailureReason::CommitFailed, Error::Stopping.to_string()),
        }
        Ok(())
    }

    fn fail(&self, reason: FailureReason, detail: String) {
        self.send(Event::Failed { reason, detail });
    }

    /// The channel holds every event of a session; it fails only when the client has gone.
    fn send(&self, event: Event) {
        let _ = self.events.try_send(event);
    }
}
