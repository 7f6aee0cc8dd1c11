//! Which certificates commit a block.

use assay_proto::block::{CommitCertificate, CommitSignature, Precommit};
use assay_proto::{BlockHash, ChainId, Height};
use assay_verifier::Reason;
use assay_verifier::certificate::{ValidatorSet, verify};

use crate::world::{World, chain, genesis, key, validator};

fn check(world: &World, certificate: &CommitCertificate) -> Result<(), Reason> {
    let header = world.propose(&[]).block.header;
    verify(&chain(), &ValidatorSet::of(&genesis()), certificate, &header)
}

#[test]
fn more_than_two_thirds_of_the_power_commit() {
    // Powers 4, 3 and 3: two of them are at most 7 of 10, which is more than two thirds.
    let world = World::ready();
    let block = world.propose(&[]).block;
    for signers in [vec![0, 1, 2], vec![2, 0], vec![0, 1]] {
        assert!(check(&world, &world.certificate(&block, &signers)).is_ok(), "{signers:?}");
    }
    for (signers, power) in [(vec![], 0), (vec![0], 4), (vec![1, 2], 6)] {
        let got = check(&world, &world.certificate(&block, &signers));
        assert!(matches!(got, Err(Reason::CertificatePower { got, total: 10 }) if got == power));
    }
}

#[test]
fn exactly_two_thirds_are_not_enough() {
    let mut genesis = genesis();
    genesis.validators.iter_mut().for_each(|validator| validator.power = 1);
    let set = ValidatorSet::of(&genesis);
    assert!(!set.is_quorum(2));
    assert!(set.is_quorum(3));
    genesis.validators.iter_mut().for_each(|validator| validator.power = (1 << 48) / 3);
    let set = ValidatorSet::of(&genesis);
    assert!(!set.is_quorum(set.total() / 3 * 2));
    assert!(set.is_quorum(set.total() / 3 * 2 + 1));
}

#[test]
fn a_signer_counts_once_and_must_be_a_validator() {
    let world = World::ready();
    let block = world.propose(&[]).block;
    let twice = world.certificate(&block, &[0, 0]);
    let got = check(&world, &twice);
    assert!(matches!(got, Err(Reason::CertificateDuplicate(key)) if key == validator(0).public_key()));
    let mut stranger = world.certificate(&block, &[0, 1]);
    let signed = key(99).sign(&chain(), stranger.precommit.vote());
    stranger
        .signatures
        .push(CommitSignature { validator: signed.signer(), signature: signed.envelope().signature });
    assert!(matches!(check(&world, &stranger), Err(Reason::CertificateSigner(_))));
}

#[test]
fn signatures_cover_height_round_block_and_chain() {
    let mut world = World::ready();
    let block = world.propose(&[]).block;
    let good = world.certificate(&block, &[0, 1]);
    let with = |precommit| CommitCertificate { precommit, ..good.clone() };
    let other_round = with(Precommit { round: 1, ..good.precommit });
    assert!(matches!(check(&world, &other_round), Err(Reason::CertificateSignature(_))));
    let other_height = with(Precommit { height: Height(3), ..good.precommit });
    assert!(matches!(check(&world, &other_height), Err(Reason::CertificateBlock { .. })));
    let other_block = with(Precommit { block_hash: BlockHash([0; 32]), ..good.precommit });
    assert!(matches!(check(&world, &other_block), Err(Reason::CertificateBlock { .. })));
    world.chain = ChainId::new("test-other").unwrap();
    let other_chain = world.certificate(&block, &[0, 1]);
    world.chain = chain();
    assert!(matches!(check(&world, &other_chain), Err(Reason::CertificateSignature(_))));
    let mut forged = good.clone();
    forged.signatures[1].signature = forged.signatures[0].signature;
    assert!(matches!(check(&world, &forged), Err(Reason::CertificateSignature(_))));
}
