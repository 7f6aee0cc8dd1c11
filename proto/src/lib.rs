#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod block;
pub mod challenge;
#[cfg(feature = "grpc")]
pub mod client;
pub mod codec;
mod error;
pub mod genesis;
pub mod hold;
mod id;
pub mod inclusion;
pub mod job;
pub mod limits;
pub mod operating;
pub mod operator;
pub mod receipt;
pub mod report;
pub mod scores;
pub mod signing;
pub mod subnet;
pub mod transaction;
pub mod transactions;
pub mod vote;
pub mod wire;

pub use codec::Canonical;
pub use error::ProtoError;
pub use id::{
    BlockHash, ChainId, ChallengeId, Commitment, Epoch, Height, JobId, ModelId, PublicKey, Root, SubnetId,
};
pub use signing::{Envelope, Payload, SecretKey, Signature, Signed};
pub use transaction::ProofSystem;
