//! What a file looks like that is no trace, so that an error can say so.

/// The first bytes of well-known files, and what they are.
const KNOWN: &[(&[u8], &str)] = &[
    (b"\x7fELF", "it is an ELF file (a program or library)"),
    (b"MZ", "it is a Windows program or library"),
    (b"\xcf\xfa\xed\xfe", "it is a macOS program or library"),
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
    (b"\xfd7zXZ", "it is compressed with xz"),
    (b"BZh", "it is compressed with bzip2"),
    (b"PK\x03\x04", "it is a zip archive"),
    (b"PERFILE2", "it is a recording of perf"),
    (b"SQLite format 3", "it is an SQLite database"),
    (b"%PDF", "it is a PDF document"),
    (b"[SN_ALLOC]", "it holds the lines of a run, not a trace"),
    (b"#!", "it is a script"),
];

/// What a file that begins with these bytes looks like.
pub(in crate::trace) fn looks_like(start: &[u8]) -> &'static str {
    if start.is_empty() {
        return "it is empty";
    }
    if let Some((_, what)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return what;
    }
    if start.starts_with(b"\x89SNT") {
        return "its first bytes are changed, as by a transfer as text";
    }
    let end = match std::str::from_utf8(start) {
        Ok(_) => start.len(),
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return "it is something else",
    };
    let text = &start[..end];
    if text
        .iter()
        .any(|&byte| byte < b' ' && !byte.is_ascii_whitespace())
    {
        return "it is something else";
    }
    match text.trim_ascii_start().first() {
        Some(b'{' | b'[') => "it looks like JSON",
        _ => "it is a text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_are_recognised() {
        for (start, expected) in [
            (&b""[..], "it is empty"),
            (
                b"\x7fELF\x02\x01",
                "it is an ELF file (a program or library)",
            ),
            (b" {\"events\": []}", "it looks like JSON"),
            (b"a\tline\n", "it is a text"),
            ("größe".as_bytes(), "it is a text"),
            (&"größe".as_bytes()[..3], "it is a text"),
            (b"a\0b", "it is something else"),
            (b"\xff\xfe", "it is something else"),
            (
                b"\x89SNT\n\x1a\n",
                "its first bytes are changed, as by a transfer as text",
            ),
        ] {
            assert_eq!(looks_like(start), expected, "{start:?}");
        }
    }
}
