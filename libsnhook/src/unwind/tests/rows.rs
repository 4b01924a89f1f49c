//! Every row of whole libraries, compared with two other readers.

use std::process::Command;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindContext, UnwindSection as _,
};

use super::super::aarch64::Aarch64;
use super::super::cfi::{EhFrame, find_row, find_rule};
use super::super::x86_64::X86_64;
use super::super::{Cfa, Machine, Row, Rule, Saved};
use super::{Sections, mapped};

const X86_64_FILES: [&str; 4] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/bin/python3.11",
];
const AARCH64_FILES: [&str; 3] = [
    "/usr/aarch64-linux-gnu/lib/libc.so.6",
    "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
    "/usr/aarch64-linux-gnu/lib/libstdc++.so.6",
];
const FIXTURE: &[u8] = include_bytes!("fixtures/aarch64.so");
const FIXTURE_FRAMES: &str = include_str!("fixtures/aarch64.frames");

/// Compares with gimli's tables (with its allocator) at both ends of every row.
fn compare_with_gimli<M: Machine>(sections: &Sections) -> usize {
    let frames = sections.eh_frame();
    let mut section = gimli::EhFrame::new(&sections.frames.1, LittleEndian);
    section.set_address_size(8);
    section.set_vendor(M::VENDOR);
    let bases = BaseAddresses::default()
        .set_eh_frame_hdr(sections.hdr.0)
        .set_eh_frame(sections.frames.0);
    let mut context = UnwindContext::new();
    let mut entries = section.entries(&bases);
    let mut rows = 0;
    while let Some(entry) = entries.next().unwrap() {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(gimli::EhFrame::cie_from_offset).unwrap();
        let return_column = fde.cie().return_address_register();
        let mut table = fde.rows(&section, &bases, &mut context).unwrap();
        while let Some(expected) = table.next_row().unwrap() {
            if expected.start_address() == expected.end_address() {
                continue;
            }
            rows += 1;
            for address in [expected.start_address(), expected.end_address() - 1] {
                let row = find_row::<M>(&frames, address)
                    .unwrap_or_else(|| panic!("no row at {address:#x}"));
                assert_eq!(row.signal_frame, fde.is_signal_trampoline());
                assert!(cfa_equals(row.cfa, expected.cfa()), "CFA at {address:#x}");
                for (saved, register) in [
                    (row.return_address, return_column),
                    (row.fp, Register(M::FP)),
                    (row.sp, Register(M::SP)),
                ] {
                    assert!(
                        saved_equals(saved, expected.register(register)),
                        "{register:?} at {address:#x}: {saved:?}"
                    );
                }
            }
        }
    }
    rows
}

fn cfa_equals(cfa: Cfa, expected: &CfaRule<usize>) -> bool {
    match (cfa, expected) {
        (Cfa::Register(number, cfa_offset), CfaRule::RegisterAndOffset { register, offset }) => {
            number == register.0 && cfa_offset == *offset
        }
        (Cfa::Expression(expression), CfaRule::Expression(expected)) => expression == *expected,
        _ => false,
    }
}

fn saved_equals(saved: Saved, expected: Option<RegisterRule<usize>>) -> bool {
    match (saved, expected) {
        (Saved::Unspecified, None)
        | (Saved::Undefined, Some(RegisterRule::Undefined))
        | (Saved::Same, Some(RegisterRule::SameValue)) => true,
        (Saved::AtCfa(offset), Some(RegisterRule::Offset(expected)))
        | (Saved::IsCfa(offset), Some(RegisterRule::ValOffset(expected))) => offset == expected,
        (Saved::Register(number), Some(RegisterRule::Register(expected))) => number == expected.0,
        (Saved::AtExpression(expression), Some(RegisterRule::Expression(expected)))
        | (Saved::IsExpression(expression), Some(RegisterRule::ValExpression(expected))) => {
            expression == expected
        }
        _ => false,
    }
}

/// Compares with the text of `readelf --debug-dump=frames-interp`; returns how many rows it had.
fn compare_with_readelf<M: Machine>(
    frames: &EhFrame<'_>,
    text: &str,
    fp_name: &str,
    sp_name: &str,
) -> usize {
    let mut end = 0;
    let mut columns: Vec<String> = Vec::new();
    let mut rows = 0;
    let mut in_fde = false;
    for line in text.lines() {
        // "00000018 0000000000000014 0000001c FDE cie=00000000 pc=0000...1000..0000...1010"
        if let Some(range) = line.split(" pc=").nth(1) {
            let (_, last) = range.split_once("..").unwrap();
            end = u64::from_str_radix(last.trim(), 16).unwrap();
            in_fde = true;
            columns.clear();
        } else if line.contains(" CIE ") {
            in_fde = false;
        } else if line.trim_start().starts_with("LOC") {
            columns = line.split_whitespace().map(str::to_owned).collect();
        } else if in_fde && !columns.is_empty() && line.len() > 16 {
            let mut cells = line.split_whitespace();
            let Some(Ok(address)) = cells.next().map(|cell| u64::from_str_radix(cell, 16)) else {
                continue;
            };
            if address >= end {
                continue;
            }
            rows += 1;
            let row = find_row::<M>(frames, address).expect("readelf has a row");
            for (name, cell) in columns.iter().skip(1).zip(cells) {
                let ours = match name.as_str() {
                    "CFA" => match row.cfa {
                        Cfa::Expression(_) => "exp".to_owned(),
                        Cfa::Register(number, offset) if number == M::SP => {
                            format!("{sp_name}{offset:+}")
                        }
                        Cfa::Register(number, offset) if number == M::FP => {
                            format!("{fp_name}{offset:+}")
                        }
                        Cfa::Register(..) => continue,
                    },
                    "ra" => as_readelf(row.return_address),
                    name if name == fp_name => as_readelf(row.fp),
                    name if name == sp_name => as_readelf(row.sp),
                    _ => continue,
                };
                assert_eq!(ours, cell, "{name} at {address:#x}");
            }
        }
    }
    rows
}

fn as_readelf(saved: Saved) -> String {
    match saved {
        // readelf 2.40 prints `u` both for undefined and for what no instruction mentioned.
        Saved::Unspecified | Saved::Undefined => "u".to_owned(),
        Saved::Same => "s".to_owned(),
        Saved::AtCfa(offset) => format!("c{offset:+}"),
        Saved::IsCfa(offset) => format!("v{offset:+}"),
        Saved::Register(number) => format!("r{number}"),
        Saved::AtExpression(_) => "exp".to_owned(),
        Saved::IsExpression(_) => "vexp".to_owned(),
    }
}

fn readelf(path: &str) -> Option<String> {
    let output = Command::new("readelf")
        .args(["--debug-dump=frames-interp", "--wide", path])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_row_equals_gimlis_on_x86_64() {
    for path in X86_64_FILES {
        if let Some(sections) = Sections::of(path) {
            let rows = compare_with_gimli::<X86_64>(&sections);
            assert!(rows > 100, "{path}: {rows}");
            eprintln!("{path}: {rows} rows");
        }
    }
}

#[test]
fn every_row_equals_gimlis_on_aarch64() {
    for path in AARCH64_FILES {
        if let Some(sections) = Sections::of(path) {
            let rows = compare_with_gimli::<Aarch64>(&sections);
            assert!(rows > 100, "{path}: {rows}");
            eprintln!("{path}: {rows} rows");
        }
    }
    assert!(compare_with_gimli::<Aarch64>(&Sections::of_bytes(FIXTURE)) > 20);
}

#[test]
fn every_row_equals_readelfs_on_x86_64() {
    for path in X86_64_FILES {
        if let (Some(sections), Some(text)) = (Sections::of(path), readelf(path)) {
            let rows = compare_with_readelf::<X86_64>(&sections.eh_frame(), &text, "rbp", "rsp");
            assert!(rows > 100, "{path}: {rows}");
            eprintln!("{path}: {rows} rows");
        }
    }
}

#[test]
fn every_row_of_the_fixture_equals_readelfs_on_aarch64() {
    let sections = Sections::of_bytes(FIXTURE);
    let frames = sections.eh_frame();
    let rows = compare_with_readelf::<Aarch64>(&frames, FIXTURE_FRAMES, "x29", "sp");
    assert!(rows > 20, "{rows}");
}

#[test]
fn searching_without_a_table_finds_the_same_rules() {
    let Some(sections) = Sections::of(X86_64_FILES[1]) else {
        return;
    };
    let with_table = sections.eh_frame();
    let without = EhFrame::without_header(mapped(&sections.frames));
    let (base, _) = sections.hdr;
    for address in (0..base).step_by(97) {
        assert_eq!(
            find_rule::<X86_64>(&with_table, address),
            find_rule::<X86_64>(&without, address),
            "at {address:#x}"
        );
    }
}

#[test]
fn sections_are_found_from_the_segment() {
    let Some(sections) = Sections::of(X86_64_FILES[0]) else {
        return;
    };
    // Both sections lie in one segment, the header before the frames, possibly with a gap.
    let (hdr_address, hdr) = &sections.hdr;
    let (frames_address, frames) = &sections.frames;
    let segment_address = hdr_address - 64;
    let mut segment = vec![0; (frames_address - segment_address) as usize + frames.len() + 64];
    segment[64..64 + hdr.len()].copy_from_slice(hdr);
    let frames_offset = (frames_address - segment_address) as usize;
    segment[frames_offset..frames_offset + frames.len()].copy_from_slice(frames);
    let found = EhFrame::in_segment(mapped(&(segment_address, segment)), *hdr_address)
        .map(|found| find_rule::<X86_64>(&found, 0))
        .expect("header is well-formed");
    assert_eq!(found, Rule::NO_INFO);
}

/// How many rows do not fit a rule: these are slow, so there should be few.
fn slow_share<M: Machine>(sections: &Sections) -> (usize, usize) {
    let frames = sections.eh_frame();
    let mut section = gimli::EhFrame::new(&sections.frames.1, LittleEndian);
    section.set_vendor(M::VENDOR);
    let bases = BaseAddresses::default().set_eh_frame(sections.frames.0);
    let (mut slow, mut all) = (0, 0);
    let mut entries = section.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        if let CieOrFde::Fde(partial) = entry {
            let fde: gimli::FrameDescriptionEntry<EndianSlice<'_, LittleEndian>> =
                partial.parse(gimli::EhFrame::cie_from_offset).unwrap();
            let middle = fde.initial_address() + fde.len() / 2;
            let row: Option<Row> = find_row::<M>(&frames, middle);
            // A leaf of aarch64 keeps its return address in the link register: it never calls.
            if row.is_some_and(|row| matches!(row.return_address, Saved::Unspecified)) {
                continue;
            }
            all += 1;
            slow += usize::from(find_rule::<M>(&frames, middle) == Rule::SLOW);
        }
    }
    (slow, all)
}

#[test]
fn nearly_all_frames_of_real_libraries_fit_a_rule() {
    for path in X86_64_FILES {
        if let Some(sections) = Sections::of(path) {
            let (slow, all) = slow_share::<X86_64>(&sections);
            eprintln!("{path}: {slow} of {all} are slow");
            assert!(slow * 100 <= all * 5, "{path}: {slow} of {all} are slow");
        }
    }
    for path in AARCH64_FILES {
        if let Some(sections) = Sections::of(path) {
            let (slow, all) = slow_share::<Aarch64>(&sections);
            eprintln!("{path}: {slow} of {all} are slow");
            assert!(slow * 100 <= all * 5, "{path}: {slow} of {all} are slow");
        }
    }
}
