//! The launcher of sntrace and everything after it.
//!
//! An event's way: [`launch`] starts the program with the hook, [`collect`] drains the lanes and
//! puts the events in order, [`present`] has [`symbolize`] name the callers and [`output`] write them. Between
//! them stands one model, [`trace`]. Only [`cli`] knows the command line.
#![deny(unsafe_code)]

pub mod analyze;
pub mod check;
pub mod cli;
#[cfg(target_os = "linux")]
pub mod collect;
pub mod diff;
pub mod exact;
pub mod export;
#[cfg(target_os = "linux")]
pub mod launch;
pub mod messages;
pub mod output;
mod page;
pub mod present;
pub mod profile;
pub mod record;
pub mod report;
pub mod symbolize;
pub mod trace;
pub mod verdict;
