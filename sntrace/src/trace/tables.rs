//! What a recorded trace says once: its files, its places in code with their names, its stacks.
//!
//! Events refer to these by number. The tables are complete before the first event is read, so
//! that a reader may look anything up at any time.

use std::borrow::Cow;
use std::sync::Arc;

use super::stacks::{SiteId, StackId, StackTable};
use crate::symbolize::Frame;

/// Number of a distinct file among [`Tables::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileNumber(pub u32);

/// A file that was mapped as a module, wherever and how often that was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TracedFile {
    /// Its path in the traced process's view; bytes that are not UTF-8 stand as `\xff`.
    pub path: String,
    /// GNU build id; empty where there is none.
    pub build_id: Vec<u8>,
}

impl TracedFile {
    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        let path = self.path.trim_end_matches('/');
        path.rsplit('/').next().unwrap_or(path)
    }
}

/// A place in code: what a call returns to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Site {
    /// The file that has it; `None` where no file was mapped there (code that was generated).
    pub file: Option<FileNumber>,
    /// The return address in the file's own numbering (ELF virtual address); in a place without a
    /// file, the address in the process.
    pub address: u64,
    /// The functions that cover the call: the innermost inlined one first, the real one last.
    /// Empty where nothing is known. Names are not escaped.
    pub functions: Arc<[Frame]>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// By [`FileNumber`].
    pub files: Vec<TracedFile>,
    /// By [`SiteId`]; the first is [`SiteId::TRUNCATED`].
    pub sites: Vec<Site>,
    /// By [`StackId`].
    pub stacks: StackTable,
}

impl Tables {
    /// A site; an empty one for a number that is not in the table.
    #[must_use]
    pub fn site(&self, site: SiteId) -> &Site {
        static NOWHERE: std::sync::OnceLock<Site> = std::sync::OnceLock::new();
        self.sites
            .get(site.0 as usize)
            .unwrap_or_else(|| NOWHERE.get_or_init(Site::default))
    }

    /// The file that has a site.
    #[must_use]
    pub fn file_of(&self, site: SiteId) -> Option<&TracedFile> {
        let number = self.site(site).file?;
        self.files.get(number.0 as usize)
    }

    /// How many functions a site shows as: its inlined functions and the real one; 1 where no
    /// name is known.
    #[must_use]
    pub fn depth_of(&self, site: SiteId) -> usize {
        self.site(site).functions.len().max(1)
    }

    /// The name of the function at `level` of a site (0: the innermost inlined one), not escaped; where none is
    /// known, `module+0xOFFSET`, else `???`; `[truncated]` for a stack's missing part.
    #[must_use]
    pub fn function_name(&self, site: SiteId, level: usize) -> Cow<'_, str> {
        if site == SiteId::TRUNCATED {
            return "[truncated]".into();
        }
        let place = self.site(site);
        let known = place.functions.get(level);
        match (
            known.and_then(|frame| frame.function.as_deref()),
            self.file_of(site),
        ) {
            (Some(function), _) => function.into(),
            (None, Some(file)) => format!("{}+{:#x}", file.name(), place.address).into(),
            (None, None) => "???".into(),
        }
    }

    /// Source file and line at `level` of a site, where they are known.
    #[must_use]
    pub fn location(&self, site: SiteId, level: usize) -> Option<(&str, u32)> {
        let frame = self.site(site).functions.get(level)?;
        Some((frame.file.as_deref()?, frame.line?))
    }

    /// The frames of a stack with inlined functions as frames of their own, inner to outer: sites and
    /// levels as [`Tables::function_name`] takes them.
    pub fn functions_of(&self, stack: StackId) -> impl Iterator<Item = (SiteId, usize)> + '_ {
        self.stacks
            .frames(stack)
            .flat_map(|site| (0..self.depth_of(site)).map(move |level| (site, level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_as_well_as_it_is_known() {
        let frame = |name: &str| Frame {
            function: Some(name.into()),
            file: Some("/src/a.c".into()),
            line: Some(7),
        };
        let site = |file, functions| Site {
            file,
            address: 0x123,
            functions,
        };
        let mut tables = Tables {
            files: vec![TracedFile {
                path: "/usr/lib/libz.so.1".into(),
                build_id: Vec::new(),
            }],
            sites: vec![
                Site::default(),
                site(Some(FileNumber(0)), [frame("inner"), frame("outer")].into()),
                site(Some(FileNumber(0)), Arc::default()),
                site(None, Arc::default()),
            ],
            stacks: StackTable::default(),
        };
        let mut stack = tables.stacks.intern(StackId::EMPTY, SiteId::TRUNCATED);
        for site in [3, 2, 1] {
            stack = tables.stacks.intern(stack, SiteId(site));
        }
        let names: Vec<_> = tables
            .functions_of(stack)
            .map(|(site, level)| tables.function_name(site, level).into_owned())
            .collect();
        let expected = ["inner", "outer", "libz.so.1+0x123", "???", "[truncated]"];
        assert_eq!(names, expected);
        assert_eq!(tables.location(SiteId(1), 1), Some(("/src/a.c", 7)));
        assert_eq!(tables.location(SiteId(2), 0), None);
        assert_eq!(tables.function_name(SiteId(99), 0), "???");
    }
}
