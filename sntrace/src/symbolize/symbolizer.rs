//! Names of addresses in files, each worked out once.
//!
//! A [`Symbolizer`] knows the files of a run by [`FileId`]. A file is opened at the first
//! question about it, its symbol tables are sorted at the first address that needs them, its
//! DWARF is parsed unit by unit as addresses come. Answers are cached for good.
//!
//! Who knows best: DWARF knows inlined functions and lines. The symbol table knows the outermost
//! function where DWARF does not, and knows it better where DWARF has only the bare name of a
//! C++ function (a lambda is `operator()` there). What neither knows gets no name.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use super::demangle::{demangle, is_mangled};
use super::dwarf::{Dwarf, DwarfFrame};
use super::elf::{Image, Symbols};
use super::hash::AddressMap;
use super::locate::Locator;
use super::modules::{FileId, FileTable, ModuleMap};

/// A function that covers an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Demangled name. Untrusted text: what shows it escapes it.
    pub function: Option<Arc<str>>,
    /// Source file, absolute where the compiler told its folder.
    pub file: Option<Arc<str>>,
    /// Line in it: of the address for the innermost frame, of the call for the others.
    pub line: Option<u32>,
}

/// Names addresses in files.
pub struct Symbolizer<'f> {
    locator: &'f Locator,
    table: Arc<FileTable>,
    /// By [`FileId`]; `None`: not asked yet.
    files: Vec<Option<Names<'f>>>,
    known: AddressMap<(FileId, u64), Arc<[Frame]>>,
    /// Each name and path once, however many frames carry it.
    texts: HashSet<Arc<str>>,
    replaced: Vec<Arc<str>>,
    /// Places whose debug information was given up.
    given_up: u64,
}

/// Where the names of one file come from.
struct Names<'f> {
    module: Option<Image<'f>>,
    debug: Option<Image<'f>>,
    symbols: OnceCell<Option<Symbols<'f>>>,
    dynamic: OnceCell<Option<Symbols<'f>>>,
    /// `None`: not loaded yet; `Some(None)`: there is none.
    dwarf: Option<Option<Dwarf<'f>>>,
    /// Something panicked over this file's DWARF: it is not asked again.
    given_up: bool,
}

impl<'f> Symbolizer<'f> {
    /// A symbolizer whose files are found by `locator`.
    #[must_use]
    pub fn new(locator: &'f Locator) -> Symbolizer<'f> {
        Symbolizer {
            locator,
            table: Arc::default(),
            files: Vec::new(),
            known: AddressMap::default(),
            texts: HashSet::new(),
            replaced: Vec::new(),
            given_up: 0,
        }
    }

    /// An empty module map, whose files this symbolizer can name.
    #[must_use]
    pub fn new_map(&self) -> ModuleMap {
        ModuleMap::new(self.table.clone())
    }

    /// The functions that cover the instruction at `file_address`: innermost inlined one first,
    /// the real function last. Empty where nothing is known. For a return address, ask for the
    /// byte before it: the call may be a function's last instruction.
    pub fn frames(&mut self, file: FileId, file_address: u64) -> Arc<[Frame]> {
        if let Some(frames) = self.known.get(&(file, file_address)) {
            return frames.clone();
        }
        let frames = self.find(file, file_address);
        self.known.insert((file, file_address), frames.clone());
        frames
    }

    /// Places for which debug information was given up, as it is broken or wants more work than any honest
    /// one: distinct ones, by their address in a file.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Paths of modules whose file is no longer the one that was mapped.
    #[must_use]
    pub fn replaced(&self) -> &[Arc<str>] {
        &self.replaced
    }

    /// One shared copy of `text`.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new = Arc::<str>::from(text);
        self.texts.insert(new.clone());
        new
    }

    fn find(&mut self, file: FileId, file_address: u64) -> Arc<[Frame]> {
        let locator = self.locator;
        let Some(names) = self.names(file) else {
            return Arc::default();
        };
        let (mut frames, given_up) = names.dwarf_frames(file_address, locator);
        // The symbol is asked where DWARF leaves the outermost function open, or where its name
        // may be less than the symbol's.
        let wants_symbol = frames
            .last()
            .and_then(|outermost| outermost.function.as_deref())
            .is_none_or(|name| !is_mangled(name));
        if wants_symbol && let Some(symbol) = names.symbol(file_address) {
            match frames.last_mut() {
                Some(outermost) => {
                    if outermost.function.is_none() || demangles(&symbol) {
                        outermost.function = Some(symbol.into_owned());
                    }
                }
                None => frames.push(DwarfFrame {
                    function: Some(symbol.into_owned()),
                    file: None,
                    line: None,
                }),
            }
        }
        self.given_up += u64::from(given_up);
        frames
            .into_iter()
            .map(|frame| Frame {
                function: frame.function.map(|name| self.text(&demangle(&name))),
                file: frame.file.map(|file| self.text(&file)),
                line: frame.line,
            })
            .collect()
    }

    fn names(&mut self, file: FileId) -> Option<&mut Names<'f>> {
        let at = file.0 as usize;
        if self.files.get(at).is_none_or(Option::is_none) {
            let identity = self.table.identity(file)?;
            let found = self.locator.find(&identity);
            if found.replaced {
                let path = self.text(&String::from_utf8_lossy(&identity.path));
                self.replaced.push(path);
            }
            if self.files.len() <= at {
                self.files.resize_with(at + 1, || None);
            }
            self.files[at] = Some(Names {
                module: found.module,
                debug: found.debug,
                symbols: OnceCell::new(),
                dynamic: OnceCell::new(),
                dwarf: None,
                given_up: false,
            });
        }
        self.files.get_mut(at)?.as_mut()
    }

    /// Reads of debug info that `file` may still make.
    #[cfg(test)]
    pub(super) fn fuel(&mut self, file: FileId) -> Option<u64> {
        Some(self.names(file)?.dwarf.as_ref()?.as_ref()?.fuel())
    }

    /// All functions that `file` has symbols for: a place in each.
    #[cfg(test)]
    pub(super) fn function_starts(&mut self, file: FileId) -> Vec<u64> {
        let names = self.names(file).unwrap();
        names.symbol(0);
        names
            .symbols
            .get()
            .unwrap()
            .as_ref()
            .unwrap()
            .starts()
            .collect()
    }
}

/// Whether `symbol` is a mangled name that can be read.
fn demangles(symbol: &str) -> bool {
    is_mangled(symbol) && matches!(demangle(symbol), Cow::Owned(_))
}

impl<'f> Names<'f> {
    /// What DWARF knows of an address, and whether it was given up over it.
    fn dwarf_frames(&mut self, file_address: u64, locator: &'f Locator) -> (Vec<DwarfFrame>, bool) {
        if self.given_up {
            return (Vec::new(), true);
        }
        let refused = |dwarf: &Option<Option<Dwarf<'f>>>| {
            dwarf
                .as_ref()
                .and_then(Option::as_ref)
                .map_or(0, Dwarf::refused)
        };
        let before = refused(&self.dwarf);
        // The parsers bound their reads and return errors; should one of them panic after all,
        // over a file that nobody tried, it costs this file's DWARF and not the run.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            self.dwarf
                .get_or_insert_with(|| {
                    load_dwarf(self.module.as_ref(), self.debug.as_ref(), locator)
                })
                .as_mut()
                .map_or_else(Vec::new, |dwarf| dwarf.frames(file_address))
        }));
        match answer {
            Ok(frames) => (frames, refused(&self.dwarf) > before),
            Err(_) => {
                self.given_up = true;
                (Vec::new(), true)
            }
        }
    }

    fn symbol(&self, file_address: u64) -> Option<Cow<'f, str>> {
        let full = self.symbols.get_or_init(|| {
            [&self.module, &self.debug]
                .into_iter()
                .flatten()
                .find(|image| image.has_symbol_table())
                .map(Image::symbols)
        });
        if let Some(name) = full
            .as_ref()
            .and_then(|symbols| symbols.name_at(file_address))
        {
            return Some(name);
        }
        self.dynamic
            .get_or_init(|| self.module.as_ref().map(Image::dynamic_symbols))
            .as_ref()?
            .name_at(file_address)
    }
}

fn load_dwarf<'f>(
    module: Option<&Image<'f>>,
    debug: Option<&Image<'f>>,
    locator: &'f Locator,
) -> Option<Dwarf<'f>> {
    let image = [module, debug]
        .into_iter()
        .flatten()
        .find(|image| image.has_debug_info())?;
    let path: &'f Path = module.unwrap_or(image).path();
    Dwarf::load(image, path, locator)
}
