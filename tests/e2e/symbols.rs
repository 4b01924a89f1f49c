//! Names of callers, as different builds leave them.

use std::path::Path;

use crate::programs::Build;
use crate::support::{Sntrace, find};

/// The caller of the block of this many bytes, with these options.
#[track_caller]
fn caller(program: &Path, options: &[&str], bytes: u64) -> String {
    let run = Sntrace::default_transport()
        .options(options)
        .run(&[program])
        .succeeds();
    let text = run.lines_text();
    find(&run.parse(&text), &format!("{bytes} bytes"), |line| {
        line.bytes() == bytes
    })
    .caller
    .to_owned()
}

fn layers() -> Build {
    Build::c("layers.c").flags(&["-O2"])
}

#[test]
fn an_inlined_function_is_the_caller() {
    assert_eq!(caller(&layers().path(), &[], 5001), "inlined_take");
    assert_eq!(caller(&layers().path(), &[], 5002), "static_take");
    assert_eq!(caller(&layers().path(), &[], 5003), "exported_take");
}

#[test]
fn the_location_of_an_inlined_call_is_inside_the_inlined_function() {
    let source = std::fs::read_to_string(crate::programs::sources().join("layers.c")).unwrap();
    let at = 1 + source
        .lines()
        .position(|line| line.contains("malloc(5001)"))
        .unwrap();
    assert_eq!(
        caller(&layers().path(), &["--locations"], 5001),
        format!("inlined_take layers.c:{at}")
    );
}

#[test]
fn without_debug_information_the_symbol_table_names_the_function() {
    let program = layers().flags(&["-g0"]).path();
    assert_eq!(caller(&program, &[], 5001), "around_inlined");
    assert_eq!(caller(&program, &[], 5002), "static_take");
    assert_eq!(caller(&program, &["--locations"], 5002), "static_take");
}

#[test]
fn without_a_symbol_table_the_dynamic_symbols_do() {
    let program = layers()
        .flags(&["-rdynamic"])
        .then(&["strip", "--strip-all", "{}"])
        .path();
    assert_eq!(caller(&program, &[], 5003), "exported_take");
}

#[test]
fn without_any_symbol_the_module_and_offset_do() {
    let program = layers().then(&["strip", "--strip-all", "{}"]).path();
    for bytes in [5001, 5002, 5003] {
        let name = caller(&program, &[], bytes);
        let offset = name
            .strip_prefix("layers+0x")
            .unwrap_or_else(|| panic!("{name}"));
        // The return address lies in the program's text, a few hundred to thousand bytes in.
        assert!(
            (0x400..0x10000).contains(&u64::from_str_radix(offset, 16).unwrap()),
            "{name}"
        );
    }
}

#[test]
fn compressed_debug_sections_are_read() {
    for form in ["-gz=zlib", "-gz=zlib-gnu"] {
        assert_eq!(
            caller(&layers().flags(&[form]).path(), &[], 5001),
            "inlined_take",
            "{form}"
        );
    }
}

#[test]
fn old_and_new_versions_of_dwarf_are_read() {
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        assert_eq!(
            caller(&layers().flags(&[version]).path(), &[], 5001),
            "inlined_take",
            "{version}"
        );
    }
}

#[test]
fn split_dwarf_is_read_beside_the_program_and_from_a_package() {
    let split = layers()
        .flags(&["-gsplit-dwarf", "-gdwarf-5"])
        .named("layers_split");
    assert_eq!(caller(&split.path(), &[], 5001), "inlined_take");
    // DWARF 4, as binutils' dwp crashes on 5. The .dwo is gone, only the package is left.
    let package = layers()
        .flags(&["-gsplit-dwarf", "-gdwarf-4"])
        .named("layers_package")
        .then(&["dwp", "-e", "{}", "-o", "{}.dwp"])
        .then(&["rm", "-f", "layers_package-layers.dwo", "layers.dwo"]);
    assert_eq!(caller(&package.path(), &[], 5001), "inlined_take");
}

#[test]
fn a_separate_debug_file_is_found_by_its_debuglink() {
    let program = layers()
        .then(&["objcopy", "--only-keep-debug", "{}", "layers.debug"])
        .then(&["strip", "--strip-all", "{}"])
        .then(&["objcopy", "--add-gnu-debuglink=layers.debug", "{}"])
        .path();
    assert_eq!(caller(&program, &[], 5001), "inlined_take");
}

#[test]
fn a_debug_file_of_another_build_is_not_believed() {
    // The debuglink's checksum does not fit: no name is better than a wrong one.
    let program = layers()
        .then(&["objcopy", "--only-keep-debug", "{}", "layers.debug"])
        .then(&["strip", "--strip-all", "{}"])
        .then(&["objcopy", "--add-gnu-debuglink=layers.debug", "{}"])
        .then(&["cp", "/bin/true", "layers.debug"])
        .path();
    assert!(caller(&program, &[], 5001).starts_with("layers+0x"));
}

#[test]
fn a_position_dependent_program_is_named_too() {
    assert_eq!(
        caller(&layers().flags(&["-no-pie"]).path(), &[], 5001),
        "inlined_take"
    );
}

#[test]
fn cpp_names_are_demangled() {
    let program = Build::cpp("templates.cpp").path();
    let name = caller(&program, &[], 6001);
    assert!(name.starts_with("shop::Shelf<int>::fill"), "{name}");
    let name = caller(&program, &[], 6002);
    assert!(name.contains("shop::") && name.contains("lambda"), "{name}");
    // Without debug information it is the symbol that is demangled.
    let name = caller(
        &Build::cpp("templates.cpp").flags(&["-g0"]).path(),
        &[],
        6001,
    );
    assert!(
        name.contains("shop::Shelf<int>::fill(unsigned long)"),
        "{name}"
    );
}

#[test]
fn a_container_names_the_function_that_uses_it() {
    // std::vector's and the allocator's own frames are the caller's business, not wrappers; but
    // operator new is one.
    let name = caller(&Build::cpp("templates.cpp").path(), &[], 6003 * 4);
    assert!(!name.starts_with("operator new"), "{name}");
}

#[test]
fn rust_names_are_demangled_and_the_alloc_crate_is_looked_past() {
    let program = Build::rust("boxes.rs").path();
    assert_eq!(caller(&program, &[], 7001), "boxes::shelf::make_box");
    assert_eq!(caller(&program, &[], 7002), "boxes::shelf::make_vector");
    let raw = caller(&program, &["--raw-callers"], 7001);
    assert_ne!(raw, "boxes::shelf::make_box");
}

/// What Cargo calls `debug = "line-tables-only"` keeps the last names of inlined functions, and no paths.
#[test]
fn rust_with_line_tables_alone_has_the_same_callers() {
    for optimization in ["-Copt-level=1", "-Copt-level=3"] {
        let program = Build::rust("boxes.rs")
            .flags(&["-Cdebuginfo=line-tables-only", optimization])
            .path();
        assert_eq!(caller(&program, &[], 7001), "boxes::shelf::make_box");
        assert_eq!(caller(&program, &[], 7002), "boxes::shelf::make_vector");
    }
}
