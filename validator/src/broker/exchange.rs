//! What one miner sends for one assignment.
//!
//! Exactly two messages are read: a signed `Output`, then a signed `Proof`, both by this miner for this job. The first
//! thing that is neither ends the exchange, as do a message over the limit, the end of the stream, an error, and the
//! time: connecting, and everything until `deadline + late_grace`. Only what the miner signed becomes evidence.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::client::ClientTls;
use assay_proto::job::Job;
use assay_proto::receipt::{Evidence, Verdict};
use assay_proto::wire::execute_response::Event as Answer;
use assay_proto::wire::miner_client::MinerClient;
use assay_proto::{ChainId, Envelope, JobId, Signed, limits, wire};
use assay_verifier::proof::VerifyingKey;
use assay_verifier::receipt::{Judgement, judge, open_output, open_proof};
use assay_verifier::{Reason, describe};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};

use super::Event;
use super::assignment::Candidate;
use crate::error::Error;

/// A signed output with the largest payload, in its message.
const ANSWER_BYTES: usize = limits::OUTPUT_BYTES + (4 << 10);
/// Characters of a miner's own words that are passed on.
const WORDS: usize = 200;

/// A job in the hands of a miner.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub chain: ChainId,
    pub job: Arc<Signed<Job>>,
    pub id: JobId,
    pub key: VerifyingKey,
    /// How the miner is recognised where its endpoint is https://.
    pub tls: Option<ClientTls>,
    pub candidate: Candidate,
    pub assigned_at_ms: u64,
    pub began: Instant,
    pub connect_timeout: Duration,
    pub late_grace: Duration,
}

/// What came, and what was wrong where not everything came.
#[derive(Debug)]
pub(super) struct Exchange {
    pub evidence: Evidence,
    pub trouble: Option<String>,
}

/// A message and the time from assignment to its arrival.
#[derive(Clone, Debug)]
struct Arrived {
    envelope: Envelope,
    at_us: u64,
}

impl Assignment {
    /// Runs the exchange, passing on what the miner signed.
    pub async fn exchange(&self, mut pass_on: impl FnMut(Event)) -> Result<Exchange, Error> {
        let mut exchange = Exchange { evidence: self.evidence(), trouble: None };
        let trouble = self.receive(&mut exchange.evidence, &mut pass_on).await;
        match trouble {
            Ok(()) => {}
            Err(Stop::Miner(words)) => exchange.trouble = Some(words),
            Err(Stop::Node(error)) => return Err(error),
        }
        Ok(exchange)
    }

    /// The verdict of the evidence. Blocks: it verifies the proof.
    pub fn judge(&self, evidence: &Evidence) -> Result<Judgement, Reason> {
        judge(&self.chain, &self.candidate.signers, evidence, &self.key)
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            job: self.job.envelope().clone(),
            miner: self.candidate.miner,
            output: None,
            proof: None,
            assigned_at_ms: self.assigned_at_ms,
            output_us: 0,
            proof_us: 0,
            ping_us: 0,
        }
    }

    async fn receive(&self, evidence: &mut Evidence, pass_on: &mut impl FnMut(Event)) -> Result<(), Stop> {
        let deadline = Duration::from_millis(self.job.value().deadline_ms);
        let until = self.began + deadline + self.late_grace;
        let endpoint = miner_endpoint(&self.candidate.endpoint, self.tls.as_ref(), self.connect_timeout)
            .map_err(|error| Stop::Miner(format!("its endpoint is no address: {}", describe(&error))))?;
        let connect_until = until.min(Instant::now() + self.connect_timeout);
        let channel = in_time(connect_until, "no connection in time", endpoint.connect()).await?;
        let channel = channel.map_err(|error| Stop::Miner(format!("no connection: {}", describe(&error))))?;
        let mut client = MinerClient::new(channel)
            .max_decoding_message_size(ANSWER_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES);
        let pong = self.ping(client.clone());
        let request = wire::ExecuteRequest {
            job: Some(self.job.envelope().into()),
            chain_id: self.chain.as_str().to_owned(),
        };
        let answers = in_time(until, "no answer in time", client.execute(request)).await?;
        let mut answers = answers.map_err(refused)?.into_inner();

        let answer = in_time(until, "no output in time", answers.message()).await?.map_err(refused)?;
        let Some(Answer::Output(output)) = answer.and_then(|answer| answer.event) else {
            return Err(Stop::Miner("it sent no output".to_owned()));
        };
        let output = self.arrived(output)?;
        self.take_output(output, evidence).await?;
        pass_on(Event::Output(evidence.output.clone().ok_or_else(missing)?));

        let answer = in_time(until, "no proof in time", answers.message()).await?.map_err(refused)?;
        let Some(Answer::Proof(proof)) = answer.and_then(|answer| answer.event) else {
            return Err(Stop::Miner("it sent no proof".to_owned()));
        };
        let proof = self.arrived(proof)?;
        let ping_us = pong.borrow().unwrap_or(0).min(proof.at_us);
        let (chain, id, signers, envelope) =
            (self.chain.clone(), self.id, self.candidate.signers.clone(), proof.envelope.clone());
        blocking(move || open_proof(&chain, id, &signers, &envelope)).await?.map_err(not_evidence)?;
        // Of a proof that is no evidence nothing is kept, its ping neither.
        (evidence.proof_us, evidence.ping_us) = (proof.at_us, ping_us);
        pass_on(Event::Proof(proof.envelope.clone()));
        evidence.proof = Some(proof.envelope);
        Ok(())
    }

    /// Pings the miner beside the job: how long it took, once it answers.
    fn ping(&self, mut client: MinerClient<Channel>) -> watch::Receiver<Option<u64>> {
        let (told, pong) = watch::channel(None);
        let (began, until) = (Instant::now(), self.connect_timeout);
        tokio::spawn(async move {
            tokio::select! {
                answer = client.ping(wire::PingRequest {}) => {
                    let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
                    told.send_replace(answer.is_ok().then_some(us));
                }
                // Nobody waits any more.
                () = told.closed() => {}
                () = sleep(until) => {}
            }
        });
        pong
    }

    /// Takes the output in as evidence; stops there if it decides the verdict by itself.
    async fn take_output(&self, output: Arrived, evidence: &mut Evidence) -> Result<(), Stop> {
        let (chain, id, signers) = (self.chain.clone(), self.id, self.candidate.signers.clone());
        let envelope = output.envelope.clone();
        blocking(move || open_output(&chain, id, &signers, &envelope)).await?.map_err(not_evidence)?;
        evidence.output = Some(output.envelope);
        evidence.output_us = output.at_us;
        let (assignment, so_far) = (self.clone(), evidence.clone());
        let judgement =
            blocking(move || assignment.judge(&so_far)).await?.map_err(|reason| Stop::Node(reason.into()))?;
        match judgement.verdict {
            Verdict::Malformed => {
                let cause = judgement.cause.map_or_else(String::new, |cause| describe(&cause));
                Err(Stop::Miner(cause))
            }
            Verdict::Absent | Verdict::Verified | Verdict::InvalidProof | Verdict::Late => Ok(()),
        }
    }

    fn arrived(&self, signed: wire::Signed) -> Result<Arrived, Stop> {
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        let envelope = Envelope::try_from(signed)
            .map_err(|error| Stop::Miner(format!("it sent no signed message: {}", describe(&error))))?;
        Ok(Arrived { envelope, at_us })
    }
}

/// How a miner is connected to.
pub(crate) fn miner_endpoint(
    address: &str,
    tls: Option<&ClientTls>,
    connect_timeout: Duration,
) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?.connect_timeout(connect_timeout);
    match tls {
        Some(tls) if is_encrypted(address) => endpoint.tls_config(tls.config()),
        Some(_) | None => Ok(endpoint),
    }
}

/// Whether a miner expects TLS.
pub(crate) fn is_encrypted(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

/// Why an exchange ends early.
enum Stop {
    /// The miner's doing.
    Miner(String),
    /// This node's doing: the miner must not be blamed.
    Node(Error),
}

fn missing() -> Stop {
    Stop::Node(Error::Missing("the output that was taken in"))
}

fn not_evidence(reason: Reason) -> Stop {
    Stop::Miner(describe(&reason))
}

/// A miner's refusal, its own words cut and printable.
fn refused(status: tonic::Status) -> Stop {
    let words: String = status.message().chars().filter(|c| !c.is_control()).take(WORDS).collect();
    Stop::Miner(format!("it answered {:?}: {words}", status.code()))
}

async fn in_time<T>(until: Instant, late: &str, work: impl Future<Output = T>) -> Result<T, Stop> {
    timeout_at(until, work).await.map_err(|_| Stop::Miner(late.to_owned()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Stop::Node(error.into()))
}
