//! The database and the ledger, with a real PostgreSQL.
//!
//! `ops/test.d/postgres run cargo test -p margay-persist --test database` starts one and names it in
//! `MARGAY_TEST_POSTGRES`. Each test has a schema of its own in it; those that kill the server start one
//! for themselves.

#![allow(clippy::unwrap_used)] // All of this is test code.

mod bad_rows;
mod bounds;
mod catch_up;
mod check;
mod effects;
mod epochs;
mod exactly_once;
mod formers;
mod lease;
mod loading;
mod migrations;
mod notices;
mod pooler;
mod refusals;
mod restores;
mod rights;
mod said;
mod site;
mod suspicions;
mod tls;
