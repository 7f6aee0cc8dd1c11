//! The one mapping from an error to a gRPC status.
//!
//! | code | when |
//! |---|---|
//! | `INVALID_ARGUMENT` | the message itself: encoding, signature, limits, ranges; it fails everywhere alike |
//! | `NOT_FOUND` | a model, block, epoch or account that this chain does not have |
//! | `FAILED_PRECONDITION` | the ledger as it stands: nonces, balances, registrations |
//! | `PERMISSION_DENIED` | a request to this node's operator services that is not its operator's |
//! | `RESOURCE_EXHAUSTED` | a limit on what is in progress; the same call may pass later |
//! | `DEADLINE_EXCEEDED` | not decided in time; it may be decided later |
//! | `UNAVAILABLE` | the node is stopping, or not ready yet |
//! | `INTERNAL` | the node's own fault; details are in its log only |

use assay_verifier::{Reason, describe};
use tonic::{Code, Status};

use crate::error::Error;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = code(&error);
        if code == Code::Internal {
            tracing::error!(error = %describe(&error), "internal error");
            return Self::internal("internal error; the validator's log says more");
        }
        Self::new(code, describe(&error))
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::Proto(_) | Error::Missing(_) | Error::Deadline { .. } | Error::Price { .. } => {
            Code::InvalidArgument
        }
        Error::NotFound(_) => Code::NotFound,
        Error::Rule(reason) => rule(reason),
        Error::NonceUsed { .. }
        | Error::NonceTaken { .. }
        | Error::JobNonceUsed { .. }
        | Error::BackupExists(_)
        | Error::Pruned { .. }
        | Error::Funds { .. }
        | Error::Dropped(_) => Code::FailedPrecondition,
        Error::NotOperator(_) => Code::PermissionDenied,
        Error::Busy { .. } => Code::ResourceExhausted,
        Error::Undecided { .. } => Code::DeadlineExceeded,
        Error::Stopping | Error::NotReady => Code::Unavailable,
        Error::Config { .. }
        | Error::Listen { .. }
        | Error::NotValidator(_)
        | Error::OtherOwner { .. }
        | Error::NotPeer(_)
        | Error::Consensus(_)
        | Error::Genesis(_)
        | Error::Open { .. }
        | Error::Locked { .. }
        | Error::NewerSchema { .. }
        | Error::OlderChain
        | Error::OtherGenesis { .. }
        | Error::NotBehind { .. }
        | Error::Snapshot(_)
        | Error::Peer(_)
        | Error::Corrupt { .. }
        | Error::Database(_)
        | Error::Block(_)
        | Error::UnknownBlock(_)
        | Error::Randomness(_)
        | Error::Reflection(_)
        | Error::Server(_)
        | Error::Metrics(_)
        | Error::File { .. }
        | Error::Task(_) => Code::Internal,
    }
}

/// Rules about the message itself fail everywhere alike; the rest depend on the ledger as it stands.
fn rule(reason: &Reason) -> Code {
    match reason {
        Reason::Job(_) | Reason::Inputs(_) | Reason::Transaction(_) => Code::InvalidArgument,
        Reason::ModelUnknown(_) => Code::NotFound,
        _ => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_proto::ModelId;

    #[test]
    fn callers_learn_why_a_request_is_refused() {
        let status = Status::from(Error::Rule(Reason::ModelUnknown(ModelId([7; 32]))));
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains(&"07".repeat(32)), "{}", status.message());
    }

    #[test]
    fn callers_do_not_learn_what_is_wrong_inside_the_node() {
        let status = Status::from(Error::Corrupt { what: "secret detail".into() });
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"), "{}", status.message());
    }
}
