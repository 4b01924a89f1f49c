//! What the tests of this folder write and where to.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::{Call, Process, Writer};
use crate::trace::Header;
use crate::trace::{Event, ImageId, Module, Op};

/// A destination that the test keeps a hand on.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn writer(&self) -> Writer {
        Writer::new("a test's buffer".into(), self.clone())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn process() -> Process {
    Process {
        image: ImageId(1),
        time_ns: 0,
        pid: 1234,
        ppid: 1000,
        forked_from: None,
        executable: "/usr/bin/program".into(),
        command: vec!["./program".into(), "an \"arg\"".into()],
    }
}

pub fn header() -> Header {
    Header {
        command: vec!["./program".into()],
        os: "linux".into(),
        arch: "x86_64".into(),
        started: "2026-11-22T20:38:53Z".into(),
    }
}

pub fn module() -> Module {
    Module {
        start: 0x5565_2827_0000,
        end: 0x5565_2829_0000,
        bias: 0x5565_2827_0000,
        device: 1,
        inode: 2,
        build_id: vec![0x0a, 0xff],
        path: b"/usr/bin/pro\xffgram".to_vec(),
    }
}

pub fn event(op: Op) -> Event {
    Event {
        op,
        time_ns: 1_500,
        image: ImageId(1),
        tid: 1235,
        block: 0x5565_282b_12a0,
        size: if op == Op::Brk {
            (-4096_i64).cast_unsigned()
        } else {
            72
        },
        count: if matches!(op, Op::Calloc | Op::Reallocarray) {
            3
        } else {
            1
        },
        alignment: match op {
            Op::AlignedAlloc
            | Op::PosixMemalign
            | Op::Memalign
            | Op::FreeAlignedSized
            | Op::NewAligned
            | Op::NewArrayAligned
            | Op::DeleteAligned
            | Op::DeleteArrayAligned => 64,
            // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS.
            Op::Mmap => 3 | 0x22 << 32,
            _ => 0,
        },
        old_block: if op.replaces() { 0x5565_282b_1000 } else { 0 },
        caller: 0x5565_2827_7777,
        frames: (0, 0),
        stack: crate::trace::StackId::EMPTY,
        truncated: false,
        released: None,
        temporary: false,
    }
}

pub fn one_of_each() -> impl Iterator<Item = Event> {
    Op::ALL
        .iter()
        .filter(|op| op.is_call())
        .map(|&op| event(op))
}

pub fn call(op: Op) -> Call<'static> {
    Call {
        name: "rt_arena_create_sized",
        function: Some("rt_arena_create_sized"),
        module: Some("/usr/lib/libarena.so.1"),
        location: Some(("/build/src/arena.c", 123)),
        address: 0x5565_2827_9139,
        file_address: 0x9139,
        op,
        site: 0,
    }
}

/// Text without its colour sequences, `ESC [ digits m`.
pub fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap().to_string();
    for part in parts {
        plain.push_str(part.split_once('m').unwrap().1);
    }
    plain
}
