//! How large blocks are, as a histogram.

use std::io;

use serde::Serialize;

use super::Source;
use crate::analyze::Counts;
use crate::page::quantity::{grouped, share, size};
use crate::page::{Page, Side, Span, Style, Table};

/// Allocations whose sizes lie between two powers of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeEntry {
    /// The least size, in bytes.
    pub from_bytes: u64,
    /// The largest.
    pub to_bytes: u64,
    /// How many, and their bytes in all.
    #[serde(flatten)]
    pub counts: Counts,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizesView {
    /// All allocations.
    pub total: Counts,
    /// The classes from the smallest that has any to the largest, empty ones between them
    /// included.
    pub classes: Vec<SizeEntry>,
}

pub(super) fn of(source: Source<'_>) -> SizesView {
    let classes = source.analysis.sizes.classes();
    let classes: Vec<_> = classes
        .map(|class| SizeEntry {
            from_bytes: class.from_bytes,
            to_bytes: class.to_bytes,
            counts: class.counts,
        })
        .collect();
    SizesView {
        total: classes.iter().map(|class| class.counts).sum(),
        classes,
    }
}

impl SizesView {
    pub(super) fn text(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.heading("Sizes", "of what was asked for")?;
        if self.classes.is_empty() {
            return page.say(Style::Dim, "nothing was ever allocated");
        }
        let mut table = Table::new(&[
            ("FROM", Side::Right),
            ("TO", Side::Right),
            ("BLOCKS", Side::Right),
            ("SHARE", Side::Right),
            ("BYTES", Side::Right),
            ("", Side::Left),
        ]);
        let most = self.classes.iter().map(|class| class.counts.blocks).max();
        for class in &self.classes {
            let Counts { blocks, bytes } = class.counts;
            table.row(
                vec![
                    Span::new(Style::Plain, size(class.from_bytes)),
                    Span::new(Style::Plain, size(class.to_bytes)),
                    Span::new(Style::Bold, grouped(blocks)),
                    Span::new(Style::Dim, share(blocks, self.total.blocks)),
                    Span::new(Style::Plain, size(bytes)),
                    histogram_bar(blocks, most.unwrap_or(0), page.width()),
                ],
                Vec::new(),
            );
        }
        table.write(page)
    }
}

/// A bar that is as long as `part` is of the longest; what is not nothing shows.
pub(super) fn histogram_bar(part: u64, most: u64, width: usize) -> Span {
    let longest = width.saturating_sub(60).clamp(8, 40) as u128;
    let eighths = match most {
        0 => 0,
        most => (u128::from(part) * longest * 8).div_ceil(u128::from(most)),
    };
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let bar = "█".repeat((eighths / 8) as usize) + PARTS[(eighths % 8) as usize];
    Span::new(Style::Cyan, bar)
}
