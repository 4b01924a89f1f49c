//! ELF and DWARF reading: the input is a module's file, names are asked for addresses in it.
//!
//! The last words of the input are the addresses: bytes behind the sections mean nothing to a
//! reader of ELF, so any object file is a seed.
//!
//! Panics that the symbolizer catches (of the libraries that read DWARF) are findings here too:
//! the fuzzer's panic hook aborts before they can be caught.
#![no_main]

use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use libfuzzer_sys::{Corpus, fuzz_target};
use sntrace::symbolize::{CallerFinder, Locator};
use sntrace::trace::Module;
use sntrace_format::record::Op;

/// How many addresses stand at the end of the input.
const ADDRESSES: usize = 4;

fuzz_target!(|data: &[u8]| -> Corpus {
    if !data.starts_with(b"\x7fELF") {
        return Corpus::Reject;
    }
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(data).expect("space for a temporary file");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());

    // No folders of debug files: the answer depends on nothing but the input.
    let locator = Locator::new(Vec::new());
    let mut finder = CallerFinder::new(&locator);
    let mut map = finder.new_map();
    map.add(Module {
        start: 0,
        end: u64::MAX,
        bias: 0,
        device: 0,
        inode: 0,
        build_id: build_id(data).to_vec(),
        path: path.into_bytes(),
    });
    let (_, words) = data.as_rchunks::<8>();
    let asked = &words[words.len().saturating_sub(ADDRESSES)..];
    for address in asked.iter().map(|word| u64::from_le_bytes(*word)) {
        let _ = finder.verdict(&map, address);
        let _ = finder.find(&map, Op::Malloc, address, &[address, address / 2], false);
        let _ = finder.find(&map, Op::Malloc, address, &[], true);
    }
    let _ = finder.notes();
    Corpus::Keep
});

/// The descriptor of the first build id note, as a file is only read if its id is the one that was
/// mapped. Found by its fixed head (20 bytes of SHA-1); empty where there is none.
fn build_id(data: &[u8]) -> &[u8] {
    const HEAD: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = data.windows(HEAD.len()).position(|window| window == HEAD);
    at.and_then(|at| data.get(at + HEAD.len()..at + HEAD.len() + 20))
        .unwrap_or_default()
}
