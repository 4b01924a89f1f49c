//! LD_PRELOAD: the hook's exported symbols come first in the loader's search order.
//!
//! That is all there is to coming in. What is here is staying out: a symbol that the program's
//! global scope does not have otherwise must not be found in the hook either. A C program may
//! load a C++ plugin that brings `operator delete` in its own scope; found in the hook first, the
//! plugin's blocks would go to the wrong heap. So a name without a real function is *withdrawn*:
//! its entry in the hook's own symbol table is marked undefined, and the loader passes over it
//! from then on. Phase: load.

use crate::platform::sys;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
/// As large as any kernel's page: aarch64 has 4, 16 and 64 KiB. The linker keeps that distance
/// between what can be executed and what can't.
const PAGE_MAX: usize = if cfg!(target_arch = "aarch64") {
    64 << 10
} else {
    4096
};

/// One entry of the symbol table (ELF-64).
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

unsafe extern "C" {
    /// The hook's dynamic section; the linker defines it.
    #[link_name = "_DYNAMIC"]
    static DYNAMIC: [u64; 2];
}

/// Withdraws the hook's definition of a name (ended by a zero).
pub fn withdraw(name: &str) {
    let Some((symbols, count, strings)) = tables() else {
        return;
    };
    for at in 0..count {
        let symbol = (symbols + at * size_of::<Symbol>()) as *mut Symbol;
        // SAFETY: inside the hook's own symbol table, which its hash table gives the length of.
        let (offset, section) = unsafe { ((*symbol).name, (*symbol).section) };
        if section == 0 || !is_text(strings + offset as usize, name.as_bytes()) {
            continue;
        }
        // The kernel rounds the end up to a page of its own. Before the hook's start is not ours.
        let first = (symbol as usize & !(PAGE_MAX - 1)).max(base());
        let length = symbol as usize + size_of::<Symbol>() - first;
        if sys::make_writable(first, length) {
            // SAFETY: just made writable. The loader reads the entry only while it looks symbols
            // up; either value is valid for it.
            unsafe {
                (*symbol).section = 0;
                (*symbol).value = 0;
            }
            sys::make_read_only(first, length);
        }
        return;
    }
}

/// Addresses of symbol table and string table, and the number of symbols.
fn tables() -> Option<(usize, usize, usize)> {
    let dynamic = (&raw const DYNAMIC) as usize;
    let (mut symbols, mut strings, mut hash) = (0, 0, 0);
    for at in 0.. {
        // SAFETY: the dynamic section ends with a zero tag.
        let entry = unsafe { *((dynamic + at * 16) as *const [u64; 2]) };
        match entry[0] {
            0 => break,
            DT_HASH => hash = entry[1] as usize,
            DT_STRTAB => strings = entry[1] as usize,
            DT_SYMTAB => symbols = entry[1] as usize,
            _ => {}
        }
    }
    if symbols == 0 || strings == 0 || hash == 0 {
        return None;
    }
    // glibc turns these file addresses into memory addresses in place, musl leaves them.
    let base = crate::ways::interpose::base();
    let real = |address: usize| {
        if address < base {
            address + base
        } else {
            address
        }
    };
    // SAFETY: the System V hash table begins with two counts; the second is the symbols'.
    let count = unsafe { *((real(hash) + 4) as *const u32) };
    Some((real(symbols), count as usize, real(strings)))
}

unsafe extern "C" {
    /// The start of the hook's file in memory; the linker defines it.
    #[link_name = "__ehdr_start"]
    static START: u8;
}

/// Where the hook is mapped.
fn base() -> usize {
    (&raw const START) as usize
}

fn is_text(address: usize, text: &[u8]) -> bool {
    text.iter().enumerate().all(|(at, &byte)| {
        // SAFETY: names lie in the string table and end with a zero, at which the comparison
        // stops at the latest, as `text` ends with one too.
        unsafe { *((address + at) as *const u8) == byte }
    })
}
