//! `assay.v1.Operator`: what the operator of this node asks it, signed by this validator's key.

use std::path::PathBuf;
use std::sync::Arc;

use assay_proto::operator::Backup;
use assay_proto::wire::operator_server::Operator as OperatorRpc;
use assay_proto::{Signed, wire};
use tonic::{Request, Response, Status};

use super::{Context, blocking};
use crate::clock;
use crate::error::Error;

/// Age of a request beyond which it is refused, so that nobody repeats one that it saw.
const AGE_MS: u64 = 60_000;

/// The service.
pub(super) struct Operator {
    context: Arc<Context>,
    /// Where backups are made.
    folder: PathBuf,
}

impl Operator {
    pub fn new(context: Arc<Context>, folder: PathBuf) -> Self {
        Self { context, folder }
    }
}

#[tonic::async_trait]
impl OperatorRpc for Operator {
    async fn backup(
        &self,
        request: Request<wire::BackupRequest>,
    ) -> Result<Response<wire::BackupResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let envelope = Backup::of(request.into_inner()).map_err(Error::from)?;
        let (application, folder) = (Arc::clone(&self.context.application), self.folder.clone());
        let made = blocking(move || {
            let backup: Signed<Backup> = envelope.open(&application.chain_id())?;
            let Backup { name, time_ms } = backup.value();
            let now = clock::unix_ms();
            if backup.signer() != application.public_key() || now.abs_diff(*time_ms) > AGE_MS {
                return Err(Error::NotOperator(backup.signer()));
            }
            let path = folder.join(name);
            if path.exists() {
                return Err(Error::BackupExists(path));
            }
            let failed = |source| Error::File { path: folder.clone(), source };
            std::fs::create_dir_all(&folder).map_err(failed)?;
            // What is decided from here on may be in it or not.
            let height = application.state().head().height;
            application.store().checkpoint(&path)?;
            tracing::info!(path = %path.display(), %height, "backup made");
            Ok((path, height))
        });
        let (path, height) = made.await?;
        Ok(Response::new(wire::BackupResponse { path: path.display().to_string(), height: height.0 }))
    }
}
