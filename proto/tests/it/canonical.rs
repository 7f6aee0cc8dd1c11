//! A message has one accepted encoding.

use std::fmt::Debug;

use assay_proto::job::Proof;
use assay_proto::receipt::Verdict;
use assay_proto::transaction::{Body, Transaction};
use assay_proto::{Canonical, JobId, ProtoError};
use proptest::prelude::*;

use crate::samples;

/// Round trip; then every byte of the encoding changed, cut and extended: what is still accepted must be another value
/// in its own canonical form.
fn check<T: Canonical + PartialEq + Debug>(value: &T) {
    let bytes = value.encode();
    assert_eq!(T::decode(&bytes).as_ref(), Ok(value), "{}", T::NAME);
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << bit;
            if let Ok(other) = T::decode(&changed) {
                assert_eq!(other.encode(), changed, "{} byte {index}", T::NAME);
                assert_ne!(&other, value, "{} byte {index}", T::NAME);
            }
        }
        if let Ok(other) = T::decode(&bytes[..index]) {
            assert_ne!(&other, value, "{} cut at {index}", T::NAME);
        }
    }
}

/// An unknown field, and a known scalar field repeated, decode as protobuf but are not canonical.
fn check_additions<T: Canonical + PartialEq + Debug>(value: &T) {
    let mut unknown = value.encode();
    unknown.extend([0xf8, 0x3f, 0x01]);
    assert_eq!(T::decode(&unknown).unwrap_err(), ProtoError::NotCanonical { what: T::NAME });
}

/// Proofs from before miners signed a time are as they were: the field that says nothing has no bytes.
#[test]
fn a_proof_without_a_time_has_the_bytes_that_it_had() {
    let silent = samples::proof(JobId([7; 32]));
    let old = [&[0x0a, 32][..], &[7; 32], &[0x12, 0xa0, 0x01], &[9; 160], &[0x18, 0xd9, 0x02]].concat();
    assert_eq!((silent.elapsed_us, silent.encode()), (0, old.clone()));
    assert_eq!(Proof { elapsed_us: 900, ..silent }.encode(), [&old[..], &[0x20, 0x84, 0x07]].concat());
}

#[test]
fn every_message_has_one_encoding() {
    let job_id = JobId([5; 32]);
    check(&samples::job());
    check(&samples::output(job_id));
    check(&samples::proof(job_id));
    check(&Proof { elapsed_us: 900, ..samples::proof(job_id) });
    check(&samples::challenge());
    check(&samples::answer());
    for verdict in
        [Verdict::Verified, Verdict::InvalidProof, Verdict::Malformed, Verdict::Late, Verdict::Absent]
    {
        check(&samples::receipt(verdict));
    }
    samples::transactions().iter().for_each(check);
    check(&samples::header());
    check(&samples::block());
    check(&samples::vote());
    check(&samples::round_proposal());
    check(&samples::committed().certificate);
    check(&samples::committed());
    check(&samples::backup());
    check(&samples::consent());
    check(&samples::operating_key());
    check(&Transaction { nonce: 1, body: Body::SetOperatingKey(samples::operating_key()) });
    check(&samples::genesis());
    check(&samples::report());
}

#[test]
fn unknown_fields_are_refused_in_every_message() {
    let job_id = JobId([5; 32]);
    check_additions(&samples::job());
    check_additions(&samples::output(job_id));
    check_additions(&samples::proof(job_id));
    check_additions(&samples::challenge());
    check_additions(&samples::answer());
    samples::transactions().iter().for_each(check_additions);
    check_additions(&samples::header());
    check_additions(&samples::block());
    check_additions(&samples::vote());
    check_additions(&samples::round_proposal());
    check_additions(&samples::committed());
    check_additions(&samples::backup());
    check_additions(&samples::consent());
    check_additions(&samples::operating_key());
    check_additions(&samples::genesis());
    check_additions(&samples::report());
}

#[test]
fn a_repeated_scalar_an_overlong_varint_and_an_explicit_default_are_refused() {
    let bytes = samples::vote().encode();
    assert_eq!(bytes[..2], [0x08, 0x02]);
    let not_canonical = Err(ProtoError::NotCanonical { what: "vote" });
    let twice = [&[0x08, 0x02], bytes.as_slice()].concat();
    assert_eq!(assay_proto::vote::Vote::decode(&twice), not_canonical);
    let overlong = [&[0x08, 0x82, 0x00], &bytes[2..]].concat();
    assert_eq!(assay_proto::vote::Vote::decode(&overlong), not_canonical);
    let zero = [&[0x08, 0x00], &bytes[4..]].concat();
    assert_eq!(assay_proto::vote::Vote::decode(&zero), not_canonical);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic_or_accept_what_it_would_not_encode(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        macro_rules! canonical {
            ($($message:ty),+) => {$(
                if let Ok(value) = <$message>::decode(&bytes) {
                    prop_assert_eq!(value.encode(), bytes.clone());
                }
            )+};
        }
        canonical!(
            assay_proto::job::Job,
            assay_proto::job::Output,
            Proof,
            assay_proto::challenge::Challenge,
            assay_proto::challenge::ChallengeAnswer,
            assay_proto::operating::KeyConsent,
            assay_proto::operating::SetOperatingKey,
            assay_proto::receipt::Receipt,
            Transaction,
            assay_proto::block::BlockHeader,
            assay_proto::block::Block,
            assay_proto::vote::Vote,
            assay_proto::block::CommittedBlock,
            assay_proto::genesis::Genesis,
            assay_proto::report::EpochReport
        );
    }

    #[test]
    fn jobs_round_trip(
        inputs in prop::collection::vec(prop::collection::vec(any::<i32>(), 0..20), 0..=16),
        nonce in any::<u64>(),
        max_price in any::<u64>(),
        deadline_ms in 1..=assay_proto::limits::DEADLINE_MS,
    ) {
        let job = assay_proto::job::Job { inputs, nonce, max_price, deadline_ms, ..samples::job() };
        prop_assert_eq!(assay_proto::job::Job::decode(&job.encode()), Ok(job));
    }
}
