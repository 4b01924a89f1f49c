//! Arenas through `snhook.h`: they work where the hook is, and are nothing where it is not.

use crate::programs::Build;
use crate::support::{Sntrace, Transport, bare, both_transports};

/// The strictest flags that a user's program may have. The last of a kind counts.
const STRICT: &[&str] = &["-Wextra", "-pedantic", "-Werror"];

/// The compiler is told of the header, which is outside the programs' folder.
fn build(program: Build, standard: &str, flags: &[&str]) -> String {
    let header = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../libsnhook/include/snhook.h")
        .canonicalize()
        .unwrap();
    // Depending on the header: a changed one is a changed define.
    let text = std::fs::read_to_string(header).unwrap();
    let sum = text.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let program = program
        .flags(STRICT)
        .flags(&[standard, &format!("-DHEADER_SUM={sum}u")])
        .flags(flags)
        .path();
    program.to_str().unwrap().to_owned()
}

both_transports! {
    fn every_function_of_the_header_does_what_it_says(transport) {
        for flags in [&["-O0"][..], &["-O2"]] {
            let program = build(Build::c("arenas.c"), "-std=c99", flags);
            let run = Sntrace::new(transport).run(&[&program]).succeeds();
            assert_eq!(run.stdout(), "loaded=1 failures=0\n", "{flags:?}");
        }
    }
}

/// The linker resolves weak references of such a program to nothing, once and for all.
#[test]
fn a_program_at_a_fixed_address_is_always_without() {
    let program = build(Build::c("arenas.c"), "-std=c99", &["-fno-pie", "-no-pie"]);
    let run = Sntrace::default_transport().run(&[&program]).succeeds();
    assert_eq!(run.stdout(), "loaded=0 failures=0\n");
}

#[test]
fn without_the_hook_every_function_does_nothing() {
    for flags in [
        &["-O0"][..],
        &["-O2"],
        &["-O2", "-fno-pie", "-no-pie"],
        &["-static"],
    ] {
        let program = build(Build::c("arenas.c"), "-std=c99", flags);
        assert_eq!(bare(&[&program]), "loaded=0 failures=0\n", "{flags:?}");
    }
}

#[test]
fn the_header_is_cpp_too() {
    for flags in [&["-O0"][..], &["-O2"]] {
        let program = build(Build::cpp("arenas_cpp.cpp"), "-std=c++11", flags);
        assert_eq!(
            bare(&[&program]),
            "loaded=0 texts=0 count=0 status=-1 good=1\n"
        );
        let run = Sntrace::default_transport().run(&[&program]).succeeds();
        assert_eq!(
            run.stdout(),
            "loaded=1 texts=1000 count=1000 status=0 good=1\n"
        );
    }
}
