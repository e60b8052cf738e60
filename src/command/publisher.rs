//! `publish` and `seed`: commands of a program of its own, which this one only starts.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Why the publisher was not started.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// It is nowhere.
    #[error(
        "{PROGRAM} is neither beside this program nor in PATH. It is built with `cargo build --release -p \
         {PROGRAM}`; copy target/release/{PROGRAM} beside margay"
    )]
    Absent,
    /// It is there and does not start.
    #[error("cannot start {}", program.display())]
    Start {
        /// Where it is.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Goes on as the publisher, with these arguments; comes back only with an error.
pub fn run(arguments: &[OsString]) -> PublisherError {
    // Without a folder the system looks in PATH (execvp(3)).
    let program = beside().unwrap_or_else(|| PROGRAM.into());
    let source = Command::new(&program).args(arguments).exec();
    match source.kind() {
        io::ErrorKind::NotFound => PublisherError::Absent,
        _ => PublisherError::Start { program, source },
    }
}

/// The publisher in the folder of this program.
fn beside() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    program.is_file().then_some(program)
}

/// The publisher.
const PROGRAM: &str = "margay-publish";
