//! Inference and proofs of models.

use anyhow::{Context, Result};
use assay_circuits::ir::{Graph, Port, elements};
use assay_prover::groth16::{Prover, Secret, setup};
use assay_prover::network::Network;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Bench;
use crate::models;

impl Bench<'_> {
    pub fn model(&mut self, name: &str) -> Result<()> {
        let graph = models::find(name)?.import()?.graph;
        let gpu = self.accelerator.device()?;
        let network = Network::new(gpu, &graph)?;
        let inputs = inputs(&graph);
        self.measure(
            "infer",
            name,
            || Ok(graph.run(&inputs)?),
            || network.run(gpu, &graph, std::slice::from_ref(&inputs))?.pop().context("one trace"),
        )?;
        let key = setup(&graph, Secret::Random, None, &|_, _| {});
        let here = Prover::new(graph.clone(), key.clone())?;
        let mut there = Prover::new(graph.clone(), key)?;
        there.copy_to(self.accelerator)?;
        let trace = graph.run(&inputs)?;
        // Two proofs differ by their randomness; their statements must not.
        let prove = |prover: &Prover| Ok(prover.prove(&trace, [0; 32], &[])?.0);
        self.measure("prove and check", name, || prove(&here), || prove(&there))?;
        Ok(())
    }
}

fn inputs(graph: &Graph) -> Vec<Vec<i32>> {
    let mut random = StdRng::seed_from_u64(3);
    let port = |port: &Port| {
        let (lo, hi) = (port.quant.lo, port.quant.hi);
        (0..elements(&port.shape)).map(|_| random.random_range(lo..=hi)).collect()
    };
    graph.inputs().iter().map(port).collect()
}
