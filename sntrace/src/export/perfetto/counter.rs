//! Live bytes over time, in few points.
//!
//! Of each part of the run: the highest value, when it was first reached, and the last one.

use std::io::{self, Write};

use super::write_counter;

/// A value at a time, in nanoseconds since the run began.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Point {
    time_ns: u64,
    value: u64,
}

/// See the module.
pub struct Counter {
    track: u64,
    value: u64,
    /// Since the last point that was written.
    highest: Option<Point>,
    last: Point,
    part_ends_ns: u64,
}

impl Counter {
    /// On a track, from this time on.
    pub fn new(track: u64, time_ns: u64) -> Self {
        Self {
            track,
            value: 0,
            highest: None,
            last: Point { time_ns, value: 0 },
            part_ends_ns: time_ns,
        }
    }

    /// More is live.
    pub fn add(&mut self, bytes: u64) {
        self.value = self.value.saturating_add(bytes);
    }

    /// Less is live.
    pub fn subtract(&mut self, bytes: u64) {
        self.value = self.value.saturating_sub(bytes);
    }

    /// The value is what it is at this time; what parts as long as this have had is written.
    pub fn settle(&mut self, now_ns: u64, part_ns: u64, out: &mut dyn Write) -> io::Result<()> {
        if now_ns >= self.part_ends_ns {
            self.finish(out)?;
            self.part_ends_ns = now_ns.saturating_add(part_ns);
        }
        let now = Point {
            time_ns: now_ns,
            value: self.value,
        };
        if self.highest.is_none_or(|highest| now.value > highest.value) {
            self.highest = Some(now);
        }
        self.last = now;
        Ok(())
    }

    /// Writes what there is.
    pub fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(highest) = self.highest.take() else {
            return Ok(());
        };
        write_counter(out, self.track, highest.time_ns, highest.value)?;
        if self.last != highest {
            write_counter(out, self.track, self.last.time_ns, self.last.value)?;
        }
        Ok(())
    }
}
