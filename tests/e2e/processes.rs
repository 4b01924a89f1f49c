//! The trace goes on in every child, however it was started, and tells the processes apart.

use std::collections::BTreeMap;

use crate::programs::{Build, tool};
use crate::support::{Run, Sntrace, Transport, bare, both_transports, called_by, number};

/// Children as they announced themselves: `child=PID block=0x...`.
#[track_caller]
fn announced(run: &Run) -> Vec<(u32, u64)> {
    let text = run.stdout();
    text.lines()
        .filter(|line| line.starts_with("child="))
        .map(|line| {
            (
                u32::try_from(number(line, "child")).unwrap(),
                number(line, "block"),
            )
        })
        .collect()
}

fn run(transport: Transport, way: &str) -> Run {
    let (program, worker) = (Build::c("processes.c").path(), Build::c("worker.c").path());
    Sntrace::new(transport).options(&["--pid"]).run(&[
        program.to_str().unwrap(),
        way,
        worker.to_str().unwrap(),
    ])
}

/// Every child announced has its block in the trace, under its own pid, taken and given back.
#[track_caller]
fn every_child_is_traced(run: &Run, children: usize) {
    let announced = announced(run);
    assert_eq!(announced.len(), children, "{}", run.stdout());
    let text = run.lines_text();
    let lines = run.parse(&text);
    for (pid, block) in announced {
        let of_child: Vec<_> = lines
            .iter()
            .filter(|line| {
                line.pid == Some(pid) && (line.caller == "worked" || line.caller == "in_child")
            })
            .collect();
        assert!(
            of_child.iter().any(|line| line.returned == Some(block))
                && of_child.iter().any(|line| line.given == Some(block)),
            "process {pid} has no block {block:#x}: {of_child:#?}; stderr: {}",
            run.stderr()
        );
    }
    let parent = u32::try_from(number(&run.stdout(), "parent")).unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.pid == Some(parent) && line.caller == "before")
    );
}

/// Ways in which the parent waits for one child and exits with its status, 7.
macro_rules! ways {
    ($($name:ident = $way:literal, $children:literal, $after:literal;)*) => { both_transports! { $(
        fn $name(transport) {
            let run = run(transport, $way).exits(7);
            every_child_is_traced(&run, $children);
            let text = run.lines_text();
            assert_eq!(run.parse(&text).iter().filter(|line| line.caller == "after").count(), $after * 2);
        }
    )* } };
}

ways! {
    fork = "fork", 1, 1;
    fork_of_a_fork = "fork-of-fork", 3, 1;
    a_raw_clone_past_libc = "raw-clone", 1, 1;
    vfork_and_exec = "vfork", 1, 1;
    posix_spawn = "posix_spawn", 1, 1;
    posix_spawnp_with_an_empty_environment = "posix_spawnp-no-environment", 1, 1;
    system = "system", 1, 1;
    popen = "popen", 1, 1;
    execv = "execv", 1, 0;
    execve = "execve", 1, 0;
    execve_with_an_empty_environment = "execve-no-environment", 1, 0;
    execve_as_a_raw_system_call = "exec-raw", 1, 0;
    execvp = "execvp", 1, 0;
    execvpe = "execvpe", 1, 0;
    execl = "execl", 1, 0;
    execlp = "execlp", 1, 0;
    fexecve = "fexecve", 1, 0;
    execveat = "execveat", 1, 0;
    an_exec_that_fails_changes_nothing = "exec-that-fails", 1, 0;
    an_execl_that_fails_changes_nothing = "execl-that-fails", 1, 0;
    execle = "execle", 1, 0;
    execlp_with_a_long_list = "execlp-20", 1, 0;
    exec_after_clearenv = "unsetenv", 1, 0;
    closefrom_does_not_cut_the_trace = "closefrom", 2, 1;
    close_range_does_not_cut_the_trace = "close_range", 2, 1;
    setsid = "setsid", 1, 1;
}

/// What processes said of their arguments and environments, in an order that does not depend on
/// where the two variables stand.
pub fn given(stdout: &str) -> Vec<Vec<String>> {
    let lines = stdout.lines();
    lines
        .filter(|line| line.starts_with("arguments=") || line.starts_with("own="))
        .map(|line| {
            let mut words: Vec<String> = line.split([',', ' ']).map(str::to_owned).collect();
            words.sort();
            words
        })
        .collect()
}

/// Ways to start a program from one that has cleared its environment, or replaced it by one of its
/// own: the trace goes on, and nobody has another environment than without sntrace.
macro_rules! without_an_environment {
    ($($name:ident = $way:literal, $after:literal;)*) => { both_transports! { $(
        fn $name(transport) {
            let (program, worker) = (Build::c("processes.c").path(), Build::c("worker.c").path());
            for environment in ["cleared", "own"] {
                let words = [program.to_str().unwrap(), $way, worker.to_str().unwrap(), environment];
                let run = Sntrace::new(transport).options(&["--pid"]).run(&words).exits(7);
                every_child_is_traced(&run, 1);
                let text = run.lines_text();
                assert_eq!(called_by(&run.parse(&text), "after").len(), $after * 2);
                let given = given(&run.stdout());
                assert_eq!(given, self::given(&bare(&words)), "{environment}");
                assert_eq!(given.len(), 1 + $after, "{}", run.stdout());
            }
        }
    )* } };
}

mod without_an_environment {
    use super::*;

    without_an_environment! {
        system = "system", 1;
        popen = "popen", 1;
        posix_spawn = "posix_spawn", 1;
        posix_spawnp = "posix_spawnp", 1;
        vfork_and_exec = "vfork", 1;
        execv = "execv", 0;
        execve = "execve", 0;
        execvp = "execvp", 0;
        execvpe = "execvpe", 0;
        execl = "execl", 0;
        execle = "execle", 0;
        execle_with_another = "execle-few", 0;
        execlp = "execlp", 0;
        execl_whose_null_is_the_last_register_of_x86_64 = "execl-3", 0;
        execl_whose_null_is_on_the_stack = "execl-4", 0;
        execl_whose_null_is_on_the_stack_of_aarch64 = "execl-6", 0;
        execle_whose_environment_is_on_the_stack = "execle-5", 0;
        execlp_with_a_long_list = "execlp-20", 0;
        execveat = "execveat", 0;
    }

    both_transports! {
        fn fexecve(transport) {
            let (program, worker) = (Build::c("processes.c").path(), Build::c("worker.c").path());
            let words = |environment| [program.to_str().unwrap(), "fexecve", worker.to_str().unwrap(), environment];
            let run = Sntrace::new(transport).options(&["--pid"]).run(&words("own")).exits(7);
            every_child_is_traced(&run, 1);
            assert_eq!(given(&run.stdout()), given(&bare(&words("own"))));
            // Without an array it fails, in glibc: so it must with sntrace.
            let run = Sntrace::new(transport).run(&words("cleared")).exits(87);
            assert_eq!(given(&run.stdout()), given(&bare(&words("cleared"))));
        }
    }
}

both_transports! {
    fn a_program_that_changes_its_environment_meanwhile_notices_nothing(transport) {
        let worker = Build::c("worker.c").path();
        // A program that is not position-independent has a copy of `environ`.
        for option in ["-pie", "-no-pie"] {
            let program = Build::c("environments.c").flags(&["-pthread", option]).path();
            let words = [program.to_str().unwrap(), worker.to_str().unwrap()];
            let run = Sntrace::new(transport).options(&["--pid"]).run(&words).succeeds();
            assert_eq!(run.stdout(), bare(&words), "{option}");
            let mut workers = 0;
            run.each_line(|line| workers += u32::from(line.caller == "worked" && line.returned.is_some()));
            assert_eq!(workers, 3 * 52);
        }
    }

    fn a_daemon_is_traced_until_it_ends(transport) {
        let run = run(transport, "daemon").succeeds();
        every_child_is_traced(&run, 1);
    }

    fn a_program_below_env_dash_i_is_traced(transport) {
        let worker = Build::c("worker.c").path();
        let run = Sntrace::new(transport)
            .options(&["--pid"])
            .run(&["env", "-i", worker.to_str().unwrap()])
            .exits(7);
        let (pid, block) = announced(&run)[0];
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.iter().any(|line| line.pid == Some(pid) && line.returned == Some(block)), "{text}");
    }

    fn a_program_that_sets_its_own_preload_is_traced_with_both(transport) {
        let worker = Build::c("worker.c").path();
        let mark = Build::c("libmark.c").library("libmark.so").path();
        let run = Sntrace::new(transport)
            .run(&["env", &format!("LD_PRELOAD={}", mark.display()), worker.to_str().unwrap()])
            .exits(7);
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.iter().any(|line| line.size == Some(424_242)), "its own library is loaded: {text}");
        assert!(lines.iter().any(|line| line.caller == "worked"), "and the program traced: {text}");
    }

    fn an_exec_ends_a_program_and_the_status_is_the_next_ones(transport) {
        let worker = Build::c("worker.c").path();
        let sntrace = Sntrace::new(transport);
        let json = sntrace.file("json");
        let script = format!("exec {}", worker.display());
        let run = sntrace.options(&["--json", json.to_str().unwrap()]).run(&["dash", "-c", &script]).exits(7);
        let document: serde_json::Value = serde_json::from_slice(&std::fs::read(run.file("json")).unwrap()).unwrap();
        let processes = document["processes"].as_array().unwrap();
        assert_eq!(processes.len(), 2);
        assert_eq!(processes[0]["exit"], serde_json::json!({ "exec": true }));
        assert_eq!(processes[1]["exit"], serde_json::json!({ "code": 7 }));
        // What the shell had is gone with it, and leaked by nobody.
        assert_eq!(document["summary"]["leaked_allocations"], 0);
    }

    fn a_shell_with_a_pipeline_is_traced_in_every_process(transport) {
        let worker = Build::c("worker.c").path();
        let script = format!("{0} | sort; {0} & {0}; wait", worker.display());
        let run = Sntrace::new(transport).options(&["--pid"]).run(&[tool("dash").to_str().unwrap(), "-c", &script]).succeeds();
        let text = run.lines_text();
        let lines = run.parse(&text);
        let announced = announced(&run);
        assert_eq!(announced.len(), 3);
        for (pid, block) in announced {
            assert!(lines.iter().any(|line| line.pid == Some(pid) && line.returned == Some(block)));
        }
    }

    fn hundreds_of_processes_leak_nothing_and_lose_nothing(transport) {
        let worker = Build::c("worker.c").path();
        let script = format!("n=0; while [ $n -lt 300 ]; do {}; n=$((n+1)); done; exit 0", worker.display());
        let run = Sntrace::new(transport).options(&["--pid"]).run(&["dash", "-c", &script]).succeeds();
        let mut taken = BTreeMap::<u32, Vec<u64>>::new();
        run.each_line(|line| {
            if line.caller == "worked" {
                taken.entry(line.pid.unwrap()).or_default().extend(line.returned);
            }
        });
        // A pid may have been given out twice.
        let traced: usize = taken.values().map(Vec::len).sum();
        assert_eq!(announced(&run).len(), 300);
        assert_eq!(traced, 300);
    }

    fn no_follow_traces_the_first_process_alone(transport) {
        for way in ["fork", "vfork", "posix_spawn", "system"] {
            let (program, worker) = (Build::c("processes.c").path(), Build::c("worker.c").path());
            let run = Sntrace::new(transport)
                .options(&["--pid", "--no-follow"])
                .run(&[program.to_str().unwrap(), way, worker.to_str().unwrap()])
                .exits(7);
            let parent = u32::try_from(number(&run.stdout(), "parent")).unwrap();
            let text = run.lines_text();
            let lines = run.parse(&text);
            assert!(lines.iter().any(|line| line.caller == "after"), "{way}: {text}");
            assert!(lines.iter().all(|line| line.pid == Some(parent)), "{way}: {text}");
        }
    }
}

/// Each process becomes one program after the other, many at a time: whose first words are read last is a
/// matter of chance, and must not end the program that runs.
#[test]
fn chains_of_programs_side_by_side_lose_nothing() {
    const CHAINS: usize = 600;
    let script = "i=0; while [ $i -lt 120 ]; do i=$((i + 1)); \
                  for j in 1 2 3 4 5; do (exec env env env env true) & done; wait; done";
    let run = Sntrace::new(Transport::Shared)
        .options(&["--pid", "--filter", "module!=*/bin/*sh"])
        .run(&["sh", "-c", script])
        .succeeds();
    assert_eq!(run.stderr(), "");
    let text = run.lines_text();
    let mut calls: BTreeMap<u32, usize> = BTreeMap::new();
    for line in run.parse(&text) {
        *calls.entry(line.pid.unwrap()).or_default() += 1;
    }
    // The shell itself may allocate outside of its own module, too.
    let mut counts: Vec<usize> = calls.into_values().collect();
    counts.sort_unstable();
    let chains = &counts[counts.len() - CHAINS..];
    assert!(chains[0] > 10, "{counts:?}");
    assert_eq!(chains[0], chains[CHAINS - 1], "{counts:?}");
}
