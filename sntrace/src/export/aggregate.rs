//! Formats that are made of each stack's figures, at the end.
//!
//! Folded stacks, pprof, speedscope, DHAT and CSV differ in how they write them down and in nothing
//! else: each is a function here.

use std::io::{self, Write};

use crate::output::Summary;
use crate::trace::{Item, Recording};

use super::ledger::Ledger;
use super::tally::Tally;
use super::{ExportOptions, Exporter};

/// What such a format is made of.
pub struct Aggregate<'r> {
    /// The trace: its tables, header and certificate.
    pub recording: &'r dyn Recording,
    /// What the user chose.
    pub options: ExportOptions,
    /// The figures of each stack.
    pub tally: Tally,
    /// The first process, whom formats of one process speak of.
    pub first_pid: u32,
    /// When the run ended, in nanoseconds since it began.
    pub end_ns: u64,
}

/// Writes it down.
pub type WriteDown = fn(&Aggregate<'_>, &Summary, &mut dyn Write) -> io::Result<()>;

/// An exporter of such a format.
pub struct AggregateExporter<'r> {
    aggregate: Aggregate<'r>,
    ledger: Ledger,
    write: WriteDown,
}

impl<'r> AggregateExporter<'r> {
    /// For this trace; `write` is called at the end.
    pub fn new(recording: &'r dyn Recording, options: &ExportOptions, write: WriteDown) -> Self {
        Self {
            aggregate: Aggregate {
                recording,
                options: *options,
                tally: Tally::new(recording.tables().stacks.len()),
                first_pid: 0,
                end_ns: 0,
            },
            ledger: Ledger::default(),
            write,
        }
    }
}

impl Exporter for AggregateExporter<'_> {
    fn item(&mut self, item: &Item, _: &mut dyn Write) -> io::Result<()> {
        let aggregate = &mut self.aggregate;
        if let Item::Process { pid, .. } = item
            && aggregate.first_pid == 0
        {
            aggregate.first_pid = *pid;
        }
        self.ledger
            .item(item, &mut |change| aggregate.tally.change(&change));
        aggregate.tally.settle();
        Ok(())
    }

    fn finish(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        self.aggregate.end_ns = self.ledger.last_ns();
        (self.write)(&self.aggregate, summary, out)
    }
}
