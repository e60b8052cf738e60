//! The private engine against its model: whole runs out of one seed, and stories told by hand.
//!
//! `SIM_SEEDS=10000 cargo test --release -p margay-shard --test private` runs that many worlds; a
//! failure prints the command that runs its world alone.

#![allow(clippy::unwrap_used)]

mod check;
mod conservation;
mod fairness;
mod fold;
mod fold_sim;
mod large;
mod late;
mod sim;
mod stories;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a world for each seed.
fn each_seed(test: &str, seeds: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(seeds),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            let profile = if cfg!(debug_assertions) { "" } else { " --release" };
            eprintln!(
                "replay with: SIM_SEED={seed} cargo test{profile} -p margay-shard --test private {test}"
            );
            resume_unwind(panic);
        }
    }
}

#[test]
fn the_private_engine_does_what_the_model_says() {
    let name = "the_private_engine_does_what_the_model_says";
    each_seed(name, 200, |seed| world::World::new(seed).run());
}
