//! What shows that a record was in the ledger's state, or a transaction in a block, to somebody who has neither.

use crate::block::{BlockHeader, CommitCertificate};
use crate::codec::{Canonical, Repeated, each, required};
use crate::error::ProtoError;
use crate::signing::Envelope;
use crate::{limits, wire};

/// A record or a transaction, its place in a tree, and the block whose header names the tree; the rules are the verifier's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// What is shown.
    pub path: Path,
    /// Header of the block that has the transaction, or after which the record was so.
    pub header: BlockHeader,
    /// What commits it.
    pub certificate: CommitCertificate,
}

/// What is in a tree, and its siblings from the root down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// A record of the state.
    Record {
        /// Its key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// Siblings.
        siblings: Vec<[u8; 32]>,
    },
    /// A transaction of the block.
    Transaction {
        /// As it was signed.
        transaction: Envelope,
        /// Its place.
        index: u32,
        /// Transactions of the block.
        count: u32,
        /// Siblings.
        siblings: Vec<[u8; 32]>,
    },
}

impl Canonical for InclusionProof {
    type Wire = wire::InclusionProof;
    const NAME: &'static str = "proof of inclusion";
    const MAX_BYTES: usize = limits::INCLUSION_PROOF_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: "siblings of a record", path: &[1, 3], limit: limits::SIBLINGS },
        Repeated { what: "siblings of a transaction", path: &[2, 4], limit: limits::SIBLINGS },
        Repeated { what: "signatures of a certificate", path: &[4, 4], limit: limits::VALIDATORS },
    ];
}

fn siblings(wire: Vec<Vec<u8>>, what: &'static str) -> Result<Vec<[u8; 32]>, ProtoError> {
    each(wire, what, limits::SIBLINGS, |sibling| {
        let got = sibling.len();
        sibling.try_into().map_err(|_| ProtoError::Length { what, expected: 32, got })
    })
}

impl TryFrom<wire::inclusion_proof::Path> for Path {
    type Error = ProtoError;

    fn try_from(wire: wire::inclusion_proof::Path) -> Result<Self, ProtoError> {
        Ok(match wire {
            wire::inclusion_proof::Path::Record(path) => Self::Record {
                key: path.key,
                value: path.value,
                siblings: siblings(path.siblings, "siblings of a record")?,
            },
            wire::inclusion_proof::Path::Transaction(path) => Self::Transaction {
                transaction: required(path.transaction, "transaction that is shown")?,
                index: path.index,
                count: path.count,
                siblings: siblings(path.siblings, "siblings of a transaction")?,
            },
        })
    }
}

impl From<&Path> for wire::inclusion_proof::Path {
    fn from(path: &Path) -> Self {
        let words = |siblings: &[[u8; 32]]| siblings.iter().map(|sibling| sibling.to_vec()).collect();
        match path {
            Path::Record { key, value, siblings } => Self::Record(wire::RecordPath {
                key: key.clone(),
                value: value.clone(),
                siblings: words(siblings),
            }),
            Path::Transaction { transaction, index, count, siblings } => {
                Self::Transaction(wire::TransactionPath {
                    transaction: Some(transaction.into()),
                    index: *index,
                    count: *count,
                    siblings: words(siblings),
                })
            }
        }
    }
}

impl TryFrom<wire::InclusionProof> for InclusionProof {
    type Error = ProtoError;

    fn try_from(wire: wire::InclusionProof) -> Result<Self, ProtoError> {
        Ok(Self {
            path: required(wire.path, "what is shown")?,
            header: required(wire.header, "header of a proof of inclusion")?,
            certificate: required(wire.certificate, "certificate of a proof of inclusion")?,
        })
    }
}

impl From<&InclusionProof> for wire::InclusionProof {
    fn from(proof: &InclusionProof) -> Self {
        Self {
            path: Some((&proof.path).into()),
            header: Some((&proof.header).into()),
            certificate: Some((&proof.certificate).into()),
        }
    }
}
