//! Whole trace files, as they are written, read, cut, damaged and shown.

mod damage;
mod golden;
mod round_trip;

use std::sync::Arc;

use super::{TraceFile, TraceWriter};
use crate::symbolize::Frame;
use crate::trace::{
    Certificate, Event, Exit, FileNumber, Header, ImageId, Item, Module, Op, Recorded,
    Recording as _, SiteId, StackId, StackNode, TraceError, TracedFile,
};

/// Events that a test begins with: of one image and one thread.
const MALLOC: Event = Event {
    op: Op::Malloc,
    time_ns: 100,
    image: ImageId(1),
    tid: 700,
    block: 0x5555_0010,
    size: 24,
    count: 1,
    alignment: 0,
    old_block: 0,
    caller: 0,
    frames: (0, 0),
    stack: StackId(2),
    truncated: false,
    released: None,
    temporary: false,
};

fn header() -> Header {
    Header {
        command: vec!["program".into(), "--flag\n".into()],
        os: "linux".into(),
        arch: "x86_64".into(),
        started: "2026-11-22T20:38:53.123456Z".into(),
    }
}

fn frame(function: &str, line: Option<u32>) -> Frame {
    Frame {
        function: Some(function.into()),
        file: line.map(|_| "/src/a.c".into()),
        line,
    }
}

/// A writer with a file, two sites, and stacks 1 to 3, of which the last is truncated.
fn begun() -> TraceWriter<Vec<u8>> {
    let mut writer = TraceWriter::new(Vec::new(), &header(), &Recorded::default()).unwrap();
    let file = TracedFile {
        path: "/bin/program".into(),
        build_id: vec![0xab, 0xcd],
    };
    writer.define_file(&file).unwrap();
    writer.define_site(Some(FileNumber(0)), 0x1234).unwrap();
    writer.define_site(None, 0x7fff_0000).unwrap();
    for (parent, site) in [(0, 1), (1, 2), (0, 0)] {
        let node = StackNode {
            parent: StackId(parent),
            site: SiteId(site),
        };
        writer.define_stack(node).unwrap();
    }
    writer
}

fn symbols() -> [Arc<[Frame]>; 3] {
    [
        [].into(),
        [frame("inner", Some(7)), frame("main", Some(70))].into(),
        [frame("main", None)].into(),
    ]
}

/// A small trace with something of everything, in two event chunks.
fn small() -> Vec<u8> {
    let mut writer = begun();
    let image = ImageId(1);
    let module = Module {
        start: 0x5000,
        end: 0x9000,
        bias: 0x4000,
        device: 1,
        inode: 2,
        build_id: vec![0xab, 0xcd],
        path: b"/bin/program".to_vec(),
    };
    let first = [
        Item::Process {
            image,
            time_ns: 90,
            pid: 700,
            ppid: 1,
            forked_from: None,
            executable: b"/bin/program".to_vec(),
            command: vec![b"program".to_vec(), b"--flag\n".to_vec()],
        },
        Item::ModuleAdd { image, module },
        Item::Event(MALLOC),
        Item::Event(Event {
            op: Op::Realloc,
            time_ns: 150,
            block: 0x5555_0040,
            old_block: 0x5555_0010,
            size: 4000,
            stack: StackId(1),
            ..MALLOC
        }),
    ];
    let second = [
        Item::LoaderCalled { image, epoch: 2 },
        Item::Event(Event {
            op: Op::PosixMemalign,
            time_ns: 1_000_000,
            block: 0x5555_2000,
            size: 100,
            alignment: 64,
            stack: StackId(3),
            ..MALLOC
        }),
        Item::Event(Event {
            op: Op::Free,
            time_ns: 1_000_020,
            block: 0x5555_2000,
            size: 0,
            stack: StackId::EMPTY,
            ..MALLOC
        }),
        Item::Event(Event {
            op: Op::Calloc,
            time_ns: 1_000_300,
            block: 0,
            size: u64::MAX,
            count: 3,
            ..MALLOC
        }),
        Item::Exec {
            image,
            pid: 700,
            path: b"/bin/other".to_vec(),
        },
        Item::ModuleRemove {
            image,
            start: 0x5000,
        },
        Item::Ended {
            image,
            exit: Exit::Exec,
            live_blocks: 1,
            live_bytes: 4000,
        },
    ];
    for item in &first {
        writer.item(item).unwrap();
    }
    writer.flush().unwrap();
    for item in &second {
        writer.item(item).unwrap();
    }
    let certificate = Certificate {
        truncated_stacks: 1,
        ..Certificate::default()
    };
    writer.finish(&symbols(), &certificate).unwrap()
}

fn open(bytes: &[u8]) -> Result<TraceFile, TraceError> {
    TraceFile::from_bytes("a.snt", bytes.to_vec())
}

fn items(file: &TraceFile) -> (Vec<Item>, Result<(), TraceError>) {
    let mut items = Vec::new();
    let result = file.replay(&mut |item| items.push(item.clone()));
    (items, result)
}
