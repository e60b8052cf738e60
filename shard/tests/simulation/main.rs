//! The engine against its model: whole runs out of one seed, and stories told by hand.
//!
//! `SIM_SEEDS=10000 cargo test --release -p margay-shard --test simulation` runs that many worlds;
//! a failure prints the command that runs its world alone.

#![allow(clippy::unwrap_used)]

mod check;
mod sim;
mod stories;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

#[test]
fn the_engine_does_what_the_model_says() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| World::new(seed).run()));
        if let Err(panic) = run {
            let profile = if cfg!(debug_assertions) { "" } else { " --release" };
            eprintln!(
                "replay with: SIM_SEED={seed} cargo test{profile} -p margay-shard --test simulation"
            );
            resume_unwind(panic);
        }
    }
}
