//! Plain fields of a chunk: numbers and byte strings, one after the other.
//!
//! A number takes seven bits a byte, the lowest first, the top bit set on all but the last byte.
//! What is counted or repeated by the million is in columns instead ([`super::column`]).

use std::fmt;

/// Bytes that can't be right: what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Malformed {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a string of bytes: its length and itself.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A difference as a number that is small if the difference is: 0, -1, 1, -2 as 0, 1, 2, 3.
#[inline(always)]
pub(super) const fn zigzag(difference: i64) -> u64 {
    (difference << 1 ^ difference >> 63) as u64
}

/// The difference that a number of [`zigzag`] is.
#[inline(always)]
pub(super) const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Reads fields one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or_else(short)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::new("a number is longer than 64 bits"))
    }

    /// A number that must fit 32 bits.
    pub(super) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed::new("a number is beyond its range"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::new("a text is not UTF-8"))
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            return Ok(());
        }
        let left = self.0.len();
        Err(Malformed(format!("{left} bytes are left over")))
    }
}

fn short() -> Malformed {
    Malformed::new("it ends inside a field")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_as_they_were_written() {
        let numbers = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX];
        let mut out = Vec::new();
        for number in numbers {
            put_number(&mut out, number);
        }
        put_bytes(&mut out, b"text");
        let mut fields = Fields(&out);
        for number in numbers {
            assert_eq!(fields.number(), Ok(number));
        }
        assert_eq!(fields.text(), Ok("text"));
        assert_eq!(fields.end(), Ok(()));
        assert!(fields.byte().is_err());
    }

    #[test]
    fn what_no_writer_writes_is_refused() {
        assert!(Fields(&[0xff; 9]).number().is_err());
        assert!(Fields(&[0xff; 11]).number().is_err());
        let two_to_64 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2];
        assert!(Fields(&two_to_64).number().is_err());
        assert!(Fields(&[5, b'a']).bytes().is_err());
        assert!(Fields(&[1, 0xff]).text().is_err());
        assert!(Fields(&[0x80, 0x80, 0x80, 0x80, 0x10]).small().is_err());
    }

    #[test]
    fn small_differences_are_small_numbers() {
        let differences = [0, -1, 1, -2, 2];
        assert_eq!(differences.map(zigzag), [0, 1, 2, 3, 4]);
        for difference in [i64::MIN, i64::MAX, -77] {
            assert_eq!(unzigzag(zigzag(difference)), difference);
        }
    }
}
