//! Who called the allocator, in a recorded trace.
//!
//! The rule is that of [`CallerFinder`](super::CallerFinder): the first function, from the inside
//! out, that is no wrapper; an `operator new` or `delete` passed on the way makes the event one of
//! that operator. Here names are at hand ([`Tables`]), and the stack goes on to its end. So a caller
//! depends on the op and the stack alone, and is worked out once for each pair of them.
//!
//! Memory is bounded by the distinct pairs. A walk looks at no more frames than the one of a running
//! trace does, so that a file that makes one long stack of wrappers costs no more than its size.

use std::sync::Arc;

use sntrace_format::record::Op;

use super::caller::operator_of;
use super::hash::AddressMap;
use super::wrappers;
use crate::output::Call;
use crate::trace::{SiteId, StackId, Tables};

/// The function that events are attributed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCaller {
    /// Number of this caller: dense, from 0, in the order in which they were asked for.
    pub number: u32,
    /// The function to show as called: the event's own, or the operator that was passed over.
    pub op: Op,
    /// What stands in a line's `[CALLER]`: the demangled function, else `module+0xOFFSET`, else
    /// `???`. Not escaped: what shows it does that.
    pub name: Arc<str>,
    /// The demangled function, if known.
    pub function: Option<Arc<str>>,
    /// Path of its module, if known.
    pub module: Option<Arc<str>>,
    /// Source file and line of the call, if known.
    pub location: Option<(Arc<str>, u32)>,
    /// The return address in the file's own numbering, as [`crate::trace::Site::address`].
    pub address: u64,
    /// The place in code.
    pub site: SiteId,
    /// Which of the site's functions it is, as [`Tables::function_name`] takes it.
    pub level: usize,
}

impl RecordedCaller {
    /// As the outputs take it. Numbers of callers are its sites.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        Call {
            name: &self.name,
            function: self.function.as_deref(),
            module: self.module.as_deref(),
            location: self.location.as_ref().map(|(file, line)| (&**file, *line)),
            address: self.address,
            file_address: self.address,
            op: self.op,
            site: self.number,
        }
    }
}

/// Finds the callers of a recorded trace, and remembers what it found.
#[derive(Debug)]
pub struct RecordedCallers<'t> {
    tables: &'t Tables,
    raw: bool,
    callers: Vec<RecordedCaller>,
    by_stack: AddressMap<(StackId, Op), u32>,
    by_place: AddressMap<(SiteId, usize, Op), u32>,
    /// By file: its path, shared by its callers.
    modules: Vec<Option<Arc<str>>>,
}

impl<'t> RecordedCallers<'t> {
    /// Callers past wrappers.
    #[must_use]
    pub fn new(tables: &'t Tables) -> Self {
        Self {
            tables,
            raw: false,
            callers: Vec::new(),
            by_stack: AddressMap::default(),
            by_place: AddressMap::default(),
            modules: vec![None; tables.files.len()],
        }
    }

    /// Direct callers, wrappers or not.
    #[must_use]
    pub fn raw(tables: &'t Tables) -> Self {
        Self {
            raw: true,
            ..Self::new(tables)
        }
    }

    /// The caller of an event of `op` with this stack. A stack that is not in the tables, or empty,
    /// is called by `???`.
    pub fn of(&mut self, op: Op, stack: StackId) -> &RecordedCaller {
        let number = match self.by_stack.get(&(stack, op)) {
            Some(&known) => known,
            None => {
                let number = self.find(op, stack);
                self.by_stack.insert((stack, op), number);
                number
            }
        };
        &self.callers[number as usize]
    }

    #[cold]
    fn find(&mut self, op: Op, stack: StackId) -> u32 {
        let (site, level, operator) = if self.raw {
            let innermost = self.tables.stacks.frames(stack).next();
            (innermost.unwrap_or_default(), 0, None)
        } else {
            caller_in(self.tables, stack)
        };
        let op = operator
            .and_then(|operator| operator_of(op, operator))
            .unwrap_or(op);
        let key = (site, level, op);
        if let Some(&known) = self.by_place.get(&key) {
            return known;
        }
        // As many callers would not fit in memory.
        let number = u32::try_from(self.callers.len()).unwrap_or(u32::MAX);
        let caller = self.describe(number, site, level, op);
        self.callers.push(caller);
        self.by_place.insert(key, number);
        number
    }

    fn describe(&mut self, number: u32, site: SiteId, level: usize, op: Op) -> RecordedCaller {
        let place = self.tables.site(site);
        let frame = place.functions.get(level).cloned().unwrap_or_default();
        let module = place.file.and_then(|file| {
            let path = &self.tables.files.get(file.0 as usize)?.path;
            let shared = self.modules.get_mut(file.0 as usize)?;
            Some(shared.get_or_insert_with(|| path.as_str().into()).clone())
        });
        let name = match &frame.function {
            Some(function) => function.clone(),
            // An empty stack has the number of a truncated one, and no name.
            None if site == SiteId::TRUNCATED => "???".into(),
            None => self.tables.function_name(site, level).into(),
        };
        RecordedCaller {
            number,
            op,
            name,
            function: frame.function,
            module,
            location: frame.file.zip(frame.line),
            address: place.address,
            site,
            level,
        }
    }
}

/// The place and level of a stack's caller, and the outermost operator that was passed. Of an empty stack, the place
/// that is none.
pub(crate) fn caller_in(
    tables: &Tables,
    stack: StackId,
) -> (SiteId, usize, Option<wrappers::Operator>) {
    let mut operator = None;
    let mut last = (SiteId::TRUNCATED, 0);
    for site in tables.stacks.frames(stack).take(usize::from(u8::MAX) + 1) {
        // What is missing tells nothing: the outermost wrapper stands for the caller.
        if site == SiteId::TRUNCATED {
            break;
        }
        let functions = &tables.site(site).functions;
        // A place without any name ends the walk: nothing proves that what is beyond it decided.
        if functions.is_empty() {
            return (site, 0, operator);
        }
        for (level, frame) in functions.iter().enumerate() {
            let name = frame.function.as_deref().unwrap_or_default();
            if !wrappers::is_wrapper(name) {
                return (site, level, operator);
            }
            operator = wrappers::operator(name).or(operator);
        }
        last = (site, functions.len() - 1);
    }
    (last.0, last.1, operator)
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;
    use crate::trace::{FileNumber, Site, StackTable, TracedFile};

    /// Tables with a site for each list of functions, from 1.
    fn tables(sites: &[&[&str]]) -> Tables {
        let site = |functions: &&[&str]| Site {
            file: Some(FileNumber(0)),
            address: 0x10,
            functions: functions
                .iter()
                .map(|name| Frame {
                    function: Some((*name).into()),
                    file: Some("/src/a.cc".into()),
                    line: Some(7),
                })
                .collect(),
        };
        Tables {
            files: vec![TracedFile {
                path: "/usr/bin/program".into(),
                build_id: Vec::new(),
            }],
            sites: std::iter::once(Site::default())
                .chain(sites.iter().map(site))
                .collect(),
            stacks: StackTable::default(),
        }
    }

    /// A stack of these sites, inner to outer.
    fn stack(tables: &mut Tables, sites: &[u32]) -> StackId {
        sites.iter().rev().fold(StackId::EMPTY, |outer, &site| {
            tables.stacks.intern(outer, SiteId(site))
        })
    }

    #[test]
    fn wrappers_are_passed_inlined_or_not() {
        let mut tables = tables(&[&["strdup"], &["std::make_unique<int>()", "load"], &["main"]]);
        let whole = stack(&mut tables, &[1, 2, 3]);
        let mut callers = RecordedCallers::new(&tables);
        let caller = callers.of(Op::Malloc, whole).clone();
        assert_eq!(&*caller.name, "load");
        assert_eq!((caller.site, caller.level), (SiteId(2), 1));
        assert_eq!(caller.module.as_deref(), Some("/usr/bin/program"));
        assert_eq!(caller.location, Some(("/src/a.cc".into(), 7)));
        assert_eq!(callers.of(Op::Malloc, whole), &caller);
        let mut raw = RecordedCallers::raw(&tables);
        assert_eq!(&*raw.of(Op::Malloc, whole).name, "strdup");
    }

    #[test]
    fn an_operator_on_the_way_is_what_was_called() {
        let mut tables = tables(&[
            &["operator new(unsigned long)"],
            &["std::vector<int, std::allocator<int> >::push_back(int&&)"],
            &["fill(int)"],
        ]);
        let whole = stack(&mut tables, &[1, 2, 3]);
        let mut callers = RecordedCallers::new(&tables);
        assert_eq!(callers.of(Op::Malloc, whole).op, Op::New);
        assert_eq!(callers.of(Op::Memalign, whole).op, Op::NewAligned);
        // No operator calls calloc: that was somebody else.
        assert_eq!(callers.of(Op::Calloc, whole).op, Op::Calloc);
        assert_eq!(&*callers.of(Op::Calloc, whole).name, "fill(int)");
    }

    #[test]
    fn where_the_walk_ends_it_says_what_it_knows() {
        let mut tables = tables(&[&["xmalloc"], &[], &["main"]]);
        let unnamed = stack(&mut tables, &[1, 2, 3]);
        let cut = stack(&mut tables, &[1, 0]);
        let mut callers = RecordedCallers::new(&tables);
        assert_eq!(&*callers.of(Op::Malloc, unnamed).name, "program+0x10");
        assert_eq!(&*callers.of(Op::Malloc, cut).name, "xmalloc");
        for nothing in [StackId::EMPTY, StackId(u32::MAX)] {
            let caller = callers.of(Op::Malloc, nothing);
            assert_eq!((&*caller.name, &caller.function), ("???", &None));
        }
    }

    #[test]
    fn a_number_is_one_set_of_words() {
        let mut tables = tables(&[&["xmalloc"], &["work"], &["main"]]);
        let direct = stack(&mut tables, &[2, 3]);
        let wrapped = stack(&mut tables, &[1, 2, 3]);
        let mut callers = RecordedCallers::new(&tables);
        let first = callers.of(Op::Malloc, direct).number;
        assert_eq!(callers.of(Op::Malloc, wrapped).number, first);
        let other = callers.of(Op::Free, direct);
        assert_eq!((other.number, other.op), (first + 1, Op::Free));
    }
}
