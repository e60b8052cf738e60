//! The thread of a core: what runs on it, and how it ends.

mod export;
mod succession;
mod tick;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use glommio::spawn_local;

use crate::core::mesh::Inbox;
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::succession::Step;
use crate::front::door::Door;
use crate::front::http::{kept, watch};
use crate::front::udp::port::Port;
use crate::front::{self, http, udp};
use crate::front::{Core, Reading, SharedCore};
use ops::slot::Slot;

/// Messages handled before other tasks get their turn.
const MESSAGES_PER_TURN: usize = 64;

/// How long and how often a core that ends looks whether the journal has everything.
const HAND_OVER_LOOK: std::time::Duration = std::time::Duration::from_millis(5);
const HAND_OVER_LOOKS: usize = 2000;

/// The sockets of one core, bound before it starts.
#[derive(Default)]
pub(super) struct Sockets {
    /// First one for each address, in their order; with it, the place of its address, and whether the PROXY protocol is
    /// spoken there.
    pub(super) udp: Vec<(std::net::UdpSocket, usize, bool)>,
    /// In the order of the addresses.
    pub(super) http: Vec<(std::net::TcpListener, Door)>,
}

/// Serves until [`Command::Stop`]: `sockets` at once, or those that come `later` when it is told to.
pub(super) async fn run(
    core: Core,
    sockets: Option<Sockets>,
    later: Receiver<Sockets>,
    inbox: Inbox<Message>,
    slot: Arc<Slot>,
) {
    let core: SharedCore = Rc::new(RefCell::new(core));
    let mut doors = Doors { later, listeners: Vec::new() };
    if let Some(sockets) = sockets {
        doors.open(&core, sockets);
        doors.serve(&core);
    }
    spawn_local(kept::answer(core.clone())).detach();
    spawn_local(watch::watch(core.clone())).detach();
    spawn_local(tick::sweep(core.clone())).detach();
    spawn_local(tick::report(core.clone(), slot)).detach();
    if core.borrow().engine.private.is_some() {
        spawn_local(tick::dispatch(core.clone())).detach();
    }
    attend(core, inbox, doors).await;
}

/// Sockets on their way to be served.
struct Doors {
    /// By which they come in a take-over.
    later: Receiver<Sockets>,
    /// Those of TCP that are not served yet.
    listeners: Vec<(std::net::TcpListener, Door)>,
}

impl Doors {
    /// Takes sockets.
    fn open(&mut self, core: &SharedCore, Sockets { udp, http }: Sockets) {
        let port = |(socket, place, is_proxied)| Port::new(socket, is_proxied, place);
        core.borrow_mut().desk.ports = udp.into_iter().map(port).collect();
        self.listeners = http;
    }

    /// Serves what was opened.
    fn serve(&mut self, core: &SharedCore) {
        let ports = core.borrow().desk.ports.len();
        for port in 0..ports {
            spawn_local(udp::serve(core.clone(), port)).detach();
        }
        for (listener, door) in self.listeners.drain(..) {
            spawn_local(http::accept(core.clone(), listener, door)).detach();
        }
    }

    /// Does a step of a take-over that is about sockets; hands back any other message.
    #[expect(clippy::result_large_err, reason = "a message comes back as it went, without a box")]
    fn step(&mut self, core: &SharedCore, message: Message) -> Result<(), Message> {
        let done = match message {
            Message::Command(Command::Succession(Step::Open(done))) => {
                if let Ok(sockets) = self.later.try_recv() {
                    self.open(core, sockets);
                }
                done
            }
            Message::Command(Command::Succession(Step::Serve(done))) => {
                // A task runs as soon as it is spawned: the first answers come before the last socket is served.
                let _ = done.try_send(());
                self.serve(core);
                return Ok(());
            }
            other => return Err(other),
        };
        // Whoever waits for it may have given up.
        let _ = done.try_send(());
        Ok(())
    }
}

/// Works off the inbox until the core is told to stop.
async fn attend(core: SharedCore, inbox: Inbox<Message>, mut doors: Doors) {
    loop {
        inbox.wait().await;
        for _ in 0..MESSAGES_PER_TURN {
            let Some(message) = inbox.take() else { break };
            if let Message::Command(Command::Stop) = message {
                return hand_over(&core, &inbox).await;
            }
            let Err(message) = doors.step(&core, message) else { continue };
            handle(&core, message);
        }
        core.borrow_mut().flush_all();
        glommio::executor().yield_now().await;
    }
}

/// Waits until the journal has all that this core has to tell it, for a while, and those are answered who waited for
/// that.
async fn hand_over(core: &SharedCore, inbox: &Inbox<Message>) {
    if core.borrow().desk.reading == Reading::Over {
        // The journal is the other process's, which has all of it.
        return;
    }
    if let Some(private) = &mut core.borrow_mut().engine.private {
        private.is_closed = true;
    }
    for _ in 0..HAND_OVER_LOOKS {
        while let Some(message) = inbox.take() {
            if !matches!(message, Message::Command(Command::Stop)) {
                handle(core, message);
            }
        }
        let has_all = {
            let core = &mut *core.borrow_mut();
            core.journaled();
            let Some(private) = &mut core.engine.private else { return };
            private.outgoing.dispatch();
            private.outgoing.is_done()
        };
        // Over HTTP each is answered by a task of its own, which runs meanwhile.
        glommio::timer::sleep(HAND_OVER_LOOK).await;
        if has_all {
            return;
        }
    }
    tracing::error!(
        "the journal does not take what is left; it is credited with the next announces"
    );
}

fn handle(core: &SharedCore, message: Message) {
    match message {
        Message::Announce(journey) => udp::arrive(&mut core.borrow_mut(), journey),
        Message::Connection(journey) => http::arrive(core, *journey),
        Message::Taken(leaving) => http::take(core, *leaving),
        Message::Count(part) => core.borrow_mut().engine.count_part(*part),
        Message::Counted(part) => {
            let core = &mut *core.borrow_mut();
            if let Some((reply_to, whole)) =
                core.engine.gather.take(part.id, &part.positions, &part.counts)
            {
                front::bring(core, reply_to, whole);
            }
        }
        Message::Site(update, told) => core.borrow_mut().hear_site(update.as_deref(), told),
        Message::Ask(ask) => front::ask::hear(core, *ask),
        Message::Journaled => core.borrow_mut().journaled(),
        Message::Command(command) => obey(core, command),
    }
}

fn obey(core: &SharedCore, command: Command) {
    match command {
        Command::Lists(lists) => core.borrow_mut().engine.lists = lists,
        Command::Screening(table) => core.borrow_mut().engine.screen_by(table),
        Command::Countries(said) => core.borrow_mut().engine.hear_countries(&said),
        Command::Switch(service, is_on) => {
            core.borrow_mut().switch(service, is_on);
        }
        Command::Certificates(shown) => core.borrow_mut().desk.tls = Some(shown),
        Command::Forget(torrents) => {
            spawn_local(tick::forget(core.clone(), torrents)).detach();
        }
        Command::Export(pieces) => {
            spawn_local(export::export(core.clone(), pieces)).detach();
        }
        Command::HandOver(done) => match &mut core.borrow_mut().engine.private {
            Some(private) => private.outgoing.hand_over(done),
            None => _ = done.try_send(true),
        },
        Command::Census(pieces) => {
            spawn_local(export::census(core.clone(), pieces)).detach();
        }
        Command::Rules(pieces) => {
            spawn_local(export::rules(core.clone(), pieces)).detach();
        }
        Command::FullScrape(edition) => core.borrow_mut().desk.shelf.put(edition),
        Command::Rights(_)
        | Command::UserGone(_)
        | Command::Seen(_)
        | Command::WatchChanges(_)
        | Command::Differing(_)
        | Command::ClientRules(_)
        | Command::Interval(_)
        | Command::Trace(_)
        | Command::TraceIntoLog(..) => core.borrow_mut().engine.obey_command(command),
        Command::Succession(step) => succession::take(core, step),
        Command::Drain => core.borrow_mut().engine.draining = true,
        Command::Stop => unreachable!("`attend` returns at this one"),
    }
}
