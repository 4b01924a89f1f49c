//! Linux: see `platform` for the contract.

pub mod clock;
pub mod sys;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{acquire_entry, around, entry, exec_list, forward, new_entry};
#[cfg(target_arch = "aarch64")]
pub use aarch64::{set_thread_slot, thread_slot};
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{acquire_entry, around, entry, exec_list, forward, new_entry};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{set_thread_slot, thread_slot};
