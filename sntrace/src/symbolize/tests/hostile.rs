//! Files that are cut, damaged or lie cost their names and nothing else.

use std::fmt::Write as _;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::Symbolizer;
use super::super::testing::{Workshop, locator_for, map_of};
use super::debug_info::build;
use crate::trace::Module;

/// A small library with everything in it, and addresses to ask for.
fn original() -> &'static (Vec<u8>, Vec<u64>) {
    static ORIGINAL: OnceLock<(Vec<u8>, Vec<u64>)> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let shop = Workshop::new();
        let (library, address) = build(
            &shop,
            "gcc",
            &["-g", "-Wl,--build-id=none", "-nostartfiles"],
        );
        let hidden = shop.return_address(&library, "hidden", "calloc");
        let addresses = vec![address, hidden, shop.address(&library, "use"), 0, u64::MAX];
        (std::fs::read(library).unwrap(), addresses)
    })
}

/// How many functions there are at the addresses, and for how many of these DWARF was given up.
fn ask(bytes: &[u8], addresses: &[u64]) -> (usize, u64) {
    let shop = Workshop::new();
    let path = shop.path("damaged.so");
    std::fs::write(&path, bytes).unwrap();
    let module = Module {
        start: 0,
        end: u64::MAX,
        bias: 0,
        device: 0,
        inode: 0,
        build_id: vec![],
        path: path.into(),
    };
    let locator = locator_for(shop.folder());
    let mut symbolizer = Symbolizer::new(&locator);
    let (_, file) = map_of(&symbolizer, module);
    let found = addresses
        .iter()
        .map(|address| symbolizer.frames(file, address.wrapping_sub(1)).len())
        .sum();
    (found, symbolizer.given_up())
}

#[test]
fn the_undamaged_file_is_named() {
    let (bytes, addresses) = original();
    let (found, given_up) = ask(bytes, addresses);
    assert!(found >= 3);
    assert_eq!(given_up, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_bytes_never_panic(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (original, addresses) = original();
        let mut bytes = original.clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        ask(&bytes, addresses);
    }

    #[test]
    fn cut_files_never_panic(length in any::<proptest::sample::Index>()) {
        let (original, addresses) = original();
        ask(&original[..length.index(original.len())], addresses);
    }
}

/// Assembles `info` as the children of a unit that covers `work`, with `abbreviations`.
fn lie(abbreviations: &str, children: &str, ranges: &str) -> (usize, u64) {
    let shop = Workshop::new();
    let source = format!(
        ".text\n.globl work\n.type work, @function\nwork: .skip 64\n.size work, 64\nend:\n
        .section .debug_abbrev,\"\",@progbits\n
        .uleb128 1; .uleb128 0x11; .byte 1; .uleb128 0x11; .uleb128 0x01; .uleb128 0x12; .uleb128 0x06; .byte 0,0\n
        .uleb128 2; .uleb128 0x2e; .byte 1; .uleb128 0x3; .uleb128 0x08; .uleb128 0x11; .uleb128 0x01; .uleb128 0x12; .uleb128 0x06; .byte 0,0\n
        {abbreviations}\n.byte 0\n
        .section .debug_info,\"\",@progbits\n
        .long info_end - info_start\ninfo_start: .short 4; .long 0; .byte 8\n
        .uleb128 1; .quad work; .long 64\n
        {children}\n
        info_end:\n{ranges}\n"
    );
    shop.write("lie.s", &source);
    shop.run(
        "gcc",
        &[
            "-nostdlib",
            "-shared",
            "-Wl,--build-id=none",
            "-o",
            "lie.so",
            "lie.s",
        ],
    );
    let bytes = std::fs::read(shop.path("lie.so")).unwrap();
    let work = shop.address(&shop.path("lie.so"), "work");
    ask(&bytes, &[work + 8])
}

#[test]
fn what_is_assembled_by_hand_is_read() {
    // One function with one inlined in it: so that the lies below fail for the right reason.
    let inlined = ".uleb128 3; .uleb128 0x1d; .byte 1; .uleb128 0x3; .uleb128 0x08; .uleb128 0x11; .uleb128 0x01; .uleb128 0x12; .uleb128 0x06; .byte 0,0";
    let children = ".uleb128 2; .asciz \"f\"; .quad work; .long 64\n
        .uleb128 3; .asciz \"g\"; .quad work; .long 32; .byte 0\n.byte 0\n.byte 0";
    assert_eq!(lie(inlined, children, ""), (2, 0));
}

#[test]
fn inlined_functions_nested_without_end_do_not_overflow_the_stack() {
    let inlined = ".uleb128 3; .uleb128 0x1d; .byte 1; .byte 0,0";
    let mut children = ".uleb128 2; .asciz \"f\"; .quad work; .long 64\n".to_owned();
    children.push_str(".rept 2000000\n.uleb128 3\n.endr\n");
    // What remains is the symbol.
    assert_eq!(lie(inlined, &children, ""), (1, 1));
}

#[test]
fn names_that_refer_to_themselves_end() {
    // DW_AT_abstract_origin (0x31), ref4 (0x13): to itself.
    let looping = ".uleb128 3; .uleb128 0x1d; .byte 0; .uleb128 0x31; .uleb128 0x13; .uleb128 0x11; .uleb128 0x01; .uleb128 0x12; .uleb128 0x06; .byte 0,0";
    let children = ".uleb128 2; .asciz \"f\"; .quad work; .long 64\n
        itself: .uleb128 3; .long itself - info_start + 4; .quad work; .long 32\n.byte 0\n.byte 0";
    assert!(lie(looping, children, "").0 >= 1);
}

#[test]
fn many_references_to_one_huge_range_list_run_dry() {
    // 20,000 inlined functions of 6 bytes share a list of 20,000 ranges: 400 million ranges of
    // 40 bytes, from half a megabyte. DW_AT_ranges is 0x55, sec_offset 0x17.
    let inlined = ".uleb128 3; .uleb128 0x1d; .byte 0; .uleb128 0x55; .uleb128 0x17; .byte 0,0";
    let mut children = ".uleb128 2; .asciz \"f\"; .quad work; .long 64\n".to_owned();
    children.push_str(".rept 20000\n.uleb128 3; .long 0\n.endr\n.byte 0\n.byte 0");
    let mut ranges = ".section .debug_ranges,\"\",@progbits\n".to_owned();
    let _ = write!(ranges, ".rept 20000\n.quad 1, 2\n.endr\n.quad 0, 0\n");
    assert_eq!(lie(inlined, &children, &ranges), (1, 1));
}
