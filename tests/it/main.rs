//! The outside view: starts the real program and looks at what it says and answers.

#![allow(clippy::unwrap_used, reason = "a test's own helpers fail by panicking, as the test does")]

mod cli;
mod clock;
mod control;
mod floods;
mod full_scrape;
mod http_busy;
mod http_connections;
mod listed;
mod names;
mod nothing_lost;
mod ocelot;
mod private;
mod program;
mod prometheus;
mod proxied;
mod refusals;
mod restart;
mod rooms;
mod routing;
mod screening;
mod shedding;
mod stop;
mod systemd;
mod take_over;
mod tls;
mod tracker;
mod wire_http;
mod wire_rules;
mod wire_scrape;
mod wire_udp;
