//! Records of a stored state: what is accepted is written as the same bytes, and a changed state stands only if its
//! records do.
#![no_main]

use assay_fuzz::CHAIN;
use assay_verifier::state::{Record, State};

fn seeds() {
    let seed = |record: &Record| {
        let key = record.key();
        [&[u8::try_from(key.len()).expect("a short key")], &key[..], &record.value()].concat()
    };
    assay_fuzz::seed("records", CHAIN.records.iter().map(seed));
}

libfuzzer_sys::fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let Some((&length, rest)) = bytes.split_first() else { return };
    let Some((key, value)) = rest.split_at_checked(length.into()) else { return };
    if let Ok(record) = Record::decode(key, value) {
        assert_eq!((record.key().as_slice(), record.value().as_slice()), (key, value));
    }
    let others = CHAIN.records.iter().map(|record| (record.key(), record.value()));
    let records = others.filter(|(other, _)| other != key).chain([(key.to_vec(), value.to_vec())]);
    if let Ok(state) = State::from_records(CHAIN.genesis.clone(), records) {
        let written = state.records().map(|record| (record.key(), record.value()));
        assert!(State::from_records(CHAIN.genesis.clone(), written).is_ok_and(|again| again.root() == state.root()));
    }
});
