//! Whichever allocator serves the program goes on serving it, with the same blocks.

use std::path::PathBuf;
use std::process::Command;

use crate::programs::{Build, installed, tool};
use crate::support::{Run, Sntrace, Transport, both_transports, called_by, clean, word};

/// Other allocators, as Debian's packages bring them.
const OTHERS: &[(&str, &str)] = &[
    ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "libjemalloc2"),
    (
        "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",
        "libmimalloc2.0",
    ),
    (
        "/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4",
        "libgoogle-perftools4",
    ),
    (
        "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
        "libtcmalloc-minimal4",
    ),
];

fn others() -> impl Iterator<Item = PathBuf> {
    OTHERS
        .iter()
        .map(|(path, package)| installed(path, package))
}

/// What the program finds out about its allocator when run bare.
fn bare_fingerprint(program: &std::path::Path, preload: Option<&std::path::Path>) -> String {
    let mut command = Command::new(program);
    clean(&mut command);
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The blocks that the program printed are the blocks in the trace.
#[track_caller]
fn blocks_are_traced(run: &Run) {
    let (text, printed) = (run.lines_text(), run.stdout());
    let lines = run.parse(&text);
    let taken = called_by(&lines, "take_and_tell");
    assert_eq!(taken.len(), 2, "{text}");
    assert_eq!(
        format!("{:#x}", taken[0].returned.unwrap()),
        word(&printed, "block")
    );
    assert_eq!(taken[1].released(), taken[0].returned);
}

both_transports! {
    fn a_preloaded_allocator_stays_the_one_that_serves(transport) {
        let program = Build::c("which_allocator.c").flags(&["-ldl"]).path();
        let glibc = bare_fingerprint(&program, None);
        for library in others() {
            let bare = bare_fingerprint(&program, Some(&library));
            assert_ne!(word(&bare, "sizes"), word(&glibc, "sizes"), "{} does not serve", library.display());
            let run = Sntrace::new(transport).env("LD_PRELOAD", &library).run(&[&program]).succeeds();
            assert_eq!(word(&run.stdout(), "sizes"), word(&bare, "sizes"), "{}", library.display());
            blocks_are_traced(&run);
        }
    }

    fn a_linked_allocator_stays_the_one_that_serves(transport) {
        for library in others() {
            let program = Build::c("which_allocator.c").flags(&["-Wl,--no-as-needed"]).link(&library).path();
            let bare = bare_fingerprint(&program, None);
            let run = Sntrace::new(transport).run(&[&program]).succeeds();
            assert_eq!(word(&run.stdout(), "sizes"), word(&bare, "sizes"), "{}", library.display());
            blocks_are_traced(&run);
        }
    }

    fn operators_of_another_allocator_are_traced(transport) {
        // These libraries bring operators of their own that never call malloc by its name.
        let program = Build::cpp("every_operator.cpp").path();
        for library in others() {
            let words = [program.to_str().unwrap(), "no-failures"];
            let run = Sntrace::new(transport).env("LD_PRELOAD", &library).run(&words).succeeds();
            let (text, printed) = (run.lines_text(), run.stdout());
            let lines = run.parse(&text);
            let mut seen = 0;
            for expected in printed.lines().filter(|line| line.starts_with("operator") && !line.contains("aligned")) {
                let found = lines.iter().filter(|line| {
                    format!("{}  [{}]", line.call, line.caller.split('(').next().unwrap()) == expected
                });
                assert_eq!(found.count(), 1, "{}: {expected}\n{text}", library.display());
                seen += 1;
            }
            assert_eq!(seen, 12);
        }
    }

    fn threads_under_another_allocator_lose_nothing(transport) {
        let program = Build::c("many_threads.c").flags(&["-pthread"]).path();
        for library in others() {
            let run = Sntrace::new(transport).env("LD_PRELOAD", &library).run(&[&program]).succeeds();
            let (mut taken, mut given) = (0, 0);
            run.each_line(|line| {
                taken += u32::from(line.caller == "take_number");
                given += u32::from(line.caller == "give_number");
            });
            assert_eq!((taken, given), (3000, 3000), "{}", library.display());
        }
    }

    fn a_program_with_its_own_malloc_is_served_by_it(transport) {
        // Linked into the executable, it comes before every preloaded library. What is traced
        // then is up to the way in; the program must run as it did.
        let program = Build::c("which_allocator.c").source("libsafe.c").flags(&["-ldl", "-rdynamic"]).named("own_malloc").path();
        let bare = bare_fingerprint(&program, None);
        let run = Sntrace::new(transport).run(&[&program]).succeeds();
        assert_eq!(word(&run.stdout(), "sizes"), word(&bare, "sizes"));
    }

    fn a_musl_program_is_traced_and_served_by_musl(transport) {
        let program = Build::c("which_allocator.c").compiler("musl-gcc").path();
        let bare = bare_fingerprint(&program, None);
        let run = Sntrace::new(transport).run(&[&program]).succeeds();
        assert_eq!(word(&run.stdout(), "sizes"), word(&bare, "sizes"));
        blocks_are_traced(&run);
    }

    fn blocks_have_the_addresses_and_sizes_they_have_without_sntrace(transport) {
        // Without address randomisation two bare runs agree byte by byte; a traced one must too.
        let program = Build::c("addresses.c").path();
        let program = program.to_str().unwrap();
        let setarch = tool("setarch");
        let mut command = Command::new(&setarch);
        let bare = clean(&mut command).args(["-R", program]).output().unwrap();
        assert!(bare.status.success() && bare.stdout.len() > 10_000, "{bare:?}");
        let run = Sntrace::new(transport).through(&[setarch.to_str().unwrap(), "-R"]).run(&[program]).succeeds();
        let (bare, traced) = (String::from_utf8(bare.stdout).unwrap(), run.stdout());
        for (bare, traced) in bare.lines().zip(traced.lines()) {
            assert_eq!(traced, bare, "traced (left) and bare (right)");
        }
        assert_eq!(traced.len(), bare.len());
    }
}

both_transports! {
    fn an_allocator_inside_the_program_may_map_memory_under_its_lock(transport) {
        let program = Build::c("own_allocator.c")
            .flags(&["-O1", "-rdynamic", "-pthread"])
            .path();
        for options in [&[][..], &["--mmap"]] {
            let run = Sntrace::new(transport)
                .options(options)
                .run(&[&program])
                .succeeds();
            assert_eq!(run.stdout(), "early=1 late=1 served=1\n");
        }
    }
}
