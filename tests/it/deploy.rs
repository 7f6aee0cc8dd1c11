//! The files under `deploy/` name commands, options and settings that exist.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Files, Ran, assay};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).expect("a file of deploy")
}

/// Demands that the program knows the command and every option of it: `--help` at the end asks for nothing else.
fn is_known(arguments: &[String]) {
    let ran: Ran = assay(arguments.iter().map(String::as_str).chain(["--help"]));
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_compose_file_is_known() {
    let compose = text("compose.yaml");
    // Each is a list in brackets, which is JSON.
    let commands: Vec<Vec<String>> = compose
        .split("command:")
        .skip(1)
        .map(|rest| {
            let list = rest.split_inclusive(']').next().expect("a list");
            serde_json::from_str(list).unwrap_or_else(|error| panic!("{error}: {list}"))
        })
        .collect();
    assert_eq!(commands.len(), 7, "four validators, the registration, two miners");
    commands.iter().for_each(|command| is_known(command));
    let mut addresses: Vec<&str> = compose.split("ipv4_address: ").skip(1).map(|rest| &rest[..10]).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 6, "everybody has an address of its own");
    // The containers run what the image copies.
    let image = text("Dockerfile");
    for file in ["/usr/local/bin/make-network", "target/release/assay", "target/release/assay-audit"] {
        assert!(image.contains(file), "{file}");
    }
    assert!(compose.contains("entrypoint: [\"make-network\""));
}

#[test]
fn every_command_of_the_systemd_units_is_known() {
    for unit in ["assay-validator", "assay-miner"] {
        let unit = text(&format!("systemd/{unit}.service"));
        let example =
            unit.lines().find_map(|line| line.strip_prefix("#   ASSAY_MINER_ARGS=")).unwrap_or_default();
        let line =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/assay ")).expect("one");
        is_known(&words(&line.replace("$ASSAY_MINER_ARGS", example)));
        if let Some(init) =
            unit.lines().find_map(|line| line.split_once("-u assay assay ").map(|(_, init)| init))
        {
            is_known(&words(init));
        }
    }
}

#[test]
fn the_network_that_the_containers_start_with_has_valid_settings() {
    let files = Files::new();
    let programs = Path::new(env!("CARGO_BIN_EXE_assay")).parent().expect("a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    let made = Command::new("sh")
        .arg(deploy("make-network"))
        .args([&files.path("net"), "compose", "10.77.0.11", "10.77.0.12", "10.77.0.13", "10.77.0.14"])
        .env("PATH", path)
        .env_remove("MODEL")
        .output()
        .expect("a shell");
    assert!(made.status.success(), "{made:?}");
    for number in 1..=4 {
        let home = files.path(&format!("net/validator-{number}"));
        let settings = assay(["validator", "validate-config", "--home", &home, "--json"]).json();
        assert_eq!(settings["listen"], "0.0.0.0:7100");
        assert_eq!(settings["consensus"]["listen"], "0.0.0.0:7101");
        assert_eq!(settings["consensus"]["peers"].as_array().expect("peers").len(), 3);
        assert_eq!(
            (&settings["monitor"]["enabled"], &settings["monitor"]["listen"]),
            (&true.into(), &"0.0.0.0:7102".into())
        );
    }
}
