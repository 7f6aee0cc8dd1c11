//! Keys, proofs and their files.

use std::os::unix::fs::PermissionsExt;

use assay_circuits::samples;

use crate::assay;
use crate::support::{Files, Ran, input, model};

#[test]
fn a_proof_holds_under_its_key_and_for_its_input_only() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let (model, keys, x, proof, vk) =
        (path("digits.assay"), path("keys"), path("x.npy"), path("proof.bin"), path("keys/digits.vk"));
    let job = "ab".repeat(32);
    let proven = assay!("prove {model} --keys {keys} --input {x} -o {proof} --job {job} --json").json();
    assert_eq!(proven["proof_bytes"], 160);
    assert_eq!(proven["outputs"][0]["name"], "y");

    let verified = assay!("verify --vk {vk} {proof} --json").json();
    assert_eq!(verified["verdict"], "holds");
    assert_eq!(verified["job"], job.as_str());
    assert_eq!(verified["key_origin"], "single party");
    assert_eq!(verified["outputs"], proven["outputs"]);
    assert_eq!(verified["model_id"], proven["model_id"]);
    assay!("verify --vk {vk} {proof} --input {x}").ok();

    files.tensor("other.npy", &[1, 1, 6, 6], &input(1));
    let other = path("other.npy");
    let ran = assay!("verify --vk {vk} {proof} --input {other}");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("another input") && !ran.stdout.contains("output "), "{ran:?}");
}

#[test]
fn hidden_inputs_and_outputs_are_opened_by_whoever_has_the_opening() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    files.model("hidden", &model().committing(true, true));
    let (model, keys, x, proof) = (path("hidden.assay"), path("keys"), path("x.npy"), path("hidden.bin"));
    let (vk, opening) = (path("keys/hidden.vk"), path("hidden.json"));
    assay!("setup {model} -o {keys}").ok();
    assay!("prove {model} --keys {keys} --input {x} -o {proof}").refused("--opening");
    let proven =
        assay!("prove {model} --keys {keys} --input {x} -o {proof} --opening {opening} --json").json();
    let mode = std::fs::metadata(&opening).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let verified = assay!("verify --vk {vk} {proof} --json").json();
    assert_eq!(verified["verdict"], "holds");
    assert_eq!(verified["outputs"], serde_json::json!([]), "nothing is shown without the opening");
    assert_eq!(verified["commitments"].as_object().map(serde_json::Map::len), Some(2));
    assert!(verified.get("inputs_digest").is_none());
    assay!("verify --vk {vk} {proof} --input {x}").refused("without --opening");

    let opened = assay!("verify --vk {vk} {proof} --opening {opening} --json").json();
    assert_eq!(opened["outputs"], proven["outputs"]);
    assay!("verify --vk {vk} {proof} --opening {opening} --input {x}").ok();
    files.tensor("other.npy", &[1, 1, 6, 6], &input(1));
    let other = path("other.npy");
    let ran = assay!("verify --vk {vk} {proof} --opening {opening} --input {other}");
    assert_eq!(ran.code, Some(1), "{ran:?}");

    assay!("prove {model} --keys {keys} --input {other} -o {other}.bin --opening {other}.json").ok();
    let ran = assay!("verify --vk {vk} {proof} --opening {other}.json");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("is not what the proof commits to"), "{ran:?}");
}

#[test]
fn a_public_model_is_proven_without_a_setup() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let (model, open, x, proof) = (path("digits.assay"), path("open"), path("x.npy"), path("open.bin"));
    let made = assay!("setup {model} --system halo2 -o {open} --json").json();
    assert_eq!(made["system"], "halo2");
    assert!(made.get("proving_key").is_none() && made["origin"].as_str().expect("text").contains("nobody"));
    let k = made["k"].as_u64().expect("k");
    let (vk, parameters) = (path("open/digits.vk"), format!("open/halo2-{k}.params"));
    // The key is the model: whoever has one can make the other.
    assert_eq!(files.read("open/digits.vk")[8..], files.read("digits.assay"));

    let proven = assay!("prove {model} --keys {open} --input {x} -o {proof} --json").json();
    assert_eq!(proven["system"], "halo2");
    let verified = assay!("verify --vk {vk} {proof} --input {x} --json").json();
    assert_eq!((&verified["verdict"], &verified["system"]), (&"holds".into(), &"halo2".into()));
    assert_eq!(verified["outputs"], proven["outputs"]);
    assay!("verify --vk {vk} {proof} --system halo2").ok();
    assay!("verify --vk {vk} {proof} --system groth16").refused("a key of halo2");
    let ran = assay!("setup {model} --system plonk -o {open}");
    assert!(ran.code == Some(2) && ran.stderr.contains("expected groth16 or halo2"), "{ran:?}");
    // Neither key holds for the other's proof.
    let (keys, small, small_vk) = (path("keys"), path("small.bin"), path("keys/digits.vk"));
    assay!("prove {model} --keys {keys} --system groth16 --input {x} -o {small}").ok();
    assert_eq!(assay!("verify --vk {vk} {small}").code, Some(1));
    assert_eq!(assay!("verify --vk {small_vk} {proof}").code, Some(1));

    let mut damaged = files.read(&parameters);
    damaged[100] ^= 1;
    files.write(&parameters, &damaged);
    assay!("prove {model} --keys {open} --input {x} -o {proof}").refused("the file is damaged");
    // Without the file they are made anew, and kept.
    std::fs::remove_file(path(&parameters)).expect("removed");
    assay!("prove {model} --keys {open} --input {x} -o {proof}").ok();
    assert!(files.folder().join(&parameters).exists());
}

#[test]
fn what_halo2_does_not_have_is_refused_by_name() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let open = path("open");
    for (name, graph, why) in [
        ("product", samples::product(), "operator Multiply is not supported"),
        ("hidden", model().committing(true, false), "a committed port"),
    ] {
        files.model(name, &graph);
        let model = path(&format!("{name}.assay"));
        assay!("setup {model} --system halo2 -o {open}").refused(why);
    }
}

#[test]
fn no_byte_of_a_proof_file_can_be_changed() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let (model, keys, x, proof, vk) =
        (path("digits.assay"), path("keys"), path("x.npy"), path("proof.bin"), path("keys/digits.vk"));
    assay!("prove {model} --keys {keys} --input {x} -o {proof}").ok();
    let bytes = files.read("proof.bin");
    let forged = path("forged.bin");
    for at in (0..bytes.len()).step_by(11).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        files.write("forged.bin", &changed);
        let ran = assay!("verify --vk {vk} {forged}");
        assert!(matches!(ran.code, Some(1 | 2)), "byte {at}: {ran:?}");
        assert!(!ran.stdout.contains("holds ("), "byte {at}: {ran:?}");
    }
}

#[test]
fn a_secret_key_is_for_its_owner_only_and_never_overwritten() {
    let files = Files::new();
    let public = files.key("a.key");
    let path = files.path("a.key");
    let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(assay!("key show {path}").ok().trim(), public);
    assert_eq!(assay!("key show {path} --json").json()["public_key"], public.as_str());
    let before = files.read("a.key");
    assay!("key new -o {path}").refused("exists");
    assert_eq!(files.read("a.key"), before);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("chmod");
    assay!("key show {path}").refused("chmod 600");
}

#[test]
fn a_rotated_key_is_the_same_key_under_another_password_and_nothing_is_lost_when_it_is_refused() {
    let files = Files::new();
    let [sealed, clear] = ["sealed.key", "clear.key"].map(|name| files.path(name));
    let public = with_password(&files, "old", &format!("key new --encrypt -o {sealed}")).ok();
    let before = files.read("sealed.key");
    files.write("new-password", b"new\n");
    let rotate = format!("key rotate {sealed} --new-password-file {}", files.path("new-password"));
    with_password(&files, "wrong", &rotate).refused("password is wrong");
    files.write("empty", b"");
    let empty = format!("key rotate {sealed} --new-password-file {}", files.path("empty"));
    with_password(&files, "old", &empty).refused("empty password");
    assert_eq!(files.read("sealed.key"), before);

    assert_eq!(with_password(&files, "old", &rotate).ok(), public);
    let mode = std::fs::metadata(&sealed).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    with_password(&files, "old", &format!("key export {sealed} -o {clear}")).refused("password is wrong");
    assert_eq!(with_password(&files, "new", &format!("key export {sealed} -o {clear}")).ok(), public);
    with_password(&files, "new", &format!("key rotate {clear}")).refused("not sealed");
}

/// Runs a command with the password of sealed keys in a file.
fn with_password(files: &Files, password: &str, line: &str) -> Ran {
    files.write("password", format!("{password}\n").as_bytes());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(line.split_whitespace())
        .env("ASSAY_PASSWORD_FILE", files.path("password"))
        .output()
        .expect("the program starts");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn a_sealed_key_is_used_with_its_password_and_shown_without() {
    let files = Files::new();
    let [sealed, clear, again] = ["sealed.key", "clear.key", "again.key"].map(|name| files.path(name));
    let public = with_password(&files, "secret", &format!("key new --encrypt -o {sealed}")).ok();
    assert_eq!(assay!("key show {sealed}").ok(), public);
    assay!("key export {sealed} -o {clear}").refused("ASSAY_PASSWORD_FILE");
    with_password(&files, "wrong", &format!("key export {sealed} -o {clear}")).refused("password is wrong");
    assert_eq!(with_password(&files, "secret", &format!("key export {sealed} -o {clear}")).ok(), public);
    assert_eq!(assay!("key show {clear}").ok(), public);
    assert_eq!(with_password(&files, "other", &format!("key import {clear} -o {again}")).ok(), public);
    assert!(
        !String::from_utf8_lossy(&files.read("again.key"))
            .contains(String::from_utf8_lossy(&files.read("clear.key")).trim())
    );
}
