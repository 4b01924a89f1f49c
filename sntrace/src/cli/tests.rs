//! The command line's contract.

use std::ffi::OsString;
use std::path::PathBuf;

use sntrace_format::env::OptionBits;

use super::arguments::{self, Job, UsageError};
use super::options::{
    ColorChoice, Destination, LineFields, Overflow, RunOptions, Stacks, TraceOptions, Transport,
};
use crate::report::View;

fn parse(line: &[&str]) -> Result<Job, UsageError> {
    arguments::parse(["sntrace"].iter().chain(line).map(OsString::from))
}

fn options(line: &[&str]) -> TraceOptions {
    match parse(line) {
        Ok(Job::Trace(options)) => options,
        other => panic!("{line:?} is no trace but {other:?}"),
    }
}

/// What the user reads, and the exit status.
fn refusal(line: &[&str]) -> String {
    match parse(line) {
        Ok(job) => panic!("{line:?} is not refused but {job:?}"),
        Err(UsageError::Clap(error)) => {
            assert_eq!(error.exit_code(), 2);
            super::reword(&error)
        }
        Err(error) => {
            let hint = error.hint();
            crate::messages::compose("error: ", &error.to_string(), hint.as_deref())
        }
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    assert_eq!(
        options(&["prog"]),
        TraceOptions {
            run: RunOptions {
                command: vec!["prog".into()],
                transport: Transport::Auto,
                quiet: false,
                follow: true,
                overflow: Overflow::Wait,
                mmap: false,
            },
            output: None,
            json: None,
            jsonl: None,
            stacks: Stacks::Caller,
            filter: None,
            fields: LineFields::default(),
            raw_callers: false,
            color: ColorChoice::Auto,
        }
    );
}

#[test]
fn every_option_reaches_its_field() {
    let line = [
        "-o",
        "a",
        "--json",
        "b",
        "--jsonl",
        "-",
        "--stacks",
        "none",
        "--filter",
        "size>1",
        "--locations",
        "--timestamps",
        "--pid",
        "--tid",
        "--raw-callers",
        "--transport",
        "pipe",
        "--quiet",
        "--no-follow",
        "--overflow",
        "drop",
        "--mmap",
        "--color",
        "never",
        "prog",
    ];
    let options = options(&line);
    assert_eq!(
        options,
        TraceOptions {
            run: RunOptions {
                command: vec!["prog".into()],
                transport: Transport::Pipe,
                quiet: true,
                follow: false,
                overflow: Overflow::Drop,
                mmap: true,
            },
            output: Some(Destination::File(PathBuf::from("a"))),
            json: Some(Destination::File(PathBuf::from("b"))),
            jsonl: Some(Destination::Stdout),
            stacks: Stacks::None,
            filter: Some("size>1".to_owned()),
            fields: LineFields {
                locations: true,
                timestamps: true,
                pid: true,
                tid: true
            },
            raw_callers: true,
            color: ColorChoice::Never,
        }
    );
    let all = [
        OptionBits::RAW_CALLERS,
        OptionBits::MMAP,
        OptionBits::OVERFLOW_DROP,
        OptionBits::NO_FOLLOW,
    ];
    assert!(all.iter().all(|bit| options.hook_options().has(*bit)));
}

#[test]
fn options_end_at_the_program() {
    for (line, command) in [
        (
            &["prog", "--json", "-o", "--", "--help"][..],
            &["prog", "--json", "-o", "--", "--help"][..],
        ),
        (&["--pid", "prog", "--pid"], &["prog", "--pid"]),
        (&["--", "prog", "-x"], &["prog", "-x"]),
        (
            &["--tid", "--", "--prog", "--", "y"],
            &["--prog", "--", "y"],
        ),
        (&["ls", "man"], &["ls", "man"]),
        (
            &["ls", "completions", "bash"],
            &["ls", "completions", "bash"],
        ),
        (&["prog", "--bogus"], &["prog", "--bogus"]),
        (&["prog", ""], &["prog", ""]),
    ] {
        assert_eq!(
            options(line).run.command,
            command.iter().map(OsString::from).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_program_may_be_called_like_a_subcommand() {
    for name in ["report", "record", "man", "completions", "dump", "help"] {
        assert_eq!(options(&["--", name]).run.command, [name]);
        assert_eq!(options(&["--quiet", name, "-x"]).run.command, [name, "-x"]);
        let path = format!("./{name}");
        assert_eq!(options(&[&path]).run.command, [path.as_str()]);
    }
}

#[test]
fn names_of_later_versions_are_refused_with_a_way_out() {
    for name in ["attach", "view"] {
        for rest in [&[][..], &["a", "-o", "--help", "--bogus"]] {
            let text = refusal(&[&[name], rest].concat());
            assert!(text.contains("this version does not have it yet"), "{text}");
            assert!(
                text.contains(&format!("sntrace -- {name}, or sntrace ./{name}")),
                "{text}"
            );
        }
    }
}

#[test]
fn a_recording_is_run_like_a_trace() {
    let line = [
        "record",
        "-o",
        "a",
        "--strict",
        "--mmap",
        "--no-follow",
        "prog",
        "-o",
        "b",
    ];
    let Ok(Job::Record(options)) = parse(&line) else {
        panic!("{:?}", parse(&line));
    };
    assert_eq!(options.output, Some(PathBuf::from("a")));
    assert!(options.strict && options.run.mmap && !options.run.follow);
    assert_eq!(options.run.command, ["prog", "-o", "b"]);
    assert!(options.hook_options().has(OptionBits::FULL_STACKS));
}

#[test]
fn views_are_shown_once_in_the_order_of_the_command_line() {
    let line = [
        "report",
        "f",
        "--view",
        "leaks,peak",
        "--view",
        "leaks",
        "--top",
        "3",
    ];
    let Ok(Job::Report(options)) = parse(&line) else {
        panic!("{:?}", parse(&line));
    };
    assert_eq!(options.views, [View::Leaks, View::Peak]);
    assert_eq!((options.top, options.json), (3, false));
    let all = match parse(&["report", "f", "--view", "all"]) {
        Ok(Job::Report(options)) => options.views,
        other => panic!("{other:?}"),
    };
    assert_eq!(all, View::ALL);
}

#[test]
fn a_comparison_takes_two_traces_or_one_and_a_baseline() {
    let diff = |line: &[&str]| match parse(line) {
        Ok(Job::Diff(options)) => options,
        other => panic!("{line:?} is no comparison but {other:?}"),
    };
    let two = diff(&[
        "diff",
        "a",
        "b",
        "--fail-on",
        "bytes>1K",
        "--match",
        "exact",
    ]);
    assert_eq!((two.base, two.head), (Some("a".into()), "b".into()));
    assert_eq!(two.gate.rules[0].text, "bytes>1K");
    assert_eq!(two.gate.matching, crate::diff::Matching::Exact);
    let one = diff(&["diff", "b", "--baseline", "main", "--allow-drops"]);
    assert_eq!((one.base, one.head), (None, "b".into()));
    assert_eq!(one.baseline.folder, PathBuf::from(".sntrace"));
    assert!(one.gate.judge.allow_drops && !one.gate.judge.fail_unstable);
}

#[test]
fn a_check_runs_a_program_with_its_own_options() {
    let line = [
        "check", "--budget", "b.toml", "--runs", "3", "--mmap", "-f", "sarif", "prog", "--runs",
        "9",
    ];
    let Ok(Job::Check(options)) = parse(&line) else {
        panic!("{:?}", parse(&line));
    };
    assert_eq!(options.run.command, ["prog", "--runs", "9"]);
    assert_eq!((options.runs, options.update), (3, None));
    assert!(options.run.mmap);
    assert_eq!(options.show.format, crate::verdict::Format::Sarif);
    let update = [
        "check",
        "--budget",
        "b",
        "--update-budget",
        "--margin",
        "2.5%",
        "p",
    ];
    let Ok(Job::Check(options)) = parse(&update) else {
        panic!("{:?}", parse(&update));
    };
    assert_eq!(options.update, Some(2.5));
}

#[test]
fn usage_errors_name_the_mistake() {
    let lines: &[&[&str]] = &[
        &["--bogus", "prog"],
        &["--jso", "x", "prog"],
        &["--json"],
        &["--stacks", "all", "prog"],
        &["--pid"],
        &["--", ""],
        &["--json", "x", "--jsonl", "x", "prog"],
        &["-o", "-", "--json", "-", "prog"],
        &["completions", "tcsh"],
        &["completions"],
        &["record"],
        &["report"],
        &["report", "f", "--view", "peaks"],
        &["export", "f"],
        &["export", "f", "--format", "pdf"],
        &["diff"],
        &["diff", "a"],
        &["diff", "a", "b", "c"],
        &["diff", "a", "b", "--baseline", "main"],
        &["diff", "a", "b", "--fail-on", "allocs>5%"],
        &["check", "prog"],
        &["check", "--budget", "b"],
        &[
            "check",
            "--budget",
            "b",
            "--fail-on",
            "allocations>1",
            "prog",
        ],
        &["check", "--budget", "b", "--runs", "0", "prog"],
        &["check", "--update-budget", "prog"],
        &[
            "check",
            "--budget",
            "b",
            "--update-budget",
            "--margin",
            "-1",
            "prog",
        ],
    ];
    let text: String = lines
        .iter()
        .map(|line| format!("$ sntrace {}\n{}\n", line.join(" "), refusal(line)))
        .collect();
    insta::assert_snapshot!("usage_errors", text);
}

#[test]
fn one_device_may_take_several_outputs() {
    let options = options(&["-o", "/dev/null", "--json", "/dev/null", "prog"]);
    assert_eq!(options.output, options.json);
}

#[test]
fn an_option_given_twice_counts_the_last_time() {
    let options = options(&["--pid", "--pid", "-o", "a", "-o", "b", "prog"]);
    assert_eq!(options.output, Some(Destination::File(PathBuf::from("b"))));
}

#[test]
fn names_need_not_be_utf8() {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = OsString::from_vec(vec![b'p', 0xff]);
        let line = [
            OsString::from("sntrace"),
            "-o".into(),
            odd.clone(),
            odd.clone(),
            odd.clone(),
        ];
        let Ok(Job::Trace(options)) = arguments::parse(line) else {
            panic!("refused")
        };
        assert_eq!(options.run.command, [odd.clone(), odd.clone()]);
        assert_eq!(options.output, Some(Destination::File(odd.into())));
    }
}

#[test]
fn help_is_what_a_person_reads() {
    // The width is fixed: otherwise the snapshot would follow the terminal of whoever tests.
    let mut definition = arguments::definition().term_width(100);
    insta::assert_snapshot!("help_long", definition.render_long_help());
    insta::assert_snapshot!("help_short", definition.render_help());
    for name in ["completions", "man", "diff", "check"] {
        let command = definition.find_subcommand_mut(name).expect("a subcommand");
        let mut command = command
            .clone()
            .term_width(100)
            .bin_name(format!("sntrace {name}"));
        insta::assert_snapshot!(format!("help_{name}"), command.render_long_help());
    }
}

#[test]
fn every_option_has_a_sentence_of_at_most_70_columns() {
    let definition = arguments::definition();
    for argument in definition.get_arguments() {
        let name = argument.get_id();
        let help = argument
            .get_help()
            .unwrap_or_else(|| panic!("{name} has no help"))
            .to_string();
        assert!(help.ends_with('.'), "{name}: no full stop: {help}");
        assert!(!help.contains('\n'), "{name}: more than a line: {help}");
        assert!(
            help.chars().count() <= 70,
            "{name}: {} columns: {help}",
            help.chars().count()
        );
        assert!(
            help.starts_with(char::is_uppercase),
            "{name}: no capital letter: {help}"
        );
        let grouped = argument.get_help_heading().is_some();
        let plain = ["program", "help", "version"].contains(&name.as_str());
        assert!(grouped != plain, "{name}: needs a help_heading");
    }
}

#[test]
fn the_definition_is_sound() {
    arguments::definition().debug_assert();
}

#[test]
fn completions_know_options_and_commands() {
    for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
        let script = String::from_utf8(super::generate::completions(*shell)).expect("UTF-8");
        for word in ["raw-callers", "overflow", "completions"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn the_man_page_has_every_option_and_section() {
    let page =
        String::from_utf8(super::generate::man_page().expect("writes to memory")).expect("UTF-8");
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "COMMANDS",
        "EXAMPLES",
        "ENVIRONMENT",
    ] {
        assert!(
            page.contains(&format!(".SH {section}\n")),
            "no section {section}"
        );
    }
    assert!(
        page.contains(".SH \"EXIT STATUS\""),
        "no section EXIT STATUS"
    );
    for argument in arguments::definition().get_arguments() {
        if let Some(long) = argument.get_long() {
            // roff writes a hyphen as `\-`.
            assert!(page.contains(&long.replace('-', "\\-")), "no --{long}");
        }
    }
}
