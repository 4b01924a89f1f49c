//! Which function a stack is put down to, and figures by it.
//!
//! People ask which of their functions allocates, not which of its wrappers does. The *caller* of
//! a stack is its first function, from the inside, that does not merely wrap the allocator
//! ([`wrappers`]), as in the lines; inlined functions count as functions. A stack that has wrappers alone is put
//! down to the outermost. Worked out once, before any event is read: a stack whose innermost place has
//! wrappers alone has its parent's caller, and parents have lower numbers.

use std::collections::HashMap;

use super::counts::Counts;
use crate::symbolize::wrappers::{self, Operator};
use crate::trace::{FileNumber, SiteId, StackId, Tables};

/// Number of a caller: dense, from 0, which is that of the empty stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(u32);

/// A function as a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its name, as [`Tables::function_name`] gives it, not escaped; `???` for the empty stack.
    pub function: String,
    /// The module that has it.
    pub file: Option<FileNumber>,
}

/// Where in a stack its caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The stack whose innermost frame it is: this one or one of its parents.
    pub stack: StackId,
    /// Which function of that frame, as [`Tables::function_name`] counts.
    pub level: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    caller: CallerId,
    /// The stack that has the caller innermost.
    at: StackId,
    /// Which of its functions.
    level: u16,
    /// The outermost global operator that was looked past.
    operator: Option<Operator>,
}

/// The callers of all stacks.
#[derive(Clone, Debug)]
pub struct Callers {
    /// By [`StackId`].
    entries: Vec<Entry>,
    callers: Vec<Caller>,
}

/// What a place in code says about whose call it is.
#[derive(Clone, Copy)]
struct Verdict {
    /// The first function that is no wrapper.
    level: Option<u16>,
    operator: Option<Operator>,
}

/// A caller's share of something, with the stacks that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who.
    pub caller: CallerId,
    /// In all.
    pub counts: Counts,
    /// By stack, the most bytes first.
    pub stacks: Vec<(StackId, Counts)>,
}

impl Callers {
    /// The callers of all stacks of a trace.
    #[must_use]
    pub fn of(tables: &Tables) -> Callers {
        let verdicts: Vec<_> = (0..tables.sites.len())
            .map(|site| verdict(tables, SiteId(site as u32)))
            .collect();
        let mut numbers = HashMap::new();
        let nobody = Caller {
            function: "???".into(),
            file: None,
        };
        let mut callers = vec![nobody];
        let mut entries = Vec::with_capacity(tables.stacks.len());
        entries.push(Entry {
            caller: CallerId(0),
            at: StackId::EMPTY,
            level: 0,
            operator: None,
        });
        // A place may have many functions; its name is worked out once.
        let mut known: HashMap<(SiteId, u16), CallerId> = HashMap::new();
        for (node, number) in tables.stacks.nodes().iter().zip(1..) {
            let site = node.site;
            let verdict = verdicts.get(site.0 as usize).copied().unwrap_or(Verdict {
                level: Some(0),
                operator: None,
            });
            let parent = entries.get(node.parent.0 as usize).copied();
            let entry = match (verdict.level, parent) {
                (None, Some(parent)) if node.parent != StackId::EMPTY => Entry {
                    operator: parent.operator.or(verdict.operator),
                    ..parent
                },
                (level, _) => {
                    let last = tables.depth_of(site) - 1;
                    let level = level.unwrap_or(u16::try_from(last).unwrap_or(u16::MAX));
                    let caller = *known.entry((site, level)).or_insert_with(|| {
                        let caller = Caller {
                            function: tables.function_name(site, level.into()).into_owned(),
                            file: tables.site(site).file,
                        };
                        *numbers.entry(caller).or_insert_with_key(|caller| {
                            callers.push(caller.clone());
                            CallerId(callers.len() as u32 - 1)
                        })
                    });
                    Entry {
                        caller,
                        at: StackId(number),
                        level,
                        operator: verdict.operator,
                    }
                }
            };
            entries.push(entry);
        }
        Callers { entries, callers }
    }

    /// Who a stack is put down to; the empty stack's for a number that is not in the table.
    #[must_use]
    pub fn caller_of(&self, stack: StackId) -> CallerId {
        self.entry(stack).map_or(CallerId(0), |entry| entry.caller)
    }

    /// Where in the stack that is.
    #[must_use]
    pub fn place_in(&self, stack: StackId) -> Place {
        self.entry(stack).map_or(
            Place {
                stack: StackId::EMPTY,
                level: 0,
            },
            |entry| Place {
                stack: entry.at,
                level: entry.level.into(),
            },
        )
    }

    /// The global operator new or delete that was looked past on the way to the caller.
    #[must_use]
    pub fn operator_of(&self, stack: StackId) -> Option<Operator> {
        self.entry(stack)?.operator
    }

    /// A caller.
    #[must_use]
    pub fn get(&self, caller: CallerId) -> &Caller {
        // Numbers come from here, and there is always the first.
        self.callers
            .get(caller.0 as usize)
            .unwrap_or(&self.callers[0])
    }

    fn entry(&self, stack: StackId) -> Option<&Entry> {
        self.entries.get(stack.0 as usize)
    }

    /// Figures by stack as figures by caller: the most bytes first, then the most blocks, then by
    /// name. What has no blocks is left out.
    #[must_use]
    pub fn group(&self, by_stack: impl Iterator<Item = (StackId, Counts)>) -> Vec<Group> {
        let mut at: HashMap<CallerId, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (stack, counts) in by_stack.filter(|(_, counts)| !counts.is_none()) {
            let caller = self.caller_of(stack);
            let number = *at.entry(caller).or_insert(groups.len());
            if number == groups.len() {
                groups.push(Group {
                    caller,
                    counts: Counts::default(),
                    stacks: Vec::new(),
                });
            }
            let group = &mut groups[number];
            group.counts += counts;
            group.stacks.push((stack, counts));
        }
        let most = |counts: &Counts| std::cmp::Reverse((counts.bytes, counts.blocks));
        for group in &mut groups {
            group
                .stacks
                .sort_by_key(|(stack, counts)| (most(counts), *stack));
        }
        groups.sort_by(|a, b| {
            let sizes = most(&a.counts).cmp(&most(&b.counts));
            let name = |group: &Group| &self.get(group.caller).function;
            sizes.then_with(|| name(a).cmp(name(b)))
        });
        groups
    }
}

fn verdict(tables: &Tables, site: SiteId) -> Verdict {
    let functions = &tables.site(site).functions;
    let mut operator = None;
    for (level, frame) in functions.iter().enumerate() {
        let name = frame.function.as_deref().unwrap_or_default();
        if !wrappers::is_wrapper(name) {
            return Verdict {
                level: u16::try_from(level).ok(),
                operator,
            };
        }
        operator = wrappers::operator(name).or(operator);
    }
    Verdict {
        // Where nothing is known, nothing justifies looking further.
        level: functions.is_empty().then_some(0),
        operator,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Maker;
    use super::*;

    #[test]
    fn wrappers_are_looked_past_inlined_or_not() {
        let mut made = Maker::default();
        let plain = made.stack(&["load", "main"]);
        let wrapped = made.stack(&["operator new(unsigned long)", "xmalloc", "load", "main"]);
        let inlined = made.stack(&[
            "std::allocator<int>::allocate(unsigned long) < load",
            "main",
        ]);
        let nothing_else = made.stack(&["xmalloc", "xstrdup"]);
        let tables = made.tables();
        let callers = Callers::of(&tables);
        let name = |stack| callers.get(callers.caller_of(stack)).function.as_str();
        for stack in [plain, wrapped, inlined] {
            assert_eq!(name(stack), "load");
        }
        assert_eq!(callers.caller_of(plain), callers.caller_of(inlined));
        assert_eq!(callers.place_in(inlined).level, 1);
        assert_eq!(name(nothing_else), "xstrdup");
        assert_eq!(name(StackId::EMPTY), "???");
        assert_eq!(name(StackId(u32::MAX)), "???");
        assert_eq!(callers.operator_of(wrapped), Some(Operator::New));
        assert_eq!(callers.operator_of(plain), None);
    }

    #[test]
    fn groups_are_sums_and_the_largest_comes_first() {
        let mut made = Maker::default();
        let (a, b) = (made.stack(&["f", "main"]), made.stack(&["g", "main"]));
        let c = made.stack(&["malloc", "f", "main"]);
        let callers = Callers::of(&made.tables());
        let figures = [(a, 10), (b, 25), (c, 20)];
        let groups = callers.group(
            figures
                .map(|(stack, n)| (stack, Counts::one(n)))
                .into_iter(),
        );
        let found: Vec<_> = groups
            .iter()
            .map(|group| (callers.get(group.caller).function.as_str(), group.counts))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "f",
                    Counts {
                        blocks: 2,
                        bytes: 30
                    }
                ),
                ("g", Counts::one(25))
            ]
        );
        assert_eq!(groups[0].stacks[0].0, c);
    }
}
