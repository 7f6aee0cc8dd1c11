//! What a receipt's evidence says. One pure function decides, for the broker, for every validator and for the auditor.
//!
//! Admissible evidence is signed by the miner (`operating::signers`) for this job on this chain; anything else is no evidence and
//! must not be in a receipt, so that nobody is blamed for what others made. The verdict is the first row that applies:
//!
//! | evidence | verdict |
//! |---|---|
//! | no output | `Absent` |
//! | an output that does not fit the model's ports | `Malformed` |
//! | no proof | `Absent` |
//! | a proof that does not hold | `InvalidProof` |
//! | output or proof past the deadline | `Late` |
//! | otherwise | `Verified` |
//!
//! `Malformed` and `InvalidProof` rest on the miner's own signatures. `Absent` and the timings rest on the validator's.

use assay_circuits::ir::Port;
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::receipt::{Evidence, Verdict};
use assay_proto::signing::Held;
use assay_proto::{ChainId, Envelope, JobId, ModelId, Signed};

use crate::error::Reason;
use crate::operating::Signers;
use crate::proof::{self, ProofError, Statement, VerifyingKey};

/// A verdict and why the evidence says so.
#[derive(Debug)]
pub struct Judgement {
    /// What the evidence says.
    pub verdict: Verdict,
    /// Why; none for `Verified`.
    pub cause: Option<Reason>,
}

/// Evidence with every check done but the proof's.
#[derive(Debug)]
pub enum Finding {
    /// The proof does not matter.
    Decided(Judgement),
    /// All depends on the proof.
    Claim {
        /// What the proof is about.
        statement: Statement,
        /// The proof.
        proof: Vec<u8>,
        /// The verdict if it holds.
        holds: Judgement,
    },
}

/// The model id in the type of the circuits.
pub fn circuit_id(id: &ModelId) -> assay_circuits::ir::ModelId {
    assay_circuits::ir::ModelId(id.0)
}

/// The model that a key stands for.
pub fn key_model(key: &VerifyingKey) -> ModelId {
    ModelId(key.model_id().0)
}

/// Opens the client's job.
pub fn open_job(chain: &ChainId, job: &Envelope) -> Result<Signed<Job>, Reason> {
    job.open(chain).map_err(Reason::Job)
}

/// Whether a job is for the key's model and its inputs fit.
pub fn check_job(job: &Job, key: &VerifyingKey) -> Result<(), Reason> {
    let model = key_model(key);
    if job.model_id != model {
        return Err(Reason::JobModel { expected: job.model_id, got: model });
    }
    fit("inputs", key.inputs(), &job.inputs).map_err(Reason::Inputs)
}

/// Opens an output and checks that one of these keys signed it, for this job. What fails here is no evidence.
pub fn open_output(
    chain: &ChainId,
    job: JobId,
    signers: &Signers,
    envelope: &Envelope,
) -> Result<Signed<Output>, Reason> {
    check_signer("output", signers, envelope)?;
    held_output(chain, &Held::default(), job, envelope)
}

fn held_output(
    chain: &ChainId,
    held: &Held,
    expected: JobId,
    envelope: &Envelope,
) -> Result<Signed<Output>, Reason> {
    let output: Signed<Output> =
        envelope.open_held(chain, held).map_err(|source| Reason::Evidence { what: "output", source })?;
    same_job("output", expected, output.value().job_id)?;
    Ok(output)
}

/// Opens a proof and checks that one of these keys signed it, for this job. What fails here is no evidence.
pub fn open_proof(
    chain: &ChainId,
    job: JobId,
    signers: &Signers,
    envelope: &Envelope,
) -> Result<Signed<Proof>, Reason> {
    check_signer("proof", signers, envelope)?;
    held_proof(chain, &Held::default(), job, envelope)
}

fn held_proof(
    chain: &ChainId,
    held: &Held,
    expected: JobId,
    envelope: &Envelope,
) -> Result<Signed<Proof>, Reason> {
    let proof: Signed<Proof> =
        envelope.open_held(chain, held).map_err(|source| Reason::Evidence { what: "proof", source })?;
    same_job("proof", expected, proof.value().job_id)?;
    Ok(proof)
}

fn same_job(what: &'static str, expected: JobId, got: JobId) -> Result<(), Reason> {
    if got == expected { Ok(()) } else { Err(Reason::EvidenceJob { what, expected, got }) }
}

/// Whether all evidence claims to be by one of the miner's keys; that the signatures hold is for whoever opens it.
pub(crate) fn check_signers(evidence: &Evidence, signers: &Signers) -> Result<(), Reason> {
    let output = evidence.output.iter().map(|envelope| ("output", envelope));
    let proof = evidence.proof.iter().map(|envelope| ("proof", envelope));
    output.chain(proof).try_for_each(|(what, envelope)| check_signer(what, signers, envelope))
}

fn check_signer(what: &'static str, signers: &Signers, envelope: &Envelope) -> Result<(), Reason> {
    let got = envelope.signer;
    if signers.contains(&got) {
        Ok(())
    } else {
        Err(Reason::EvidenceSigner { what, expected: signers.owner(), got })
    }
}

/// The verdict of the evidence of a miner for whom these keys sign.
pub fn judge(
    chain: &ChainId,
    signers: &Signers,
    evidence: &Evidence,
    key: &VerifyingKey,
) -> Result<Judgement, Reason> {
    check_signers(evidence, signers)?;
    let job = open_job(chain, &evidence.job)?;
    let finding = examine(chain, &Held::default(), evidence, &job, key)?;
    Ok(match finding {
        Finding::Decided(judgement) => judgement,
        Finding::Claim { statement, proof, holds } => conclude(proof::verify(key, &statement, &proof), holds),
    })
}

/// The verdict once the proof was checked.
pub(crate) fn conclude(result: Result<(), ProofError>, holds: Judgement) -> Judgement {
    match result {
        Ok(()) => holds,
        Err(error) => Judgement { verdict: Verdict::InvalidProof, cause: Some(Reason::Proof(error)) },
    }
}

/// Every check but the proof's and whether the signers are the miner's keys, which a state says; `job` is the one in the
/// evidence, opened. Signatures that are among those that hold are not
/// checked again.
pub(crate) fn examine(
    chain: &ChainId,
    held: &Held,
    evidence: &Evidence,
    job: &Signed<Job>,
    key: &VerifyingKey,
) -> Result<Finding, Reason> {
    check_job(job.value(), key)?;
    check_timings(evidence)?;
    let (job_id, miner) = (job.id(chain), evidence.miner);
    let output = evidence.output.as_ref().map(|envelope| held_output(chain, held, job_id, envelope));
    let proof = evidence.proof.as_ref().map(|envelope| held_proof(chain, held, job_id, envelope));
    let (output, proof) = (output.transpose()?, proof.transpose()?);

    let decided = |verdict, cause| Ok(Finding::Decided(Judgement { verdict, cause: Some(cause) }));
    let Some(output) = output else { return decided(Verdict::Absent, Reason::NoOutput) };
    let outputs = &output.value().outputs;
    if let Err(error) = fit("outputs", key.outputs(), outputs) {
        return decided(Verdict::Malformed, Reason::Outputs(error));
    }
    let Some(proof) = proof else { return decided(Verdict::Absent, Reason::NoProof) };
    let job = job.value();
    let binding = job_binding(chain, &job_id, &miner);
    let statement = Statement::public(binding, job.inputs.clone(), outputs.clone());
    let proof = proof.into_parts().0.proof;
    Ok(Finding::Claim { statement, proof, holds: in_time(evidence, job.deadline_ms) })
}

fn in_time(evidence: &Evidence, deadline_ms: u64) -> Judgement {
    let got_us = evidence.output_us.max(evidence.proof_us);
    if got_us > deadline_ms.saturating_mul(1000) {
        Judgement { verdict: Verdict::Late, cause: Some(Reason::Deadline { deadline_ms, got_us }) }
    } else {
        Judgement { verdict: Verdict::Verified, cause: None }
    }
}

fn check_timings(evidence: &Evidence) -> Result<(), Reason> {
    let Evidence { output, proof, output_us, proof_us, ping_us, .. } = evidence;
    if output.is_some() != (*output_us > 0) {
        return Err(Reason::Timings("the time of the output is 0 if and only if there is none"));
    }
    if proof.is_some() != (*proof_us > 0) {
        return Err(Reason::Timings("the time of the proof is 0 if and only if there is none"));
    }
    if proof.is_some() && proof_us < output_us {
        return Err(Reason::Timings("the proof comes after the output"));
    }
    if ping_us > proof_us {
        return Err(Reason::Timings("the answer to a ping counts if it comes before the proof"));
    }
    Ok(())
}

/// Whether values fit ports: their number, their lengths and their ranges.
fn fit(side: &'static str, ports: &[Port], tensors: &[Vec<i32>]) -> Result<(), ProofError> {
    if ports.len() != tensors.len() {
        return Err(ProofError::Ports { side, expected: ports.len(), got: tensors.len() });
    }
    let mut pairs = ports.iter().zip(tensors);
    pairs.try_for_each(|(port, values)| port.check(values).map_err(ProofError::Statement))
}
