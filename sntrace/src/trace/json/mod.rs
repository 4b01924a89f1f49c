//! The JSON trace as a [`Recording`](super::Recording): what `--json` and `export --format json` write
//! ([`crate::output::json`]), read back.
//!
//! A document is not held in memory, and neither are its events: it may have gigabytes of them. Opening
//! ([`JsonTrace::open`]) goes through it once, reads the tables and passes over the events, of which it
//! notes where they stand and how many they are; each replay goes over that part again.
//!
//! Keys may stand in any order and with any blanks between, as other tools rewrite documents so;
//! unknown ones are passed over. Nothing in it is trusted. Every number of a row is looked at before it is
//! used, what is read as one piece has a largest size, and depth costs no stack.
//!
//! * `cursor` takes values apart that are in memory, and `nesting` counts their brackets;
//! * `stream` brings them there, and passes over what is not wanted;
//! * `document` knows the keys, `rows` the rows, `event` the events;
//! * `tables` and `schedule` make of the rows what a recording has.

mod cursor;
mod document;
mod event;
mod nesting;
mod rows;
mod schedule;
mod stream;
mod tables;
mod trace;

#[cfg(test)]
mod tests;

pub use trace::JsonTrace;
