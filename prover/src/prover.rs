//! A model with its key in either proof system.

use std::sync::Arc;

use assay_circuits::commitment::{self, Salt};
use assay_circuits::error::ModelError;
use assay_circuits::halo2::halo2_proofs::plonk;
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, ModelId, Port, Visibility};
use assay_cuda_kernels::DeviceError;
use assay_verifier::proof::{PortValue, ProofError, Statement, VerifyingKey};

use crate::backend::Accelerator;
use crate::{groth16, halo2};

/// Why no proof was made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The input does not fit, or the model's witness does not.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A salt is needed for every port that the model commits to.
    #[error("the model commits to {expected} ports, got {got} salts")]
    Salts {
        /// Committed ports of the model.
        expected: usize,
        /// Salts given.
        got: usize,
    },
    /// The key is not usable.
    #[error(transparent)]
    Key(#[from] ProofError),
    /// The circuit could not be filled or proven.
    #[error("halo2: {0}")]
    Circuit(#[from] plonk::Error),
    /// The proof that was made does not verify: the key is damaged, or this program is wrong.
    #[error("the proof made does not verify and was not handed out: {0}")]
    SelfCheck(ProofError),
}

/// A model with its key, ready to prove.
#[derive(Debug)]
pub enum Prover {
    /// With the proving key of a setup.
    Groth16(Box<groth16::Prover>),
    /// Without a setup.
    Halo2(Box<halo2::Prover>),
}

impl Prover {
    /// The model.
    pub fn graph(&self) -> &Graph {
        match self {
            Self::Groth16(prover) => prover.graph(),
            Self::Halo2(prover) => prover.graph(),
        }
    }

    /// Its id.
    pub fn model_id(&self) -> ModelId {
        match self {
            Self::Groth16(prover) => prover.model_id(),
            Self::Halo2(prover) => prover.model_id(),
        }
    }

    /// The key that its proofs are checked with.
    pub fn verifying_key(&self) -> &VerifyingKey {
        match self {
            Self::Groth16(prover) => prover.verifying_key(),
            Self::Halo2(prover) => prover.verifying_key(),
        }
    }

    /// Copies the key to one more device, where the proof system has kernels for it: halo2 keeps to the processor.
    ///
    /// # Errors
    /// If the key does not fit or the device fails; the prover then stays where it was.
    pub fn copy_to(&mut self, accelerator: &Arc<Accelerator>) -> Result<(), DeviceError> {
        match self {
            Self::Groth16(prover) => prover.copy_to(accelerator),
            Self::Halo2(_) => Ok(()),
        }
    }

    /// Gives a device's memory back; the others, or the processor, go on.
    pub fn leave(&mut self, accelerator: &Arc<Accelerator>) {
        match self {
            Self::Groth16(prover) => prover.leave(accelerator),
            Self::Halo2(_) => {}
        }
    }

    /// Proves an inference for a job and checks the proof before it is handed out. `salts` hide the values of the ports
    /// that the model commits to, one a port; see [`draw_salts`].
    pub fn prove(
        &self,
        trace: &Trace,
        job: [u8; 32],
        salts: &[Salt],
    ) -> Result<(Statement, Vec<u8>), ProveError> {
        match self {
            Self::Groth16(prover) => prover.prove(trace, job, salts),
            Self::Halo2(prover) => prover.prove(trace, job, salts),
        }
    }
}

impl From<groth16::Prover> for Prover {
    fn from(prover: groth16::Prover) -> Self {
        Self::Groth16(Box::new(prover))
    }
}

impl From<halo2::Prover> for Prover {
    fn from(prover: halo2::Prover) -> Self {
        Self::Halo2(Box::new(prover))
    }
}

/// Salts for every port that a model commits to, from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give: nothing could be hidden then.
pub fn draw_salts(graph: &Graph) -> Vec<Salt> {
    let draw = |_: &Port| {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        Salt::from_uniform(&bytes)
    };
    graph.committed().map(draw).collect()
}

/// What a proof of a trace says: the values of the public ports, commitments to the others.
pub fn statement(
    graph: &Graph,
    trace: &Trace,
    job: [u8; 32],
    salts: &[Salt],
) -> Result<Statement, ProveError> {
    let expected = graph.committed().count();
    if salts.len() != expected {
        return Err(ProveError::Salts { expected, got: salts.len() });
    }
    let mut salts = salts.iter();
    let mut value = |port: &Port, values: Vec<i32>| match port.visibility {
        Visibility::Public => Some(PortValue::Public(values)),
        Visibility::Committed => {
            Some(PortValue::Committed(commitment::commit(&port.quant, &values, salts.next()?)))
        }
    };
    let inputs = graph.inputs().iter().zip(trace.inputs(graph));
    let inputs = inputs.filter_map(|(port, values)| value(port, values)).collect();
    let outputs = graph.outputs().iter().zip(trace.outputs(graph));
    let outputs = outputs.filter_map(|(output, values)| value(&output.port, values)).collect();
    Ok(Statement { job, inputs, outputs })
}
