//! The program headers of a mapped ELF file, read from memory.
//!
//! Layout: ELF-64 object file format, program header table. Every word is checked to be readable
//! before it is read: the mapping was seen in the kernel's list, but another thread may unmap it.
//! Phase: slow.

use sntrace_format::control::BUILD_ID_MAX;

use crate::platform::sys;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const NT_GNU_BUILD_ID: u32 = 3;
const HEADERS_MAX: usize = 64;

/// What the hook wants to know of a mapped file.
pub struct Headers {
    /// Difference of addresses in memory and in the file.
    pub bias: usize,
    /// Address of `.eh_frame_hdr`; 0 without one.
    pub frame_header: usize,
    /// The loaded segment that contains it, as far as it comes from the file.
    pub segment_start: usize,
    /// Its end.
    pub segment_end: usize,
    build_id: [u8; BUILD_ID_MAX],
    build_id_length: usize,
}

impl Headers {
    /// The GNU build id; empty without one.
    pub fn build_id(&self) -> &[u8] {
        self.build_id.get(..self.build_id_length).unwrap_or(&[])
    }
}

fn word(address: usize) -> Option<u64> {
    if !sys::is_readable(address) {
        return None;
    }
    // SAFETY: eight readable bytes, as the kernel has just found.
    Some(unsafe { (address as *const u64).read_unaligned() })
}

/// Reads the headers of the file whose first page is mapped at `start`; `None` if it is no 64-bit
/// ELF file.
pub fn read_headers(start: usize, end: usize) -> Option<Headers> {
    // \x7fELF, 64 bits, little-endian.
    if word(start)? & 0xffff_ffff_ffff != 0x0102_464c_457f {
        return None;
    }
    let table = start.checked_add(word(start + 32)? as usize)?;
    let sizes = word(start + 54)?;
    let (entry_size, count) = ((sizes & 0xffff) as usize, (sizes >> 16 & 0xffff) as usize);
    if entry_size != 56 || table.checked_add(count * entry_size)? > end {
        return None;
    }
    let mut headers = Headers {
        bias: 0,
        frame_header: 0,
        segment_start: 0,
        segment_end: 0,
        build_id: [0; BUILD_ID_MAX],
        build_id_length: 0,
    };
    let entry = |at: usize, offset: usize| word(table + at * entry_size + offset);
    let count = count.min(HEADERS_MAX);
    let mut found = false;
    for at in 0..count {
        // The segment that holds the file's first byte tells where address 0 of the file is.
        if entry(at, 0)? as u32 == PT_LOAD && !found {
            let (offset, address) = (entry(at, 8)? as usize, entry(at, 16)? as usize);
            headers.bias = start.wrapping_sub(address.wrapping_sub(offset) & !0xfff);
            found = true;
        }
    }
    for at in 0..count {
        match entry(at, 0)? as u32 {
            PT_GNU_EH_FRAME => {
                headers.frame_header = headers.bias.wrapping_add(entry(at, 16)? as usize)
            }
            PT_NOTE => {
                let (address, size) = (
                    headers.bias.wrapping_add(entry(at, 16)? as usize),
                    entry(at, 40)? as usize,
                );
                if headers.build_id_length == 0
                    && address >= start
                    && address.checked_add(size)? <= end
                {
                    let _ = read_notes(&mut headers, address, address + size);
                }
            }
            _ => {}
        }
    }
    for at in 0..count {
        if entry(at, 0)? as u32 == PT_LOAD && headers.frame_header != 0 {
            let address = headers.bias.wrapping_add(entry(at, 16)? as usize);
            let segment_end = address.checked_add(entry(at, 32)? as usize)?;
            if headers.frame_header >= address
                && headers.frame_header < segment_end
                && segment_end <= end
            {
                headers.segment_start = address;
                headers.segment_end = segment_end;
            }
        }
    }
    // The bytes will be read without further checks: every page must be there.
    let readable = (headers.segment_start..headers.segment_end)
        .step_by(4096)
        .all(sys::is_readable);
    if headers.segment_end == 0 || !readable {
        headers.frame_header = 0;
    }
    Some(headers)
}

/// Notes: name length, description length, type, name and description padded to four bytes.
fn read_notes(headers: &mut Headers, mut at: usize, end: usize) -> Option<()> {
    while at + 16 <= end {
        let lengths = word(at)?;
        let kind_and_name = word(at + 8)?;
        let (name, length) = ((lengths & 0xffff_ffff) as usize, (lengths >> 32) as usize);
        let description = at + 12 + name.next_multiple_of(4);
        if kind_and_name as u32 == NT_GNU_BUILD_ID
            && name == 4
            && kind_and_name >> 32 == 0x0055_4e47
        {
            let kept = length.min(BUILD_ID_MAX);
            for place in 0..kept {
                headers.build_id[place] = word(description + place)? as u8;
            }
            headers.build_id_length = kept;
            return Some(());
        }
        at = description.checked_add(length.next_multiple_of(4))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_headers_are_found() {
        let here = the_own_headers_are_found as *const () as usize;
        let mut buffer = Box::new([0; crate::maps::BUFFER]);
        let (mut start, mut end, mut inode) = (0, 0, 0);
        crate::maps::read(&mut buffer, |mapping| {
            if mapping.offset == 0 && mapping.inode != 0 && mapping.start <= here && end < here {
                (start, inode) = (mapping.start, mapping.inode);
            }
            if mapping.inode == inode {
                end = mapping.end;
            }
        });
        let headers = read_headers(start, end).expect("an ELF file");
        assert_eq!(headers.bias, start, "a position-independent test binary");
        assert!(headers.frame_header > start && headers.frame_header < end);
        assert!(
            headers.segment_start <= headers.frame_header
                && headers.segment_end > headers.frame_header
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let page = sys::map_anonymous(4096).unwrap();
        assert!(read_headers(page, page + 4096).is_none());
        assert!(read_headers(8, 4096).is_none());
    }
}
