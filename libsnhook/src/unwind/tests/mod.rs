//! Tests of the unwinder against other readers of the same bytes, and on live stacks.
//!
//! | file | against what |
//! |---|---|
//! | `rows` | gimli's own tables and `readelf --debug-dump=frames-interp`, over whole libraries |
//! | `live` | the platform's unwinder, on this process: calls, callbacks, threads, signals |
//! | `synthetic` | stacks written by hand: frame pointers, foreign stacks, musl's signal return |
//! | `malformed` | nothing: broken bytes must not panic, loop or read outside |
//!
//! Files of the machine that are missing (another distribution) are skipped with a note.

mod live;
mod malformed;
mod rows;
mod synthetic;

use object::{Object as _, ObjectSection as _};

use super::cfi::{EhFrame, Mapped};

/// The two sections of a file at the addresses that the file gives them.
struct Sections {
    hdr: (u64, Vec<u8>),
    frames: (u64, Vec<u8>),
}

impl Sections {
    fn of(path: &str) -> Option<Sections> {
        let Ok(bytes) = std::fs::read(path) else {
            eprintln!("skipped: {path} is not on this machine");
            return None;
        };
        Some(Self::of_bytes(&bytes))
    }

    fn of_bytes(bytes: &[u8]) -> Sections {
        let file = object::File::parse(bytes).unwrap();
        let section = |name| {
            let section = file.section_by_name(name).unwrap();
            (section.address(), section.data().unwrap().to_vec())
        };
        Sections {
            hdr: section(".eh_frame_hdr"),
            frames: section(".eh_frame"),
        }
    }

    fn eh_frame(&self) -> EhFrame<'_> {
        EhFrame::from_sections(mapped(&self.hdr), mapped(&self.frames))
    }
}

fn mapped((address, bytes): &(u64, Vec<u8>)) -> Mapped<'_> {
    Mapped {
        address: *address,
        bytes,
    }
}

/// A small generator of pseudo-random numbers (xorshift64*), so that failures repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
