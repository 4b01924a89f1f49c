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
//!
//! It is read as something that anybody may have changed: numbers that lead nowhere are errors.

use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Figures, Origin, Profile, StackFigures};
use crate::output::pretty;
use crate::symbolize::Frame;
use crate::trace::{
    Certificate, FileNumber, Site, SiteId, StackId, StackTable, Tables, TraceError, TracedFile,
};

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

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u32,
    origin: Origin,
    certificate: Certificate,
    totals: Vec<Figures>,
    files: Vec<FileRow>,
    frames: Vec<FrameRow>,
    stacks: Vec<StackRow>,
    sites: Vec<SiteRow>,
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

/// Reads a profile. `path` is what errors call it, escaped.
///
/// # Errors
/// It is something else, of a later version, or can't be right.
pub fn read(path: &str, bytes: &[u8]) -> Result<Profile, TraceError> {
    let damaged = |error: &serde_json::Error| TraceError::Damaged {
        path: path.to_owned(),
        at: offset(bytes, error.line(), error.column()),
        what: error.to_string(),
    };
    let head: Head = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    if head.format != FORMAT {
        return Err(TraceError::Foreign {
            path: path.to_owned(),
            what: "it is another JSON document".into(),
        });
    }
    if head.version != VERSION {
        return Err(TraceError::Newer {
            path: path.to_owned(),
            version: head.version,
        });
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    document.profile().map_err(|what| TraceError::Damaged {
        path: path.to_owned(),
        at: bytes.len() as u64,
        what,
    })
}

/// The byte at a line and column, both from 1.
fn offset(bytes: &[u8], line: usize, column: usize) -> u64 {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column).min(bytes.len()) as u64
}

impl Document {
    fn profile(self) -> Result<Profile, String> {
        let runs = self.totals.len();
        if runs == 0 {
            return Err("it has no totals".into());
        }
        let mut tables = Tables {
            files: Vec::new(),
            sites: vec![Site::default()],
            stacks: StackTable::default(),
        };
        for file in self.files {
            tables.files.push(TracedFile {
                build_id: bytes_of(&file.build_id)?,
                path: file.path,
            });
        }
        for (row, frame) in self.frames.into_iter().enumerate() {
            if frame
                .file
                .is_some_and(|file| file as usize >= tables.files.len())
            {
                return Err(format!("frame {row} is of a file that is not there"));
            }
            let functions = frame.functions.into_iter().map(|function| Frame {
                function: function.function,
                file: function.file,
                line: function.line,
            });
            tables.sites.push(Site {
                file: frame.file.map(FileNumber),
                address: frame.address,
                functions: functions.collect(),
            });
        }
        // Rows may repeat a stack, which has one number all the same.
        let mut stacks: Vec<StackId> = Vec::new();
        for (row, (frame, parent)) in self.stacks.into_iter().enumerate() {
            let site = match frame {
                None => SiteId::TRUNCATED,
                Some(frame) if (frame as usize) + 1 < tables.sites.len() => SiteId(frame + 1),
                Some(_) => return Err(format!("stack {row} has a frame that is not there")),
            };
            let parent = match parent {
                None => StackId::EMPTY,
                Some(parent) => *stacks.get(parent as usize).ok_or_else(|| {
                    format!("stack {row} is called from one that is not before it")
                })?,
            };
            stacks.push(tables.stacks.intern(parent, site));
        }
        let mut figures = Vec::with_capacity(self.sites.len());
        for (row, site) in self.sites.into_iter().enumerate() {
            let stack = match site.stack {
                None => StackId::EMPTY,
                Some(stack) => *stacks
                    .get(stack as usize)
                    .ok_or_else(|| format!("site {row} has a stack that is not there"))?,
            };
            if site.runs.len() != runs {
                return Err(format!(
                    "site {row} has figures of {} runs, not of {runs}",
                    site.runs.len()
                ));
            }
            figures.push(StackFigures {
                stack,
                runs: site.runs,
            });
        }
        Ok(Profile {
            origin: self.origin,
            certificate: self.certificate,
            totals: self.totals,
            tables,
            stacks: figures,
        })
    }
}

fn bytes_of(hex: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
        // Both are below 16.
        [high, low] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
        _ => None,
    });
    pairs
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| "a build id is not hexadecimal".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::samples::Maker;
    use proptest::prelude::*;

    fn profile(stacks: &[Vec<&'static str>]) -> Profile {
        let mut maker = Maker::default();
        maker.stack(&["unused", "main"]);
        for (stack, at) in stacks.iter().zip(1..) {
            let stack = maker.stack(stack);
            maker.malloc(stack, at * 0x100, at);
        }
        Profile::of(&maker.make()).unwrap()
    }

    fn written(profile: &Profile) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(profile, &mut bytes).unwrap();
        bytes
    }

    /// Everything that comparisons look at, with numbers replaced by what they stand for.
    fn meaning(profile: &Profile) -> impl PartialEq + std::fmt::Debug {
        let tables = &profile.tables;
        let mut sites: Vec<_> = profile
            .stacks
            .iter()
            .map(|figures| {
                let frames: Vec<_> = tables
                    .stacks
                    .frames(figures.stack)
                    .map(|site| {
                        let place = tables.site(site);
                        let file = tables.file_of(site).cloned();
                        (
                            site == SiteId::TRUNCATED,
                            file,
                            place.address,
                            place.functions.clone(),
                        )
                    })
                    .collect();
                (frames, figures.runs.clone())
            })
            .collect();
        sites.sort_by_key(|(_, runs)| (runs[0].bytes, runs[0].allocations));
        (
            profile.origin.clone(),
            profile.certificate.clone(),
            profile.totals.clone(),
            sites,
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            stacks in prop::collection::vec(prop::collection::vec(
                prop::sample::select(vec!["a", "b @x.c:1 < c", "?", "? in /lib/libz.so.1", "[truncated]"]), 0..5), 0..8)
        ) {
            let profile = profile(&stacks);
            let bytes = written(&profile);
            prop_assert!(is_profile(&bytes));
            let read = read("base", &bytes).unwrap();
            prop_assert_eq!(meaning(&read), meaning(&profile));
            prop_assert_eq!(written(&read), bytes);
        }

        #[test]
        fn whatever_is_in_it_is_an_error_or_a_profile(at in 0usize..2000, byte in any::<u8>()) {
            let mut bytes = written(&profile(&[vec!["a", "main"], vec!["b", "a", "main"]]));
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read("changed", &bytes);
            bytes.truncate(at);
            prop_assert!(read("cut", &bytes).is_err());
        }
    }

    #[test]
    fn what_no_site_needs_is_not_written() {
        let text = String::from_utf8(written(&profile(&[vec!["a", "main"]]))).unwrap();
        assert!(!text.contains("unused"), "{text}");
    }

    #[test]
    fn a_name_does_nothing_to_a_terminal() {
        let mut profile = profile(&[vec!["a", "main"]]);
        profile.origin.command = vec!["x\u{9b}31m\u{202e}\x1b[0m".into()];
        let bytes = written(&profile);
        assert!(
            bytes
                .iter()
                .all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\n')
        );
        assert_eq!(read("p", &bytes).unwrap().origin, profile.origin);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let good = String::from_utf8(written(&profile(&[vec!["a", "main"]]))).unwrap();
        for (from, to, message) in [
            (
                "\"version\":1",
                "\"version\":9",
                "'p' has trace format 9, which this sntrace does not know",
            ),
            (
                "sntrace-profile",
                "sntrace",
                "'p' is no sntrace trace: it is another JSON document",
            ),
            ("[0,", "[7,", "stack 0 has a frame that is not there"),
            ("\"stack\":", "\"stick\":", "unknown field `stick`"),
        ] {
            assert!(good.contains(from), "{good}");
            let error = read("p", good.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
