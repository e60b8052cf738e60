//! The API, `/api/v1/…` on the control listener, as values: what may be asked, what is answered, who may ask. No I/O but
//! the files of tokens and of who changed what.
//!
//! A request goes through [`route`], its body through [`Operation`]; of a private tracker the core that it concerns does it
//! ([`crate::private::core::ask`]), of an open one the register of its torrents has it first; and [`answer`] makes JSON of what came of it. The same is described for
//! machines by [`describe`]. [`crate::control`] serves it, and the command line speaks it.

pub mod answer;
pub mod audit;
pub mod describe;
pub mod operation;
pub mod operator;
pub mod route;
pub mod text;
pub mod token;
pub mod trace;

pub use answer::{Done, Failure, OpenState, OpenTorrent, TorrentState};
pub use operation::Operation;
pub use route::{Call, Route};
