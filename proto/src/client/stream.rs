//! Streams of answers, each checked against its question.

use tonic::Streaming;

use super::ClientError;
use crate::block::CommittedBlock;
use crate::codec::each;
use crate::error::ProtoError;
use crate::id::{ChainId, Height, JobId, PublicKey};
use crate::job::{Output, Proof};
use crate::receipt::Verdict;
use crate::signing::{Envelope, Signed};
use crate::wire::get_snapshot_response::Part;
use crate::wire::infer_response::Event;
use crate::{limits, wire};

/// Memory of a record beside its key and value, at least.
const RECORD_BYTES: usize = 48;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Height of the block.
    pub height: Height,
    /// Index of the transaction in it.
    pub index: u32,
}

/// What happens to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InferEvent {
    /// A miner was assigned.
    Assigned {
        /// The miner.
        miner: PublicKey,
        /// Counted from 1.
        attempt: u32,
        /// Keys that sign for the miner, by the validator's word: the proof is bound to the miner, the ledger knows its keys.
        signers: Vec<PublicKey>,
    },
    /// The assigned miner's output; not proven yet.
    Output(Signed<Output>),
    /// The assigned miner's proof; not verified here.
    Proof(Signed<Proof>),
    /// The attempt failed; the job goes to another miner if one is left.
    AttemptFailed {
        /// The miner.
        miner: PublicKey,
        /// How it failed.
        verdict: Verdict,
        /// For people.
        detail: String,
    },
    /// The receipt is in a decided block. The last event.
    Committed(Position),
    /// The job failed. The last event.
    Failed {
        /// Why.
        reason: wire::Reason,
        /// For people.
        detail: String,
    },
}

/// Events of one job. Outputs and proofs carry the signature of the miner assigned last, for this job.
#[derive(Debug)]
pub struct InferStream {
    inner: Streaming<wire::InferResponse>,
    checks: Checks,
}

/// What the next event must agree with.
#[derive(Debug)]
struct Checks {
    chain: ChainId,
    job_id: JobId,
    /// The miner, and the keys that sign for it.
    assigned: Option<(PublicKey, Vec<PublicKey>)>,
}

impl InferStream {
    pub(super) fn new(inner: Streaming<wire::InferResponse>, chain: ChainId, job_id: JobId) -> Self {
        Self { inner, checks: Checks { chain, job_id, assigned: None } }
    }

    /// The id of the job.
    pub fn job_id(&self) -> JobId {
        self.checks.job_id
    }

    /// The next event; none after the last.
    pub async fn next(&mut self) -> Result<Option<InferEvent>, ClientError> {
        match self.inner.message().await? {
            None => Ok(None),
            Some(wire::InferResponse { event: None }) => {
                Err(ProtoError::Missing { what: "event of a job" }.into())
            }
            Some(wire::InferResponse { event: Some(event) }) => self.checks.event(event).map(Some),
        }
    }
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPart {
    /// The block; comes first.
    Block(Box<CommittedBlock>),
    /// Keys and values of records.
    Records(Vec<(Vec<u8>, Vec<u8>)>),
}

/// The parts of a snapshot, bounded in all; whether they belong together is for the caller to check.
#[derive(Debug)]
pub struct SnapshotStream {
    inner: Streaming<wire::GetSnapshotResponse>,
    bytes: usize,
}

impl SnapshotStream {
    pub(super) fn new(inner: Streaming<wire::GetSnapshotResponse>) -> Self {
        Self { inner, bytes: 0 }
    }

    /// The next part; none after the last.
    pub async fn next(&mut self) -> Result<Option<SnapshotPart>, ClientError> {
        let Some(wire::GetSnapshotResponse { part }) = self.inner.message().await? else { return Ok(None) };
        match part.ok_or(ProtoError::Missing { what: "part of a snapshot" })? {
            Part::Block(block) => Ok(Some(SnapshotPart::Block(Box::new(block.try_into()?)))),
            Part::Records(wire::StateRecords { records }) => {
                // A record that holds nothing takes memory too.
                let size = |record: &wire::StateRecord| record.key.len() + record.value.len() + RECORD_BYTES;
                self.bytes = records.iter().map(size).fold(self.bytes, usize::saturating_add);
                if self.bytes > limits::SNAPSHOT_BYTES {
                    let (what, limit, got) = ("snapshot", limits::SNAPSHOT_BYTES, self.bytes);
                    return Err(ProtoError::TooLong { what, limit, got }.into());
                }
                let pair = |record: wire::StateRecord| (record.key, record.value);
                Ok(Some(SnapshotPart::Records(records.into_iter().map(pair).collect())))
            }
        }
    }
}

impl Checks {
    fn event(&mut self, event: Event) -> Result<InferEvent, ClientError> {
        Ok(match event {
            Event::Assigned(assigned) => {
                self.same_job(assigned.job_id.as_slice().try_into()?)?;
                let miner = assigned.miner.as_slice().try_into()?;
                let mut signers: Vec<PublicKey> =
                    each(assigned.signers, "keys of a miner", limits::SIGNERS, |key| {
                        key.as_slice().try_into()
                    })?;
                if signers.is_empty() {
                    signers.push(miner);
                }
                self.assigned = Some((miner, signers.clone()));
                InferEvent::Assigned { miner, attempt: assigned.attempt, signers }
            }
            Event::Output(signed) => {
                let output: Signed<Output> = Envelope::try_from(signed)?.open(&self.chain)?;
                self.same_job(output.value().job_id)?;
                self.is_signer(&output.signer())?;
                InferEvent::Output(output)
            }
            Event::Proof(signed) => {
                let proof: Signed<Proof> = Envelope::try_from(signed)?.open(&self.chain)?;
                self.same_job(proof.value().job_id)?;
                self.is_signer(&proof.signer())?;
                InferEvent::Proof(proof)
            }
            Event::AttemptFailed(failed) => {
                let miner = failed.miner.as_slice().try_into()?;
                self.same_miner(miner)?;
                self.assigned = None;
                InferEvent::AttemptFailed {
                    miner,
                    verdict: failed.verdict.try_into()?,
                    detail: failed.detail,
                }
            }
            Event::Committed(committed) => {
                InferEvent::Committed(Position { height: Height(committed.height), index: committed.index })
            }
            Event::Failed(failed) => InferEvent::Failed { reason: failed.reason(), detail: failed.detail },
        })
    }

    fn same_job(&self, job_id: JobId) -> Result<(), ClientError> {
        if job_id == self.job_id { Ok(()) } else { Err(ClientError::Unexpected("it is about another job")) }
    }

    fn is_signer(&self, key: &PublicKey) -> Result<(), ClientError> {
        if self.assigned.as_ref().is_some_and(|(_, signers)| signers.contains(key)) {
            Ok(())
        } else {
            Err(ClientError::Unexpected("it is by a miner that was not assigned"))
        }
    }

    fn same_miner(&self, miner: PublicKey) -> Result<(), ClientError> {
        if self.assigned.as_ref().is_some_and(|(assigned, _)| *assigned == miner) {
            Ok(())
        } else {
            Err(ClientError::Unexpected("it is by a miner that was not assigned"))
        }
    }
}

/// Blocks in ascending order.
#[derive(Debug)]
pub struct BlockStream {
    inner: Streaming<wire::StreamBlocksResponse>,
}

impl BlockStream {
    pub(super) fn new(inner: Streaming<wire::StreamBlocksResponse>) -> Self {
        Self { inner }
    }

    /// The next block.
    pub async fn next(&mut self) -> Result<Option<CommittedBlock>, ClientError> {
        let Some(response) = self.inner.message().await? else { return Ok(None) };
        let block = response.block.ok_or(ProtoError::Missing { what: "block" })?;
        Ok(Some(block.try_into()?))
    }
}

/// Consecutive pieces of an export.
#[derive(Debug)]
pub struct ExportStream {
    inner: Streaming<wire::ExportResponse>,
}

impl ExportStream {
    pub(super) fn new(inner: Streaming<wire::ExportResponse>) -> Self {
        Self { inner }
    }

    /// The next piece; none after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.inner.message().await?.map(|response| response.chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SecretKey;

    const JOB: JobId = JobId([1; 32]);

    fn miner(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32])
    }

    fn checks() -> Checks {
        Checks { chain: ChainId::new("test-client").unwrap(), job_id: JOB, assigned: None }
    }

    fn assigned(n: u8, job_id: JobId) -> Event {
        let (job_id, miner) = (job_id.to_vec(), miner(n).public_key().to_vec());
        Event::Assigned(wire::Assigned { job_id, miner, attempt: 1, signers: Vec::new() })
    }

    fn output(n: u8, job_id: JobId) -> Event {
        let output = Output { job_id, outputs: vec![vec![1]], compute_us: 1 };
        Event::Output((&miner(n).sign(&checks().chain, output)).into())
    }

    fn proof(n: u8, job_id: JobId) -> Event {
        let proof = Proof { job_id, proof: vec![1], prove_us: 1, elapsed_us: 0 };
        Event::Proof((&miner(n).sign(&checks().chain, proof)).into())
    }

    fn failed(n: u8) -> Event {
        let verdict = wire::Verdict::Absent.into();
        let miner = miner(n).public_key().to_vec();
        Event::AttemptFailed(wire::AttemptFailed { miner, verdict, detail: String::new() })
    }

    #[test]
    fn answers_of_the_assigned_miner_for_this_job_are_passed_on() {
        let mut checks = checks();
        for event in
            [assigned(1, JOB), output(1, JOB), failed(1), assigned(2, JOB), output(2, JOB), proof(2, JOB)]
        {
            assert!(checks.event(event.clone()).is_ok(), "{event:?}");
        }
    }

    #[test]
    fn answers_of_another_miner_or_for_another_job_are_refused() {
        let mut checks = checks();
        let other = JobId([2; 32]);
        let unexpected = |got| matches!(got, Err(ClientError::Unexpected(_)));
        for event in [output(1, JOB), proof(1, JOB), failed(1), assigned(1, other)] {
            assert!(unexpected(checks.event(event.clone())), "{event:?}");
        }
        checks.event(assigned(1, JOB)).unwrap();
        for event in [output(2, JOB), proof(2, JOB), failed(2), output(1, other), proof(1, other)] {
            assert!(unexpected(checks.event(event.clone())), "{event:?}");
        }
        checks.event(failed(1)).unwrap();
        assert!(unexpected(checks.event(output(1, JOB))));
    }

    #[test]
    fn answers_by_the_keys_of_the_assigned_miner_are_passed_on_until_it_fails() {
        let mut checks = checks();
        let keys = |seeds: &[u8]| seeds.iter().map(|&n| miner(n).public_key().to_vec()).collect();
        let assigned = |signers| {
            let (job_id, miner) = (JOB.to_vec(), miner(1).public_key().to_vec());
            Event::Assigned(wire::Assigned { job_id, miner, attempt: 1, signers })
        };
        checks.event(assigned(keys(&[3, 4]))).unwrap();
        assert!(checks.event(output(4, JOB)).is_ok());
        assert!(checks.event(proof(3, JOB)).is_ok());
        assert!(checks.event(output(1, JOB)).is_err(), "its owner does not sign");
        checks.event(failed(1)).unwrap();
        assert!(checks.event(output(4, JOB)).is_err());
        let many = vec![miner(1).public_key().to_vec(); limits::SIGNERS + 1];
        assert!(checks.event(assigned(many)).is_err());
    }

    #[test]
    fn forged_answers_are_refused() {
        let mut checks = checks();
        checks.event(assigned(1, JOB)).unwrap();
        let Event::Output(mut signed) = output(1, JOB) else { panic!() };
        signed.payload[5] ^= 1;
        let got = checks.event(Event::Output(signed));
        assert!(matches!(got, Err(ClientError::Answer(ProtoError::Signature { kind: "Output", .. }))));
    }
}
