//! The tokens as a running tracker knows them, and who is let in.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shard::Seconds;

use super::{Entry, FILE, Name, Token, TokenError, Tokens, leave_local};
use crate::api::Failure;

/// The file of tokens as a tracker knows it: read again whenever it has changed.
#[derive(Debug)]
pub struct Gate {
    data: PathBuf,
    local: Tokens,
    read: Mutex<(Option<Stamp>, Tokens)>,
}

/// What tells one state of a file from another: each is a file of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Gate {
    /// The gate of the tracker with this data folder, with a new token for operators on the same machine.
    pub fn open(data: &Path, now: Seconds) -> Result<Self, TokenError> {
        let local = leave_local(data)?;
        let name = Name("local".to_owned());
        let local = Tokens(vec![Entry::of(name, now, &local)]);
        let gate = Self { data: data.to_owned(), local, read: Mutex::default() };
        // What is wrong with the file is to be said now, and not at the first request.
        gate.refresh(&mut gate.lock());
        Ok(gate)
    }

    /// Who asks with this `Authorization` (RFC 6750, section 2.1): the name of his token.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`], with what to do.
    pub fn admit(&self, authorization: Option<&str>) -> Result<Name, Failure> {
        let mut read = self.lock();
        self.refresh(&mut read);
        let Some(authorization) = authorization else {
            let none = if read.1.entries().is_empty() { " (there is none yet)" } else { "" };
            return Err(Failure::Unauthorized(format!(
                "this needs a token{none}: make one with `margay api-token create NAME` and send it as \
                 `Authorization: Bearer TOKEN`"
            )));
        };
        let token = authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| Token::given(token));
        let named = token.as_ref().and_then(|token| {
            let (local, made) = (self.local.name_of(token), read.1.name_of(token));
            made.or(local).cloned()
        });
        match named {
            Some(name) => Ok(name),
            None => Err(Failure::Unauthorized(
                "this token is not known here: it was revoked, or is of another tracker; `margay \
                 api-token list` shows those there are, `margay api-token create NAME` makes one"
                    .to_owned(),
            )),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Option<Stamp>, Tokens)> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self, read: &mut (Option<Stamp>, Tokens)) {
        let stamp = fs::metadata(self.data.join(FILE)).ok().map(|file| Stamp {
            inode: file.ino(),
            bytes: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        });
        if stamp == read.0 {
            return;
        }
        read.0 = stamp;
        match Tokens::read(&self.data) {
            Ok(tokens) => read.1 = tokens,
            Err(error) => {
                read.1 = Tokens::default();
                tracing::error!(%error, "the tokens of the API are good no longer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LOCAL_FILE, create, revoke};
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_gate_opens_to_what_the_file_has_now() {
        let data = tempfile::tempdir().unwrap();
        let gate = Gate::open(data.path(), Seconds(5)).unwrap();
        let bearer = |token: &Token| format!("Bearer {}", token.reveal());
        let why = |said: Option<&str>| gate.admit(said).unwrap_err().to_string();
        assert!(why(None).contains("there is none yet") && why(None).contains("create NAME"));
        let token = create(data.path(), name("site"), Seconds(1)).unwrap();
        assert!(!why(None).contains("none yet"));
        assert_eq!(gate.admit(Some(&bearer(&token))), Ok(name("site")));
        assert_eq!(gate.admit(Some(&format!("bearer  {}", token.reveal()))), Ok(name("site")));
        for wrong in ["", "Bearer", "Bearer ", token.reveal(), "Basic abc", "Bearer margay_00"] {
            assert!(why(Some(wrong)).contains("not known"), "{wrong}");
        }
        let local = fs::read_to_string(data.path().join(LOCAL_FILE)).unwrap();
        assert_eq!(gate.admit(Some(&bearer(&Token::given(&local).unwrap()))), Ok(name("local")));
        revoke(data.path(), &name("site")).unwrap();
        assert!(why(Some(&bearer(&token))).contains("revoked"));
        let token = create(data.path(), name("site"), Seconds(1)).unwrap();
        fs::write(data.path().join(FILE), "damage\n").unwrap();
        assert!(why(Some(&bearer(&token))).contains("not known"));
    }
}
