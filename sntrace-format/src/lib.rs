//! The bytes that the hook (inside the traced process) and the launcher agree on.
//!
//! Both sides are built from this crate, so neither spells an offset or a tag by hand. It has no
//! dependencies, no features and no allocation: the hook is freestanding and links it as it is.
//!
//! * [`layout`]: the shared-memory segment of a run: header, verdict boards, lanes.
//! * [`ring`]: a lane, the single-producer single-consumer ring of one thread.
//! * [`record`]: what a lane carries: one record an event, a few 64-bit words each.
//! * [`stack`]: full stacks, as differences to the last one of a lane.
//! * [`control`]: the rare records: process, thread, module.
//! * [`pipe`]: the messages of the fallback without shared memory.
//! * [`verdict`]: what the launcher tells the hook about a call site.
//! * [`mod@env`]: the one environment variable through which a new process image finds the run.
//! * [`version`]: the number that both sides must share.
//!
//! The prose specification, with bit diagrams and a worked example, is `FORMAT.md`.
#![cfg_attr(not(test), no_std)]

pub mod control;
pub mod env;
pub mod layout;
pub mod pipe;
mod primitive;
pub mod record;
pub mod ring;
pub mod stack;
pub mod verdict;
pub mod version;
