//! What computes and proves. The miner service around it queues, signs and sends; a [`Worker`] knows neither
//! the network nor who pays.
//!
//! ```text
//! infer : (model, inputs) -> outputs and the witness that the proof will need
//! prove : (inference, job) -> proof of  outputs = model(inputs), bound to `job`
//! ```

use std::any::Any;

use assay_circuits::ir::ModelId;

use crate::backend::{Work, processor_rate};

/// Runs models and proves what it ran. Calls block and may use every core.
pub trait Worker: Send + Sync + 'static {
    /// Models that it can run and prove.
    fn models(&self) -> Vec<ModelId>;

    /// What it runs on: "cpu", or the names of the devices.
    fn backend(&self) -> String;

    /// Computes a seeded work on what it runs on: the last matrix, row by row. It says that it cannot rather than compute
    /// elsewhere.
    fn work(&self, work: &Work) -> Result<Vec<i64>, WorkerError> {
        Ok(work.reference())
    }

    /// Multiply-adds a second of what it runs on, as it measures them; of the slowest device, if there are several.
    fn rate(&self) -> u64 {
        processor_rate()
    }

    /// Devices that were given up.
    fn lost(&self) -> usize {
        0
    }

    /// Computations of a kind that it can do beside each other: one a device that works, at least 1.
    fn turns(&self) -> usize {
        1
    }

    /// Runs a model on one tensor a port, in row-major order.
    fn infer(&self, model: &ModelId, inputs: &[Vec<i32>]) -> Result<Inference, WorkerError>;

    /// Proves an inference for the 32-byte binding of a job to this miner, a public input of the proof.
    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError>;
}

/// What an inference leaves behind.
pub struct Inference {
    /// One tensor a port, in row-major order.
    pub outputs: Vec<Vec<i32>>,
    /// The worker's own record of the run, handed back to it to be proven.
    pub trace: Box<dyn Any + Send>,
}

/// Why a worker has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// A model that this worker does not serve.
    #[error("model {0} is not served here")]
    UnknownModel(ModelId),
    /// Inputs that do not fit the model; they fail everywhere alike.
    #[error("the inputs do not fit the model: {0}")]
    Input(String),
    /// The run or the proof failed here; it may succeed elsewhere.
    #[error("the worker failed: {0}")]
    Failed(String),
}
