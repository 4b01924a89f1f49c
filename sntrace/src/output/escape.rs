//! Names made safe to show.
//!
//! Names come from the traced program's symbol tables, debug information and paths: whoever built
//! the program chose them. Raw, a name could move a terminal's cursor, fake a line of output, or
//! (with the bidirectional controls, CVE-2021-42574) read differently from what it is.
//!
//! In text ([`text`]) such characters stand as Rust and most shells write them: `\n`, `\r`,
//! `\t`; `\x1b` for the other C0 controls and DEL; `\u{202e}` for what lies beyond ASCII. A
//! backslash stays as it is: it is common in Windows paths, and lines are for reading. So text is
//! not meant to be turned back; JSON ([`json`]) carries every name exactly, with the same
//! characters as JSON's own escapes, so that a JSON file is as safe to `cat`.
//!
//! Bytes that are not UTF-8 are converted before, once, by [`lossy`].

use std::borrow::Cow;

/// Whether a character must not reach a terminal as it is: controls, and the format characters of
/// Unicode 16 (category Cf) with the line and paragraph separators, which draw nothing themselves
/// but change how their neighbours are drawn.
#[must_use]
pub const fn is_hidden(character: char) -> bool {
    matches!(character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}'
        | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Appends `name` for a person to read.
pub fn text(out: &mut Vec<u8>, name: &str) {
    each(out, name, is_hidden, |out, character| {
        // Written to memory: cannot fail, and not on the hot path.
        let escape = match character {
            '\n' => String::from("\\n"),
            '\r' => String::from("\\r"),
            '\t' => String::from("\\t"),
            '\0'..='\x7f' => format!("\\x{:02x}", character as u32),
            _ => format!("\\u{{{:x}}}", character as u32),
        };
        out.extend_from_slice(escape.as_bytes());
    });
}

/// `name` for a person to read, as a string: for messages.
#[must_use]
pub fn shown(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    text(&mut out, name);
    // Escaping takes UTF-8 to UTF-8, so nothing is replaced here.
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends `name` as a JSON string with its quotes.
pub fn json(out: &mut Vec<u8>, name: &str) {
    let needs = |character| is_hidden(character) || matches!(character, '"' | '\\');
    out.push(b'"');
    each(out, name, needs, |out, character| match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ => {
            // JSON has four digits an escape: beyond the basic plane it takes a surrogate pair.
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
    });
    out.push(b'"');
}

/// Copies `name`, handing the characters that `needs` picks to `escape`.
fn each(
    out: &mut Vec<u8>,
    name: &str,
    needs: impl Fn(char) -> bool,
    escape: impl Fn(&mut Vec<u8>, char),
) {
    let mut copied = 0;
    for (at, character) in name.char_indices().filter(|&(_, c)| needs(c)) {
        out.extend_from_slice(&name.as_bytes()[copied..at]);
        escape(out, character);
        copied = at + character.len_utf8();
    }
    out.extend_from_slice(&name.as_bytes()[copied..]);
}

/// Bytes as a string: those that are not UTF-8 become `\xff`, as the shell's `$'\xff'` takes them.
#[must_use]
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(valid) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(valid);
    }
    let mut string = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        string.push_str(chunk.valid());
        for byte in chunk.invalid() {
            string.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn controls_are_shown_by_their_code() {
        assert_eq!(shown("red\x1b[31m"), "red\\x1b[31m");
        assert_eq!(shown("two\nlines\t\r"), "two\\nlines\\t\\r");
        assert_eq!(shown("\0\x7f"), "\\x00\\x7f");
        // U+009B alone is a control sequence introducer in an 8-bit terminal.
        assert_eq!(shown("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(shown("user\u{202e}nimda"), "user\\u{202e}nimda");
        assert_eq!(shown("\u{e0041}"), "\\u{e0041}");
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in [
            "main",
            "std::vector<int, std::allocator<int> >::push_back",
            "größe",
            "関数",
            r"C:\a\b.dll",
        ] {
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_stand_as_their_value() {
        assert_eq!(lossy(b"caf\xc3\xa9"), "café");
        assert_eq!(lossy(b"a\xff\xc3b"), "a\\xff\\xc3b");
    }

    proptest! {
        #[test]
        fn escaped_text_never_holds_a_hidden_character(
            name in "\\PC{0,8}[\\x00-\\x1f\\x7f-\\u{9f}\\u{ad}\\u{200b}-\\u{206f}\\u{feff}\\u{e0001}-\\u{e007f}]{0,8}\\PC{0,8}",
            any: String,
        ) {
            for name in [name, any] {
                prop_assert!(!shown(&name).chars().any(|c| is_hidden(c) || c.is_control()));
            }
        }

        #[test]
        fn a_json_string_reads_back_and_is_safe_to_show(name: String, controls in "[\\x00-\\x22\\\\\\x7f-\\u{9f}\\u{202a}-\\u{202e}\\u{e0041}]{0,8}") {
            for name in [name, controls] {
                let mut out = Vec::new();
                json(&mut out, &name);
                let written = String::from_utf8(out).unwrap();
                prop_assert!(!written.chars().any(is_hidden));
                prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), name);
            }
        }
    }
}
