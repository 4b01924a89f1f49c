//! The grammar of lines, as strict as a script that depends on it.
//!
//! Whatever is not exactly a line of the contract is refused: a doubled blank, an upper-case hex
//! digit, a leading zero, a stray control character. Every test that reads lines reads them
//! through here, so a line off the grammar fails whichever test meets it first.

use std::fmt;

/// What an operand between the parentheses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Size,
    Count,
    Alignment,
    /// The block that a call takes: released, or resized.
    Given,
    /// By how many bytes the break moves; may be negative.
    Growth,
}

use Operand::{Alignment, Count, Given, Growth, Size};

/// Every function: its name, its operands in order, whether a pointer comes back.
const FUNCTIONS: &[(&str, &[Operand], bool)] = &[
    ("malloc", &[Size], true),
    ("calloc", &[Count, Size], true),
    ("realloc", &[Given, Size], true),
    ("reallocarray", &[Given, Count, Size], true),
    ("aligned_alloc", &[Alignment, Size], true),
    ("posix_memalign", &[Alignment, Size], true),
    ("memalign", &[Alignment, Size], true),
    ("valloc", &[Size], true),
    ("pvalloc", &[Size], true),
    ("operator new", &[Size], true),
    ("operator new", &[Size, Alignment], true),
    ("operator new[]", &[Size], true),
    ("operator new[]", &[Size, Alignment], true),
    ("free", &[Given], false),
    ("free_sized", &[Given, Size], false),
    ("free_aligned_sized", &[Given, Alignment, Size], false),
    ("operator delete", &[Given], false),
    ("operator delete[]", &[Given], false),
    ("mmap", &[Size], true),
    ("munmap", &[Given, Size], false),
    ("mremap", &[Given, Size], true),
    ("brk", &[Growth], true),
];

/// One line, taken apart. Addresses are 0 for `(nil)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// `--timestamps`: nanoseconds since the start (lines show microseconds or finer).
    pub time_ns: Option<u64>,
    /// `--pid`.
    pub pid: Option<u32>,
    /// `--tid`.
    pub tid: Option<u32>,
    /// The function's name.
    pub function: &'static str,
    pub size: Option<u64>,
    pub count: Option<u64>,
    pub alignment: Option<u64>,
    /// The block that was released or resized.
    pub given: Option<u64>,
    /// The block that came back; 0 for a failure.
    pub returned: Option<u64>,
    /// What stands in the brackets at the end.
    pub caller: &'a str,
    /// The call as it is written, `malloc(72) = 0x5565282b12a0`.
    pub call: &'a str,
}

/// Which prefix fields the options asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    pub timestamps: bool,
    pub pid: bool,
    pub tid: bool,
}

/// Why a line is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffGrammar {
    pub line: String,
    pub problem: &'static str,
}

impl fmt::Display for OffGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not a line of the contract ({}): {:?}",
            self.problem, self.line
        )
    }
}

impl<'a> Line<'a> {
    /// Requested bytes in all.
    pub fn bytes(&self) -> u64 {
        self.count
            .unwrap_or(1)
            .saturating_mul(self.size.unwrap_or(0))
    }

    /// Whether the call obtained a block.
    pub fn allocated(&self) -> bool {
        self.returned.is_some_and(|block| block != 0) && self.function != "brk"
    }

    /// The block that the call gave back, if it did. `realloc(p, 0) = (nil)` frees, as glibc's
    /// does; any other failed resize leaves the old block as it was.
    pub fn released(&self) -> Option<u64> {
        let given = self.given.filter(|&block| block != 0)?;
        match self.returned {
            Some(0) if self.bytes() != 0 => None,
            _ => Some(given),
        }
    }

    /// Reads one line without its newline.
    pub fn parse(text: &'a str, prefix: Prefix) -> Result<Self, OffGrammar> {
        parse(text, prefix).map_err(|problem| OffGrammar {
            line: text.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str, prefix: Prefix) -> Result<Line<'_>, &'static str> {
    if text.chars().any(char::is_control) {
        return Err("a control character");
    }
    let mut rest = text;
    let mut time_ns = None;
    if prefix.timestamps {
        let (word, after) = rest.split_once(' ').ok_or("no timestamp")?;
        time_ns = Some(timestamp(word).ok_or("the timestamp is not SECONDS.MICROSECONDS")?);
        rest = after;
    }
    let (mut pid, mut tid) = (None, None);
    if prefix.pid || prefix.tid {
        let (word, after) = rest.split_once(' ').ok_or("no process or thread id")?;
        let id = |word: &str| {
            decimal(word)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|&n| n != 0)
        };
        match (prefix.pid, prefix.tid) {
            (true, true) => {
                let (process, thread) = word.split_once('/').ok_or("not PID/TID")?;
                pid = Some(id(process).ok_or("PID is no number")?);
                tid = Some(id(thread).ok_or("TID is no number")?);
            }
            (true, false) => pid = Some(id(word).ok_or("PID is no number")?),
            _ => tid = Some(id(word).ok_or("TID is no number")?),
        }
        rest = after;
    }
    let rest = rest
        .strip_prefix("[SN_ALLOC] ")
        .ok_or("no [SN_ALLOC] tag where it belongs")?;
    let name = FUNCTIONS
        .iter()
        .map(|row| row.0)
        .find(|name| {
            rest.strip_prefix(name)
                .is_some_and(|after| after.starts_with('('))
        })
        .ok_or("an unknown function")?;
    let after_name = &rest[name.len() + 1..];
    // Operands hold no parenthesis but `(nil)`.
    let mut line = Line {
        time_ns,
        pid,
        tid,
        function: name,
        size: None,
        count: None,
        alignment: None,
        given: None,
        returned: None,
        caller: "",
        call: "",
    };
    let mut problem = "wrong operands";
    for (_, operands, returns) in FUNCTIONS.iter().filter(|row| row.0 == name) {
        match tail(after_name, operands, *returns, &mut line) {
            Ok(end) => {
                let end_of_call = name.len() + 1 + end;
                line.call = &rest[..end_of_call];
                let caller = rest[end_of_call..]
                    .strip_prefix("  [")
                    .ok_or("no two blanks before [CALLER]")?;
                line.caller = caller.strip_suffix(']').ok_or("no ] at the end")?;
                if line.caller.is_empty() || line.caller != line.caller.trim() {
                    return Err("an empty CALLER, or blanks around it");
                }
                return Ok(line);
            }
            Err(why) => problem = why,
        }
    }
    Err(problem)
}

/// Reads operands, the closing parenthesis and the result; returns where the call ends.
fn tail(
    text: &str,
    operands: &[Operand],
    returns: bool,
    line: &mut Line<'_>,
) -> Result<usize, &'static str> {
    let mut rest = text;
    for (at, operand) in operands.iter().enumerate() {
        if at > 0 {
            rest = rest
                .strip_prefix(", ")
                .ok_or("operands are not separated by a comma and a blank")?;
        }
        let value;
        if *operand == Growth {
            rest = rest.strip_prefix('-').unwrap_or(rest);
            (_, rest) = leading_decimal(rest)?;
            continue;
        }
        (value, rest) = if *operand == Given {
            pointer(rest)?
        } else {
            leading_decimal(rest)?
        };
        *match operand {
            Size => &mut line.size,
            Count => &mut line.count,
            Alignment => &mut line.alignment,
            Given | Growth => &mut line.given,
        } = Some(value);
    }
    rest = rest.strip_prefix(')').ok_or("no ) after the operands")?;
    if returns {
        rest = rest.strip_prefix(" = ").ok_or("no result")?;
        let block;
        (block, rest) = pointer(rest)?;
        line.returned = Some(block);
    }
    Ok(text.len() - rest.len())
}

fn pointer(text: &str) -> Result<(u64, &str), &'static str> {
    if let Some(rest) = text.strip_prefix("(nil)") {
        return Ok((0, rest));
    }
    let digits = text
        .strip_prefix("0x")
        .ok_or("a pointer is neither 0x... nor (nil)")?;
    let end = digits
        .find(|c: char| !matches!(c, '0'..='9' | 'a'..='f'))
        .unwrap_or(digits.len());
    if end == 0 || digits.starts_with('0') {
        return Err("a pointer without digits or with a leading zero");
    }
    let value =
        u64::from_str_radix(&digits[..end], 16).map_err(|_| "a pointer of more than 64 bits")?;
    Ok((value, &digits[end..]))
}

fn leading_decimal(text: &str) -> Result<(u64, &str), &'static str> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Ok((
        decimal(&text[..end]).ok_or("a number is not plain decimal")?,
        &text[end..],
    ))
}

/// A plain decimal number: digits, no sign, no leading zero.
fn decimal(text: &str) -> Option<u64> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// `12.345678`, six to nine decimals, in nanoseconds.
fn timestamp(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    if !(6..=9).contains(&fraction.len()) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = 10u64.pow(9 - fraction.len() as u32);
    Some(decimal(seconds)? * 1_000_000_000 + fraction.parse::<u64>().ok()? * scale)
}

const PLAIN: Prefix = Prefix {
    timestamps: false,
    pid: false,
    tid: false,
};

#[test]
fn the_contracts_own_examples_are_lines() {
    for text in [
        "[SN_ALLOC] malloc(72) = 0x5565282b12a0  [rt_arena_create_sized]",
        "[SN_ALLOC] free(0x5565282b12a0)  [rt_arena_destroy]",
        "[SN_ALLOC] realloc((nil), 10) = 0x1  [main]",
        "[SN_ALLOC] malloc(18446744073709551615) = (nil)  [main]",
        "[SN_ALLOC] operator new[](8) = 0xabc  [std::vector<int, std::allocator<int> >::operator[](unsigned long)]",
        "[SN_ALLOC] operator new(64, 128) = 0xabc  [f(int)]",
        "[SN_ALLOC] free(0x10)  [libx.so+0x1f]",
        "[SN_ALLOC] free(0x10)  [???]",
    ] {
        let line = Line::parse(text, PLAIN).unwrap();
        assert_eq!(format!("[SN_ALLOC] {}  [{}]", line.call, line.caller), text);
    }
    let all = Prefix {
        timestamps: true,
        pid: true,
        tid: true,
    };
    let line = Line::parse("12.345678 1234/1235 [SN_ALLOC] free(0x10)  [f]", all).unwrap();
    assert_eq!(
        (line.time_ns, line.pid, line.tid),
        (Some(12_345_678_000), Some(1234), Some(1235))
    );
    assert_eq!((line.given, line.released()), (Some(16), Some(16)));
}

#[test]
fn what_is_nearly_a_line_is_refused() {
    for text in [
        "",
        "[SN_ALLOC] malloc(72) = 0x10 [one_blank]",
        "[SN_ALLOC] malloc(72) = 0x10   [three_blanks]",
        "[SN_ALLOC] malloc(072) = 0x10  [f]",
        "[SN_ALLOC] malloc(-1) = 0x10  [f]",
        "[SN_ALLOC] malloc(72) = 0x010  [f]",
        "[SN_ALLOC] malloc(72) = 0xAB  [f]",
        "[SN_ALLOC] malloc(72) = 0x0  [f]",
        "[SN_ALLOC] malloc(72) = nil  [f]",
        "[SN_ALLOC] malloc(72)  [f]",
        "[SN_ALLOC] free(0x10) = 0x10  [f]",
        "[SN_ALLOC] calloc(1,2) = 0x10  [f]",
        "[SN_ALLOC] malloc(72) = 0x10  []",
        "[SN_ALLOC] malloc(72) = 0x10  [f] ",
        "[SN_ALLOC] malloc(72) = 0x10  [a\u{1b}[31m]",
        "1234 [SN_ALLOC] free(0x10)  [f]",
        " [SN_ALLOC] free(0x10)  [f]",
        "[SN_ALLOC] mallocate(72) = 0x10  [f]",
    ] {
        assert!(Line::parse(text, PLAIN).is_err(), "{text:?}");
    }
}
