//! Two sides and their ratios.

use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Serialize;
use serde_json::Value;

use super::ezkl::Figures;
use crate::table::table;

/// How many times our figure EZKL's is, at its better scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratios {
    setup: f64,
    prove: f64,
    verify: f64,
    proof_bytes: f64,
    /// None where the proof system has no file of a proving key.
    proving_key_bytes: Option<f64>,
    peak_bytes: f64,
}

/// One of our proof systems.
#[derive(Debug, Serialize)]
pub struct Ours {
    ratios: Ratios,
    /// As `prove` reports it.
    #[serde(flatten)]
    report: Value,
}

/// The figures of a model.
#[derive(Debug, Serialize)]
pub struct Comparison {
    model: String,
    peer: &'static str,
    /// The scale at which EZKL proves fastest.
    better_scale: u32,
    assay: Vec<Ours>,
    ezkl: Vec<Figures>,
}

impl Ours {
    fn new(report: Value, better: &Figures) -> Result<Self> {
        let ratio = |theirs: f64, name: &str| Ok::<_, anyhow::Error>(theirs / number(&report, name)?);
        let ratios = Ratios {
            setup: ratio(better.setup_seconds, "setup_seconds")?,
            prove: ratio(better.prove_seconds, "prove_seconds")?,
            verify: ratio(better.verify_seconds, "verify_seconds")?,
            proof_bytes: ratio(better.sizes.proof_bytes as f64, "proof_bytes")?,
            proving_key_bytes: ratio(better.sizes.proving_key_bytes as f64, "proving_key_bytes").ok(),
            peak_bytes: better.sizes.peak_bytes as f64 / peak(&report)?,
        };
        Ok(Self { ratios, report })
    }

    /// Of what `new` asked for, and of sizes.
    fn figure(&self, name: &str) -> f64 {
        number(&self.report, name).unwrap_or(f64::NAN)
    }

    fn system(&self) -> &str {
        self.report["system"].as_str().unwrap_or_default()
    }
}

impl Comparison {
    /// Compares reports of `prove` with one or more runs of EZKL.
    pub fn new(assay: Vec<Value>, ezkl: Vec<Figures>) -> Result<Self> {
        let first = assay.first().context("nothing of ours was run")?;
        let model = first["model"].as_str().context("the report names no model")?.to_owned();
        let better = ezkl.iter().min_by(|a, b| a.prove_seconds.total_cmp(&b.prove_seconds));
        let better = better.context("EZKL was not run")?;
        let better_scale = better.scale;
        let assay = assay.into_iter().map(|report| Ours::new(report, better)).collect::<Result<_>>()?;
        Ok(Self { model, peer: "EZKL", better_scale, assay, ezkl })
    }

    /// For people.
    pub fn table(&self) -> Table {
        let theirs = self.ezkl.iter().map(|run| {
            let how = if run.calibrated { "calibrated, " } else { "" };
            format!("EZKL {} {how}scale {}", run.version, run.scale)
        });
        let ours = self.assay.iter().flat_map(|ours| [ours.system().to_owned(), "ratio".into()]);
        let header: Vec<String> = std::iter::once(self.model.clone()).chain(theirs).chain(ours).collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut table = table(&header, &(1..header.len()).collect::<Vec<_>>());
        type Theirs = fn(&Figures) -> String;
        type Own = fn(&Ours) -> (String, Option<f64>);
        let rows: [(&str, Theirs, Own); 9] = [
            (
                "rows",
                |run| run.rows.map_or_else(String::new, |rows| rows.to_string()),
                |ours| (ours.figure("constraints").to_string(), None),
            ),
            (
                "domain",
                |run| (1u64 << run.log_rows).to_string(),
                |ours| (ours.figure("domain").to_string(), None),
            ),
            (
                "setup",
                |run| time(run.setup_seconds),
                |ours| (time(ours.figure("setup_seconds")), Some(ours.ratios.setup)),
            ),
            (
                "prove",
                |run| time(run.prove_seconds),
                |ours| (time(ours.figure("prove_seconds")), Some(ours.ratios.prove)),
            ),
            (
                "verify",
                |run| time(run.verify_seconds),
                |ours| (time(ours.figure("verify_seconds")), Some(ours.ratios.verify)),
            ),
            (
                "proof",
                |run| bytes(run.sizes.proof_bytes as f64),
                |ours| (bytes(ours.figure("proof_bytes")), Some(ours.ratios.proof_bytes)),
            ),
            (
                "verifying key",
                |run| bytes(run.sizes.verifying_key_bytes as f64),
                |ours| (bytes(ours.figure("verifying_key_bytes")), None),
            ),
            (
                "proving key",
                |run| bytes(run.sizes.proving_key_bytes as f64),
                |ours| match ours.ratios.proving_key_bytes {
                    Some(ratio) => (bytes(ours.figure("proving_key_bytes")), Some(ratio)),
                    None => ("in memory".into(), None),
                },
            ),
            (
                "peak memory",
                |run| bytes(run.sizes.peak_bytes as f64),
                |ours| (bytes(peak(&ours.report).unwrap_or(f64::NAN)), Some(ours.ratios.peak_bytes)),
            ),
        ];
        for (name, theirs, own) in rows {
            let own = self.assay.iter().flat_map(|ours| {
                let (figure, ratio) = own(ours);
                [figure, ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}"))]
            });
            table.add_row(std::iter::once(name.to_owned()).chain(self.ezkl.iter().map(theirs)).chain(own));
        }
        table
    }
}

fn number(report: &Value, name: &str) -> Result<f64> {
    report[name].as_f64().with_context(|| format!("the report says nothing of {name}"))
}

/// The greater one of setup's and proving's.
fn peak(report: &Value) -> Result<f64> {
    Ok(number(report, "setup_peak_bytes")?.max(number(report, "prove_peak_bytes")?))
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.2} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

fn bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1e4 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::peers::ezkl::Sizes;

    fn run(scale: u32, prove_seconds: f64) -> Figures {
        let sizes = Sizes {
            proof_bytes: 16_000,
            verifying_key_bytes: 50_000,
            proving_key_bytes: 250_000_000,
            peak_bytes: 800_000_000,
        };
        Figures {
            version: "23.0.5".into(),
            scale,
            calibrated: false,
            rows: Some(60_000),
            log_rows: 16,
            import_seconds: 1.0,
            setup_seconds: 7.0,
            witness_seconds: 0.1,
            prove_seconds,
            prove_runs_seconds: vec![prove_seconds],
            verify_seconds: 0.05,
            sizes,
        }
    }

    fn report() -> Value {
        json!({
            "model": "mlp", "system": "groth16", "constraints": 1533, "domain": 1536, "setup_seconds": 0.1, "prove_seconds": 0.02,
            "verify_seconds": 0.002, "proof_bytes": 160, "verifying_key_bytes": 25888,
            "proving_key_bytes": 500000, "setup_peak_bytes": 30e6, "prove_peak_bytes": 40e6,
        })
    }

    #[test]
    fn the_faster_scale_of_ezkl_is_compared_with() {
        let mut halo2 = report();
        (halo2["system"], halo2["prove_seconds"]) = ("halo2".into(), 1.0.into());
        halo2["proving_key_bytes"] = Value::Null;
        let comparison = Comparison::new(vec![report(), halo2], vec![run(13, 9.0), run(7, 10.0)]).unwrap();
        assert_eq!(comparison.better_scale, 13);
        assert!((comparison.assay[0].ratios.prove - 450.0).abs() < 1e-9);
        assert!((comparison.assay[1].ratios.prove - 9.0).abs() < 1e-9);
        let table = comparison.table().to_string();
        for part in ["mlp", "EZKL 23.0.5 scale 7", "20 ms", "450.0", "160 B", "halo2", "9.0", "in memory"] {
            assert!(table.contains(part), "{part} in {table}");
        }
    }

    #[test]
    fn a_report_that_lacks_a_figure_is_refused() {
        for name in ["model", "prove_seconds", "setup_peak_bytes"] {
            let mut report = report();
            report[name] = Value::Null;
            assert!(Comparison::new(vec![report], vec![run(7, 1.0)]).is_err(), "{name}");
        }
        assert!(Comparison::new(vec![report()], vec![]).is_err());
        assert!(Comparison::new(vec![], vec![run(7, 1.0)]).is_err());
    }
}
