//! Blocks that one thread allocated and another one freed: who and who, and where they come from.

use std::io;

use serde::Serialize;

use super::Source;
use super::sites::{self, SitesView, Subject, more_line};
use super::threads::{ThreadName, name_of};
use crate::analyze::Counts;
use crate::page::quantity::{count, grouped, share, size};
use crate::page::{Page, Side, Span, Style, Table};

/// Blocks that went from one thread to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairEntry {
    /// Who allocated.
    pub from: ThreadName,
    /// Who freed.
    pub to: ThreadName,
    /// How many blocks.
    #[serde(flatten)]
    pub counts: Counts,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CrossThreadView {
    /// All of them.
    pub total: Counts,
    /// Pairs of threads, the most blocks first.
    pub pairs: Vec<PairEntry>,
    /// Pairs beyond these that were told apart.
    pub more_pairs: u64,
    /// Blocks of pairs that were not told apart, as there were too many.
    pub other: Counts,
    /// Where they were allocated.
    #[serde(flatten)]
    pub sites: CallersOnly,
}

/// The callers of a list, without its total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallersOnly {
    /// The callers, the most bytes first.
    pub callers: Vec<sites::SiteEntry>,
    /// Callers beyond these.
    pub more_callers: u64,
}

pub(super) fn of(source: Source<'_>) -> CrossThreadView {
    let (analysis, top) = (source.analysis, source.options.top);
    let crossings = &analysis.crossings;
    let name = |number: u32| {
        let thread = analysis.threads.get(number as usize);
        thread.map_or(ThreadName::default(), |thread| name_of(source, thread))
    };
    let pair = |&(from, to, counts): &(u32, u32, Counts)| PairEntry {
        from: name(from),
        to: name(to),
        counts,
    };
    let crossed = analysis.by_stack(|totals| totals.crossed);
    let sites = sites::of(source, Subject::CrossThread, crossed);
    CrossThreadView {
        total: crossings.total(),
        pairs: crossings.pairs.iter().take(top).map(pair).collect(),
        more_pairs: crossings.pairs.len().saturating_sub(top) as u64,
        other: crossings.other,
        sites: CallersOnly {
            callers: sites.callers,
            more_callers: sites.more_callers,
        },
    }
}

impl CrossThreadView {
    pub(super) fn text(&self, page: &mut Page<'_>, frames: usize) -> io::Result<()> {
        let Counts { blocks, bytes } = self.total;
        let note = match blocks {
            0 => String::new(),
            _ => format!("{}, {} in all", count(blocks, "block"), size(bytes)),
        };
        page.heading("Freed by another thread", &note)?;
        if self.total.is_none() {
            return page.say(Style::Dim, "none");
        }
        let mut table = Table::new(&[
            ("BLOCKS", Side::Right),
            ("SHARE", Side::Right),
            ("BYTES", Side::Right),
            ("ALLOCATED BY", Side::Right),
            ("FREED BY", Side::Left),
        ]);
        for pair in &self.pairs {
            table.row(
                vec![
                    Span::new(Style::Bold, grouped(pair.counts.blocks)),
                    Span::new(Style::Dim, share(pair.counts.blocks, blocks)),
                    Span::new(Style::Plain, size(pair.counts.bytes)),
                    Span::new(Style::Plain, pair.from.text()),
                    Span::new(Style::Plain, pair.to.text()),
                ],
                Vec::new(),
            );
        }
        table.write(page)?;
        if let Some(line) = more_line(self.more_pairs, "pair", 2) {
            page.line(&line)?;
        }
        if !self.other.is_none() {
            let others = count(self.other.blocks, "block");
            page.say(Style::Dim, format!("{others} of further pairs"))?;
        }
        let sites = SitesView::new(Subject::CrossThread, self.total, &self.sites);
        sites.text(page, Some(frames))
    }
}
