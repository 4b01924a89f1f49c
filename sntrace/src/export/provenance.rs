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
