//! The halo2 prover; see `assay_verifier::proof::halo2` for what a proof satisfies, `assay_circuits::halo2` for the
//! circuit.
//!
//! The challenge `r` is a hash of the commitments to the first phase, and the second phase and the instance follow from
//! it; but `halo2_proofs` commits to all columns at once. So a proof is made twice from one seed of randomness, up to
//! where they part:
//!
//! ```text
//! 1. with zeros in the second phase, stopped after the commitments A_1 .. A_n to the first
//! 2. r = H(.., A_1 .. A_n), the instance, the second phase
//! 3. from the same seed, so with the same blinding and the same A_1 .. A_n, to its end
//! ```
//!
//! Of the first pass nothing but `A_1 .. A_n` is ever seen, and of the third they are the first words.

use std::io;

use assay_circuits::commitment::Salt;
use assay_circuits::halo2::circuit::Rows;
use assay_circuits::halo2::halo2_proofs::plonk;
use assay_circuits::halo2::halo2_proofs::transcript::{
    Blake2bWrite, Challenge255, Transcript, TranscriptWrite,
};
use assay_circuits::halo2::public::instance;
use assay_circuits::halo2::{EqAffine, Fp, Layout, Second, Witness};
use assay_circuits::interpret::Trace;
use assay_circuits::ir::{Graph, ModelId};
use assay_verifier::proof::halo2::{Parameters, VerifyingKey, challenge, integers, key_bytes};
use assay_verifier::proof::{self, Statement};
use ff::Field;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::prover::{ProveError, statement};

/// A public model, ready to prove.
#[derive(Debug)]
pub struct Prover {
    model: VerifyingKey,
    verifying: proof::VerifyingKey,
    proving: plonk::ProvingKey<EqAffine>,
    parameters: Parameters,
}

impl Prover {
    /// Makes the keys of a model. Takes seconds for each of them, and for the parameters where this process does not have
    /// them yet.
    pub fn new(graph: &Graph) -> Result<Self, ProveError> {
        let model = VerifyingKey::decode(&key_bytes(graph))?;
        let parameters = Parameters::get(model.layout().k);
        let proving = Rows::blank(model.layout()).proving_key(parameters.params())?;
        let verifying = proof::VerifyingKey::Halo2(model.clone());
        Ok(Self { model, verifying, proving, parameters })
    }

    /// The model.
    pub fn graph(&self) -> &Graph {
        self.model.graph()
    }

    /// What each row of its circuit computes.
    pub fn layout(&self) -> &Layout {
        self.model.layout()
    }

    /// Its id.
    pub fn model_id(&self) -> ModelId {
        self.model.model_id()
    }

    /// The key that its proofs are checked with.
    pub fn verifying_key(&self) -> &proof::VerifyingKey {
        &self.verifying
    }

    /// Proves an inference for a job and checks the proof before it is handed out.
    pub fn prove(
        &self,
        trace: &Trace,
        job: [u8; 32],
        salts: &[Salt],
    ) -> Result<(Statement, Vec<u8>), ProveError> {
        let statement = statement(self.graph(), trace, job, salts)?;
        let witness = Witness::new(self.layout(), trace);
        let proof = self.prove_witness(&witness, &statement)?;
        proof::verify(&self.verifying, &statement, &proof).map_err(ProveError::SelfCheck)?;
        Ok((statement, proof))
    }

    /// Proves whatever cells it is given; the proof holds only if they do.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: nothing could be hidden then.
    pub fn prove_witness(&self, witness: &Witness, statement: &Statement) -> Result<Vec<u8>, ProveError> {
        loop {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).expect("the operating system gives randomness");
            let commitments = self.first_phase(witness, seed)?;
            let r = challenge(&self.verifying.digest(), statement, &commitments);
            // A challenge that is 0 or meets a row of the table has chance 2^-240; another blinding gives another one.
            if r == Fp::ZERO {
                continue;
            }
            let public = instance(self.graph(), self.layout(), &integers(statement), r)?;
            let Some(second) = Second::new(self.layout(), witness, &public) else { continue };
            let rows = Rows { layout: self.layout(), witness: Some(witness), second: Some(&second) };
            let mut transcript = Blake2bWrite::init(Vec::with_capacity(self.model.proof_bytes()));
            let rng = StdRng::from_seed(seed);
            rows.prove(self.parameters.params(), &self.proving, &public, rng, &mut transcript)?;
            return Ok(transcript.finalize());
        }
    }

    /// The commitments to the first phase.
    fn first_phase(&self, witness: &Witness, seed: [u8; 32]) -> Result<Vec<u8>, ProveError> {
        let rows = Rows { layout: self.layout(), witness: Some(witness), second: None };
        let length = self.model.commitment_bytes();
        let mut start = Start { transcript: Blake2bWrite::init(Vec::new()), length };
        let rng = StdRng::from_seed(seed);
        let stopped = rows.prove(self.parameters.params(), &self.proving, &[Fp::ONE], rng, &mut start);
        let written = start.transcript.finalize();
        match stopped {
            Err(plonk::Error::Transcript(_)) if written.len() == length => Ok(written),
            Err(error) => Err(error.into()),
            Ok(()) => Err(plonk::Error::Synthesis.into()),
        }
    }
}

type Writer = Blake2bWrite<Vec<u8>, EqAffine, Challenge255<EqAffine>>;

/// A transcript that ends after a number of bytes.
struct Start {
    transcript: Writer,
    length: usize,
}

impl Start {
    fn take(&mut self, bytes: usize) -> io::Result<()> {
        match self.length.checked_sub(bytes) {
            Some(left) => {
                self.length = left;
                Ok(())
            }
            None => Err(io::Error::other("the first phase is over")),
        }
    }
}

impl Transcript<EqAffine, Challenge255<EqAffine>> for Start {
    fn squeeze_challenge(&mut self) -> Challenge255<EqAffine> {
        self.transcript.squeeze_challenge()
    }

    fn common_point(&mut self, point: EqAffine) -> io::Result<()> {
        self.transcript.common_point(point)
    }

    fn common_scalar(&mut self, scalar: Fp) -> io::Result<()> {
        self.transcript.common_scalar(scalar)
    }
}

impl TranscriptWrite<EqAffine, Challenge255<EqAffine>> for Start {
    fn write_point(&mut self, point: EqAffine) -> io::Result<()> {
        self.take(32)?;
        self.transcript.write_point(point)
    }

    fn write_scalar(&mut self, scalar: Fp) -> io::Result<()> {
        self.take(32)?;
        self.transcript.write_scalar(scalar)
    }
}
