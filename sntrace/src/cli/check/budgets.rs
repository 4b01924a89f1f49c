//! Budget files: read before the program runs, rewritten after it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::check::{Budget, Evidence, Facts, fresh};
use crate::cli::baseline;
use crate::cli::diff::GateError;
use crate::exact::Margin;
use crate::messages;
use crate::output::escape;
use crate::profile::{Figures, Measured, Metric};

/// Reads a budget; `None`: it is not there, and is to be made.
pub(super) fn read(path: &Path, to_be_made: bool) -> Result<Option<Budget>, GateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Budget::parse(path, &bytes)?)),
        Err(error) if to_be_made && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// Writes today's figures into a budget, or makes one.
pub(super) fn update(
    path: &Path,
    budget: Option<&Budget>,
    evidence: Evidence<'_>,
    percent: f64,
) -> Result<(), GateError> {
    let margin = Margin::percent(percent).unwrap_or_default();
    let shown = escape::shown(&path.to_string_lossy());
    let Some(budget) = budget else {
        let profile = evidence.comparison.head;
        let measured = Measured::of(&profile.totals);
        let high = |metric| measured.get(metric).high;
        let totals = Figures {
            allocations: high(Metric::Allocations),
            bytes: high(Metric::Bytes),
            peak_bytes: high(Metric::PeakBytes),
            leaked_bytes: high(Metric::LeakedBytes),
            leaked_allocations: high(Metric::LeakedAllocations),
            temporary_allocations: high(Metric::TemporaryAllocations),
        };
        let revision = baseline::revision();
        let facts = Facts {
            command: &profile.origin.command,
            generator: &profile.origin.generator,
            started: &profile.origin.started,
            revision: revision.as_deref(),
        };
        write(path, &fresh(&totals, margin, &facts))?;
        messages::note(format!(
            "made the budget '{shown}', {percent}% above what was measured"
        ));
        return Ok(());
    };
    let updated = budget.updated(
        &|bounded, bound| budget.measured(evidence, bounded, bound),
        margin,
    );
    for (key, old, new) in &updated.changed {
        messages::note(format!("{}: {old} is {new} now", escape::shown(key)));
    }
    for key in &updated.left {
        messages::warning(
            format!(
                "{}: left as it is, as nothing was measured for it",
                escape::shown(key)
            ),
            None,
        );
    }
    match updated.changed.len() {
        0 => messages::note(format!("nothing to change in the budget '{shown}'")),
        _ => {
            write(path, &updated.text)?;
            messages::note(format!(
                "updated the budget '{shown}', {percent}% above what was measured"
            ));
        }
    }
    Ok(())
}

/// Replaces the file at once or not at all. Its permissions stay.
fn write(path: &Path, text: &str) -> Result<(), GateError> {
    // A link stays one: what it leads to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let replace = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".budget-")
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        match fs::metadata(&target) {
            Ok(metadata) => file.as_file().set_permissions(metadata.permissions())?,
            Err(_) => baseline::make_readable(file.as_file())?,
        }
        file.persist(&target).map_err(|error| error.error)?;
        Ok(())
    };
    replace().map_err(|source| failed("write", path, source))
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> GateError {
    GateError::BudgetFile {
        verb,
        path: escape::shown(&path.to_string_lossy()),
        source,
    }
}
