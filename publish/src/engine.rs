//! Content over the wire: what is fetched and what is uploaded.
//!
//! A Master only uploads. A Seeder fetches by an [`Engine`] and uploads what is complete; meanwhile the peers of what is
//! being fetched come in through the same port and are relayed to the engine ([`upload::Uploads::relay`]).

mod content;
mod disk;
mod fetch;
mod gateway;
pub mod rqbit;
pub mod transmission;
pub mod upload;
pub mod wire;

pub use fetch::{Engine, EngineError, Failure, Fetch, Progress, State, finished};
pub use rqbit::{Options as RqbitOptions, Rqbit};
pub use transmission::{Options as TransmissionOptions, Transmission};
