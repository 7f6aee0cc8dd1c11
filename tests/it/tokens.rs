//! Base units as their owner moves, locks and shows them.

use crate::assay;
use crate::support::network::{BALANCE, CHAIN, Chain};

#[test]
fn base_units_are_moved_locked_shown_and_proven() {
    let chain = Chain::new();
    let validator = chain.start();
    let url = validator.url();
    let path = |name: &str| chain.files.path(name);
    let (key, client, miner) = (path("client.key"), &chain.client, &chain.miner);
    let own = path("home/validator.key");
    let voter = assay!("key show {own}").ok();
    let voter = voter.trim();
    let tx = format!("tx --endpoint {url} --key {key}");
    let moved = assay!("{tx} --json transfer {miner} 100").json();
    assert_eq!((moved["height"].as_u64(), moved["balance"].as_u64()), (Some(1), Some(BALANCE - 100)));
    for step in [
        "burn 10".to_owned(),
        format!("stake {voter} 50"),
        format!("unstake {voter} 20"),
        "bond 8".to_owned(),
        "unbond 3".to_owned(),
        "deposit 7".to_owned(),
        "withdraw 7".to_owned(),
    ] {
        let text = assay!("{tx} {step}").ok();
        assert!(text.starts_with("in block "), "{step}: {text}");
    }
    let status = assay!("validator status --endpoint {url} --account {client} --json").json();
    assert_eq!(status["account"]["balance"], BALANCE - 100 - 10 - 50 - 8 - 7);
    let locks = &status["account"]["locks"];
    let amounts: Vec<_> = (0..3).map(|n| (&locks[n]["amount"], &locks[n]["leaving"][0]["amount"])).collect();
    assert_eq!(
        format!("{amounts:?}"),
        "[(Number(30), Number(20)), (Number(5), Number(3)), (Number(0), Number(7))]"
    );
    let text = assay!("validator status --endpoint {url} --account {client}").ok();
    assert!(
        text.contains(&format!("locked   30 as stake on {voter}")) && text.contains("leaving  20 of it"),
        "{text}"
    );
    assay!("{tx} transfer {miner} {BALANCE}").refused("are needed");
    assay!("{tx} stake {miner} 1").refused("no stake is taken on");

    let (genesis, proof) = (path("home/genesis.bin"), path("account.proof"));
    let ask = format!("verify-state --genesis {genesis} --endpoint {url}");
    let shown = assay!("{ask} --record account={client} -o {proof}").ok();
    assert!(shown.starts_with("holds at height ") && shown.contains(client.as_str()), "{shown}");
    assert_eq!(assay!("verify-state {proof} --genesis {genesis} --json").json()["holds"], true);
    let record = status["account"]["balance"].as_u64().expect("a number");
    assert!(shown.contains(&format!("balance: {record}")), "{shown}");
    assay!("{ask} --record miner={client}").refused("no such record");
    assert_eq!(assay!("{ask} --record thing={client}").code, Some(2));
    // Another genesis with the same name of the chain.
    let other = path("other");
    assay!("validator init {other} --chain-id {CHAIN} --set fee=1").ok();
    let ran = assay!("verify-state {proof} --genesis {other}/genesis.bin");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.starts_with("does not hold at height "), "{ran:?}");

    assay!("epoch-report 9 --endpoint {url}").refused("ended epoch");
    assert_eq!(validator.terminate(), Some(0));
}

#[test]
fn a_new_chain_takes_its_numbers_by_their_names() {
    let chain = Chain::new();
    let new = chain.files.path("new");
    assay!("validator init {new} --chain-id test-numbers --set fees=1").refused("parameter");
    assay!("validator init {new} --chain-id test-numbers --set kappa=70000").refused("kappa");
    assay!(
        "validator init {new} --chain-id test-numbers --set stake_per_power=65536 --set unbonding_blocks=1"
    )
    .refused("unbonding_blocks");
    assay!("validator init {new} --chain-id test-numbers --set fee=1 --set kappa=40000").ok();
}
