//! `assay.v1.Ledger`: the log, read and written.

use std::sync::Arc;

use assay_proto::block::CommittedBlock;
use assay_proto::inclusion::{InclusionProof, Path};
use assay_proto::limits::LOCKS;
use assay_proto::transaction::{Devices, Purpose};
use assay_proto::wire::ledger_server::Ledger as LedgerRpc;
use assay_proto::{Envelope, Epoch, Height, PublicKey, transactions, wire};
use assay_verifier::challenge::Availability;
use assay_verifier::export;
use assay_verifier::locks::Locked;
use assay_verifier::operating::OperatingKey;
use assay_verifier::state::{Miner, State};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, READER_TIMEOUT, STREAM_BUFFER, blocking, deliver, snapshot, subnets, while_wanted};
use crate::application::Application;
use crate::error::Error;
use crate::mempool::Outcome;
use crate::stop::stopping;

/// Bytes of an export in one message.
const CHUNK_BYTES: usize = 256 << 10;

/// The service.
pub(super) struct Ledger {
    context: Arc<Context>,
}

impl Ledger {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    fn application(&self) -> Arc<Application> {
        Arc::clone(&self.context.application)
    }
}

type Messages<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl LedgerRpc for Ledger {
    async fn submit_transaction(
        &self,
        request: Request<wire::SubmitTransactionRequest>,
    ) -> Result<Response<wire::SubmitTransactionResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let transaction = request.into_inner().transaction.ok_or(Error::Missing("the transaction"))?;
        let envelope = Envelope::try_from(transaction).map_err(Error::from)?;
        let application = self.application();
        let wait = blocking(move || application.submit(&envelope)).await?;
        let limit = self.context.commit_timeout;
        let undecided = |_| Error::Undecided { ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) };
        let outcome = tokio::select! {
            outcome = timeout(limit, wait) => outcome.map_err(undecided)?.map_err(|_| Error::Stopping)?,
            () = stopping(self.context.stopped.clone()) => return Err(Error::Stopping.into()),
        };
        match outcome {
            Outcome::Committed { height, index } => {
                Ok(Response::new(wire::SubmitTransactionResponse { height: height.0, index }))
            }
            Outcome::Dropped { reason } => Err(Error::Dropped(reason).into()),
        }
    }

    async fn get_account(
        &self,
        request: Request<wire::GetAccountRequest>,
    ) -> Result<Response<wire::GetAccountResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let key = PublicKey::try_from(request.into_inner().public_key.as_slice()).map_err(Error::from)?;
        let application = self.application();
        let taken = blocking(move || application.store().latest_job_nonce(&key)).await?;
        let state = self.context.application.state();
        let account = state.account(&key);
        Ok(Response::new(wire::GetAccountResponse {
            chain_id: state.chain_id().as_str().to_owned(),
            height: state.head().height.0,
            balance: account.balance,
            nonce: account.nonce,
            held: state.holds(&key).map_or(0, |holds| u64::try_from(holds.total()).unwrap_or(u64::MAX)),
            job_nonce: state.client(&key).map_or(0, |jobs| jobs.latest()).max(taken),
            miner: state
                .miner(&key)
                .map(|miner| miner_record(miner, state.earned(&key), state.availability(&key))),
            locks: state
                .locks()
                .filter(|((_, owner), _)| *owner == key)
                .take(LOCKS)
                .map(lock_record)
                .collect(),
            operating_key: state.operated(&key).and_then(|keys| operating_key(&state, &keys.latest)),
            operates: operating_key(&state, &key),
        }))
    }

    async fn get_block(
        &self,
        request: Request<wire::GetBlockRequest>,
    ) -> Result<Response<wire::GetBlockResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let application = self.application();
        let height = match request.into_inner().height {
            0 => application.state().head().height,
            height => Height(height),
        };
        let block = blocking(move || application.block(height)).await?;
        Ok(Response::new(wire::GetBlockResponse { block: Some((&block).into()) }))
    }

    type StreamBlocksStream = Messages<wire::StreamBlocksResponse>;

    async fn stream_blocks(
        &self,
        request: Request<wire::StreamBlocksRequest>,
    ) -> Result<Response<Self::StreamBlocksStream>, Status> {
        let share = self.context.enter_stream(&request)?;
        let first = Height(request.into_inner().from_height.max(1));
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        let (application, stopped) = (self.application(), self.context.stopped.clone());
        tokio::spawn(async move {
            while_wanted(&sender, stopped, send_blocks(application, first, &sender)).await;
            drop(share);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_epoch_report(
        &self,
        request: Request<wire::GetEpochReportRequest>,
    ) -> Result<Response<wire::GetEpochReportResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let application = self.application();
        let report = blocking(move || match request.into_inner().epoch {
            0 => application.store().latest_report(),
            epoch => application.store().report(Epoch(epoch)),
        });
        let report = report.await?.ok_or(Error::NotFound("ended epoch"))?;
        Ok(Response::new(wire::GetEpochReportResponse { report: Some((&report).into()) }))
    }

    async fn list_subnets(
        &self,
        request: Request<wire::ListSubnetsRequest>,
    ) -> Result<Response<wire::ListSubnetsResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let state = self.context.application.state();
        let list = blocking(move || Ok(subnets::list(&state))).await?;
        Ok(Response::new((&list).into()))
    }

    async fn prove_record(
        &self,
        request: Request<wire::ProveRecordRequest>,
    ) -> Result<Response<wire::ProveRecordResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let (application, key) = (self.application(), request.into_inner().key);
        let proof = blocking(move || {
            let state = application.state();
            let siblings = state.siblings(&key).ok_or(Error::NotFound("record"))?;
            let record = state.record(&key).ok_or(Error::NotFound("record"))?;
            // The genesis has no header.
            let committed =
                application.store().block(state.head().height)?.ok_or(Error::NotFound("block"))?;
            let (header, certificate) = (committed.block.header, committed.certificate);
            let path = Path::Record { key, value: record.value(), siblings };
            Ok(InclusionProof { path, header, certificate })
        });
        Ok(Response::new(wire::ProveRecordResponse { proof: Some((&proof.await?).into()) }))
    }

    async fn prove_transaction(
        &self,
        request: Request<wire::ProveTransactionRequest>,
    ) -> Result<Response<wire::ProveTransactionResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let (application, request) = (self.application(), request.into_inner());
        let proof = blocking(move || {
            let CommittedBlock { block, certificate } = application.block(Height(request.height))?;
            let (index, missing) = (request.index, || Error::NotFound("transaction"));
            let place = usize::try_from(index).map_err(|_| missing())?;
            let siblings = transactions::siblings(&block.transactions, place).ok_or_else(missing)?;
            let count = u32::try_from(block.transactions.len()).unwrap_or(u32::MAX);
            let transaction = block.transactions.into_iter().nth(place).ok_or_else(missing)?;
            let path = Path::Transaction { transaction, index, count, siblings };
            Ok(InclusionProof { path, header: block.header, certificate })
        });
        Ok(Response::new(wire::ProveTransactionResponse { proof: Some((&proof.await?).into()) }))
    }

    type ExportStream = Messages<wire::ExportResponse>;

    async fn export(
        &self,
        request: Request<wire::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let share = self.context.enter_stream(&request)?;
        let earliest = self.context.application.store().earliest();
        if earliest > Height(1) {
            return Err(Error::Pruned { height: Height(1), earliest }.into());
        }
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        let (application, stopped) = (self.application(), self.context.stopped.clone());
        tokio::spawn(async move {
            while_wanted(&sender, stopped, send_export(application, &sender)).await;
            drop(share);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        let _call = self.context.enter(&request)?;
        let application = &self.context.application;
        let state = application.state();
        Ok(Response::new(wire::GetStatusResponse {
            chain_id: state.chain_id().as_str().to_owned(),
            head: Some(point(&state)),
            earliest: application.store().earliest().0,
            ready: *self.context.ready.borrow(),
            snapshots: application.snapshots().iter().map(|state| point(state)).collect(),
        }))
    }

    type GetSnapshotStream = Messages<wire::GetSnapshotResponse>;

    async fn get_snapshot(
        &self,
        request: Request<wire::GetSnapshotRequest>,
    ) -> Result<Response<Self::GetSnapshotStream>, Status> {
        let share = self.context.enter_stream(&request)?;
        let height = Height(request.into_inner().height);
        let offered = self.context.application.snapshots();
        let state = offered.into_iter().find(|state| state.head().height == height);
        let state = state.ok_or(Error::NotFound("snapshot; GetStatus names those that are offered"))?;
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        let (application, stopped) = (self.application(), self.context.stopped.clone());
        tokio::spawn(async move {
            while_wanted(&sender, stopped, snapshot::send(application, state, &sender)).await;
            drop(share);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn point(state: &State) -> wire::BlockPoint {
    wire::BlockPoint { height: state.head().height.0, block_hash: state.head().hash.to_vec() }
}

fn operating_key(state: &State, key: &PublicKey) -> Option<wire::OperatingKey> {
    let OperatingKey { owner, from, until, former: _ } = state.operating_key(key)?;
    Some(wire::OperatingKey {
        public_key: key.to_vec(),
        owner: owner.to_vec(),
        from: from.0,
        until: until.map_or(0, |until| until.0),
    })
}

fn miner_record(miner: &Miner, earned: u64, availability: Option<&Availability>) -> wire::MinerRecord {
    let devices = availability.map_or_else(Devices::default, |availability| availability.devices);
    wire::MinerRecord {
        endpoint: miner.endpoint.clone(),
        model_ids: miner.models.iter().map(|id| id.to_vec()).collect(),
        reputation_ppm: miner.root.reputation_ppm,
        earned,
        device_class: devices.class,
        devices: devices.count,
    }
}

fn lock_record(((purpose, _), locked): (&(Purpose, PublicKey), &Locked)) -> wire::LockRecord {
    let (purpose, validator) = purpose.to_wire();
    let leaving = |(height, &amount): (&Height, &u64)| wire::Leaving { height: height.0, amount };
    let leaving = locked.leaving.iter().map(leaving).collect();
    wire::LockRecord { purpose, validator, amount: locked.amount, leaving }
}

type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// Every block from `next` on, the new ones as they are decided.
async fn send_blocks(
    application: Arc<Application>,
    mut next: Height,
    sender: &Sender<wire::StreamBlocksResponse>,
) {
    let mut head = application.follow();
    loop {
        // An error means that the node has stopped.
        if head.wait_for(|state| state.head().height >= next).await.is_err() {
            return;
        }
        let (reader, height) = (Arc::clone(&application), next);
        let block = blocking(move || reader.block(height)).await;
        let message = block.map(|block| wire::StreamBlocksResponse { block: Some((&block).into()) });
        let failed = message.is_err();
        if !deliver(sender, message.map_err(Status::from), READER_TIMEOUT).await || failed {
            return;
        }
        next = next.next();
    }
}

/// The export file of the log up to the height at this moment. Decided blocks never change, so it is consistent.
async fn send_export(application: Arc<Application>, sender: &Sender<wire::ExportResponse>) {
    let state = application.state();
    let last = state.head().height;
    if !send_chunks(sender, Ok(export::start(state.genesis_block()))).await {
        return;
    }
    drop(state);
    let mut height = Height(1);
    while height <= last {
        let reader = Arc::clone(&application);
        let frame = blocking(move || Ok(export::block_bytes(&reader.block_bytes(height)?)));
        if !send_chunks(sender, frame.await).await {
            return;
        }
        height = height.next();
    }
    send_chunks(sender, Ok(export::end(last))).await;
}

/// Sends bytes in messages of bounded size; false when that was the end.
async fn send_chunks(sender: &Sender<wire::ExportResponse>, bytes: Result<Vec<u8>, Error>) -> bool {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            deliver(sender, Err(error.into()), READER_TIMEOUT).await;
            return false;
        }
    };
    for chunk in bytes.chunks(CHUNK_BYTES) {
        if !deliver(sender, Ok(wire::ExportResponse { chunk: chunk.to_vec() }), READER_TIMEOUT).await {
            return false;
        }
    }
    true
}
