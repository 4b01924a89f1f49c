//! Sizes as a person writes them: a number and a unit, in powers of 1024.

use super::limit::{decimal, digits};
use crate::output::filter::shift_of;

/// The unit of a size, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Blanks between number and unit.
    gap: String,
    /// `K`, `MiB`, `g`, ...; empty: bytes.
    name: String,
}

impl Unit {
    /// The one to write this size in when there is none to keep.
    pub fn fitting(bytes: u64) -> Unit {
        let name = match bytes {
            0..0x400 => "",
            0x400..0x10_0000 => "K",
            0x10_0000..0x4000_0000 => "M",
            _ => "G",
        };
        Unit {
            gap: String::new(),
            name: name.into(),
        }
    }

    /// Whether it is one, not bytes.
    pub fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    /// Its like for another power of 1024: `KiB` becomes `MiB`, `k` becomes `m`.
    fn like(&self, shift: u32) -> String {
        let letter = match shift {
            10 => 'K',
            20 => 'M',
            _ => 'G',
        };
        let mut rest = self.name.chars();
        let letter = match rest.next() {
            Some(old) if old.is_ascii_lowercase() => letter.to_ascii_lowercase(),
            _ => letter,
        };
        format!("{}{letter}{}", self.gap, rest.as_str())
    }
}

/// The bytes of `3M`, `1.5 MiB` or `300`, rounded down to a whole byte: a bound of 1.5 bytes allows one.
/// `None` where it is no size, or not below 2^64.
pub(crate) fn read(text: &str) -> Option<(u64, Unit)> {
    let number_end = text
        .find(|character: char| !matches!(character, '0'..='9' | '.'))
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let name = rest.trim_start_matches([' ', '\t']);
    let gap = &rest[..rest.len() - name.len()];
    let shift = shift_of(name)?;
    let (digits, decimals) = digits(number)?;
    let bytes = digits.checked_mul(1 << shift)? / 10u128.checked_pow(decimals)?;
    let unit = Unit {
        gap: gap.into(),
        name: name.into(),
    };
    Some((u64::try_from(bytes).ok()?, unit))
}

/// Writes a size with a unit, rounded up to three digits, which is by less than 1 % or a byte. The power of
/// 1024 stays as it is while the number has up to four digits before its point. `None` where
/// what is rounded up can't be read back: at the very end of 64 bits.
pub(crate) fn write(bytes: u64, unit: &Unit) -> Option<String> {
    let old = shift_of(&unit.name)?;
    if old == 0 {
        return Some(format!("{bytes}{}", unit.gap));
    }
    let fits = |shift: u32| (1..10_000).contains(&(bytes >> shift));
    let shift = match bytes {
        0 => old,
        _ if fits(old) => old,
        _ => [30, 20]
            .into_iter()
            .find(|shift| bytes >> shift > 0)
            .unwrap_or(10),
    };
    let decimals = match bytes >> shift {
        100.. => 0,
        10.. => 1,
        1.. => 2,
        0 => 3,
    };
    let number = (u128::from(bytes) * 10u128.pow(decimals)).div_ceil(1 << shift);
    let text = format!("{}{}", decimal(number, decimals), unit.like(shift));
    read(&text).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        for (text, bytes) in [
            ("3M", Some(3 << 20)),
            ("1 MiB", Some(1 << 20)),
            ("1.5M", Some(3 << 19)),
            ("64k", Some(64 << 10)),
            ("2\tG", Some(2 << 30)),
            ("300", Some(300)),
            // 1.0001 * 1024 is 1024.1024.
            ("1.0001K", Some(1024)),
            ("16777215G", Some(16_777_215 << 30)),
            ("17179869184G", None),
            ("", None),
            ("M", None),
            ("3X", None),
            ("-3M", None),
            ("+3M", None),
            ("3.M", None),
            (".5M", None),
            ("1.2.3M", None),
            ("3M ", None),
            (" 3M", None),
            ("3\u{a0}M", None),
        ] {
            assert_eq!(read(text).map(|(bytes, _)| bytes), bytes, "{text:?}");
        }
        let long = format!("0.{}K", "0".repeat(60));
        assert_eq!(read(&long), None);
    }

    #[test]
    fn a_size_keeps_the_look_of_its_unit() {
        for (bytes, like, expected) in [
            (3 << 20, "1M", "3M"),
            ((3 << 20) + 1, "1M", "3.01M"),
            // Within four digits the unit stays.
            (3 << 20, "1K", "3072K"),
            (30 << 20, "1 KiB", "30 MiB"),
            (30 << 30, "1kib", "30gib"),
            // 700 / 1024 is 0.68359.
            (700, "3 MiB", "0.684 KiB"),
            (0, "3M", "0M"),
            (70_000, "300", "70000"),
        ] {
            let (_, unit) = read(like).unwrap();
            assert_eq!(write(bytes, &unit).as_deref(), Some(expected));
        }
        let (_, unit) = read("1G").unwrap();
        assert_eq!(write(u64::MAX, &unit), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_never_below_and_hardly_above(
            bytes: u64, bits in 0..64u32, unit in "(\\t| ?)([kKmMgG]([iI]?[bB])?)?",
        ) {
            let bytes = bytes >> bits;
            let (_, unit) = read(&format!("1{unit}")).unwrap();
            if let Some(text) = write(bytes, &unit) {
                let (read, _) = read(&text).unwrap();
                prop_assert!(read >= bytes, "{text}");
                prop_assert!(u128::from(read - bytes) <= u128::from(bytes) / 100 + 1, "{text}");
            }
        }
    }
}
