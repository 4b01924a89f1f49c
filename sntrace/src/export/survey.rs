//! What some formats must know of a trace before they write its beginning.
//!
//! It takes a reading of the trace of its own.

use crate::output::Summary;
use crate::trace::{Exit, Item, Recording, TraceError};

use super::ledger::{Change, Ledger};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// When it ends, in nanoseconds since the run began.
    pub end_ns: u64,
    /// How often a block begins or ends.
    pub changes: u64,
    /// The bytes of those blocks.
    pub traffic: u64,
    /// The item that reached the peak, counted from 1; 0: nothing was ever live.
    pub peak_item: u64,
    /// The item that ended the last process; 0: none has ended.
    pub last_end: u64,
}

impl Survey {
    /// Reads the trace.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn of(recording: &dyn Recording) -> Result<Self, TraceError> {
        let mut survey = Self::default();
        let (mut summary, mut ledger) = (Summary::default(), Ledger::default());
        let mut items = 0;
        recording.replay(&mut |item| {
            items += 1;
            let before = summary.peak_bytes;
            summary.item(item);
            if summary.peak_bytes > before {
                survey.peak_item = items;
            }
            if matches!(item, Item::Ended { exit, .. } if *exit != Exit::Exec) {
                survey.last_end = items;
            }
            ledger.item(item, &mut |change| {
                let (Change::Begin(block) | Change::End { block, .. }) = change;
                survey.changes += 1;
                survey.traffic = survey.traffic.saturating_add(block.bytes);
            });
        })?;
        survey.end_ns = ledger.last_ns();
        Ok(survey)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn it_finds_the_peak_and_the_end() {
        let recording = samples::recording();
        let survey = Survey::of(&recording).unwrap();
        let summary = samples::summary(&recording);
        let time = match &recording.items[survey.peak_item as usize - 1] {
            Item::Event(event) => event.time_ns,
            Item::Process { time_ns, .. } => *time_ns,
            other => panic!("{other:?}"),
        };
        assert_eq!(time, summary.peak_time_ns);
        assert_eq!(survey.last_end, recording.items.len() as u64);
        assert_eq!(Survey::of(&samples::empty()).unwrap().changes, 0);
    }
}
