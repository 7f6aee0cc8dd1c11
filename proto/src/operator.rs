//! What the operator of a validator asks its own node, signed by the validator's key.

use crate::codec::{Canonical, required};
use crate::error::ProtoError;
use crate::signing::{Envelope, Payload};
use crate::{limits, wire};

/// A copy of the database, to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Name of its folder: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Unix time in milliseconds.
    pub time_ms: u64,
}

impl Backup {
    /// Checks the name, which becomes a path.
    pub fn new(name: impl Into<String>, time_ms: u64) -> Result<Self, ProtoError> {
        let name = name.into();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > limits::BACKUP_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(ProtoError::text("name of a backup", "1 to 64 of a-z, 0-9 and -", &name));
        }
        Ok(Self { name, time_ms })
    }

    /// The signed request of a call.
    pub fn of(request: wire::BackupRequest) -> Result<Envelope, ProtoError> {
        required(request.backup, "backup")
    }
}

impl Canonical for Backup {
    type Wire = wire::Backup;
    const NAME: &'static str = "backup";
    const MAX_BYTES: usize = 128;
}

impl Payload for Backup {
    const KIND: &'static str = "Backup";
}

impl TryFrom<wire::Backup> for Backup {
    type Error = ProtoError;

    fn try_from(wire: wire::Backup) -> Result<Self, ProtoError> {
        Self::new(wire.name, wire.time_ms)
    }
}

impl From<&Backup> for wire::Backup {
    fn from(backup: &Backup) -> Self {
        Self { name: backup.name.clone(), time_ms: backup.time_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_another_path_is_refused() {
        assert!(Backup::new("before-upgrade-2", 1).is_ok());
        for bad in ["", "..", "a/b", "A", "a b", &"a".repeat(65)] {
            assert!(Backup::new(bad, 1).is_err(), "{bad}");
        }
    }
}
