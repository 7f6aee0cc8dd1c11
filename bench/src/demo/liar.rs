//! Miners that lie, as well as they can: each does real work and signs real proofs, of something else.

use anyhow::{Context, Result};
use assay_circuits::ir::{Graph, ModelId, Node, Op};
use assay_prover::cpu::CpuWorker;
use assay_prover::worker::{Inference, Worker, WorkerError};

/// Serves a model of its own under the registered one's name and proves it with keys that it made itself.
pub struct OtherModel {
    /// The registered model.
    pub claimed: ModelId,
    /// Worker with the other model.
    pub own: CpuWorker,
    /// What it runs instead.
    pub runs: ModelId,
}

impl Worker for OtherModel {
    fn models(&self) -> Vec<ModelId> {
        vec![self.claimed]
    }

    fn backend(&self) -> String {
        self.own.backend()
    }

    fn infer(&self, _model: &ModelId, inputs: &[Vec<i32>]) -> Result<Inference, WorkerError> {
        self.own.infer(&self.runs, inputs)
    }

    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        self.own.prove(inference, job)
    }
}

/// Answers every job with the right model's answer to an input of its own; the proof is valid, for the right job and
/// under the right key, but of that input.
pub struct OtherInput {
    /// Worker with the registered model.
    pub honest: CpuWorker,
    /// What it runs on instead of what was asked.
    pub inputs: Vec<Vec<i32>>,
}

impl Worker for OtherInput {
    fn models(&self) -> Vec<ModelId> {
        self.honest.models()
    }

    fn backend(&self) -> String {
        self.honest.backend()
    }

    fn infer(&self, model: &ModelId, _inputs: &[Vec<i32>]) -> Result<Inference, WorkerError> {
        self.honest.infer(model, &self.inputs)
    }

    fn prove(&self, inference: Inference, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        self.honest.prove(inference, job)
    }
}

/// The same network with one weight of its last layer changed.
pub fn other_model(graph: &Graph) -> Result<Graph> {
    let mut nodes: Vec<Node> = graph.nodes().to_vec();
    let weights = nodes.iter_mut().rev().find_map(|node| match &mut node.op {
        Op::Dense(dense) => Some(&mut dense.weights),
        Op::Conv2d(conv) => Some(&mut conv.weights),
        Op::Sparse(_)
        | Op::Combine(_)
        | Op::Select(_)
        | Op::Multiply
        | Op::MatMul(_)
        | Op::MaxPool2d(_)
        | Op::Max(_)
        | Op::Table(_)
        | Op::Requantize(_)
        | Op::Reshape
        | Op::Sqrt => None,
    });
    let weight = weights.and_then(|weights| weights.first_mut()).context("the model has no weights")?;
    *weight = if *weight > 0 { *weight - 1 } else { *weight + 1 };
    Ok(Graph::new(graph.inputs().to_vec(), nodes, graph.outputs().to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_circuits::samples;

    #[test]
    fn the_other_model_differs_in_one_weight_and_in_its_id() {
        let graph = samples::convolution();
        let other = other_model(&graph).unwrap();
        assert_ne!(graph.id(), other.id());
        let differing = graph.nodes().iter().zip(other.nodes()).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 1);
    }
}
