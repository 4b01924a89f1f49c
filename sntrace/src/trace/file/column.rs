//! A column: one kind of number of many events.
//!
//! A column has two planes. Each number has a byte in the first, the *head*; what does not fit there
//! stands in the second, the *tail*. So the heads of many numbers are a text with few different
//! letters, which compresses well, and the low bits, which are mostly noise, are kept apart from it.
//!
//! | head | number | tail |
//! |---|---|---|
//! | 0 to 191 | the head | |
//! | 192 to 247 | 192 + (head - 192) * 256 + tail | 1 byte |
//! | 248 to 254 | tail | head - 246 bytes, the lowest first |

use super::fields::Malformed;

/// Numbers below this are a head and no tail.
const SHORT: u64 = 192;
/// Numbers below this have one byte of tail.
const MIDDLE: u64 = SHORT + 56 * 256;
/// Added to the bytes of a longer tail it is the head.
const LONG: u8 = 246;

/// A column that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub heads: Vec<u8>,
    pub tails: Vec<u8>,
}

impl Column {
    #[inline(always)]
    pub(super) fn put(&mut self, number: u64) {
        if number < SHORT {
            self.heads.push(number as u8);
        } else {
            self.put_long(number);
        }
    }

    #[inline]
    fn put_long(&mut self, number: u64) {
        if number < MIDDLE {
            let over = number - SHORT;
            self.heads.push((SHORT + over / 256) as u8);
            self.tails.push(over as u8);
        } else {
            // At least two, as it is no less than MIDDLE.
            let bytes = (71 - number.leading_zeros()) / 8;
            self.heads.push(LONG + bytes as u8);
            let all = number.to_le_bytes();
            self.tails.extend_from_slice(&all[..bytes as usize]);
        }
    }

    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.tails.clear();
    }
}

/// Reads a column's numbers one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColumnReader<'a> {
    heads: &'a [u8],
    tails: &'a [u8],
}

impl<'a> ColumnReader<'a> {
    /// From a column's two planes.
    #[must_use]
    pub fn new(heads: &'a [u8], tails: &'a [u8]) -> Self {
        Self { heads, tails }
    }

    /// The next number.
    ///
    /// # Errors
    /// There is none, or it has a head that no number has.
    #[inline(always)]
    pub fn number(&mut self) -> Result<u64, Malformed> {
        match self.heads.split_first() {
            Some((&head, rest)) => {
                self.heads = rest;
                if u64::from(head) < SHORT {
                    Ok(u64::from(head))
                } else {
                    self.long(head)
                }
            }
            None => Err(short()),
        }
    }

    #[inline]
    fn long(&mut self, head: u8) -> Result<u64, Malformed> {
        let over = u64::from(head) - SHORT;
        if head <= LONG + 1 {
            let (&tail, rest) = self.tails.split_first().ok_or_else(short)?;
            self.tails = rest;
            return Ok(SHORT + over * 256 + u64::from(tail));
        }
        let length = usize::from(head - LONG);
        if length > 8 {
            return Err(Malformed::new("a column has a head that no number has"));
        }
        let (tail, rest) = self.tails.split_at_checked(length).ok_or_else(short)?;
        self.tails = rest;
        let mut all = [0; 8];
        all[..length].copy_from_slice(tail);
        Ok(u64::from_le_bytes(all))
    }

    /// The next number, which must fit 32 bits.
    ///
    /// # Errors
    /// As [`ColumnReader::number`], or it does not fit.
    #[inline(always)]
    pub fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed::new("a number is beyond its range"))
    }

    /// Whether every number has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.tails.is_empty()
    }
}

#[cold]
fn short() -> Malformed {
    Malformed::new("a column ends before its events do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_they_were_written() {
        let mut numbers: Vec<u64> = (0..64)
            .flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])
            .collect();
        for edge in [SHORT, MIDDLE, u64::MAX] {
            numbers.extend([edge - 1, edge, edge.wrapping_add(1)]);
        }
        let mut column = Column::default();
        for &number in &numbers {
            column.put(number);
        }
        let mut reader = ColumnReader::new(&column.heads, &column.tails);
        for &number in &numbers {
            assert_eq!(reader.number(), Ok(number));
        }
        assert!(reader.is_empty());
        assert!(reader.number().is_err());
    }

    #[test]
    fn a_short_tail_and_an_unknown_head_are_refused() {
        assert!(ColumnReader::new(&[192], &[]).number().is_err());
        assert!(ColumnReader::new(&[254], &[0; 7]).number().is_err());
        assert!(ColumnReader::new(&[255], &[0; 9]).number().is_err());
        assert!(ColumnReader::new(&[254], &[255; 8]).small().is_err());
    }
}
