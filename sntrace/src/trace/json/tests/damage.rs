//! Documents that are cut, changed, hostile, or none.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::export::samples::{self, exported};
use crate::export::{Format, Metric};

/// What is said of a document that can't be opened, or not be replayed.
#[track_caller]
fn refused(trace: Result<JsonTrace, TraceError>) -> TraceError {
    match trace {
        Err(error) => error,
        Ok(trace) => trace.replay(&mut |_| ()).unwrap_err(),
    }
}

#[test]
fn a_cut_document_says_where_it_ends() {
    let whole = written(&samples::recording());
    // The newline behind the last bracket may go.
    for length in 1..whole.len() - 1 {
        match refused(open(&whole[..length])) {
            TraceError::Damaged { at, what, .. } => {
                assert_eq!(at, length as u64, "{what}");
                assert!(what.contains("cut"), "{what}");
            }
            other => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn what_is_no_json_trace_is_told_so() {
    let recording = samples::recording();
    let lines = exported(Format::Jsonl, &recording, Metric::default());
    let last = lines.split(|&byte| byte == b'\n').rev().nth(1).unwrap();
    for (bytes, expected) in [
        (
            lines.as_slice(),
            "it looks like JSON lines, which have no stacks",
        ),
        (last, "it looks like JSON lines, which have no stacks"),
        (
            b"{}",
            "it is some other JSON, without \"format\": \"sntrace\"",
        ),
        (
            br#"{"format":"sntrace report\u001b","version":9}"#,
            r"it is JSON of the format 'sntrace report\x1b'",
        ),
        (br#"{"format":7}"#, "it is JSON of some other format"),
        (b"[1]", "it looks like JSON"),
        (b"", "it is empty"),
        (b"\x7fELF", "it is an ELF file"),
    ] {
        match open(bytes) {
            Err(error @ TraceError::Foreign { .. }) => {
                assert!(error.to_string().contains(expected), "{error}");
                assert!(error.hint().is_some());
            }
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }
}

#[test]
fn a_later_version_is_told_so() {
    let newer = refused(changed(&samples::plain(), |document| {
        document["version"] = json!(1_u64 << 40);
    }));
    assert!(matches!(
        newer,
        TraceError::Newer {
            version: u32::MAX,
            ..
        }
    ));
    let older = refused(changed(&samples::plain(), |document| {
        document["version"] = json!(0)
    }));
    assert!(matches!(older, TraceError::Damaged { .. }));
}

#[test]
fn a_document_with_a_part_of_its_events_is_refused() {
    let filtered = |shown: u64| {
        changed(&samples::recording(), |document| {
            document["summary"]["shown_events"] = shown.into();
        })
    };
    let error = refused(filtered(3));
    assert!(matches!(error, TraceError::Filtered { held: 3, .. }));
    let all = error.to_string();
    assert!(
        all.contains("holds 3 of the 23 events") && all.contains("--filter"),
        "{all}"
    );
    // The filter let all through.
    assert!(filtered(23).is_ok());
}

#[test]
fn what_cannot_be_is_damage() {
    let wrong: &[(&str, Value, &str)] = &[
        ("/events/2/stack", json!(1000), "an event's stack is no row"),
        (
            "/events/2/stack",
            json!(u64::MAX),
            "an event's stack is no row",
        ),
        (
            "/events/2/process",
            json!(77),
            "an event's process is no row",
        ),
        ("/events/2/ptr", json!("0xg"), "an address is none"),
        ("/events/2/time_ns", json!(1e300), "a number is not whole"),
        ("/events/2/op", json!("mallocate"), "an event's op is none"),
        ("/events/2/temporary", json!(1), "neither true nor false"),
        ("/events/2", json!(7), "an event is no object"),
        ("/events/2", json!({}), "an event has no 'time_ns'"),
        ("/events", json!({"a": 1}), "there is no array"),
        (
            "/events",
            json!([]),
            "it holds 0 events, and its summary says 23",
        ),
        ("/stacks/0/frame", json!(1000), "a stack's frame is no row"),
        (
            "/stacks/0/frame",
            json!(u64::MAX),
            "a stack's frame is no row",
        ),
        (
            "/stacks/3/parent",
            json!(1000),
            "a stack's parent is no row",
        ),
        (
            "/stacks/3/parent",
            json!(u64::MAX),
            "a stack's parent is no row",
        ),
        ("/stacks/3/parent", json!(3), "in a circle"),
        ("/stacks/0/parent", json!(3), "in a circle"),
        ("/stacks/3", json!([]), "a row of 'stacks' can't be read"),
        (
            "/frames/3/address",
            json!(12),
            "a row of 'frames' can't be read",
        ),
        (
            "/frames/3/line",
            json!(-1),
            "a row of 'frames' can't be read",
        ),
        (
            "/modules/0/process",
            json!(9),
            "a module's process is no row",
        ),
        ("/modules/0/build_id", json!("abc"), "build id"),
        (
            "/processes/1/forked_from",
            json!(9),
            "forked from is no row",
        ),
        ("/processes/1/end_event", json!(0), "ends before it begins"),
        (
            "/processes/1/pid",
            json!(1_u64 << 32),
            "a row of 'processes' can't be read",
        ),
        (
            "/recorded/stacks",
            json!("some"),
            "'recorded' can't be read",
        ),
        ("/summary", json!(null), "'summary' can't be read"),
        ("/certificate/events", json!("\u{1b}"), r"\u{1b}"),
    ];
    for (place, value, expected) in wrong {
        let trace = changed(&samples::recording(), |document| {
            let parent = &place[..place.rfind('/').unwrap()];
            let key = &place[parent.len() + 1..];
            let parent = document.pointer_mut(parent).unwrap();
            match parent {
                Value::Array(rows) => rows[key.parse::<usize>().unwrap()] = value.clone(),
                object => object[key] = value.clone(),
            }
        });
        let error = refused(trace);
        assert!(
            matches!(error, TraceError::Damaged { .. }),
            "{place}: {error}"
        );
        assert!(error.to_string().contains(expected), "{place}: {error}");
    }
}

#[test]
fn a_document_without_a_table_is_damaged() {
    for key in [
        "version",
        "platform",
        "processes",
        "modules",
        "frames",
        "stacks",
        "summary",
    ] {
        let error = refused(changed(&samples::plain(), |document| {
            document.as_object_mut().unwrap().remove(key);
        }));
        assert!(
            error.to_string().ends_with(&format!("it has no '{key}'")),
            "{error}"
        );
    }
}

#[test]
fn hostile_nesting_and_repetition_end_in_errors() {
    let deep = |bracket: &str| bracket.repeat(1_000_000);
    for text in [
        format!("{{\"format\":\"sntrace\",\"x\":{}", deep("[")),
        format!("{{\"events\":{}", deep("[")),
        format!("{{\"events\":[{}", deep("{\"a\":")),
        format!("{{\"frames\":[{}", deep("[")),
        format!("{{\"certificate\":{}", deep("{\"a\":")),
        "{\"command\":[],\"command\":[]".to_owned(),
        "{\"version\":1}{".to_owned(),
        "{\"format\":\"sntrace\",}".to_owned(),
        "{\"a\":[}]".to_owned(),
        "{,".to_owned(),
    ] {
        refused(open(text));
    }
    let mut behind = written(&samples::plain());
    behind.extend_from_slice(b"{}");
    assert!(
        refused(open(behind))
            .to_string()
            .contains("stands behind its end")
    );
}

#[test]
fn what_comes_before_damage_is_handed_out() {
    let mut place = 0;
    let trace = changed(&samples::recording(), |document| {
        document["events"][7]["tid"] = json!("damage");
        place = document.to_string().find("\"damage\"").unwrap() as u64;
    });
    let (trace, mut events) = (trace.unwrap(), 0);
    let result = trace.replay(&mut |item| events += u64::from(matches!(item, Item::Event(_))));
    let Err(TraceError::Damaged { at, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!((events, at), (7, place));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_change_of_bytes_does_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
    ) {
        let mut bytes = written(&samples::recording());
        for (place, byte, remove) in changes {
            let at = place.index(bytes.len());
            match remove {
                true => drop(bytes.remove(at)),
                false => bytes[at] = byte,
            }
        }
        if let Ok(trace) = open(bytes) {
            let stacks = trace.tables().stacks.len();
            let _ = trace.replay(&mut |item| {
                if let Item::Event(event) = item {
                    assert!((event.stack.0 as usize) < stacks);
                }
            });
        }
    }
}
