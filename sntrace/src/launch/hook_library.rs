//! The hook that this binary carries: the bytes of `libsnhook.so`, built by the build script.

/// File name of the hook in a run directory. By it a nested sntrace knows another's hook.
pub const FILE_NAME: &str = "libsnhook.so";

/// The shared library, ready to be written to a file and preloaded.
pub static BYTES: &[u8] = include_bytes!(env!("SNTRACE_HOOK"));
