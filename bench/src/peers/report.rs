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
    proving_key_bytes: f64,
    peak_bytes: f64,
}

/// The figures of a model.
#[derive(Debug, Serialize)]
pub struct Comparison {
    model: String,
    /// The scale at which EZKL proves fastest.
    better_scale: u32,
    ratios: Ratios,
    /// As `prove` reports them.
    assay: Value,
    ezkl: Vec<Figures>,
}

impl Comparison {
    /// Compares a report of `prove` with one or more runs of EZKL.
    pub fn new(assay: Value, ezkl: Vec<Figures>) -> Result<Self> {
        let model = assay["model"].as_str().context("the report names no model")?.to_owned();
        let better = ezkl.iter().min_by(|a, b| a.prove_seconds.total_cmp(&b.prove_seconds));
        let better = better.context("EZKL was not run")?;
        let ratio = |theirs: f64, name: &str| Ok::<_, anyhow::Error>(theirs / number(&assay, name)?);
        let ratios = Ratios {
            setup: ratio(better.setup_seconds, "setup_seconds")?,
            prove: ratio(better.prove_seconds, "prove_seconds")?,
            verify: ratio(better.verify_seconds, "verify_seconds")?,
            proof_bytes: ratio(better.sizes.proof_bytes as f64, "proof_bytes")?,
            proving_key_bytes: ratio(better.sizes.proving_key_bytes as f64, "proving_key_bytes")?,
            peak_bytes: better.sizes.peak_bytes as f64 / peak(&assay)?,
        };
        Ok(Self { model, better_scale: better.scale, ratios, assay, ezkl })
    }

    /// For people.
    pub fn table(&self) -> Table {
        let runs = self.ezkl.iter().map(|run| {
            let how = if run.calibrated { "calibrated, " } else { "" };
            format!("EZKL {} {how}scale {}", run.version, run.scale)
        });
        let ratio = format!("EZKL scale {} / assay", self.better_scale);
        let header: Vec<String> =
            std::iter::once(self.model.clone()).chain(runs).chain(["assay".into(), ratio]).collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut table = table(&header, &(1..header.len()).collect::<Vec<_>>());
        let ours = |name: &str| number(&self.assay, name).unwrap_or(f64::NAN);
        let mut row = |name: &str, theirs: &dyn Fn(&Figures) -> String, ours: String, ratio: Option<f64>| {
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}"));
            let theirs = self.ezkl.iter().map(theirs);
            table.add_row(std::iter::once(name.to_owned()).chain(theirs).chain([ours, ratio]));
        };
        let rows = |run: &Figures| run.rows.map_or_else(String::new, |rows| rows.to_string());
        row("rows", &rows, ours("constraints").to_string(), None);
        row("domain", &|run| format!("2^{}", run.log_rows), ours("domain").to_string(), None);
        row("setup", &|run| time(run.setup_seconds), time(ours("setup_seconds")), Some(self.ratios.setup));
        row("prove", &|run| time(run.prove_seconds), time(ours("prove_seconds")), Some(self.ratios.prove));
        row(
            "verify",
            &|run| time(run.verify_seconds),
            time(ours("verify_seconds")),
            Some(self.ratios.verify),
        );
        let proof = |run: &Figures| bytes(run.sizes.proof_bytes as f64);
        row("proof", &proof, bytes(ours("proof_bytes")), Some(self.ratios.proof_bytes));
        let key = |run: &Figures| bytes(run.sizes.verifying_key_bytes as f64);
        row("verifying key", &key, bytes(ours("verifying_key_bytes")), None);
        let key = |run: &Figures| bytes(run.sizes.proving_key_bytes as f64);
        row("proving key", &key, bytes(ours("proving_key_bytes")), Some(self.ratios.proving_key_bytes));
        let memory = |run: &Figures| bytes(run.sizes.peak_bytes as f64);
        let own = peak(&self.assay).map_or_else(|_| String::new(), bytes);
        row("peak memory", &memory, own, Some(self.ratios.peak_bytes));
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
            "model": "mlp", "constraints": 1533, "domain": 1536, "setup_seconds": 0.1, "prove_seconds": 0.02,
            "verify_seconds": 0.002, "proof_bytes": 160, "verifying_key_bytes": 25888,
            "proving_key_bytes": 500000, "setup_peak_bytes": 30e6, "prove_peak_bytes": 40e6,
        })
    }

    #[test]
    fn the_faster_scale_of_ezkl_is_compared_with() {
        let comparison = Comparison::new(report(), vec![run(13, 9.0), run(7, 10.0)]).unwrap();
        assert_eq!(comparison.better_scale, 13);
        assert!((comparison.ratios.prove - 450.0).abs() < 1e-9);
        let table = comparison.table().to_string();
        for part in ["mlp", "EZKL 23.0.5 scale 7", "20 ms", "450.0", "160 B"] {
            assert!(table.contains(part), "{part} in {table}");
        }
    }

    #[test]
    fn a_report_that_lacks_a_figure_is_refused() {
        for name in ["model", "prove_seconds", "setup_peak_bytes"] {
            let mut report = report();
            report[name] = Value::Null;
            assert!(Comparison::new(report, vec![run(7, 1.0)]).is_err(), "{name}");
        }
        assert!(Comparison::new(report(), vec![]).is_err());
    }
}
