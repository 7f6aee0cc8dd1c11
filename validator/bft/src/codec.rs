//! How the engine's messages travel and how its log keeps them: borsh, everywhere.
//!
//! Whatever comes from the network was bounded by the transport before it comes here. Two types of the engine have no
//! borsh of their own and are written out: a response of sync, and the proof that binds a peer to a validator, which is
//! not used: a peer's identity is its validator's key.

use std::io;

use assay_proto::block::{CommitCertificate, CommitSignature, Precommit};
use assay_proto::{Height as ChainHeight, Signature as ChainSignature};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use malachitebft_app_channel::app::types::codec::{Codec, HasEncodedLen};
use malachitebft_app_channel::app::types::core::{
    self as core, ExtendedCommitCertificate, ExtendedCommitSignature, PolkaCertificate, Round, ValidatorProof,
};
use malachitebft_app_channel::app::types::streaming::StreamMessage;
use malachitebft_app_channel::app::types::sync::{RawDecidedValue, Request, Response, Status};
use malachitebft_app_channel::app::types::{ProposedValue, SignedConsensusMsg};
use malachitebft_core_consensus::LivenessMsg;
use malachitebft_sync::ValueResponse;

use crate::context::{Address, Context, Height, Part, Signature, Value};

/// The one codec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borsh;

macro_rules! borsh_codec {
    ($($message:ty),* $(,)?) => {$(
        impl Codec<$message> for Borsh {
            type Error = io::Error;

            fn decode(&self, bytes: Bytes) -> Result<$message, io::Error> {
                <$message>::try_from_slice(&bytes)
            }

            fn encode(&self, message: &$message) -> Result<Bytes, io::Error> {
                borsh::to_vec(message).map(Bytes::from)
            }
        }
    )*};
}

borsh_codec!(
    Part,
    SignedConsensusMsg<Context>,
    LivenessMsg<Context>,
    StreamMessage<Part>,
    ProposedValue<Context>,
    PolkaCertificate<Context>,
    Status<Context>,
    Request<Context>,
);

/// A certificate on its way to a node that catches up.
#[derive(BorshSerialize, BorshDeserialize)]
struct Certificate {
    height: Height,
    round: Round,
    value: Value,
    signatures: Vec<(Address, Signature)>,
}

impl From<&ExtendedCommitCertificate<Context>> for Certificate {
    fn from(certificate: &ExtendedCommitCertificate<Context>) -> Self {
        let signatures =
            certificate.commit_signatures.iter().map(|entry| (entry.address, entry.signature)).collect();
        Self { height: certificate.height, round: certificate.round, value: certificate.value_id, signatures }
    }
}

impl From<Certificate> for ExtendedCommitCertificate<Context> {
    fn from(certificate: Certificate) -> Self {
        let Certificate { height, round, value, signatures } = certificate;
        let entry = |(address, signature)| ExtendedCommitSignature::new(address, signature, None);
        Self {
            height,
            round,
            value_id: value,
            commit_signatures: signatures.into_iter().map(entry).collect(),
        }
    }
}

/// A stored certificate as the engine wants it.
pub(crate) fn extended(certificate: &CommitCertificate) -> ExtendedCommitCertificate<Context> {
    let CommitCertificate { precommit, signatures } = certificate;
    let entry = |entry: &CommitSignature| {
        ExtendedCommitSignature::new(Address(entry.validator), Signature(entry.signature.0), None)
    };
    ExtendedCommitCertificate {
        height: precommit.height.into(),
        round: Round::new(precommit.round),
        value_id: Value(precommit.block_hash),
        commit_signatures: signatures.iter().map(entry).collect(),
    }
}

/// The engine's certificate as the chain keeps it, signatures in ascending order of their validators; none of no round.
pub(crate) fn commit_certificate(
    certificate: &core::CommitCertificate<Context>,
) -> Option<CommitCertificate> {
    let precommit = Precommit {
        height: ChainHeight(certificate.height.0),
        round: certificate.round.as_u32()?,
        block_hash: certificate.value_id.0,
    };
    let entry = |entry: &core::CommitSignature<Context>| CommitSignature {
        validator: entry.address.0,
        signature: ChainSignature(entry.signature.0),
    };
    let mut signatures: Vec<_> = certificate.commit_signatures.iter().map(entry).collect();
    signatures.sort_by_key(|entry| entry.validator);
    Some(CommitCertificate { precommit, signatures })
}

impl Codec<Response<Context>> for Borsh {
    type Error = io::Error;

    fn decode(&self, bytes: Bytes) -> Result<Response<Context>, io::Error> {
        let (start_height, values) = <(Height, Vec<(Vec<u8>, Certificate)>)>::try_from_slice(&bytes)?;
        let values = values
            .into_iter()
            .map(|(bytes, certificate)| RawDecidedValue::new(bytes.into(), certificate.into()))
            .collect();
        Ok(Response::ValueResponse(ValueResponse { start_height, values }))
    }

    fn encode(&self, response: &Response<Context>) -> Result<Bytes, io::Error> {
        let Response::ValueResponse(response) = response;
        let value = |value: &RawDecidedValue<Context>| {
            (value.value_bytes.to_vec(), Certificate::from(&value.certificate))
        };
        let values: Vec<_> = response.values.iter().map(value).collect();
        borsh::to_vec(&(response.start_height, values)).map(Bytes::from)
    }
}

impl HasEncodedLen<Response<Context>> for Borsh {
    fn encoded_len(&self, response: &Response<Context>) -> Result<usize, io::Error> {
        let Response::ValueResponse(response) = response;
        // Height and counts, and for each value its bytes, its certificate's head and its signatures.
        let value = |value: &RawDecidedValue<Context>| {
            let signatures = value.certificate.commit_signatures.len().saturating_mul(32 + 64);
            value.value_bytes.len().saturating_add(signatures).saturating_add(64)
        };
        Ok(response.values.iter().map(value).fold(16, usize::saturating_add))
    }
}

impl Codec<ValidatorProof<Context>> for Borsh {
    type Error = io::Error;

    fn decode(&self, _bytes: Bytes) -> Result<ValidatorProof<Context>, io::Error> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn encode(&self, _proof: &ValidatorProof<Context>) -> Result<Bytes, io::Error> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
