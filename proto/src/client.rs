//! Client of the Inference and Ledger services. It checks signatures and that answers belong to the question; whether
//! a proof holds is for the caller to verify.

mod stream;

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::block::CommittedBlock;
use crate::codec::each;
use crate::error::ProtoError;
use crate::id::{BlockHash, ChainId, Epoch, Height, JobId, ModelId, PublicKey};
use crate::inclusion::InclusionProof;
use crate::job::Job;
use crate::operator::Backup;
use crate::report::EpochReport;
use crate::signing::{Envelope, Signed};
use crate::subnet::Subnets;
use crate::transaction::{Purpose, Transaction};
use crate::wire::inference_client::InferenceClient;
use crate::wire::ledger_client::LedgerClient;
use crate::wire::operator_client::OperatorClient;
use crate::{limits, wire};

pub use stream::{
    BlockStream, ExportStream, InferEvent, InferStream, Position, SnapshotPart, SnapshotStream,
};

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint is no URL of a server.
    #[error("endpoint {endpoint:?}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        source: ProtoError,
    },
    /// No connection.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The server refused.
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// The server broke the protocol.
    #[error("the server's answer is not valid")]
    Answer(#[from] ProtoError),
    /// An answer that belongs to another question.
    #[error("the server's answer is not valid: {0}")]
    Unexpected(&'static str),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// How an encrypted server is recognised, and how it recognises this client. PEM throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The authorities that may vouch for a server.
    pub ca: Vec<u8>,
    /// This client's certificate chain and its private key, where the server asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl ClientTls {
    /// The same for a connection of tonic's.
    pub fn config(&self) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    }
}

/// How to connect, and how long to wait.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// For endpoints that begin with `https://`.
    pub tls: Option<ClientTls>,
    /// For a connection.
    pub connect_timeout: Duration,
    /// For the answer to a call that is no stream.
    pub call_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { tls: None, connect_timeout: Duration::from_secs(5), call_timeout: Duration::from_secs(60) }
    }
}

/// A model that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// Its id.
    pub model_id: ModelId,
    /// Its name.
    pub name: String,
    /// Its verifying key.
    pub verifying_key: Vec<u8>,
    /// Who registered it.
    pub owner: PublicKey,
    /// Miners that serve it.
    pub miners: u32,
}

/// An account and what the chain knows of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountEntry {
    /// Name of the chain.
    pub chain_id: ChainId,
    /// Height of the state that answered.
    pub height: Height,
    /// Base units.
    pub balance: u64,
    /// Of its latest transaction.
    pub nonce: u64,
    /// Of its latest job.
    pub job_nonce: u64,
    /// Its registration as a miner.
    pub miner: Option<MinerEntry>,
    /// What it has locked.
    pub locks: Vec<LockEntry>,
    /// Base units that are held for its jobs in progress.
    pub held: u64,
    /// The latest key that signs its work, if it named one.
    pub operating_key: Option<OperatingEntry>,
    /// What it is as an operating key, if it is one.
    pub operates: Option<OperatingEntry>,
}

/// A key that signs for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatingEntry {
    /// The key.
    pub key: PublicKey,
    /// Whom it signs for.
    pub owner: PublicKey,
    /// First height at which it signs.
    pub from: Height,
    /// First height at which another one does.
    pub until: Option<Height>,
}

/// Base units that an account has locked for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEntry {
    /// For this.
    pub purpose: Purpose,
    /// Base units that it has not asked back.
    pub amount: u64,
    /// Base units that it has, and the block at whose end they are released.
    pub leaving: Vec<(Height, u64)>,
}

/// A miner's registration and standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinerEntry {
    /// Where its Miner service is.
    pub endpoint: String,
    /// Models that it serves.
    pub model_ids: Vec<ModelId>,
    /// Parts per million.
    pub reputation_ppm: u64,
    /// Base units.
    pub earned: u64,
}

/// A receipt and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// Where it is.
    pub position: Position,
    /// The transaction that holds it.
    pub transaction: Signed<Transaction>,
}

/// A block by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPoint {
    /// Its height.
    pub height: Height,
    /// Hash of its header.
    pub hash: BlockHash,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEntry {
    /// Name of the chain.
    pub chain_id: ChainId,
    /// The latest block; the genesis at height 0.
    pub head: BlockPoint,
    /// Height of the earliest block that the node keeps.
    pub earliest: Height,
    /// Whether the node is where the other validators are.
    pub ready: bool,
    /// Blocks whose states the node offers.
    pub snapshots: Vec<BlockPoint>,
}

/// A connection to a validator.
#[derive(Clone, Debug)]
pub struct Client {
    inference: InferenceClient<Channel>,
    ledger: LedgerClient<Channel>,
    operator: OperatorClient<Channel>,
    call_timeout: Duration,
}

impl Client {
    /// Connects to `http://host:port`.
    pub async fn connect(endpoint: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let invalid = |source| ClientError::Endpoint { endpoint: endpoint.to_owned(), source };
        let failed = |source| ClientError::Connect { endpoint: endpoint.to_owned(), source };
        crate::transaction::check_endpoint(endpoint).map_err(invalid)?;
        let mut address = Endpoint::from_shared(endpoint.to_owned()).map_err(failed)?;
        if let Some(tls) = &options.tls {
            address = address.tls_config(tls.config()).map_err(failed)?;
        }
        let channel = address
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(failed)?;
        Ok(Self {
            inference: InferenceClient::new(channel.clone())
                .max_decoding_message_size(limits::MESSAGE_BYTES)
                .max_encoding_message_size(limits::MESSAGE_BYTES),
            operator: OperatorClient::new(channel.clone()),
            ledger: LedgerClient::new(channel)
                .max_decoding_message_size(limits::BLOCK_MESSAGE_BYTES)
                .max_encoding_message_size(limits::MESSAGE_BYTES),
            call_timeout: options.call_timeout,
        })
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.call_timeout);
        request
    }

    /// Has this validator's own node copy its database; the folder on the node's machine, and a height that is in it.
    pub async fn backup(&self, backup: &Signed<Backup>) -> Result<(String, Height), ClientError> {
        let request = self.request(wire::BackupRequest { backup: Some(backup.into()) });
        let response = self.operator.clone().backup(request).await?.into_inner();
        Ok((response.path, Height(response.height)))
    }

    /// Models that can be asked.
    pub async fn models(&self) -> Result<Vec<ModelEntry>, ClientError> {
        // The list holds verifying keys, so it may be as long as a block.
        let mut inference = self.inference.clone().max_decoding_message_size(limits::BLOCK_MESSAGE_BYTES);
        let response = inference.list_models(self.request(wire::ListModelsRequest {})).await?;
        let entry = |entry: wire::ModelEntry| {
            Ok(ModelEntry {
                model_id: entry.model_id.as_slice().try_into()?,
                name: entry.name,
                verifying_key: entry.verifying_key,
                owner: entry.owner.as_slice().try_into()?,
                miners: entry.miners,
            })
        };
        let models: Result<_, ProtoError> = response.into_inner().models.into_iter().map(entry).collect();
        Ok(models?)
    }

    /// Submits a job and follows it. The stream ends with the job, at the latest some time after its deadline.
    pub async fn infer(&self, chain: &ChainId, job: &Signed<Job>) -> Result<InferStream, ClientError> {
        let message = wire::InferRequest { job: Some(job.into()) };
        let response = self.inference.clone().infer(message).await?;
        Ok(InferStream::new(response.into_inner(), chain.clone(), job.id(chain)))
    }

    /// Receipts of a job, one an attempt, in the order of the log.
    pub async fn receipts(&self, chain: &ChainId, job_id: JobId) -> Result<Vec<ReceiptEntry>, ClientError> {
        let message = wire::GetReceiptRequest { job_id: job_id.to_vec() };
        let mut inference = self.inference.clone().max_decoding_message_size(limits::BLOCK_MESSAGE_BYTES);
        let response = inference.get_receipt(self.request(message)).await?.into_inner();
        let entry = |entry: wire::LoggedReceipt| {
            let signed = entry.transaction.ok_or(ProtoError::Missing { what: "transaction of a receipt" })?;
            Ok(ReceiptEntry {
                position: Position { height: Height(entry.height), index: entry.index },
                transaction: Envelope::try_from(signed)?.open(chain)?,
            })
        };
        let receipts: Result<_, ProtoError> = response.receipts.into_iter().map(entry).collect();
        Ok(receipts?)
    }

    /// Submits a transaction and waits until it is in a decided block.
    pub async fn submit(&self, transaction: &Signed<Transaction>) -> Result<Position, ClientError> {
        let message = wire::SubmitTransactionRequest { transaction: Some(transaction.into()) };
        let response = self.ledger.clone().submit_transaction(self.request(message)).await?.into_inner();
        Ok(Position { height: Height(response.height), index: response.index })
    }

    /// An account; an empty one if the chain does not know the key.
    pub async fn account(&self, key: &PublicKey) -> Result<AccountEntry, ClientError> {
        let message = wire::GetAccountRequest { public_key: key.to_vec() };
        let response = self.ledger.clone().get_account(self.request(message)).await?.into_inner();
        Ok(AccountEntry {
            chain_id: ChainId::new(response.chain_id)?,
            height: Height(response.height),
            balance: response.balance,
            nonce: response.nonce,
            job_nonce: response.job_nonce,
            miner: response.miner.map(miner).transpose()?,
            held: response.held,
            locks: each(response.locks, "locks of an account", limits::LOCKS, lock)?,
            operating_key: response.operating_key.map(operating).transpose()?,
            operates: response.operates.map(operating).transpose()?,
        })
    }

    /// A block, or the latest for none.
    pub async fn block(&self, height: Option<Height>) -> Result<CommittedBlock, ClientError> {
        let message = wire::GetBlockRequest { height: height.map_or(0, |height| height.0) };
        let response = self.ledger.clone().get_block(self.request(message)).await?.into_inner();
        Ok(response.block.ok_or(ProtoError::Missing { what: "block" })?.try_into()?)
    }

    /// Blocks from a height on; stays open and yields new ones as they are decided.
    pub async fn blocks(&self, from: Height) -> Result<BlockStream, ClientError> {
        let message = wire::StreamBlocksRequest { from_height: from.0 };
        let response = self.ledger.clone().stream_blocks(message).await?;
        Ok(BlockStream::new(response.into_inner()))
    }

    /// The report of an epoch, or the latest for none.
    pub async fn epoch_report(&self, epoch: Option<Epoch>) -> Result<EpochReport, ClientError> {
        let message = wire::GetEpochReportRequest { epoch: epoch.map_or(0, |epoch| epoch.0) };
        let response = self.ledger.clone().get_epoch_report(self.request(message)).await?.into_inner();
        Ok(response.report.ok_or(ProtoError::Missing { what: "epoch report" })?.try_into()?)
    }

    /// Every subnet, and the numbers of the rules that are voted on.
    pub async fn subnets(&self) -> Result<Subnets, ClientError> {
        let request = self.request(wire::ListSubnetsRequest {});
        Ok(self.ledger.clone().list_subnets(request).await?.into_inner().try_into()?)
    }

    /// A record of the state after the latest block, with its proof; whether that holds is for the caller to verify.
    pub async fn prove_record(&self, key: Vec<u8>) -> Result<InclusionProof, ClientError> {
        let message = wire::ProveRecordRequest { key };
        let response = self.ledger.clone().prove_record(self.request(message)).await?.into_inner();
        Ok(response.proof.ok_or(ProtoError::Missing { what: "proof of a record" })?.try_into()?)
    }

    /// A transaction of a block, with its proof; whether that holds is for the caller to verify.
    pub async fn prove_transaction(&self, position: Position) -> Result<InclusionProof, ClientError> {
        let message = wire::ProveTransactionRequest { height: position.height.0, index: position.index };
        let mut ledger = self.ledger.clone().max_decoding_message_size(limits::BLOCK_MESSAGE_BYTES);
        let response = ledger.prove_transaction(self.request(message)).await?.into_inner();
        Ok(response.proof.ok_or(ProtoError::Missing { what: "proof of a transaction" })?.try_into()?)
    }

    /// The file that an auditor reads, in consecutive pieces.
    pub async fn export(&self) -> Result<ExportStream, ClientError> {
        let response = self.ledger.clone().export(wire::ExportRequest {}).await?;
        Ok(ExportStream::new(response.into_inner()))
    }

    /// Where the node is.
    pub async fn status(&self) -> Result<StatusEntry, ClientError> {
        let request = self.request(wire::GetStatusRequest {});
        let response = self.ledger.clone().get_status(request).await?.into_inner();
        let head = response.head.ok_or(ProtoError::Missing { what: "head of a status" })?;
        let what = "snapshots of a node";
        Ok(StatusEntry {
            chain_id: ChainId::new(response.chain_id)?,
            head: point(head)?,
            earliest: Height(response.earliest),
            ready: response.ready,
            snapshots: each(response.snapshots, what, limits::SNAPSHOTS, point)?,
        })
    }

    /// The block of a height and the records of the state after it, if the node offers them.
    pub async fn snapshot(&self, height: Height) -> Result<SnapshotStream, ClientError> {
        let message = wire::GetSnapshotRequest { height: height.0 };
        let response = self.ledger.clone().get_snapshot(message).await?;
        Ok(SnapshotStream::new(response.into_inner()))
    }
}

fn point(point: wire::BlockPoint) -> Result<BlockPoint, ProtoError> {
    Ok(BlockPoint { height: Height(point.height), hash: point.block_hash.as_slice().try_into()? })
}

fn lock(record: wire::LockRecord) -> Result<LockEntry, ProtoError> {
    let leaving = |part: wire::Leaving| Ok((Height(part.height), part.amount));
    Ok(LockEntry {
        purpose: Purpose::of_wire(record.purpose, &record.validator)?,
        amount: record.amount,
        leaving: each(record.leaving, "parts of a lock that leave", limits::LEAVING, leaving)?,
    })
}

fn operating(entry: wire::OperatingKey) -> Result<OperatingEntry, ProtoError> {
    Ok(OperatingEntry {
        key: entry.public_key.as_slice().try_into()?,
        owner: entry.owner.as_slice().try_into()?,
        from: Height(entry.from),
        until: (entry.until > 0).then_some(Height(entry.until)),
    })
}

fn miner(record: wire::MinerRecord) -> Result<MinerEntry, ProtoError> {
    let what = "models of a miner";
    Ok(MinerEntry {
        endpoint: record.endpoint,
        model_ids: each(record.model_ids, what, limits::MODELS_PER_MINER, |id| id.as_slice().try_into())?,
        reputation_ppm: record.reputation_ppm,
        earned: record.earned,
    })
}
