//! The events of a job, judged and shown as they come.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, anyhow};
use assay_circuits::ir::ModelId;
use assay_proto::client::{InferEvent, InferStream};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Verdict};
use assay_proto::{ChainId, PublicKey, Signed};
use assay_verifier::describe;
use assay_verifier::operating::Signers;
use assay_verifier::proof::{Statement, VerifyingKey};
use assay_verifier::receipt::{Judgement, judge};

use crate::proof_file::ProofFile;
use crate::tensors::{self, OutputReport};
use crate::{Answer, output};

/// What is shown of a job.
#[derive(serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Shown {
    Assigned {
        job_id: String,
        miner: String,
        attempt: u32,
    },
    /// Not proven yet.
    Output {
        outputs: Vec<OutputReport>,
    },
    Refused {
        miner: String,
        verdict: String,
        reason: String,
    },
    Verified {
        job_id: String,
        model_id: String,
        miner: String,
        outputs: Vec<OutputReport>,
        key_from: String,
        key_origin: String,
        prove_seconds: f64,
        verify_seconds: f64,
    },
    Committed {
        height: u64,
        index: u32,
    },
    /// The proof held, but its receipt was not seen in a block.
    NotCommitted {
        reason: String,
    },
}

/// Follows one job.
pub struct Follower<'a> {
    /// Show JSON.
    pub json: bool,
    /// Show nothing before the proof holds.
    pub wait_verified: bool,
    /// Where to write the proof that held.
    pub output: Option<PathBuf>,
    chain: &'a ChainId,
    job: &'a Signed<Job>,
    key: &'a VerifyingKey,
    key_from: &'a str,
    attempt: Received,
    verified: bool,
    /// The last answer that came and does not hold.
    refuted: Option<String>,
    /// Why the job is not followed further; none after its receipt.
    reason: Option<String>,
}

/// What the miner assigned last has sent.
#[derive(Default)]
struct Received {
    miner: Option<Signers>,
    output: Option<Signed<Output>>,
    proof: Option<Signed<Proof>>,
}

impl<'a> Follower<'a> {
    /// Follows `job`, whose proofs must hold under `key`.
    pub fn new(chain: &'a ChainId, job: &'a Signed<Job>, key: &'a VerifyingKey, key_from: &'a str) -> Self {
        let (json, wait_verified, output) = (false, false, None);
        let (attempt, verified, refuted, reason) = (Received::default(), false, None, None);
        Self { json, wait_verified, output, chain, job, key, key_from, attempt, verified, refuted, reason }
    }

    /// Takes events until the job ends. An error is one of this machine; what the validator does wrong is a reason.
    pub async fn follow(&mut self, mut stream: InferStream) -> Result<()> {
        loop {
            match stream.next().await {
                Ok(Some(event)) => {
                    if self.take(event)? {
                        return Ok(());
                    }
                }
                Ok(None) => {
                    self.cut("the validator ended the stream before the job".to_owned());
                    return Ok(());
                }
                Err(error) => {
                    self.cut(describe(&error));
                    return Ok(());
                }
            }
        }
    }

    /// The job is not followed to its end.
    pub fn cut(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    /// What the caller is told at the end.
    pub fn answer(self) -> Result<Answer> {
        let reason = self.reason.clone();
        if self.verified {
            let unseen = reason.map(|reason| self.show(&Shown::NotCommitted { reason }));
            return unseen.transpose().map(|_| Answer::Yes);
        }
        let reason = reason.unwrap_or_default();
        match &self.refuted {
            Some(refuted) => {
                eprintln!("not verified: {refuted}; {reason}");
                Ok(Answer::No)
            }
            None => Err(anyhow!("no answer: {reason}")),
        }
    }

    /// Whether that was the last event.
    fn take(&mut self, event: InferEvent) -> Result<bool> {
        match event {
            InferEvent::Committed(position) => {
                if self.verified {
                    self.show(&Shown::Committed { height: position.height.0, index: position.index })?;
                } else {
                    self.cut("the validator committed an answer whose proof does not hold here".to_owned());
                }
                return Ok(true);
            }
            InferEvent::Failed { reason, detail } => {
                self.cut(format!("{}: {detail}", reason.as_str_name()));
                return Ok(true);
            }
            // What comes after the proof that held only tells of its receipt.
            _ if self.verified => {}
            InferEvent::Assigned { miner, attempt, signers } => {
                self.attempt = Received { miner: Some(Signers::new(miner, signers)), ..Received::default() };
                let job_id = self.job.id(self.chain).to_string();
                self.early(Shown::Assigned { job_id, miner: miner.to_string(), attempt })?;
            }
            InferEvent::Output(output) => {
                let outputs = tensors::dequantized(self.key.outputs(), &output.value().outputs);
                self.attempt.output = Some(output);
                self.early(Shown::Output { outputs })?;
                self.judge()?;
            }
            InferEvent::Proof(proof) => {
                self.attempt.proof = Some(proof);
                self.judge()?;
            }
            InferEvent::AttemptFailed { miner, verdict, detail } => {
                let (miner, verdict) = (miner.to_string(), verdict.to_string());
                self.early(Shown::Refused { miner, verdict, reason: detail })?;
                self.attempt = Received::default();
            }
        }
        Ok(false)
    }

    /// Judges what has come so far; nothing is decided while the proof is missing and the output fits.
    fn judge(&mut self) -> Result<()> {
        let Received { miner: Some(signers), output: Some(output), proof } = &self.attempt else {
            return Ok(());
        };
        let miner = signers.owner();
        // Whether it came in time is between validator and miner; 1 us means that it came.
        let evidence = Evidence {
            job: self.job.envelope().clone(),
            miner,
            output: Some(output.envelope().clone()),
            proof: proof.as_ref().map(|proof| proof.envelope().clone()),
            assigned_at_ms: 0,
            output_us: 1,
            proof_us: u64::from(proof.is_some()),
            ping_us: 0,
        };
        let began = Instant::now();
        let Judgement { verdict, cause } = judge(self.chain, signers, &evidence, self.key)?;
        let verify_seconds = began.elapsed().as_secs_f64();
        match (verdict, proof) {
            (Verdict::Verified, Some(proof)) => {
                let shown = Shown::Verified {
                    job_id: self.job.id(self.chain).to_string(),
                    model_id: self.key.model_id().to_string(),
                    miner: miner.to_string(),
                    outputs: tensors::dequantized(self.key.outputs(), &output.value().outputs),
                    key_from: self.key_from.to_owned(),
                    key_origin: self.key.origin(),
                    prove_seconds: proof.value().prove_us as f64 / 1e6,
                    verify_seconds,
                };
                self.save(miner, output, proof)?;
                self.show(&shown)?;
                self.verified = true;
            }
            (Verdict::InvalidProof | Verdict::Malformed, _) => {
                let cause = cause.map_or_else(String::new, |cause| describe(&cause));
                self.refuted = Some(format!("miner {miner}: {verdict}: {cause}"));
            }
            (Verdict::Verified | Verdict::Late | Verdict::Absent, _) => {}
        }
        Ok(())
    }

    fn save(&self, miner: PublicKey, output: &Signed<Output>, proof: &Signed<Proof>) -> Result<()> {
        let Some(path) = &self.output else { return Ok(()) };
        let binding = job_binding(self.chain, &self.job.id(self.chain), &miner);
        let (inputs, outputs) = (self.job.value().inputs.clone(), output.value().outputs.clone());
        let statement = Statement::public(binding, inputs, outputs);
        let model = ModelId(self.job.value().model_id.0);
        let bytes = ProofFile { model, statement, proof: proof.value().proof.clone() }.to_bytes()?;
        output::write(path, |file| Ok(file.write_all(&bytes)?))
    }

    /// Shows what is not verified yet, unless the caller wants only what is.
    fn early(&self, shown: Shown) -> Result<()> {
        if self.wait_verified { Ok(()) } else { self.show(&shown) }
    }

    fn show(&self, shown: &Shown) -> Result<()> {
        if self.json {
            return output::json(shown);
        }
        match shown {
            Shown::Assigned { miner, attempt, .. } => println!("assigned   {miner}, attempt {attempt}"),
            Shown::Output { outputs } => {
                outputs.iter().for_each(|output| println!("unproven   {}", output.line()));
            }
            Shown::Refused { miner, verdict, reason } => println!("refused    {miner}: {verdict}: {reason}"),
            Shown::Verified {
                model_id,
                miner,
                outputs,
                key_from,
                key_origin,
                prove_seconds,
                verify_seconds,
                ..
            } => {
                println!("verified   model {model_id}, miner {miner}");
                println!("key        from {key_from}, made by {key_origin}");
                println!("time       {prove_seconds:.3} s proof, {:.1} ms check", verify_seconds * 1e3);
                outputs.iter().for_each(|output| println!("output     {}", output.line()));
            }
            Shown::Committed { height, index } => println!("committed  height {height}, transaction {index}"),
            Shown::NotCommitted { reason } => println!("receipt    not seen in a block: {reason}"),
        }
        Ok(())
    }
}
