//! The program under test.

use std::process::Command;

/// A command line that begins with the program that cargo has built, or with the one that
/// `MARGAY_TEST_BINARY` names: built with a sanitizer, or of another commit.
pub(crate) fn margay() -> Command {
    let named = std::env::var_os("MARGAY_TEST_BINARY").filter(|path| !path.is_empty());
    Command::new(named.unwrap_or_else(|| env!("CARGO_BIN_EXE_margay").into()))
}
