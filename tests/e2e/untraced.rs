//! Children that can't carry the hook: they run as they would alone, and the user is told which and
//! why.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::processes::given;
use crate::programs::{Build, tool};
use crate::support::{Run, Sntrace, Transport, bare, both_transports, write_program};

/// Ways of `processes.c` to start a program from C, but for those through a shell.
const WAYS: [&str; 6] = [
    "vfork",
    "posix_spawn",
    "posix_spawnp",
    "execv",
    "execl-6",
    "fexecve",
];

/// The warnings, without the hints.
fn warnings(run: &Run) -> Vec<String> {
    let stderr = run.stderr();
    let lines = stderr.lines();
    lines
        .filter_map(|line| line.strip_prefix("sntrace: warning: "))
        .map(str::to_owned)
        .collect()
}

/// One warning, which names this program and has these words.
#[track_caller]
fn tells(run: &Run, program: &Path, words: &[&str]) {
    let warnings = warnings(run);
    assert_eq!(warnings.len(), 1, "{}", run.stderr());
    assert!(
        warnings[0].starts_with(&format!("'{}' (pid ", program.display()))
            && warnings[0].contains(" was not traced: it "),
        "{warnings:?}"
    );
    for word in words {
        assert!(warnings[0].contains(word), "no {word:?} in {warnings:?}");
    }
    assert!(run.stderr().contains("\n  hint: "), "{}", run.stderr());
}

fn worker(option: &str) -> std::path::PathBuf {
    Build::c("worker.c").flags(&[option]).path()
}

/// The run-time library of AddressSanitizer.
fn address_sanitizer() -> String {
    let output = Command::new(tool("gcc"))
        .arg("-print-file-name=libasan.so")
        .output()
        .unwrap();
    // A symbolic link to the library.
    let path = String::from_utf8(output.stdout).unwrap();
    let path = Path::new(path.trim_end()).canonicalize().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_sanitizer_in_the_callers_preload_is_refused_with_a_hint() {
    let worker = Build::c("worker.c").path();
    let run = Sntrace::default_transport()
        .through(&[
            tool("env").to_str().unwrap(),
            &format!("LD_PRELOAD={}", address_sanitizer()),
        ])
        .run(&[&worker])
        .exits(125);
    assert_eq!(run.stdout(), "");
    let stderr = run.stderr();
    for word in ["sntrace: error: ", "AddressSanitizer", "\n  hint: "] {
        assert!(stderr.contains(word), "no {word:?} in {stderr:?}");
    }
}

both_transports! {
    fn a_child_with_a_sanitizer_runs_as_it_would_and_is_named(transport) {
        let program = Build::c("processes.c").path();
        for (option, name) in [("address", "AddressSanitizer"), ("thread", "ThreadSanitizer"), ("leak", "LeakSanitizer")] {
            let worker = worker(&format!("-fsanitize={option}"));
            for way in WAYS.iter().chain(&["system", "popen", "execve-no-environment"]) {
                let words = [program.to_str().unwrap(), way, worker.to_str().unwrap()];
                let run = Sntrace::new(transport).run(&words).exits(7);
                assert_eq!(given(&run.stdout()), given(&bare(&words)), "{option} {way}");
                tells(&run, &worker, &[name]);
            }
        }
    }

    fn a_child_with_a_sanitizer_linked_in_runs_as_it_would_and_is_named(transport) {
        // It bears the hook, which then sees nothing. (gcc 12's own program with LeakSanitizer linked
        // in does not run at all.)
        for (option, name) in [("address", "AddressSanitizer"), ("thread", "ThreadSanitizer")] {
            let library = format!("-static-lib{}san", &option[..1]);
            let worker = Build::c("worker.c").flags(&[&format!("-fsanitize={option}"), &library]).path();
            let words = ["sh", "-c", &format!("{}; exit 4", worker.display())];
            let run = Sntrace::new(transport).run(&words).exits(4);
            assert_eq!(given(&run.stdout()), given(&bare(&words)));
            tells(&run, &worker, &[name]);
        }
    }

    fn a_script_whose_interpreter_has_a_sanitizer_runs_as_it_would(transport) {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (interpreter, path) = (folder.path().join("worker"), folder.path().join("script"));
        // The kernel reads a first line of 255 bytes.
        std::os::unix::fs::symlink(worker("-fsanitize=address"), &interpreter).unwrap();
        write_program(&path, format!("#! {} argument\n", interpreter.display()).as_bytes());
        let words = [tool("env").to_str().unwrap().to_owned(), path.to_str().unwrap().to_owned()];
        let words = [words[0].as_str(), words[1].as_str()];
        let run = Sntrace::new(transport).run(&words).exits(7);
        assert_eq!(given(&run.stdout()), given(&bare(&words)));
        let warnings = warnings(&run);
        assert!(warnings.len() == 1 && warnings[0].contains("its interpreter"), "{warnings:?}");
    }

    fn a_sanitizer_that_is_preloaded_stays_the_first_library(transport) {
        let preload = format!("LD_PRELOAD={}", address_sanitizer());
        let worker = Build::c("worker.c").path();
        let words = [tool("env").to_str().unwrap().to_owned(), preload, worker.to_str().unwrap().to_owned()];
        let words = [words[0].as_str(), words[1].as_str(), words[2].as_str()];
        let run = Sntrace::new(transport).run(&words).exits(7);
        assert_eq!(given(&run.stdout()), given(&bare(&words)));
    }

    fn a_static_child_is_named(transport) {
        let (program, worker) = (Build::c("processes.c").path(), worker("-static"));
        for way in WAYS {
            let words = [program.to_str().unwrap(), way, worker.to_str().unwrap()];
            let run = Sntrace::new(transport).run(&words).exits(7);
            assert_eq!(given(&run.stdout()), given(&bare(&words)), "{way}");
            tells(&run, &worker, &["statically linked"]);
        }
    }

    fn a_32_bit_child_is_named(transport) {
        let worker = worker("-m32");
        let script = format!("{}; exit 4", worker.display());
        let run = Sntrace::new(transport).run(&["sh", "-c", &script]).exits(4);
        tells(&run, &worker, &["32-bit", "x86-64"]);
    }

    fn a_setuid_child_is_named(transport) {
        // Root runs as nobody, anyone else as root.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let copy = folder.path().join("setuid");
        write_program(&copy, &std::fs::read(Build::c("quiet_malloc.c").path()).unwrap());
        let program = if std::os::unix::fs::chown(&copy, Some(65534), None).is_ok() {
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
            copy
        } else {
            tool("su")
        };
        let script = format!("{} --help; exit 4", program.display());
        let run = Sntrace::new(transport).run(&["sh", "-c", &script]).exits(4);
        tells(&run, &program, &["setuid"]);
    }

    fn a_program_is_named_once_however_often_it_runs(transport) {
        let (worker, other) = (worker("-static"), worker("-static-pie"));
        let script = format!("{0}; {1}; {0} | cat; ({0}); exit 0", worker.display(), other.display());
        let run = Sntrace::new(transport).run(&["sh", "-c", &script]).succeeds();
        let warnings = warnings(&run);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains(worker.to_str().unwrap()) && warnings[0].contains(" and 2 more)"), "{warnings:?}");
        assert!(warnings[1].contains(other.to_str().unwrap()) && !warnings[1].contains("more"), "{warnings:?}");
    }

    fn what_a_static_child_starts_is_traced(transport) {
        let (program, worker) = (Build::c("processes.c").flags(&["-static"]).path(), Build::c("worker.c").path());
        let script = format!("{} execv {}; exit 4", program.display(), worker.display());
        let run = Sntrace::new(transport).run(&["sh", "-c", &script]).exits(4);
        tells(&run, &program, &["statically linked"]);
        assert!(run.lines_text().contains("[worked]"));
    }

    fn a_program_found_in_the_path_is_named(transport) {
        let worker = worker("-static");
        let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let path = folder.join("a-name-of-its-own");
        std::os::unix::fs::symlink(&worker, &path).unwrap();
        // A folder of that name is passed over.
        std::fs::create_dir_all(folder.join("first/a-name-of-its-own")).unwrap();
        let search = format!("{0}/first:/nonexistent:{0}:/usr/bin:/bin", folder.display());
        // env calls execvp; from python, as posix_spawnp.
        let script = "import os, sys; _, status = os.waitpid(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0); sys.exit(status >> 8)";
        let (env, python) = (tool("env"), tool("python3"));
        for words in [vec![env.to_str().unwrap()], vec![python.to_str().unwrap(), "-Sc", script]] {
            let words = [&words[..], &["a-name-of-its-own"]].concat();
            let run = Sntrace::new(transport).env("PATH", &search).run(&words).exits(7);
            tells(&run, &path, &["statically linked"]);
        }
        // By a path that begins in the working folder.
        let run = Sntrace::new(transport).current_dir(&folder).run(&[env.to_str().unwrap(), "./a-name-of-its-own"]).exits(7);
        tells(&run, &path, &["statically linked"]);
    }

    fn a_program_whose_place_is_taken_leaks_nothing(transport) {
        let worker = worker("-static");
        let sntrace = Sntrace::new(transport);
        let json = sntrace.file("json");
        let script = format!("exec {}", worker.display());
        let run = sntrace.options(&["--json", json.to_str().unwrap()]).run(&["dash", "-c", &script]).exits(7);
        let document: serde_json::Value = serde_json::from_slice(&std::fs::read(run.file("json")).unwrap()).unwrap();
        assert_eq!(document["processes"][0]["exit"], serde_json::json!({ "exec": true }));
        assert_eq!(document["summary"]["leaked_allocations"], 0);
        assert!(document["summary"]["allocations"].as_u64() > Some(0));
    }

    fn nothing_is_said_of_an_exec_that_failed(transport) {
        let (program, worker) = (Build::c("processes.c").path(), worker("-static"));
        let run = Sntrace::new(transport).run(&[program.to_str().unwrap(), "exec-too-long", worker.to_str().unwrap()]).exits(7);
        assert_eq!(run.stderr(), "");
    }

    fn nothing_is_said_where_all_is_traced_or_nobody_asks(transport) {
        let program = Build::c("processes.c").path();
        let dynamic = Build::c("worker.c").path();
        for way in WAYS {
            let run = Sntrace::new(transport).run(&[program.to_str().unwrap(), way, dynamic.to_str().unwrap()]).exits(7);
            assert_eq!(run.stderr(), "", "{way}");
        }
        let worker = worker("-static");
        for option in ["--quiet", "--no-follow"] {
            let words = [program.to_str().unwrap(), "vfork", worker.to_str().unwrap()];
            let run = Sntrace::new(transport).options(&[option]).run(&words).exits(7);
            assert_eq!(run.stderr(), "", "{option}");
        }
    }
}
