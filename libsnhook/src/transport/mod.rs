//! How records leave the process. Shared memory is the lane itself ([`crate::thread`]); the pipe
//! is the fallback where no memory can be shared.

pub mod pipe;
