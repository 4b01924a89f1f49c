//! The libraries that an ELF file on disk names.
//!
//! Layout: ELF-64 object file format. Read in pieces into a buffer of the caller's, never mapped: a
//! file that shrinks meanwhile is then a short read and no signal. Nothing in it is trusted; what
//! makes no sense, or takes more than a program has, ends the reading. Phase: exec.

use crate::platform::sys;

/// Bytes of the buffer: the file header and the program headers of nearly every program.
pub const BUFFER: usize = 4096;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const HEADERS_MAX: usize = 64;
const DYNAMIC_ENTRIES_MAX: usize = 256;
const LIBRARIES_MAX: usize = 64;
/// Longest beginning of a library's name that is compared.
const NAME_BYTES: usize = 64;

/// Whether a library that the file behind `fd` names (`DT_NEEDED`) is one that `matches` accepts.
/// `buffer` holds the beginning of the file.
pub fn names_library(
    fd: usize,
    buffer: &mut [u8; BUFFER],
    matches: impl Fn(&[u8]) -> bool,
) -> bool {
    find_library(fd, buffer, matches).is_some()
}

fn find_library(
    fd: usize,
    buffer: &mut [u8; BUFFER],
    matches: impl Fn(&[u8]) -> bool,
) -> Option<()> {
    // 64 bits, little-endian. Others can't load the hook at all.
    if !buffer.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = word(buffer, 32)?;
    let sizes = word(buffer, 54)?;
    let (entry_size, count) = (sizes & 0xffff, (sizes >> 16 & 0xffff) as usize);
    if entry_size != 56 || count > HEADERS_MAX {
        return None;
    }
    if table + 56 * count as u64 > BUFFER as u64 {
        // Program headers that stand elsewhere: into the place of the file header.
        fill(fd, buffer, table);
        return find_in(fd, buffer, 0, count, matches);
    }
    find_in(fd, buffer, table as usize, count, matches)
}

/// A part of the file, from its program header.
#[derive(Clone, Copy, Default)]
struct Segment {
    offset: u64,
    address: u64,
    bytes: u64,
}

fn find_in(
    fd: usize,
    buffer: &mut [u8; BUFFER],
    table: usize,
    count: usize,
    matches: impl Fn(&[u8]) -> bool,
) -> Option<()> {
    let mut loaded = [Segment::default(); 8];
    let mut loaded_count = 0;
    let mut dynamic = None;
    for at in (0..count).map(|number| table + 56 * number) {
        let segment = Segment {
            offset: word(buffer, at + 8)?,
            address: word(buffer, at + 16)?,
            bytes: word(buffer, at + 32)?,
        };
        match word(buffer, at)? & 0xffff_ffff {
            PT_LOAD => {
                if let Some(place) = loaded.get_mut(loaded_count) {
                    *place = segment;
                    loaded_count += 1;
                }
            }
            PT_DYNAMIC => dynamic = Some(segment),
            _ => {}
        }
    }
    // Without one, nothing is linked at start.
    let dynamic = dynamic?;
    let mut names = [0u64; LIBRARIES_MAX];
    let (mut name_count, mut strings) = (0, None);
    let entries = (dynamic.bytes / 16).min(DYNAMIC_ENTRIES_MAX as u64) as usize;
    const { assert!(DYNAMIC_ENTRIES_MAX * 16 <= BUFFER) };
    fill(fd, buffer, dynamic.offset);
    for at in (0..entries).map(|number| 16 * number) {
        match (word(buffer, at)?, word(buffer, at + 8)?) {
            (DT_NULL, _) => break,
            (DT_NEEDED, offset) => {
                if let Some(place) = names.get_mut(name_count) {
                    *place = offset;
                    name_count += 1;
                }
            }
            (DT_STRTAB, address) => strings = Some(address),
            _ => {}
        }
    }
    let strings = strings?;
    let mut loaded = loaded.iter().take(loaded_count);
    let part = loaded
        .find(|part| (part.address..part.address.saturating_add(part.bytes)).contains(&strings))?;
    let strings = part.offset.checked_add(strings - part.address)?;
    names.iter().take(name_count).find_map(|&name| {
        let name_buffer = buffer.get_mut(..NAME_BYTES)?;
        let length = sys::read_at(fd, name_buffer, strings.checked_add(name)?);
        let read = name_buffer.get(..length)?;
        let end = read.iter().position(|&byte| byte == 0).unwrap_or(length);
        matches(read.get(..end)?).then_some(())
    })
}

/// Fills the buffer from an offset on; what the file does not have is zeros.
pub fn fill(fd: usize, buffer: &mut [u8; BUFFER], offset: u64) {
    let length = sys::read_at(fd, buffer, offset);
    if let Some(rest) = buffer.get_mut(length..) {
        rest.fill(0);
    }
}

fn word(buffer: &[u8; BUFFER], at: usize) -> Option<u64> {
    let bytes = buffer.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    fn names(bytes: &[u8], library: &str) -> bool {
        let mut file = tempfile();
        file.write_all(bytes).unwrap();
        let mut buffer = [0; BUFFER];
        fill(file.as_raw_fd() as usize, &mut buffer, 0);
        let matches = |name: &[u8]| name.starts_with(library.as_bytes());
        names_library(file.as_raw_fd() as usize, &mut buffer, matches)
    }

    /// A file without a name.
    fn tempfile() -> std::fs::File {
        use std::os::fd::FromRawFd as _;
        // SAFETY: a new descriptor, which nobody else has.
        let file = unsafe { std::fs::File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) };
        assert!(file.as_raw_fd() >= 0);
        file
    }

    #[test]
    fn the_own_libraries_are_found() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(names(&own, "libc.so"));
        assert!(!names(&own, "libasan.so"));
    }

    #[test]
    fn whatever_is_damaged_names_nothing_and_stops_nobody() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut start = own[..BUFFER].to_vec();
        for at in 6..400 {
            for value in [0, 0x7f, 0xff] {
                let before = std::mem::replace(&mut start[at], value);
                names(&start, "libasan.so");
                start[at] = before;
            }
        }
        for length in [0, 6, 63, 64, 65, 500] {
            assert!(!names(&own[..length], "libc.so"));
        }
    }
}
