//! Today's figures in yesterday's budget.
//!
//! Only the bytes of the numbers are exchanged: comments, blanks, order, line ends and reasons stay as
//! their author left them, whatever a TOML writer would make of them.

use super::budget::{Bound, Bounded, Budget, Written};
use crate::exact::{Figure, Limit, Margin, size};

/// A rewritten budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// What the file should hold.
    pub text: String,
    /// Bounds that have another limit now, with the old one and the new one.
    pub changed: Vec<(String, Limit, Limit)>,
    /// Keys of the bounds that stayed because there is no figure for them, or none that could be
    /// written (a whole number of a TOML file is below 2^63). Not escaped.
    pub left: Vec<String>,
}

impl Budget {
    /// Writes figures with a margin in place of the limits, rounded up. What is written in whole numbers
    /// stays so; a size keeps its unit, or gets the next one when it has outgrown it. A limit may come out
    /// lower than it was. `no_alloc` has no number.
    ///
    /// `figure` is asked once for each bound, and answers `None` where nothing was measured.
    #[must_use]
    pub fn updated(
        &self,
        figure: &dyn Fn(Bounded<'_>, &Bound) -> Option<Figure>,
        margin: Margin,
    ) -> Updated {
        let (mut edits, mut changed, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (bounded, bound) in self.bounds() {
            let limit = figure(bounded, bound).map(|figure| figure.with_margin(margin));
            let Some((value, limit)) = limit.and_then(|limit| written(bound, limit)) else {
                left.push(bound.key.clone());
                continue;
            };
            if limit != bound.limit {
                changed.push((bound.key.clone(), bound.limit, limit));
                edits.push((bound.span.clone(), value));
            }
        }
        edits.sort_unstable_by_key(|(span, _)| span.start);
        let mut text = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (span, value) in edits {
            text += &self.text[copied..span.start];
            // A string keeps its kind of quotes.
            let quote = self.text[span.clone()]
                .chars()
                .next()
                .filter(|first| matches!(first, '"' | '\''));
            text.extend(quote);
            text += &value;
            text.extend(quote);
            copied = span.end;
        }
        text += &self.text[copied..];
        Updated {
            text,
            changed,
            left,
        }
    }
}

/// The limit in the form of the old one, without quotes, and what is then the limit.
fn written(bound: &Bound, limit: Limit) -> Option<(String, Limit)> {
    let whole = limit.rounded_up();
    match &bound.written {
        Written::Whole { grouped } => {
            let number = i64::try_from(whole).ok()?.to_string();
            let text = if *grouped {
                in_thousands(&number)
            } else {
                number
            };
            Some((text, Limit::whole(whole)))
        }
        Written::Decimal => {
            let text = limit.to_decimal();
            let limit = Limit::from_decimal(&text)?;
            Some((text, limit))
        }
        Written::Size(unit) => {
            let text = size::write(whole, unit)?;
            let (bytes, _) = size::read(&text)?;
            Some((text, Limit::whole(bytes)))
        }
    }
}

/// `12000` as `12_000`.
fn in_thousands(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}
