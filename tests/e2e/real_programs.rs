//! Real programs from Debian's packages, which nobody here wrote.

use std::path::Path;

use crate::grammar::Line;
use crate::programs::{Build, installed, tool};
use crate::support::{Run, Sntrace, Transport, both_transports, called_by, find};

/// What holds for the trace of any sound program: blocks are owned by one at a time.
#[track_caller]
fn sound(lines: &[Line<'_>]) {
    let mut live = std::collections::HashSet::new();
    for line in lines {
        if let Some(block) = line.released() {
            assert!(
                live.remove(&block),
                "freed without having been allocated: {}  [{}]",
                line.call,
                line.caller
            );
        }
        if line.allocated() {
            assert!(
                live.insert(line.returned.unwrap()),
                "allocated twice: {}  [{}]",
                line.call,
                line.caller
            );
        }
    }
}

/// The familiar picture of zlib next to the program's own arena.
#[track_caller]
fn zlib_picture(run: &Run) {
    assert_eq!(run.stdout(), "same=1\n");
    let text = run.lines_text();
    let lines = run.parse(&text);
    sound(&lines);
    let by = |name: &'static str, size: u64| {
        let versions = [format!("{name}_"), format!("{name}2_")];
        *find(&lines, &format!("{name}: {size}"), |line| {
            line.bytes() == size && versions.iter().any(|version| version == line.caller)
        })
    };
    let state = by("deflateInit", 5952);
    let window = by("deflateInit", 65536);
    let inflate_state = by("inflateInit", 7160);
    for (block, end) in [
        (state, "deflateEnd"),
        (window, "deflateEnd"),
        (inflate_state, "inflateEnd"),
    ] {
        find(&lines, end, |line| {
            line.caller == end && line.released() == block.returned
        });
    }
    let arena = called_by(&lines, "rt_arena_create_sized");
    assert_eq!(
        (arena[0].call.split(' ').next(), arena[0].bytes()),
        (Some("malloc(72)"), 72)
    );
    assert_eq!(arena[1].bytes(), 100_000);
    let destroyed: Vec<_> = called_by(&lines, "rt_arena_destroy")
        .iter()
        .map(|line| line.released())
        .collect();
    assert_eq!(destroyed, [arena[1].returned, arena[0].returned]);
}

both_transports! {
    fn zlib_as_a_shared_library_shows_the_familiar_picture(transport) {
        installed("/usr/include/zlib.h", "zlib1g-dev");
        zlib_picture(&Sntrace::new(transport).run(&[&Build::c("arena_zlib.c").flags(&["-lz"]).path()]).succeeds());
    }

    fn zlib_as_a_static_library_shows_the_familiar_picture(transport) {
        installed("/usr/lib/x86_64-linux-gnu/libz.a", "zlib1g-dev");
        let program = Build::c("arena_zlib.c").flags(&["-Wl,-Bstatic", "-lz", "-Wl,-Bdynamic"]).path();
        zlib_picture(&Sntrace::new(transport).run(&[&program]).succeeds());
    }

    fn python3(transport) {
        let script = "import zlib, json, re\n\
            data = json.dumps([{'n': n, 's': str(n) * 3} for n in range(2000)])\n\
            packed = zlib.compress(data.encode())\n\
            print(zlib.decompress(packed).decode() == data, len(re.findall('7', data)))\n";
        let python = tool("python3");
        let bare = std::process::Command::new(&python).args(["-c", script]).output().unwrap();
        let run = Sntrace::new(transport)
            .env("PYTHONMALLOC", "malloc")
            .run(&[python.as_os_str(), "-c".as_ref(), script.as_ref()])
            .succeeds();
        assert_eq!(run.output.stdout, bare.stdout);
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.len() > 20_000, "{} lines", lines.len());
        sound(&lines);
        // zlib serves python through python's own allocator functions; the interpreter is not
        // stripped of its dynamic symbols.
        find(&lines, "a caller of the interpreter", |line| line.caller.starts_with("Py") || line.caller.starts_with("_Py"));
    }

    fn sqlite3(transport) {
        let script = "create table t(a, b); with recursive n(i) as (select 1 union all select i+1 from n where i<3000) \
            insert into t select i, 'text ' || i from n; create index x on t(b); \
            select count(*), sum(a), max(b) from t where b like '%9%';\n";
        let sqlite3 = tool("sqlite3");
        let run = Sntrace::new(transport)
            .stdin(script)
            .run(&[sqlite3.as_os_str(), "-batch".as_ref(), "-init".as_ref(), "/dev/null".as_ref(), ":memory:".as_ref()])
            .succeeds();
        assert_eq!(run.stdout(), "813|1340472|text 999\n");
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.len() > 1000, "{} lines", lines.len());
        sound(&lines);
        find(&lines, "a caller in sqlite", |line| line.caller.starts_with("sqlite3") || line.caller.contains("libsqlite3"));
    }

    fn git(transport) {
        let folder = tempfile::tempdir().unwrap();
        let git = tool("git");
        let bare = |arguments: &[&str]| {
            let mut command = std::process::Command::new(&git);
            let output = crate::support::clean(&mut command).current_dir(folder.path()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        bare(&["init", "-q", "."]);
        std::fs::write(folder.path().join("file"), "one\ntwo\n").unwrap();
        bare(&["add", "file"]);
        bare(&["-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "first"]);
        let log = ["log", "--format=%an %s", "-p"];
        let run = Sntrace::new(transport)
            .current_dir(folder.path())
            .run(&[&[git.to_str().unwrap()], &log[..]].concat())
            .succeeds();
        assert_eq!(run.output.stdout, bare(&log));
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.len() > 500, "{} lines", lines.len());
        sound(&lines);
        // git inflates each object with zlib, in the same process.
        find(&lines, "inflate's state", |line| line.bytes() == 7160 && line.caller.starts_with("inflateInit"));
    }

    fn gcc_and_the_programs_that_it_starts(transport) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("hello.c");
        std::fs::write(&source, "int puts(const char *);\nint main(void) { return puts(\"hello\") < 0; }\n").unwrap();
        let made = folder.path().join("hello");
        let run = Sntrace::new(transport)
            .options(&["--pid"])
            .run(&[tool("gcc").as_os_str(), "-O1".as_ref(), source.as_os_str(), "-o".as_ref(), made.as_os_str()])
            .succeeds();
        assert_eq!(run.stderr(), "");
        assert_eq!(std::process::Command::new(&made).output().unwrap().stdout, b"hello\n");
        let text = run.lines_text();
        let lines = run.parse(&text);
        let processes: std::collections::HashSet<_> = lines.iter().map(|line| line.pid).collect();
        // The driver, cc1, as, collect2, ld.
        assert!(processes.len() >= 5, "{processes:?}");
        for pid in processes {
            let of_one: Vec<Line<'_>> = lines.iter().filter(|line| line.pid == pid).copied().collect();
            // vfork's child shares its parent's memory: its blocks before exec are the parent's.
            if of_one.len() > 2000 {
                sound(&of_one);
            }
        }
    }

    fn xz(transport) {
        let input: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let xz = tool("xz");
        let run = Sntrace::new(transport).stdin(input.clone()).run(&[xz.as_os_str(), "-c".as_ref(), "-6".as_ref()]).succeeds();
        let text = run.lines_text();
        let lines = run.parse(&text);
        sound(&lines);
        // The encoder's dictionary: 8 MiB at level 6, and then some.
        find(&lines, "the dictionary", |line| line.bytes() > 8 << 20);
        let back = Sntrace::new(transport).stdin(run.output.stdout).run(&[xz.as_os_str(), "-dc".as_ref()]).succeeds();
        assert!(back.output.stdout == input);
    }

    fn perl(transport) {
        let script = "my %h; $h{$_ % 977} .= $_ for 1..20000; print scalar(keys %h), ' ', length(join '', values %h), \"\\n\"";
        let run = Sntrace::new(transport).run(&[tool("perl").as_os_str(), "-e".as_ref(), script.as_ref()]).succeeds();
        assert_eq!(run.stdout(), "977 88894\n");
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.len() > 5000, "{} lines", lines.len());
        sound(&lines);
        find(&lines, "a caller in perl", |line| line.caller.starts_with("Perl_"));
    }
}

#[test]
fn output_of_a_shell_pipeline_is_what_it_is_without_sntrace() {
    let script =
        "seq 1 5000 | sort -r | awk 'NR % 100 == 0' | tr 5 x | head -20; ls /usr | sort | md5sum";
    let bare = std::process::Command::new("sh")
        .args(["-c", script])
        .output()
        .unwrap();
    let run = Sntrace::default_transport()
        .run(&["sh", "-c", script])
        .succeeds();
    assert_eq!(run.output.stdout, bare.stdout);
    assert_eq!(run.stderr(), "");
    assert!(Path::new("/bin/sh").exists());
}
