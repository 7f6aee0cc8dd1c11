//! Every message that crosses the network or is kept, and every name in text.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use assay_fuzz::CHAIN;
use assay_proto::block::{Block, BlockHeader, CommitCertificate, CommittedBlock};
use assay_proto::challenge::{Challenge, ChallengeAnswer};
use assay_proto::genesis::Genesis;
use assay_proto::job::{Job, Output, Proof, Tier};
use assay_proto::operating::{KeyConsent, SetOperatingKey};
use assay_proto::operator::Backup;
use assay_proto::receipt::Receipt;
use assay_proto::inclusion::InclusionProof;
use assay_proto::report::EpochReport;
use assay_proto::transaction::Transaction;
use assay_proto::vote::{Proposal, Vote};
use assay_proto::{
    BlockHash, Canonical, ChainId, Envelope, JobId, ModelId, PublicKey, Root, SecretKey, wire,
};
use prost::Message;

fn seeds() {
    let mut seeds = vec![CHAIN.genesis.encode()];
    for block in &CHAIN.blocks {
        let CommittedBlock { block: Block { header, transactions }, certificate } = block;
        seeds.extend([block.encode(), block.block.encode(), header.encode(), certificate.encode()]);
        seeds.push(certificate.precommit.vote().encode());
        seeds.extend(transactions.iter().map(|envelope| envelope.payload.clone()));
        seeds.extend(transactions.iter().map(|envelope| wire::Signed::from(envelope).encode_to_vec()));
    }
    seeds.extend(CHAIN.messages.iter().map(|envelope| envelope.payload.clone()));
    seeds.push(CHAIN.genesis.hash().to_string().into_bytes());
    seeds.push(CHAIN.genesis.chain_id.to_string().into_bytes());
    assay_fuzz::seed("messages", seeds);
}

/// What is accepted encodes to the same bytes. At the edge of a service other encodings are accepted too; the value
/// that they give has a canonical one.
fn message<T: Canonical + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(value.encode(), bytes);
    }
    if let Ok(wire) = T::Wire::decode(bytes)
        && let Ok(value) = T::try_from(wire)
    {
        assert_eq!(T::decode(&value.encode()), Ok(value));
    }
}

/// What is accepted is written as a text that is accepted as the same.
fn text<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: PartialEq + Debug,
{
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    message::<Job>(bytes);
    message::<Output>(bytes);
    message::<Proof>(bytes);
    message::<Challenge>(bytes);
    message::<ChallengeAnswer>(bytes);
    message::<Receipt>(bytes);
    message::<Transaction>(bytes);
    message::<BlockHeader>(bytes);
    message::<Block>(bytes);
    message::<CommitCertificate>(bytes);
    message::<CommittedBlock>(bytes);
    message::<Genesis>(bytes);
    message::<EpochReport>(bytes);
    message::<InclusionProof>(bytes);
    message::<Vote>(bytes);
    message::<Proposal>(bytes);
    message::<KeyConsent>(bytes);
    message::<SetOperatingKey>(bytes);
    message::<Backup>(bytes);

    if let Ok(signed) = wire::Signed::decode(bytes)
        && let Ok(envelope) = Envelope::try_from(signed)
    {
        let chain = &CHAIN.genesis.chain_id;
        let signed = |payload: &[u8]| CHAIN.messages.iter().any(|message| message.payload == payload);
        // Nobody but its signer makes a message.
        assert!(envelope.open::<Job>(chain).is_err() || signed(&envelope.payload));
        assert!(envelope.open::<Output>(chain).is_err() || signed(&envelope.payload));
        assert!(envelope.open::<Proof>(chain).is_err() || signed(&envelope.payload));
        let _ = (envelope.open::<Transaction>(chain), envelope.open::<Vote>(chain));
    }
    if let Ok(written) = str::from_utf8(bytes) {
        text::<PublicKey>(written);
        text::<JobId>(written);
        text::<ModelId>(written);
        text::<BlockHash>(written);
        text::<Root>(written);
        text::<ChainId>(written);
        text::<Tier>(written);
        let _ = SecretKey::from_hex(written);
    }
});
