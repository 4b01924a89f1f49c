//! How often functions were called, as far as a trace can know it.
//!
//! A trace has stacks, not calls. What it knows for certain of a function's calls:
//!
//! - A function that is always the outermost one of its thread (`main`, what a thread was started with) is called
//!   once a thread.
//! - Else, when a thread's stack has the function, then has not, or has it called from another place, and has it
//!   again, that is another call. So the calls are *at least* as many as such visits. Calls that follow each
//!   other from one place with nothing in between look like one, and calls in which nothing was allocated or freed
//!   are not seen.
//!
//! A function is not over because a stack lacks it that is not the thread's own or not whole: a coroutine's, or one that
//! could not be followed to its end. Stacks that are cut tell nothing; those of coroutines, and whatever else
//! begins elsewhere than the thread does, tell that there was one call.
//!
//! So what is known is a number, and whether it is all of them ([`Count`]). More calls than counted make fewer
//! allocations a call, so a bound that holds with this number holds.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::diff::names::{NameId, Names, Role, names_of};
use crate::diff::paths::{PathId, Paths};
use crate::diff::side::{Manner, whole_paths};
use crate::output::filter::Glob;
use crate::trace::{Event, ImageId, Item, Recording, SiteId, StackId, Tables, TraceError};

/// What is known of a function's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// There were at least so many.
    pub calls: u64,
    /// There were no more.
    pub all: bool,
}

/// The calls of the functions that were asked for, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    counts: BTreeMap<String, Count>,
}

impl Calls {
    /// Counts the calls of all functions whose names fit one of the patterns.
    ///
    /// # Errors
    /// Where the trace can't be read to its end.
    pub fn of(recording: &dyn Recording, patterns: &[&Glob]) -> Result<Calls, TraceError> {
        if patterns.is_empty() {
            return Ok(Calls::default());
        }
        let mut counter = Counter::of(recording.tables(), patterns);
        recording.replay(&mut |item| counter.item(item))?;
        Ok(counter.finish())
    }

    /// What is known of a function; `None`: no stack has it.
    #[must_use]
    pub fn get(&self, function: &str) -> Option<Count> {
        self.counts.get(function).copied()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Calls) {
        for (function, more) in &other.counts {
            let count = self.counts.entry(function.clone()).or_insert(Count {
                calls: 0,
                all: true,
            });
            count.calls += more.calls;
            count.all &= more.all;
        }
    }
}

/// A function on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Presence {
    /// Place in [`Counter::functions`].
    function: usize,
    /// The stack that its outermost call comes from.
    from: StackId,
    /// Whether nothing but the system's start is outside of it.
    outermost: bool,
}

struct Function {
    name: String,
    visits: u64,
    /// Threads that it was called in.
    threads: HashSet<(ImageId, u32)>,
    always_outermost: bool,
}

/// By function: where its present call comes from.
type Present = Vec<Option<StackId>>;

/// What a stack begins in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Root {
    /// Its outermost function.
    function: NameId,
    outside: Outside,
}

/// What is outside of a stack's first function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outside {
    /// Nothing that is known to begin a thread: a coroutine, a constructor.
    Unknown,
    /// Places of the C library without names: most likely a thread's beginning.
    Libc,
    /// What begins a program or a thread.
    Start,
}

struct Counter {
    functions: Vec<Function>,
    /// By [`StackId`].
    stacks: Vec<Vec<Presence>>,
    /// By [`StackId`]; `None`: the stack is empty, or cut.
    roots: Vec<Option<Root>>,
    /// By thread and the function that the stack begins in.
    present: HashMap<(ImageId, u32, NameId), Present>,
    /// The first root of each thread that has places of the C library outside.
    likely: HashMap<(ImageId, u32), NameId>,
    /// Forked images of which there was no event yet.
    forked: HashSet<ImageId>,
    /// Their first threads, which go on in the calls of their parent's.
    going_on: HashSet<(ImageId, u32)>,
}

impl Counter {
    fn of(tables: &Tables, patterns: &[&Glob]) -> Counter {
        let (mut names, mut paths) = (Names::default(), Paths::default());
        let whole = whole_paths(tables, Manner::default(), &mut names, &mut paths);
        let of_sites: Vec<Vec<NameId>> = (0..tables.sites.len())
            .map(|site| names_of(tables, SiteId(site as u32), None, &mut names))
            .collect();
        let mut wanted: HashMap<NameId, usize> = HashMap::new();
        let mut functions = Vec::new();
        for name in of_sites.iter().flatten() {
            let text = names.text(*name);
            if !wanted.contains_key(name) && patterns.iter().any(|pattern| pattern.matches(text)) {
                wanted.insert(*name, functions.len());
                functions.push(Function {
                    name: text.to_owned(),
                    visits: 0,
                    threads: HashSet::new(),
                    always_outermost: true,
                });
            }
        }
        let cut = tables.stacks.truncated();
        let mut stacks: Vec<Vec<Presence>> = vec![Vec::new()];
        let mut outsides = vec![Outside::Unknown];
        let mut roots = vec![None];
        for (number, node) in (1..).zip(tables.stacks.nodes()) {
            let mut present = stacks
                .get(node.parent.0 as usize)
                .cloned()
                .unwrap_or_default();
            let alone = whole.get(node.parent.0 as usize) == Some(&PathId::ROOT);
            let site = of_sites.get(node.site.0 as usize);
            for (level, name) in site.into_iter().flatten().enumerate() {
                let Some(&function) = wanted.get(name) else {
                    continue;
                };
                // Within a recursion the outermost call counts.
                if !present.iter().any(|known| known.function == function) {
                    present.push(Presence {
                        function,
                        from: node.parent,
                        outermost: alone && level == 0,
                    });
                }
            }
            stacks.push(present);
            let mut outside = outsides
                .get(node.parent.0 as usize)
                .copied()
                .unwrap_or(Outside::Unknown);
            for (level, name) in site.into_iter().flatten().enumerate() {
                match names.role(*name) {
                    Role::Start | Role::Main => outside = Outside::Start,
                    Role::Libc if alone && level == 0 => outside = outside.max(Outside::Libc),
                    _ => {}
                }
            }
            outsides.push(outside);
            let whole_stack = cut.get(number) == Some(&false);
            let path = whole.get(number).copied().unwrap_or_default();
            let function = paths.outwards(path).last().filter(|_| whole_stack);
            roots.push(function.map(|function| Root { function, outside }));
        }
        Counter {
            functions,
            stacks,
            roots,
            present: HashMap::new(),
            likely: HashMap::new(),
            forked: HashSet::new(),
            going_on: HashSet::new(),
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Process {
                image, forked_from, ..
            } if forked_from.is_some() => {
                self.forked.insert(*image);
            }
            Item::Event(event) => self.event(event),
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) {
        let thread = (event.image, event.tid);
        if self.forked.remove(&event.image) {
            self.going_on.insert(thread);
        }
        let stack = event.stack.0 as usize;
        let (Some(Some(root)), Some(present)) = (self.roots.get(stack), self.stacks.get(stack))
        else {
            return;
        };
        let own = match root.outside {
            Outside::Start => true,
            Outside::Libc => *self.likely.entry(thread).or_insert(root.function) == root.function,
            Outside::Unknown => false,
        };
        let place = (event.image, event.tid, root.function);
        // What is first seen of each stack of a forked child's thread began in its parent.
        let goes_on = self.going_on.contains(&thread) && !self.present.contains_key(&place);
        let functions = self.functions.len();
        let state = self.present.entry(place);
        let state = state.or_insert_with(|| vec![None; functions]);
        for (at, before) in state.iter_mut().enumerate() {
            let now = present.iter().find(|presence| presence.function == at);
            let from = now.map(|presence| presence.from);
            let is_over = *before != from;
            if let (Some(now), Some(function)) = (now, self.functions.get_mut(at)) {
                function.always_outermost &= now.outermost && own;
                if !goes_on && is_over && (own || before.is_none()) {
                    function.visits += 1;
                    function.threads.insert(thread);
                }
            }
            // On a stack that others take turns with, what was there is most likely still.
            if own || from.is_some() && before.is_none() {
                *before = from;
            }
        }
    }

    fn finish(self) -> Calls {
        let seen = self.functions.into_iter().filter(|f| f.visits > 0);
        let counts = seen.map(|function| {
            let count = match function.always_outermost {
                true => Count {
                    calls: function.threads.len() as u64,
                    all: true,
                },
                false => Count {
                    calls: function.visits,
                    all: false,
                },
            };
            (function.name, count)
        });
        Calls {
            counts: counts.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::samples::Maker;

    fn count(maker: &Maker, pattern: &str) -> Calls {
        let pattern = Glob::new(pattern.into());
        Calls::of(&maker.make(), &[&pattern]).unwrap()
    }

    #[test]
    fn a_call_ends_where_its_thread_is_elsewhere() {
        let mut maker = Maker::default();
        // All of them begin in main, which begins the program.
        let one = maker.stack(&["parse", "main @a.c:1"]);
        let deeper = maker.stack(&["node", "parse", "main @a.c:1"]);
        let other = maker.stack(&["parse", "main @a.c:2"]);
        let between = maker.stack(&["main @a.c:3"]);
        for (at, stack) in (1..).zip([one, deeper, one, between, deeper, other]) {
            maker.malloc(stack, at * 0x100, 8);
        }
        let calls = count(&maker, "par*");
        // One, then again after `between`, then from another line.
        let parse = Count {
            calls: 3,
            all: false,
        };
        assert_eq!(calls.get("parse"), Some(parse));
        assert_eq!(calls.get("node"), None);
        let mut twice = calls.clone();
        twice.add(&calls);
        assert_eq!(twice.get("parse").map(|count| count.calls), Some(6));
    }

    #[test]
    fn what_a_thread_begins_with_is_called_once_a_thread() {
        let mut maker = Maker::default();
        let main = maker.stack(&["main", "__libc_start_main", "_start"]);
        let worker = maker.stack(&["step", "worker", "start_thread", "clone3"]);
        maker.malloc(main, 0x100, 8);
        for (tid, block) in [(2, 0x200), (3, 0x300), (2, 0x400)] {
            maker.call(crate::trace::Op::Malloc, worker, |event| {
                (event.tid, event.block, event.size) = (tid, block, 8);
            });
        }
        let calls = count(&maker, "*");
        let all = |calls| Some(Count { calls, all: true });
        assert_eq!(calls.get("main"), all(1));
        assert_eq!(calls.get("worker"), all(2));
        assert!(!calls.get("step").unwrap().all);
    }

    #[test]
    fn another_stack_of_the_thread_ends_no_call() {
        let mut maker = Maker::default();
        let start = ["main", "__libc_start_main"];
        let of_main = |inner: &[&'static str]| [inner, &start].concat();
        let parse = maker.stack(&of_main(&["parse"]));
        let cut = maker.stack(&["work", "[truncated]"]);
        let coroutine = maker.stack(&["step", "generator"]);
        let elsewhere = maker.stack(&["other", "generator"]);
        let nothing = maker.stack(&[]);
        let order = [
            parse, cut, parse, coroutine, parse, nothing, parse, elsewhere, coroutine,
        ];
        for (at, stack) in (1..).zip(order) {
            maker.malloc(stack, at * 0x100, 8);
        }
        let calls = count(&maker, "*");
        let least = |calls| Some(Count { calls, all: false });
        assert_eq!(calls.get("parse"), least(1));
        // Another generator of the same function may have had its turn.
        assert_eq!(calls.get("step"), least(1));
        assert_eq!(calls.get("generator"), least(1));
        assert_eq!(
            calls.get("main"),
            Some(Count {
                calls: 1,
                all: true
            })
        );
    }

    #[test]
    fn a_forked_child_goes_on_in_its_parents_calls() {
        let mut maker = Maker::default();
        let main = maker.stack(&["main"]);
        maker.begin(1, None);
        maker.malloc(main, 0x100, 8);
        maker.begin(2, Some(1));
        maker.call(crate::trace::Op::Malloc, main, |event| {
            (event.image, event.tid, event.block, event.size) = (ImageId(2), 9, 0x200, 8);
        });
        assert_eq!(count(&maker, "main").get("main").unwrap().calls, 1);
    }
}
