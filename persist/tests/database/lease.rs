//! One of several has the lease, and who cannot renew it stops before another begins.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use persist::{Lease, LeaseOptions, Tenure};

use crate::bounds::Stopped;
use crate::site::{PATIENCE, Server, Site, until};

/// As short as it may be.
const TIME: Duration = Duration::from_secs(2);

fn lease(site: &Site, holder: &str) -> (Lease, Receiver<Tenure>) {
    let options =
        LeaseOptions { name: "publishing".to_owned(), holder: holder.to_owned(), time: TIME };
    let (changed, changes) = channel();
    let lease =
        Lease::start(site.database.clone(), options, move |tenure| _ = changed.send(tenure));
    (lease.unwrap(), changes)
}

fn other(holder: &str) -> Tenure {
    Tenure::Other { holder: holder.to_owned() }
}

#[test]
fn the_next_has_it_when_it_is_given_back_and_the_epoch_grows() {
    let Some(site) = Site::empty("lease_given_back") else { return };
    let (first, changes) = lease(&site, "one");
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), Tenure::Held(1));
    let (second, changes) = lease(&site, "two");
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), other("one"));
    // Longer than it lasts: it is renewed.
    std::thread::sleep(TIME * 2);
    assert_eq!((first.tenure(), second.tenure()), (Tenure::Held(1), other("one")));
    first.stop(PATIENCE);
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), Tenure::Held(2));
    let (third, changes) = lease(&site, "three");
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), other("two"));
    third.stop(PATIENCE);
    second.stop(PATIENCE);
}

#[test]
fn of_many_that_want_it_at_once_one_has_it_at_a_time() {
    let Some(site) = Site::empty("lease_many") else { return };
    let mut leases: Vec<_> = (0..6).map(|n| lease(&site, &format!("n{n}")).0).collect();
    let mut epochs = Vec::new();
    while !leases.is_empty() {
        let mut holder = None;
        until("one of them has it", || {
            let held: Vec<usize> = (0..leases.len())
                .filter(|at| matches!(leases[*at].tenure(), Tenure::Held(_)))
                .collect();
            assert!(held.len() <= 1, "{held:?}");
            holder = held.first().copied();
            holder.is_some()
        });
        let lease = leases.remove(holder.unwrap());
        let Tenure::Held(epoch) = lease.tenure() else { continue };
        epochs.push(epoch);
        lease.stop(PATIENCE);
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
}

#[test]
fn a_holder_whose_database_hangs_stops_in_time_and_begins_again_with_it() {
    let Some(server) = Server::start("lease_hangs") else { return };
    let site = Site::at(&server.url, "lease_hangs");
    let (lease, changes) = lease(&site, "one");
    assert_eq!(changes.recv_timeout(PATIENCE).unwrap(), Tenure::Held(1));
    let stopped = Stopped::server(&server);
    assert!(matches!(changes.recv_timeout(PATIENCE).unwrap(), Tenure::Unknown { .. }));
    // Long enough for another one to have had it.
    std::thread::sleep(TIME);
    drop(stopped);
    assert!(matches!(changes.recv_timeout(PATIENCE).unwrap(), Tenure::Held(2..)));
    lease.stop(PATIENCE);
}
