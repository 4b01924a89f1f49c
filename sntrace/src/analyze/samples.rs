//! Traces made by hand, for the tests of this folder and of the report.

use std::collections::HashMap;
use std::sync::Arc;

use crate::symbolize::Frame;
use crate::trace::{
    Certificate, Event, Exit, FileNumber, Header, ImageId, Item, Op, Recorded, Recording, Site,
    SiteId, StackId, Tables, TraceError, TracedFile,
};

/// A trace in memory.
#[derive(Clone, Debug)]
pub struct Made {
    pub header: Header,
    pub tables: Tables,
    pub certificate: Certificate,
    pub recorded: Recorded,
    pub items: Vec<Item>,
}

impl Recording for Made {
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

/// Makes a trace item by item. Works out what events release as the collector does.
#[derive(Clone, Debug, Default)]
pub struct Maker {
    tables: Tables,
    sites: HashMap<String, SiteId>,
    items: Vec<Item>,
    time_ns: u64,
    /// Bytes, thread and that thread's allocations so far, of each live block.
    live: HashMap<(ImageId, u64), (u64, u32, u64)>,
    serials: HashMap<(ImageId, u32), u64>,
    images: Vec<ImageId>,
}

impl Maker {
    /// A stack, inner to outer. Each frame is `function`, or `inlined < function`, each with
    /// ` @file:line` where it has one and the last with ` in module`.
    pub fn stack(&mut self, frames: &[&str]) -> StackId {
        let mut stack = StackId::EMPTY;
        for frame in frames.iter().rev() {
            let site = self.site(frame);
            stack = self.tables.stacks.intern(stack, site);
        }
        stack
    }

    fn site(&mut self, text: &str) -> SiteId {
        if self.tables.sites.is_empty() {
            self.tables.sites.push(Site::default());
        }
        if text == "[truncated]" {
            return SiteId::TRUNCATED;
        }
        if let Some(&site) = self.sites.get(text) {
            return site;
        }
        let (functions, module) = text.split_once(" in ").unwrap_or((text, "/usr/bin/app"));
        let file = self.file(module);
        let number = self.tables.sites.len() as u32;
        let frame = |text: &str| {
            let (function, place) = text.split_once(" @").unwrap_or((text, ""));
            let place = place.rsplit_once(':');
            Frame {
                function: Some(function.into()),
                file: place.map(|(file, _)| file.into()),
                line: place.and_then(|(_, line)| line.parse().ok()),
            }
        };
        self.tables.sites.push(Site {
            file: Some(file),
            address: 0x1000 + u64::from(number) * 0x10,
            functions: match functions {
                "?" => Arc::default(),
                _ => functions.split(" < ").map(frame).collect(),
            },
        });
        self.sites.insert(text.into(), SiteId(number));
        SiteId(number)
    }

    fn file(&mut self, path: &str) -> FileNumber {
        let files = &mut self.tables.files;
        let known = files.iter().position(|file| file.path == path);
        let at = known.unwrap_or_else(|| {
            files.push(TracedFile {
                path: path.into(),
                build_id: Vec::new(),
            });
            files.len() - 1
        });
        FileNumber(at as u32)
    }

    /// The tables as they are now.
    pub fn tables(&self) -> Tables {
        self.tables.clone()
    }

    /// Lets time pass.
    pub fn wait(&mut self, nanoseconds: u64) -> &mut Self {
        self.time_ns += nanoseconds;
        self
    }

    /// A process begins.
    pub fn begin(&mut self, image: u32, forked_from: Option<u32>) -> &mut Self {
        self.images.push(ImageId(image));
        self.items.push(Item::Process {
            image: ImageId(image),
            time_ns: self.time_ns,
            pid: image.wrapping_add(100),
            ppid: forked_from.unwrap_or(0).wrapping_add(100),
            forked_from: forked_from.map(ImageId),
            executable: b"/usr/bin/app".to_vec(),
            command: vec![b"app".to_vec(), b"--fast".to_vec()],
        });
        self
    }

    /// A process ends.
    pub fn end(&mut self, image: u32, exit: Exit) -> &mut Self {
        let image = ImageId(image);
        let (mut live_blocks, mut live_bytes) = (0, 0);
        self.live.retain(|&(owner, _), block| {
            let its = owner == image;
            live_blocks += u64::from(its);
            live_bytes += if its { block.0 } else { 0 };
            !its
        });
        self.images.retain(|&running| running != image);
        self.items.push(Item::Ended {
            image,
            exit,
            live_blocks,
            live_bytes,
        });
        self
    }

    /// An event of image 1 and thread 1, at `stack`; `change` makes it what it is to be.
    pub fn call(&mut self, op: Op, stack: StackId, change: impl FnOnce(&mut Event)) -> &mut Self {
        self.time_ns += 10;
        let mut event = Event {
            op,
            time_ns: self.time_ns,
            image: ImageId(1),
            tid: 1,
            block: 0,
            size: 0,
            count: 1,
            alignment: 0,
            old_block: 0,
            caller: 0,
            frames: (0, 0),
            stack,
            truncated: false,
            released: None,
            temporary: false,
        };
        change(&mut event);
        let serial = self.serials.entry((event.image, event.tid)).or_default();
        let before = *serial;
        let freed_by_zero = op == Op::Realloc && event.block == 0 && event.size == 0;
        let given_back = match op {
            _ if op.is_mapping() => 0,
            _ if op.only_releases() => event.block,
            _ if event.block != 0 || freed_by_zero => event.old_block,
            _ => 0,
        };
        let released = self.live.remove(&(event.image, given_back));
        event.released = released.map(|block| block.0);
        if event.allocated() && !op.is_mapping() {
            *serial += 1;
            let block = (event.bytes(), event.tid, *serial);
            self.live.insert((event.image, event.block), block);
        } else {
            event.temporary =
                released.is_some_and(|block| (block.1, block.2) == (event.tid, before));
        }
        self.items.push(Item::Event(event));
        self
    }

    /// `malloc(size) = block`.
    pub fn malloc(&mut self, stack: StackId, block: u64, size: u64) -> &mut Self {
        self.call(Op::Malloc, stack, |event| {
            (event.block, event.size) = (block, size);
        })
    }

    /// `free(block)`.
    pub fn free(&mut self, stack: StackId, block: u64) -> &mut Self {
        self.call(Op::Free, stack, |event| event.block = block)
    }

    /// `realloc(old, size) = block`.
    pub fn realloc(&mut self, stack: StackId, old: u64, block: u64, size: u64) -> &mut Self {
        self.call(Op::Realloc, stack, |event| {
            (event.old_block, event.block, event.size) = (old, block, size);
        })
    }

    /// The trace; image 1 is its first process, unless another one began it.
    pub fn make(&self) -> Made {
        let mut items = self.items.clone();
        if !matches!(items.first(), Some(Item::Process { .. })) {
            let mut first = Maker::default();
            first.begin(1, None);
            items.splice(0..0, first.items);
        }
        let is_event = |item: &&Item| matches!(item, Item::Event(_));
        Made {
            header: Header {
                command: vec!["./app".into(), "--fast".into()],
                os: "linux".into(),
                arch: "x86_64".into(),
                started: "2026-11-22T20:38:53.123456Z".into(),
            },
            tables: self.tables.clone(),
            certificate: Certificate {
                events: items.iter().filter(is_event).count() as u64,
                complete: true,
                ..Certificate::default()
            },
            recorded: Recorded::default(),
            items,
        }
    }
}
