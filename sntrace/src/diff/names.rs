//! What functions are called where stacks of different builds are compared, each name once.
//!
//! A function is its name and nothing else: not its address, its line, or the file that has it, all of which
//! a rebuild changes. Names are free of what compilers and linkers add to them already
//! ([`crate::symbolize::demangle`]). A place without a name is its module's, by the name that the module keeps from
//! version to version; its address counts only where both sides ran the very same file.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::symbolize::{is_start, wrappers};
use crate::trace::{SiteId, Tables};

/// Number of a name: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u32);

/// What a name means for a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A function of somebody's.
    Function,
    /// One that merely wraps the allocator.
    Wrapper,
    /// One that runs before a program's or a thread's own code: what is outside of it doesn't count.
    Start,
    /// `main`: what is outside of it doesn't count.
    Main,
    /// A place of the C library or its loader that no name is known for. Outside of everything else it is
    /// such a start.
    Libc,
}

#[derive(Clone, Debug)]
struct Name {
    text: Arc<str>,
    role: Role,
}

/// All names of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Names {
    numbers: HashMap<Arc<str>, NameId>,
    names: Vec<Name>,
}

impl Names {
    /// The number of a function's name.
    pub fn function(&mut self, name: &str) -> NameId {
        self.number(name, |name| match name {
            "main" => Role::Main,
            name if is_start(name) => Role::Start,
            name if wrappers::is_wrapper(name) => Role::Wrapper,
            _ => Role::Function,
        })
    }

    /// The number of a place without a name.
    pub fn unnamed(&mut self, text: &str, module: &str) -> NameId {
        self.number(text, |_| match is_libc(module) {
            true => Role::Libc,
            false => Role::Function,
        })
    }

    fn number(&mut self, text: &str, role: impl FnOnce(&str) -> Role) -> NameId {
        if let Some(&known) = self.numbers.get(text) {
            return known;
        }
        // As many names would not fit in memory.
        let number = NameId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = text.into();
        self.names.push(Name {
            role: role(&text),
            text: text.clone(),
        });
        self.numbers.insert(text, number);
        number
    }

    /// The name; not escaped.
    #[must_use]
    pub fn text(&self, name: NameId) -> &str {
        self.names.get(name.0 as usize).map_or("???", |n| &n.text)
    }

    /// What it means.
    #[must_use]
    pub fn role(&self, name: NameId) -> Role {
        self.names
            .get(name.0 as usize)
            .map_or(Role::Function, |name| name.role)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }
}

/// A module by what versions of it have in common: `/lib/libz.so.1.2.13` is `libz.so`.
#[must_use]
pub fn module_stem(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or(path);
    // A file that was replaced while it was mapped is the same file.
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    let Some(at) = name.find(".so") else {
        return name;
    };
    let end = at + ".so".len();
    let rest = &name[end..];
    let version = rest.is_empty()
        || rest.starts_with('.')
            && rest
                .bytes()
                .all(|byte| byte == b'.' || byte.is_ascii_digit());
    let stem = if version { &name[..end] } else { name };
    // `libfoo-1.2.so`, as libraries without a version of their own in the name's end are called.
    match stem.strip_suffix(".so").and_then(|s| s.rsplit_once('-')) {
        Some((short, version))
            if !version.is_empty()
                && version.bytes().all(|b| b == b'.' || b.is_ascii_digit())
                && version.contains('.') =>
        {
            &name[..short.len()]
        }
        _ => stem,
    }
}

fn is_libc(module: &str) -> bool {
    let stem = module_stem(module);
    ["libc.so", "libc", "libpthread.so", "libpthread"].contains(&stem)
        || stem.starts_with("ld-linux")
        || stem.starts_with("ld-musl")
        || stem.starts_with("ld-")
}

/// What the names of a trace say about the whole of it.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Functions that were compiled as such, and whether a source line is known for any place in them: then so are
    /// the functions that were inlined there.
    has_lines: HashMap<Arc<str>, bool>,
    /// Build ids of its modules.
    builds: HashSet<Vec<u8>>,
}

impl Vocabulary {
    /// Of a trace's tables.
    #[must_use]
    pub fn of(tables: &Tables) -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for site in &tables.sites {
            let Some(real) = site.functions.last() else {
                continue;
            };
            if let Some(function) = &real.function {
                *vocabulary.has_lines.entry(function.clone()).or_default() |= real.line.is_some();
            }
        }
        let builds = tables.files.iter().map(|file| &file.build_id);
        vocabulary.builds = builds.filter(|id| !id.is_empty()).cloned().collect();
        vocabulary
    }

    /// Whether what was inlined into this function is known here and can't be known there.
    #[must_use]
    pub fn knows_more_than(&self, other: &Vocabulary, function: &str) -> bool {
        self.has_lines.get(function) == Some(&true) && other.has_lines.get(function) == Some(&false)
    }

    /// Whether a module of this build is in it.
    #[must_use]
    pub fn has_build(&self, build_id: &[u8]) -> bool {
        !build_id.is_empty() && self.builds.contains(build_id)
    }
}

/// Functions that another build may call otherwise, or inline: those of modules that the other side did not run the very
/// same build of. In the same file nothing is renamed.
pub fn changeable(tables: &Tables, other: &Vocabulary, names: &mut Names) -> HashSet<NameId> {
    let mut found = HashSet::new();
    for (number, site) in (0..).zip(&tables.sites) {
        let file = tables.file_of(SiteId(number));
        if file.is_some_and(|file| !other.has_build(&file.build_id)) {
            let functions = site.functions.iter();
            let functions = functions.filter_map(|frame| frame.function.as_deref());
            found.extend(functions.map(|function| names.function(function)));
        }
    }
    found
}

/// The functions of a place, the outermost first, as a comparison names them. `other` is what the other side's
/// trace knows; without it everything counts that is known here.
pub fn names_of(
    tables: &Tables,
    site: SiteId,
    sides: Option<(&Vocabulary, &Vocabulary)>,
    names: &mut Names,
) -> Vec<NameId> {
    let place = tables.site(site);
    if site == SiteId::TRUNCATED {
        return vec![names.function("[truncated]")];
    }
    let module = tables.file_of(site).map_or("", |file| &*file.path);
    let Some((real, inlined)) = place.functions.split_last() else {
        return vec![unnamed(tables, site, sides, names)];
    };
    let mut found = Vec::with_capacity(place.functions.len());
    found.push(match &real.function {
        Some(function) => names.function(function),
        None => unnamed(tables, site, sides, names),
    });
    let hidden = match (&real.function, sides) {
        (Some(function), Some((own, other))) => own.knows_more_than(other, function),
        _ => false,
    };
    if !hidden {
        for frame in inlined.iter().rev() {
            found.push(match &frame.function {
                Some(function) => names.function(function),
                None => names.unnamed("???", module),
            });
        }
    }
    found
}

fn unnamed(
    tables: &Tables,
    site: SiteId,
    sides: Option<(&Vocabulary, &Vocabulary)>,
    names: &mut Names,
) -> NameId {
    let Some(file) = tables.file_of(site) else {
        return names.unnamed("???", "");
    };
    let stem = module_stem(&file.path);
    let same_file = sides.is_none_or(|(_, other)| other.has_build(&file.build_id));
    let text = match same_file {
        true => format!("{stem}+{:#x}", tables.site(site).address),
        false => format!("{stem} (no name)"),
    };
    names.unnamed(&text, &file.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::samples::Maker;

    #[test]
    fn a_module_keeps_its_name_over_its_versions() {
        for (path, stem) in [
            ("/usr/lib/x86_64-linux-gnu/libz.so.1.2.13", "libz.so"),
            ("/lib/libz.so", "libz.so"),
            ("/lib/libbfd-2.40.so", "libbfd"),
            ("/lib/libfoo-bar.so.3", "libfoo-bar.so"),
            ("/opt/app-2.1", "app-2.1"),
            ("/lib/a.some.so.conf", "a.some.so.conf"),
            ("/tmp/plugin.so (deleted)", "plugin.so"),
            ("", ""),
        ] {
            assert_eq!(module_stem(path), stem, "{path}");
        }
    }

    #[test]
    fn names_tell_what_a_function_is() {
        let mut names = Names::default();
        for (text, role) in [
            ("main", Role::Main),
            ("__libc_start_main", Role::Start),
            ("operator new(unsigned long)", Role::Wrapper),
            ("work", Role::Function),
        ] {
            let name = names.function(text);
            assert_eq!(names.role(name), role, "{text}");
            assert_eq!(names.function(text), name);
        }
        let libc = names.unnamed("libc.so+0x1", "/lib/libc.so.6");
        assert_eq!(names.role(libc), Role::Libc);
    }

    #[test]
    fn what_is_inlined_counts_where_both_sides_can_know_it() {
        let texts = |tables: &Tables, other: &Tables, site| {
            let mut names = Names::default();
            let (own, other) = (Vocabulary::of(tables), Vocabulary::of(other));
            names_of(tables, site, Some((&own, &other)), &mut names)
                .into_iter()
                .map(|name| names.text(name).to_owned())
                .collect::<Vec<_>>()
        };
        let mut with = Maker::default();
        with.stack(&["helper @a.c:3 < work @a.c:9"]);
        let mut without = Maker::default();
        without.stack(&["work"]);
        let mut elsewhere = Maker::default();
        elsewhere.stack(&["other"]);
        let (with, without) = (with.tables(), without.tables());
        let elsewhere = elsewhere.tables();
        assert_eq!(texts(&with, &with, SiteId(1)), ["work", "helper"]);
        assert_eq!(texts(&with, &without, SiteId(1)), ["work"]);
        assert_eq!(texts(&without, &with, SiteId(1)), ["work"]);
        assert_eq!(texts(&with, &elsewhere, SiteId(1)), ["work", "helper"]);
    }

    #[test]
    fn an_address_counts_in_the_same_file_alone() {
        let mut maker = Maker::default();
        maker.stack(&["? in /lib/libx.so.1"]);
        let mut tables = maker.tables();
        let text = |tables: &Tables, other: &Tables| {
            let mut names = Names::default();
            let (own, other) = (Vocabulary::of(tables), Vocabulary::of(other));
            let found = names_of(tables, SiteId(1), Some((&own, &other)), &mut names);
            names.text(found[0]).to_owned()
        };
        assert_eq!(text(&tables, &tables), "libx.so (no name)");
        tables.files[0].build_id = vec![1, 2];
        assert_eq!(text(&tables, &tables), "libx.so+0x1010");
    }
}
