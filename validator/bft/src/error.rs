//! Why there is no agreement to be had with this engine.

use std::net::SocketAddr;
use std::path::PathBuf;

use assay_proto::{Height, PublicKey};

use crate::application::Fault;

/// One variant a reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the engine.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process signs with this state.
    #[error("{path} is in use by another process")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is not the record of what this key signed on this chain.
    #[error("{path} is damaged, or the signing state of another key or chain")]
    SigningState {
        /// The file.
        path: PathBuf,
    },
    /// A validator that is alone cannot learn from others what it signed.
    #[error(
        "{path} is missing or was made anew, and this chain is at height {height}: what this key signed is not known, and no other validator can go on without it"
    )]
    Unrecorded {
        /// The file.
        path: PathBuf,
        /// Height of the chain.
        height: Height,
    },
    /// A validator that is alone cannot wait until others have gone on.
    #[error("{path} is missing, and this key signed at height {height}, which is not decided")]
    LostLog {
        /// The file.
        path: PathBuf,
        /// Height that it signed at.
        height: Height,
    },
    /// A peer that is none.
    #[error("peer {0}: no validator's key")]
    PeerKey(PublicKey),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The engine did not start.
    #[error("the consensus engine did not start: {0}")]
    Start(String),
    /// The engine stopped by itself.
    #[error("the consensus engine stopped; its log says why")]
    Stopped,
    /// The application cannot go on.
    #[error("the application failed")]
    Application(#[source] Fault),
    /// A task ended abnormally.
    #[error("a task of the engine ended abnormally: {0}")]
    Task(#[from] tokio::task::JoinError),
}
