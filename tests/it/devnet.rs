//! `assay devnet`: four validators and two miners as processes, asked at every door.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::assay;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running network; told to stop when dropped.
struct Devnet {
    child: Child,
    dir: String,
    network: Value,
}

impl Devnet {
    fn start(dir: &str) -> Self {
        let line = format!("devnet --validators 4 --miners 2 --port 0 --json --dir {dir}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("UTF-8");
        let log = || std::fs::read_to_string(format!("{dir}/devnet.log")).unwrap_or_default();
        let network = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{}", log()));
        Self { child, dir: dir.to_owned(), network }
    }

    fn endpoints(&self) -> Vec<String> {
        let validators = self.network["validators"].as_array().expect("validators");
        validators
            .iter()
            .map(|entry| format!("http://{}", entry["address"].as_str().expect("text")))
            .collect()
    }

    /// Stops it by its own command.
    fn stop(mut self) {
        let dir = &self.dir;
        assert_eq!(assay!("devnet --dir {dir} --stop").ok().trim(), "stopped");
        assert_eq!(self.child.wait().expect("ended").code(), Some(0));
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let dir = &self.dir;
            assay!("devnet --dir {dir} --stop");
            // It has stopped, or is beyond asking.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn height(endpoint: &str) -> u64 {
    assay!("validator status --json --endpoint {endpoint}").json()["height"].as_u64().expect("a height")
}

/// Waits until all have the same height, which a chain at rest has.
fn settle(endpoints: &[String]) -> u64 {
    let began = Instant::now();
    loop {
        let heights: Vec<u64> = endpoints.iter().map(|endpoint| height(endpoint)).collect();
        std::thread::sleep(Duration::from_millis(1_500));
        let again: Vec<u64> = endpoints.iter().map(|endpoint| height(endpoint)).collect();
        if heights == again && heights.iter().all(|height| *height == heights[0]) {
            return heights[0];
        }
        assert!(began.elapsed() < PATIENCE, "{again:?}");
    }
}

fn ask(devnet: &Devnet, endpoint: &str) {
    let keys = format!("{}/keys", devnet.dir);
    let line =
        format!("infer --endpoint {endpoint} --model sample --input {keys}/x.npy --key {keys}/client.key");
    // A door that falls behind for a moment says so.
    let began = Instant::now();
    loop {
        let ran = assay!("{line} --wait-verified");
        if ran.code == Some(0) {
            return;
        }
        assert!(ran.stderr.contains("not ready") && began.elapsed() < PATIENCE, "{ran:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A network that says that it is up takes jobs at every door at once.
fn all_ready(endpoints: &[String]) {
    for endpoint in endpoints {
        let status = assay!("validator status --json --endpoint {endpoint}").json();
        assert_eq!(status["ready"], true, "{status}");
    }
}

/// What audits of everybody's exports find, once all were written at one height.
fn audits(dir: &str, endpoints: &[String]) -> Vec<Value> {
    let began = Instant::now();
    let of = |(index, endpoint): (usize, &String)| {
        let file = format!("{dir}/export-{index}");
        assay!("validator export --endpoint {endpoint} -o {file}").ok();
        assay!("audit {file} --json").json()
    };
    loop {
        let reports: Vec<_> = endpoints.iter().enumerate().map(of).collect();
        if reports.iter().all(|report| report["height"] == reports[0]["height"]) {
            return reports;
        }
        assert!(began.elapsed() < PATIENCE, "the chain does not rest");
    }
}

#[test]
fn a_network_of_processes_answers_at_every_door_agrees_and_stops_by_one_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("net").to_str().expect("UTF-8").to_owned();
    let devnet = Devnet::start(&dir);
    let endpoints = devnet.endpoints();
    all_ready(&endpoints);
    for endpoint in &endpoints {
        ask(&devnet, endpoint);
    }
    assay!("devnet --dir {dir}").refused("a network runs in this folder");
    let before = settle(&endpoints);
    let reports = audits(&dir, &endpoints);
    for report in &reports {
        assert_eq!(report["receipts"]["verified"], 4, "{report}");
        assert_eq!(
            (&report["head"], &report["state_root"]),
            (&reports[0]["head"], &reports[0]["state_root"])
        );
    }
    devnet.stop();

    let devnet = Devnet::start(&dir);
    assert_eq!(devnet.endpoints(), endpoints, "the same network");
    all_ready(&endpoints);
    ask(&devnet, &endpoints[3]);
    assert!(settle(&endpoints) > before);
    devnet.stop();
    assert!(assay!("devnet --dir {dir} --stop").ok().starts_with("nothing runs"));
}
