//! What holds for every format: failures are told, and nothing in a trace makes an exporter panic.

use std::io::{self, ErrorKind, Write};

use proptest::prelude::*;

use super::samples::{self, InMemory};
use super::*;
use crate::trace::{
    Certificate, Event, Exit, Header, ImageId, Op, Recorded, SiteId, StackId, Tables, TraceError,
};

/// Takes so many bytes, then is full.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        match taken {
            0 => Err(ErrorKind::StorageFull.into()),
            _ => Ok(taken),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_fails_every_format() {
    let recording = samples::recording();
    for format in Format::ALL {
        let whole = samples::exported(format, &recording, Metric::default()).len();
        for room in [0, whole / 2, whole - 1] {
            let result = export(
                format,
                &recording,
                &ExportOptions::default(),
                &mut Small(room),
            );
            match result {
                Err(ExportError::Write(source)) => {
                    assert_eq!(source.kind(), ErrorKind::StorageFull, "{format:?}");
                }
                other => panic!("{format:?} with room for {room}: {other:?}"),
            }
        }
    }
}

/// A trace that can't be read to its end.
struct Damaged(InMemory);

impl Recording for Damaged {
    fn header(&self) -> &Header {
        &self.0.header
    }
    fn tables(&self) -> &Tables {
        &self.0.tables
    }
    fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }
    fn recorded(&self) -> &Recorded {
        &self.0.recorded
    }
    fn generator(&self) -> &str {
        self.0.generator()
    }
    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError> {
        self.0.items.iter().take(5).for_each(each);
        Err(TraceError::Damaged {
            path: "run.snt".into(),
            at: 7,
            what: "nonsense".into(),
        })
    }
}

#[test]
fn a_damaged_trace_fails_every_format() {
    let damaged = Damaged(samples::recording());
    for format in Format::ALL {
        let result = export(format, &damaged, &ExportOptions::default(), &mut io::sink());
        let error = result.unwrap_err();
        assert!(
            error.to_string().contains("'run.snt'"),
            "{format:?}: {error}"
        );
        assert!(error.hint().is_some());
    }
}

/// The same two events over and over.
struct Endless {
    one: InMemory,
    pairs: u64,
}

impl Recording for Endless {
    fn header(&self) -> &Header {
        &self.one.header
    }
    fn tables(&self) -> &Tables {
        &self.one.tables
    }
    fn certificate(&self) -> &Certificate {
        &self.one.certificate
    }
    fn recorded(&self) -> &Recorded {
        &self.one.recorded
    }
    fn generator(&self) -> &str {
        self.one.generator()
    }
    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError> {
        let malloc = Item::Event(samples::event(Op::Malloc, 8));
        let free = Item::Event(Event {
            released: Some(8),
            ..samples::event(Op::Free, 0)
        });
        for _ in 0..self.pairs {
            each(&malloc);
            each(&free);
        }
        Ok(())
    }
}

#[test]
fn a_trace_too_long_for_one_table_is_refused_with_a_way_out() {
    let long = Endless {
        one: samples::plain(),
        pairs: firefox::EVENTS_MAX / 2 + 1,
    };
    let options = ExportOptions::default();
    match export(Format::Firefox, &long, &options, &mut io::sink()) {
        Err(error @ ExportError::TooLong { .. }) => assert!(error.hint().is_some()),
        other => panic!("{other:?}"),
    }
}

fn any_item() -> impl Strategy<Value = Item> {
    // Images are counted by who reads a file; all else may be anything.
    let image = || (0..4_u32).prop_map(ImageId);
    let stack = prop_oneof![0..30_u32, any::<u32>()].prop_map(StackId);
    let op = prop::sample::select(Op::ALL.to_vec());
    let block = || prop_oneof![0..4_u64, any::<u64>()];
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let what = (any::<Option<u64>>(), any::<bool>(), any::<u32>());
    let event = (op, image(), stack, block(), block(), numbers, what).prop_map(
        |(op, image, stack, block, old_block, (time_ns, size, count), what)| {
            Item::Event(Event {
                op,
                time_ns,
                image,
                stack,
                block,
                old_block,
                size,
                count,
                released: what.0,
                temporary: what.1,
                tid: what.2,
                ..samples::event(Op::Malloc, 0)
            })
        },
    );
    let parent = prop::option::of(image());
    let words = prop::collection::vec(any::<Vec<u8>>(), 0..3);
    let process = (image(), parent, any::<u64>(), any::<u32>(), words).prop_map(
        |(image, forked_from, time_ns, pid, command)| Item::Process {
            image,
            time_ns,
            pid,
            ppid: pid,
            forked_from,
            executable: Vec::new(),
            command,
        },
    );
    let exit = prop::sample::select(vec![Exit::Code(0), Exit::Signal(9), Exit::Exec]);
    let ended = (image(), exit, any::<u32>()).prop_map(|(image, exit, live)| Item::Ended {
        image,
        exit,
        live_blocks: live.into(),
        live_bytes: live.into(),
    });
    prop_oneof![6 => event, 1 => process, 1 => ended]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nonsense_is_exported_as_what_it_is(
        items in prop::collection::vec(any_item(), 0..40),
        sites in prop::collection::vec(any::<u32>(), 0..8),
        started: String,
    ) {
        let (mut tables, _) = samples::tables();
        // Stacks of places that there are not.
        let mut outer = StackId::EMPTY;
        for site in sites {
            outer = tables.stacks.intern(outer, SiteId(site));
        }
        let header = Header { started, ..samples::header() };
        let recording = InMemory { header, tables, items, ..samples::empty() };
        for format in Format::ALL {
            let bytes = samples::exported(format, &recording, Metric::PeakBytes);
            if matches!(format, Format::Json | Format::Firefox | Format::Speedscope | Format::Dhat) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }
    }
}
