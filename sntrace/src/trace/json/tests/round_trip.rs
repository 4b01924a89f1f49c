//! What is written is read as it was.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::analyze::samples::Made;
use crate::analyze::sums::made_up;
use crate::analyze::{Analysis, AnalysisOptions};
use crate::export::samples;
use crate::output::{Call, Outputs, samples as output_samples};
use crate::symbolize::RecordedCallers;
use crate::trace::{
    Event, Exit, ImageId, Module, Op, Recorded, Site, SiteId, StackId, StacksTaken,
};

/// A recording's items as a document tells them: images by the order of their beginnings, events by the
/// function that was called, modules without what is theirs on a machine.
fn as_told(recording: &dyn Recording) -> Vec<Item> {
    let mut images = HashMap::new();
    let mut callers = RecordedCallers::new(recording.tables());
    let truncated = recording.tables().stacks.truncated();
    let mut told = items(recording);
    for item in &mut told {
        if let Item::Process { image, .. } = item {
            let next = ImageId(images.len() as u32 + 1);
            images.insert(*image, next);
        }
        match item {
            Item::Event(event) => {
                event.op = callers.of(event.op, event.stack).op;
                event.truncated = truncated[event.stack.0 as usize];
                event.image = images[&event.image];
            }
            Item::Process {
                image,
                forked_from,
                executable,
                ..
            } => {
                *image = images[image];
                *forked_from = forked_from.map(|parent| images[&parent]);
                *executable = as_text(executable);
            }
            Item::ModuleAdd { image, module } => {
                *image = images[image];
                *module = Module {
                    bias: module.start,
                    device: 0,
                    inode: 0,
                    path: as_text(&module.path),
                    ..module.clone()
                };
            }
            Item::Ended { image, .. } => *image = images[image],
            _ => {}
        }
    }
    told
}

fn as_text(bytes: &[u8]) -> Vec<u8> {
    crate::output::escape::lossy(bytes)
        .into_owned()
        .into_bytes()
}

fn analysed(recording: &dyn Recording) -> Analysis {
    Analysis::of(recording, &AnalysisOptions::default()).unwrap()
}

/// Two traces lead to the same figures.
#[track_caller]
fn assert_analysed_alike(one: &dyn Recording, other: &dyn Recording) {
    let (a, b) = (analysed(one), analysed(other));
    assert_eq!(a.totals, b.totals);
    assert_eq!(a.duration_ns, b.duration_ns);
    assert_eq!(a.stacks, b.stacks);
    assert_eq!(a.timeline, b.timeline);
    assert_eq!(a.leaks, b.leaks);
    assert_eq!(a.sizes, b.sizes);
    assert_eq!(a.lifetimes, b.lifetimes);
    assert_eq!(a.threads, b.threads);
    assert_eq!(a.processes, b.processes);
    assert_eq!(a.modules, b.modules);
    assert_eq!(a.crossings, b.crossings);
    assert_eq!(a.regrowths, b.regrowths);
    assert_eq!(a.misuse.counts, b.misuse.counts);
    assert_eq!(
        a.misuse.unknown_frees_by_stack,
        b.misuse.unknown_frees_by_stack
    );
    for number in 0..one.tables().stacks.len() as u32 {
        let name = |analysis: &Analysis| {
            let callers = &analysis.callers;
            callers.get(callers.caller_of(StackId(number))).clone()
        };
        assert_eq!(name(&a), name(&b));
    }
}

#[test]
fn everything_that_a_document_tells_is_read() {
    for recording in [samples::recording(), samples::plain(), samples::empty()] {
        let trace = open(written(&recording)).unwrap();
        let read = items(&trace);
        assert_eq!(read, as_told(&recording));
        // And again.
        assert_eq!(items(&trace), read);
        assert_eq!(trace.header(), &recording.header);
        assert_eq!(trace.certificate(), &recording.certificate);
        assert_eq!(trace.recorded(), &recording.recorded);
        assert_eq!(
            trace.generator(),
            concat!("sntrace ", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(trace.cut_note(), None);
        assert_eq!(trace.tables().sites, recording.tables.sites);
        assert_eq!(
            trace.tables().stacks.nodes(),
            recording.tables.stacks.nodes()
        );
        assert_eq!(written(&trace), written(&recording));
        assert_analysed_alike(&trace, &recording);
    }
}

#[test]
fn files_have_their_build_ids() {
    let recording = samples::recording();
    let trace = open(written(&recording)).unwrap();
    assert_eq!(trace.tables().files, recording.tables.files);
}

#[test]
fn a_trace_that_was_cut_says_so() {
    let mut recording = samples::recording();
    recording.certificate.complete = false;
    let trace = open(written(&recording)).unwrap();
    assert!(trace.cut_note().is_some());
    assert!(!trace.certificate().complete);
}

/// The images of a trace by the order of their beginnings, as rows of a document are.
fn renumbered(mut made: Made) -> Made {
    made.items = as_told(&made);
    made
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_trace_is_analysed_alike(made in made_up()) {
        let made = renumbered(made);
        let trace = open(written(&made)).unwrap();
        prop_assert_eq!(items(&trace), items(&made));
        assert_analysed_alike(&trace, &made);
    }
}

/// What a running trace writes of these items, with a caller each.
fn live(items: &[Item], recorded: &Recorded) -> Vec<u8> {
    let shared = output_samples::Shared::default();
    let mut outputs = Outputs::new(None);
    let header = output_samples::header();
    let sink = crate::output::Json::new(shared.writer(), &header, recorded).unwrap();
    outputs.add(sink);
    for item in items {
        match item {
            Item::Event(event) => {
                let named = output_samples::call(event.op);
                let nameless = Call {
                    name: "libarena.so.1+0x1234",
                    function: None,
                    location: None,
                    file_address: 0x1234,
                    site: 1,
                    ..named
                };
                let call = if event.tid == 2 { nameless } else { named };
                outputs.event(event, &call);
            }
            other => outputs.item(other),
        }
    }
    outputs.finish(3);
    shared.text().into_bytes()
}

#[test]
fn a_running_trace_is_read_with_its_callers() {
    let event = |op, tid, released| {
        Item::Event(Event {
            image: ImageId(5),
            tid,
            released,
            ..output_samples::event(op)
        })
    };
    let process = |image, forked_from| Item::Process {
        image: ImageId(image),
        time_ns: 10,
        pid: image + 100,
        ppid: 1,
        forked_from,
        executable: b"/bin/p".to_vec(),
        command: vec![b"p".to_vec()],
    };
    let end = |image| Item::Ended {
        image: ImageId(image),
        exit: Exit::Code(0),
        live_blocks: 1,
        live_bytes: 72,
    };
    let told = [
        process(5, None),
        event(Op::Malloc, 1, None),
        process(9, Some(ImageId(5))),
        event(Op::Free, 2, Some(72)),
        end(9),
        end(5),
    ];
    let recorded = Recorded {
        stacks: StacksTaken::Caller,
        may_drop: true,
        ..Recorded::default()
    };
    let trace = open(live(&told, &recorded)).unwrap();
    let read = items(&trace);
    let Item::Event(free) = &read[3] else {
        panic!("{read:?}");
    };
    assert_eq!(
        (free.op, free.released, free.image),
        (Op::Free, Some(72), ImageId(1))
    );
    assert!(matches!(
        read[2],
        Item::Process {
            forked_from: Some(ImageId(1)),
            ..
        }
    ));
    assert_eq!(read.len(), told.len());
    assert_eq!(trace.recorded(), &recorded);
    assert_eq!(
        (
            trace.certificate().events,
            trace.certificate().dropped_events
        ),
        (2, 3)
    );
    assert!(trace.certificate().complete);
    // Sites are told by their module's own addresses, which are the same in each run.
    let tables = trace.tables();
    assert_eq!(tables.function_name(SiteId(2), 0), "libarena.so.1+0x1234");
    assert_eq!(tables.function_name(SiteId(1), 0), "rt_arena_create_sized");
    let Site { address, .. } = tables.sites[1];
    assert_eq!(address, 0x9139);
}

#[test]
fn processes_of_one_id_keep_their_events() {
    let mut recording = samples::recording();
    for item in &mut recording.items {
        if let Item::Process { pid, .. } = item {
            *pid = 1;
        }
    }
    let trace = open(written(&recording)).unwrap();
    assert_eq!(items(&trace), as_told(&recording));
}

#[test]
fn events_of_an_unknown_process_are_of_one_of_their_own() {
    let mut recording = samples::recording();
    recording
        .items
        .retain(|item| !matches!(item, Item::Process { pid: 300, .. }));
    let trace = open(written(&recording)).unwrap();
    let rows = 3;
    let events = items(&trace);
    let of_nobody = events.iter().filter(|item| match item {
        Item::Event(event) => event.image == ImageId(rows + 1),
        _ => false,
    });
    assert_eq!(of_nobody.count(), 1);
}
