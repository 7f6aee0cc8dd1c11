//! What agreement is about, as the engine sees it: bytes with a hash. What a block means is the application's business.

use assay_proto::block::CommitCertificate;
use assay_proto::vote::Equivocation;
use assay_proto::{BlockHash, Height, PublicKey};
use async_trait::async_trait;

/// A fault of this node's own (its disk, its database): it must not go on.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A block to propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Hash of its header.
    pub hash: BlockHash,
    /// Its encoding.
    pub bytes: Vec<u8>,
}

/// What an application says about bytes that claim to be the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be decided. The application keeps it, durably, until a block of its height is decided.
    Valid(BlockHash),
    /// It is the block of this hash, no other bytes are, and it may not be decided.
    Invalid(BlockHash),
    /// The bytes are not a block of any hash: whoever sent them is at fault, not the block's proposer.
    NoBlock,
}

/// The application under the engine. All calls but the last two block; the engine makes them one at a time, away from
/// the threads that serve the network.
#[async_trait]
pub trait Application: Send + Sync + 'static {
    /// Height of the last decided block.
    fn head(&self) -> Height;

    /// Validators of the block after the head, with their power. Every node derives the same from the same blocks.
    fn validators(&self) -> Vec<(PublicKey, u64)>;

    /// Keys that may connect beside the peers of the settings: validators, and who is about to become one. Every node
    /// derives the same from the same blocks.
    fn known(&self) -> Vec<PublicKey>;

    /// The next block, proposed by this validator. It is durable before this returns, and the same one for the same
    /// round of a height, also after a restart.
    fn propose(&self, round: u32) -> Result<Proposed, Fault>;

    /// Whether these bytes are a block that may follow the head. `live`: it is voted on now, not long decided by
    /// others.
    fn validate(&self, bytes: &[u8], live: bool) -> Result<Verdict, Fault>;

    /// A block that was proposed here or found valid, and is not decided yet.
    fn undecided(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, Fault>;

    /// Makes a valid block the head. It is durable when this returns.
    fn decide(&self, certificate: CommitCertificate) -> Result<(), Fault>;

    /// A decided block and what committed it.
    fn decided(&self, height: Height) -> Result<Option<(Vec<u8>, CommitCertificate)>, Fault>;

    /// The earliest decided block that [`Application::decided`] still has.
    fn earliest(&self) -> Result<Height, Fault>;

    /// A validator signed what it may not.
    fn accuse(&self, evidence: Equivocation) -> Result<(), Fault>;

    /// Bytes that another validator gossiped by [`crate::Engine::gossip`]; the receiver bounds and checks them.
    fn hear(&self, from: PublicKey, message: Vec<u8>);

    /// Who gossiped what no validator passes on, once each time, since this was asked last.
    fn blamed(&self) -> Vec<PublicKey>;

    /// Resolves when there is a reason for a block after the head.
    async fn wanted(&self);
}
