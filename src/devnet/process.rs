//! Processes of a network, and the one log of what they say.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const PAUSE: Duration = Duration::from_millis(50);

/// Lines of every process, each under its name.
#[derive(Clone)]
pub struct Log(Arc<Mutex<File>>);

impl Log {
    /// Goes on where an earlier run ended.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(Arc::new(Mutex::new(file.with_context(|| path.display().to_string())?))))
    }

    /// Writes a line.
    pub fn say(&self, name: &str, line: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written stops nobody.
        let _ = writeln!(file, "{name:12} | {line}");
    }
}

/// This program, run again as one of the network's parties.
pub struct Process {
    pub name: String,
    child: Child,
    said: mpsc::Receiver<String>,
    has_ended: bool,
}

impl Process {
    /// Starts it; what it says goes to the log.
    pub fn start(name: String, arguments: impl IntoIterator<Item = OsString>, log: &Log) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // As in `deploy/`: memory that one thread gave back serves the others.
        command.env("MALLOC_ARENA_MAX", "2");
        // Ctrl-C is for the network as a whole, which then stops its processes one by one.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().with_context(|| name.clone())?;
        let (say, said) = mpsc::channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>),
        ];
        for stream in streams.into_iter().flatten() {
            let (name, log, say) = (name.clone(), log.clone(), say.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.say(&name, &line);
                    // Nobody listens once it is up.
                    let _ = say.send(line);
                }
            });
        }
        Ok(Self { name, child, said, has_ended: false })
    }

    /// Waits for a line that begins so.
    pub async fn wait_for(&mut self, beginning: &str, time: Duration) -> Result<()> {
        let began = Instant::now();
        let mut last = String::new();
        loop {
            while let Ok(line) = self.said.try_recv() {
                if line.starts_with(beginning) {
                    return Ok(());
                }
                last = line;
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended: {status}: {last}", self.name);
            }
            ensure!(began.elapsed() < time, "{} did not say {beginning:?} in time", self.name);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets go of what it said: it is in the log.
    pub fn forget(&mut self) {
        while self.said.try_recv().is_ok() {}
    }

    /// How it ended, once.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.has_ended {
            return Ok(None);
        }
        let status = self.child.try_wait().with_context(|| self.name.clone())?;
        self.has_ended = status.is_some();
        Ok(status)
    }
}

/// Asks a process to end. The standard library can only kill.
pub fn terminate(id: u32) -> Result<()> {
    let status =
        Command::new("/bin/sh").arg("-c").arg(format!("kill -TERM {id}")).status().context("/bin/sh")?;
    ensure!(status.success(), "process {id} cannot be told to stop");
    Ok(())
}

/// Ends processes, the last one first: by asking, then by force.
pub fn stop_all(processes: Vec<Process>, time: Duration) {
    let until = Instant::now() + time;
    for mut process in processes.into_iter().rev() {
        if !process.has_ended
            && let Err(error) = terminate(process.child.id())
        {
            // It has gone in this moment, or is killed below.
            tracing::debug!(%error, name = process.name, "not asked to stop");
        }
        while Instant::now() < until && matches!(process.child.try_wait(), Ok(None)) {
            std::thread::sleep(PAUSE);
        }
        // Neither fails for a process that has ended.
        let _ = process.child.kill();
        let _ = process.child.wait();
    }
}
