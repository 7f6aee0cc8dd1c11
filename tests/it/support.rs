//! Runs the program, and keeps what its commands need in one folder.

pub mod network;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use assay_circuits::ir::Graph;
use assay_circuits::samples;
use ndarray::ArrayD;
use ndarray_npy::WriteNpyExt;
use serde_json::Value;

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Demands success; what was printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Demands success and one JSON object.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Demands one line on standard error that says `why`, beside what a service logs, nothing on standard output, exit
    /// code 2.
    #[track_caller]
    pub fn refused(self, why: &str) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.contains("INFO")).collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("error: ") && line.contains(why)),
            "{why}: {self:?}"
        );
    }
}

/// Runs a command to its end.
pub fn assay<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Ran {
    let output =
        Command::new(env!("CARGO_BIN_EXE_assay")).args(arguments).output().expect("the program starts");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Runs a command given as one line; words are split at blanks.
#[macro_export]
macro_rules! assay {
    ($($line:tt)*) => {
        $crate::support::assay(format!($($line)*).split_whitespace())
    };
}

/// A program that runs until it is stopped; killed when dropped.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
    /// Kept open, so that the program can go on printing.
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Service {
    /// Starts it and waits for its address, and for `also` if given.
    #[track_caller]
    pub fn start(line: &str, also: Option<&str>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        while stdout.read_line(&mut said).expect("UTF-8") > 0 {
            let last = said.lines().last().unwrap_or_default();
            if also.map_or_else(|| last.starts_with("listening on "), |also| last.starts_with(also)) {
                break;
            }
        }
        let address = said.lines().find_map(|line| line.strip_prefix("listening on ")).map(str::parse);
        let Some(Ok(address)) = address else {
            let mut errors = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
            panic!("{line}: {said}{errors}");
        };
        // Logs must go somewhere, or the program stops when the pipe is full.
        let mut stderr = child.stderr.take().expect("piped");
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { child, address, _stdout: stdout }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }

    /// SIGTERM; the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(sent.success());
        self.child.wait().expect("ended").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a small model, its keys and an input.
pub struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// `digits.assay`, `keys/digits.pk`, `keys/digits.vk` and `x.npy`; the model has one input `x` of 1x1x6x6 and one
    /// output `y` of 3.
    pub fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.model("digits", &model());
        files.tensor("x.npy", &[1, 1, 6, 6], &input(0));
        let (model, keys) = (files.path("digits.assay"), files.path("keys"));
        assay!("setup {model} -o {keys}").ok();
        files
    }

    /// A path as text; no blanks are in it.
    pub fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("read")
    }

    pub fn model(&self, name: &str, graph: &Graph) {
        self.write(&format!("{name}.assay"), &graph.to_bytes());
    }

    pub fn tensor(&self, name: &str, shape: &[usize], values: &[f32]) {
        let array = ArrayD::from_shape_vec(shape, values.to_vec()).expect("shape");
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).expect("npy");
        self.write(name, &bytes);
    }

    /// Makes a secret key; its public key.
    pub fn key(&self, name: &str) -> String {
        let path = self.path(name);
        assay!("key new -o {path}").ok().trim().to_owned()
    }
}

/// The model of the tests.
pub fn model() -> Graph {
    samples::convolution()
}

/// An input of the model; others for other numbers.
pub fn input(number: u32) -> Vec<f32> {
    (0..36).map(|i| ((i * 7 + number * 11 + number * i) % 64) as f32).collect()
}
