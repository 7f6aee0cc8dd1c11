#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod accounts;
pub mod audit;
pub mod certificate;
pub mod challenge;
pub mod epoch;
mod error;
pub mod export;
pub mod fixed;
pub mod governance;
pub mod holds;
pub mod inclusion;
pub mod jobs;
pub mod labels;
pub mod latency;
pub mod limits;
pub mod locks;
pub mod miners;
pub mod operating;
pub mod proof;
pub mod propose;
pub mod receipt;
pub mod scores;
pub mod snapshot;
pub mod state;
pub mod subnets;
pub mod tiers;
pub mod transition;
pub mod yuma;

pub use error::{Reason, Rejection, describe};
