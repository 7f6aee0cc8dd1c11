//! An exported log is accepted as it is, and in no other form.

use std::io::{self, Read};

use assay_proto::hold::Hold;
use assay_proto::receipt::Verdict;
use assay_proto::transaction::Body;
use assay_proto::{Canonical, Height, ProtoError, PublicKey};
use assay_verifier::audit::report::{exit_code, render, render_json};
use assay_verifier::audit::{AuditError, AuditReport, Progress, Receipts, audit};
use assay_verifier::export::{self, FrameError};
use assay_verifier::{Reason, Rejection};

use crate::world::{Attempt, World, client, genesis, miner};

/// A chain of 12 blocks, two epochs and every verdict.
fn lived() -> World {
    let mut world = World::ready();
    world.commit(world.verified(&[(1, 0, 500), (2, 1, 900)]));
    let attempt = |world: &World, nonce, n| world.attempt(world.job(&client(0), nonce), miner(n));
    let attempts = [
        (Attempt { proof: Some(vec![3; 160]), ..attempt(&world, 3, 2) }, Verdict::InvalidProof),
        (Attempt { outputs: Some(vec![]), ..attempt(&world, 4, 2) }, Verdict::Malformed),
        (Attempt { proof_us: 5000, ..attempt(&world, 3, 1) }, Verdict::Late),
        (Attempt { proof: None, ..attempt(&world, 3, 0) }, Verdict::Absent),
    ];
    for (attempt, verdict) in attempts {
        world.commit(vec![world.signed_receipt(world.receipt(&attempt, verdict), 1)]);
    }
    world.commit(vec![world.transfer(&client(1), PublicKey([9; 32]), 5)]);
    world.commit(world.verified(&[(5, 0, 500), (6, 0, 500), (4, 1, 500)]));
    while world.state.head().height < Height(12) {
        world.commit(vec![]);
    }
    world
}

fn run(file: &[u8]) -> Result<AuditReport, AuditError> {
    audit(file, &mut |_| {})
}

fn rejected(file: &[u8]) -> Rejection {
    match run(file) {
        Err(AuditError::Rejected(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_true_log_is_accepted_and_reported() {
    let world = lived();
    let mut seen = Vec::new();
    let file = world.exported();
    let report = audit(file.as_slice(), &mut |progress| seen.push(progress)).unwrap();
    assert_eq!((report.height, report.head), (Height(12), world.state.head().hash));
    assert_eq!((report.state_root, report.genesis), (world.state.root(), genesis().hash()));
    assert_eq!((&report.supply, report.models), (world.state.supply(), 1));
    assert_eq!(report.epochs.len(), 2);
    let receipts = Receipts { verified: 5, invalid_proof: 1, malformed: 1, late: 1, absent: 1 };
    assert_eq!((report.receipts, receipts.total(), report.transactions), (receipts, 9, 14));
    let earned = report.miners.iter().find(|total| total.miner == miner(0).public_key()).unwrap().earned;
    assert_eq!(earned, world.balance(&miner(0)));
    let end = Progress { height: Height(12), bytes: u64::try_from(file.len()).unwrap(), transactions: 14 };
    assert_eq!(seen.last(), Some(&end));
}

#[test]
fn the_genesis_alone_is_a_log() {
    let world = World::empty();
    let report = run(&world.exported()).unwrap();
    assert_eq!((report.height, report.state_root), (Height(0), world.state.root()));
}

#[test]
fn no_byte_of_a_log_can_be_changed_slow() {
    let mut world = World::empty();
    let attempt = world.attempt(world.job(&client(0), 1), miner(0));
    let lie = world.attempt(world.job(&client(0), 2), miner(0));
    let lie = Attempt { proof: Some(vec![3; 160]), ..lie };
    world.commit(vec![
        world.register_model(1),
        world.register_miner(0),
        world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1),
        world.signed_receipt(world.receipt(&lie, Verdict::InvalidProof), 2),
        world.transfer(&client(1), PublicKey([9; 32]), 5),
    ]);
    world.commit(vec![]);
    let file = world.exported();
    assert!(run(&file).is_ok());
    for index in 0..file.len() {
        let mut changed = file.clone();
        changed[index] ^= 1 << (index % 8);
        match run(&changed) {
            Ok(_) => panic!("byte {index}"),
            Err(AuditError::Rejected(_)) => assert!(index >= 12, "byte {index}"),
            Err(AuditError::Unreadable(_)) => assert!(index < 12, "byte {index}"),
        }
    }
}

#[test]
fn a_log_that_was_cut_is_known_to_be_cut() {
    let world = lived();
    let file = world.exported();
    for length in (12..file.len()).step_by(97).chain([file.len() - 1, file.len() - 13]) {
        let Rejection { reason, .. } = rejected(&file[..length]);
        assert!(matches!(*reason, Reason::Frame(FrameError::Cut)), "{length}: {reason}");
    }
    for length in 0..12 {
        assert!(matches!(run(&file[..length]), Err(AuditError::Unreadable(_))));
    }
}

#[test]
fn the_height_of_a_fault_is_that_of_its_block() {
    let world = lived();
    let mut file = export::start(&genesis());
    for (index, block) in world.blocks.iter().enumerate() {
        let mut bytes = block.encode();
        if index == 6 {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        file.extend(export::block_bytes(&bytes));
    }
    let rejection = rejected(&file);
    assert_eq!((rejection.height, rejection.index), (Height(7), None));
    assert!(matches!(*rejection.reason, Reason::CertificateSignature(_)));
}

/// The log with one block replaced; later blocks stay.
fn with_block(
    world: &World,
    index: usize,
    change: impl FnOnce(&mut assay_proto::block::CommittedBlock),
) -> Vec<u8> {
    let mut blocks = world.blocks.clone();
    change(&mut blocks[index]);
    let blocks = blocks.iter().flat_map(export::block);
    export::start(&genesis()).into_iter().chain(blocks).chain(export::end(Height(12))).collect()
}

#[test]
fn validators_that_sign_a_false_block_do_not_make_it_true() {
    let world = lived();
    // Every validator signs; still the second receipt of block 2 claims a proof that does not hold.
    let before = World::ready();
    let mut receipts = before.verified(&[(1, 0, 500), (2, 1, 900)]);
    let attempt = before.attempt(before.job(&client(0), 2), miner(1));
    let lie = Attempt { outputs: Some(vec![vec![2, 2]]), ..attempt };
    receipts[1] = before.signed_receipt(before.receipt(&lie, Verdict::Verified), 2);
    let file = with_block(&world, 1, |entry| {
        entry.block = before.block(receipts);
        entry.certificate = before.certificate(&entry.block, &[0, 1, 2]);
    });
    let rejection = rejected(&file);
    assert_eq!((rejection.height, rejection.index), (Height(2), Some(1)));
    assert!(matches!(*rejection.reason, Reason::Verdict { expected: Verdict::InvalidProof, .. }));
    let text = render(&Err(rejection.into()));
    assert!(
        text.starts_with("audit: rejected: height 2, transaction 1: the verdict is \"verified\""),
        "{text}"
    );
}

/// An audit prepares what no validator vouched for yet: only the rules refuse it.
#[test]
fn what_a_validator_alone_may_do_is_rejected_of_others() {
    let (world, before) = (lived(), World::empty());
    let hold = Body::Hold(Hold { job: before.job(&client(1), 1).into_envelope() });
    for transaction in [before.register_model_by(&client(0), 1), before.next(&client(0), hold)] {
        let file = with_block(&world, 0, |entry| {
            entry.block = before.block(vec![transaction]);
            entry.certificate = before.certificate(&entry.block, &[0, 1, 2]);
        });
        let rejection = rejected(&file);
        assert_eq!((rejection.height, rejection.index), (Height(1), Some(0)));
        assert!(matches!(*rejection.reason, Reason::NotValidator(key) if key == client(0).public_key()));
    }
}

#[test]
fn a_state_root_that_pays_somebody_else_is_rejected() {
    let world = lived();
    let file = with_block(&world, 4, |entry| {
        entry.block.header.state_root.0[0] ^= 1;
        entry.certificate = world.certificate(&entry.block, &[0, 1, 2]);
    });
    let rejection = rejected(&file);
    assert_eq!((rejection.height, rejection.index), (Height(5), None));
    assert!(matches!(*rejection.reason, Reason::StateRoot { .. }));
}

#[test]
fn a_block_without_a_quorum_is_rejected() {
    let world = lived();
    let file = with_block(&world, 3, |entry| {
        entry.certificate = world.certificate(&entry.block, &[1, 2]);
    });
    let rejection = rejected(&file);
    assert_eq!(rejection.height, Height(4));
    assert!(matches!(*rejection.reason, Reason::CertificatePower { got: 6, total: 10 }));
}

#[test]
fn blocks_cannot_be_left_out_or_swapped() {
    let world = lived();
    let of = |order: &[usize]| {
        let blocks = order.iter().flat_map(|&index| export::block(&world.blocks[index]));
        export::start(&genesis()).into_iter().chain(blocks).chain(export::end(Height(12))).collect::<Vec<_>>()
    };
    assert!(matches!(*rejected(&of(&[0, 2])).reason, Reason::Height { .. }));
    assert!(matches!(*rejected(&of(&[1, 0])).reason, Reason::Height { .. }));
    let short = rejected(&of(&[0, 1]));
    assert_eq!(short.height, Height(3));
    assert!(matches!(*short.reason, Reason::End { expected: Height(2), got: Height(12) }));
}

#[test]
fn frames_have_their_places_and_lengths() {
    let world = World::empty();
    let (start, end) = (export::start(&genesis()), export::end(Height(0)));
    let frame = |bytes: &[u8]| *rejected(&[start.as_slice(), bytes].concat()).reason;
    assert!(matches!(frame(&[9, 0, 0, 0, 0]), Reason::Frame(FrameError::Kind(9))));
    let again = frame(&start[12..]);
    assert!(matches!(again, Reason::Frame(FrameError::Order { .. })));
    assert!(matches!(frame(&[3, 7, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7]), Reason::Frame(FrameError::Length { .. })));
    // The claimed length is refused before anything of it is read.
    assert!(matches!(frame(&[2, 255, 255, 255, 255]), Reason::Frame(FrameError::Length { .. })));
    let trailing = frame(&[end.as_slice(), &[0]].concat());
    assert!(matches!(trailing, Reason::Frame(FrameError::Trailing)));
    let no_genesis = rejected(&[&start[..12], end.as_slice()].concat());
    assert_eq!(no_genesis.height, Height(0));
    assert!(run(&world.exported()).is_ok());
}

#[test]
fn other_files_and_other_versions_are_unreadable() {
    let mut other = World::empty().exported();
    other[0] ^= 1;
    for file in [b"".as_slice(), b"ASSAY", b"something else entirely", b"ASSAYLOG\x02\0\0\0", &other] {
        let outcome = run(file);
        assert!(matches!(outcome, Err(AuditError::Unreadable(_))));
        assert_eq!(exit_code(&outcome), 2);
    }
}

#[test]
fn a_source_that_fails_is_unreadable_not_rejected() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk"))
        }
    }
    let world = lived();
    let file = world.exported();
    for length in [0, 20, file.len() / 2] {
        let outcome = audit(file[..length].chain(Fails), &mut |_| {});
        assert!(matches!(outcome, Err(AuditError::Unreadable(_))), "{length}");
    }
}

#[test]
fn outcomes_are_printed_with_their_exit_status() {
    let file = lived().exported();
    let accepted = run(&file);
    assert_eq!(exit_code(&accepted), 0);
    let text = render(&accepted);
    assert!(text.contains("epoch 1, height 5:") && text.contains("epoch 2, height 10:"), "{text}");
    assert!(text.ends_with("audit: accepted\n"));
    let value: serde_json::Value = serde_json::from_str(&render_json(&accepted)).unwrap();
    assert_eq!((&value["verdict"], &value["height"]), (&"accepted".into(), &12.into()));
    let voters = value["voters"].as_array().unwrap();
    assert_eq!(voters.len(), lived().state.voters().iter().count());
    let powers =
        |rows: &[serde_json::Value]| rows.iter().map(|row| row["power"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(powers(voters), lived().state.voters().total());
    // The liar of epoch 1 has neither work nor reputation in epoch 2.
    let rows = |epoch: usize| value["epochs"][epoch]["miners"].as_array().unwrap().len();
    assert_eq!((rows(0), rows(1)), (3, 2));

    let rejected = run(&file[..file.len() - 1]);
    assert_eq!(exit_code(&rejected), 1);
    let value: serde_json::Value = serde_json::from_str(&render_json(&rejected)).unwrap();
    assert_eq!((&value["verdict"], &value["height"]), (&"rejected".into(), &13.into()));
    assert_eq!(value["index"], serde_json::Value::Null);
}

#[test]
fn a_block_that_is_not_canonical_is_rejected_after_those_before_it() {
    let world = lived();
    let mut file = export::start(&genesis());
    file.extend(export::block(&world.blocks[0]));
    file.extend(export::block_bytes(&[world.blocks[1].encode(), vec![0xf8, 0x3f, 0x01]].concat()));
    let rejection = rejected(&file);
    assert_eq!(rejection.height, Height(2));
    let canonical = ProtoError::NotCanonical { what: "committed block" };
    assert!(matches!(*rejection.reason, Reason::Content(error) if error == canonical));
    // A fault of an earlier block is reported first, although decoding comes first.
    let mut file = export::start(&genesis());
    file.extend(export::block(&world.blocks[1]));
    file.extend(export::block_bytes(b"garbage"));
    let rejection = rejected(&file);
    assert_eq!(rejection.height, Height(1));
    assert!(matches!(*rejection.reason, Reason::Height { .. }));
}

#[test]
fn the_program_says_what_the_library_says() {
    let directory = std::env::temp_dir().join(format!("assay-audit-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let world = lived();
    let good = world.exported();
    let mut bad = good.clone();
    let middle = good.len() / 2;
    bad[middle] ^= 1;
    let run = |name: &str, content: Option<&[u8]>, options: &[&str]| {
        let path = directory.join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let program = env!("CARGO_BIN_EXE_assay-audit");
        let output = std::process::Command::new(program).arg(&path).args(options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run("good", Some(&good), &[]);
    assert_eq!((code, text), (Some(0), render(&audit(good.as_slice(), &mut |_| {}))));
    let (code, text) = run("bad", Some(&bad), &[]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("audit: rejected: height "), "{text}");
    let (code, text) = run("bad", None, &["--json"]);
    assert_eq!(code, Some(1));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["verdict"], "rejected");
    let (code, text) = run("other", Some(b"something else"), &[]);
    assert_eq!((code, text.as_str()), (Some(2), "audit: unreadable: not an Assay export\n"));
    assert_eq!(run("missing", None, &[]).0, Some(2));
    assert_eq!(run("good", None, &["--jsn"]).0, Some(2));
    std::fs::remove_dir_all(directory).unwrap();
}
