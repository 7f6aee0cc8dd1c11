//! The epoch function alone.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::assay;

fn case(epochs: &Value) -> Value {
    json!({
        "kappa": 0.5, "liquid_alpha": false, "alpha_low": 0.7, "alpha_high": 0.9, "steepness": 10.0,
        "bonds_moving_average": 0.9, "bonds_penalty": 1.0, "epochs": epochs,
    })
}

fn written(folder: &Path, case: &Value) -> String {
    let path = folder.join("case.json");
    std::fs::write(&path, case.to_string()).expect("the folder is writable");
    path.to_string_lossy().into_owned()
}

#[test]
fn an_epoch_of_stakes_and_weights_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    // Of three quarters of the stake, one half scores otherwise.
    let weights = json!([[3, 1], [0.75, 0.25], [0, 5]]);
    let epochs =
        json!([{ "stake": [10, 20, 10], "weights": weights }, { "stake": [10, 20, 10], "weights": weights }]);
    let report = assay(["epoch", &written(folder.path(), &case(&epochs)), "--json"]).json();
    let near = |got: &Value, expected: f64| {
        assert!((got.as_f64().expect("a number") - expected).abs() < 1e-8, "{got} for {expected}");
    };
    let epoch = &report["epochs"][0];
    for (name, expected) in [
        ("consensus", vec![0.75, 0.25]),
        // 0.75 (0.25 + 0.5) and 0.25 (0.25 + 0.5 + 0.25), as shares.
        ("incentive", vec![0.5625 / 0.8125, 0.25 / 0.8125]),
        ("validator_trust", vec![1.0, 1.0, 0.25]),
    ] {
        epoch[name].as_array().expect("a list").iter().zip(expected).for_each(|(got, x)| near(got, x));
    }
    // A tenth of the way, in units of 1/65535.
    near(&epoch["bonds"][0][0], f64::from((0.075f64 * 65535.0) as u16) / 65535.0);
    assert_eq!(report["epochs"].as_array().map(Vec::len), Some(2));
    let shown = assay(["epoch", &written(folder.path(), &case(&epochs))]).ok();
    assert!(shown.contains("epoch 1") && shown.contains("0.692308"), "{shown}");
}

#[test]
fn a_case_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |case: &Value, why: &str| {
        assay(["epoch", &written(folder.path(), case)]).refused(why);
    };
    let epochs = |stake: Value, weights: Value| json!([{ "stake": stake, "weights": weights }]);
    refused(&case(&epochs(json!([1]), json!([[1], [1]]))), "epoch 0: 2 rows of weights, not 1");
    refused(&case(&epochs(json!([1, 1]), json!([[1, 2], [1]]))), "row 1 of weights: 1 columns, not 2");
    refused(&case(&epochs(json!([-1]), json!([[1]]))), "stake: expected numbers of at least 0");
    for (name, value) in [("kappa", json!(1.5)), ("steepness", json!(1e9)), ("alpha_low", json!(0.95))] {
        let mut case = case(&json!([]));
        case[name] = value;
        refused(&case, name);
    }
    let mut case = case(&json!([]));
    case.as_object_mut().expect("an object").remove("kappa");
    refused(&case, "missing field `kappa`");
}

#[test]
fn a_reader_that_goes_early_gets_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let epochs: Vec<Value> =
        (0..2000).map(|_| json!({ "stake": [1, 1], "weights": [[1, 2], [2, 1]] })).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["epoch", &written(folder.path(), &case(&json!(epochs)))])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(2), ""));
}
