//! A state as a stream of messages: its block, then its records, a megabyte or one record at a time.

use std::sync::Arc;

use assay_proto::wire::get_snapshot_response::Part;
use assay_proto::{limits, wire};
use assay_verifier::state::State;
use tokio::sync::mpsc;
use tonic::Status;

use super::{READER_TIMEOUT, blocking, deliver};
use crate::application::Application;

type Sender = mpsc::Sender<Result<wire::GetSnapshotResponse, Status>>;

/// Sends all of it; a state never changes, so it is consistent.
pub(super) async fn send(application: Arc<Application>, state: Arc<State>, sender: &Sender) {
    let height = state.head().height;
    let block = blocking(move || application.block(height)).await;
    let failed = block.is_err();
    let first = block.map(|block| message(Part::Block((&block).into())));
    if !deliver(sender, first.map_err(Status::from), READER_TIMEOUT).await || failed {
        return;
    }
    let mut records =
        state.records().map(|record| wire::StateRecord { key: record.key(), value: record.value() });
    let mut held = records.next();
    while let Some(first) = held.take() {
        let mut chunk = wire::StateRecords { records: vec![first] };
        let mut bytes = size(&chunk.records);
        for record in records.by_ref() {
            bytes = bytes.saturating_add(size(std::slice::from_ref(&record)));
            if bytes > limits::SNAPSHOT_CHUNK_BYTES {
                held = Some(record);
                break;
            }
            chunk.records.push(record);
        }
        if !deliver(sender, Ok(message(Part::Records(chunk))), READER_TIMEOUT).await {
            return;
        }
    }
}

fn message(part: Part) -> wire::GetSnapshotResponse {
    wire::GetSnapshotResponse { part: Some(part) }
}

fn size(records: &[wire::StateRecord]) -> usize {
    records.iter().map(|record| record.key.len().saturating_add(record.value.len())).sum()
}
