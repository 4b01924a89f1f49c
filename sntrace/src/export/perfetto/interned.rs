//! Names, frames and stacks, each written once and known by a number from then on.
//!
//! New ones gather and are written before the packet that refers to them, or when there are many: a
//! packet stays small. Functions that were inlined are frames of their own at one address.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::output::escape;
use crate::symbolize::hash::AddressMap;
use crate::trace::{StackId, Tables};

use super::super::frames::{self, Frames, INHERITED};
use super::messages::{
    Callstack, Frame, InternedData, InternedString, Mapping, NEEDS_STATE, TracePacket,
};
use super::write_packet;

/// Stacks that are written in one packet.
const STACKS_A_PACKET: usize = 1_000;

/// See the module. Numbers are from 1, as 0 means none.
pub struct Interned<'r> {
    tables: &'r Tables,
    new: InternedData,
    names: HashMap<Arc<str>, u64>,
    sources: HashMap<Arc<str>, u64>,
    frames: Frames,
    /// How many frames were written or gathered.
    known_frames: usize,
    stacks: AddressMap<(StackId, bool), u64>,
    inherited: Option<u64>,
}

impl<'r> Interned<'r> {
    /// Of a trace with these tables. Its mappings are the first to be written.
    pub fn new(tables: &'r Tables) -> Self {
        let mut new = InternedData::default();
        let mut limits = vec![1; tables.files.len()];
        for site in &tables.sites {
            if let Some(limit) = site.file.and_then(|file| limits.get_mut(file.0 as usize)) {
                *limit = site.address.saturating_add(1).max(*limit);
            }
        }
        let files = tables
            .files
            .iter()
            .map(|file| (&*file.path, &*file.build_id));
        // Frames without a file need a mapping too: it is the last one.
        let files = files
            .zip(limits)
            .chain([(("[unknown]", &[][..]), u64::MAX)]);
        for (iid, ((path, build_id), limit)) in (1..).zip(files) {
            new.mapping_paths
                .push(string(iid, escape::shown(path).into_bytes()));
            new.build_ids.push(string(iid, build_id.to_vec()));
            new.mappings.push(Mapping {
                iid: Some(iid),
                build_id: Some(iid),
                start: Some(0),
                end: Some(limit),
                path_string_ids: vec![iid],
            });
        }
        Self {
            tables,
            new,
            names: HashMap::new(),
            sources: HashMap::new(),
            frames: Frames::default(),
            known_frames: 0,
            stacks: AddressMap::default(),
            inherited: None,
        }
    }

    /// The number of a stack; of one that inherits, with a frame more that says so.
    pub fn callstack(
        &mut self,
        stack: StackId,
        inherited: bool,
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        if let Some(&known) = self.stacks.get(&(stack, inherited)) {
            return Ok(known);
        }
        if self.new.callstacks.len() >= STACKS_A_PACKET {
            self.write(out)?;
        }
        let mut frame_ids: Vec<_> = frames::outer_to_inner(self.tables, stack)
            .into_iter()
            .map(|frame| self.frame(frame))
            .collect();
        if inherited {
            frame_ids.push(self.inherited_frame());
        }
        let iid = self.stacks.len() as u64 + 1;
        self.new.callstacks.push(Callstack {
            iid: Some(iid),
            frame_ids,
        });
        self.stacks.insert((stack, inherited), iid);
        Ok(iid)
    }

    /// Writes what is new.
    pub fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.new == InternedData::default() {
            return Ok(());
        }
        let packet = TracePacket {
            sequence_flags: Some(NEEDS_STATE),
            interned_data: Some(std::mem::take(&mut self.new)),
            ..TracePacket::default()
        };
        write_packet(out, packet)
    }

    fn frame(&mut self, frame: frames::Frame) -> u64 {
        // Number 1 is the one of blocks that are inherited.
        let number = self.frames.number(frame) as usize;
        let iid = number as u64 + 2;
        if number < self.known_frames {
            return iid;
        }
        self.known_frames = number + 1;
        let (site, level) = frame;
        let name = escape::shown(&self.tables.function_name(site, level));
        let function_name_id = self.name(&name);
        let (source, line) = match self.tables.location(site, level) {
            Some((file, line)) => (Some(self.source(&escape::shown(file))), Some(line)),
            None => (None, None),
        };
        let place = self.tables.site(site);
        let unknown = self.tables.files.len() as u64;
        let mapping = place
            .file
            .map_or(unknown, |file| u64::from(file.0).min(unknown))
            + 1;
        self.new.frames.push(Frame {
            iid: Some(iid),
            function_name_id: Some(function_name_id),
            mapping_id: Some(mapping),
            // The call, not what it returns to.
            rel_pc: Some(place.address.saturating_sub(1)),
            source_path_iid: source,
            line_number: line,
        });
        iid
    }

    fn inherited_frame(&mut self) -> u64 {
        const IID: u64 = 1;
        if self.inherited.is_none() {
            let name = self.name(INHERITED);
            self.inherited = Some(name);
            self.new.frames.push(Frame {
                iid: Some(IID),
                function_name_id: Some(name),
                mapping_id: Some(self.tables.files.len() as u64 + 1),
                rel_pc: Some(0),
                source_path_iid: None,
                line_number: None,
            });
        }
        IID
    }

    fn name(&mut self, name: &str) -> u64 {
        intern(&mut self.names, &mut self.new.function_names, name)
    }

    fn source(&mut self, path: &str) -> u64 {
        intern(&mut self.sources, &mut self.new.source_paths, path)
    }
}

fn intern(known: &mut HashMap<Arc<str>, u64>, new: &mut Vec<InternedString>, text: &str) -> u64 {
    if let Some(&iid) = known.get(text) {
        return iid;
    }
    let iid = known.len() as u64 + 1;
    known.insert(text.into(), iid);
    new.push(string(iid, text.as_bytes().to_vec()));
    iid
}

fn string(iid: u64, bytes: Vec<u8>) -> InternedString {
    InternedString {
        iid: Some(iid),
        str: Some(bytes),
    }
}
