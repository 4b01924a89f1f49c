//! What is said at the end of a run on a terminal.
//!
//! ```text
//! sntrace: 1,234 events: 700 allocations (1.2 MiB), 534 frees
//! sntrace: peak 345.6 KiB (353,894 bytes) after 0.012 s
//! sntrace: leaked 12.3 KiB (12,595 bytes) in 166 allocations
//! ```
//!
//! Three lines for an ordinary run, and one more for everything that is not as usual. For people:
//! scripts read the same totals from the JSON formats, unrounded.

use super::Summary;

impl Summary {
    /// The closing lines, each with its newline.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "sntrace: {}: {} ({}), {}\n",
            count(self.events, "event"),
            count(self.allocations, "allocation"),
            size(self.bytes_allocated),
            count(self.frees, "free"),
        );
        let peak = exact_size(self.peak_bytes);
        text += &match self.peak_bytes {
            0 => format!("sntrace: peak {peak}\n"),
            _ => format!(
                "sntrace: peak {peak} after {:.3} s\n",
                self.peak_time_ns as f64 / 1e9
            ),
        };
        text += &match self.leaked_allocations {
            0 => String::from("sntrace: leaked nothing\n"),
            blocks => format!(
                "sntrace: leaked {} in {}\n",
                exact_size(self.leaked_bytes),
                count(blocks, "allocation")
            ),
        };
        if self.mapping_events > 0 {
            let mapped = size(self.mapped_bytes);
            text += &format!(
                "sntrace: {} of mmap and its like ({mapped} mapped), not in these sums\n",
                count(self.mapping_events, "call")
            );
        }
        if self.failed_allocations > 0 {
            text += &format!(
                "sntrace: {} failed\n",
                count(self.failed_allocations, "allocation")
            );
        }
        if let Some(shown) = self.shown_events {
            text += &format!(
                "sntrace: the filter let {} through; these sums are of the whole run\n",
                count(shown, "event")
            );
        }
        text
    }

    /// What makes the totals wrong, and what to do about it: to be said as a warning, on a
    /// terminal or not, however quiet the user wants it.
    #[must_use]
    pub fn warning(&self) -> Option<(String, &'static str)> {
        let dropped = count(self.dropped_events, "event");
        (self.dropped_events > 0).then(|| {
            (
                format!("{dropped} dropped, as --overflow drop allows: all totals are too low"),
                "with --overflow wait the program waits for sntrace instead",
            )
        })
    }
}

/// `1 event`, `1,234 events`.
fn count(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `512 bytes`, `1.2 MiB`.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = None;
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // What would show as 1024.0 of one unit is 1.0 of the next.
        if value < if unit.is_none() { 1024.0 } else { 1023.95 } {
            break;
        }
        value /= 1024.0;
        unit = Some(next);
    }
    match unit {
        None => count(bytes, "byte"),
        Some(unit) => format!("{value:.1} {unit}"),
    }
}

/// `512 bytes`, `345.6 KiB (353,894 bytes)`.
fn exact_size(bytes: u64) -> String {
    match bytes {
        0..1024 => size(bytes),
        _ => format!("{} ({})", size(bytes), count(bytes, "byte")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_tell_an_ordinary_run() {
        let summary = Summary {
            events: 1234,
            allocations: 700,
            frees: 534,
            bytes_allocated: 1_258_291,
            peak_bytes: 353_894,
            peak_time_ns: 12_345_678,
            leaked_allocations: 166,
            leaked_bytes: 12_595,
            ..Summary::default()
        };
        assert_eq!(
            summary.text(),
            "\
sntrace: 1,234 events: 700 allocations (1.2 MiB), 534 frees
sntrace: peak 345.6 KiB (353,894 bytes) after 0.012 s
sntrace: leaked 12.3 KiB (12,595 bytes) in 166 allocations
"
        );
        assert_eq!(
            Summary::default().text(),
            "\
sntrace: 0 events: 0 allocations (0 bytes), 0 frees
sntrace: peak 0 bytes
sntrace: leaked nothing
"
        );
    }

    #[test]
    fn what_is_unusual_gets_a_line_of_its_own() {
        let summary = Summary {
            events: 1,
            peak_bytes: 1,
            leaked_allocations: 1,
            leaked_bytes: 1,
            failed_allocations: 1,
            mapping_events: 2,
            mapped_bytes: 4096,
            shown_events: Some(1),
            dropped_events: 1_000_000,
            ..Summary::default()
        };
        assert_eq!(
            summary.text(),
            "\
sntrace: 1 event: 0 allocations (0 bytes), 0 frees
sntrace: peak 1 byte after 0.000 s
sntrace: leaked 1 byte in 1 allocation
sntrace: 2 calls of mmap and its like (4.0 KiB mapped), not in these sums
sntrace: 1 allocation failed
sntrace: the filter let 1 event through; these sums are of the whole run
"
        );
    }

    #[test]
    fn dropped_events_are_warned_of() {
        let summary = |dropped_events| Summary {
            dropped_events,
            ..Summary::default()
        };
        assert_eq!(summary(0).warning(), None);
        let (message, _) = summary(1_000_000).warning().unwrap();
        assert!(message.starts_with("1,000,000 events dropped"), "{message}");
    }

    #[test]
    fn sizes_read_well_at_their_edges() {
        for (bytes, expected) in [
            (1, "1 byte"),
            (1023, "1,023 bytes"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
