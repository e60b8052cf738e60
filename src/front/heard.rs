//! The wait before a site is told that its change is in force: until every core that it concerns has done it, and the
//! journal has it on the disk.
//!
//! Messages to another core go through its inbox in order. So one that answers a question there has done what was
//! said before it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use glommio::timer::sleep;
use tokio::sync::oneshot;

use super::{Core, SharedCore};
use crate::core::mesh::late::Late;
use crate::core::mesh::message::Message;
use crate::core::mesh::told::{Told, Unconfirmed};
use crate::private::core::outgoing::Waiter;
use crate::wire::ocelot::Update;

/// How long all of it may take, less than who asks by the API waits for the answer.
const TIME: Duration = Duration::from_secs(7);

/// Time between two looks whether an inbox has room.
const PAUSE: Duration = Duration::from_millis(5);

/// Which other cores a change concerns.
pub enum Others {
    /// None.
    None,
    /// All; they were told already.
    All,
    /// The owners of some of the torrents, with what they are to do.
    Owners(Vec<(usize, Update)>),
}

/// A change that this core has done and the journal may have.
pub struct Doing {
    late: Rc<Late<bool>>,
    others: Others,
}

impl Doing {
    /// Waits until every core that it concerns has done it, and it is on the disk.
    pub async fn done(self, core: &SharedCore) -> Result<(), Unconfirmed> {
        let until = Instant::now() + TIME;
        let parts: Vec<(usize, Option<Box<Update>>)> = match self.others {
            Others::None => Vec::new(),
            Others::All => {
                let core = core.borrow();
                (0..core.engine.mesh.len())
                    .filter(|at| *at != core.engine.number)
                    .map(|at| (at, None))
                    .collect()
            }
            Others::Owners(owners) => {
                owners.into_iter().map(|(at, update)| (at, Some(Box::new(update)))).collect()
            }
        };
        let mut answers = Vec::with_capacity(parts.len());
        let mut unheard = false;
        for (at, update) in parts {
            match ask(core, at, update, until).await {
                Some(answer) => answers.push(answer),
                None => unheard = true,
            }
        }
        let mut on_disk = within(until, self.late.wait()).await.unwrap_or(false);
        for answer in answers {
            match within(until, answer).await {
                Some(Ok(Told::Done)) => {}
                Some(Ok(Told::NotOnDisk)) => on_disk = false,
                Some(Ok(Told::Refused) | Err(_)) | None => unheard = true,
            }
        }
        match (unheard, on_disk) {
            (true, _) => Err(Unconfirmed::Unheard),
            (false, false) => Err(Unconfirmed::NotOnDisk),
            (false, true) => Ok(()),
        }
    }
}

/// Asks another core as soon as it has room, behind everything that it is still to hear; `None` when it has none
/// in time.
async fn ask(
    core: &SharedCore,
    at: usize,
    update: Option<Box<Update>>,
    until: Instant,
) -> Option<oneshot::Receiver<Told>> {
    let (told, answer) = oneshot::channel();
    let mut message = Message::Site(update, told);
    loop {
        {
            let core = &mut *core.borrow_mut();
            if !core.engine.unheard.waits_for(at) {
                match core.engine.send(at, message) {
                    Ok(()) => return Some(answer),
                    Err(back) => message = back,
                }
            }
        }
        if Instant::now() >= until {
            return None;
        }
        sleep(PAUSE).await;
    }
}

/// The outcome of `coming`, where it comes before that moment.
async fn within<T>(until: Instant, coming: impl Future<Output = T>) -> Option<T> {
    let late = async {
        sleep(until.saturating_duration_since(Instant::now())).await;
        None
    };
    async { Some(coming.await) }.or(late).await
}

impl Core {
    /// Begins to wait until everything done so far is on the disk, and the others have heard of it.
    pub(crate) fn doing(&mut self, others: Others) -> Doing {
        Doing { late: self.engine.private_mut().hold(), others }
    }

    /// Does what the site said to another core, and says to that one when it is on the disk. Without anything
    /// to do it says so at once: what was said before is done.
    pub(crate) fn hear_site(&mut self, update: Option<&Update>, told: oneshot::Sender<Told>) {
        // Who asked may have given up.
        let Some(update) = update else {
            _ = told.send(Told::Done);
            return;
        };
        if self.engine.can_change().is_err() {
            _ = told.send(Told::Refused);
            return;
        }
        let now = self.engine.clock.now();
        self.engine.change(|private| private.obey(update, now));
        let outgoing = &mut self.engine.private_mut().outgoing;
        outgoing.wait(Waiter::Core(told));
        outgoing.hurry();
    }
}
