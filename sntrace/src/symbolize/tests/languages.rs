//! Names as C++ and Rust programmers write them, from what their compilers emit.

use super::super::testing::{Workshop, caller_of, locator_for};
use super::super::{Caller, CallerFinder};
use crate::trace::Op;

fn caller(shop: &Workshop, library: &str, op: Op, address: u64, raw: bool) -> Caller {
    let locator = locator_for(shop.folder());
    let mut finder = CallerFinder::new(&locator);
    let mut map = finder.new_map();
    map.add(shop.module(library));
    caller_of(&mut finder, &map, op, address, &[], raw)
}

const METHODS: &str = "#include <cstddef>
#include <vector>
namespace ns {
struct Class { __attribute__((noinline)) char *method(int n); };
char *Class::method(int n) { char *c = new char[n]; *(volatile char *)c = 0; return c; }
template <class T> __attribute__((noinline)) T *make(T n) { T *t = new T; *(volatile T *)t = n; return t; }
}
char *use_method(ns::Class &c) { return c.method(3) + 1; }
int *use_template() { return ns::make<int>(4); }
int use_lambda(int n) {
    auto lambda = [](int n) __attribute__((noinline)) { int *p = new int; *(volatile int *)p = n; return p; };
    return *lambda(n) + *lambda(n + 1);
}
void grow(std::vector<int> &v, int n) { v.reserve(n); }
";

#[test]
fn cpp_functions_are_named_with_and_without_debug_info() {
    for debug in ["-g", "-g0"] {
        let shop = Workshop::new();
        shop.write("methods.cpp", METHODS);
        let options = [
            "-O1",
            debug,
            "-fPIC",
            "-shared",
            "-Wl,--build-id",
            "-o",
            "methods.so",
            "methods.cpp",
        ];
        shop.run("g++", &options);
        let library = shop.path("methods.so");
        let lambda = shop.output("nm", &[&library]);
        let lambda = lambda
            .split_whitespace()
            .find(|word| word.starts_with("_ZZ10use_lambda"));
        for (symbol, operator, name) in [
            ("_ZN2ns5Class6methodEi", "_Znam", "ns::Class::method(int)"),
            ("_ZN2ns4makeIiEEPT_S1_", "_Znwm", "ns::make<int>(int)"),
            (
                lambda.expect("a lambda"),
                "_Znwm",
                "use_lambda(int)::{lambda(int)#1}::operator()(int) const",
            ),
        ] {
            let address = shop.return_address(&library, symbol, operator);
            let found = caller(&shop, &library, Op::New, address, false);
            assert_eq!(&*found.name, name, "{debug}");
            assert_eq!(found.operator, None);
            assert_eq!(found.location.is_some(), debug == "-g");
        }
    }
}

#[test]
fn inlined_library_code_is_looked_past_within_one_address() {
    let shop = Workshop::new();
    shop.write("methods.cpp", METHODS);
    let options = [
        "-O2",
        "-g",
        "-fPIC",
        "-shared",
        "-Wl,--build-id",
        "-o",
        "methods.so",
        "methods.cpp",
    ];
    shop.run("g++", &options);
    let library = shop.path("methods.so");
    let address = shop.return_address(&library, "_Z4growRSt6vectorIiSaIiEEi", "_Znwm");
    let found = caller(&shop, &library, Op::New, address, false);
    assert_eq!(
        &*found.name,
        "grow(std::vector<int, std::allocator<int> >&, int)"
    );
    assert_eq!(found.location.as_ref().unwrap().1, 14);
    // Raw: the innermost inlined function.
    let raw = caller(&shop, &library, Op::New, address, true);
    assert!(raw.name.contains("allocate("), "{}", raw.name);
}

const RUST: &str = "
#[inline(never)]
pub fn gather(n: usize) -> Vec<u64> {
    let mut all = Vec::with_capacity(n);
    all.push(n as u64);
    all
}
pub struct Store;
impl Store {
    #[inline(never)]
    pub fn boxed<T: Copy>(&self, value: T) -> Box<T> { Box::new(value) }
}
#[unsafe(no_mangle)]
pub extern \"C\" fn entry(n: usize) -> u64 { gather(n)[0] + *Store.boxed(n as u64) }
";

#[test]
fn rust_functions_are_named_past_the_alloc_crate() {
    for (mangling, boxed) in [
        ("legacy", "mine::Store::boxed"),
        ("v0", "<mine::Store>::boxed::<u64>"),
    ] {
        let shop = Workshop::new();
        shop.write("mine.rs", RUST);
        let options = [
            "--edition=2024",
            "--crate-type=cdylib",
            "--crate-name=mine",
            "-Copt-level=2",
        ];
        let mangling_option = format!("-Csymbol-mangling-version={mangling}");
        let more = ["-Cdebuginfo=2", "-Cstrip=none", "-o", "mine.so", "mine.rs"];
        let mut arguments = [&options[..], &more].concat();
        // Legacy is the default of a stable compiler, which takes no option for it.
        if mangling == "v0" {
            arguments.push(&mangling_option);
        }
        shop.run("rustc", &arguments);
        let library = shop.path("mine.so");
        let symbols = shop.output("nm", &[&library]);
        for (part, name) in [("6gather", "mine::gather"), ("5boxed", boxed)] {
            let symbol = symbols
                .split_whitespace()
                .find(|word| word.contains("4mine") && word.contains(part));
            let symbol = symbol.expect(part);
            // All calls that the compiler left in these functions are the alloc crate's.
            let mut past_the_alloc_crate = 0;
            for address in shop.return_addresses(&library, symbol) {
                let found = caller(&shop, &library, Op::Malloc, address, false);
                assert_eq!(&*found.name, name, "{mangling}");
                let raw = caller(&shop, &library, Op::Malloc, address, true);
                past_the_alloc_crate += usize::from(raw.name.contains("alloc::") && raw != found);
            }
            assert!(past_the_alloc_crate > 0, "{mangling} {part}");
        }
    }
}
