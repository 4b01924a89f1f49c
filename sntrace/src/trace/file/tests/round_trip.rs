//! What is written is what is read: items, tables, and what events released.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::trace::live::{Block, LiveBlocks};
use crate::trace::{Ownership, Tables};

/// What an event released and whether it was temporary, worked out as the collector does it.
#[derive(Default)]
struct Reference {
    live: HashMap<ImageId, LiveBlocks>,
    serials: HashMap<(ImageId, u32), u32>,
}

impl Reference {
    fn complete(&mut self, item: &mut Item) {
        let event = match item {
            Item::Event(event) => event,
            Item::Ended { image, .. } => {
                self.live.remove(image);
                self.serials.retain(|&(its, _), _| its != *image);
                return;
            }
            _ => return,
        };
        let owners = Ownership::of(event.op, event.block, event.size, event.old_block);
        let live = self.live.entry(event.image).or_default();
        let serial = self.serials.entry((event.image, event.tid)).or_default();
        let before = *serial;
        let released = match owners.given_back {
            0 => None,
            address => live.end(address),
        };
        if owners.obtained != 0 {
            *serial += 1;
            live.end(owners.obtained);
            let block = Block {
                bytes: event.bytes(),
                thread: event.tid,
                serial: *serial,
            };
            live.begin(owners.obtained, block);
        }
        event.released = released.map(|block| block.bytes);
        event.temporary = owners.ends_temporary(released, event.tid, before);
        // In the tables of these tests.
        event.truncated = event.stack == StackId(3);
    }
}

fn is_event(op: &Op) -> bool {
    !matches!(op, Op::Pad | Op::Control)
}

/// Few addresses, so that they are met again: also twice in a row, and never obtained.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        8 => (0..24_u64).prop_map(|at| 0x5555_0000 + at * 48),
        1 => (0..9_u64).prop_map(|at| 0x7fff_0000_0000 + at),
        1 => any::<u64>(),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..3000_u64,
        1 => Just(u64::MAX),
        1 => Just(u64::MAX - 1),
        1 => Just(u64::MAX - 2),
        1 => any::<u64>(),
    ]
}

fn event() -> impl Strategy<Value = Item> {
    let op = proptest::sample::select(Op::ALL.iter().copied().filter(is_event).collect::<Vec<_>>());
    let who = (1..4_u32, 700..703_u32, 0..4_u32);
    let time = prop_oneof![9 => 0..2000_u64, 1 => any::<u64>()];
    let numbers = (number(), number(), number());
    (op, who, time, address(), address(), numbers).prop_map(
        |(op, (image, tid, stack), time_ns, block, old_block, (size, count, alignment))| {
            let has_count = matches!(op, Op::Calloc | Op::Reallocarray);
            let has_alignment = op.operands() == 1 && op != Op::Calloc;
            Item::Event(Event {
                op,
                time_ns,
                image: ImageId(image),
                tid,
                block,
                size: if op == Op::Free { 0 } else { size },
                count: if has_count { count } else { 1 },
                alignment: if has_alignment { alignment } else { 0 },
                old_block: if op.replaces() { old_block } else { 0 },
                stack: StackId(stack),
                ..MALLOC
            })
        },
    )
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..9)
}

fn other() -> impl Strategy<Value = Item> {
    let image = (1..4_u32).prop_map(ImageId);
    let exit = prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal),
        Just(Exit::Exec),
        Just(Exit::Unknown),
    ];
    let module = (any::<[u64; 5]>(), bytes(), bytes()).prop_map(
        |([start, end, bias, device, inode], build_id, path)| Module {
            start,
            end,
            bias,
            device,
            inode,
            build_id,
            path,
        },
    );
    let command = proptest::collection::vec(bytes(), 0..4);
    let forked_from = proptest::option::of((1..4_u32).prop_map(ImageId));
    prop_oneof![
        (
            image.clone(),
            any::<(u64, u32, u32)>(),
            forked_from,
            bytes(),
            command
        )
            .prop_map(
                |(image, (time_ns, pid, ppid), forked_from, executable, command)| Item::Process {
                    image,
                    time_ns,
                    pid,
                    ppid,
                    forked_from,
                    executable,
                    command,
                }
            ),
        (image.clone(), module).prop_map(|(image, module)| Item::ModuleAdd { image, module }),
        (image.clone(), any::<u64>())
            .prop_map(|(image, start)| Item::ModuleRemove { image, start }),
        (image.clone(), any::<u32>())
            .prop_map(|(image, epoch)| Item::LoaderCalled { image, epoch }),
        (image.clone(), any::<u32>(), bytes()).prop_map(|(image, pid, path)| Item::Exec {
            image,
            pid,
            path
        }),
        (image, exit, any::<(u64, u64)>()).prop_map(|(image, exit, (live_blocks, live_bytes))| {
            Item::Ended {
                image,
                exit,
                live_blocks,
                live_bytes,
            }
        }),
    ]
}

proptest! {
    #[test]
    fn items_read_as_they_were_written(
        mut written in proptest::collection::vec(prop_oneof![12 => event(), 1 => other()], 0..300),
        flushes in proptest::collection::vec(0..300_usize, 0..3),
    ) {
        let mut writer = begun();
        for (at, item) in written.iter().enumerate() {
            if flushes.contains(&at) {
                writer.flush().unwrap();
            }
            writer.item(item).unwrap();
        }
        let events = writer.events();
        let file = open(&writer.finish(&symbols(), &Certificate::default()).unwrap()).unwrap();
        let mut reference = Reference::default();
        for item in &mut written {
            reference.complete(item);
        }
        for _ in 0..2 {
            let (read, result) = items(&file);
            prop_assert!(result.is_ok());
            prop_assert_eq!(&read, &written);
        }
        prop_assert_eq!(file.certificate().events, events);
    }

    #[test]
    fn tables_read_as_they_were_written(
        files in proptest::collection::vec((".{0,20}", bytes()), 1..20),
        sites in proptest::collection::vec((any::<u32>(), any::<u64>(), 0..4_usize), 0..60),
        nodes in proptest::collection::vec(any::<(u32, u32)>(), 0..200),
    ) {
        let mut writer = TraceWriter::new(Vec::new(), &header(), &Recorded::default()).unwrap();
        let mut tables = Tables { sites: vec![Default::default()], ..Tables::default() };
        for (path, build_id) in files {
            tables.files.push(TracedFile { path, build_id });
            writer.define_file(tables.files.last().unwrap()).unwrap();
        }
        let names = symbols();
        let mut symbols = vec![names[0].clone()];
        for (file, address, name) in sites {
            let file = file as usize % (tables.files.len() + 1);
            let file = file.checked_sub(1).map(|file| FileNumber(file as u32));
            writer.define_site(file, address).unwrap();
            symbols.push(names[name % 3].clone());
            tables.sites.push(crate::trace::Site {
                file,
                address,
                functions: names[name % 3].clone(),
            });
        }
        for (parent, site) in nodes {
            let before = tables.stacks.len();
            let parent = StackId(parent % before as u32);
            let site = SiteId(site % tables.sites.len() as u32);
            tables.stacks.intern(parent, site);
            if tables.stacks.len() > before {
                writer.define_stack(StackNode { parent, site }).unwrap();
            }
        }
        let file = open(&writer.finish(&symbols, &Certificate::default()).unwrap()).unwrap();
        prop_assert_eq!(&file.tables().files, &tables.files);
        prop_assert_eq!(&file.tables().sites, &tables.sites);
        prop_assert_eq!(file.tables().stacks.nodes(), tables.stacks.nodes());
    }
}

#[test]
fn chunks_follow_each_other_without_a_seam() {
    // Several full chunks, and more blocks live at their seams than a lane remembers.
    let mut writer = begun();
    let mut written = Vec::new();
    let mut slots = [0_u64; 500];
    let mut state = 1_u64;
    let mut top = 0x5555_0000;
    for time_ns in 0..200_000 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let slot = &mut slots[(state >> 33) as usize % 500];
        let mut event = Event { time_ns, ..MALLOC };
        if *slot == 0 {
            top += 64;
            *slot = top;
        } else {
            (event.op, event.size) = (Op::Free, 0);
        }
        event.block = *slot;
        if event.op == Op::Free {
            *slot = 0;
        }
        let item = Item::Event(event);
        writer.item(&item).unwrap();
        written.push(item);
    }
    assert!(
        writer.bytes_written() > 1000,
        "chunks are written meanwhile"
    );
    let bytes = writer.finish(&symbols(), &Certificate::default()).unwrap();
    assert!(bytes.len() < written.len() * 6);
    let file = open(&bytes).unwrap();
    let mut reference = Reference::default();
    written.iter_mut().for_each(|item| reference.complete(item));
    let (read, result) = items(&file);
    result.unwrap();
    // Not by `assert_eq`, which would print all of them.
    assert!(read == written);
}

#[test]
fn an_event_that_no_run_has_is_refused() {
    let event = Event {
        op: Op::Control,
        ..MALLOC
    };
    let refused = begun().item(&Item::Event(event)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}
