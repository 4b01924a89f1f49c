//! Code that comes and goes: dlopen, dlclose, constructors, plugins.

use std::path::PathBuf;

use crate::programs::Build;
use crate::support::{Sntrace, Transport, both_transports, called_by, find, number};

fn plugins() -> [PathBuf; 2] {
    ["plugin_a", "plugin_b"].map(|name| {
        Build::c("plugin.c")
            .flags(&[&format!("-DNAME={name}")])
            .library(&format!("lib{name}.so"))
            .path()
    })
}

both_transports! {
    fn callers_are_named_by_what_was_mapped_at_the_time(transport) {
        let program = Build::c("reload.c").flags(&["-ldl"]).path();
        let [a, b] = plugins();
        let run = Sntrace::new(transport).run(&[&program, &a, &b]).succeeds();
        let (text, printed) = (run.lines_text(), run.stdout());
        // Both libraries were mapped at one and the same address at some time: else the test
        // would show nothing.
        assert!(number(&printed, "shared_addresses") > 0, "{printed}");
        let lines = run.parse(&text);
        let rounds = number(&printed, "rounds") as usize;
        assert_eq!(called_by(&lines, "plugin_a_take").len(), rounds * 10);
        assert_eq!(called_by(&lines, "plugin_b_take").len(), rounds * 10);
        assert_eq!(called_by(&lines, "plugin_a_give").len(), rounds * 10);
        assert_eq!(called_by(&lines, "plugin_b_give").len(), rounds * 10);
    }

    fn names_are_right_after_the_library_is_gone_from_the_disk(transport) {
        let program = Build::c("reload.c").flags(&["-ldl"]).path();
        let [a, b] = plugins();
        let folder = tempfile::tempdir().unwrap();
        let copies = [a, b].map(|path| {
            let copy = folder.path().join(path.file_name().unwrap());
            std::fs::copy(path, &copy).unwrap();
            copy
        });
        let run = Sntrace::new(transport)
            .env("REMOVE_LIBRARIES", "1")
            .run(&[&program, &copies[0], &copies[1]])
            .succeeds();
        let text = run.lines_text();
        let lines = run.parse(&text);
        let ours = lines.iter().filter(|line| line.caller.contains("plugin_")).count();
        assert_eq!(ours, 40, "{text}");
    }

    fn a_library_finds_its_own_plugins_by_its_runpath(transport) {
        // dlopen looks at the RUNPATH of its caller: a hook that calls it in the library's place
        // must not become the caller.
        let hidden = Build::c("plugin.c").flags(&["-DNAME=hidden"]).library("libhidden.so").path();
        let opener = Build::c("libopener.c")
            .flags(&[&format!("-Wl,--enable-new-dtags,-rpath,{}", hidden.parent().unwrap().display())])
            .library("libopener.so")
            .path();
        let folder = format!("-Wl,-rpath,{}", opener.parent().unwrap().display());
        let program = Build::c("opens.c").flags(&[&folder]).link(&opener).path();
        let bare = std::process::Command::new(&program).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&bare.stdout), "opened=1 opened_by_main=0\n");
        let run = Sntrace::new(transport).run(&[&program]).succeeds();
        assert_eq!(run.stdout(), "opened=1 opened_by_main=0\n");
        let text = run.lines_text();
        assert_eq!(called_by(&run.parse(&text), "hidden_take").len(), 3);
    }

    fn constructors_that_allocate_before_main_are_traced(transport) {
        let library = Build::c("libearly.c").library("libearly.so").path();
        let folder = format!("-Wl,--no-as-needed,-rpath,{}", library.parent().unwrap().display());
        let program = Build::c("early.c").flags(&[&folder]).link(&library).path();
        let run = Sntrace::new(transport).run(&[&program]).succeeds();
        assert_eq!(run.stdout(), "ran=1111\n");
        let text = run.lines_text();
        let lines = run.parse(&text);
        for (caller, size) in [("early_in_library", 601), ("early_in_preinit", 602), ("early_in_program", 603), ("late_in_library", 604)] {
            let line = find(&lines, caller, |line| line.caller == caller && line.returned.is_some());
            assert_eq!(line.size, Some(size));
        }
    }

    fn a_cpp_plugin_of_a_c_program_is_traced(transport) {
        // libstdc++ comes with the plugin, local to it: the program has no operator new.
        let plugin = Build::cpp("cpp_plugin.cpp").library("libcpp_plugin.so").path();
        let program = Build::c("loads_cpp.c").flags(&["-ldl"]).path();
        let run = Sntrace::new(transport).run(&[&program, &plugin]).succeeds();
        assert_eq!(run.stdout(), "caught=1\n");
        let text = run.lines_text();
        let lines = run.parse(&text);
        let taken = find(&lines, "new of 6543", |line| line.bytes() == 6543);
        // The plugin's operators are recognised by their frames: `new[]` has jumped to `new`, and
        // `delete[]` to `free`, before the hook sees them.
        assert_eq!((taken.function, taken.caller.split('(').next().unwrap()), ("operator new", "plugin_takes"));
        let given = find(&lines, "its delete", |line| line.released() == taken.returned);
        assert_eq!((given.function, given.caller.split('(').next().unwrap()), ("free", "plugin_gives"));
    }

    fn a_library_opened_with_deepbind_runs_as_it_would(transport) {
        let [a, _] = plugins();
        let program = Build::c("deepbind.c").flags(&["-ldl"]).path();
        let run = Sntrace::new(transport).run(&[&program, &a]).succeeds();
        assert_eq!(run.stdout(), "bytes=1045\n");
    }
}
