//! How a new process image finds the run: one environment variable, one line of text.
//!
//! ```text
//! SNTRACE_RUN=4:4711:12:0:18522112000:/tmp/sntrace-Xy12ab/events
//!             | |    |  | |      `- path of the named pipe (empty: shared memory only)
//!             | |    |  | `- bytes of the segment (0: no segment, use the pipe)
//!             | |    |  `- option bits, see `OptionBits`
//!             | |    `- descriptor of the segment in the launcher: /proc/4711/fd/12
//!             | `- process id of the launcher
//!             `- protocol version
//! ```
//!
//! Why `/proc/PID/fd`: an anonymous segment vanishes with its launcher, whatever happens, and no
//! inherited descriptor is needed that the program could close or trip over.

/// Name of the variable.
pub const RUN_VARIABLE: &str = "SNTRACE_RUN";

/// Longest value accepted, in bytes: five numbers and a path of 4,096.
pub const RUN_VALUE_MAX: usize = 4096 + 96;

/// What the user asked of the hook, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionBits(pub u32);

impl OptionBits {
    /// Only the return address of each event; wrappers are not looked past.
    pub const RAW_CALLERS: Self = Self(1);
    /// Record the mmap family too.
    pub const MMAP: Self = Self(2);
    /// A full lane drops, counted, where it would wait.
    pub const OVERFLOW_DROP: Self = Self(4);
    /// Children (fork and exec) are not traced.
    pub const NO_FOLLOW: Self = Self(8);
    /// Ticks are nanoseconds of CLOCK_MONOTONIC, not the processor's counter.
    pub const CLOCK_MONOTONIC: Self = Self(16);
    /// Every event with its whole stack, as a difference to the last one: see [`crate::stack`].
    pub const FULL_STACKS: Self = Self(32);
    /// With full stacks: each is compared with one that was walked without looking at the last.
    pub const VERIFY_STACKS: Self = Self(64);

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The variable's value, taken apart. The path borrows from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAddress<'a> {
    /// Process id of the launcher.
    pub launcher_pid: u32,
    /// Descriptor number of the segment in the launcher.
    pub segment_fd: u32,
    /// What the user asked for.
    pub options: OptionBits,
    /// Length of the segment in bytes; 0 where there is none.
    pub segment_len: u64,
    /// Path of the named pipe; empty where there is none.
    pub pipe_path: &'a [u8],
}

impl<'a> RunAddress<'a> {
    /// Reads the variable's value; `None` for anything this version does not write.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (version, rest) = number(value)?;
        if version != u64::from(crate::version::PROTOCOL_VERSION) {
            return None;
        }
        let (launcher_pid, rest) = number(rest)?;
        let (segment_fd, rest) = number(rest)?;
        let (options, rest) = number(rest)?;
        let (segment_len, pipe_path) = number(rest)?;
        Some(Self {
            launcher_pid: u32::try_from(launcher_pid).ok()?,
            segment_fd: u32::try_from(segment_fd).ok()?,
            options: OptionBits(u32::try_from(options).ok()?),
            segment_len,
            pipe_path,
        })
    }

    /// The five numbers in the order in which [`RunAddress::parse`] reads them; the launcher joins
    /// them with colons and appends the path.
    #[must_use]
    pub fn numbers(&self) -> [u64; 5] {
        [
            u64::from(crate::version::PROTOCOL_VERSION),
            u64::from(self.launcher_pid),
            u64::from(self.segment_fd),
            u64::from(self.options.0),
            self.segment_len,
        ]
    }
}

/// A decimal number up to the next colon, and what follows the colon.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|&byte| byte == b':')?;
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    Some((value, &rest[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_launcher_writes_is_what_the_hook_reads() {
        let address = RunAddress {
            launcher_pid: 4711,
            segment_fd: 12,
            options: OptionBits::MMAP.with(OptionBits::RAW_CALLERS),
            segment_len: 1 << 40,
            pipe_path: b"/tmp/a:b",
        };
        let mut text = address.numbers().map(|n| n.to_string()).join(":");
        text.push_str(":/tmp/a:b");
        assert_eq!(RunAddress::parse(text.as_bytes()), Some(address));
    }

    #[test]
    fn foreign_values_are_refused() {
        let this = crate::version::PROTOCOL_VERSION;
        let other = this + 1;
        for text in [
            String::new(),
            format!("{this}"),
            format!("{other}:1:1:1:1:/p"),
            format!("{this}:x:1:1:1:/p"),
            format!("{this}:1:1:1:99999999999999999999999:/p"),
            format!("{this}::1:1:1:"),
        ] {
            assert_eq!(RunAddress::parse(text.as_bytes()), None, "{text}");
        }
    }
}
