//! A client that trusts nobody: it keeps what every miner sent for its job and judges it with the model's key.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use assay_proto::client::{Client as Rpc, ClientOptions, InferEvent, Position};
use assay_proto::job::{Job, Output, Proof};
use assay_proto::receipt::{Evidence, Verdict};
use assay_proto::report::EpochReport;
use assay_proto::{ChainId, Epoch, Height, ModelId, PublicKey, SecretKey, Signed};
use assay_verifier::operating::Signers;
use assay_verifier::proof::VerifyingKey;
use assay_verifier::receipt::judge;

use super::network::{Network, PRICE};
use crate::digits::{Digit, answer};

/// Time that a miner has for an answer and its proof.
const DEADLINE: Duration = Duration::from_secs(60);
/// Time that the last epoch gets to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client of the demo.
pub struct Client {
    pub rpc: Rpc,
    chain: ChainId,
    secret: SecretKey,
    model: ModelId,
    key: VerifyingKey,
}

/// One miner's try at one digit.
pub struct Attempt {
    pub digit: usize,
    pub label: i64,
    pub answer: Option<usize>,
    pub miner: PublicKey,
    /// The validator's verdict.
    pub verdict: Verdict,
    /// Why, in the validator's words.
    pub reason: String,
    /// The client's own verdict, where output and proof came.
    pub own_verdict: Option<Verdict>,
    /// As the miner measured it.
    pub prove: Option<Duration>,
    /// As the client measured it, signatures included.
    pub verify: Option<Duration>,
    /// Bytes of the proof.
    pub proof: Vec<u8>,
    /// Where the receipt of a verified answer is.
    pub position: Option<Position>,
}

/// What a miner has sent so far.
#[derive(Default)]
struct Received {
    miner: Option<Signers>,
    output: Option<Signed<Output>>,
    proof: Option<Signed<Proof>>,
}

impl Client {
    /// Connects to the network's validator.
    pub async fn connect(network: &Network) -> Result<Self> {
        Ok(Self {
            rpc: Rpc::connect(&network.endpoint, ClientOptions::default()).await?,
            chain: network.chain.clone(),
            secret: network.client.clone(),
            model: network.model,
            key: network.key.clone(),
        })
    }

    /// Asks for one digit; every attempt up to the committed one.
    pub async fn ask(&self, number: usize, digit: &Digit) -> Result<Vec<Attempt>> {
        let job = Job {
            model_id: self.model,
            inputs: vec![digit.input.clone()],
            nonce: number as u64 + 1,
            max_price: PRICE,
            deadline_ms: u64::try_from(DEADLINE.as_millis())?,
            tier: Default::default(),
        };
        let job = self.secret.sign(&self.chain, job);
        let mut events = self.rpc.infer(&self.chain, &job).await?;
        let (mut attempts, mut received) = (Vec::new(), Received::default());
        while let Some(event) = events.next().await? {
            match event {
                InferEvent::Assigned { miner, signers, .. } => {
                    let signers = Signers::new(miner, signers);
                    received = Received { miner: Some(signers), ..Received::default() };
                }
                InferEvent::Output(output) => received.output = Some(output),
                InferEvent::Proof(proof) => received.proof = Some(proof),
                InferEvent::AttemptFailed { verdict, detail, .. } => {
                    let received = std::mem::take(&mut received);
                    attempts.push(self.attempt(number, digit.label, &job, received, (verdict, detail))?);
                }
                InferEvent::Committed(position) => {
                    let found = (Verdict::Verified, String::new());
                    let mut attempt = self.attempt(number, digit.label, &job, received, found)?;
                    attempt.position = Some(position);
                    attempts.push(attempt);
                    return Ok(attempts);
                }
                InferEvent::Failed { reason, detail } => bail!("{}: {detail}", reason.as_str_name()),
            }
        }
        bail!("the validator ended the stream before the job")
    }

    fn attempt(
        &self,
        digit: usize,
        label: i64,
        job: &Signed<Job>,
        received: Received,
        (verdict, reason): (Verdict, String),
    ) -> Result<Attempt> {
        let Received { miner, output, proof } = received;
        let signers = miner.context("a verdict about nobody")?;
        let miner = signers.owner();
        let (mut own_verdict, mut verify) = (None, None);
        if let (Some(output), Some(proof)) = (&output, &proof) {
            let began = Instant::now();
            // Whether it came in time is the validator's to say; 1 us means that it came.
            let evidence = Evidence {
                job: job.envelope().clone(),
                miner,
                output: Some(output.envelope().clone()),
                proof: Some(proof.envelope().clone()),
                assigned_at_ms: 0,
                output_us: 1,
                proof_us: 1,
                ping_us: 0,
            };
            own_verdict = Some(judge(&self.chain, &signers, &evidence, &self.key)?.verdict);
            verify = Some(began.elapsed());
        }
        Ok(Attempt {
            digit,
            label,
            answer: output.and_then(|output| answer(&output.value().outputs)),
            miner,
            verdict,
            reason,
            own_verdict,
            prove: proof.as_ref().map(|proof| Duration::from_micros(proof.value().prove_us)),
            verify,
            proof: proof.map(|proof| proof.value().proof.clone()).unwrap_or_default(),
            position: None,
        })
    }

    /// Waits for the epoch of a height to end; the reports of all epochs until then.
    pub async fn reports(&self, last: Height) -> Result<Vec<EpochReport>> {
        let began = Instant::now();
        let mut reports: Vec<EpochReport> = Vec::new();
        while reports.last().is_none_or(|report| report.height < last) {
            let next = Epoch(reports.last().map_or(0, |report| report.epoch.0)).next();
            match self.rpc.epoch_report(Some(next)).await {
                Ok(report) => reports.push(report),
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(error).context(format!("epoch {next}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        Ok(reports)
    }

    /// The client's balance.
    pub async fn balance(&self) -> Result<u64> {
        Ok(self.rpc.account(&self.secret.public_key()).await?.balance)
    }

    /// The exported log.
    pub async fn export(&self) -> Result<Vec<u8>> {
        let (mut stream, mut log) = (self.rpc.export().await?, Vec::new());
        while let Some(chunk) = stream.next().await? {
            log.extend(chunk);
        }
        Ok(log)
    }
}
