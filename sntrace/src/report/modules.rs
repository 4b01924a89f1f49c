//! By module: whose code called.

use std::io;

use serde::Serialize;

use super::Source;
use super::sites::more_line;
use crate::analyze::{Counts, ModuleTotals};
use crate::page::quantity::{grouped, share, size};
use crate::page::{Page, Side, Span, Style, Table};

/// What the code of a module asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModuleEntry {
    /// Its path; `null`: code that no file has (generated while the program ran).
    pub module: Option<String>,
    /// GNU build id in hexadecimal digits; `null` where there is none.
    pub build_id: Option<String>,
    /// All allocations.
    pub allocated: Counts,
    /// The temporary ones.
    pub temporary: Counts,
    /// Those live at the peak.
    pub peak: Counts,
    /// Those live when their process ended, suppressed ones included.
    pub leaked: Counts,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModulesView {
    /// The most allocated bytes first.
    pub modules: Vec<ModuleEntry>,
    /// Modules beyond these.
    pub more_modules: u64,
}

pub(super) fn of(source: Source<'_>) -> ModulesView {
    let (analysis, top) = (source.analysis, source.options.top);
    let files = &source.recording.tables().files;
    let entry = |module: &ModuleTotals| {
        let file = module.file.and_then(|file| files.get(file.0 as usize));
        let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        ModuleEntry {
            module: file.map(|file| file.path.clone()),
            build_id: file
                .filter(|file| !file.build_id.is_empty())
                .map(|file| digits(&file.build_id)),
            allocated: module.allocated,
            temporary: module.temporary,
            peak: module.peak,
            leaked: module.leaked,
        }
    };
    ModulesView {
        modules: analysis.modules.iter().take(top).map(entry).collect(),
        more_modules: analysis.modules.len().saturating_sub(top) as u64,
    }
}

impl ModulesView {
    pub(super) fn text(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.heading("Modules", "whose code called")?;
        if self.modules.is_empty() {
            return page.say(Style::Dim, "nothing was ever allocated");
        }
        let mut table = Table::new(&[
            ("BYTES", Side::Right),
            ("ALLOCATIONS", Side::Right),
            ("TEMPORARY", Side::Right),
            ("AT PEAK", Side::Right),
            ("LEAKED", Side::Right),
            ("MODULE", Side::Left),
        ]);
        for module in &self.modules {
            let (temporary, all) = (module.temporary.blocks, module.allocated.blocks);
            let name = module.module.as_deref().unwrap_or("code without a file");
            table.row(
                vec![
                    Span::new(Style::Bold, size(module.allocated.bytes)),
                    Span::new(Style::Plain, grouped(all)),
                    Span::new(Style::Dim, share(temporary, all)),
                    Span::new(Style::Plain, size(module.peak.bytes)),
                    Span::new(Style::Plain, size(module.leaked.bytes)),
                    Span::new(Style::Plain, name),
                ],
                Vec::new(),
            );
        }
        table.write(page)?;
        match more_line(self.more_modules, "module", 2) {
            Some(line) => page.line(&line),
            None => Ok(()),
        }
    }
}
