//! Wrong input to every command: one clear line, exit code 2, nothing on standard output.

use std::net::TcpListener;

use assay_circuits::samples;
use ndarray::ArrayD;
use ndarray_npy::WriteNpyExt;

use crate::assay;
use crate::support::Files;
use crate::support::network::Chain;

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("address"))
}

fn cut(files: &Files, name: &str, to: &str) {
    let bytes = files.read(name);
    files.write(to, &bytes[..bytes.len() / 2]);
}

#[test]
fn import_refuses_what_is_no_model() {
    let files = Files::new();
    let onnx = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/bench/models/mlp.onnx")).expect("mlp");
    files.write("cut.onnx", &onnx[..onnx.len() / 2]);
    files.write("text.onnx", b"not a model");
    let out = files.path("out.assay");
    for (name, why) in
        [("cut.onnx", "cut.onnx"), ("text.onnx", "text.onnx"), ("missing.onnx", "No such file")]
    {
        let path = files.path(name);
        assay!("model import {path} -o {out}").refused(why);
    }
}

#[test]
fn setup_refuses_what_is_no_model() {
    let files = Files::new();
    cut(&files, "digits.assay", "cut.assay");
    files.write("text.assay", b"not a model");
    let keys = files.path("new");
    for (name, why) in [
        ("missing.assay", "No such file"),
        ("cut.assay", "malformed"),
        ("text.assay", "not an Assay model of this version"),
    ] {
        let path = files.path(name);
        assay!("setup {path} -o {keys}").refused(why);
    }
}

#[test]
fn prove_refuses_inputs_that_do_not_fit() {
    let files = Files::new();
    let mut bytes = Vec::new();
    ArrayD::from_elem(vec![1, 1, 6, 6], true).write_npy(&mut bytes).expect("npy");
    files.write("bool.npy", &bytes);
    files.tensor("shape.npy", &[1, 1, 6, 5], &[1.0; 30]);
    files.tensor("batch.npy", &[2, 1, 6, 6], &[1.0; 72]);
    let mut values = [1.0; 36];
    values[7] = f32::NAN;
    files.tensor("nan.npy", &[1, 1, 6, 6], &values);
    cut(&files, "x.npy", "cut.npy");
    files.write("text.npy", b"1 2 3");
    let (model, keys, proof) = (files.path("digits.assay"), files.path("keys"), files.path("proof.bin"));
    for (name, why) in [
        ("missing.npy", "No such file"),
        ("cut.npy", "truncated"),
        ("text.npy", "not a .npy array"),
        ("bool.npy", "element type"),
        ("shape.npy", "expected shape"),
        ("batch.npy", "expected one sample, got a batch of 2"),
        ("nan.npy", "NaN"),
    ] {
        let path = files.path(name);
        assay!("prove {model} --keys {keys} --input {path} -o {proof}").refused(why);
    }
    assert!(!files.folder().join("proof.bin").exists());
}

#[test]
fn prove_refuses_keys_that_do_not_fit() {
    let files = Files::new();
    files.model("other", &samples::dense());
    files.write("keys/other.pk", &files.read("keys/digits.pk"));
    files.tensor("three.npy", &[1, 3], &[1.0; 3]);
    let path = |name: &str| files.path(name);
    let (model, keys, x, proof) = (path("digits.assay"), path("keys"), path("x.npy"), path("proof.bin"));
    let (other, three) = (path("other.assay"), path("three.npy"));
    assay!("prove {other} --keys {keys} --input {three} -o {proof}").refused("the key is for model");
    let missing = path("nowhere");
    assay!("prove {model} --keys {missing} --input {x} -o {proof}").refused("No such file");
    cut(&files, "keys/digits.pk", "keys/half.pk");
    std::fs::rename(path("keys/half.pk"), path("keys/digits.pk")).expect("renamed");
    assay!("prove {model} --keys {keys} --input {x} -o {proof}").refused("digits.pk");
    files.write("keys/digits.pk", b"not a key");
    assay!("prove {model} --keys {keys} --input {x} -o {proof}").refused("digits.pk");
}

#[test]
fn verify_refuses_what_it_cannot_read() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let (model, keys, x, proof, vk) =
        (path("digits.assay"), path("keys"), path("x.npy"), path("proof.bin"), path("keys/digits.vk"));
    assay!("prove {model} --keys {keys} --input {x} -o {proof}").ok();
    files.model("other", &samples::dense());
    let other = path("other.assay");
    assay!("setup {other} -o {keys}").ok();
    cut(&files, "keys/digits.vk", "cut.vk");
    cut(&files, "proof.bin", "cut.bin");
    let (other_vk, cut_vk, cut_bin, missing) =
        (path("keys/other.vk"), path("cut.vk"), path("cut.bin"), path("missing"));
    assay!("verify --vk {other_vk} {proof}").refused("is the key of model");
    assay!("verify --vk {cut_vk} {proof}").refused("not a verifying key");
    assay!("verify --vk {missing} {proof}").refused("No such file");
    assay!("verify --vk {vk} {missing}").refused("No such file");
    assay!("verify --vk {vk} {cut_bin}").refused("malformed or cut off");
    assay!("verify --vk {vk} {vk}").refused("not an Assay proof");
}

#[test]
fn key_show_refuses_what_is_no_key_without_quoting_it() {
    let files = Files::new();
    files.key("a.key");
    let path = files.path("a.key");
    for text in ["", "secret-of-mine", &"ab".repeat(31), &"ab".repeat(33), &"a".repeat(1000)] {
        std::fs::write(&path, text).expect("written");
        let ran = assay!("key show {path}");
        assert!(text.is_empty() || !ran.stderr.contains(text), "{ran:?}");
        ran.refused("a.key");
    }
    let missing = files.path("missing");
    assay!("key show {missing}").refused("No such file");
}

#[test]
fn audit_tells_an_unreadable_file_from_a_log_that_does_not_hold() {
    let files = Files::new();
    files.write("text", b"not a log");
    files.write("empty", b"");
    for name in ["text", "empty"] {
        let path = files.path(name);
        let ran = assay!("audit {path}");
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("not an Assay export") && ran.stderr.lines().count() == 1, "{ran:?}");
    }
    let missing = files.path("missing");
    assay!("audit {missing}").refused("No such file");
}

#[test]
fn validator_init_refuses_a_second_home_and_impossible_numbers() {
    let chain = Chain::new();
    let home = chain.files.path("home");
    assay!("validator init {home} --chain-id test-again").refused("exists already");
    let (new, client) = (chain.files.path("new"), &chain.client);
    assay!("validator init {new} --chain-id x --account {client}=1 --account {client}=2").refused("twice");
    assay!("validator init {new} --chain-id x --tempo 0").refused("tempo");
    assay!("validator init {new} --chain-id x --account {client}=18446744073709551615").refused("balances");
    assert_eq!(assay!("validator init {new} --chain-id UPPER").code, Some(2));
    assert!(!chain.files.folder().join("new/genesis.bin").exists());
}

#[test]
fn validator_start_names_what_is_wrong_with_its_home() {
    let chain = Chain::new();
    let (home, missing) = (chain.files.path("home"), chain.files.path("missing"));
    assay!("validator start --home {missing}").refused("config.toml");
    let config = chain.files.read("home/config.toml");
    let line = config.iter().filter(|&&byte| byte == b'\n').count() + 1;
    chain.files.write("home/config.toml", &[config.as_slice(), b"jobs_per_day = 3\n"].concat());
    assay!("validator start --home {home}").refused(&format!("config.toml, line {line}: unknown field"));
    chain.files.write("home/config.toml", &[config.as_slice(), b"[[[\n"].concat());
    assay!("validator start --home {home}").refused("config.toml, line ");
    let wrong = String::from_utf8(config.clone()).expect("UTF-8").replace("attempts = 3", "attempts = 99");
    chain.files.write("home/config.toml", wrong.as_bytes());
    assay!("validator start --home {home}").refused("broker.attempts");
    chain.files.write("home/config.toml", &config);

    let genesis = chain.files.read("home/genesis.bin");
    chain.files.write("home/genesis.bin", &genesis[..genesis.len() - 1]);
    assay!("validator start --home {home}").refused("genesis.bin");
    chain.files.write("home/genesis.bin", &genesis);
    std::fs::remove_file(chain.files.path("home/validator.key")).expect("removed");
    chain.files.key("home/validator.key");
    assay!("validator start --home {home} --listen 127.0.0.1:0").refused("not a validator");
}

#[test]
fn a_port_or_a_database_in_use_is_named() {
    let chain = Chain::new();
    let home = chain.files.path("home");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("address");
    assay!("validator start --home {home} --listen {address}")
        .refused(&format!("cannot listen on {address}"));
    let running = chain.start();
    assay!("validator start --home {home} --listen 127.0.0.1:0").refused("in use by another process");
    chain.register_model(&running.url());
    let path = |name: &str| chain.files.path(name);
    let (url, key, model, keys) = (running.url(), path("miner.key"), path("digits.assay"), path("keys"));
    assay!("miner --key {key} --listen {address} --validator {url} --model {model} --keys {keys}")
        .refused(&format!("cannot listen on {address}"));
}

#[test]
fn commands_that_reach_nobody_say_so() {
    let chain = Chain::new();
    let path = |name: &str| chain.files.path(name);
    let (key, vk, out) = (path("client.key"), path("keys/digits.vk"), path("log"));
    let (model, keys, nobody) = (path("digits.assay"), path("keys"), nobody());
    let cannot = "cannot connect to";
    assay!("validator status --endpoint {nobody}").refused(cannot);
    assay!("validator export --endpoint {nobody} -o {out}").refused(cannot);
    assay!("validator register-model --endpoint {nobody} --key {key} --vk {vk}").refused(cannot);
    assay!("miner --key {key} --listen 127.0.0.1:0 --validator {nobody} --model {model} --keys {keys} --patience 1")
        .refused(cannot);
    let infer = chain.infer(&nobody);
    assay!("{infer} --wait-verified").refused(cannot);
    assay!("validator status --endpoint nonsense").refused("endpoint");
    assert!(!chain.files.folder().join("log").exists());
}

#[test]
fn miner_refuses_a_key_of_another_model_before_it_serves() {
    let chain = Chain::new();
    chain.files.model("other", &samples::dense());
    chain.files.write("keys/other.pk", &chain.files.read("keys/digits.pk"));
    let path = |name: &str| chain.files.path(name);
    let (key, model, keys, nobody) = (path("miner.key"), path("other.assay"), path("keys"), nobody());
    assay!("miner --key {key} --validator {nobody} --model {model} --keys {keys}")
        .refused("the key is for model");
}

#[test]
fn infer_refuses_wrong_input_before_it_asks() {
    let chain = Chain::new();
    let validator = chain.start();
    let url = validator.url();
    let path = |name: &str| chain.files.path(name);
    let infer = chain.infer(&url);
    assay!("{infer}").refused("not registered");
    chain.register_model(&url);
    chain.files.tensor("shape.npy", &[1, 1, 6, 5], &[1.0; 30]);
    chain.files.tensor("nan.npy", &[1, 1, 6, 6], &[f32::NAN; 36]);
    let key = path("client.key");
    for (name, why) in [("shape.npy", "expected shape"), ("nan.npy", "NaN"), ("missing.npy", "No such file")]
    {
        let x = path(name);
        assay!("infer --endpoint {url} --model digits --input {x} --key {key}").refused(why);
    }
    chain.files.model("other", &samples::dense());
    let (other, keys, again) = (path("other.assay"), path("keys"), path("again"));
    assay!("setup {other} -o {keys}").ok();
    let other_vk = path("keys/other.vk");
    assay!("{infer} --vk {other_vk}").refused("the key is for model");
    let model = path("digits.assay");
    assay!("setup {model} -o {again}").ok();
    let again_vk = path("again/digits.vk");
    assay!("{infer} --vk {again_vk}").refused("made by another setup");
    assay!("{infer} --chain-id elsewhere").refused("expected elsewhere");
    assay!("validator register-model --endpoint {url} --key {key} --vk {again_vk}")
        .refused("another verifying key");
    assay!("validator register-model --endpoint {url} --key {key} --vk {other_vk}")
        .refused("not a validator");
    let (x, poor) = (path("x.npy"), path("miner.key"));
    assay!("infer --endpoint {url} --model digits --input {x} --key {poor}").refused("holds 0, 1 are needed");
}

#[test]
fn a_miner_refuses_a_device_that_it_cannot_use() {
    let chain = Chain::new();
    let path = |name: &str| chain.files.path(name);
    let (key, model, keys) = (path("miner.key"), path("digits.assay"), path("keys"));
    let miner = format!("miner --key {key} --model {model} --keys {keys} --validator http://127.0.0.1:1");
    assay!("{miner} --device cuda:99").refused("--device cuda:99: ");
    let ran = assay!("{miner} --device gpu");
    assert!(ran.code == Some(2) && ran.stderr.contains("expected auto, cpu or cuda:N"), "{ran:?}");
}
