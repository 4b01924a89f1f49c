//! The options of the main job: what they add to lines, and the two JSON outputs.

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::programs::{Build, tool};
use crate::support::{
    Sntrace, Transport, both_transports, called_by, clean, number, valid_by_schema,
    valid_line_by_schema,
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("not JSON: {e}: {text}"))
}

/// An address as JSON carries it.
fn address(value: &Value) -> u64 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("no address: {value}"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

both_transports! {
    fn json_holds_the_same_events_as_the_lines(transport) {
        let program = Build::c("every_function.c").path();
        let sntrace = Sntrace::new(transport);
        let path = sntrace.file("trace.json");
        let run = sntrace.options(&["--json".as_ref(), path.as_os_str()]).run(&[&program]).succeeds();
        let document = json(&std::fs::read_to_string(run.file("trace.json")).unwrap());
        valid_by_schema(&document);
        assert_eq!(document["format"], "sntrace");
        assert_eq!(document["version"], 1);
        assert_eq!(document["command"][0], program.to_str().unwrap());
        assert_eq!(document["processes"][0]["exit"]["code"], 0);
        let text = run.lines_text();
        let lines = run.parse(&text);
        let events = document["events"].as_array().unwrap();
        assert_eq!(events.len(), lines.len());
        let mut last = 0;
        for (event, line) in events.iter().zip(&lines) {
            assert_eq!(event["op"], line.function, "{event}");
            assert_eq!(event["caller"], line.caller, "{event}");
            assert_eq!(address(&event["ptr"]), line.returned.or(line.given).unwrap(), "{event}");
            assert_eq!(event.get("size").and_then(Value::as_u64).unwrap_or(0), line.size.unwrap_or(0), "{event}");
            if let Some(count) = line.count {
                assert_eq!(event["count"], count, "{event}");
            }
            if line.returned.is_some() && line.given.is_some() {
                assert_eq!(address(&event["old_ptr"]), line.given.unwrap(), "{event}");
            }
            let time = event["time_ns"].as_u64().unwrap();
            assert!(time >= last, "time runs backwards at {event}");
            last = time;
        }
        // The summary, recomputed from the lines.
        let summary = &document["summary"];
        let allocated = |l: &&crate::grammar::Line<'_>| l.allocated();
        assert_eq!(summary["events"], lines.len());
        assert_eq!(summary["allocations"], lines.iter().filter(allocated).count());
        assert_eq!(summary["frees"], lines.iter().filter(|l| l.released().is_some()).count());
        assert_eq!(summary["bytes_allocated"], lines.iter().filter(allocated).map(|l| l.bytes()).sum::<u64>());
        let mut live = HashMap::new();
        let (mut now, mut peak) = (0, 0);
        for line in &lines {
            if let Some(block) = line.released() {
                now -= live.remove(&block).unwrap_or(0);
            }
            if line.allocated() {
                live.insert(line.returned.unwrap(), line.bytes());
                now += line.bytes();
                peak = peak.max(now);
            }
        }
        assert_eq!(summary["peak_bytes"], peak);
        assert_eq!(summary["leaked_allocations"], live.len());
        assert_eq!(summary["leaked_bytes"], now);
        assert_eq!(summary["dropped_events"], 0);
    }

    fn jsonl_is_one_event_object_a_line_and_a_summary(transport) {
        let program = Build::c("every_function.c").path();
        let sntrace = Sntrace::new(transport);
        let path = sntrace.file("trace.jsonl");
        let run = sntrace.options(&["--jsonl".as_ref(), path.as_os_str()]).run(&[&program]).succeeds();
        let text = std::fs::read_to_string(run.file("trace.jsonl")).unwrap();
        assert!(text.ends_with('\n'));
        let objects: Vec<Value> = text.lines().map(json).collect();
        objects.iter().for_each(valid_line_by_schema);
        let (summary, events) = objects.split_last().unwrap();
        let lines_text = run.lines_text();
        let lines = run.parse(&lines_text);
        assert_eq!(events.len(), lines.len());
        for (event, line) in events.iter().zip(&lines) {
            assert_eq!(event["op"], line.function);
            assert_eq!(event["caller"], line.caller);
            assert!(event["pid"].is_u64() && event["tid"].is_u64() && event["time_ns"].is_u64(), "{event}");
        }
        assert_eq!(summary["summary"]["events"], lines.len(), "{summary}");
        assert_eq!(summary["summary"]["dropped_events"], 0);
    }

    fn prefix_fields_come_before_the_tag(transport) {
        let program = Build::c("every_function.c").path();
        let run = Sntrace::new(transport).options(&["--timestamps", "--pid", "--tid"]).run(&[&program]).succeeds();
        let text = run.lines_text();
        let lines = run.parse(&text);
        assert!(lines.len() > 40);
        assert!(lines.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns), "lines are in time order");
        assert!(lines.iter().all(|line| line.pid == lines[0].pid && line.tid == lines[0].tid));
        assert_eq!(lines[0].pid, lines[0].tid, "the first thread's id is the process's");
    }

    fn each_prefix_field_can_be_asked_for_alone(transport) {
        let program = Build::c("who.c").path();
        for option in ["--pid", "--tid", "--timestamps"] {
            let run = Sntrace::new(transport).options(&[option]).run(&[&program]).succeeds();
            let (text, printed) = (run.lines_text(), run.stdout());
            let lines = run.parse(&text);
            let line = called_by(&lines, "take_on_main")[0];
            match option {
                "--pid" => assert_eq!(line.pid.map(u64::from), Some(number(&printed, "pid"))),
                "--tid" => {
                    assert_eq!(line.tid.map(u64::from), Some(number(&printed, "pid")));
                    let other = called_by(&lines, "take_on_thread")[0];
                    assert_eq!(other.tid.map(u64::from), Some(number(&printed, "tid")));
                }
                _ => assert!(line.time_ns.is_some()),
            }
        }
    }
}

#[test]
fn json_to_stdout_is_one_document() {
    // The program prints nothing, so stdout is the document alone.
    let program = Build::c("quiet_malloc.c").path();
    let run = Sntrace::default_transport()
        .options(&["--json", "-"])
        .run(&[&program])
        .succeeds();
    let document = json(&run.stdout());
    valid_by_schema(&document);
    assert_eq!(document["summary"]["events"], 2);
}

#[test]
fn jsonl_to_stdout_is_parsable_line_by_line() {
    let program = Build::c("quiet_malloc.c").path();
    let run = Sntrace::default_transport()
        .options(&["--jsonl", "-"])
        .run(&[&program])
        .succeeds();
    let objects: Vec<Value> = run.stdout().lines().map(json).collect();
    assert!(
        objects
            .iter()
            .any(|event| event["op"] == "malloc" && event["size"] == 4711),
        "{objects:?}"
    );
    assert!(objects.last().unwrap()["summary"].is_object());
}

#[test]
fn a_trace_of_several_processes_is_valid_json_too() {
    let sntrace = Sntrace::default_transport();
    let path = sntrace.file("trace.json");
    let run = sntrace
        .options(&["--json".as_ref(), path.as_os_str()])
        .run(&["sh", "-c", "xz --version >/dev/null; exit 3"])
        .exits(3);
    let document = json(&std::fs::read_to_string(run.file("trace.json")).unwrap());
    valid_by_schema(&document);
    let processes = document["processes"].as_array().unwrap();
    let pids: HashSet<u64> = processes
        .iter()
        .map(|process| process["pid"].as_u64().unwrap())
        .collect();
    assert!(pids.len() >= 2, "{processes:?}");
    assert!(
        processes
            .iter()
            .any(|process| process["command"][0] == "xz"),
        "{processes:?}"
    );
    assert!(
        processes.iter().any(|process| process["exit"]["code"] == 3),
        "{processes:?}"
    );
}

#[test]
fn locations_name_file_and_line() {
    let program = Build::c("quiet_malloc.c").path();
    let run = Sntrace::default_transport()
        .options(&["--locations"])
        .run(&[&program])
        .succeeds();
    let source =
        std::fs::read_to_string(crate::programs::sources().join("quiet_malloc.c")).unwrap();
    let at = 1 + source
        .lines()
        .position(|line| line.contains("malloc(4711)"))
        .unwrap();
    let text = run.lines_text();
    let lines = run.parse(&text);
    let line = crate::support::find(&lines, "size 4711", |line| line.size == Some(4711));
    assert_eq!(line.caller, format!("take quiet_malloc.c:{at}"));
}

#[test]
fn a_filter_keeps_exactly_what_it_matches() {
    let program = Build::c("every_function.c").path();
    let filtered = |expression: &str| {
        let run = Sntrace::default_transport()
            .options(&["--filter", expression])
            .run(&[&program])
            .succeeds();
        run.lines_text()
    };
    let all = Sntrace::default_transport().run(&[&program]).succeeds();
    let all_text = all.lines_text();
    let all_lines = all.parse(&all_text);

    let text = filtered("fn=call_malloc");
    let kept = all.parse(&text);
    assert_eq!(kept.len(), called_by(&all_lines, "call_malloc").len());
    assert!(kept.iter().all(|line| line.caller == "call_malloc"));

    let text = filtered("fn=call_* size>=4096");
    let kept = all.parse(&text);
    // The size of a free is that of the block that it frees.
    let mut size_of = HashMap::new();
    let expected = all_lines.iter().filter(|line| {
        let freed = line
            .released()
            .and_then(|block| size_of.remove(&Some(block)))
            .unwrap_or(0);
        if line.allocated() {
            size_of.insert(line.returned, line.bytes());
        }
        let size = if line.returned.is_some() {
            line.bytes()
        } else {
            freed
        };
        line.caller.starts_with("call_") && size >= 4096
    });
    // Addresses differ from run to run: what is compared is which calls are there.
    let calls = |lines: &mut dyn Iterator<Item = &crate::grammar::Line<'_>>| -> Vec<_> {
        lines
            .map(|line| (line.caller.to_owned(), line.size))
            .collect()
    };
    assert_eq!(
        calls(&mut kept.iter()),
        calls(&mut expected.collect::<Vec<_>>().into_iter())
    );

    let text = filtered("op=free");
    assert!(
        !text.is_empty() && all.parse(&text).iter().all(|line| line.function == "free"),
        "{text}"
    );
    assert_eq!(
        text.lines().count(),
        all_lines
            .iter()
            .filter(|line| line.function == "free")
            .count()
    );
}

#[test]
fn a_filter_that_is_none_is_wrong_usage_and_says_why() {
    let run = Sntrace::default_transport()
        .options(&["--filter", "size>>4"])
        .run(&["true"])
        .exits(2);
    assert!(
        run.stderr().starts_with("sntrace: error: ") || run.stderr().starts_with("error: "),
        "{}",
        run.stderr()
    );
    assert!(run.stderr().contains("size>>4"), "{}", run.stderr());
}

#[test]
fn callers_look_past_wrappers_unless_raw_callers_are_asked_for() {
    let program = Build::c("wrappers.c").path();
    let caller_of = |options: &[&str], size: u64| {
        let run = Sntrace::default_transport()
            .options(options)
            .run(&[&program])
            .succeeds();
        let text = run.lines_text();
        crate::support::find(&run.parse(&text), "the size", |line| line.bytes() == size)
            .caller
            .to_owned()
    };
    // strdup is libc's, xmalloc the program's own: both only wrap malloc.
    assert_eq!(caller_of(&[], 778), "duplicate_name");
    assert_eq!(caller_of(&[], 3210), "make_room");
    assert!(caller_of(&["--raw-callers"], 778).contains("strdup"));
    assert_eq!(caller_of(&["--raw-callers"], 3210), "xmalloc");
}

#[test]
fn color_is_off_in_a_file_and_on_when_forced() {
    let program = Build::c("quiet_malloc.c").path();
    let plain = Sntrace::default_transport()
        .run(&[&program])
        .succeeds()
        .lines_text();
    assert!(!plain.contains('\u{1b}'));
    let run = Sntrace::default_transport()
        .options(&["--color", "always"])
        .run(&[&program])
        .succeeds();
    let colored = run.lines_text();
    assert!(colored.contains('\u{1b}'), "{colored}");
    // Without the escapes it is the same grammar.
    let mut stripped = String::new();
    let mut rest = colored.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        stripped.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[1 + rest.find('m').expect("every escape is a colour")..];
    }
    stripped.push_str(rest);
    assert_eq!(run.parse(&stripped).len(), plain.lines().count());
    let never = Sntrace::default_transport()
        .options(&["--color", "never"])
        .run(&[&program])
        .succeeds()
        .lines_text();
    assert!(!never.contains('\u{1b}'));
}

#[test]
fn no_summary_is_printed_where_stderr_is_no_terminal() {
    let program = Build::c("quiet_malloc.c").path();
    assert_eq!(
        Sntrace::default_transport()
            .run(&[&program])
            .succeeds()
            .stderr(),
        ""
    );
    assert_eq!(
        Sntrace::default_transport()
            .options(&["--quiet"])
            .run(&[&program])
            .succeeds()
            .stderr(),
        ""
    );
}

/// What sntrace with these options shows on a terminal, of a program that prints nothing.
fn on_a_terminal(options: &str, environment: &[(&str, &str)]) -> String {
    let program = Build::c("quiet_malloc.c").path();
    let sntrace = env!("CARGO_BIN_EXE_sntrace");
    let shell = format!("{sntrace} {options} '{}'", program.display());
    let mut command = Command::new(tool("script"));
    clean(command.args(["-qec", &shell, "/dev/null"])).envs(environment.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_gets_colours_and_a_summary_unless_it_does_not_want_them() {
    let shown = on_a_terminal("", &[]);
    assert!(shown.contains('\u{1b}'), "{shown}");
    let lines = || shown.lines().filter(|line| line.contains("[SN_ALLOC]"));
    assert_eq!(shown.lines().count(), lines().count() + 3, "{shown}");
    // https://no-color.org: set and not empty, whatever to.
    for (value, colours) in [("1", false), ("0", false), ("", true)] {
        let shown = on_a_terminal("", &[("NO_COLOR", value)]);
        assert_eq!(shown.contains('\u{1b}'), colours, "{value:?}: {shown}");
        assert!(shown.contains("(4711)"), "{shown}");
    }
    let asked_for = on_a_terminal("--color always", &[("NO_COLOR", "1")]);
    assert!(asked_for.contains('\u{1b}'), "{asked_for}");
    let quiet = on_a_terminal("--quiet --color never", &[]);
    assert!(!quiet.contains('\u{1b}'), "{quiet}");
    let mut rest = quiet.lines();
    assert!(rest.all(|line| line.starts_with("[SN_ALLOC]")), "{quiet}");
}

#[test]
fn mmap_events_are_recorded_only_when_asked_for() {
    let program = Build::c("maps.c").path();
    let run = Sntrace::default_transport().run(&[&program]).succeeds();
    let text = run.lines_text();
    assert!(
        run.parse(&text)
            .iter()
            .all(|line| !line.caller.starts_with("map_")),
        "{text}"
    );

    let run = Sntrace::default_transport()
        .options(&["--mmap"])
        .run(&[&program])
        .succeeds();
    let (text, printed) = (run.lines_text(), run.stdout());
    let lines = run.parse(&text);
    assert_eq!(called_by(&lines, "map_pages")[0].function, "mmap");
    assert_eq!(
        called_by(&lines, "map_pages")[0].returned,
        Some(number(&printed, "mapped"))
    );
    assert_eq!(called_by(&lines, "map_more")[0].function, "mremap");
    assert_eq!(
        called_by(&lines, "map_more")[0].returned,
        Some(number(&printed, "grown"))
    );
    assert_eq!(called_by(&lines, "map_none")[0].function, "munmap");
    assert_eq!(
        called_by(&lines, "map_none")[0].given,
        Some(number(&printed, "grown"))
    );
}

#[test]
fn wrong_usage_exits_2() {
    let sntrace = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_sntrace"))
            .args(arguments)
            .output()
            .unwrap()
    };
    for arguments in [
        &["--no-such-option", "true"][..],
        &["--transport", "pigeon", "true"],
        &[],
    ] {
        let output = sntrace(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            output.stdout.is_empty(),
            "talk belongs on stderr: {output:?}"
        );
    }
    assert_eq!(sntrace(&["--help"]).status.code(), Some(0));
    assert!(String::from_utf8_lossy(&sntrace(&["--version"]).stdout).starts_with("sntrace "));
}

#[test]
fn a_program_named_like_a_subcommand_is_reached_after_two_dashes() {
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("quiet_malloc.c").path();
    crate::support::write_program(
        &folder.path().join("report"),
        &std::fs::read(program).unwrap(),
    );
    for name in ["./report", "report"] {
        // The harness always writes `--`; `report` is found through the PATH.
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let run = Sntrace::default_transport()
            .env("PATH", path)
            .current_dir(folder.path())
            .run(&[name])
            .succeeds();
        assert!(run.lines_text().contains("malloc(4711)"));
    }
}
