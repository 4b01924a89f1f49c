//! What is written for a person in a terminal: lines, tables, and numbers as people read them.
//!
//! Reports and verdicts both are written on it, so that they look alike: a [`Page`] has a width and colours,
//! escapes whatever reaches it and cuts what does not fit; a [`Table`] lines up columns; [`quantity`] rounds.
//! Nothing here knows what is shown.

pub(crate) mod quantity;
mod sheet;
mod table;

pub(crate) use sheet::{Line, Page, Span, Style, shortened};
pub(crate) use table::{Side, Table};
