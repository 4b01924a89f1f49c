//! Reads `/proc/self/maps` line by line, without allocation.
//!
//! Format (`man 5 proc`): `start-end perms offset major:minor inode   path`. Phase: slow, under
//! the modules' lock, whose scratch memory holds the buffer.

use crate::platform::sys;

/// Longest line: numbers, and a path of 4,096 bytes (longer ones are cut by the kernel).
pub const BUFFER: usize = 8192;

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// First address.
    pub start: usize,
    /// First address after it.
    pub end: usize,
    /// Whether it can be executed.
    pub executable: bool,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// Device number as `stat` encodes it.
    pub device: u64,
    /// Inode; 0 for memory without a file.
    pub inode: u64,
    /// The file's path or a name in brackets.
    pub path: &'a [u8],
}

/// Calls `each` for every mapping, in the order of addresses. False if they can't be read.
pub fn read(buffer: &mut [u8; BUFFER], mut each: impl FnMut(&Mapping<'_>)) -> bool {
    let Some(fd) = sys::open(b"/proc/self/maps\0", sys::READ_ONLY) else {
        return false;
    };
    let mut filled = 0;
    loop {
        let count = sys::read(fd, buffer.get_mut(filled..).unwrap_or(&mut []));
        filled += count;
        let mut start = 0;
        while let Some(length) = buffer[start..filled].iter().position(|&byte| byte == b'\n') {
            if let Some(mapping) = parse(&buffer[start..start + length]) {
                each(&mapping);
            }
            start += length + 1;
        }
        if count == 0 {
            break;
        }
        // What is left of a line moves to the front; a line longer than the buffer is dropped.
        if start == 0 && filled == BUFFER {
            start = filled;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
    sys::close(fd);
    true
}

fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let (start, rest) = number(line, 16, b'-')?;
    let (end, rest) = number(rest, 16, b' ')?;
    let permissions = rest.get(..4)?;
    let (offset, rest) = number(rest.get(5..)?, 16, b' ')?;
    let (major, rest) = number(rest, 16, b':')?;
    let (minor, rest) = number(rest, 16, b' ')?;
    // The inode ends the line where there is no path.
    let (inode, rest) = number(rest, 10, b' ').or_else(|| Some((decimal(rest)?, &[][..])))?;
    let blanks = rest.iter().take_while(|&&byte| byte == b' ').count();
    Some(Mapping {
        start: start as usize,
        end: end as usize,
        executable: permissions[2] == b'x',
        offset,
        // glibc's `makedev`.
        device: minor & 0xff
            | (major & 0xfff) << 8
            | (minor & !0xff) << 12
            | (major & !0xfff) << 32,
        inode,
        path: &rest[blanks..],
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, &byte| {
        byte.is_ascii_digit()
            .then(|| value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')))
    })
}

/// A number up to `end`, and what follows it.
fn number(text: &[u8], base: u64, end: u8) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in text.iter().enumerate() {
        if byte == end {
            return Some((value, &text[at + 1..]));
        }
        let digit = (byte as char).to_digit(16)?;
        value = value.wrapping_mul(base).wrapping_add(u64::from(digit));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let line = b"7f6e12a28000-7f6e12b7d000 r-xp 00028000 fd:01 1835145                    /usr/lib/a b.so (deleted)";
        let mapping = parse(line).unwrap();
        assert_eq!(
            (mapping.start, mapping.end, mapping.offset),
            (0x7f6e_12a2_8000, 0x7f6e_12b7_d000, 0x28000)
        );
        assert!(mapping.executable);
        assert_eq!((mapping.device, mapping.inode), (0xfd01, 1_835_145));
        assert_eq!(mapping.path, b"/usr/lib/a b.so (deleted)");
        let anonymous = parse(b"5580-5590 rw-p 00000000 00:00 0 ").unwrap();
        assert!(anonymous.path.is_empty() && anonymous.inode == 0 && !anonymous.executable);
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_own_maps_contain_this_function() {
        let here = the_own_maps_contain_this_function as *const () as usize;
        let mut found = false;
        let mut buffer = Box::new([0; BUFFER]);
        assert!(read(&mut buffer, |mapping| {
            found |= mapping.executable
                && (mapping.start..mapping.end).contains(&here)
                && mapping.inode != 0;
        }));
        assert!(found);
    }
}
