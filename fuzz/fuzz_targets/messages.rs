//! Every message that crosses the network: what is accepted encodes to the same bytes.
#![no_main]

use assay_proto::Canonical;
use assay_proto::block::{Block, CommitCertificate, CommittedBlock};
use assay_proto::genesis::Genesis;
use assay_proto::job::{Job, Output, Proof};
use assay_proto::transaction::Transaction;

fn check<T: Canonical>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(value.encode(), bytes);
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check::<Job>(bytes);
    check::<Output>(bytes);
    check::<Proof>(bytes);
    check::<Transaction>(bytes);
    check::<Block>(bytes);
    check::<CommittedBlock>(bytes);
    check::<CommitCertificate>(bytes);
    check::<Genesis>(bytes);
});
