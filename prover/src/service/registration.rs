//! Registers a miner on the ledger through a validator's Ledger service.
//!
//! Nothing is sent when the ledger holds the same endpoint, models and devices already. While the validator is not
//! up, is busy, or refuses for a reason that can pass (a model that is registered a moment later, a nonce that another
//! transaction took), the call is repeated with growing pauses until `patience` is over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use assay_circuits::ir;
use assay_proto::client::ClientTls;
use assay_proto::transaction::{Body, Devices, RegisterMiner, Transaction, check_endpoint};
use assay_proto::wire::ledger_client::LedgerClient;
use assay_proto::{ChainId, ModelId, ProtoError, PublicKey, SecretKey, wire};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A submission is answered when its block is decided.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a miner asks to be registered as.
#[derive(Clone, Debug)]
pub struct Registration {
    /// A validator's services, `http://host:port`.
    pub validator: String,
    /// How it is recognised, where it is encrypted.
    pub tls: Option<ClientTls>,
    /// The chain.
    pub chain_id: ChainId,
    /// The miner: the owner of the key that signs, or that key itself.
    pub owner: PublicKey,
    /// Where validators reach this miner, `http://host:port`.
    pub endpoint: String,
    /// Models that it serves.
    pub models: Vec<ir::ModelId>,
    /// What it computes with.
    pub devices: Devices,
    /// How long to go on trying.
    pub patience: Duration,
}

/// How a registration came to be on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It was there already.
    Already,
    /// By this call.
    Now {
        /// Height of the block.
        height: u64,
        /// Place in the block.
        index: u32,
    },
}

/// Why a miner is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The validator's address is no URI.
    #[error("validator {validator:?} is not an address such as http://host:port")]
    Validator {
        /// The text.
        validator: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// The registration itself is not valid.
    #[error("the registration is not valid")]
    Invalid(#[from] ProtoError),
    /// The validator is on another chain.
    #[error("the validator is on chain {got:?}, expected {expected}")]
    Chain {
        /// The miner's chain.
        expected: ChainId,
        /// The validator's chain.
        got: String,
    },
    /// The account has no nonce left.
    #[error("no nonce is left for this key")]
    Nonce,
    /// The validator cannot be reached.
    #[error("the validator at {validator} cannot be reached")]
    Unreachable {
        /// Its address.
        validator: String,
        /// The last failure.
        source: tonic::transport::Error,
    },
    /// The validator refused.
    #[error("the validator refused: {}", .0.message())]
    Refused(Box<Status>),
}

/// Sees to it that the ledger holds this registration.
pub async fn register(registration: &Registration, key: &SecretKey) -> Result<Registered, RegistrationError> {
    check_endpoint(&registration.endpoint)?;
    let invalid = |source| RegistrationError::Validator { validator: registration.validator.clone(), source };
    let mut endpoint = Endpoint::from_shared(registration.validator.clone())
        .map_err(invalid)?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    if let Some(tls) = &registration.tls {
        endpoint = endpoint.tls_config(tls.config()).map_err(invalid)?;
    }
    let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        let error = match attempt(registration, key, &endpoint).await {
            Ok(registered) => return Ok(registered),
            Err(error) => error,
        };
        if !can_pass(&error) || began.elapsed() + pause > registration.patience {
            return Err(error);
        }
        tracing::info!(%error, "not registered yet, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt(
    registration: &Registration,
    key: &SecretKey,
    endpoint: &Endpoint,
) -> Result<Registered, RegistrationError> {
    let refused = |status| RegistrationError::Refused(Box::new(status));
    let channel = endpoint.connect().await.map_err(|source| RegistrationError::Unreachable {
        validator: registration.validator.clone(),
        source,
    })?;
    let mut ledger: LedgerClient<Channel> = LedgerClient::new(channel);
    let request = |key: PublicKey| wire::GetAccountRequest { public_key: key.to_vec() };
    let account = ledger.get_account(request(registration.owner)).await.map_err(refused)?.into_inner();
    if account.chain_id != registration.chain_id.as_str() {
        let (expected, got) = (registration.chain_id.clone(), account.chain_id);
        return Err(RegistrationError::Chain { expected, got });
    }
    if account.miner.as_ref().is_some_and(|record| is_same(registration, record)) {
        return Ok(Registered::Already);
    }
    let account = match key.public_key() {
        own if own == registration.owner => account,
        own => ledger.get_account(request(own)).await.map_err(refused)?.into_inner(),
    };
    let transaction = Transaction {
        nonce: account.nonce.checked_add(1).ok_or(RegistrationError::Nonce)?,
        body: Body::RegisterMiner(RegisterMiner {
            endpoint: registration.endpoint.clone(),
            model_ids: registration.models.iter().map(|id| ModelId(id.0)).collect(),
            devices: registration.devices,
        }),
    };
    let signed = key.sign(&registration.chain_id, transaction);
    let request = wire::SubmitTransactionRequest { transaction: Some((&signed).into()) };
    let response = ledger.submit_transaction(request).await.map_err(refused)?.into_inner();
    tracing::info!(height = response.height, "registered");
    Ok(Registered::Now { height: response.height, index: response.index })
}

fn is_same(registration: &Registration, record: &wire::MinerRecord) -> bool {
    let wanted: BTreeSet<&[u8]> = registration.models.iter().map(|id| id.0.as_slice()).collect();
    let held: BTreeSet<&[u8]> = record.model_ids.iter().map(Vec::as_slice).collect();
    let devices = Devices { class: record.device_class, count: record.devices };
    record.endpoint == registration.endpoint && wanted == held && devices == registration.devices
}

/// Whether the same call may succeed later.
fn can_pass(error: &RegistrationError) -> bool {
    match error {
        RegistrationError::Unreachable { .. } => true,
        RegistrationError::Refused(status) => matches!(
            status.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::Aborted
                | Code::Cancelled
                | Code::Unknown
        ),
        RegistrationError::Validator { .. }
        | RegistrationError::Invalid(_)
        | RegistrationError::Chain { .. }
        | RegistrationError::Nonce => false,
    }
}
