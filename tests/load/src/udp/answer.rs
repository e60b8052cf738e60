//! What a reply is worth: counted as an answer, as a failure, or not at all.

use super::flight::{Flight, Kind, Request};
use super::packet::Reply;
use crate::summary::Tally;

/// Counts a reply that is not to a connect: good when it answers what was asked, which is returned then.
pub(crate) fn count(
    reply: Option<Reply<'_>>,
    bytes: usize,
    peer_bytes: usize,
    now: u64,
    flight: &mut Flight,
    tally: &mut Tally,
) -> Option<Request> {
    let transaction = match reply {
        Some(
            Reply::Connect { transaction, .. }
            | Reply::Announce { transaction, .. }
            | Reply::Scrape { transaction, .. }
            | Reply::Error { transaction },
        ) => transaction,
        None => {
            tally.failed += 1;
            return None;
        }
    };
    let Some(request) = flight.land(transaction) else {
        tally.late += 1;
        return None;
    };
    match (request.kind, reply) {
        (Kind::Announce, Some(Reply::Announce { peers, .. }))
            if peers.len().is_multiple_of(peer_bytes) =>
        {
            tally.announce(peers.len() / peer_bytes);
        }
        (Kind::Scrape(hashes), Some(Reply::Scrape { counts, .. }))
            if counts.len() == usize::from(hashes) * 12 => {}
        _ => {
            tally.failed += 1;
            return None;
        }
    }
    tally.answer(bytes, request.since, now);
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::packet;

    fn waiting(kind: Kind) -> (Flight, u32) {
        let mut flight = Flight::new(4);
        let transaction = flight.start(Request { kind, peer: 0, said: 0, since: 1_000 });
        (flight, transaction)
    }

    fn counted(kind: Kind, action: u8, body: usize, peer_bytes: usize) -> Tally {
        let (mut flight, transaction) = waiting(kind);
        let mut datagram = vec![0, 0, 0, action];
        datagram.extend(transaction.to_be_bytes());
        datagram.resize(8 + body, 0);
        let mut tally = Tally::new();
        let reply = packet::read_reply(&datagram);
        let answered = count(reply, datagram.len(), peer_bytes, 5_000, &mut flight, &mut tally);
        assert_eq!(answered.is_some(), tally.answers == 1);
        tally
    }

    #[test]
    fn an_announce_counts_with_its_peers() {
        let tally = counted(Kind::Announce, 1, 12 + 18, 6);
        assert_eq!((tally.answers, tally.announces, tally.peers, tally.failed), (1, 1, 3, 0));
        let tally = counted(Kind::Announce, 1, 12 + 18, 18);
        assert_eq!((tally.answers, tally.peers), (1, 1));
    }

    #[test]
    fn an_answer_to_another_question_is_a_failure() {
        for (kind, action, body) in [
            (Kind::Announce, 1, 12 + 7),
            (Kind::Announce, 2, 12),
            (Kind::Announce, 3, 5),
            (Kind::Scrape(2), 2, 12),
            (Kind::Scrape(2), 1, 12),
            (Kind::Announce, 9, 12),
        ] {
            let tally = counted(kind, action, body, 6);
            assert_eq!((tally.answers, tally.failed), (0, 1), "{kind:?} {action} {body}");
        }
        assert_eq!(counted(Kind::Scrape(2), 2, 24, 6).answers, 1);
    }
}
