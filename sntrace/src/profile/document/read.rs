//! Reading a profile: as something that anybody may have changed. Numbers that lead nowhere are errors.

use serde::Deserialize;

use super::{FORMAT, FileRow, FrameRow, SiteRow, StackRow, VERSION};
use crate::profile::{Figures, Origin, Profile, StackFigures};
use crate::symbolize::Frame;
use crate::trace::{
    Certificate, FileNumber, Site, SiteId, StackId, StackTable, Tables, TraceError, TracedFile,
};

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
        tables.stacks.seal();
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
