//! The worker that runs and proves on the processor.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_circuits::interpret::Trace;
use assay_circuits::ir::ModelId;

use crate::backend::Accelerator;
use crate::prover::Prover;
use crate::worker::{Inference, Worker, WorkerError};

/// Models with their keys, served by this machine's cores.
#[derive(Debug, Default)]
pub struct CpuWorker {
    provers: BTreeMap<ModelId, Prover>,
}

impl CpuWorker {
    /// A worker for these models.
    pub fn new(provers: impl IntoIterator<Item = impl Into<Prover>>) -> Self {
        let provers = provers.into_iter().map(Into::into);
        Self { provers: provers.map(|prover: Prover| (prover.model_id(), prover)).collect() }
    }

    pub(crate) fn provers_mut(&mut self) -> impl Iterator<Item = &mut Prover> {
        self.provers.values_mut()
    }

    pub(crate) fn prover(&self, model: &ModelId) -> Result<&Prover, WorkerError> {
        self.provers.get(model).ok_or(WorkerError::UnknownModel(*model))
    }
}

/// What is kept between the answer and its proof.
pub(crate) struct Run {
    pub(crate) model: ModelId,
    pub(crate) trace: Trace,
    /// The device that made it, if one did.
    pub(crate) device: Option<Arc<Accelerator>>,
}

impl Worker for CpuWorker {
    fn models(&self) -> Vec<ModelId> {
        self.provers.keys().copied().collect()
    }

    fn backend(&self) -> String {
        "cpu".into()
    }

    fn infer(&self, model: &ModelId, inputs: &[Vec<i32>]) -> Result<Inference, WorkerError> {
        let graph = self.prover(model)?.graph();
        let trace = graph.run(inputs).map_err(|e| WorkerError::Input(e.to_string()))?;
        let outputs = trace.outputs(graph);
        Ok(Inference { outputs, trace: Box::new(Run { model: *model, trace, device: None }) })
    }

    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        let run = inference.trace.downcast::<Run>();
        let run = run.map_err(|_| WorkerError::Failed("the inference is of another worker".into()))?;
        // A model that commits to a port needs salts, which a job has no place for; ledgers refuse its key.
        let proven = self.prover(&run.model)?.prove(&run.trace, job, &[]);
        proven.map(|(_, proof)| proof).map_err(|e| WorkerError::Failed(e.to_string()))
    }
}
