//! Validator, miner and client as processes.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use crate::assay;
use crate::support::Service;
use crate::support::network::{BALANCE, CHAIN, Chain, PRICE};

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn an_answer_is_proven_paid_exported_and_audited() {
    let chain = Chain::new();
    let validator = chain.start();
    let url = validator.url();
    chain.register_model(&url);
    // A second registration of the same key changes nothing.
    chain.register_model(&url);
    let miner = chain.start_miner(&url);
    let path = |name: &str| chain.files.path(name);
    let (infer, vk, proof) = (chain.infer(&url), path("keys/digits.vk"), path("proof.bin"));

    let shown = assay!("{infer} --json").ok();
    let shown = events(&shown);
    let kinds: Vec<&str> = shown.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, ["assigned", "output", "verified", "committed"]);
    let verified = &shown[2];
    assert_eq!(verified["miner"], chain.miner.as_str());
    assert_eq!(verified["key_from"], "the ledger");
    assert_eq!(verified["outputs"], shown[1]["outputs"]);

    let (model, keys, x, own) = (path("digits.assay"), path("keys"), path("x.npy"), path("own.bin"));
    let proven = assay!("prove {model} --keys {keys} --input {x} -o {own} --json").json();
    assert_eq!(verified["outputs"], proven["outputs"]);

    let shown = assay!("{infer} --wait-verified --vk {vk} -o {proof} --json --chain-id {CHAIN}").ok();
    let shown = events(&shown);
    let kinds: Vec<&str> = shown.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, ["verified", "committed"]);
    assert_eq!(shown[0]["key_from"], vk.as_str());
    assay!("verify --vk {vk} {proof} --input {x}").ok();
    let text = assay!("{infer} --wait-verified").ok();
    assert!(text.starts_with("verified ") && text.contains("committed "), "{text}");

    // The model can be named by its id too.
    let id = proven["model_id"].as_str().expect("id");
    let by_id = infer.replace("--model digits", &format!("--model {id}"));
    assay!("{by_id} --wait-verified").ok();

    let (client, miner_key) = (&chain.client, &chain.miner);
    let status = assay!("validator status --endpoint {url} --account {client} --json").json();
    assert_eq!(status["chain_id"], CHAIN);
    assert_eq!(status["models"][0]["name"], "digits");
    assert_eq!(status["models"][0]["miners"], 1);
    assert_eq!(status["account"]["balance"], BALANCE - 4 * PRICE);
    let status = assay!("validator status --endpoint {url} --account {miner_key} --json").json();
    assert!(status["account"]["miner"]["earned"].as_u64().expect("earned") >= 4 * PRICE);
    assert!(
        assay!("validator status --endpoint {url} --account {miner_key}")
            .ok()
            .contains("miner    at http://")
    );

    let log = path("log.assay");
    assay!("validator export --endpoint {url} -o {log}").ok();
    assert!(assay!("audit {log}").ok().ends_with("audit: accepted\n"));
    let audited = assay!("audit {log} --json").json();
    assert_eq!(audited["verdict"], "accepted");
    assert_eq!(audited["receipts"]["verified"], 4);
    let told = assay!("epoch-report 1 --endpoint {url} --json").json();
    let row = &told["miners"][0];
    assert!(row["latency_us"].as_u64() > Some(0) && row["measured_by"] == 1, "{row}");
    assert_eq!((&told["epoch"], &told["shared_by"]), (&Value::from(1), &Value::from("work")));
    assert_eq!(assay!("epoch-report 1 --file {log} --json").json(), told);
    assert!(assay!("epoch-report --file {log}").ok().starts_with("epoch "));
    assay!("epoch-report 99 --file {log}").refused("no such epoch");
    let mut forged = chain.files.read("log.assay");
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    chain.files.write("log.assay", &forged);
    let ran = assay!("audit {log}");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.starts_with("audit: rejected: height "), "{ran:?}");

    assert_eq!(miner.terminate(), Some(0));
    assert_eq!(validator.terminate(), Some(0));
}

#[test]
fn a_public_model_is_proven_without_a_setup_paid_exported_and_audited() {
    let chain = Chain::new();
    let path = |name: &str| chain.files.path(name);
    let (model, keys) = (path("digits.assay"), path("keys"));
    // From here on the verifying key beside the model is of halo2.
    assay!("setup {model} --system halo2 -o {keys}").ok();
    let validator = chain.start();
    let url = validator.url();
    chain.register_model(&url);
    let miner = chain.start_miner(&url);
    let (infer, vk, proof, x) = (chain.infer(&url), path("keys/digits.vk"), path("proof.bin"), path("x.npy"));
    let shown = events(&assay!("{infer} --wait-verified -o {proof} --json").ok());
    let kinds: Vec<&str> = shown.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, ["verified", "committed"]);
    assay!("verify --vk {vk} {proof} --input {x} --system halo2").ok();
    let status = assay!("validator status --endpoint {url} --json").json();
    assert_eq!(status["models"][0]["proof_system"], "halo2");

    let log = path("log.assay");
    assay!("validator export --endpoint {url} -o {log}").ok();
    let audited = assay!("audit {log} --json").json();
    assert_eq!(audited["receipts"]["verified"], 1);
    let whole = chain.files.read("log.assay");
    let held = chain.files.read("proof.bin");
    let held = &held[held.len() - 64..];
    let at = whole.windows(held.len()).position(|window| window == held).expect("the proof is in the log");
    let mut forged = whole.clone();
    forged[at + 40] ^= 1;
    chain.files.write("log.assay", &forged);
    assert_eq!(assay!("audit {log}").code, Some(1));

    assert_eq!(miner.terminate(), Some(0));
    assert_eq!(validator.terminate(), Some(0));
    // A restart need not make the parameters again.
    let kept = std::fs::read_dir(path("home/data/parameters")).expect("the folder").count();
    assert_eq!(kept, 1);
}

#[test]
fn a_miner_works_under_the_operating_key_that_its_owner_named() {
    let chain = Chain::new();
    let validator = chain.start();
    let url = validator.url();
    chain.register_model(&url);
    let path = |name: &str| chain.files.path(name);
    let (owner, operating) = (chain.files.key("owner.key"), &chain.miner);
    let (key, client) = (path("miner.key"), path("client.key"));
    let tx = format!("tx --endpoint {url} --key {}", path("owner.key"));
    let pay = format!("tx --endpoint {url} --key {client} transfer {owner} 1");
    let mine = format!(
        "miner --key {key} --owner {owner} --listen 127.0.0.1:0 --validator {url} --model {} --keys {}",
        path("digits.assay"),
        path("keys")
    );
    // Not named yet: it would become a miner of its own, which can be nobody's operating key.
    assay!("{mine}").refused("knows no key");

    let consent = format!("key consent {key} --owner {owner} --chain-id");
    let elsewhere = assay!("{consent} test-elsewhere").ok();
    assay!("{tx} set-operating-key {elsewhere}").refused("the consent of the operating key");
    assert_eq!(assay!("{tx} set-operating-key abc").code, Some(2));
    let consented = assay!("{consent} {CHAIN} --json").json();
    assert_eq!(consented["public_key"], operating.as_str());
    let text = consented["consent"].as_str().expect("digits");
    assay!("{} set-operating-key {text}", tx.replace("owner.key", "client.key"))
        .refused("agrees to sign for");
    assert!(assay!("{tx} --json set-operating-key {text}").json()["height"].as_u64().is_some());
    assay!("{tx} set-operating-key {text}").refused("cannot become an operating key");
    assay!("{pay}").ok();
    assay!("{pay}").ok();

    let miner = chain.start_miner_with(&url, &format!("--owner {owner}"));
    let infer = chain.infer(&url);
    let shown = events(&assay!("{infer} --wait-verified --json").ok());
    assert_eq!(shown[0]["miner"], owner.as_str());
    let account = |key: &str| assay!("validator status --endpoint {url} --account {key} --json").json();
    let status = &account(&owner)["account"];
    assert_eq!(status["balance"], PRICE + 2);
    assert_eq!(status["miner"]["model_ids"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["operating_key"]["public_key"], operating.as_str());
    let status = &account(operating)["account"];
    assert_eq!(status["operates"]["owner"], owner.as_str());
    assert_eq!(status["balance"], 0);
    assert!(status["miner"].is_null(), "{status}");
    let text = assay!("validator status --endpoint {url} --account {operating}").ok();
    assert!(text.contains(&format!("signs    for {owner} from height ")), "{text}");
    // What it may not sign.
    let thief = format!("tx --endpoint {url} --key {key}");
    assay!("{thief} transfer {operating} 1").refused("are needed");
    assay!("{thief} withdraw 1").refused("has to sign this itself");

    let (genesis, log) = (path("home/genesis.bin"), path("log"));
    let ask = format!("verify-state --genesis {genesis} --endpoint {url} --record operating-key={operating}");
    assert!(assay!("{ask}").ok().contains(&owner));
    assay!("validator export --endpoint {url} -o {log}").ok();
    assay!("audit {log}").ok();

    // A receipt is shown without its block, to who trusts the genesis or an audit.
    let job = shown[0]["job_id"].as_str().expect("a job");
    let (receipt, report) = (path("receipt.proof"), path("audit.json"));
    let ask = format!("verify-state --genesis {genesis} --endpoint {url}");
    let text = assay!("{ask} --record receipt={job} -o {receipt}").ok();
    assert!(text.contains(&format!("receipt of job {job}, miner {owner}, Verified")), "{text}");
    chain.files.write("audit.json", assay!("audit {log} --json").ok().as_bytes());
    let check = format!("verify-state {receipt} --genesis {genesis}");
    assert!(assay!("{check} --audit {report}").ok().starts_with("holds at height "));
    let audited = String::from_utf8(chain.files.read("audit.json")).expect("text");
    let of = serde_json::from_str::<Value>(&audited).expect("JSON")["genesis"]
        .as_str()
        .expect("a hash")
        .to_owned();
    for (from, to, why) in [
        ("accepted", "rejected", "the log was rejected"),
        (of.as_str(), "0".repeat(64).as_str(), "the log is of genesis 0000"),
    ] {
        chain.files.write("audit.json", audited.replace(from, to).as_bytes());
        assay!("{check} --audit {report}").refused(why);
    }
    let unknown = "ab".repeat(32);
    assay!("{ask} --record receipt={unknown}").refused("no receipt of job");
    assay!("{ask} --record transaction=1/99").refused("no such transaction");
    assert_eq!(miner.terminate(), Some(0));
    assert_eq!(validator.terminate(), Some(0));
}

#[test]
fn without_a_miner_nothing_is_printed_and_the_exit_code_is_2() {
    let chain = Chain::new();
    let validator = chain.start();
    chain.register_model(&validator.url());
    let infer = chain.infer(&validator.url());
    assay!("{infer} --wait-verified").refused("no answer: REASON_NO_MINER");
}

#[test]
fn a_miner_that_is_gone_is_no_answer() {
    let chain = Chain::new();
    let validator = chain.start();
    chain.register_model(&validator.url());
    chain.start_miner(&validator.url()).kill();
    let infer = chain.infer(&validator.url());
    assay!("{infer} --wait-verified").refused("no answer: REASON_MINERS_FAILED");
}

#[test]
fn logs_can_be_json() {
    let chain = Chain::new();
    let home = chain.files.path("home");
    let ran = std::process::Command::new("timeout")
        .args(["--signal=TERM", "2", env!("CARGO_BIN_EXE_assay"), "validator", "start", "--log-json"])
        .args(["--listen", "127.0.0.1:0", "--home", &home])
        .output()
        .expect("timeout");
    let logs = String::from_utf8(ran.stderr).expect("UTF-8");
    let first: Value = serde_json::from_str(logs.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["level"], "INFO");
}

#[test]
fn a_validator_begins_with_the_snapshot_of_another_at_a_trusted_block_only() {
    let chain = Chain::new();
    let home = chain.files.path("home");
    let line = format!("validator start --home {home} --listen 127.0.0.1:0 --set store.snapshot_blocks=1");
    let validator = Service::start(&line, None);
    let url = validator.url();
    chain.register_model(&url);
    let text = assay!("validator status --endpoint {url}").ok();
    assert!(text.contains("ready    yes") && text.contains("blocks   from height 1 on"), "{text}");
    let status = assay!("validator status --endpoint {url} --json").json();
    let offered = &status["snapshots"][0];
    let (height, hash) = (&offered["height"], offered["hash"].as_str().expect("a hash"));
    assert_eq!((height, hash), (&status["height"], status["hash"].as_str().expect("a hash")));
    std::fs::create_dir(chain.files.path("other")).expect("a folder");
    chain.files.write("other/genesis.bin", &chain.files.read("home/genesis.bin"));
    let other = chain.files.path("other");
    let sync = format!("validator sync --home {other} --endpoint {url} --trust-height {height} --trust-hash");
    let wrong = hash.chars().rev().collect::<String>();
    assay!("{sync} {wrong}").refused("the snapshot is refused");
    assert!(!chain.files.folder().join("other/data").exists());
    let synced = assay!("{sync} {hash} --json").json();
    assert_eq!(&synced["height"], height);
    assay!("{sync} {hash}").refused("is not ahead of it");
    assert_eq!(validator.terminate(), Some(0));
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("one")
}

#[test]
fn a_miner_at_https_is_asked_only_by_a_validator_that_trusts_its_certificate() {
    let chain = Chain::new();
    let path = |name: &str| chain.files.path(name);
    let (trusted, other) = (authority(), authority());
    let own = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = certificate.signed_by(&own, &trusted).expect("a certificate");
    for (name, text) in [
        ("ca.pem", trusted.pem()),
        ("other.pem", other.pem()),
        ("miner.pem", certificate.pem()),
        ("miner-key.pem", own.serialize_pem()),
    ] {
        chain.files.write(name, text.as_bytes());
    }
    let home = path("home");
    let start = |also: &str| {
        Service::start(&format!("validator start --home {home} --listen 127.0.0.1:0 {also}"), None)
    };
    let validator = start(&format!("--set broker.miner_ca={}", path("ca.pem")));
    let url = validator.url();
    chain.register_model(&url);
    let (key, model, keys) = (path("miner.key"), path("digits.assay"), path("keys"));
    let line =
        format!("miner --key {key} --listen 127.0.0.1:0 --validator {url} --model {model} --keys {keys}");
    let ran = assay!("{line} --serve-cert {}", path("miner.pem"));
    assert!(ran.code == Some(2) && ran.stderr.contains("--serve-key"), "{ran:?}");
    let (certificate, key) = (path("miner.pem"), path("miner-key.pem"));
    let _miner = Service::start(
        &format!("{line} --serve-cert {certificate} --serve-key {key}"),
        Some("registered as "),
    );
    let (infer, miner) = (chain.infer(&url), &chain.miner);
    assay!("{infer} --wait-verified").ok();
    let status = assay!("validator status --endpoint {url} --account {miner}").ok();
    assert!(status.contains("miner    at https://127.0.0.1:"), "{status}");
    drop(validator);

    // Its certificate is of another authority: no answer counts.
    let validator = start(&format!("--set broker.miner_ca={}", path("other.pem")));
    let ran = assay!("{} --wait-verified", chain.infer(&validator.url()));
    assert!(ran.code != Some(0) && ran.stderr.contains("MINERS_FAILED"), "{ran:?}");
    drop(validator);
    // A validator that knows no authority does not ask it, and blames nobody.
    let validator = start("");
    let ran = assay!("{} --wait-verified", chain.infer(&validator.url()));
    assert!(ran.code != Some(0) && ran.stderr.contains("NO_MINER"), "{ran:?}");
}

#[test]
fn superagi_a_key_and_a_prepaid_balance_buy_verified_answers_with_receipts_and_a_running_balance() {
    let chain = Chain::with("--set prepaid=1 --set price_floor=2");
    let validator = chain.start();
    let url = validator.url();
    chain.register_model(&url);
    let miner = chain.start_miner(&url);
    let (key, x, client) = (chain.files.path("client.key"), chain.files.path("x.npy"), &chain.client);
    // One deposit; everything else that the client signs is a job.
    assay!("tx --endpoint {url} --key {key} deposit 7").ok();
    let infer = format!("infer --endpoint {url} --model digits --input {x} --key {key}");
    let account =
        || assay!("validator status --endpoint {url} --account {client} --json").json()["account"].clone();
    let mut left = 7;
    // Micropayments, each for a verified answer whose signed receipt is in a block.
    for (tier, price) in [("standard", 2), ("priority", 4), ("economy", 1)] {
        let shown = assay!("{infer} --wait-verified --tier {tier} --max-price {price} --json").ok();
        let shown = events(&shown);
        let kinds: Vec<&str> = shown.iter().filter_map(|event| event["event"].as_str()).collect();
        assert_eq!(kinds, ["verified", "committed"], "{tier}");
        left -= price;
        let account = account();
        assert_eq!((&account["locks"][0]["amount"], &account["held"]), (&Value::from(left), &Value::from(0)));
    }
    assert_eq!(left, 0);
    // No answer without money, and none below the floor of its tier.
    let ran = assay!("{infer} --wait-verified --max-price 2");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assay!("tx --endpoint {url} --key {key} deposit 10").ok();
    assay!("{infer} --wait-verified --tier priority --max-price 3").refused("costs at least 4");
    assert_eq!(account()["locks"][0]["amount"], 10);
    let log = chain.files.path("log.assay");
    assay!("validator export --endpoint {url} -o {log}").ok();
    assert_eq!(assay!("audit {log} --json").json()["receipts"]["verified"], 3);
    assert_eq!(miner.terminate(), Some(0));
    assert_eq!(validator.terminate(), Some(0));
}

#[test]
fn io_net_a_real_miner_shows_its_device_and_the_epoch_report_says_so() {
    let challenges = "--set challenge_ppm=1000000 --set challenge_side=64 --set challenge_rounds=4";
    let chain = Chain::with(&format!("{challenges} --set availability_ppm=500000 --class 1=1000000,0"));
    let validator = chain.start();
    let url = validator.url();
    chain.register_model(&url);
    let miner = chain.start_miner_with(&url, "--device-class 1 --devices 2");
    assay!("{} --wait-verified", chain.infer(&url)).ok();
    // Every block challenges, and every outcome is in a block: epochs end by themselves.
    let began = std::time::Instant::now();
    let report = loop {
        let ran = assay!("epoch-report --endpoint {url} --json");
        if ran.code == Some(0) {
            let report = ran.json();
            if report["miners"][0]["online"].as_u64() > Some(0) {
                break report;
            }
        }
        assert!(began.elapsed().as_secs() < 60, "no epoch with an outcome");
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let row = &report["miners"][0];
    assert_eq!((&row["offline"], &row["wrong_device"]), (&Value::from(0), &Value::from(0)), "{row}");
    let record = assay!("validator status --endpoint {url} --account {} --json", chain.miner).json();
    assert_eq!(record["account"]["miner"]["model_ids"].as_array().map(Vec::len), Some(1));
    assert_eq!(miner.terminate(), Some(0));
    assert_eq!(validator.terminate(), Some(0));
}
