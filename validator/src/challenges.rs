//! Challenges that this validator is to set, and what it says about them.
//!
//! ```text
//! whom      `verifier::challenge::to_ask`, after every block while this node is ready
//! when      the asker at place p waits p times the time that the class has for the work: askers do not measure each other
//! network   least of three round trips of `Describe` on the same connection
//! answer    waited for four times as long as the class allows, and two seconds
//! outcome   `verifier::challenge::judge`, signed, on the ledger
//! ```
//!
//! A miner that this node cannot recognise (https:// without `broker.miner_ca`) is not blamed: nothing is said about it. What
//! was asked is remembered until it has ended, not on disk: a node that was started again asks again, and the ledger takes
//! one word.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::challenge::{Challenged, Outcome};
use assay_proto::client::ClientTls;
use assay_proto::transaction::Body;
use assay_proto::wire::miner_client::MinerClient;
use assay_proto::{Envelope, Height, PublicKey, limits, wire};
use assay_verifier::challenge::work::Work;
use assay_verifier::challenge::{self, Open, SLACK_US};
use assay_verifier::describe;
use assay_verifier::state::State;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;

use crate::application::Application;
use crate::broker::{is_encrypted, miner_endpoint};
use crate::error::Error;
use crate::stop::{Stopped, stopping};

/// Miners that are asked at a time.
const AT_A_TIME: usize = 16;
/// Time to connect, and for a round trip.
const CONNECT: Duration = Duration::from_secs(2);
/// Round trips that are measured.
const PINGS: usize = 3;
/// The longest that one place waits for the one before, and that an answer is waited for.
const LONGEST: Duration = Duration::from_secs(30);
/// A signed answer with the largest payload, in its message.
const ANSWER_BYTES: usize = limits::ANSWER_BYTES + (4 << 10);

/// Sets challenges until the node stops.
pub(crate) async fn run(
    application: Arc<Application>,
    tls: Option<ClientTls>,
    mut ready: watch::Receiver<bool>,
    stopped: Stopped,
) {
    let mut head = application.follow();
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut asked: BTreeSet<(PublicKey, Height)> = BTreeSet::new();
    loop {
        let state = Arc::clone(&head.borrow_and_update());
        let own = application.validator();
        let wanted = if *ready.borrow_and_update() { challenge::to_ask(&state, &own) } else { Vec::new() };
        asked.retain(|asked| wanted.iter().any(|(miner, open)| *asked == (*miner, open.height)));
        for (miner, open) in wanted {
            if !asked.insert((miner, open.height)) {
                continue;
            }
            let asking = Asking { application: Arc::clone(&application), tls: tls.clone(), miner, open };
            let (places, stopped) = (Arc::clone(&places), stopped.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stopping(stopped) => {}
                    () = asking.run(&places) => {}
                }
            });
        }
        drop(state);
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            changed = head.changed() => if changed.is_err() { return },
            changed = ready.changed() => if changed.is_err() { return },
        }
    }
}

/// One challenge of one miner.
struct Asking {
    application: Arc<Application>,
    tls: Option<ClientTls>,
    miner: PublicKey,
    open: Open,
}

/// What came, and how long it took.
struct Answered {
    answer: Envelope,
    answer_us: u64,
    network_us: u64,
}

impl Asking {
    async fn run(self, places: &Semaphore) {
        let state = self.application.state();
        let window = window(&state, &self.open);
        let place = self.open.place(&self.application.validator()).unwrap_or(0);
        drop(state);
        let before = window.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        tokio::time::sleep(before.min(LONGEST)).await;
        let Ok(_place) = places.acquire().await else { return };
        let (miner, height) = (self.miner, self.open.height);
        match self.ask(window).await {
            Ok(outcome) => tracing::info!(%miner, %outcome, %height, "challenged"),
            Err(error) => tracing::error!(%miner, error = %describe(&error), "a challenge is not attested"),
        }
    }

    async fn ask(self, window: Duration) -> Result<Outcome, Error> {
        let state = self.application.state();
        let endpoint = state.miner(&self.miner).map(|miner| miner.endpoint.clone()).unwrap_or_default();
        if self.tls.is_none() && is_encrypted(&endpoint) {
            return Err(Error::Missing("broker.miner_ca, which tells who a miner at https:// is"));
        }
        drop(state);
        let challenge = self.application.sign(self.open.challenge(self.miner)).into_envelope();
        let patience = window.saturating_mul(4).min(LONGEST).saturating_add(CONNECT);
        let answered = match self.exchange(&endpoint, &challenge, patience).await {
            Ok(answered) => Some(answered),
            Err(reason) => {
                tracing::info!(miner = %self.miner, reason, "no answer to a challenge");
                None
            }
        };
        let application = Arc::clone(&self.application);
        let said = tokio::task::spawn_blocking(move || attest(&application, &self.open, challenge, answered));
        said.await?
    }

    /// The answer, or why there is none.
    async fn exchange(
        &self,
        address: &str,
        challenge: &Envelope,
        patience: Duration,
    ) -> Result<Answered, String> {
        let endpoint =
            miner_endpoint(address, self.tls.as_ref(), CONNECT).map_err(|error| describe(&error))?;
        let channel = timeout(CONNECT, endpoint.connect()).await.map_err(|_| "no connection in time")?;
        let channel = channel.map_err(|error| describe(&error))?;
        let mut client = MinerClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
        let network = round_trip(&mut client).await?;
        let request = wire::ChallengeRequest {
            challenge: Some(challenge.into()),
            chain_id: self.application.chain_id().as_str().to_owned(),
        };
        let began = Instant::now();
        let response = timeout_at(began + patience, client.challenge(request)).await;
        let answer_us = micros(began.elapsed()).max(1);
        let response = response.map_err(|_| "no answer in time")?;
        let response = response.map_err(|status| format!("it answered {:?}", status.code()))?;
        let answer = response.into_inner().answer.ok_or("an empty answer")?;
        let answer = Envelope::try_from(answer).map_err(|error| describe(&error))?;
        Ok(Answered { answer, answer_us, network_us: micros(network).min(answer_us) })
    }
}

/// Says on the ledger what follows from what came. Blocks: it checks rows.
fn attest(
    application: &Application,
    open: &Open,
    challenge: Envelope,
    answered: Option<Answered>,
) -> Result<Outcome, Error> {
    let state = application.state();
    let none = Challenged { challenge, answer: None, outcome: Outcome::Offline, answer_us: 0, network_us: 0 };
    let body = match answered {
        None => none,
        Some(Answered { answer, answer_us, network_us }) => {
            let body = Challenged { answer: Some(answer), answer_us, network_us, ..none.clone() };
            match challenge::judge(&state, open, &body) {
                Ok(outcome) => Challenged { outcome, ..body },
                // Not signed by the miner for this challenge: no answer.
                Err(_) => none,
            }
        }
    };
    let outcome = body.outcome;
    // How it ends nobody waits for: the ledger takes one word, while the challenge is open.
    application.say(Body::Challenged(body))?;
    Ok(outcome)
}

/// The time that the class of a challenge has for its work.
fn window(state: &State, open: &Open) -> Duration {
    let rate = state.genesis_block().class(open.class).map_or(1, |class| class.rate.max(1));
    let operations = Work { seed: 0, side: open.side, rounds: open.rounds }.operations();
    let us = u128::from(operations) * 1_000_000 / u128::from(rate);
    Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX).saturating_add(SLACK_US))
}

/// Time that the network takes: whatever a miner answers to `Describe`, it answers at once.
async fn round_trip(client: &mut MinerClient<Channel>) -> Result<Duration, String> {
    let mut least = CONNECT;
    for _ in 0..PINGS {
        let began = Instant::now();
        let answer = timeout(CONNECT, client.describe(wire::DescribeRequest {})).await;
        // A refusal has made the way too.
        let _ = answer.map_err(|_| "no round trip in time")?;
        least = least.min(began.elapsed());
    }
    Ok(least)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
