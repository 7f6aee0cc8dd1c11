//! A record of the ledger's state and what shows that it was in it.

use crate::block::{BlockHeader, CommitCertificate};
use crate::codec::{Canonical, Repeated, each, required};
use crate::error::ProtoError;
use crate::{limits, wire};

/// A record, its place in the tree, and the block whose header names the tree; the rules are the verifier's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// Key of the record.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its siblings, from the root of the tree down.
    pub siblings: Vec<[u8; 32]>,
    /// Header of the block after which the record was so.
    pub header: BlockHeader,
    /// What commits it.
    pub certificate: CommitCertificate,
}

impl Canonical for RecordProof {
    type Wire = wire::RecordProof;
    const NAME: &'static str = "proof of a record";
    const MAX_BYTES: usize = limits::RECORD_PROOF_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: "siblings of a record", path: &[3], limit: limits::SIBLINGS },
        Repeated { what: "signatures of a certificate", path: &[5, 4], limit: limits::VALIDATORS },
    ];
}

impl TryFrom<wire::RecordProof> for RecordProof {
    type Error = ProtoError;

    fn try_from(wire: wire::RecordProof) -> Result<Self, ProtoError> {
        let siblings = each(wire.siblings, "siblings of a record", limits::SIBLINGS, |sibling| {
            let got = sibling.len();
            sibling.try_into().map_err(|_| ProtoError::Length {
                what: "sibling of a record",
                expected: 32,
                got,
            })
        })?;
        Ok(Self {
            key: wire.key,
            value: wire.value,
            siblings,
            header: required(wire.header, "header of a record")?,
            certificate: required(wire.certificate, "certificate of a record")?,
        })
    }
}

impl From<&RecordProof> for wire::RecordProof {
    fn from(proof: &RecordProof) -> Self {
        Self {
            key: proof.key.clone(),
            value: proof.value.clone(),
            siblings: proof.siblings.iter().map(|sibling| sibling.to_vec()).collect(),
            header: Some((&proof.header).into()),
            certificate: Some((&proof.certificate).into()),
        }
    }
}
