//! The verifying key of a model: the model itself, and what follows from it.
//!
//! A file is a magic with a version, then the canonical bytes of the graph. `halo2_proofs` has no serialised verifying key:
//! it is made from the model, once, when the first proof is checked, and kept. Nothing in it depends on the weights;
//! they enter through the instance of each statement, and through the digest that the challenge absorbs.

use std::sync::{Arc, OnceLock};

use assay_circuits::halo2::circuit::{FIXED_COLUMNS, Rows};
use assay_circuits::halo2::halo2_proofs::plonk;
use assay_circuits::halo2::halo2_proofs::poly::commitment::Params;
use assay_circuits::halo2::{EqAffine, Layout};
use assay_circuits::ir::{Graph, ModelId, Port, elements};

use super::super::{ProofError, limits};
use super::Parameters;

/// What the file of a key begins with.
pub const MAGIC: &[u8; 8] = b"ASSAYHK\x01";
/// Bytes of a point, and of a number.
const WORD: usize = 32;

/// The file of a model's key.
pub fn key_bytes(graph: &Graph) -> Vec<u8> {
    [MAGIC.as_slice(), &graph.to_bytes()].concat()
}

/// A public model as a verifying key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifyingKey(Arc<Model>);

#[derive(Debug)]
struct Model {
    graph: Graph,
    id: ModelId,
    outputs: Vec<Port>,
    layout: Layout,
    digest: [u8; 32],
    prepared: OnceLock<Result<Prepared, String>>,
}

/// What checking a proof needs besides the model.
#[derive(Debug)]
pub struct Prepared {
    parameters: Parameters,
    key: plonk::VerifyingKey<EqAffine>,
}

impl Prepared {
    pub(super) fn parameters(&self) -> &Params<EqAffine> {
        self.parameters.params()
    }

    pub(super) fn key(&self) -> &plonk::VerifyingKey<EqAffine> {
        &self.key
    }
}

impl VerifyingKey {
    /// Decodes a key file. Nothing that takes long is made before a proof is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| ProofError::KeyFormat("no magic".into()))?;
        let graph = Graph::from_bytes(body).map_err(|e| ProofError::KeyFormat(e.to_string()))?;
        let layout = Layout::new(&graph).map_err(ProofError::KeyModel)?;
        let format = |what: &str, got: u64, limit: u64| {
            Err(ProofError::KeyFormat(format!("{what} {got}, the limit is {limit}")))
        };
        if layout.k > limits::HALO2_K {
            return format("2^k rows with k =", layout.k.into(), limits::HALO2_K.into());
        }
        let outputs: Vec<Port> = graph.outputs().iter().map(|output| output.port.clone()).collect();
        let values: usize = graph.inputs().iter().chain(&outputs).map(|port| elements(&port.shape)).sum();
        if values > limits::PUBLIC_VALUES {
            let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
            return format("public values:", wide(values), wide(limits::PUBLIC_VALUES));
        }
        let (id, digest) = (graph.id(), *blake3::hash(bytes).as_bytes());
        Ok(Self(Arc::new(Model { graph, id, outputs, layout, digest, prepared: OnceLock::new() })))
    }

    /// The model.
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    /// Its id.
    pub fn model_id(&self) -> ModelId {
        self.0.id
    }

    /// Its outputs.
    pub fn outputs(&self) -> &[Port] {
        &self.0.outputs
    }

    /// What each row of its circuit computes.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// BLAKE3 of the key file.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// Bytes of a proof that commit to the first phase.
    pub fn commitment_bytes(&self) -> usize {
        WORD * self.0.layout.shape.first_phase()
    }

    /// Bytes of every proof under this key.
    ///
    /// Commitments to all columns, to the blinding and the four pieces of the quotient; evaluations of the instance, of
    /// the columns (three of them at two points), of the fixed columns and of the blinding; one commitment and one value
    /// for each of the two points of the opening; of the inner product, a commitment, two points a round, two numbers.
    pub fn proof_bytes(&self) -> usize {
        let Layout { shape, k, .. } = &self.0.layout;
        let columns = shape.first_phase() + shape.second_phase();
        let rounds: usize = (0..*k).map(|_| 2).sum();
        let commitments = columns + 5;
        let evaluations = 1 + columns + 3 + FIXED_COLUMNS + 1;
        WORD * (commitments + evaluations + 3 + 1 + rounds + 2)
    }

    /// The key as `halo2_proofs` has it, made on first use.
    pub(super) fn prepared(&self) -> Result<&Prepared, ProofError> {
        let make = || {
            let parameters = Parameters::get(self.0.layout.k);
            let key = Rows::blank(&self.0.layout).verifying_key(parameters.params());
            key.map(|key| Prepared { parameters, key }).map_err(|e| e.to_string())
        };
        self.0.prepared.get_or_init(make).as_ref().map_err(|e| ProofError::KeyFormat(e.clone()))
    }

    /// The pinned key as text: every gate, every commitment.
    pub fn pinned(&self) -> Result<String, ProofError> {
        Ok(format!("{:#?}", self.prepared()?.key().pinned()))
    }
}
