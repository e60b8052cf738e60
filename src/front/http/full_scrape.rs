//! Full scrapes (BEP 48) over HTTP: a file goes out in pieces, at the pace of its reader.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::sleep;
use ops::counters::Protocol;
use shard::Seconds;

use super::conversation::Conversation;
use super::requests::Next;
use crate::core::mesh::edition::Body;
use crate::core::{Refused, SOON, family};
use crate::front::Core;
use crate::front::http::shelf::Loan;
use crate::net::stream;
use crate::wire::http::{Failure, Framing, Head, Retry, write_body_head, write_failure};

/// Bytes read and sent at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Time between two pieces for one reader, in which the core serves others: at most 32 MiB a second.
const CHUNK_PAUSE: Duration = Duration::from_millis(2);

/// A reader who takes less a second, all in all, is cut off.
const READER_RATE_MIN: u64 = 256 * 1024;

impl Core {
    /// Answers a full scrape; `Some` when the connection has to be held for it.
    pub(super) fn hear_full_scrape(
        &mut self,
        head: &Head<'_>,
        framing: Framing,
        remote: IpAddr,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        if !self.engine.settings.full_scrape {
            self.refuse_query(remote, framing, &"Full scrape is not available here", out);
            return None;
        }
        let front = self.engine.counters.front(Protocol::Http, family(remote));
        match self.desk.shelf.lend(head.accepts_gzip()) {
            Ok(loan) => {
                front.scrapes += 1;
                if !framing.head_only {
                    return Some(Next::FullScrape(loan, framing));
                }
                write_body_head(out, framing, loan.coding(), loan.body().bytes);
            }
            Err(not_lent) => {
                let refused = Refused::FullScrape(not_lent);
                front.refuse(refused.reason());
                let intervals = Some((SOON, SOON));
                let retry = Some(Retry::Minutes(SOON.0 / 60));
                write_failure(out, framing, &Failure { reason: &refused, intervals, retry });
            }
        }
        None
    }
}

impl Conversation {
    /// Sends the full scrape. Each piece has the time of a request, all of them together as much and
    /// what a slow connection needs. An error is the client's end of it, or the disk's.
    pub(super) async fn recite(&mut self, loan: &Loan, framing: Framing) -> io::Result<()> {
        let Body { file, bytes } = loan.body();
        let file = stream::adopt_file(file.try_clone()?);
        write_body_head(&mut self.output, framing, loan.coding(), *bytes);
        self.set_last_deadline(Seconds((bytes / READER_RATE_MIN) as u32));
        let sent = self.send_all_of(&file, *bytes).await;
        self.clear_last_deadline();
        // The loan has the file open as well: this frees a number and no more.
        let _ = file.close().await;
        sent
    }

    async fn send_all_of(&mut self, file: &BufferedFile, bytes: u64) -> io::Result<()> {
        let mut at = 0;
        loop {
            let piece = file.read_at(at, CHUNK_BYTES).await?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += piece.len() as u64;
            self.output.extend_from_slice(&piece);
            drop(piece);
            self.send().await?;
            if at >= bytes {
                return Ok(());
            }
            sleep(CHUNK_PAUSE).await;
        }
    }
}
