//! Numbers as text, appended to a buffer.
//!
//! Two or three numbers stand in every line. `format!` would cost more than the rest of the line
//! together; these write the digits from the end into a small array and append it in one copy.

/// `00` to `99`, so that a division yields two digits.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut at = 0;
    while at < 100 {
        pairs[at * 2] = b'0' + (at / 10) as u8;
        pairs[at * 2 + 1] = b'0' + (at % 10) as u8;
        at += 1;
    }
    pairs
};

/// Appends `value` in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest >= 100 {
        let pair = (rest % 100) as usize * 2;
        rest /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if rest >= 10 {
        let pair = rest as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `value` in decimal, with a minus sign where it is negative.
pub fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    decimal(out, value.unsigned_abs());
}

/// Appends `value` as `0x` and lowercase hexadecimal digits; zero is `0x0`.
#[inline]
pub fn hexadecimal(out: &mut Vec<u8>, value: u64) {
    let count = ((67 - value.leading_zeros()) / 4).max(1);
    // The first digit to the top, so that what follows the last one can be cut off.
    let shifted = value << (64 - count * 4);
    let mut text = [0; 18];
    text[..2].copy_from_slice(b"0x");
    text[2..10].copy_from_slice(&eight_digits((shifted >> 32) as u32));
    text[10..].copy_from_slice(&eight_digits(shifted as u32));
    let end = out.len() + 2 + count as usize;
    out.extend_from_slice(&text);
    out.truncate(end);
}

/// Eight hexadecimal digits: a byte each, all at once.
#[inline(always)]
fn eight_digits(value: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(value);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    // 6 more than ten and above carries into the upper half of the byte.
    let letters = (digits + ONES * 6) >> 4 & ONES;
    let text = digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1);
    text.to_be_bytes()
}

/// Appends nanoseconds as seconds with six decimals; the rest is cut, not rounded, so that a time
/// never shows as later than it was.
pub fn seconds(out: &mut Vec<u8>, time_ns: u64) {
    decimal(out, time_ns / 1_000_000_000);
    // A leading one keeps the zeros: 42 µs are 1000042, of which six digits follow the point.
    let dot = out.len();
    decimal(out, 1_000_000 + time_ns / 1_000 % 1_000_000);
    out[dot] = b'.';
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn seconds_have_six_decimals() {
        assert_eq!(text(|out| seconds(out, 0)), "0.000000");
        assert_eq!(text(|out| seconds(out, 42_999)), "0.000042");
        assert_eq!(text(|out| seconds(out, 12_345_678_901)), "12.345678");
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_standard_library(wide: u64, shift in 0u32..64) {
            let value = wide >> shift;
            prop_assert_eq!(text(|out| decimal(out, value)), value.to_string());
            prop_assert_eq!(text(|out| hexadecimal(out, value)), format!("{value:#x}"));
            prop_assert_eq!(text(|out| signed(out, value as i64)), (value as i64).to_string());
        }
    }
}
