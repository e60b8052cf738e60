//! A Seeder: what the feed tells of is fetched and seeded.

mod budget;
mod poll;
