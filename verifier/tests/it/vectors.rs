//! Rules against vectors of other implementations: the epoch function in floating point (`tests/vectors/yuma.py`), an escrow
//! (`tests/vectors/escrow.py`).

use assay_proto::job::Job;
use assay_proto::receipt::Verdict;
use assay_proto::transaction::Purpose;
use assay_verifier::fixed::Fixed;
use assay_verifier::locks::Locked;
use assay_verifier::yuma::{Liquid, Rules, epoch};
use serde_json::Value;

use crate::world::{World, client, miner, plain_job};

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

#[test]
fn an_escrow_goes_as_the_committed_vectors_say() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../vectors/escrow.json")).unwrap();
    for case in &cases {
        let mut world = World::with(|parameters| {
            (parameters.prepaid, parameters.emission, parameters.hold_blocks) = (1, 0, 0);
            parameters.unbonding_blocks = case["unbonding_blocks"].as_u64().unwrap();
        });
        world.commit(vec![world.register_miner(0)]);
        assert_eq!(Some(world.balance(&client(0))), case["balance"].as_u64());
        for (step, nonce) in case["steps"].as_array().unwrap().iter().zip(1..) {
            let amount = step["amount"].as_u64().unwrap();
            let transaction = match step["step"].as_str() {
                None => None,
                Some("deposit") => Some(world.lock(&client(0), Purpose::Escrow, amount)),
                Some("withdraw") => Some(world.unlock(&client(0), Purpose::Escrow, amount)),
                Some(_) => {
                    let job = Job { max_price: amount, ..plain_job(nonce) };
                    let attempt = world.attempt(client(0).sign(&world.chain, job), miner(0));
                    Some(world.signed_receipt(world.receipt(&attempt, Verdict::Verified), 1))
                }
            };
            let included = transaction.filter(|transaction| {
                let proposal = world.propose(std::slice::from_ref(transaction));
                proposal.dropped.is_empty()
            });
            assert_eq!(included.is_some(), step["taken"].as_bool().unwrap(), "{step}");
            world.commit(included.into_iter().collect());
            assert_eq!(step["height"], world.state.head().height.0);
            let none = Locked::default();
            let escrow = world.state.lock(Purpose::Escrow, client(0).public_key()).unwrap_or(&none);
            let leaving: Vec<(u64, u64)> =
                escrow.leaving.iter().map(|(height, part)| (height.0, *part)).collect();
            let expected: Vec<(u64, u64)> = serde_json::from_value(step["leaving"].clone()).unwrap();
            assert_eq!((&step["locked"], expected), (&Value::from(escrow.amount), leaving), "{step}");
            assert_eq!(step["balance"], world.balance(&client(0)), "{step}");
            assert_eq!(step["paid"], world.balance(&miner(0)), "{step}");
        }
    }
}
