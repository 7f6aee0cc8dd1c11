//! `assay.v1.Inference`: jobs in, events out.

use std::sync::Arc;

use assay_proto::wire::infer_response::Event as WireEvent;
use assay_proto::wire::inference_server::Inference as InferenceRpc;
use assay_proto::{Envelope, JobId, limits, wire};
use assay_verifier::state::State;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{Context, blocking};
use crate::broker::{Broker, Event, FailureReason};
use crate::error::Error;

/// The service.
pub(super) struct Inference {
    context: Arc<Context>,
    broker: Arc<Broker>,
}

impl Inference {
    pub fn new(context: Arc<Context>, broker: Arc<Broker>) -> Self {
        Self { context, broker }
    }
}

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<wire::InferResponse, Status>> + Send>>;

#[tonic::async_trait]
impl InferenceRpc for Inference {
    type InferStream = Events;

    async fn infer(&self, request: Request<wire::InferRequest>) -> Result<Response<Events>, Status> {
        let _call = self.context.enter(&request)?;
        self.context.check_ready()?;
        let job = request.into_inner().job.ok_or(Error::Missing("the job"))?;
        let job = Envelope::try_from(job).map_err(Error::from)?;
        let events = self.broker.accept(job).await?;
        let events =
            ReceiverStream::new(events).map(|event| Ok(wire::InferResponse { event: Some(event.into()) }));
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_receipt(
        &self,
        request: Request<wire::GetReceiptRequest>,
    ) -> Result<Response<wire::GetReceiptResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let job = JobId::try_from(request.into_inner().job_id.as_slice()).map_err(Error::from)?;
        let application = Arc::clone(&self.context.application);
        let receipts = blocking(move || {
            let mut receipts = Vec::new();
            for (height, index) in application.store().receipts(&job)? {
                let corrupt = || Error::Corrupt { what: format!("the receipt at height {height}") };
                let block = application.block(height)?.block;
                let place = usize::try_from(index).unwrap_or(usize::MAX);
                let transaction = block.transactions.into_iter().nth(place).ok_or_else(corrupt)?;
                receipts.push(wire::LoggedReceipt {
                    height: height.0,
                    index,
                    transaction: Some(transaction.into()),
                });
            }
            Ok(receipts)
        });
        let response = wire::GetReceiptResponse { receipts: receipts.await? };
        fits(&response, "bytes of a job's receipts")?;
        Ok(Response::new(response))
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let state = self.context.application.state();
        let response = blocking(move || Ok(wire::ListModelsResponse { models: models(&state) })).await?;
        fits(&response, "bytes of the list of models")?;
        Ok(Response::new(response))
    }
}

fn models(state: &State) -> Vec<wire::ModelEntry> {
    let serving = |id| state.miners().filter(|(_, miner)| miner.models.contains(id)).count();
    state
        .models()
        .map(|(id, model)| wire::ModelEntry {
            model_id: id.to_vec(),
            name: model.name.clone(),
            verifying_key: state.verifying_key(id).map(|key| key.to_vec()).unwrap_or_default(),
            owner: model.owner.to_vec(),
            miners: u32::try_from(serving(id)).unwrap_or(u32::MAX),
        })
        .collect()
}

/// Says clearly what would otherwise fail in the encoder.
fn fits(response: &impl prost::Message, what: &'static str) -> Result<(), Error> {
    match response.encoded_len() {
        length if length <= limits::BLOCK_MESSAGE_BYTES => Ok(()),
        _ => Err(Error::Busy { what, limit: limits::BLOCK_MESSAGE_BYTES }),
    }
}

impl From<Event> for WireEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Assigned { job_id, attempt, signers } => Self::Assigned(wire::Assigned {
                job_id: job_id.to_vec(),
                miner: signers.owner().to_vec(),
                attempt,
                signers: signers.iter().map(|key| key.to_vec()).collect(),
            }),
            Event::Output(envelope) => Self::Output(envelope.into()),
            Event::Proof(envelope) => Self::Proof(envelope.into()),
            Event::AttemptFailed { miner, verdict, detail } => Self::AttemptFailed(wire::AttemptFailed {
                miner: miner.to_vec(),
                verdict: wire::Verdict::from(verdict).into(),
                detail,
            }),
            Event::Committed { height, index } => {
                Self::Committed(wire::Committed { height: height.0, index })
            }
            Event::Failed { reason, detail } => {
                Self::Failed(wire::Failed { reason: wire::Reason::from(reason).into(), detail })
            }
        }
    }
}

impl From<FailureReason> for wire::Reason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::NoMiner => Self::NoMiner,
            FailureReason::MinersFailed => Self::MinersFailed,
            FailureReason::CommitFailed => Self::CommitFailed,
            FailureReason::NotHeld => Self::NotHeld,
        }
    }
}
