//! The number of a bound.

use std::ops::Range;

use toml_edit::{Item, Value};

use super::{COUNT, Fault, Member, Read, Reader};
use crate::check::budget::{Bound, Measure, Written};
use crate::check::error::Problem;
use crate::exact::Limit;
use crate::exact::size;
use crate::output::escape::shown;
use crate::profile::Metric;

const SIZE: &str = "a whole number or a size such as \"1.5M\"";
const RATIO: &str = "a number";

impl Reader<'_> {
    /// A member that is a bound, of whatever has the key `owner`.
    pub fn bound(&self, owner: &str, measure: Measure, member: &Member<'_>) -> Read<Bound> {
        let key = format!("{owner}.{}", member.name);
        let span = member.item.span().unwrap_or(member.at..member.at);
        let (limit, written) = match measure {
            Measure::AllocationsPerCall => self.ratio(&key, member, &span)?,
            Measure::Metric(metric) => self.amount(&key, metric, member, &span)?,
        };
        Ok(Bound {
            measure,
            limit,
            key,
            place: self.places.at(member.at),
            written,
            span,
        })
    }

    fn amount(
        &self,
        key: &str,
        metric: Metric,
        member: &Member<'_>,
        span: &Range<usize>,
    ) -> Read<(Limit, Written)> {
        let is_bytes = metric.is_bytes();
        match member.item {
            Item::Value(Value::Integer(number)) => {
                let number = u64::try_from(*number.value()).map_err(|_| negative(key, span))?;
                let grouped = self.raw(span).contains('_');
                Ok((Limit::whole(number), Written::Whole { grouped }))
            }
            Item::Value(Value::String(text)) if is_bytes => {
                let (bytes, unit) = size::read(text.value()).ok_or_else(|| {
                    let problem = Problem::Size {
                        key: shown(key),
                        text: shown(text.value()),
                    };
                    Fault(span.start, problem)
                })?;
                Ok((Limit::whole(bytes), Written::Size(unit)))
            }
            _ => Err(member.wrong_type(key, if is_bytes { SIZE } else { COUNT })),
        }
    }

    /// From its text: the nearest float of what is written is not what is written.
    fn ratio(&self, key: &str, member: &Member<'_>, span: &Range<usize>) -> Read<(Limit, Written)> {
        let raw = self.raw(span);
        let written = match member.item {
            // In decimal, whatever its base.
            Item::Value(Value::Integer(number)) => {
                let grouped = raw.contains('_');
                Some((number.value().to_string(), Written::Whole { grouped }))
            }
            Item::Value(Value::Float(_)) => {
                let plain = raw.trim_start_matches('+').replace('_', "");
                Some((plain, Written::Decimal))
            }
            _ => None,
        };
        let (number, written) = written.ok_or_else(|| member.wrong_type(key, RATIO))?;
        if number.starts_with('-') {
            return Err(negative(key, span));
        }
        let limit = Limit::from_decimal(&number).ok_or_else(|| {
            let problem = Problem::Decimal {
                key: shown(key),
                text: shown(raw),
            };
            Fault(span.start, problem)
        })?;
        Ok((limit, written))
    }

    fn raw(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }
}

fn negative(key: &str, span: &Range<usize>) -> Fault {
    let key = shown(key);
    Fault(span.start, Problem::Negative { key })
}
