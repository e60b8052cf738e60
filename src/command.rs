//! What the shell says: the command line, and the commands beside serving.

pub mod books;
pub mod checked;
pub mod cli;
pub mod journal;
pub mod lists;
pub mod publisher;
pub mod screen;
pub mod site;
pub mod snapshot;
pub mod take_over;
