//! What a header must say, and that a block's roots bind its content.

use assay_proto::block::{Block, BlockHeader};
use assay_proto::{BlockHash, ChainId, Height, PublicKey, Root, limits};
use assay_verifier::state::KeyCache;
use assay_verifier::transition::apply;
use assay_verifier::{Reason, Rejection};

use crate::world::{World, client, key};

fn changed(world: &World, change: impl FnOnce(&mut BlockHeader)) -> Reason {
    let transfer = world.transfer(&client(0), PublicKey([9; 32]), 1);
    let mut block = world.propose(&[transfer]).block;
    assert!(apply(&world.state, &block, &KeyCache::new()).is_ok());
    change(&mut block.header);
    let Rejection { height, index, reason } = apply(&world.state, &block, &KeyCache::new()).unwrap_err();
    assert_eq!((height, index), (world.state.head().height.next(), None));
    *reason
}

#[test]
fn every_field_of_the_header_is_checked() {
    let world = World::ready();
    let foreign = changed(&world, |header| header.chain_id = ChainId::new("test-other").unwrap());
    assert!(matches!(foreign, Reason::Chain { .. }));
    for height in [0, 1, 3, u64::MAX] {
        let reason = changed(&world, |header| header.height = Height(height));
        assert!(matches!(reason, Reason::Height { expected: Height(2), .. }), "{height}");
    }
    let orphan = changed(&world, |header| header.parent = BlockHash([0; 32]));
    assert!(matches!(orphan, Reason::Parent { .. }));
    let early = changed(&world, |header| header.time_ms = 1009);
    assert!(matches!(early, Reason::Time { parent: 1010, got: 1009 }));
    let stranger = changed(&world, |header| header.proposer = key(99).public_key());
    assert!(matches!(stranger, Reason::Proposer(_)));
    let transactions = changed(&world, |header| header.transactions_root = Root([0; 32]));
    assert!(matches!(transactions, Reason::TransactionsRoot { .. }));
    let state = changed(&world, |header| header.state_root = Root([0; 32]));
    assert!(matches!(state, Reason::StateRoot { .. }));
}

#[test]
fn a_block_may_have_its_parents_time() {
    let world = World::ready();
    let time_ms = world.state.head().time_ms;
    let proposer = crate::world::validator(1).public_key();
    let block = assay_verifier::propose::propose(&world.state, proposer, 0, &[], &world.keys).unwrap().block;
    assert_eq!(block.header.time_ms, time_ms);
    assert!(apply(&world.state, &block, &world.keys).is_ok());
}

#[test]
fn transactions_cannot_be_added_dropped_or_swapped() {
    let world = World::ready();
    let transfers: Vec<_> = [0, 1].map(|n| world.transfer(&client(n), PublicKey([9; 32]), 1)).into();
    let block = world.propose(&transfers).block;
    let with = |transactions| Block { header: block.header.clone(), transactions };
    let swapped: Vec<_> = transfers.iter().rev().cloned().collect();
    let doubled = [transfers.clone(), transfers.clone()].concat();
    for transactions in [vec![], transfers[..1].to_vec(), swapped, doubled] {
        let rejection = apply(&world.state, &with(transactions), &world.keys).unwrap_err();
        assert!(matches!(*rejection.reason, Reason::TransactionsRoot { .. }));
    }
}

#[test]
fn a_block_has_a_bounded_number_of_transactions_and_bytes() {
    let world = World::ready();
    let transfer = world.transfer(&client(0), PublicKey([9; 32]), 1);
    let rejection = world.reject(vec![transfer.clone(); limits::TRANSACTIONS + 1]);
    assert!(matches!(*rejection.reason, Reason::BlockTransactions { .. }));
    let mut large = transfer;
    large.payload = vec![0; limits::BLOCK_BYTES / 2];
    let rejection = world.reject(vec![large; 2]);
    assert!(matches!(*rejection.reason, Reason::BlockBytes { limit: limits::BLOCK_BYTES, .. }));
}

#[test]
fn blocks_apply_in_their_order_only() {
    let mut world = World::ready();
    let before = world.state.clone();
    world.commit(world.verified(&[(1, 0, 500)]));
    world.commit(vec![]);
    let rejection = apply(&before, &world.blocks[2].block, &world.keys).unwrap_err();
    assert!(matches!(*rejection.reason, Reason::Height { .. }));
    let again = apply(&world.state, &world.blocks[1].block, &world.keys).unwrap_err();
    assert!(matches!(*again.reason, Reason::Height { .. }));
}

#[test]
fn rejections_read_as_one_line_with_height_index_and_causes() {
    let world = World::ready();
    let rejection = world.reject(vec![world.transfer(&client(1), PublicKey([9; 32]), 51)]);
    let line = assay_verifier::describe(&rejection);
    assert!(line.starts_with("height 2, transaction 0: account "), "{line}");
    assert!(line.ends_with("holds 50, 51 are needed"), "{line}");
}
