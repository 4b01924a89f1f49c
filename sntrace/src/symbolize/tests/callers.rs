//! The walk from the allocator to the caller, over real frames.

use sntrace_format::verdict::Verdict;

use super::super::testing::{Workshop, caller_of, locator_for};
use super::super::{CallerFinder, ModuleMap};
use crate::trace::Op;

const BASE: u64 = 0x5555_0000_0000;

/// A program with wrappers of its own; every function returns to the next one.
const PROGRAM: &str = "#include <stdlib.h>
#include <string.h>
#define KEEP __attribute__((noinline, used))
static volatile int sink;
KEEP void *xmalloc(size_t n) { void *p = malloc(n); sink++; return p; }
KEEP char *xstrdup(const char *s) { char *p = xmalloc(strlen(s) + 1); sink++; return p; }
KEEP void *name_of(const char *s) { void *p = xstrdup(s); sink++; return p; }
KEEP void *new_plain(size_t n) __asm__(\"_Znwm\");
KEEP void *new_plain(size_t n) { void *p = malloc(n); sink++; return p; }
KEEP void *new_array(size_t n) __asm__(\"_Znam\");
KEEP void *new_array(size_t n) { void *p = new_plain(n); sink++; return p; }
KEEP void delete_plain(void *p) __asm__(\"_ZdlPv\");
KEEP void delete_plain(void *p) { free(p); sink++; }
KEEP void *table(size_t n) { void *p = new_array(n); sink++; return p; }
KEEP void drop_table(void *p) { delete_plain(p); sink++; }
int main(void) { table(1); drop_table(0); return name_of(\"x\") != 0; }
";

struct Program {
    shop: Workshop,
    path: String,
}

impl Program {
    fn new() -> Program {
        let shop = Workshop::new();
        shop.write("program.c", PROGRAM);
        shop.run(
            "gcc",
            &[
                "-O1",
                "-g",
                "-fno-builtin",
                "-Wl,--build-id",
                "-o",
                "program",
                "program.c",
            ],
        );
        let path = shop.path("program");
        Program { shop, path }
    }

    /// Where, at run time, `function` goes on after calling `callee`.
    fn after(&self, function: &str, callee: &str) -> u64 {
        BASE + self.shop.return_address(&self.path, function, callee)
    }

    fn map(&self, finder: &CallerFinder<'_>) -> ModuleMap {
        let mut module = self.shop.module(&self.path);
        (module.start, module.end, module.bias) = (BASE, BASE + 0x10000, BASE);
        let mut map = finder.new_map();
        map.add(module);
        map
    }
}

#[test]
fn the_caller_is_the_first_that_is_no_wrapper() {
    let program = Program::new();
    let locator = locator_for(program.shop.folder());
    let mut finder = CallerFinder::new(&locator);
    let map = program.map(&finder);
    let (first, beyond) = (
        program.after("xmalloc", "malloc"),
        [
            program.after("xstrdup", "xmalloc"),
            program.after("name_of", "xstrdup"),
            program.after("main", "name_of"),
        ],
    );
    let found = caller_of(&mut finder, &map, Op::Malloc, first, &beyond, false);
    assert_eq!((&*found.name, found.depth), ("name_of", 2));
    assert_eq!(found.file_address, beyond[1] - BASE);
    assert_eq!(found.location.as_ref().unwrap().1, 7);
    assert_eq!((found.operator, found.verdict), (None, Verdict::Wrapper));
    // The same question gets the same answer.
    let again = caller_of(&mut finder, &map, Op::Malloc, first, &beyond, false);
    assert_eq!(found, again);
    // Raw: the direct caller.
    let raw = caller_of(&mut finder, &map, Op::Malloc, first, &beyond, true);
    assert_eq!((&*raw.name, raw.depth), ("xmalloc", 0));
    // Wrappers only: the outermost of them.
    let cut = caller_of(&mut finder, &map, Op::Malloc, first, &beyond[..1], false);
    assert_eq!((&*cut.name, cut.depth), ("xstrdup", 1));
    let ended = caller_of(
        &mut finder,
        &map,
        Op::Malloc,
        first,
        &[beyond[0], 0, beyond[1]],
        false,
    );
    assert_eq!((&*ended.name, ended.depth), ("xstrdup", 1));
    assert_eq!(finder.verdict(&map, first), Verdict::Wrapper);
    assert_eq!(finder.verdict(&map, beyond[0]), Verdict::Wrapper);
    assert_eq!(finder.verdict(&map, beyond[1]), Verdict::Direct);
    // Nothing is known of code outside all modules, so nothing lets the hook look beyond.
    assert_eq!(finder.verdict(&map, 0x1234), Verdict::Direct);
}

#[test]
fn an_operator_among_the_wrappers_is_what_was_called() {
    let program = Program::new();
    let locator = locator_for(program.shop.folder());
    let mut finder = CallerFinder::new(&locator);
    let map = program.map(&finder);
    let in_new = program.after("_Znwm", "malloc");
    let in_new_array = program.after("_Znam", "_Znwm");
    let in_table = program.after("table", "_Znam");
    let found = caller_of(
        &mut finder,
        &map,
        Op::Malloc,
        in_new,
        &[in_new_array, in_table],
        false,
    );
    assert_eq!(
        (&*found.name, found.operator),
        ("table", Some(Op::NewArray))
    );
    // The array form lives as long as the frames show it.
    let plain = caller_of(&mut finder, &map, Op::Malloc, in_new, &[in_table], false);
    assert_eq!((&*plain.name, plain.operator), ("table", Some(Op::New)));
    let aligned = caller_of(
        &mut finder,
        &map,
        Op::AlignedAlloc,
        in_new,
        &[in_table],
        false,
    );
    assert_eq!(aligned.operator, Some(Op::NewAligned));
    // An operator that was recorded as such stays what it is.
    let hooked = caller_of(&mut finder, &map, Op::New, in_table, &[], false);
    assert_eq!((&*hooked.name, hooked.operator), ("table", None));
    let freed = [
        program.after("_ZdlPv", "free"),
        program.after("drop_table", "_ZdlPv"),
    ];
    let found = caller_of(&mut finder, &map, Op::Free, freed[0], &freed[1..], false);
    assert_eq!(
        (&*found.name, found.operator),
        ("drop_table", Some(Op::Delete))
    );
    let raw = caller_of(&mut finder, &map, Op::Malloc, in_new, &[in_table], true);
    assert_eq!(
        (&*raw.name, raw.operator),
        ("operator new(unsigned long)", None)
    );
}

#[test]
fn an_address_is_named_by_what_was_mapped_at_the_time() {
    let program = Program::new();
    let locator = locator_for(program.shop.folder());
    let mut finder = CallerFinder::new(&locator);
    let mut map = program.map(&finder);
    let address = program.after("table", "_Znam");
    let name = |finder: &mut CallerFinder<'_>, map: &ModuleMap| {
        caller_of(finder, map, Op::New, address, &[], false)
            .name
            .to_string()
    };
    assert_eq!(name(&mut finder, &map), "table");
    let forked = map.clone();
    map.remove(BASE);
    assert_eq!(name(&mut finder, &map), "???");
    assert_eq!(name(&mut finder, &forked), "table");
    // Another process, another address, the same file: the same answer.
    let mut other = finder.new_map();
    let mut module = program.shop.module(&program.path);
    (module.start, module.end, module.bias) = (0x1000_0000, 0x1010_0000, 0x1000_0000);
    other.add(module);
    let here = caller_of(&mut finder, &forked, Op::New, address, &[], false);
    let there = caller_of(
        &mut finder,
        &other,
        Op::New,
        address - BASE + 0x1000_0000,
        &[],
        false,
    );
    assert_eq!(here, there);
}

#[test]
fn a_finder_can_be_handed_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let locator = super::super::Locator::default();
    is_send(&CallerFinder::new(&locator));
}
