//! The log: one line for each event that an operator acts on, to standard error.

mod daily;
mod filter;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

pub use daily::Daily;
pub use filter::{LogFilter, LogFormat};

/// Sends events, and those of libraries that use the `log` crate, to standard error from here on.
///
/// Call it once, at start; a second call changes nothing.
pub fn start(filter: &LogFilter, format: LogFormat) {
    let surroundings = Surroundings { terminal: io::stderr().is_terminal(), journal: in_journal() };
    // An error means that somebody else has set a log up, as the tests of an embedder may.
    let _ = subscriber(filter, format, surroundings, io::stderr).try_init();
}

/// Where standard error goes.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    terminal: bool,
    journal: bool,
}

fn subscriber<W>(
    filter: &LogFilter,
    format: LogFormat,
    surroundings: Surroundings,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(surroundings.terminal);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Human if surroundings.journal => lines.without_time().boxed(),
        LogFormat::Human => lines.boxed(),
    };
    registry().with(lines.with_filter(filter.targets().clone()))
}

/// True when standard error goes to systemd's journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn in_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let file = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let metadata = file.and_then(|file| file.metadata());
    metadata.is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

/// An error with all its causes on one line, for the log.
pub struct ErrorChain<'e>(pub &'e dyn std::error::Error);

impl std::fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Checks what is written of one event, without its time.
    fn check(filter: &str, format: LogFormat, journal: bool, expected: &str) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let surroundings = Surroundings { terminal: false, journal };
        let filter = LogFilter::parse(filter).unwrap();
        let subscriber = subscriber(&filter, format, surroundings, {
            let written = Arc::clone(&written);
            move || Sink(Arc::clone(&written))
        });
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "margay", torrents = 7, "ready");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with(expected) && text.is_empty() == expected.is_empty(), "{text}");
        assert_eq!(text == expected, journal || expected.is_empty(), "the time: {text}");
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_a_line() {
        check("info", LogFormat::Human, false, "Z  INFO margay: ready torrents=7\n");
        check("info", LogFormat::Human, true, " INFO margay: ready torrents=7\n");
        let json =
            "Z\",\"level\":\"INFO\",\"message\":\"ready\",\"torrents\":7,\"target\":\"margay\"}\n";
        check("info", LogFormat::Json, false, json);
        check("warn", LogFormat::Human, false, "");
        check("off,margay=info", LogFormat::Human, true, " INFO margay: ready torrents=7\n");
    }
}
