//! Who called the allocator: the first function, from the inside out, that is no wrapper.
//!
//! An event carries its return address and, where the hook does not know better yet, some more.
//! [`CallerFinder::find`] walks them outward, within each address from the innermost inlined
//! function to the real one, past everything in [`super::wrappers`]. An `operator new` or
//! `delete` met on the way makes the event one of that operator. Addresses are return addresses:
//! the byte before each is looked up, as a call may be the last instruction of its function.
//!
//! Events come by the million a second, call sites by the thousand. Three levels, each bounded:
//!
//! 1. a direct-mapped table by (map generation, runtime address), of fixed size: no look-up of
//!    the module, one comparison;
//! 2. the [`Site`] of each (file, file address), with its frames and its verdict: one a distinct
//!    call site, also when a thousand processes map the file at a thousand addresses;
//! 3. the [`Caller`]s that were ever answered, by site and what was met before it.
//!
//! A site's [`Verdict`] is what the hook is told, so that it sends just the frames that are
//! needed: at a `Direct` site the walk always ends.

use std::sync::Arc;

use sntrace_format::record::Op;
use sntrace_format::verdict::Verdict;

use super::hash::{AddressMap, slot};
use super::locate::Locator;
use super::modules::{FileId, ModuleMap};
use super::symbolizer::{Frame, Symbolizer};
use super::wrappers::{self, Operator};

/// The function that an event is attributed to.
///
/// One for all events that it explains, hence without a runtime address: that is the event's
/// own (`caller` for depth 0, else the frame `depth - 1` beyond it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Number of this caller: dense, from 0, in the order of their first events.
    pub id: u32,
    /// What stands in a line's `[CALLER]`: the demangled function, else `module+0xOFFSET`, else
    /// `???`. Not escaped: what shows it does that.
    pub name: Arc<str>,
    /// The demangled function, if known.
    pub function: Option<Arc<str>>,
    /// Path of its module, if known.
    pub module: Option<Arc<str>>,
    /// Source file and line of the call, if known.
    pub location: Option<(Arc<str>, u32)>,
    /// The return address in the file's own numbering; 0 without a module.
    pub file_address: u64,
    /// How many return addresses were passed to get here.
    pub depth: u8,
    /// The event is this operator's: `operator new` and its kin, linked into the program or in
    /// its C++ library, called the function that was recorded.
    pub operator: Option<Op>,
    /// Of the event's own return address: whether it alone told the caller.
    pub verdict: Verdict,
}

/// What is left to be told at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Distinct call sites in a module that no symbol covers.
    pub unnamed_sites: u64,
    /// Paths of modules whose file was replaced while they were mapped: without names.
    pub replaced_modules: Vec<Arc<str>>,
}

/// Finds callers, and remembers what it found.
pub struct CallerFinder<'f> {
    symbolizer: Symbolizer<'f>,
    recent: Box<[Recent]>,
    sites: Vec<Site>,
    site_numbers: AddressMap<(FileId, u64), SiteNumber>,
    /// By [`Caller::id`].
    callers: Vec<Caller>,
    caller_numbers: AddressMap<CallerKey, u32>,
    unnamed_sites: u64,
}

type SiteNumber = u32;

/// The site of every address that is in no module.
const NOWHERE: SiteNumber = 0;

/// Slots of the first level, as a power of two: 8192 of 24 bytes stay in a processor's second
/// cache, and hold the call sites of nearly any program.
const RECENT_BITS: u32 = 13;

#[derive(Clone, Copy)]
struct Recent {
    /// 0: empty, as generations count from 1.
    generation: u64,
    address: u64,
    site: SiteNumber,
}

/// One return address in one file.
struct Site {
    frames: Arc<[Frame]>,
    module: Option<Arc<str>>,
    file_address: u64,
    /// Which of `frames` is the caller if the walk ends here: the first that is no wrapper;
    /// `None` where all are.
    caller: Option<u16>,
    /// The outermost global operator among the frames inside the caller.
    operator: Option<Operator>,
    /// The answer where this address alone gives it, as nearly all do: spares the third level.
    plain: Option<u32>,
    /// The same for who wants the direct caller.
    raw: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CallerKey {
    site: SiteNumber,
    /// Which frame of the site.
    frame: u16,
    depth: u8,
    operator: Option<Op>,
    direct: bool,
}

impl Site {
    fn verdict(&self) -> Verdict {
        // An address without any name stops the walk: what is beyond it was not proven to be
        // its caller's decision.
        if self.caller.is_some() || self.frames.is_empty() {
            Verdict::Direct
        } else {
            Verdict::Wrapper
        }
    }
}

impl<'f> CallerFinder<'f> {
    /// A finder whose files are found by `locator`.
    #[must_use]
    pub fn new(locator: &'f Locator) -> CallerFinder<'f> {
        let nowhere = Site {
            frames: Arc::default(),
            module: None,
            file_address: 0,
            caller: None,
            operator: None,
            plain: None,
            raw: None,
        };
        let empty = Recent {
            generation: 0,
            address: 0,
            site: NOWHERE,
        };
        CallerFinder {
            symbolizer: Symbolizer::new(locator),
            recent: vec![empty; 1 << RECENT_BITS].into_boxed_slice(),
            sites: vec![nowhere],
            site_numbers: AddressMap::default(),
            callers: Vec::new(),
            caller_numbers: AddressMap::default(),
            unnamed_sites: 0,
        }
    }

    /// An empty module map for a process image.
    #[must_use]
    pub fn new_map(&self) -> ModuleMap {
        self.symbolizer.new_map()
    }

    /// Names beyond the caller: the frames of any address.
    pub fn symbolizer(&mut self) -> &mut Symbolizer<'f> {
        &mut self.symbolizer
    }

    /// The caller of an event of `op` with the return address `caller` and those beyond it,
    /// inner to outer, in an image with these modules. With `raw`, the function at `caller`
    /// itself, wrapper or not. Its number, for [`CallerFinder::caller`].
    pub fn find(&mut self, map: &ModuleMap, op: Op, caller: u64, beyond: &[u64], raw: bool) -> u32 {
        let first = self.site(map, caller);
        let site = &self.sites[first as usize];
        if let Some(known) = if raw { site.raw } else { site.plain } {
            return known;
        }
        let direct = site.verdict() == Verdict::Direct;
        let mut key = CallerKey {
            site: first,
            frame: 0,
            depth: 0,
            operator: None,
            direct,
        };
        if !raw {
            let mut operator = None;
            let mut site_number = first;
            loop {
                let site = &self.sites[site_number as usize];
                key.site = site_number;
                operator = site.operator.or(operator);
                if site.verdict() == Verdict::Direct {
                    key.frame = site.caller.unwrap_or(0);
                    break;
                }
                // All are wrappers so far: the outermost stands for the caller, unless there is
                // a frame beyond.
                key.frame = (site.frames.len() - 1) as u16;
                let Some(address) = beyond.get(usize::from(key.depth)) else {
                    break;
                };
                // Zero ends a stack; 255 frames of wrappers end anyone's patience.
                if *address == 0 || key.depth == u8::MAX {
                    break;
                }
                key.depth += 1;
                site_number = self.site(map, *address);
            }
            key.operator = operator.and_then(|operator| operator_of(op, operator));
        }
        let number = match self.caller_numbers.get(&key) {
            Some(&known) => known,
            None => {
                let new = self.describe(key);
                let number = new.id;
                self.callers.push(new);
                self.caller_numbers.insert(key, number);
                number
            }
        };
        let site = &mut self.sites[first as usize];
        if raw {
            site.raw = Some(number);
        } else if direct && site.operator.is_none() {
            site.plain = Some(number);
        }
        number
    }

    /// The caller with this number.
    ///
    /// # Panics
    /// Where [`CallerFinder::find`] never gave it.
    #[must_use]
    pub fn caller(&self, number: u32) -> &Caller {
        &self.callers[number as usize]
    }

    /// Whether an event with this return address needs the frame beyond it to tell its caller.
    /// An address outside all modules is `Direct`: nothing is known that would justify looking
    /// further.
    pub fn verdict(&mut self, map: &ModuleMap, address: u64) -> Verdict {
        let site = self.site(map, address);
        self.sites[site as usize].verdict()
    }

    /// What is left to be told at the end of a run.
    #[must_use]
    pub fn notes(&self) -> Notes {
        Notes {
            unnamed_sites: self.unnamed_sites,
            replaced_modules: self.symbolizer.replaced().to_vec(),
        }
    }

    #[inline]
    fn site(&mut self, map: &ModuleMap, address: u64) -> SiteNumber {
        let generation = map.generation();
        let at = slot(address, generation, RECENT_BITS);
        let recent = self.recent[at];
        if recent.address == address && recent.generation == generation {
            return recent.site;
        }
        let site = self.find_site(map, address);
        self.recent[at] = Recent {
            generation,
            address,
            site,
        };
        site
    }

    #[cold]
    fn find_site(&mut self, map: &ModuleMap, address: u64) -> SiteNumber {
        // The call is before the address that it returns to.
        let Some(found) = map.lookup(address.wrapping_sub(1)) else {
            return NOWHERE;
        };
        let file_address = found.file_address.wrapping_add(1);
        if let Some(number) = self.site_numbers.get(&(found.file, file_address)) {
            return *number;
        }
        let frames = self.symbolizer.frames(found.file, found.file_address);
        let module = String::from_utf8_lossy(&found.module.path);
        let mut operator = None;
        let mut caller = None;
        for (at, frame) in frames.iter().enumerate() {
            let name = frame.function.as_deref().unwrap_or_default();
            if !wrappers::is_wrapper(name) {
                caller = u16::try_from(at).ok();
                break;
            }
            operator = wrappers::operator(name).or(operator);
        }
        if frames.iter().all(|frame| frame.function.is_none()) {
            self.unnamed_sites += 1;
        }
        let site = Site {
            frames,
            module: Some(self.symbolizer.text(&module)),
            file_address,
            caller,
            operator,
            plain: None,
            raw: None,
        };
        // More than four thousand million call sites would not fit in memory anyway.
        let number = SiteNumber::try_from(self.sites.len()).unwrap_or(NOWHERE);
        self.sites.push(site);
        self.site_numbers.insert((found.file, file_address), number);
        number
    }

    fn describe(&mut self, key: CallerKey) -> Caller {
        let site = &self.sites[key.site as usize];
        let frame = site
            .frames
            .get(usize::from(key.frame))
            .cloned()
            .unwrap_or_default();
        let (module, file_address) = (site.module.clone(), site.file_address);
        let name = match (&frame.function, &module) {
            (Some(function), _) => function.clone(),
            (None, Some(module)) => {
                let base = module.rsplit('/').next().unwrap_or(module);
                self.symbolizer.text(&format!("{base}+{file_address:#x}"))
            }
            (None, None) => self.symbolizer.text("???"),
        };
        Caller {
            // As many callers would not fit in memory.
            id: u32::try_from(self.callers.len()).unwrap_or(u32::MAX),
            name,
            function: frame.function,
            module,
            location: frame.file.zip(frame.line),
            file_address,
            depth: key.depth,
            operator: key.operator,
            verdict: if key.direct {
                Verdict::Direct
            } else {
                Verdict::Wrapper
            },
        }
    }
}

/// The operator's event that an event of `op` inside `operator` is. An alignment makes it the
/// aligned form; the recorded function already carries it as its operand.
pub(super) fn operator_of(op: Op, operator: Operator) -> Option<Op> {
    match (op, operator) {
        (Op::Malloc, Operator::New) => Some(Op::New),
        (Op::Malloc, Operator::NewArray) => Some(Op::NewArray),
        (Op::AlignedAlloc | Op::PosixMemalign | Op::Memalign, Operator::New) => {
            Some(Op::NewAligned)
        }
        (Op::AlignedAlloc | Op::PosixMemalign | Op::Memalign, Operator::NewArray) => {
            Some(Op::NewArrayAligned)
        }
        (Op::Free, Operator::Delete) => Some(Op::Delete),
        (Op::Free, Operator::DeleteArray) => Some(Op::DeleteArray),
        _ => None,
    }
}
