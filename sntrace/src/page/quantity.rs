//! Numbers as people read them: bytes, counts, shares, times.
//!
//! A report is read across: one decimal is enough to compare by, and units line up. Exact numbers are in
//! the JSON form.

/// `512 B`, `1.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in ["MiB", "GiB", "TiB", "PiB", "EiB"] {
        // What would show as 1024.0 of one unit is 1.0 of the next.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

pub(crate) use crate::output::grouped;

/// `1 block`, `1,234 blocks`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = match noun {
        "process" => "processes",
        _ if number == 1 => noun,
        _ => return format!("{} {noun}s", grouped(number)),
    };
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { noun } else { plural }
    )
}

/// A part of a whole: `45.1%`; nothing where there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        _ => format!("{:.1}%", part as f64 * 100.0 / whole as f64),
    }
}

/// A time in the unit that suits it: `850 ns`, `12.3 µs`, `4.5 ms`, `1.234 s`, `12 min 5 s`.
pub(crate) fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        // What would show as 1000.0 of one unit is 1.0 of the next.
        1_000..999_950 => format!("{:.1} µs", value / 1e3),
        999_950..999_950_000 => format!("{:.1} ms", value / 1e6),
        999_950_000..120_000_000_000 => format!("{:.3} s", value / 1e9),
        _ => {
            let seconds = nanoseconds / 1_000_000_000;
            match seconds / 60 {
                minutes @ 0..120 => format!("{minutes} min {} s", seconds % 60),
                minutes => format!("{} h {} min", minutes / 60, minutes % 60),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well_at_their_edges() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        for (time, expected) in [
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (999_949, "999.9 µs"),
            (999_950, "1.0 ms"),
            (1_234_567_890, "1.235 s"),
            (125_000_000_000, "2 min 5 s"),
            (7_260_000_000_000, "2 h 1 min"),
        ] {
            assert_eq!(duration(time), expected);
        }
        assert_eq!(count(1, "process"), "1 process");
        assert_eq!(count(0, "process"), "0 processes");
        assert_eq!(count(1_234_567, "block"), "1,234,567 blocks");
        assert_eq!((share(1, 3), share(0, 0)), ("33.3%".into(), String::new()));
    }
}
