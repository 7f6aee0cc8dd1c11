//! Blocks, and the certificates that commit them.
//!
//! ```text
//! header hash       = BLAKE3-derive_key("assay.v1 block header", encoding of the header)
//! transactions root = that of `transactions.rs`
//! ```

use crate::codec::{Canonical, Repeated, each, required};
use crate::error::ProtoError;
use crate::id::{BlockHash, ChainId, Height, PublicKey, Root};
use crate::signing::{Envelope, Signature};
use crate::vote::{Vote, VoteKind};
use crate::{limits, wire};

/// What a block's hash covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Name of the chain.
    pub chain_id: ChainId,
    /// Position; the first block has 1.
    pub height: Height,
    /// Hash of the header before it; of the genesis for height 1.
    pub parent: BlockHash,
    /// Unix time in milliseconds, not before the parent's.
    pub time_ms: u64,
    /// The validator that proposed it.
    pub proposer: PublicKey,
    /// Commitment to the transactions.
    pub transactions_root: Root,
    /// Commitment to the state after this block.
    pub state_root: Root,
}

/// A header and its transactions, each signed and not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Header.
    pub header: BlockHeader,
    /// Transactions in the order in which they apply.
    pub transactions: Vec<Envelope>,
}

/// A precommit for a block; the vote in it is what validators sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precommit {
    /// Height of the block.
    pub height: Height,
    /// Round of the vote.
    pub round: u32,
    /// Hash of the header.
    pub block_hash: BlockHash,
}

/// One validator's signature over the vote in the [`Precommit`] of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitSignature {
    /// The validator.
    pub validator: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

/// Signatures of validators over one precommit; whether they are enough is the verifier's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitCertificate {
    /// What was signed.
    pub precommit: Precommit,
    /// By whom.
    pub signatures: Vec<CommitSignature>,
}

/// A block and what commits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBlock {
    /// The block.
    pub block: Block,
    /// Its certificate.
    pub certificate: CommitCertificate,
}

impl Precommit {
    /// The vote that commits the block.
    pub fn vote(&self) -> Vote {
        Vote {
            kind: VoteKind::Precommit,
            height: self.height,
            round: self.round,
            block_hash: Some(self.block_hash),
        }
    }
}

impl BlockHeader {
    /// The name of the block.
    pub fn hash(&self) -> BlockHash {
        BlockHash(blake3::derive_key("assay.v1 block header", &self.encode()))
    }
}

impl Canonical for BlockHeader {
    type Wire = wire::BlockHeader;
    const NAME: &'static str = "block header";
    const MAX_BYTES: usize = limits::HEADER_BYTES;
}

impl TryFrom<wire::BlockHeader> for BlockHeader {
    type Error = ProtoError;

    fn try_from(wire: wire::BlockHeader) -> Result<Self, ProtoError> {
        Ok(Self {
            chain_id: ChainId::new(wire.chain_id)?,
            height: Height(wire.height),
            parent: wire.parent.as_slice().try_into()?,
            time_ms: wire.time_ms,
            proposer: wire.proposer.as_slice().try_into()?,
            transactions_root: wire.transactions_root.as_slice().try_into()?,
            state_root: wire.state_root.as_slice().try_into()?,
        })
    }
}

impl From<&BlockHeader> for wire::BlockHeader {
    fn from(header: &BlockHeader) -> Self {
        Self {
            chain_id: header.chain_id.as_str().to_owned(),
            height: header.height.0,
            parent: header.parent.to_vec(),
            time_ms: header.time_ms,
            proposer: header.proposer.to_vec(),
            transactions_root: header.transactions_root.to_vec(),
            state_root: header.state_root.to_vec(),
        }
    }
}

impl Canonical for Block {
    type Wire = wire::Block;
    const NAME: &'static str = "block";
    const MAX_BYTES: usize = limits::BLOCK_BYTES;
    const REPEATED: &'static [Repeated] =
        &[Repeated { what: "transactions of a block", path: &[2], limit: limits::TRANSACTIONS }];
}

impl TryFrom<wire::Block> for Block {
    type Error = ProtoError;

    fn try_from(wire: wire::Block) -> Result<Self, ProtoError> {
        let what = "transactions of a block";
        Ok(Self {
            header: required(wire.header, "header of a block")?,
            transactions: each(wire.transactions, what, limits::TRANSACTIONS, Envelope::try_from)?,
        })
    }
}

impl From<&Block> for wire::Block {
    fn from(block: &Block) -> Self {
        Self {
            header: Some((&block.header).into()),
            transactions: block.transactions.iter().map(Into::into).collect(),
        }
    }
}

impl Canonical for CommitCertificate {
    type Wire = wire::CommitCertificate;
    const NAME: &'static str = "commit certificate";
    const MAX_BYTES: usize = limits::CERTIFICATE_BYTES;
    const REPEATED: &'static [Repeated] =
        &[Repeated { what: "signatures of a certificate", path: &[4], limit: limits::VALIDATORS }];
}

impl TryFrom<wire::CommitCertificate> for CommitCertificate {
    type Error = ProtoError;

    fn try_from(wire: wire::CommitCertificate) -> Result<Self, ProtoError> {
        let precommit = Precommit {
            height: Height(wire.height),
            round: wire.round,
            block_hash: wire.block_hash.as_slice().try_into()?,
        };
        let what = "signatures of a certificate";
        let signatures = each(wire.signatures, what, limits::VALIDATORS, |wire| {
            Ok(CommitSignature {
                validator: wire.validator.as_slice().try_into()?,
                signature: wire.signature.as_slice().try_into()?,
            })
        })?;
        Ok(Self { precommit, signatures })
    }
}

impl From<&CommitCertificate> for wire::CommitCertificate {
    fn from(certificate: &CommitCertificate) -> Self {
        let signature = |signature: &CommitSignature| wire::CommitSignature {
            validator: signature.validator.to_vec(),
            signature: signature.signature.0.to_vec(),
        };
        Self {
            height: certificate.precommit.height.0,
            round: certificate.precommit.round,
            block_hash: certificate.precommit.block_hash.to_vec(),
            signatures: certificate.signatures.iter().map(signature).collect(),
        }
    }
}

impl Canonical for CommittedBlock {
    type Wire = wire::CommittedBlock;
    const NAME: &'static str = "committed block";
    const MAX_BYTES: usize = limits::COMMITTED_BLOCK_BYTES;
    const REPEATED: &'static [Repeated] = &[
        Repeated { what: "transactions of a block", path: &[1, 2], limit: limits::TRANSACTIONS },
        Repeated { what: "signatures of a certificate", path: &[2, 4], limit: limits::VALIDATORS },
    ];
}

impl TryFrom<wire::CommittedBlock> for CommittedBlock {
    type Error = ProtoError;

    fn try_from(wire: wire::CommittedBlock) -> Result<Self, ProtoError> {
        Ok(Self {
            block: required(wire.block, "block")?,
            certificate: required(wire.certificate, "commit certificate")?,
        })
    }
}

impl From<&CommittedBlock> for wire::CommittedBlock {
    fn from(committed: &CommittedBlock) -> Self {
        Self { block: Some((&committed.block).into()), certificate: Some((&committed.certificate).into()) }
    }
}
