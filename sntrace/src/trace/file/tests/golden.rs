//! The bytes of a small trace, pinned: what this version writes, every later one must read.

use super::*;
use crate::trace::file::dump;

/// What [`small`] wrote when version 1 was new. Never changed: a later version that can't read it
/// breaks a promise.
const VERSION_1: &[u8] = include_bytes!("version-1.snt");

#[test]
fn a_dump_shows_every_record() {
    let mut out = Vec::new();
    dump(&open(VERSION_1).unwrap(), &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn a_trace_of_version_1_reads_for_ever() {
    let file = open(VERSION_1).unwrap();
    let now = open(&small()).unwrap();
    assert_eq!(items(&file).0, items(&now).0);
    assert_eq!(file.tables().files, now.tables().files);
    assert_eq!(file.tables().sites, now.tables().sites);
    assert_eq!(file.tables().stacks.nodes(), now.tables().stacks.nodes());
    assert_eq!(file.header(), now.header());
    assert_eq!(file.certificate(), now.certificate());
}

#[test]
fn a_dump_of_a_cut_file_says_where_it_ends() {
    let whole = small();
    let mut out = Vec::new();
    dump(&open(&whole[..whole.len() - 1]).unwrap(), &mut out).unwrap();
    let dumped = String::from_utf8(out).unwrap();
    let last = dumped.lines().last().unwrap();
    let (length, read_to) = (whole.len() - 1, whole.len() - 16);
    assert_eq!(
        last,
        format!("cut: of {length} bytes, {read_to} are whole chunks")
    );
}
