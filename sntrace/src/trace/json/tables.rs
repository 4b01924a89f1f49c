//! Of the rows of `frames`, `stacks` and `modules`: the tables of a recording.
//!
//! A document numbers frames and stacks as it likes. Here places count from 1, as 0 is what is missing of
//! a truncated stack, and a stack's parent has a lower number than the stack. Rows of a document that
//! sntrace wrote stand in that order, and keep it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::rows::{FrameRow, ModuleRow, StackRow};
use crate::symbolize::Frame;
use crate::trace::{FileNumber, Module, Site, SiteId, StackId, Tables, TracedFile};

/// Gathers rows as they come, in whatever order the tables stand.
#[derive(Debug, Default)]
pub(super) struct TableMaker {
    files: Vec<TracedFile>,
    file_numbers: HashMap<String, FileNumber>,
    /// From number 1 on.
    sites: Vec<Site>,
    /// By row of `frames`.
    frames: Vec<SiteId>,
    /// Rows of `stacks`: frame, and parent with [`NO_ROW`] for none.
    stacks: Vec<(u32, u32)>,
    texts: HashSet<Arc<str>>,
}

/// No row has this number: as many do not fit.
const NO_ROW: u32 = u32::MAX;

impl TableMaker {
    /// A row of `frames`.
    pub fn frame(&mut self, row: &FrameRow) -> Result<(), String> {
        if row.truncated {
            self.frames.push(SiteId::TRUNCATED);
            return Ok(());
        }
        let mut functions: Vec<Frame> = Vec::with_capacity(row.inlined.len() + 1);
        for inlined in &row.inlined {
            functions.push(self.function(&inlined.function, &inlined.file, inlined.line));
        }
        functions.push(self.function(&row.function, &row.file, row.line));
        // A place of which nothing is known has no functions, not one without a name.
        if functions == [Frame::default()] {
            functions.clear();
        }
        let file = match &row.module {
            Some(path) => Some(self.file(path)?),
            None => None,
        };
        self.sites.push(Site {
            file,
            address: row.file_address.unwrap_or(row.address).0,
            functions: functions.into(),
        });
        let number = u32::try_from(self.sites.len()).map_err(|_| too_many("frames"))?;
        self.frames.push(SiteId(number));
        Ok(())
    }

    fn function(
        &mut self,
        name: &Option<String>,
        file: &Option<String>,
        line: Option<u32>,
    ) -> Frame {
        Frame {
            function: name.as_deref().map(|text| self.text(text)),
            file: file.as_deref().map(|text| self.text(text)),
            line,
        }
    }

    /// One for all that are equal: source files are named by many frames.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }

    fn file(&mut self, path: &str) -> Result<FileNumber, String> {
        if let Some(&known) = self.file_numbers.get(path) {
            return Ok(known);
        }
        let number = u32::try_from(self.files.len()).map_err(|_| too_many("modules"))?;
        self.files.push(TracedFile {
            path: path.to_owned(),
            build_id: Vec::new(),
        });
        self.file_numbers
            .insert(path.to_owned(), FileNumber(number));
        Ok(FileNumber(number))
    }

    /// A row of `modules`. Frames name modules by path: of several files with one path, the first gives
    /// its build id.
    pub fn module(&mut self, row: &ModuleRow) -> Result<Module, String> {
        let build_id = row
            .build_id()
            .ok_or("a module's build id is no hexadecimal number")?;
        let number = self.file(&row.path)?;
        if let Some(file) = self.files.get_mut(number.0 as usize)
            && file.build_id.is_empty()
        {
            file.build_id.clone_from(&build_id);
        }
        Ok(Module {
            start: row.start.0,
            end: row.end.0,
            // The document does not tell these.
            bias: row.start.0,
            device: 0,
            inode: 0,
            build_id,
            path: row.path.as_bytes().to_vec(),
        })
    }

    /// A row of `stacks`.
    pub fn stack(&mut self, row: StackRow) -> Result<(), String> {
        if self.stacks.len() >= NO_ROW as usize {
            return Err(too_many("stacks"));
        }
        let number = |index: u64| u32::try_from(index).unwrap_or(NO_ROW);
        let parent = match row.parent {
            None => NO_ROW,
            // What no row has is found to be so in the end; it may not pass for no parent.
            Some(parent) => number(parent).min(NO_ROW - 1),
        };
        self.stacks.push((number(row.frame), parent));
        Ok(())
    }

    /// The tables, and the stack of each row of `stacks`.
    pub fn finish(self) -> Result<(Tables, Vec<StackId>), String> {
        let mut tables = Tables {
            files: self.files,
            sites: Vec::with_capacity(self.sites.len() + 1),
            ..Tables::default()
        };
        tables.sites.push(Site::default());
        tables.sites.extend(self.sites);
        // The empty one: not yet known.
        let mut numbers = vec![StackId::EMPTY; self.stacks.len()];
        let mut waiting = Vec::new();
        for row in 0..self.stacks.len() as u32 {
            // Outwards, up to one that is known or has no parent.
            let mut next = row;
            let outer = loop {
                if next == NO_ROW {
                    break StackId::EMPTY;
                }
                match numbers.get(next as usize) {
                    None => return Err("a stack's parent is no row of 'stacks'".into()),
                    Some(&known) if known != StackId::EMPTY => break known,
                    Some(_) => {}
                }
                // More than there are: one of them is its own parent's parent.
                if waiting.len() >= self.stacks.len() {
                    return Err("stacks are parents of each other in a circle".into());
                }
                waiting.push(next);
                next = self.stacks[next as usize].1;
            };
            let mut stack = outer;
            while let Some(row) = waiting.pop() {
                let (frame, _) = self.stacks[row as usize];
                let site = self.frames.get(frame as usize);
                let site = site.ok_or("a stack's frame is no row of 'frames'")?;
                stack = tables.stacks.intern(stack, *site);
                numbers[row as usize] = stack;
            }
        }
        tables.stacks.seal();
        Ok((tables, numbers))
    }
}

fn too_many(what: &str) -> String {
    format!("it has more {what} than fit into memory")
}
