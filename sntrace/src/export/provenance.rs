//! Where an export comes from and what it vouches for, in words.
//!
//! For formats whose only place for that is a comment or a name. Each line is free of line breaks and
//! of anything that a terminal would take for more than text.

use crate::output::escape;
use crate::trace::{Certificate, Recording};

/// `sntrace 0.1.0`.
pub const GENERATOR: &str = concat!("sntrace ", env!("CARGO_PKG_VERSION"));

/// The command line as one string; arguments with blanks in quotes.
pub fn command(recording: &dyn Recording) -> String {
    let words = recording.header().command.iter().map(|word| {
        let shown = escape::shown(word);
        if shown.is_empty() || shown.contains(' ') {
            format!("'{shown}'")
        } else {
            shown
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// When the run began, in nanoseconds since 1970 in UTC; `None` where the header doesn't tell.
pub fn started_ns(recording: &dyn Recording) -> Option<u64> {
    let (date, time) = recording.header().started.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.strip_suffix('Z')?.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<u64>().ok()?, time.next()?);
    let (minute, second) = (minute.parse::<u64>().ok()?, time.next()?);
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let second = second.parse::<u64>().ok()?;
    if !(1970..2500).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanos = format!("{:0<9.9}", fraction).parse::<u64>().ok()?;
    // Years from March on, so that the leap day is the last one: 153 days every five months.
    let (year, month) = match month {
        3.. => (year, month - 3),
        _ => (year - 1, month + 9),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // 1970-01-01 is 719468 days after 0000-03-01.
    let seconds = ((days - 719_468) * 24 + hour) * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000_000 + nanos)
}

/// What was recorded, then the certificate's lines.
pub fn lines(recording: &dyn Recording) -> Vec<String> {
    let header = recording.header();
    let mut lines = vec![format!(
        "recorded by {GENERATOR} on {} {}, {}",
        escape::shown(&header.os),
        escape::shown(&header.arch),
        escape::shown(&header.started)
    )];
    lines.extend(certificate(recording.certificate()));
    lines
}

/// The certificate: one line where nothing is wrong, else one a blemish.
pub fn certificate(certificate: &Certificate) -> Vec<String> {
    let blemishes = certificate.blemishes();
    if blemishes.is_empty() {
        return vec![format!(
            "certificate: {} events, complete and exact",
            certificate.events
        )];
    }
    let seen = format!("certificate: {} events", certificate.events);
    let told = blemishes
        .iter()
        .map(|line| format!("certificate: {}", escape::shown(line)));
    std::iter::once(seen).chain(told).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_start_is_read_back() {
        let mut recording = samples::recording();
        let mut at = |started: &str| {
            recording.header.started = started.into();
            started_ns(&recording)
        };
        // From `date -u -d 2024-02-29T23:59:59Z +%s`.
        let leap = 1_709_251_199_000_000_000;
        assert_eq!(at("2024-02-29T23:59:59.000000Z"), Some(leap));
        assert_eq!(at("2024-03-01T00:00:00.5Z"), Some(leap + 1_500_000_000));
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        for wrong in [
            "",
            "T",
            "2024-13-01T00:00:00Z",
            "1-2-3T4:5:6Z",
            "\u{e9}T\u{e9}Z",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_line_is_one_line_of_plain_text() {
        let recording = samples::recording();
        for line in lines(&recording).into_iter().chain([command(&recording)]) {
            assert!(!line.chars().any(escape::is_hidden), "{line:?}");
        }
        let clean = Certificate {
            events: 3,
            complete: true,
            ..Certificate::default()
        };
        assert_eq!(
            certificate(&clean),
            ["certificate: 3 events, complete and exact"]
        );
        let cut = certificate(&Certificate::default());
        assert_eq!(cut.len(), 2);
        assert!(cut[1].ends_with("cut before its end"), "{cut:?}");
    }
}
