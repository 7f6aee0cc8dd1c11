//! The database: what it keeps, what it refuses, what it notices.

use std::path::Path;

use assay_proto::block::{CommitCertificate, CommitSignature, Precommit};
use assay_proto::receipt::{Evidence, Receipt, Verdict};
use assay_proto::{Canonical, Epoch, Height, JobId, PublicKey};
use assay_validator::Error;
use assay_validator::application::Application;
use assay_validator::mempool::Mempool;
use assay_validator::store::{Store, schema};
use assay_verifier::limits::JOB_WINDOW;
use rocksdb::{DB, IteratorMode, Options};

use crate::support::{Chain, secret};

/// Decides a block for each transfer, without a network.
fn decide(chain: &Chain, transfers: std::ops::RangeInclusive<u64>) {
    let (store, state) = Store::open(&data(chain), &chain.genesis).expect("opens");
    let mempool = Mempool::new(chain.config().mempool, chain.validator.public_key());
    let application = Application::new(chain.validator.clone(), store, state, mempool).expect("metrics");
    for nonce in transfers {
        let _wait = application.submit(chain.transfer(nonce, 1).envelope()).expect("taken");
        let block = application.propose(nonce).expect("a proposal");
        let precommit = Precommit { height: block.header.height, round: 0, block_hash: block.header.hash() };
        let signed = chain.validator.sign(chain.chain_id(), precommit.vote());
        let signature =
            CommitSignature { validator: signed.signer(), signature: signed.envelope().signature };
        application.decide(CommitCertificate { precommit, signatures: vec![signature] }).expect("decided");
    }
}

fn data(chain: &Chain) -> std::path::PathBuf {
    chain.config().data_dir
}

/// The raw database, as a tool that knows nothing of its rules would open it.
fn raw(path: &Path) -> DB {
    let names = DB::list_cf(&Options::default(), path).expect("column families");
    DB::open_cf(&Options::default(), path, names).expect("opens")
}

fn opening(chain: &Chain) -> Error {
    Store::open(&data(chain), &chain.genesis).expect_err("must be refused")
}

fn receipt(chain: &Chain, miner: PublicKey) -> (JobId, Receipt) {
    let job = chain.job(1);
    let evidence = Evidence {
        job: job.envelope().clone(),
        miner,
        output: None,
        proof: None,
        assigned_at_ms: 1,
        output_us: 0,
        proof_us: 0,
        ping_us: 0,
    };
    (job.id(chain.chain_id()), Receipt { evidence, verdict: Verdict::Absent })
}

#[test]
fn a_reopened_database_has_the_same_head_state_and_blocks() {
    let chain = Chain::new();
    decide(&chain, 1..=3);
    let (store, state) = Store::open(&data(&chain), &chain.genesis).expect("reopens");
    assert_eq!(state.head().height, Height(3));
    let last = store.block(Height(3)).expect("reads").expect("is there");
    assert_eq!(last.block.header.hash(), state.head().hash);
    assert_eq!(last.block.header.state_root, state.root());
    assert_eq!(state.account(&PublicKey([9; 32])).balance, 3);
    assert_eq!(state.account(&chain.client.public_key()).nonce, 3);
    assert_eq!(store.block(Height(4)).expect("reads"), None);
    drop(store);
    decide(&chain, 4..=4);
    let (_, state) = Store::open(&data(&chain), &chain.genesis).expect("reopens");
    assert_eq!(state.head().height, Height(4));
}

#[test]
fn blocks_that_are_read_push_nothing_out_of_the_cache() {
    let chain = Chain::new();
    decide(&chain, 1..=200);
    // What is in memory is sorted into files when it is opened.
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("reopens");
    let (before, mut read) = (store.usage().expect("counts").block_cache, 0);
    for height in (1..=200).map(Height) {
        read += store.block_bytes(height).expect("reads").expect("is there").len();
    }
    let after = store.usage().expect("counts").block_cache;
    assert!(read > 64 << 10 && after < before + (8 << 10), "{before} bytes, then {after}, {read} read");
}

#[test]
fn a_database_that_is_in_use_is_said_to_be() {
    let chain = Chain::new();
    let _open = Store::open(&data(&chain), &chain.genesis).expect("opens");
    assert!(matches!(opening(&chain), Error::Locked { .. }));
}

#[test]
fn a_newer_schema_is_refused_even_with_column_families_unknown_here() {
    let chain = Chain::new();
    decide(&chain, 1..=1);
    let mut db = raw(&data(&chain));
    db.create_cf("of_the_future", &Options::default()).expect("creates");
    let meta = db.cf_handle("meta").expect("meta");
    db.put_cf(meta, schema::META_SCHEMA, (schema::SCHEMA + 1).to_be_bytes()).expect("writes");
    drop(db);
    let (expected, next) = (schema::SCHEMA, schema::SCHEMA + 1);
    let error = opening(&chain);
    assert!(matches!(error, Error::NewerSchema { found, known, .. } if (found, known) == (next, expected)));
    let db = raw(&data(&chain));
    let meta = db.cf_handle("meta").expect("meta");
    db.put_cf(meta, schema::META_SCHEMA, 0u32.to_be_bytes()).expect("writes");
    drop(db);
    assert!(matches!(opening(&chain), Error::Corrupt { .. }), "there never was a schema 0");
}

/// Makes a chain's database one of this schema.
fn age(chain: &Chain, schema: u32) {
    let db = raw(&data(chain));
    db.put_cf(db.cf_handle("meta").expect("meta"), schema::META_SCHEMA, schema.to_be_bytes())
        .expect("writes");
}

#[test]
fn a_chain_whose_blocks_commit_to_their_transactions_otherwise_is_refused() {
    let chain = Chain::new();
    decide(&chain, 1..=1);
    age(&chain, 2);
    assert!(matches!(opening(&chain), Error::OlderChain));
    age(&chain, 1);
    assert!(matches!(opening(&chain), Error::OlderChain));
}

#[test]
fn a_database_from_before_subnets_without_a_block_is_taken_as_it_is() {
    let chain = Chain::new();
    let root = Store::open(&data(&chain), &chain.genesis).expect("opens").1.root();
    age(&chain, 1);
    let (store, state) = Store::open(&data(&chain), &chain.genesis).expect("migrated");
    drop(store);
    assert_eq!(state.root(), root);
    let db = raw(&data(&chain));
    let version = db.get_cf(db.cf_handle("meta").expect("meta"), schema::META_SCHEMA).expect("reads");
    assert_eq!(version.as_deref(), Some(schema::SCHEMA.to_be_bytes().as_slice()));
}

#[test]
fn the_database_of_another_chain_is_refused() {
    let mut chain = Chain::new();
    decide(&chain, 1..=1);
    let found = chain.genesis.hash();
    chain.genesis.parameters.emission += 1;
    let expected = chain.genesis.hash();
    let error = opening(&chain);
    assert!(matches!(error, Error::OtherGenesis { expected: e, found: f } if e == expected && f == found));
}

#[test]
fn data_without_a_schema_is_refused() {
    let chain = Chain::new();
    decide(&chain, 1..=1);
    let db = raw(&data(&chain));
    db.delete_cf(db.cf_handle("meta").expect("meta"), schema::META_SCHEMA).expect("deletes");
    drop(db);
    assert!(matches!(opening(&chain), Error::Corrupt { .. }));
}

#[test]
fn every_state_record_is_held_against_the_root_of_the_last_block() {
    let chain = Chain::new();
    decide(&chain, 1..=1);
    let db = raw(&data(&chain));
    let records: Vec<_> = db
        .iterator_cf(db.cf_handle("state").expect("state"), IteratorMode::Start)
        .map(|entry| entry.expect("reads"))
        .collect();
    drop(db);
    assert!(records.len() >= 4, "head, supply and two accounts: {}", records.len());
    for (key, value) in records {
        let db = raw(&data(&chain));
        let mut spoilt = value.to_vec();
        spoilt[0] ^= 1;
        db.put_cf(db.cf_handle("state").expect("state"), &key, spoilt).expect("writes");
        drop(db);
        let error = opening(&chain);
        assert!(matches!(error, Error::Corrupt { .. }), "{key:?}: {error:?}");
        let db = raw(&data(&chain));
        db.delete_cf(db.cf_handle("state").expect("state"), &key).expect("deletes");
        drop(db);
        let error = opening(&chain);
        assert!(matches!(error, Error::Corrupt { .. }), "{key:?}: {error:?}");
        let db = raw(&data(&chain));
        db.put_cf(db.cf_handle("state").expect("state"), &key, &value).expect("writes");
    }
    Store::open(&data(&chain), &chain.genesis).expect("whole again");
}

#[test]
fn a_missing_last_block_and_a_block_beyond_it_are_noticed() {
    let chain = Chain::new();
    decide(&chain, 1..=2);
    let blocks = |db: &DB, height: u64| {
        db.get_cf(db.cf_handle("blocks").expect("blocks"), height.to_be_bytes())
            .expect("reads")
            .expect("a block")
    };
    let put = |db: &DB, height: u64, bytes: &[u8]| {
        db.put_cf(db.cf_handle("blocks").expect("blocks"), height.to_be_bytes(), bytes).expect("writes");
    };
    let db = raw(&data(&chain));
    let last = blocks(&db, 2);
    db.delete_cf(db.cf_handle("blocks").expect("blocks"), 2u64.to_be_bytes()).expect("deletes");
    drop(db);
    assert!(matches!(opening(&chain), Error::Corrupt { what } if what.contains("missing")));
    let db = raw(&data(&chain));
    put(&db, 2, &last);
    put(&db, 3, &last);
    drop(db);
    assert!(matches!(opening(&chain), Error::Corrupt { what } if what.contains("after the last")));
}

#[test]
fn a_last_block_whose_certificate_does_not_hold_is_noticed() {
    let chain = Chain::new();
    decide(&chain, 1..=1);
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("opens");
    let mut block = store.block(Height(1)).expect("reads").expect("is there");
    drop(store);
    block.certificate.signatures[0].signature.0[0] ^= 1;
    let db = raw(&data(&chain));
    let blocks = db.cf_handle("blocks").expect("blocks");
    db.put_cf(blocks, 1u64.to_be_bytes(), block.encode()).expect("writes");
    drop(db);
    assert!(matches!(opening(&chain), Error::Corrupt { what } if what.contains("certificate")));
}

#[test]
fn a_job_nonce_is_taken_once_across_restarts() {
    let chain = Chain::new();
    let (client, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("opens");
    for nonce in [5, 3, 4] {
        store.take_job_nonce(&client, nonce).expect("in any order");
    }
    drop(store);
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("reopens");
    for nonce in [3, 4, 5] {
        let refused = store.take_job_nonce(&client, nonce);
        assert!(matches!(refused, Err(Error::JobNonceUsed { nonce: n, .. }) if n == nonce));
    }
    assert_eq!(store.latest_job_nonce(&client).expect("reads"), 5);
    assert_eq!(store.latest_job_nonce(&other).expect("reads"), 0);
    store.take_job_nonce(&other, 5).expect("another client's");
}

#[test]
fn a_client_leaves_a_bounded_number_of_nonces_behind() {
    let chain = Chain::new();
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("opens");
    let (client, neighbour) = (PublicKey([5; 32]), PublicKey([6; 32]));
    store.take_job_nonce(&neighbour, 1).expect("the neighbour's");
    for nonce in 1..=20 {
        store.take_job_nonce(&client, nonce).expect("fresh");
    }
    store.take_job_nonce(&client, JOB_WINDOW + 10).expect("far ahead");
    let refused = store.take_job_nonce(&client, 10);
    assert!(matches!(refused, Err(Error::JobNonceUsed { nonce: 10, .. })));
    drop(store);
    let db = raw(&data(&chain));
    let family = db.cf_handle("job_nonces").expect("job nonces");
    let kept: Vec<u64> = db
        .iterator_cf(family, IteratorMode::Start)
        .filter_map(|entry| schema::nonce_of(&entry.expect("reads").0))
        .collect();
    let expected: Vec<u64> = (11..=20).chain([JOB_WINDOW + 10, 1]).collect();
    assert_eq!(kept, expected, "the neighbour's nonce stays, those out of the window go");
}

#[test]
fn kept_receipts_survive_a_restart_until_they_are_forgotten() {
    let chain = Chain::new();
    let miner = secret(10).public_key();
    let (job, receipt) = receipt(&chain, miner);
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("opens");
    store.keep_receipt(&job, &receipt).expect("keeps");
    drop(store);
    let (store, _) = Store::open(&data(&chain), &chain.genesis).expect("reopens");
    assert_eq!(store.kept_receipts().expect("reads"), [receipt]);
    store.forget_receipt(&job, &miner).expect("forgets");
    assert!(store.kept_receipts().expect("reads").is_empty());
}

#[test]
fn what_was_never_stored_is_absent() {
    let chain = Chain::new();
    let (store, state) = Store::open(&data(&chain), &chain.genesis).expect("opens");
    assert_eq!(state.head().height, Height(0));
    assert_eq!(store.block(Height(1)).expect("reads"), None);
    assert_eq!(store.report(Epoch(1)).expect("reads"), None);
    assert_eq!(store.latest_report().expect("reads"), None);
    assert!(store.receipts(&JobId([0; 32])).expect("reads").is_empty());
}
