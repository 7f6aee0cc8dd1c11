//! `assay-audit FILE [--json]`: verifies an exported log. Exit status 0 accepted, 1 rejected, 2 unreadable.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use assay_verifier::audit::{self, AuditError, Progress, report};
use assay_verifier::describe;
use assay_verifier::export::ExportError;

const USAGE: &str = "usage: assay-audit FILE [--json]\n\
    verifies a log exported by a validator; \"-\" reads standard input\n\
    exit status: 0 accepted, 1 rejected, 2 unreadable";

fn main() -> ExitCode {
    let mut files: Vec<OsString> = Vec::new();
    let mut json = false;
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--json") => json = true,
            Some("-h" | "--help") => return finish(USAGE, 0),
            Some(option) if option.starts_with("--") => {
                eprintln!("assay-audit: unknown option {option}\n{USAGE}");
                return ExitCode::from(2);
            }
            _ => files.push(argument),
        }
    }
    let [file] = files.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = run(file);
    let text = if json { report::render_json(&outcome) } else { report::render(&outcome) };
    if let Err(AuditError::Unreadable(error)) = &outcome {
        eprintln!("assay-audit: {}: {}", file.to_string_lossy(), describe(error));
    }
    finish(text.trim_end(), report::exit_code(&outcome))
}

fn run(file: &OsString) -> report::Outcome {
    let mut show = progress();
    if file == "-" {
        return audit::audit(std::io::stdin().lock(), &mut show);
    }
    let source = File::open(file).map_err(ExportError::Read)?;
    audit::audit(BufReader::with_capacity(1 << 20, source), &mut show)
}

/// One line on standard error, written over itself on a terminal.
fn progress() -> impl FnMut(Progress) {
    let terminal = stderr().is_terminal();
    move |progress| {
        let Progress { height, bytes, transactions } = progress;
        let line = format!("height {height}, {transactions} transactions, {} MiB", bytes >> 20);
        let end = if terminal { "\r" } else { "\n" };
        // Progress that cannot be shown stops nothing.
        let _ = write!(stderr(), "{line}{end}");
    }
}

fn finish(text: &str, code: u8) -> ExitCode {
    match writeln!(stdout(), "{text}") {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(2),
    }
}
