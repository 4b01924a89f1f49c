//! A profile as a file: what a baseline is.
//!
//! ```text
//! {"format":"sntrace-profile","version":1,"origin":{..},"certificate":{..},"totals":[{..}],
//!  "files":[{"path":"/usr/bin/app","build_id":"ab12"}],
//!  "frames":[{"file":0,"address":4096,"functions":[{"function":"work","file":"a.c","line":3}]}],
//!  "stacks":[[0,null],[1,0]],
//!  "sites":[{"stack":1,"runs":[{"allocations":3,..}]}]}
//! ```
//!
//! One JSON document with a row a line, so that it lies well in a repository: a change is a change of few lines.
//! A frame's first function is the innermost inlined one, its last the real one. A stack is a frame and the row of the
//! stack that calls it, which stands before it. Only what a site needs is written.

mod read;

use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Figures, Profile};
use crate::output::pretty;
use crate::symbolize::Frame;
use crate::trace::{FileNumber, SiteId, StackId};

pub use read::read;

/// What `format` says.
pub const FORMAT: &str = "sntrace-profile";
/// What `version` says. It grows when a key changes its meaning.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    path: String,
    /// Hexadecimal; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    build_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<u32>,
    /// As in a trace. Of use only within the very same file.
    address: u64,
    functions: Vec<FunctionRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// A frame, and the row of its caller. The frame is null where a stack was cut off.
type StackRow = (Option<u32>, Option<u32>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteRow {
    /// Null: no stack was taken.
    stack: Option<u32>,
    runs: Vec<Figures>,
}

/// Whether a file that begins with these bytes is meant to be a profile.
#[must_use]
pub fn is_profile(start: &[u8]) -> bool {
    let text: Vec<u8> = start
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .take(64)
        .copied()
        .collect();
    text.starts_with(b"{\"format\":\"sntrace-profile\"")
}

/// Writes a profile.
///
/// # Errors
/// When the destination takes no more.
pub fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let needed = Needed::of(profile);
    write!(
        out,
        "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\n\"origin\":"
    )?;
    pretty::write_line(&profile.origin, out)?;
    out.write_all(b",\n\"certificate\":")?;
    pretty::write_line(&profile.certificate, out)?;
    rows(out, "totals", profile.totals.iter())?;
    let files = needed.files.iter().map(|number| {
        let file = profile.tables.files.get(*number as usize);
        file.map_or_else(
            || FileRow {
                path: String::new(),
                build_id: String::new(),
            },
            |file| FileRow {
                path: file.path.clone(),
                build_id: hex(&file.build_id),
            },
        )
    });
    rows(out, "files", files)?;
    let frames = needed.sites.iter().map(|site| {
        let place = profile.tables.site(SiteId(*site));
        FrameRow {
            file: place.file.and_then(|file| needed.file(file)),
            address: place.address,
            functions: place.functions.iter().map(function_row).collect(),
        }
    });
    rows(out, "frames", frames)?;
    let stacks = needed.stacks.iter().map(|stack| -> StackRow {
        let node = profile.tables.stacks.node(StackId(*stack));
        node.map_or((None, None), |node| {
            (needed.site(node.site), needed.stack(node.parent))
        })
    });
    rows(out, "stacks", stacks)?;
    let mut sites: Vec<_> = profile.stacks.iter().collect();
    sites.sort_by_key(|figures| figures.stack);
    let sites = sites.into_iter().map(|figures| SiteRow {
        stack: needed.stack(figures.stack),
        runs: figures.runs.clone(),
    });
    rows(out, "sites", sites)?;
    out.write_all(b"}\n")?;
    out.flush()
}

fn rows<T: Serialize>(
    out: &mut dyn Write,
    name: &str,
    rows: impl Iterator<Item = T>,
) -> io::Result<()> {
    write!(out, ",\n\"{name}\":[")?;
    for (at, row) in rows.enumerate() {
        out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        pretty::write_line(&row, out)?;
    }
    out.write_all(b"]")
}

fn function_row(frame: &Frame) -> FunctionRow {
    FunctionRow {
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
    }
}

/// What sites lead to, in the order of its numbers.
struct Needed {
    stacks: Vec<u32>,
    sites: Vec<u32>,
    files: Vec<u32>,
}

impl Needed {
    fn of(profile: &Profile) -> Needed {
        let tables = &profile.tables;
        let mut marked = vec![false; tables.stacks.len()];
        for figures in &profile.stacks {
            let mut at = figures.stack;
            while let Some(node) = tables.stacks.node(at) {
                match marked.get_mut(at.0 as usize) {
                    Some(mark) if !*mark => *mark = true,
                    _ => break,
                }
                at = node.parent;
            }
        }
        let stacks: Vec<u32> = (0..)
            .zip(&marked)
            .filter(|(_, mark)| **mark)
            .map(|(at, _)| at)
            .collect();
        let nodes = stacks
            .iter()
            .filter_map(|at| tables.stacks.node(StackId(*at)));
        let sites = sorted(nodes.map(|node| node.site.0).filter(|site| *site != 0));
        let files = sites
            .iter()
            .filter_map(|site| tables.site(SiteId(*site)).file);
        Needed {
            files: sorted(files.map(|file| file.0)),
            stacks,
            sites,
        }
    }

    fn stack(&self, stack: StackId) -> Option<u32> {
        position(&self.stacks, stack.0)
    }

    fn site(&self, site: SiteId) -> Option<u32> {
        position(&self.sites, site.0)
    }

    fn file(&self, file: FileNumber) -> Option<u32> {
        position(&self.files, file.0)
    }
}

fn sorted(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn position(sorted: &[u32], number: u32) -> Option<u32> {
    // As many rows would not fit in memory.
    sorted.binary_search(&number).ok().map(|at| at as u32)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
