//! Answers to challenges: a seeded work on the device, and a signature under what came out.
//!
//! ```text
//! Challenge:  open it (chain, signature, canonical bytes, limits), for this miner   INVALID_ARGUMENT
//!             devices are named here                                                FAILED_PRECONDITION
//!             fewer than 8 others wait                                              RESOURCE_EXHAUSTED
//!             compute in turn with inferences, sign the digest of every row
//! ```
//!
//! A miner cannot tell who is a validator, so it answers whoever asks, one a device at a time, each of its devices in turn. It
//! signs only what a device computed: if all were given up there is no answer, which costs a period, instead of a wrong one,
//! which costs collateral.

use std::sync::Arc;
use std::time::Instant;

use assay_proto::challenge::{Challenge, ChallengeAnswer};
use assay_proto::{Envelope, Signed, wire};
use assay_verifier::challenge::work::digest;
use tonic::Status;

use super::{Service, blocking, micros, status};
use crate::backend::Work;
use crate::worker::WorkerError;

impl Service {
    /// The signed answer.
    pub(super) async fn challenge(
        self: &Arc<Self>,
        request: wire::ChallengeRequest,
    ) -> Result<wire::ChallengeResponse, Status> {
        if self.devices.class == 0 {
            return Err(Status::failed_precondition("this miner names no devices"));
        }
        let turn = self.queue.challenge().map_err(|full| Status::resource_exhausted(full.to_string()))?;
        let service = Arc::clone(self);
        let challenge = blocking(move || service.open_challenge(request)).await??;
        let turn = turn.wait().await;
        let service = Arc::clone(self);
        let answer = blocking(move || {
            let answer = service.compute(&challenge);
            turn.end(service.worker.turns());
            answer
        })
        .await?
        .map_err(|error| status(&error))?;
        Ok(wire::ChallengeResponse { answer: Some((&answer).into()) })
    }

    fn open_challenge(&self, request: wire::ChallengeRequest) -> Result<Signed<Challenge>, Status> {
        self.check_chain(&request.chain_id)?;
        let signed = request.challenge.ok_or_else(|| Status::invalid_argument("the challenge is missing"))?;
        let invalid = |error: assay_proto::ProtoError| Status::invalid_argument(error.to_string());
        let challenge = Envelope::try_from(signed).map_err(invalid)?;
        let challenge = challenge.open::<Challenge>(&self.chain).map_err(invalid)?;
        if challenge.value().miner == self.owner {
            Ok(challenge)
        } else {
            Err(Status::invalid_argument("the challenge is for another miner"))
        }
    }

    fn compute(&self, challenge: &Signed<Challenge>) -> Result<Envelope, WorkerError> {
        let (began, id) = (Instant::now(), challenge.id(&self.chain));
        let Challenge { side, rounds, .. } = *challenge.value();
        let work = Work { seed: id.seed(), side: side as usize, rounds };
        let values = self.worker.work(&work)?;
        let rows = values.chunks(work.side).map(|row| digest(row.iter().copied())).collect();
        let (device_class, compute_us) = (self.devices.class, micros(began));
        let answer = ChallengeAnswer { challenge: id, device_class, rows, compute_us };
        Ok(self.key.sign(&self.chain, answer).into_envelope())
    }
}

#[cfg(test)]
mod tests {
    use assay_verifier::challenge::work;

    use super::*;

    #[test]
    fn the_work_of_miners_is_the_work_that_validators_check() {
        for (side, rounds) in [(16, 1), (16, 5), (64, 3), (256, 1)] {
            let mine = Work { seed: 0x1234_5678_9abc_def0, side, rounds };
            let theirs = work::Work { seed: mine.seed, side: side as u32, rounds };
            let rows: Vec<_> = mine.reference().chunks(side).map(|row| digest(row.iter().copied())).collect();
            assert_eq!(rows, theirs.rows(&(0..side as u32).collect::<Vec<_>>()), "{side} {rounds}");
            assert_eq!(mine.operations(), theirs.operations());
        }
    }
}
