//! Exact numbers: what a budget allows, what was measured, and what lies between.
//!
//! A gate must not fail or pass by rounding: 115 allocations of 100 calls are within
//! `allocations_per_call = 1.15`, and no product of two floats says so (1.15 * 100 is below 115). So a
//! limit is counted in millionths and compared in 128 bits.

use std::fmt;

/// How finely a limit is written: six decimals.
const PARTS: u128 = 1_000_000;

/// The highest figure that a bound allows, exact to the millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    millionths: u128,
}

impl Limit {
    /// So many blocks or bytes.
    #[must_use]
    pub const fn whole(number: u64) -> Limit {
        Limit {
            millionths: number as u128 * PARTS,
        }
    }

    /// So many millionths.
    #[must_use]
    pub const fn millionths(number: u64) -> Limit {
        Limit {
            millionths: number as u128,
        }
    }

    /// In blocks or bytes, rounded up; `u64::MAX` for all that is beyond.
    #[must_use]
    pub fn rounded_up(self) -> u64 {
        u64::try_from(self.millionths.div_ceil(PARTS)).unwrap_or(u64::MAX)
    }

    /// Reads a plain decimal number below 2^64: digits, with up to six more after a point.
    pub(crate) fn from_decimal(text: &str) -> Option<Limit> {
        let (digits, decimals) = digits(text)?;
        let scale = 10u128.pow(6u32.checked_sub(decimals)?);
        let millionths = digits.checked_mul(scale)?;
        (millionths >> 64 < PARTS).then_some(Limit { millionths })
    }

    /// Written with a point, rounded up to three digits, which is by less than 1 % (or by less than a
    /// millionth): a person wrote the number before and reads it after.
    pub(crate) fn to_decimal(self) -> String {
        let decimals = match self.millionths {
            100_000_000.. => 0,
            10_000_000.. => 1,
            1_000_000.. => 2,
            100_000.. => 3,
            10_000.. => 4,
            _ => 6,
        };
        let step = 10u128.pow(6 - decimals);
        let rounded = Limit {
            millionths: self.millionths.div_ceil(step) * step,
        };
        let mut text = rounded.to_string();
        if !text.contains('.') {
            text += ".0";
        }
        text
    }
}

impl fmt::Display for Limit {
    /// As short as it is exact: `3`, `2.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.millionths, 6))
    }
}

/// A number of so many decimals, without zeros at its end.
pub(super) fn decimal(number: u128, decimals: u32) -> String {
    let scale = 10u128.pow(decimals);
    let (whole, part) = (number / scale, number % scale);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:0width$}", width = decimals as usize);
    format!("{whole}.{}", part.trim_end_matches('0'))
}

/// All digits of a plain decimal number as one, and how many of them stand after its point. `None`
/// where it is none, or beyond 128 bits.
pub(super) fn digits(text: &str) -> Option<(u128, u32)> {
    let (whole, part) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(part) {
        return None;
    }
    let number = format!("{whole}{part}").parse().ok()?;
    Some((number, u32::try_from(part.len()).ok()?))
}

/// What was measured: blocks or bytes, of the run or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    amount: u64,
    /// Not zero.
    calls: u64,
}

impl Figure {
    /// So many blocks or bytes.
    #[must_use]
    pub const fn of(amount: u64) -> Figure {
        Figure { amount, calls: 1 }
    }

    /// So many allocations in so many calls; `None` without a call.
    #[must_use]
    pub const fn per_call(allocations: u64, calls: u64) -> Option<Figure> {
        match calls {
            0 => None,
            _ => Some(Figure {
                amount: allocations,
                calls,
            }),
        }
    }

    /// Whether it is above the limit. What equals the limit is within it.
    #[must_use]
    pub const fn exceeds(self, limit: Limit) -> bool {
        // Beyond 128 bits the limit is above every amount.
        self.amount as u128 * PARTS > limit.millionths.saturating_mul(self.calls as u128)
    }

    /// Which of two is more.
    #[must_use]
    pub fn compare(self, other: Figure) -> std::cmp::Ordering {
        let product = |amount: u64, calls: u64| u128::from(amount) * u128::from(calls);
        product(self.amount, other.calls).cmp(&product(other.amount, self.calls))
    }

    /// The lowest limit, to the millionth, that leaves this margin above the figure.
    #[must_use]
    pub const fn with_margin(self, margin: Margin) -> Limit {
        let amount = self.amount as u128 * (PARTS + margin.millionths as u128);
        Limit {
            millionths: amount.div_ceil(self.calls as u128),
        }
    }
}

/// By which part of itself a figure may grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margin {
    millionths: u32,
}

impl Margin {
    /// The widest: a figure may become a thousand times what it was.
    pub const MOST_PERCENT: f64 = 100_000.0;

    /// So many percent, rounded to four decimals. `None` below zero, above [`Margin::MOST_PERCENT`],
    /// and for what is no number.
    #[must_use]
    pub fn percent(percent: f64) -> Option<Margin> {
        (0.0..=Margin::MOST_PERCENT)
            .contains(&percent)
            .then(|| Margin {
                // Whole and below 2^32 after the check.
                millionths: (percent * 10_000.0).round() as u32,
            })
    }
}

impl fmt::Display for Margin {
    /// In percent, without the sign: `5`, `2.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.millionths.into(), 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_equals_the_limit_is_within_it() {
        let limit = Limit::from_decimal("1.15").unwrap();
        assert!(!Figure::per_call(115, 100).unwrap().exceeds(limit));
        assert!(Figure::per_call(116, 100).unwrap().exceeds(limit));
        assert!(!Figure::of(3).exceeds(Limit::whole(3)));
        assert!(Figure::of(4).exceeds(Limit::whole(3)));
        assert!(!Figure::of(u64::MAX).exceeds(Limit::whole(u64::MAX)));
        assert_eq!(Figure::per_call(1, 0), None);
    }

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        for (text, millionths) in [
            ("3", Some(3_000_000)),
            ("2.5", Some(2_500_000)),
            ("0.000001", Some(1)),
            ("2.50", Some(2_500_000)),
            ("0.0000001", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1e3", None),
            ("-1", None),
            ("99999999999999", Some(99_999_999_999_999_000_000)),
            ("18446744073709551616", None),
            ("999999999999999999999999999999999999999", None),
        ] {
            let limit = millionths.map(|millionths| Limit { millionths });
            assert_eq!(Limit::from_decimal(text), limit, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_short() {
        assert_eq!(Limit::millionths(2_500_000).to_string(), "2.5");
        assert_eq!(Limit::whole(3).to_string(), "3");
        // 2.641 is rounded up to three digits.
        assert_eq!(Limit::millionths(2_641_000).to_decimal(), "2.65");
        assert_eq!(Limit::whole(3).to_decimal(), "3.0");
        assert_eq!(Limit::millionths(1).to_decimal(), "0.000001");
        assert_eq!(Margin::percent(2.5).unwrap().to_string(), "2.5");
    }

    #[test]
    fn a_margin_is_no_negative_number() {
        for percent in [-1.0, f64::NAN, f64::INFINITY, 100_001.0] {
            assert_eq!(Margin::percent(percent), None);
        }
        // 0.07 * 10,000 is above 700 in floating point.
        assert_eq!(Margin::percent(0.07), Some(Margin { millionths: 700 }));
        assert!(Margin::percent(Margin::MOST_PERCENT).is_some());
    }

    proptest! {
        #[test]
        fn a_figure_is_within_its_margin_and_nothing_lower(
            amount: u64,
            calls in 1..u64::MAX,
            millionths in 0..1_000_000_000u32,
        ) {
            let figure = Figure { amount, calls };
            let limit = figure.with_margin(Margin { millionths });
            prop_assert!(!figure.exceeds(limit));
            // limit * calls >= amount * (1 + margin) > (limit - 1) * calls, in millionths.
            let wanted = u128::from(amount) * (PARTS + u128::from(millionths));
            prop_assert!(limit.millionths * u128::from(calls) >= wanted);
            prop_assert!(limit.millionths == 0 || (limit.millionths - 1) * u128::from(calls) < wanted);
        }

        #[test]
        fn a_decimal_is_rounded_up_by_less_than_a_hundredth(number in 0..1_000_000_000_000u64) {
            let limit = Limit::millionths(number);
            let written = Limit::from_decimal(&limit.to_decimal()).unwrap();
            prop_assert!(written >= limit);
            let over = written.millionths - limit.millionths;
            prop_assert!(over == 0 || over * 100 < limit.millionths, "{number}");
        }
    }
}
