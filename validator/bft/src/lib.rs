#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod application;
mod codec;
mod context;
mod driver;
mod engine;
mod error;
mod evidence;
mod parts;
mod peers;
mod signer;
mod signing_state;

pub use application::{Application, Fault, Proposed, Verdict};
pub use engine::{Engine, Peer, PeerLog, Settings, Status, Timeouts};
pub use error::Error;
pub use signing_state::SigningState;
