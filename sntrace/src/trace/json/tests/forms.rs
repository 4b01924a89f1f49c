//! The same document in other forms: as other tools rewrite it.

use super::*;
use crate::export::samples;
use crate::trace::{Exit, ImageId, Recorded, StacksTaken};

/// A document with its keys in this order, and blanks wherever they may stand.
fn rewritten(document: &Value, turned: bool) -> String {
    match document {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if turned {
                members.reverse();
            }
            let members = members.into_iter().map(|(key, value)| {
                format!(
                    "{} \t:\n{}",
                    Value::from(key.as_str()),
                    rewritten(value, turned)
                )
            });
            format!("{{ {}\r\n}}", members.collect::<Vec<_>>().join(" , "))
        }
        Value::Array(values) => {
            let values = values.iter().map(|value| rewritten(value, turned));
            format!("[ {} ]", values.collect::<Vec<_>>().join("\n,"))
        }
        plain => plain.to_string(),
    }
}

#[test]
fn blanks_and_the_order_of_keys_do_not_matter() {
    let recording = samples::recording();
    let bytes = written(&recording);
    let expected = items(&open(bytes.clone()).unwrap());
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    for text in [
        document.to_string(),
        serde_json::to_string_pretty(&document).unwrap(),
        rewritten(&document, false),
        rewritten(&document, true),
        format!("\n {document} \n\n"),
    ] {
        let trace = open(text.clone()).unwrap();
        assert_eq!(items(&trace), expected, "{text}");
        assert_eq!(trace.certificate(), &recording.certificate);
        assert_eq!(trace.tables().sites, recording.tables.sites);
    }
}

#[test]
fn keys_of_a_later_version_are_passed_over() {
    let recording = samples::recording();
    let trace = changed(&recording, |document| {
        let new = serde_json::json!([{"a": ["}", "\\"]}, 1.5e300, null, true]);
        document["later"] = new.clone();
        for table in ["events", "processes", "modules", "frames", "stacks"] {
            document[table][1]["later"] = new.clone();
        }
        document["recorded"]["later"] = new.clone();
        document["certificate"]["later"] = new;
    });
    assert_eq!(
        items(&trace.unwrap()),
        items(&open(written(&recording)).unwrap())
    );
}

#[test]
fn parents_may_come_after_their_children() {
    let recording = samples::recording();
    let trace = changed(&recording, |document| {
        let last = document["stacks"].as_array().unwrap().len() - 1;
        let turn = |index: &mut Value| {
            if let Some(at) = index.as_u64() {
                *index = (last as u64 - at).into();
            }
        };
        document["stacks"].as_array_mut().unwrap().reverse();
        for stack in document["stacks"].as_array_mut().unwrap() {
            turn(&mut stack["parent"]);
        }
        for event in document["events"].as_array_mut().unwrap() {
            turn(&mut event["stack"]);
        }
    })
    .unwrap();
    let names = |trace: &JsonTrace| -> Vec<Vec<String>> {
        let tables = trace.tables();
        let events = items(trace).into_iter().filter_map(|item| match item {
            Item::Event(event) => Some(event),
            _ => None,
        });
        events
            .map(|event| {
                let places = tables.functions_of(event.stack);
                places
                    .map(|(site, level)| tables.function_name(site, level).into_owned())
                    .collect()
            })
            .collect()
    };
    let nodes = trace.tables().stacks.nodes();
    assert!(nodes.iter().zip(1..).all(|(node, id)| node.parent.0 < id));
    assert_eq!(names(&trace), names(&open(written(&recording)).unwrap()));
}

#[test]
fn a_document_without_the_newer_keys_goes_by_the_clock() {
    let recording = samples::recording();
    let trace = changed(&recording, |document| {
        let processes = document["processes"].as_array_mut().unwrap();
        for process in processes {
            let process = process.as_object_mut().unwrap();
            process.retain(|key, _| {
                ["pid", "ppid", "start_ns", "command", "exit"].contains(&key.as_str())
            });
        }
        let document = document.as_object_mut().unwrap();
        document.remove("recorded");
        document.remove("certificate");
        document.remove("generator");
    })
    .unwrap();
    let is_event = |item: &Item| matches!(item, Item::Event(_));
    let events = |trace: &JsonTrace| {
        let mut items = items(trace);
        items.retain(is_event);
        items
    };
    // Each event is of the image that it was of, also after an exec.
    assert_eq!(events(&trace), events(&open(written(&recording)).unwrap()));
    let ends: Vec<_> = items(&trace)
        .into_iter()
        .filter_map(|item| match item {
            Item::Ended { image, exit, .. } => Some((image, exit)),
            _ => None,
        })
        .collect();
    let expected = [
        (ImageId(2), Exit::Exec),
        (ImageId(1), Exit::Code(0)),
        (ImageId(3), Exit::Code(1)),
        (ImageId(4), Exit::Signal(9)),
    ];
    assert_eq!(ends, expected);
    assert_eq!(trace.generator(), "unknown");
    let recorded = Recorded {
        mappings: true,
        ..Recorded::default()
    };
    assert_eq!(trace.recorded(), &recorded);
    assert_eq!(trace.certificate().unnamed_sites, 2);
}

#[test]
fn without_stacks_events_have_none() {
    let trace = changed(&samples::plain(), |document| {
        for event in document["events"].as_array_mut().unwrap() {
            event["stack"] = Value::Null;
        }
        document["stacks"] = serde_json::json!([]);
        document["frames"] = serde_json::json!([]);
        document["recorded"]["stacks"] = "none".into();
    })
    .unwrap();
    assert_eq!(trace.recorded().stacks, StacksTaken::None);
    assert_eq!(trace.tables().stacks.len(), 1);
    let stacks = items(&trace).into_iter().map(|item| match item {
        Item::Event(event) => event.stack.0,
        _ => 0,
    });
    assert_eq!(stacks.max(), Some(0));
}
