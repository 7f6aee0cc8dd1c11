//! The proving key and its file.
//!
//! A file is a magic with a version, the verifying key, the limb width, and every array of points, uncompressed, with
//! a BLAKE3 digest of all of it at the end. Its lengths follow from the model, so none is read from the file.

use std::io::{Read, Write};

use ark_bn254::{G1Affine, G2Affine};
use ark_ec::short_weierstrass::{Affine, SWCurveConfig};
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use assay_circuits::ir::{Graph, ModelId};
use assay_circuits::r1cs::{LIMB_BITS, Plan};
use assay_verifier::proof::groth16::VerifyingKey;
use assay_verifier::proof::{ProofError, limits};
use rayon::prelude::*;

const MAGIC: &[u8; 8] = b"ASSAYPK\x02";
/// Points read at a time.
const CHUNK: usize = 1 << 14;

/// Why a proving key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing failed; a file that is cut ends here.
    #[error("proving key: {0}")]
    Io(#[from] std::io::Error),
    /// Not a proving key of this version.
    #[error("not a proving key of this version")]
    Magic,
    /// The verifying key inside is not acceptable.
    #[error(transparent)]
    Verifying(#[from] ProofError),
    /// The key belongs to another model.
    #[error("the key is for model {key}, not for {model}")]
    OtherModel {
        /// Model of the key.
        key: ModelId,
        /// Model that was to be proven.
        model: ModelId,
    },
    /// A number in the file is out of range.
    #[error("proving key: {0}")]
    Malformed(&'static str),
    /// The bytes are not what the setup wrote.
    #[error("proving key: the digest does not match, the file is damaged")]
    Digest,
}

/// Everything that the prover multiplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvingKey {
    /// Bytes of the verifying key's file.
    pub(super) verifying: Vec<u8>,
    pub(super) limb_bits: u32,
    /// `alpha, beta, delta1, delta2, sum lambda (lookups and table), C side of the lookups`.
    pub(super) g1: [G1Affine; 6],
    /// `beta, delta2, sum lambda (lookups and table)`.
    pub(super) g2: [G2Affine; 3],
    /// `lambda_row` of every row.
    pub(super) lagrange1: Vec<G1Affine>,
    /// The same in G2.
    pub(super) lagrange2: Vec<G2Affine>,
    /// `K_i / delta1` of the private wires, then of the multiplicities.
    pub(super) l1: Vec<G1Affine>,
    /// `K_i / delta2` of the inverses: lookups, then table; then of the wires of the rows over the field.
    pub(super) l2: Vec<G1Affine>,
    /// `-Z lambda'_j / (2 delta2)` over the coset.
    pub(super) quotient: Vec<G1Affine>,
    /// `Z lambda_row / (2 delta2)` of the rows whose right side is neither 0 nor 1: table, products, field.
    pub(super) c_rows: Vec<G1Affine>,
}

impl ProvingKey {
    /// Bytes of the verifying key's file.
    pub fn verifying_key(&self) -> &[u8] {
        &self.verifying
    }

    /// This key with the verifying key of another setup, for tests of what a damaged key does.
    #[must_use]
    pub fn with_verifying_key_of(mut self, other: &Self) -> Self {
        self.verifying.clone_from(&other.verifying);
        self
    }

    /// Writes the key file.
    pub fn write(&self, to: impl Write) -> Result<(), KeyError> {
        let mut to = Hashing { inner: to, hash: blake3::Hasher::new() };
        to.write_all(MAGIC)?;
        to.write_all(&(self.verifying.len() as u64).to_le_bytes())?;
        to.write_all(&self.verifying)?;
        to.write_all(&self.limb_bits.to_le_bytes())?;
        write_points(&mut to, &self.g1)?;
        write_points(&mut to, &self.g2)?;
        write_points(&mut to, &self.lagrange1)?;
        write_points(&mut to, &self.lagrange2)?;
        for points in [&self.l1, &self.l2, &self.quotient, &self.c_rows] {
            write_points(&mut to, points)?;
        }
        let digest = to.hash.finalize();
        to.inner.write_all(digest.as_bytes())?;
        Ok(to.inner.flush()?)
    }

    /// Reads a key file for a model.
    pub fn read(from: impl Read, graph: &Graph) -> Result<Self, KeyError> {
        let mut from = Hashing { inner: from, hash: blake3::Hasher::new() };
        if from.array::<8>()? != *MAGIC {
            return Err(KeyError::Magic);
        }
        let length = u64::from_le_bytes(from.array()?);
        if length > limits::KEY_BYTES as u64 {
            return Err(KeyError::Malformed("the verifying key is too long"));
        }
        let mut verifying = vec![0; length as usize];
        from.read_exact(&mut verifying)?;
        let key = VerifyingKey::decode(&verifying)?.model_id();
        if key != graph.id() {
            return Err(KeyError::OtherModel { key, model: graph.id() });
        }
        let limb_bits = u32::from_le_bytes(from.array()?);
        if !LIMB_BITS.contains(&limb_bits) {
            return Err(KeyError::Malformed("limb width out of range"));
        }
        let plan = Plan::with_limb_bits(graph, limb_bits);
        let malformed = |_| KeyError::Malformed("wrong number of points");
        let key = Self {
            verifying,
            limb_bits,
            g1: from.points(6)?.try_into().map_err(malformed)?,
            g2: from.points(3)?.try_into().map_err(|_| KeyError::Malformed("wrong number of points"))?,
            lagrange1: from.points(plan.rows())?,
            lagrange2: from.points(plan.rows())?,
            l1: from.points(plan.wires + plan.table())?,
            l2: from.points(plan.lookups + plan.table() + plan.field_wires + plan.matrix_wires)?,
            quotient: from.points(plan.domain())?,
            c_rows: from.points(plan.table() + plan.products + plan.field_rows + plan.matrix_rows)?,
        };
        let digest = from.hash.finalize();
        let mut stored = [0; 32];
        from.inner.read_exact(&mut stored)?;
        if digest != stored {
            return Err(KeyError::Digest);
        }
        match from.inner.read(&mut [0])? {
            0 => Ok(key),
            _ => Err(KeyError::Malformed("bytes follow the digest")),
        }
    }
}

fn write_points<P: SWCurveConfig>(to: &mut impl Write, points: &[Affine<P>]) -> Result<(), KeyError> {
    points.iter().try_for_each(|point| point.serialize_uncompressed(&mut *to)).map_err(io)
}

fn io(error: ark_serialize::SerializationError) -> KeyError {
    KeyError::Io(match error {
        ark_serialize::SerializationError::IoError(error) => error,
        other => std::io::Error::other(other.to_string()),
    })
}

/// Hashes what passes through.
struct Hashing<I> {
    inner: I,
    hash: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Hashing<R> {
    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), KeyError> {
        self.inner.read_exact(bytes)?;
        self.hash.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KeyError> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Points on the curve; G2 points are not checked for their subgroup, since a miner checks every proof it makes.
    fn points<P: SWCurveConfig>(&mut self, count: usize) -> Result<Vec<Affine<P>>, KeyError> {
        let size = Affine::<P>::identity().uncompressed_size();
        let mut points = Vec::with_capacity(count);
        while points.len() < count {
            let mut bytes = vec![0; size * CHUNK.min(count - points.len())];
            self.read_exact(&mut bytes)?;
            let chunk: Option<Vec<Affine<P>>> = bytes.par_chunks_exact(size).map(point).collect();
            points.extend(chunk.ok_or(KeyError::Malformed("a point is not on its curve"))?);
        }
        Ok(points)
    }
}

fn point<P: SWCurveConfig>(bytes: &[u8]) -> Option<Affine<P>> {
    let point = Affine::<P>::deserialize_uncompressed_unchecked(bytes).ok()?;
    point.is_on_curve().then_some(point)
}
