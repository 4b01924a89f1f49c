//! A recorded trace for the tests of this folder, with all that is hard about one.
//!
//! [`Recorder`] plays allocator and model in the simplest way: tests say who calls what, it works
//! out addresses, what was released and what was temporary.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::symbolize::Frame;
use crate::trace::{
    Certificate, Cost, Event, Exit, FileNumber, Header, ImageId, Item, Module, NotFollowed, Op,
    Recorded, Recording, Site, SiteId, StackId, StackTable, Tables, TraceError, TracedFile,
};

/// A trace in memory.
#[derive(Clone, Debug)]
pub struct InMemory {
    pub header: Header,
    pub tables: Tables,
    pub certificate: Certificate,
    pub recorded: Recorded,
    pub items: Vec<Item>,
}

impl Recording for InMemory {
    fn header(&self) -> &Header {
        &self.header
    }
    fn tables(&self) -> &Tables {
        &self.tables
    }
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }
    fn recorded(&self) -> &Recorded {
        &self.recorded
    }
    fn generator(&self) -> &str {
        "sntrace 0.0.0"
    }
    fn replay(&self, each: &mut dyn FnMut(&Item)) -> Result<(), TraceError> {
        self.items.iter().for_each(each);
        Ok(())
    }
}

/// An event of a call of 8 bytes at `main`, in image 1.
pub fn event(op: Op, size: u64) -> Event {
    Event {
        op,
        time_ns: 1_000,
        image: ImageId(1),
        tid: 101,
        block: 0x5500_0000_1000,
        size,
        count: 1,
        alignment: 0,
        old_block: 0,
        caller: 0,
        frames: (0, 0),
        stack: StackId(1),
        truncated: false,
        released: None,
        temporary: false,
    }
}

#[derive(Clone, Copy, Debug)]
struct Live {
    bytes: u64,
    tid: u32,
    serial: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recorder {
    items: Vec<Item>,
    live: BTreeMap<ImageId, BTreeMap<u64, Live>>,
    serials: BTreeMap<(ImageId, u32), u64>,
    next_block: u64,
    time_ns: u64,
    events: u64,
}

impl Recorder {
    fn tick(&mut self) -> u64 {
        self.time_ns += 20_000_011;
        self.time_ns
    }

    pub fn process(&mut self, image: u32, pid: u32, forked_from: Option<u32>, command: &[&str]) {
        let time_ns = self.tick();
        if let Some(parent) = forked_from {
            let blocks = self.live[&ImageId(parent)].clone();
            self.live.insert(ImageId(image), blocks);
        } else {
            self.live.insert(ImageId(image), BTreeMap::new());
        }
        self.items.push(Item::Process {
            image: ImageId(image),
            time_ns,
            pid,
            ppid: 1,
            forked_from: forked_from.map(ImageId),
            executable: b"/usr/bin/pro\xffgram".to_vec(),
            command: command.iter().map(|word| word.as_bytes().into()).collect(),
        });
        self.items.push(Item::ModuleAdd {
            image: ImageId(image),
            module: Module {
                start: 0x5500_0000_0000,
                end: 0x5500_0001_0000,
                bias: 0x5500_0000_0000,
                device: 1,
                inode: 2,
                build_id: vec![0x0a, 0xff],
                path: b"/usr/bin/pro\xffgram".to_vec(),
            },
        });
    }

    /// A call; `given` is the block that is released, `fails` leaves it as it was. Returns the block.
    pub fn call(
        &mut self,
        (image, tid): (u32, u32),
        op: Op,
        size: u64,
        given: u64,
        stack: StackId,
        fails: bool,
    ) -> u64 {
        let image = ImageId(image);
        let mut event = Event {
            op,
            time_ns: self.tick(),
            image,
            tid,
            stack,
            count: if op == Op::Calloc { 3 } else { 1 },
            ..self::event(op, size)
        };
        event.old_block = if op.replaces() { given } else { 0 };
        event.block = if op.only_releases() { given } else { 0 };
        self.events += 1;
        let serial = self.serials.entry((image, tid)).or_default();
        let blocks = self.live.get_mut(&image).unwrap();
        if !fails
            && !op.is_mapping()
            && let Some(old) = blocks.remove(&given)
        {
            event.released = Some(old.bytes);
            event.temporary = old.tid == tid && old.serial == *serial;
        }
        if !fails && op.acquires() {
            self.next_block += 0x100;
            event.block = 0x5500_1000_0000 + self.next_block;
            if !op.is_mapping() {
                *serial += 1;
                let new = Live {
                    bytes: event.bytes(),
                    tid,
                    serial: *serial,
                };
                blocks.insert(event.block, new);
            }
        }
        self.items.push(Item::Event(event));
        event.block
    }

    pub fn end(&mut self, image: u32, exit: Exit) {
        let blocks = self.live.remove(&ImageId(image)).unwrap();
        self.items.push(Item::Ended {
            image: ImageId(image),
            exit,
            live_blocks: blocks.len() as u64,
            live_bytes: blocks.values().map(|live| live.bytes).sum(),
        });
    }
}

/// Sites and stacks that are named in all the ways that there are.
pub fn tables() -> (Tables, BTreeMap<&'static str, StackId>) {
    let frame = |name: &str, line: u32| Frame {
        function: Some(name.into()),
        file: (line > 0).then(|| "/src/dir with space/a;b.c".into()),
        line: (line > 0).then_some(line),
    };
    let site = |file: Option<u32>, address, functions: &[Frame]| Site {
        file: file.map(FileNumber),
        address,
        functions: functions.into(),
    };
    let sites = vec![
        Site::default(),
        site(Some(0), 0x1010, &[frame("main", 10)]),
        site(
            Some(0),
            0x1020,
            &[frame("inner<int>(int)", 21), frame("load;two words", 22)],
        ),
        site(
            Some(0),
            0x1030,
            &[frame(
                "std::vector<int, std::allocator<int> >::push_back(int&&)",
                31,
            )],
        ),
        site(Some(1), 0x2010, &[frame("operator new(unsigned long)", 0)]),
        site(
            Some(0),
            0x1040,
            &[frame("evil\x1b[31m\"quoted\"\n\u{202e}#1, name", 41)],
        ),
        site(Some(1), 0x2020, &[]),
        site(None, 0x7000, &[]),
        site(Some(0), 0x1018, &[frame("main", 11)]),
        site(Some(0), 0x1050, &[frame("main::{lambda(int)#1}", 51)]),
    ];
    let mut stacks = StackTable::default();
    let mut named = BTreeMap::new();
    for (name, frames) in [
        ("main", &[1][..]),
        ("load", &[2, 1]),
        ("push", &[4, 3, 2, 1]),
        ("evil", &[5, 8]),
        ("unnamed", &[6, 1]),
        ("nowhere", &[7]),
        ("cut", &[9, 0]),
        ("deep", &[2, 9, 5, 2, 8]),
    ] {
        let stack = frames.iter().rev().fold(StackId::EMPTY, |outer, &site| {
            stacks.intern(outer, SiteId(site))
        });
        named.insert(name, stack);
    }
    named.insert("none", StackId::EMPTY);
    let tables = Tables {
        files: vec![
            TracedFile {
                path: "/usr/bin/pro\\xffgram".into(),
                build_id: vec![0x0a, 0xff],
            },
            TracedFile {
                path: "/usr/lib/libstdc++.so.6".into(),
                build_id: Vec::new(),
            },
        ],
        sites,
        stacks,
    };
    (tables, named)
}

pub fn header() -> Header {
    Header {
        command: vec!["./program".into(), "an \"arg\x1b[1m".into(), String::new()],
        os: "linux".into(),
        arch: "x86_64".into(),
        started: "2026-11-22T20:38:53.000001Z".into(),
    }
}

/// Three processes (one forked, which then runs another program), three threads, every kind of stack,
/// failed calls, reallocs, releases by others, leaks, temporaries, mappings.
pub fn recording() -> InMemory {
    let (tables, stacks) = tables();
    let stack = |name: &str| stacks[name];
    let mut on = Recorder::default();
    let (one, other) = ((1, 100), (1, 101));
    on.process(1, 100, None, &["./program", "an \"arg"]);
    let kept = on.call(one, Op::Malloc, 100, 0, stack("main"), false);
    on.call(one, Op::Malloc, 5_000, 0, stack("load"), false);
    let pushed = on.call(one, Op::Malloc, 64, 0, stack("push"), false);
    // Temporary, by the operator and by malloc.
    on.call(one, Op::Free, 0, pushed, stack("push"), false);
    let brief = on.call(other, Op::Calloc, 40, 0, stack("evil"), false);
    on.call(other, Op::Free, 0, brief, stack("none"), false);
    // Allocated by one thread, released by another.
    let handed = on.call(one, Op::New, 700, 0, stack("deep"), false);
    on.call(other, Op::Delete, 0, handed, stack("load"), false);
    on.call(one, Op::Malloc, u64::MAX / 2, 0, stack("unnamed"), true);
    let grown = on.call(one, Op::Realloc, 300, kept, stack("unnamed"), false);
    on.call(one, Op::Realloc, 1 << 60, grown, stack("unnamed"), true);
    let grown = on.call(one, Op::Realloc, 900, grown, stack("unnamed"), false);
    on.call(one, Op::Mmap, 4096, 0, stack("main"), false);
    on.call(other, Op::Malloc, 33, 0, stack("nowhere"), false);
    on.call(other, Op::Malloc, 0, 0, stack("cut"), false);
    // A block from before tracing.
    on.call(one, Op::Free, 0, 0x1234, stack("main"), false);
    on.process(2, 200, Some(1), &["./program", "an \"arg"]);
    let child = (2, 200);
    on.call(child, Op::Free, 0, grown, stack("load"), false);
    on.call(child, Op::Malloc, 2_000, 0, stack("evil"), false);
    on.end(2, Exit::Exec);
    on.process(3, 200, None, &["sh", "-c", "x; y"]);
    on.call((3, 200), Op::Malloc, 77, 0, stack("none"), false);
    on.process(4, 300, Some(1), &["./program", "an \"arg"]);
    let memory = on.call(one, Op::Malloc, 9_000, 0, stack("push"), false);
    on.call((4, 300), Op::Free, 0, 0x9876, stack("main"), false);
    on.end(4, Exit::Signal(9));
    on.call(one, Op::Free, 0, memory, stack("push"), false);
    on.end(3, Exit::Code(1));
    on.call(one, Op::AlignedAlloc, 512, 0, stack("deep"), false);
    on.end(1, Exit::Code(0));
    InMemory {
        header: header(),
        tables,
        certificate: Certificate {
            events: on.events,
            truncated_stacks: 1,
            unnamed_sites: 2,
            not_followed: vec![NotFollowed {
                program: "/bin/\x1bstatic".into(),
                reason: "it is static".into(),
                times: 1,
            }],
            cost: Cost {
                wall_ns: on.time_ns,
                ..Cost::default()
            },
            complete: true,
            ..Certificate::default()
        },
        recorded: Recorded {
            mappings: true,
            ..Recorded::default()
        },
        items: on.items,
    }
}

/// A run in which nothing was allocated.
pub fn empty() -> InMemory {
    let mut on = Recorder::default();
    on.process(1, 100, None, &["true"]);
    on.end(1, Exit::Code(0));
    InMemory {
        header: header(),
        tables: Tables {
            sites: vec![Site {
                functions: Arc::default(),
                ..Site::default()
            }],
            ..Tables::default()
        },
        certificate: Certificate {
            complete: true,
            ..Certificate::default()
        },
        recorded: Recorded::default(),
        items: on.items,
    }
}

/// A trace of one process that neither forks nor runs another program.
pub fn plain() -> InMemory {
    let (tables, stacks) = tables();
    let mut on = Recorder::default();
    on.process(1, 100, None, &["./program"]);
    let mut last = 0;
    for (at, (_, &stack)) in stacks.iter().enumerate() {
        let size = 100 * (at as u64 + 1);
        let block = on.call((1, 100), Op::Malloc, size, 0, stack, false);
        if at % 3 == 1 {
            on.call((1, 100), Op::Free, 0, block, stack, false);
        } else if at % 3 == 2 {
            last = on.call((1, 100), Op::Realloc, size * 2, last, stack, false);
        } else {
            last = block;
        }
    }
    on.end(1, Exit::Code(0));
    InMemory {
        items: on.items,
        tables,
        ..empty()
    }
}

/// The totals of a trace, as a report has them.
pub fn summary(recording: &dyn Recording) -> crate::output::Summary {
    let mut summary = crate::output::Summary::default();
    recording.replay(&mut |item| summary.item(item)).unwrap();
    summary
}

/// An export of it.
pub fn exported(
    format: super::Format,
    recording: &dyn Recording,
    metric: super::Metric,
) -> Vec<u8> {
    let mut out = Vec::new();
    let options = super::ExportOptions { metric };
    super::export(format, recording, &options, &mut out).unwrap();
    out
}
