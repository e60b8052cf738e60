//! Files that come and go by system calls and coreutils.

use super::*;

#[test]
fn a_file_that_was_written_settles_and_goes() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "whole").unwrap();
    watched.publish("a", b"whole");
    fs::remove_file(watched.path("a")).unwrap();
    watched.until("a", |state| *state == State::Gone, is_changed);
}
