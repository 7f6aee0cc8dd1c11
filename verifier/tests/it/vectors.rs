//! The epoch function against vectors that another implementation computed in floating point: `tests/vectors/yuma.py`.

use assay_verifier::fixed::Fixed;
use assay_verifier::yuma::{Liquid, Rules, epoch};
use serde_json::Value;

/// Greatest difference of a number.
const TOLERANCE: f64 = 1e-6;

fn number(case: &Value, name: &str) -> Fixed {
    let ppm = case[name].as_f64().unwrap() * 1e6;
    Fixed::of_ppm(ppm.round() as u64)
}

fn row(values: &Value) -> Vec<u64> {
    values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
}

fn rows(values: &Value) -> Vec<Vec<u64>> {
    values.as_array().unwrap().iter().map(row).collect()
}

fn assert_near(what: &str, got: &[Fixed], expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        let (got, expected) = (got.to_string().parse::<f64>().unwrap(), expected.as_f64().unwrap());
        assert!((got - expected).abs() <= TOLERANCE, "{what}: {got}, expected {expected}");
    }
}

#[test]
fn the_epoch_function_gives_the_committed_vectors() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../vectors/yuma.json")).unwrap();
    assert_eq!(vectors.len(), 10);
    for vector in &vectors {
        let (case, name) = (&vector["input"], vector["name"].as_str().unwrap());
        let liquid = Liquid {
            low: number(case, "alpha_low"),
            high: number(case, "alpha_high"),
            steepness: number(case, "steepness"),
        };
        let rules = Rules {
            kappa: number(case, "kappa"),
            floor: Fixed::ZERO,
            bonds_penalty: number(case, "bonds_penalty"),
            rate: Fixed::ONE.minus(number(case, "bonds_moving_average")),
            liquid: case["liquid_alpha"].as_bool().unwrap().then_some(liquid),
        };
        let epochs = case["epochs"].as_array().unwrap();
        let mut bonds = Vec::new();
        for (index, (entry, expected)) in
            epochs.iter().zip(vector["output"]["epochs"].as_array().unwrap()).enumerate()
        {
            let outcome = epoch(&rules, &row(&entry["stake"]), &rows(&entry["weights"]), &bonds);
            let what = |part: &str| format!("{name}, epoch {index}, {part}");
            assert_near(&what("consensus"), &outcome.consensus, &expected["consensus"]);
            assert_near(&what("incentive"), &outcome.incentive, &expected["incentive"]);
            assert_near(&what("dividends"), &outcome.dividends, &expected["dividends"]);
            assert_near(&what("trust"), &outcome.validator_trust, &expected["validator_trust"]);
            for (row, expected) in outcome.bonds.iter().zip(expected["bonds"].as_array().unwrap()) {
                let row: Vec<Fixed> = row.iter().map(|&bond| Fixed::of_u16(bond)).collect();
                assert_near(&what("bonds"), &row, expected);
            }
            bonds = outcome.bonds;
        }
    }
}
