//! What a person sees of a rich trace, view by view, and that a script gets the same.

use std::io;

use serde_json::Value;

use super::*;
use crate::analyze::samples::{Made, Maker};
use crate::analyze::{AnalysisOptions, Suppressions};
use crate::trace::{Exit, ImageId, Op};

/// Two processes, three threads, everything that a view can show.
fn rich() -> Made {
    let mut made = Maker::default();
    let start = ["__libc_start_call_main in /lib/libc.so.6", "_start"];
    let mut stack = |frames: &[&str]| made.stack(&[frames, &start].concat());
    let main = "main @/src/app/main.cpp:12";
    let load = "load_all @/src/app/load.cpp:40";
    let image = stack(&[
        "xmalloc @/src/app/memory.c:7",
        "read_image < decode @/src/app/load.cpp:71",
        load,
        main,
    ]);
    let text = stack(&[
        "operator new(unsigned long) in /lib/libstdc++.so.6",
        "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::_M_create(unsigned long&, unsigned long) in /lib/libstdc++.so.6",
        "app::Index<std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >, app::Policy<8> >::add(app::Word const&) @/src/app/index.hpp:103",
        load,
        main,
    ]);
    let inflate = stack(&[
        "inflateInit2_ in /lib/libz.so.1",
        "decode @/src/app/load.cpp:80",
        load,
        main,
    ]);
    let grow = stack(&["push_line @/src/app/lines.c:33", load, main]);
    let cache = stack(&["cache_get @/src/app/cache.c:9", main]);
    let worker = made.stack(&[
        "drain @/src/app/queue.cpp:55",
        "run < std::thread::_State_impl<int>::_M_run() @/src/app/queue.cpp:20",
        "start_thread in /lib/libc.so.6",
        "clone3",
    ]);
    let deep: Vec<_> = (0..20)
        .map(|n| format!("visit @/src/app/tree.c:{n}"))
        .collect();
    let deep = made.stack(&deep.iter().map(String::as_str).collect::<Vec<_>>());
    let lost = made.stack(&["?", "[truncated]"]);
    made.begin(1, None);
    made.free(lost, 0x7f00);
    for n in 0..40 {
        made.malloc(image, 0x10_0000 + n * 0x1_0000, 48 << 10)
            .wait(50_000);
    }
    for n in 0..12 {
        made.call(Op::New, text, |event| {
            (event.block, event.size) = (0x2000 + n * 64, 33 + n);
        });
        made.wait(1_000);
    }
    made.malloc(inflate, 0x9000, 7160).free(inflate, 0x9000);
    made.malloc(deep, 0x9f00, 0).free(deep, 0x9f00);
    made.malloc(grow, 0x3000, 16);
    for n in 0..5 {
        made.realloc(grow, 0x3000 + n * 0x1000, 0x4000 + n * 0x1000, 32 << n);
    }
    for n in 0..30 {
        made.wait(100_000).call(Op::Free, worker, |event| {
            event.tid = 2;
            event.block = 0x10_0000 + n * 0x1_0000;
        });
    }
    made.malloc(cache, 0xa000, 1 << 20).wait(2_000_000);
    made.begin(2, Some(1));
    made.call(Op::Free, worker, |event| {
        (event.image, event.tid, event.block) = (ImageId(2), 9, 0xa000);
    });
    made.end(2, Exit::Signal(11));
    // Mistakes: a block of new[] to free, a size that is not right, a double free.
    made.call(Op::NewArray, text, |event| {
        (event.block, event.size) = (0xb000, 24)
    });
    made.free(worker, 0xb000);
    made.call(Op::New, text, |event| {
        (event.block, event.size) = (0xc000, 24)
    });
    made.call(Op::Delete, worker, |event| {
        (event.block, event.size) = (0xc000, 16)
    });
    made.malloc(cache, 0xd000, 3000)
        .free(cache, 0xd000)
        .free(worker, 0xd000);
    made.call(Op::Malloc, cache, |event| event.size = 1 << 50);
    made.end(1, Exit::Code(0));
    let mut trace = made.make();
    trace.certificate.cost.wall_ns = 9_876_543;
    trace
}

fn analysis(made: &Made) -> Analysis {
    let suppressions = Suppressions::parse("leak:cache_get\nleak:never\n").unwrap();
    Analysis::of(made, &AnalysisOptions { suppressions }).unwrap()
}

fn shown(made: &Made, options: &ReportOptions) -> String {
    let mut out = Vec::new();
    text(made, &analysis(made), options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn as_json(made: &Made, options: &ReportOptions) -> Value {
    let mut out = Vec::new();
    json(made, &analysis(made), options, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn only(view: View) -> ReportOptions {
    ReportOptions {
        views: vec![view],
        ..ReportOptions::default()
    }
}

#[test]
fn every_view_is_a_page_that_a_person_can_read() {
    let made = rich();
    for view in View::ALL {
        insta::assert_snapshot!(view.name(), shown(&made, &only(view)));
    }
}

#[test]
fn every_view_is_an_object_that_a_script_can_read() {
    let made = rich();
    for view in View::ALL {
        let options = ReportOptions {
            top: 2,
            ..only(view)
        };
        let mut document = as_json(&made, &options);
        // Thousands of numbers, of which most are the same.
        if view == View::Summary {
            for list in ["high_bytes", "allocations"] {
                let list = &mut document["views"]["summary"]["heap"][list];
                assert!(list.as_array().is_some_and(|list| list.len() > 2));
                *list = "shortened here".into();
            }
        }
        let text = serde_json::to_string_pretty(&document["views"]).unwrap();
        insta::assert_snapshot!(format!("{}.json", view.name()), text);
    }
}

#[test]
fn a_narrow_terminal_gets_narrow_lines() {
    let options = ReportOptions {
        views: View::ALL.to_vec(),
        width: 60,
        ..ReportOptions::default()
    };
    for line in shown(&rich(), &options).lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= 60, "{line}");
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let made = rich();
    let plain = ReportOptions {
        views: View::ALL.to_vec(),
        ..ReportOptions::default()
    };
    let coloured = ReportOptions {
        colour: Colour::Ansi,
        ..plain.clone()
    };
    let mut text = shown(&made, &coloured);
    assert!(text.contains("\x1b[1m"));
    for sequence in ["0", "1", "2", "31", "33", "36"] {
        text = text.replace(&format!("\x1b[{sequence}m"), "");
    }
    assert_eq!(text, shown(&made, &plain));
}

#[test]
fn what_is_not_whole_says_so_in_every_report() {
    let mut made = rich();
    let whole = format!(
        "certificate: {} events, nothing missing\n",
        made.certificate.events
    );
    assert!(shown(&made, &only(View::Sizes)).contains(&whole));
    made.certificate.dropped_events = 3;
    made.certificate.complete = false;
    let text = shown(&made, &only(View::Errors));
    assert!(
        text.contains("  Events are missing from the trace"),
        "{text}"
    );
    assert!(
        text.contains(
            "events, but:\n  3 events were dropped\n  the trace was cut before its end\n"
        )
    );
    let document = as_json(&made, &only(View::Errors));
    assert_eq!(document["certificate"]["dropped_events"], 3);
    assert_eq!(document["views"]["errors"]["doubtful"], true);
}

#[test]
fn an_empty_trace_has_a_report_too() {
    let options = ReportOptions {
        views: View::ALL.to_vec(),
        ..ReportOptions::default()
    };
    let made = Maker::default().make();
    assert!(shown(&made, &options).contains("nothing was ever allocated"));
    assert_eq!(
        as_json(&made, &options)["views"]["summary"]["totals"]["events"],
        0
    );
}

#[test]
fn both_forms_have_the_same_figures() {
    let made = rich();
    let found = analysis(&made);
    let options = ReportOptions {
        views: View::ALL.to_vec(),
        top: usize::MAX,
        ..ReportOptions::default()
    };
    let document = as_json(&made, &options);
    let views = &document["views"];
    let sum = |list: &Value, key: &str| -> u64 {
        let list = list.as_array().unwrap().iter();
        list.map(|entry| entry[key].as_u64().unwrap()).sum()
    };
    assert_eq!(
        sum(&views["peak"]["callers"], "bytes"),
        found.totals.peak_bytes
    );
    let leaked = sum(&views["leaks"]["callers"], "bytes") + sum(&views["leaks"]["rules"], "bytes");
    assert_eq!(leaked, found.totals.leaked_bytes);
    assert_eq!(
        sum(&views["sizes"]["classes"], "blocks"),
        found.totals.allocations
    );
    assert_eq!(
        sum(&views["threads"]["threads"], "frees"),
        found.totals.frees
    );
    assert_eq!(
        sum(&views["processes"]["processes"], "frees"),
        found.totals.frees
    );
    for caller in views["peak"]["callers"].as_array().unwrap() {
        assert_eq!(
            sum(&caller["stacks"], "bytes"),
            caller["bytes"].as_u64().unwrap()
        );
    }
}

/// The keys of all objects in a document, but for the totals, which `docs/json.md` describes.
fn keys(value: &Value, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                if key != "totals" {
                    keys(value, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn the_documentation_describes_every_key() {
    let text = include_str!("../../../docs/report.md");
    let words: std::collections::HashSet<_> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
        .collect();
    let options = ReportOptions {
        views: View::ALL.to_vec(),
        ..ReportOptions::default()
    };
    let mut found = std::collections::BTreeSet::new();
    keys(&as_json(&rich(), &options), &mut found);
    assert!(found.len() > 80, "{found:?}");
    let missing: Vec<_> = found
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn names_reach_no_terminal_raw() {
    let mut made = Maker::default();
    let evil = made.stack(&["ev\x1b[2Jil\u{202e} @/src/\x1b]0;x.c:1 in /lib/\x07.so"]);
    made.malloc(evil, 16, 1).free(evil, 16).free(evil, 16);
    let mut trace = made.make();
    trace.header.command.push("\x1b[31m".into());
    trace.header.started = "\x1b[0m".into();
    let options = ReportOptions {
        views: View::ALL.to_vec(),
        ..ReportOptions::default()
    };
    let mut out = Vec::new();
    text(&trace, &analysis(&trace), &options, &mut out).unwrap();
    json(&trace, &analysis(&trace), &options, &mut out).unwrap();
    let written = String::from_utf8(out).unwrap();
    assert!(written.contains("ev\\x1b[2Jil\\u{202e}"));
    let hidden = |c: &char| *c != '\n' && crate::output::escape::is_hidden(*c);
    assert_eq!(written.chars().find(hidden), None);
    let name = &as_json(&trace, &options)["views"]["errors"]["errors"][0]["release"]["frames"][0];
    assert_eq!(name["function"], "ev\x1b[2Jil\u{202e}");
}

#[test]
fn a_destination_that_takes_no_more_is_an_error() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let made = rich();
    let (found, options) = (analysis(&made), ReportOptions::default());
    let error = text(&made, &found, &options, &mut Full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let error = json(&made, &found, &options, &mut Full).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn views_are_found_by_their_names() {
    for view in View::ALL {
        assert_eq!(view.name().parse(), Ok(view));
    }
    assert_eq!(View::named("all"), Ok(View::ALL.to_vec()));
    let error = View::named("pea\x1b").unwrap_err().to_string();
    assert!(
        error.starts_with("no view is called 'pea\\x1b'; there are summary, peak,"),
        "{error}"
    );
}

#[test]
fn what_is_shown_in_full_is_not_shown_twice() {
    let all = ReportOptions {
        views: View::ALL.to_vec(),
        ..ReportOptions::default()
    };
    let text = shown(&rich(), &all);
    for title in ["Peak", "Leaks", "Temporary allocations", "Errors"] {
        let heading = |line: &&str| line.split("  ").next() == Some(title);
        assert_eq!(text.lines().filter(heading).count(), 1, "{title}:\n{text}");
    }
}

#[test]
fn as_many_stacks_stand_under_an_entry_as_were_asked_for() {
    let stacks = |stacks| {
        let options = ReportOptions {
            stacks,
            ..only(View::Peak)
        };
        let view = &as_json(&rich(), &options)["views"]["peak"];
        let entry = view["callers"].as_array().unwrap()[0].clone();
        let shown = entry["stacks"].as_array().unwrap().len() as u64;
        (shown, shown + entry["more_stacks"].as_u64().unwrap())
    };
    let (most, all) = stacks(usize::MAX);
    assert_eq!(most, all);
    assert_eq!(stacks(0), (0, all));
}

#[test]
fn a_page_is_as_wide_as_columns_says_where_there_is_no_terminal() {
    assert_eq!(width_of(Some("60")), 60);
    for nonsense in [None, Some(""), Some("0"), Some("-3"), Some("wide")] {
        assert_eq!(width_of(nonsense), 100);
    }
}
