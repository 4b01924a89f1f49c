//! Figures by module: the file that has a stack's caller.

use std::collections::HashMap;

use super::callers::Callers;
use super::counts::Counts;
use super::sites::Stacks;
use crate::trace::FileNumber;

/// What the code of a module asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleTotals {
    /// The module; `None`: code that no file has.
    pub file: Option<FileNumber>,
    /// All allocations.
    pub allocated: Counts,
    /// The temporary ones.
    pub temporary: Counts,
    /// Those live at the peak.
    pub peak: Counts,
    /// Those live when their process ended, suppressed ones included.
    pub leaked: Counts,
}

/// The modules, the most allocated bytes first.
pub(super) fn of(stacks: &Stacks, callers: &Callers) -> Vec<ModuleTotals> {
    let mut all: HashMap<Option<FileNumber>, ModuleTotals> = HashMap::new();
    for (stack, totals) in stacks.iter() {
        // What is live at the peak or leaked was allocated, but for what a child inherited.
        if totals.allocated.is_none() && totals.peak.is_none() {
            continue;
        }
        let file = callers.get(callers.caller_of(stack)).file;
        let module = all.entry(file).or_insert_with(|| ModuleTotals {
            file,
            allocated: Counts::default(),
            temporary: Counts::default(),
            peak: Counts::default(),
            leaked: Counts::default(),
        });
        module.allocated += totals.allocated;
        module.temporary += totals.temporary;
        module.peak += totals.peak;
        module.leaked += totals.leaked;
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|m| {
        (
            std::cmp::Reverse((m.allocated.bytes, m.allocated.blocks)),
            m.file,
        )
    });
    all
}
