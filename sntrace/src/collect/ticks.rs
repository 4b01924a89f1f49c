//! Ticks of the run's clock, and what they are in nanoseconds.
//!
//! No frequency is measured beforehand. The collector takes a *sync point* (ticks and
//! CLOCK_MONOTONIC together) every round; the time of an event is read off the line between the
//! two sync points around it. So times are exact at sync points, monotone, and never need a
//! calibration that a short program would have to wait for.
#![allow(unsafe_code)]

/// Which clock the hooks read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The processor's counter.
    Counter,
    /// CLOCK_MONOTONIC, in nanoseconds.
    Monotonic,
}

impl Clock {
    /// The processor's counter if it can be trusted: the kernel uses it as its own clock, which
    /// it only does where it runs evenly on all processors and never stops.
    #[must_use]
    pub fn choose() -> Self {
        if cfg!(target_arch = "aarch64") {
            // Architecturally even and synchronous (Arm ARM D12, the generic timer).
            return Self::Counter;
        }
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let trusted = std::fs::read_to_string(source).is_ok_and(|name| name.trim() == "tsc")
            || std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
                // A guest may prefer its hypervisor's clock although the counter is even.
                text.lines()
                    .find(|line| line.starts_with("flags"))
                    .is_some_and(|flags| {
                        flags.contains(" constant_tsc") && flags.contains(" nonstop_tsc")
                    })
            });
        if trusted {
            Self::Counter
        } else {
            Self::Monotonic
        }
    }

    /// The time in ticks, 56 bits of it, as records carry it.
    #[must_use]
    pub fn now(self) -> u64 {
        match self {
            Self::Counter => counter() & TICKS_MASK,
            Self::Monotonic => monotonic_ns() & TICKS_MASK,
        }
    }
}

/// Records carry this many bits of the time.
const TICKS_MASK: u64 = (1 << 56) - 1;

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: readable in user mode on Linux.
    unsafe {
        std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags))
    };
    ticks
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Turns ticks into nanoseconds since the run began.
#[derive(Debug)]
pub struct Timeline {
    clock: Clock,
    began_ns: u64,
    before: (u64, u64),
    after: (u64, u64),
    line: Line,
}

/// Where the times between two sync points lie.
#[derive(Clone, Copy, Debug)]
struct Line {
    ticks: u64,
    /// Since the run began.
    nanoseconds: i64,
    /// Nanoseconds a tick, times 2^[`SLOPE_BITS`].
    slope: i64,
}

/// Bits of a slope behind its point: at 5 GHz, ten minutes from a sync point, times are less than 3 ns off.
const SLOPE_BITS: u32 = 40;

impl Line {
    /// Through two points, of ticks and CLOCK_MONOTONIC.
    fn through((t0, n0): (u64, u64), (t1, n1): (u64, u64), began_ns: u64) -> Self {
        let since = n0.saturating_sub(began_ns);
        let passed = u128::from(n1.saturating_sub(n0)) << SLOPE_BITS;
        let slope = passed.checked_div(u128::from(t1.saturating_sub(t0)));
        Self {
            ticks: t0,
            nanoseconds: since as i64,
            // No counter is so slow that it would not fit.
            slope: i64::try_from(slope.unwrap_or(0)).unwrap_or(i64::MAX),
        }
    }
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn begin(clock: Clock) -> Self {
        let now = sync(clock);
        Self {
            clock,
            began_ns: now.1,
            before: now,
            after: now,
            line: Line::through(now, now, now.1),
        }
    }

    /// Takes a sync point and returns its ticks.
    pub fn sync(&mut self) -> u64 {
        let now = sync(self.clock);
        // Points that lie too close together would make a line of noise.
        if now.1.saturating_sub(self.after.1) >= 1_000_000 || self.before == self.after {
            self.before = self.after;
            self.after = now;
            self.line = Line::through(self.before, now, self.began_ns);
        }
        now.0
    }

    /// Nanoseconds since the run began.
    #[inline(always)]
    #[must_use]
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        let Line {
            ticks: t0,
            nanoseconds,
            slope,
        } = self.line;
        let offset = i128::from(ticks.wrapping_sub(t0) as i64) * i128::from(slope);
        nanoseconds
            .wrapping_add((offset >> SLOPE_BITS) as i64)
            .max(0) as u64
    }

    /// Ticks that pass in about this many nanoseconds, never 0.
    #[must_use]
    pub fn ticks_in(&self, nanoseconds: u64) -> u64 {
        let ((t0, n0), (t1, n1)) = (self.before, self.after);
        if n1 <= n0 {
            // Nothing measured yet: no counter is faster than 10 GHz.
            return nanoseconds * 10;
        }
        ((nanoseconds as f64 * (t1 - t0) as f64 / (n1 - n0) as f64) as u64).max(1)
    }
}

/// Ticks and nanoseconds at the same time: of three tries the one that took least.
fn sync(clock: Clock) -> (u64, u64) {
    (0..3)
        .map(|_| {
            let before = clock.now();
            let nanoseconds = monotonic_ns();
            let after = clock.now();
            (
                after.wrapping_sub(before),
                (before + after.wrapping_sub(before) / 2, nanoseconds),
            )
        })
        .min_by_key(|&(took, _)| took)
        .map_or((0, 0), |(_, point)| point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_on_the_line_between_sync_points() {
        let line = Timeline {
            clock: Clock::Monotonic,
            began_ns: 1000,
            before: (100, 2000),
            after: (300, 3000),
            line: Line::through((100, 2000), (300, 3000), 1000),
        };
        // 5 ns a tick.
        assert_eq!(line.nanoseconds(100), 1000);
        assert_eq!(line.nanoseconds(200), 1500);
        assert_eq!(line.nanoseconds(301), 2005);
        assert_eq!(line.nanoseconds(0), 500);
        assert_eq!(line.ticks_in(50), 10);
    }
}
