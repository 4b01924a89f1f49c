//! DWARF in every wrapping that toolchains put it in gives the same frames.

use super::super::testing::{Workshop, locator_for, map_of, shown};
use super::super::{Locator, Symbolizer};

/// `inner` is inlined into `outer`; the call of malloc is in line 3, that of `inner` in line 6.
pub(super) const INLINE_C: &str = "#include <stdlib.h>
static inline __attribute__((always_inline)) void *inner(unsigned n) {
    return malloc(n);
}
__attribute__((noinline)) void *outer(unsigned n) {
    char *block = inner(n);
    if (block) *(volatile char *)block = 1;
    return block;
}
static __attribute__((noinline)) void *hidden(unsigned n) {
    char *block = calloc(n, 2);
    if (block) *(volatile char *)block = 1;
    return block;
}
void *use(unsigned n) { void *block = hidden(n); return outer(block ? n + 1 : n); }
";

pub(super) const INLINED: [&str; 2] = ["inner inline.c:3", "outer inline.c:6"];

/// Builds [`INLINE_C`] as `inline.so`: its path and the return address of its malloc.
pub(super) fn build(shop: &Workshop, compiler: &str, options: &[&str]) -> (String, u64) {
    shop.write("inline.c", INLINE_C);
    let mut arguments = vec![
        "-O2",
        "-fPIC",
        "-shared",
        "-Wl,--build-id",
        "-o",
        "inline.so",
        "inline.c",
    ];
    arguments.extend(options);
    shop.run(compiler, &arguments);
    let library = shop.path("inline.so");
    let address = shop.return_address(&library, "outer", "malloc");
    (library, address)
}

/// The frames of the call before `address`.
pub(super) fn frames(
    shop: &Workshop,
    locator: &Locator,
    library: &str,
    address: u64,
) -> Vec<String> {
    let mut symbolizer = Symbolizer::new(locator);
    let (_, file) = map_of(&symbolizer, shop.module(library));
    shown(&symbolizer.frames(file, address - 1))
}

fn frames_with(compiler: &str, options: &[&str]) -> Vec<String> {
    let shop = Workshop::new();
    let (library, address) = build(&shop, compiler, options);
    frames(&shop, &locator_for(shop.folder()), &library, address)
}

#[test]
fn inlined_functions_come_innermost_first_with_their_lines() {
    assert_eq!(frames_with("gcc", &["-g"]), INLINED);
    assert_eq!(frames_with("gcc", &["-gdwarf-4"]), INLINED);
    assert_eq!(frames_with("clang", &["-g"]), INLINED);
}

#[test]
fn compressed_sections_are_read() {
    assert_eq!(frames_with("gcc", &["-g", "-gz=zlib"]), INLINED);
    for style in ["zlib", "zlib-gnu", "zstd"] {
        let shop = Workshop::new();
        let (library, address) = build(&shop, "gcc", &["-g"]);
        let option = format!("--compress-debug-sections={style}");
        if style == "zstd" && !shop.output("objcopy", &["--help"]).contains("zstd") {
            // Binutils before 2.40, or built without it.
            continue;
        }
        shop.run("objcopy", &[&option, &library]);
        let sections = shop.output("readelf", &["-SW", &library]);
        let expected = if style == "zlib-gnu" {
            ".zdebug_info"
        } else {
            ".debug_info"
        };
        assert!(sections.contains(expected), "{sections}");
        assert_eq!(
            frames(&shop, &locator_for(shop.folder()), &library, address),
            INLINED,
            "{style}"
        );
    }
}

#[test]
fn split_dwarf_is_found_as_dwo_files() {
    for options in [&["-g", "-gsplit-dwarf"], &["-gdwarf-4", "-gsplit-dwarf"]] {
        let shop = Workshop::new();
        let (library, address) = build(&shop, "gcc", options);
        let locator = locator_for(shop.folder());
        assert_eq!(
            frames(&shop, &locator, &library, address),
            INLINED,
            "{options:?}"
        );
        // Without the .dwo file, the skeleton still has the line, and the symbol table the name.
        let dwo = std::fs::read_dir(shop.folder()).unwrap().flatten();
        let dwo = dwo
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "dwo"));
        std::fs::remove_file(dwo.expect("a .dwo file")).unwrap();
        assert_eq!(
            frames(&shop, &locator, &library, address),
            ["outer inline.c:3"],
            "{options:?}"
        );
    }
}

#[test]
fn split_dwarf_that_was_moved_is_found_beside_the_module() {
    let shop = Workshop::new();
    let elsewhere = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g", "-gsplit-dwarf"]);
    let module = elsewhere.path("inline.so");
    std::fs::copy(&library, &module).unwrap();
    for entry in std::fs::read_dir(shop.folder()).unwrap().flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "dwo")
        {
            std::fs::rename(entry.path(), elsewhere.folder().join(entry.file_name())).unwrap();
        }
    }
    assert_eq!(
        frames(
            &elsewhere,
            &locator_for(elsewhere.folder()),
            &module,
            address
        ),
        INLINED
    );
}

#[test]
fn split_dwarf_is_found_in_a_package() {
    for version in ["-gdwarf-5", "-gdwarf-4"] {
        let shop = Workshop::new();
        shop.write("inline.c", INLINE_C);
        let options = [
            "-O2",
            "-fPIC",
            version,
            "-gsplit-dwarf",
            "-c",
            "-o",
            "inline.o",
            "inline.c",
        ];
        shop.run("clang", &options);
        shop.run(
            "clang",
            &["-shared", "-Wl,--build-id", "-o", "inline.so", "inline.o"],
        );
        shop.run("llvm-dwp", &["-o", "inline.so.dwp", "inline.dwo"]);
        std::fs::remove_file(shop.path("inline.dwo")).unwrap();
        let library = shop.path("inline.so");
        let address = shop.return_address(&library, "outer", "malloc");
        assert_eq!(
            frames(&shop, &locator_for(shop.folder()), &library, address),
            INLINED,
            "{version}"
        );
    }
}

#[test]
fn a_dwo_of_another_build_is_refused() {
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g", "-gsplit-dwarf"]);
    let kept = shop.path("kept.so");
    std::fs::copy(&library, &kept).unwrap();
    // Builds the same name again, with other content: the .dwo file is now the new one's.
    shop.write("inline.c", &INLINE_C.replace("inner", "other"));
    shop.run(
        "gcc",
        &[
            "-O2",
            "-fPIC",
            "-shared",
            "-g",
            "-gsplit-dwarf",
            "-o",
            "inline.so",
            "inline.c",
        ],
    );
    assert_eq!(
        frames(&shop, &locator_for(shop.folder()), &kept, address),
        ["outer inline.c:3"]
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn one_files_debug_info_is_shared_through_dwz() {
    // Built by `tests/fixtures/symbolize/dwz/build.sh`, as dwz is on few machines.
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/symbolize/dwz"
    );
    let shop = Workshop::new();
    for file in ["one.so", "common.dwz"] {
        std::fs::copy(format!("{fixtures}/{file}"), shop.path(file)).unwrap();
    }
    let library = shop.path("one.so");
    let address = shop.return_address(&library, "outer", "malloc");
    let locator = locator_for(shop.folder());
    assert_eq!(frames(&shop, &locator, &library, address), INLINED);
    // Without it, names that live there are missing; the symbol table still has the real one.
    std::fs::remove_file(shop.path("common.dwz")).unwrap();
    let without = frames(&shop, &locator, &library, address);
    assert!(
        without
            .last()
            .is_some_and(|frame| frame.starts_with("outer")),
        "{without:?}"
    );
}

#[test]
fn honest_debug_info_is_far_from_running_dry() {
    let shop = Workshop::new();
    // The standard library's headers make big, deeply nested debug info.
    shop.write(
        "big.cpp",
        "#include <map>\n#include <regex>\n#include <string>\n#include <unordered_map>\n
         bool match(const std::string &a) { return std::regex_match(a, std::regex(\"a+b\")); }
         int count(std::map<std::string, int> &m) { m[\"x\"]++; return m.size(); }
         int hash(std::unordered_map<std::string, int> &m) { m[\"x\"]++; return m.size(); }\n",
    );
    shop.run(
        "g++",
        &[
            "-O2",
            "-g",
            "-fPIC",
            "-shared",
            "-Wl,--build-id",
            "-o",
            "big.so",
            "big.cpp",
        ],
    );
    let library = shop.path("big.so");
    let locator = locator_for(shop.folder());
    let mut symbolizer = Symbolizer::new(&locator);
    let (_, file) = map_of(&symbolizer, shop.module(&library));
    let starts = symbolizer.function_starts(file);
    assert!(starts.len() > 100, "{}", starts.len());
    symbolizer.frames(file, starts[0]);
    let before = symbolizer.fuel(file).unwrap();
    let mut named = 0;
    for start in &starts {
        named += usize::from(
            symbolizer
                .frames(file, *start)
                .last()
                .is_some_and(|f| f.line.is_some()),
        );
    }
    assert!(named > 100, "{named}");
    let used = before - symbolizer.fuel(file).unwrap();
    assert!(
        used < before / 2,
        "all functions of a file took {used} reads of {before}"
    );
}
