//! EZKL in a virtual environment: `peers/ezkl_run.py` runs it and tells what each stage takes, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Scale, srs};
use crate::models::{self, Source};
use crate::prove::median;

/// The version that is measured.
const VERSION: &str = "23.0.5";
/// What the environment has to have, from the root of the repository.
const REQUIREMENTS: &str = "bench/peers/requirements.txt";
const SCRIPT: &str = "bench/peers/ezkl_run.py";
/// Interpreters that may make an environment, the preferred one first.
const INTERPRETERS: [&str; 2] = ["python3.11", "python3"];
/// Lines of its log that are shown when it fails.
const SHOWN: usize = 12;

/// An environment with EZKL.
pub struct Ezkl {
    root: PathBuf,
}

/// What one run took; times are medians in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Version of the package.
    pub version: String,
    /// Bits after the point.
    pub scale: u32,
    /// Whether EZKL chose them itself.
    pub calibrated: bool,
    /// Rows of its circuit, and the logarithm of its domain's size.
    pub rows: Option<u64>,
    /// The domain has `2^log_rows` points.
    pub log_rows: u32,
    /// From the model to settings and circuit, the calibration included.
    pub import_seconds: f64,
    /// Both keys.
    pub setup_seconds: f64,
    /// Quantised inference.
    pub witness_seconds: f64,
    /// From the witness to the proof.
    pub prove_seconds: f64,
    /// Every run.
    pub prove_runs_seconds: Vec<f64>,
    /// One proof.
    pub verify_seconds: f64,
    /// What is told at the end.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// Bytes of what was made, and of memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sizes {
    /// A proof.
    pub proof_bytes: u64,
    /// The verifying key.
    pub verifying_key_bytes: u64,
    /// The proving key.
    pub proving_key_bytes: u64,
    /// Greatest resident size of the process that makes keys and proofs and checks them.
    pub peak_bytes: u64,
}

#[derive(Deserialize)]
struct Circuit {
    version: String,
    scale: u32,
    rows: Option<u64>,
    log_rows: u32,
}

/// What a step told: seconds of its stages in order, and everything else.
#[derive(Default)]
struct Told {
    stages: Vec<(String, f64)>,
    figures: Map<String, Value>,
}

impl Ezkl {
    /// Finds the environment, makes it if it is missing, and checks its version.
    pub fn ready() -> Result<Self> {
        let ezkl = Self { root: models::root() };
        if ezkl.version().is_none() {
            ezkl.install()?;
        }
        match ezkl.version() {
            Some(version) if version == VERSION => Ok(ezkl),
            Some(version) => {
                bail!(".venv holds ezkl {version}, expected {VERSION}: remove .venv and try again")
            }
            None => bail!("ezkl was installed into .venv, but `import ezkl, numpy, onnx` fails there"),
        }
    }

    /// Version of the package in the environment; none if something is missing.
    fn version(&self) -> Option<String> {
        let look = ["-c", "import ezkl, numpy, onnx; print(ezkl.__version__)"];
        let output = Command::new(self.python()).args(look).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn python(&self) -> PathBuf {
        self.root.join(models::PYTHON)
    }

    fn install(&self) -> Result<()> {
        let by_hand = format!("by hand: python3.11 -m venv .venv && .venv/bin/pip install -r {REQUIREMENTS}");
        if !self.python().exists() {
            eprintln!("making the virtual environment .venv");
            let made = INTERPRETERS.iter().any(|interpreter| {
                let ran =
                    Command::new(interpreter).args(["-m", "venv", ".venv"]).current_dir(&self.root).status();
                ran.is_ok_and(|status| status.success())
            });
            ensure!(
                made,
                "EZKL is a Python package, and no virtual environment could be made: install Python 3.11 or later with its venv module (Debian: python3-venv); {by_hand}"
            );
        }
        eprintln!("installing ezkl {VERSION} into .venv");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS];
        let ran = Command::new(self.python()).args(pip).current_dir(&self.root).status();
        ensure!(
            ran.is_ok_and(|status| status.success()),
            "pip could not install {REQUIREMENTS}, which needs a connection to PyPI and Python 3.11 or later; {by_hand}"
        );
        Ok(())
    }

    /// Measures one model at one scale.
    pub fn run(&self, source: &Source, scale: Scale, runs: u32) -> Result<Figures> {
        let name = format!("ezkl {} {scale}", source.name);
        // Beside other builds rather than in a temporary folder, which may be in memory: keys take gigabytes.
        let parent = self.root.join("target");
        std::fs::create_dir_all(&parent).context("target")?;
        let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(parent).context("target")?;
        let model = source.path.canonicalize().with_context(|| source.path.display().to_string())?;

        let mut circuit = self.step("circuit", folder.path());
        circuit.arg("--model").arg(model);
        if let Scale::Bits(bits) = scale {
            circuit.args(["--scale", &bits.to_string()]);
        }
        let prepared = follow(circuit, &name, folder.path())?;
        let Circuit { version, scale: bits, rows, log_rows } = prepared.figures()?;

        let progress = Progress::new(&name);
        progress.begins(&format!("reference string for 2^{log_rows} rows"));
        let file = File::create(folder.path().join("kzg.srs")).context("reference string")?;
        srs::write(log_rows, BufWriter::with_capacity(1 << 20, file)).context("reference string")?;

        let mut prove = self.step("prove", folder.path());
        prove.args(["--runs", &runs.to_string()]);
        let proven = follow(prove, &name, folder.path())?;
        Ok(Figures {
            version,
            scale: bits,
            calibrated: scale == Scale::Calibrated,
            rows,
            log_rows,
            import_seconds: prepared.stages.iter().map(|(_, seconds)| seconds).sum(),
            setup_seconds: proven.median("setup")?,
            witness_seconds: proven.median("witness")?,
            prove_seconds: proven.median("prove")?,
            prove_runs_seconds: proven.seconds("prove").collect(),
            verify_seconds: proven.median("verify")?,
            sizes: proven.figures()?,
        })
    }

    fn step(&self, step: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.python());
        command.arg(self.root.join(SCRIPT)).arg(step).arg("--folder").arg(folder);
        command
    }
}

/// Runs a step to its end; its log goes to a file, of which the end is shown if it fails.
fn follow(mut command: Command, name: &str, folder: &Path) -> Result<Told> {
    let path = folder.join("log");
    let log = File::create(&path).context("the log of ezkl")?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().context("python")?;
    let progress = Progress::new(name);
    let mut told = Told::default();
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        told.line(&line.context("what ezkl_run.py says")?, &progress)?;
    }
    let status = child.wait().context("python")?;
    if status.success() {
        return Ok(told);
    }
    let log = std::fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    bail!("{name} failed: {}\n{end}", reason(status));
}

fn reason(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(9) => "it was killed, as the system does when memory is out".into(),
        _ => status.to_string(),
    }
}

impl Told {
    fn line(&mut self, line: &str, progress: &Progress) -> Result<()> {
        // The package itself may print something too.
        let Ok(mut figures) = serde_json::from_str::<Map<String, Value>>(line) else { return Ok(()) };
        let stage = figures.remove("stage").and_then(|stage| Some(stage.as_str()?.to_owned()));
        match (stage, figures.remove("seconds").and_then(|seconds| seconds.as_f64())) {
            (Some(stage), Some(seconds)) => {
                progress.ended(&stage, seconds);
                self.stages.push((stage, seconds));
            }
            (Some(stage), None) => progress.begins(&stage),
            (None, _) => self.figures.extend(figures),
        }
        Ok(())
    }

    fn seconds(&self, stage: &str) -> impl Iterator<Item = f64> {
        self.stages.iter().filter(move |(other, _)| other == stage).map(|(_, seconds)| *seconds)
    }

    fn median(&self, stage: &str) -> Result<f64> {
        let mut seconds: Vec<f64> = self.seconds(stage).collect();
        ensure!(!seconds.is_empty(), "ezkl_run.py told nothing of its stage {stage}");
        Ok(median(&mut seconds))
    }

    fn figures<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.figures.clone())).context("what ezkl_run.py says")
    }
}

/// The stage at work: a clock on a terminal, a line elsewhere.
struct Progress {
    name: String,
    clock: ProgressBar,
}

impl Progress {
    fn new(name: &str) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let clock =
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        clock.enable_steady_tick(Duration::from_millis(200));
        Self { name: name.to_owned(), clock }
    }

    fn begins(&self, stage: &str) {
        self.clock.set_message(format!("{}: {stage}", self.name));
        self.clock.reset_elapsed();
        if self.clock.is_hidden() {
            eprintln!("{}: {stage} ..", self.name);
        }
    }

    fn ended(&self, stage: &str, seconds: f64) {
        self.clock.suspend(|| eprintln!("{}: {stage} {seconds:.2} s", self.name));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clock.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let (mut told, progress) = (Told::default(), Progress::new("test"));
        lines.iter().for_each(|line| told.line(line, &progress).unwrap());
        told
    }

    #[test]
    fn stages_and_figures_are_read_line_by_line_and_other_lines_passed_over() {
        let told = told(&[
            r#"{"stage": "prove"}"#,
            r#"{"stage": "prove", "seconds": 3.0}"#,
            "spawning module 2",
            r#"{"stage": "prove", "seconds": 1.0}"#,
            r#"{"stage": "prove", "seconds": 2.0}"#,
            r#"{"version": "23.0.5", "scale": 7, "rows": null, "log_rows": 16}"#,
        ]);
        assert_eq!(told.median("prove").unwrap(), 2.0);
        assert!(told.median("setup").is_err());
        let circuit: Circuit = told.figures().unwrap();
        assert_eq!((circuit.log_rows, circuit.scale, circuit.rows), (16, 7, None));
        assert!(told.figures::<Sizes>().is_err());
    }

    #[test]
    fn a_step_that_fails_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 40 >&2; exit 3"]);
        let error = follow(command, "ezkl test", folder.path()).err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("39\n40"), "{error}");
        assert!(!error.contains("\n28\n"), "{error}");
    }
}
