//! Content over the wire: what is fetched and what is uploaded.

mod below;
pub mod bencode;
mod content;
pub mod upload;
pub mod wire;
