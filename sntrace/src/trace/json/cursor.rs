//! Takes JSON apart that is in memory: a value after the other, as whoever calls expects them.
//!
//! There is no tree and no list of tokens. Events are read by it, millions a second; what is of no
//! interest is passed over without being looked at closely.
//!
//! A piece may end anywhere, as it is what has been read of a file so far: [`Fault::Short`] then says that
//! there is more to come, and the value is read again from its beginning.

use super::nesting::{NO_PAIR, Nesting, TOO_DEEP};

/// Why a value can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The piece ends inside it.
    Short,
    /// It can't be right, at this place of the piece.
    Wrong(usize, &'static str),
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub raw: &'a [u8],
    /// Whether it has escapes, so that `raw` is not what it says.
    pub escaped: bool,
}

impl Text<'_> {
    /// What it says; `None` where its escapes or its bytes are no Unicode.
    pub fn decoded(&self) -> Option<String> {
        let mut quoted = Vec::with_capacity(self.raw.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(self.raw);
        quoted.push(b'"');
        serde_json::from_slice(&quoted).ok()
    }
}

/// A place in a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How much of the piece has been read.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub fn wrong<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault::Wrong(self.at, what))
    }

    #[inline]
    fn byte(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or(Fault::Short)
    }

    /// The next byte that is not blank, which is left where it is.
    #[inline]
    pub fn peek(&mut self) -> Result<u8, Fault> {
        loop {
            match self.byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                other => return Ok(other),
            }
        }
    }

    /// Passes over this byte and blanks before it, if it comes next.
    #[inline]
    pub fn skip(&mut self, byte: u8) -> Result<bool, Fault> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    /// Passes over this byte and blanks before it.
    #[inline]
    pub fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        match self.skip(byte)? {
            true => Ok(()),
            false => self.wrong(what),
        }
    }

    /// The next key of an object and its colon; `None` at the object's end. `first` is whether none came yet.
    #[inline]
    pub fn key(&mut self, first: bool) -> Result<Option<Text<'a>>, Fault> {
        if self.skip(b'}')? {
            return Ok(None);
        }
        if !first {
            self.expect(b',', "there is no comma between two keys")?;
        }
        let key = self.string()?;
        self.expect(b':', "there is no colon behind a key")?;
        Ok(Some(key))
    }

    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        self.expect(b'"', "there is no string where one has to be")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                0..=0x1f => return self.wrong("a string does not end in its line"),
                _ => self.at += 1,
            }
        }
        let raw = self.bytes.get(start..self.at).ok_or(Fault::Short)?;
        self.at += 1;
        Ok(Text { raw, escaped })
    }

    /// A whole number that is not negative.
    #[inline]
    pub fn number(&mut self) -> Result<u64, Fault> {
        self.peek()?;
        let start = self.at;
        let mut value = 0_u64;
        loop {
            // A number ends where something else begins, so that a piece that ends in one is short.
            let byte = self.byte()?;
            let digit = u64::from(byte.wrapping_sub(b'0'));
            if digit > 9 {
                break;
            }
            let longer = value.checked_mul(10).and_then(|ten| ten.checked_add(digit));
            let Some(longer) = longer else {
                return self.wrong("a number has more than 64 bits");
            };
            value = longer;
            self.at += 1;
        }
        match self.byte()? {
            b'.' | b'e' | b'E' => self.wrong(NOT_WHOLE),
            b'-' if start == self.at => self.wrong("a number is negative"),
            _ if start == self.at => self.wrong("there is no number where one has to be"),
            _ => Ok(value),
        }
    }

    /// A whole number.
    pub fn signed(&mut self) -> Result<i64, Fault> {
        let negative = self.skip(b'-')?;
        let size = self.number()?;
        let value = match negative {
            true => 0_i64.checked_sub_unsigned(size),
            false => i64::try_from(size).ok(),
        };
        value.map_or_else(|| self.wrong("a number has more than 64 bits"), Ok)
    }

    #[inline]
    pub fn id(&mut self) -> Result<u32, Fault> {
        let before = self.at;
        let value = self.number()?;
        u32::try_from(value).or(Err(Fault::Wrong(before, "a number has more than 32 bits")))
    }

    /// An address: a string of `0x` and hexadecimal digits.
    #[inline]
    pub fn address(&mut self) -> Result<u64, Fault> {
        let before = self.at;
        let text = self.string()?;
        match hexadecimal(text.raw) {
            Some(value) => Ok(value),
            None => Err(Fault::Wrong(before, "an address is none")),
        }
    }

    /// `null`, if that comes next.
    #[inline]
    pub fn null(&mut self) -> Result<bool, Fault> {
        match self.peek()? {
            b'n' => self.word(b"null").map(|()| true),
            _ => Ok(false),
        }
    }

    pub fn boolean(&mut self) -> Result<bool, Fault> {
        match self.peek()? {
            b't' => self.word(b"true").map(|()| true),
            b'f' => self.word(b"false").map(|()| false),
            _ => self.wrong("there is neither true nor false where one has to be"),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        match word.starts_with(rest) {
            true => Err(Fault::Short),
            false => self.wrong("a word is none that JSON has"),
        }
    }

    /// Passes over a value of any kind.
    pub fn skip_value(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            b't' | b'f' => self.boolean().map(|_| ()),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => {
                // Whether it is well-formed is of no interest: nobody asks for it.
                while matches!(self.byte()?, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    self.at += 1;
                }
                Ok(())
            }
            _ => self.wrong("there is no value where one has to be"),
        }
    }

    fn skip_nested(&mut self) -> Result<(), Fault> {
        let mut nesting = Nesting::default();
        loop {
            match self.byte()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                open @ (b'{' | b'[') if !nesting.open(open) => return self.wrong(TOO_DEEP),
                close @ (b'}' | b']') => match nesting.close(close) {
                    None => return self.wrong(NO_PAIR),
                    Some(0) => {
                        self.at += 1;
                        return Ok(());
                    }
                    Some(_) => {}
                },
                _ => {}
            }
            self.at += 1;
        }
    }
}

/// Said of a number with a fraction or an exponent.
pub(super) const NOT_WHOLE: &str =
    "a number is not whole: a tool that keeps numbers as doubles may have rewritten it";

/// The value of `0x` and up to 16 digits.
#[inline]
pub(super) fn hexadecimal(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"0x")?;
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut value = 0;
    for &digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::super::nesting::DEPTH_MAX;
    use super::*;
    use proptest::prelude::*;

    fn all<T>(text: &str, read: impl Fn(&mut Cursor<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        // What comes behind ends a number.
        read(&mut Cursor::new(format!("{text} ").as_bytes()))
    }

    #[test]
    fn numbers_are_whole_and_have_64_bits() {
        assert_eq!(
            all("18446744073709551615", |cursor| cursor.number()),
            Ok(u64::MAX)
        );
        assert_eq!(all(" \n7", |cursor| cursor.number()), Ok(7));
        assert_eq!(
            all("-9223372036854775808", |cursor| cursor.signed()),
            Ok(i64::MIN)
        );
        for (wrong, why) in [
            ("18446744073709551616", "a number has more than 64 bits"),
            ("1e3", NOT_WHOLE),
            ("1.0", NOT_WHOLE),
            ("-1", "a number is negative"),
            ("\"1\"", "there is no number where one has to be"),
        ] {
            let at = |fault| matches!(fault, Fault::Wrong(_, what) if what == why);
            assert!(
                all(wrong, |cursor| cursor.number()).is_err_and(at),
                "{wrong}"
            );
        }
        assert!(all("9223372036854775808", |cursor| cursor.signed()).is_err());
        assert!(all("4294967296", |cursor| cursor.id()).is_err());
        assert_eq!(Cursor::new(b"12").number(), Err(Fault::Short));
    }

    #[test]
    fn a_string_ends_at_its_quote_and_no_other() {
        let mut cursor = Cursor::new(br#" "a\"b\\" "#);
        let text = cursor.string().unwrap();
        assert_eq!((text.raw, text.escaped), (&br#"a\"b\\"#[..], true));
        assert_eq!(text.decoded().unwrap(), "a\"b\\");
        for short in [&b"\"abc"[..], b"\"abc\\", b"\"abc\\\"", b"  "] {
            assert_eq!(Cursor::new(short).string(), Err(Fault::Short));
        }
        assert!(matches!(
            Cursor::new(b"\"a\n\"").string(),
            Err(Fault::Wrong(2, _))
        ));
    }

    #[test]
    fn addresses_have_up_to_16_digits() {
        assert_eq!(hexadecimal(b"0x0"), Some(0));
        assert_eq!(hexadecimal(b"0xffffffffffffffff"), Some(u64::MAX));
        for none in [&b"0x"[..], b"1f", b"0x10000000000000000", b"0xg", b""] {
            assert_eq!(hexadecimal(none), None);
        }
    }

    #[test]
    fn any_value_is_passed_over() {
        for value in [
            r#"{"a":[1,{"b":"]}"}],"c":null}"#,
            "[]",
            "\"x\"",
            "-1.5e+7",
            "true",
        ] {
            let text = format!("  {value},");
            let mut cursor = Cursor::new(text.as_bytes());
            cursor.skip_value().unwrap();
            assert_eq!(cursor.at(), text.len() - 1, "{value}");
        }
        for wrong in ["{]", "[}", "nul1", "tru ", "x", "]"] {
            assert!(
                matches!(
                    all(wrong, |cursor| cursor.skip_value()),
                    Err(Fault::Wrong(..))
                ),
                "{wrong}"
            );
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(matches!(
            all(&deep, |cursor| cursor.skip_value()),
            Err(Fault::Wrong(_, TOO_DEEP))
        ));
        let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        assert_eq!(all(&deep, |cursor| cursor.skip_value()), Ok(()));
    }

    proptest! {
        #[test]
        fn a_cut_value_is_short_and_never_wrong(value in any::<u64>(), name: String, cut in 0.0..1.0) {
            let whole = serde_json::json!({"n": value, "s": name, "a": [1, true, {}]}).to_string();
            let at = (whole.len() as f64 * cut) as usize;
            prop_assert_eq!(Cursor::new(&whole.as_bytes()[..at]).skip_value(), Err(Fault::Short));
        }
    }
}
