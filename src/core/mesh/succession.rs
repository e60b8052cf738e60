//! What cores say when another process takes over, and what they are told in that.

use std::os::fd::OwnedFd;

use crossbeam_channel::Sender;
use persist::journal::Record;
use shard::{PeerChange, Seconds};

use crate::net::remote::Remote;

/// What one core has promised to its clients.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Promises {
    /// The interval in seconds, before jitter.
    pub interval: f64,
    /// When clients come back, and how many.
    pub due: Vec<(Seconds, u32)>,
}

/// A connection that another process goes on with.
pub struct Leaving {
    /// The connection itself; or one through which what is sealed for the client is told in the clear.
    pub connection: OwnedFd,
    /// Who is at the other end.
    pub remote: Remote,
    /// What it has sent, and nobody has answered.
    pub input: Vec<u8>,
}

/// How a core is, when it has done all that it was told before.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Which core.
    pub core: usize,
    /// What it has promised; the moments are those of the wall clock.
    pub promises: Promises,
    /// Connections that last.
    pub connections: usize,
}

/// A step of a take-over.
#[derive(Clone)]
pub enum Step {
    /// Hand on what is changed from now on, or no longer.
    Note(Option<Sender<Vec<PeerChange>>>),
    /// Take no more requests from the sockets (false), or again (true).
    Read(bool),
    /// Say how you are, and hand on all that was noted.
    Stand(Sender<Standing>),
    /// Another process has taken over: hand each connection on to it with the next request.
    Succeeded(Sender<Leaving>),
    /// Do what the process before has done; `true` when that counts as well by now.
    Follow(std::sync::Arc<Vec<PeerChange>>, bool),
    /// Do what the process before has written into the journal about torrents that you own.
    Replay(std::sync::Arc<Vec<Record>>),
    /// That was all of it.
    Replayed,
    /// Keep what the process before has promised: the part of each core there.
    Keep(std::sync::Arc<Vec<Promises>>),
    /// Take the sockets that wait for you, and say so: others may send you what is to be answered by them.
    Open(Sender<()>),
    /// Serve them, and say so.
    Serve(Sender<()>),
}
