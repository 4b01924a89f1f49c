//! Names of generated code, from the files that its runtime writes for profilers.
//!
//! | file | format | written by |
//! |---|---|---|
//! | `/tmp/perf-PID.map` | a line of text a function: `START SIZE NAME`, the numbers in hexadecimal | node `--perf-basic-prof`, CPython 3.12 `-X perf`, Java with an agent |
//! | `jit-PID.dump` | binary records, below | node `--perf-prof`, CPython 3.13 `-X perf_jit`, Java with an agent |
//!
//! The second is looked for in `/tmp`, the folder in which the process began to run, `$JITDUMPDIR` and
//! the folders of `~/.debug/jit`. Where two functions cover an address the one that was written later
//! counts: code that is thrown away makes room for other code. When an address was called is not asked,
//! though a dump says when each function was written: an address is one place in a trace, and the dump
//! can't be followed while the process runs, as what node writes to it arrives 4 KiB at a time, late.
//!
//! Sources: tools/perf/Documentation/jit-interface.txt and jitdump-specification.txt of Linux.
//!
//! Nothing in these files is trusted: they may be cut, huge or somebody else's. A record that can't be
//! right ends the reading.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::output::escape;
use crate::symbolize::Frame;

/// A file is read up to here: as a perf map, some five million functions.
const BYTES_MAX: u64 = 256 << 20;
/// A function that was moved is looked for among so many before.
const RECENT_MAX: usize = 256;
/// No function's name is longer, in bytes.
const NAME_MAX: usize = 64 << 10;

/// The functions of one process's generated code.
#[derive(Debug, Default)]
pub struct Generated {
    /// By where they begin, without what others were written over. No two cover an address.
    functions: BTreeMap<u64, Function>,
}

#[derive(Clone, Debug)]
struct Function {
    start: u64,
    end: u64,
    frames: Arc<[Frame]>,
}

impl Function {
    fn new(start: u64, size: u64, name: &[u8]) -> Option<Self> {
        let frame = Frame {
            function: Some(escape::lossy(name).as_ref().into()),
            file: None,
            line: None,
        };
        (size > 0 && !name.is_empty()).then_some(Self {
            start,
            end: start.checked_add(size)?,
            frames: [frame].into(),
        })
    }
}

impl Generated {
    /// What the process's runtime has written. `folder`: where the process began to run; by default, where
    /// this one runs.
    #[must_use]
    pub fn of(pid: u32, folder: Option<&Path>) -> Self {
        // A process of another root folder writes into a `/tmp` of its own, which goes with it.
        let mut functions = read_map(&PathBuf::from(format!("/tmp/perf-{pid}.map")));
        for path in dumps(pid, folder) {
            functions.extend(read_dump(&path));
        }
        Self::written(functions)
    }

    /// From functions in the order in which they were written.
    fn written(functions: Vec<Function>) -> Self {
        let mut this = Self::default();
        for function in functions {
            this.write(function);
        }
        this
    }

    fn write(&mut self, new: Function) {
        let before = self.functions.range_mut(..new.start).next_back();
        let before = before.map(|(_, before)| before);
        if let Some(before) = before.filter(|before| before.end > new.start) {
            let after = Function {
                start: new.end,
                ..before.clone()
            };
            before.end = new.start;
            self.keep(after);
        }
        while let Some((&start, _)) = self.functions.range(new.start..new.end).next() {
            if let Some(inside) = self.functions.remove(&start) {
                self.keep(Function {
                    start: new.end,
                    ..inside
                });
            }
        }
        self.functions.insert(new.start, new);
    }

    /// What is left of a function, if anything is.
    fn keep(&mut self, rest: Function) {
        if rest.start < rest.end {
            self.functions.insert(rest.start, rest);
        }
    }

    /// The function that covers an address; empty if none does.
    #[must_use]
    pub fn frames(&self, address: u64) -> Arc<[Frame]> {
        let before = self.functions.range(..=address).next_back();
        let found = before.filter(|(_, function)| address < function.end);
        found
            .map(|(_, function)| function.frames.clone())
            .unwrap_or_default()
    }
}

fn open(path: &Path) -> Option<BufReader<File>> {
    let file = File::open(path).ok()?;
    // Opening a pipe that somebody put there would wait for its writer.
    file.metadata()
        .ok()?
        .is_file()
        .then(|| BufReader::new(file))
}

fn read_map(path: &Path) -> Vec<Function> {
    let Some(reader) = path.is_file().then(|| open(path)).flatten() else {
        return Vec::new();
    };
    let mut reader = reader.take(BYTES_MAX);
    let (mut line, mut functions) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return functions,
            Ok(_) => functions.extend(parse_line(line.trim_ascii_end())),
        }
    }
}

/// A line; nothing if it is none.
fn parse_line(line: &[u8]) -> Option<Function> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let mut number = || {
        let digits = std::str::from_utf8(words.next()?).ok()?;
        u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    Function::new(start, size, words.next()?)
}

/// Where a dump of this process may be.
fn dumps(pid: u32, folder: Option<&Path>) -> Vec<PathBuf> {
    let name = format!("jit-{pid}.dump");
    let mut folders = vec![
        PathBuf::from("/tmp"),
        folder.unwrap_or(Path::new(".")).into(),
    ];
    folders.extend(std::env::var_os("JITDUMPDIR").map(PathBuf::from));
    if let Some(home) = std::env::var_os("HOME") {
        let sessions = std::fs::read_dir(Path::new(&home).join(".debug/jit"));
        let sessions = sessions.into_iter().flatten().flatten();
        folders.extend(sessions.map(|session| session.path()));
    }
    let paths = folders.into_iter().map(|folder| folder.join(&name));
    paths.filter(|path| path.is_file()).collect()
}

/// First word of a dump, as the writing machine has it.
const DUMP_MAGIC: u32 = 0x4a69_5444;
/// A function was written to memory.
const CODE_LOAD: u32 = 0;
/// A function was moved.
const CODE_MOVE: u32 = 1;

fn read_dump(path: &Path) -> Vec<Function> {
    let mut functions = Vec::new();
    if let Some(mut reader) = open(path) {
        // What came before the place where it can't be right counts.
        let _ = read_records(&mut reader, &mut functions);
    }
    functions
}

/// Reads records up to the end, or to an error.
///
/// ```text
/// head:    magic u32, version u32, bytes of the head u32, machine u32, 0 u32, pid u32, time u64, flags u64
/// record:  kind u32, bytes of the record u32, time u64
/// load:    pid u32, tid u32, vma u64, address u64, bytes of code u64, number u64, name, 0, code
/// move:    pid u32, tid u32, vma u64, old address u64, new address u64, bytes of code u64, number u64
/// ```
fn read_records(reader: &mut BufReader<File>, functions: &mut Vec<Function>) -> io::Result<()> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let magic = u32_from(reader)?;
    if magic != DUMP_MAGIC {
        return Err(wrong());
    }
    let _version = u32_from(reader)?;
    let head = u32_from(reader)?;
    reader.seek_relative(i64::from(head.checked_sub(12).ok_or_else(wrong)?))?;
    let mut read = u64::from(head);
    while read < BYTES_MAX {
        let (kind, bytes) = (u32_from(reader)?, u32_from(reader)?);
        let _time = u64_from(reader)?;
        let mut left = i64::from(bytes) - 16;
        read += u64::from(bytes);
        match kind {
            CODE_LOAD => {
                reader.seek_relative(16)?;
                let (address, size) = (u64_from(reader)?, u64_from(reader)?);
                let _number = u64_from(reader)?;
                let mut name = Vec::new();
                let taken = reader.take(NAME_MAX as u64).read_until(0, &mut name)?;
                name.pop_if(|last| *last == 0);
                functions.extend(Function::new(address, size, &name));
                left -= 40 + taken as i64;
            }
            CODE_MOVE => {
                reader.seek_relative(16)?;
                let (old, new, size) = (u64_from(reader)?, u64_from(reader)?, u64_from(reader)?);
                let mut recent = functions.iter().rev().take(RECENT_MAX);
                let moved = recent.find(|function| function.start == old);
                if let (Some(moved), Some(end)) = (moved, new.checked_add(size)) {
                    let frames = moved.frames.clone();
                    functions.push(Function {
                        start: new,
                        end,
                        frames,
                    });
                }
                left -= 40;
            }
            // Lines of the source, unwind information, and what later versions have.
            _ => {}
        }
        if left < 0 {
            return Err(wrong());
        }
        reader.seek_relative(left)?;
    }
    Ok(())
}

fn u32_from(reader: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn u64_from(reader: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(generated: &Generated, address: u64) -> Option<String> {
        let frames = generated.frames(address);
        frames.first()?.function.as_deref().map(str::to_owned)
    }

    #[test]
    fn a_map_names_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perf-1.map");
        let text =
            "7f00 20 LazyCompile:~a b.js:1\n7f20 10 b\nnot a line\n7f00 8 a again\n7fff zz x\n";
        std::fs::write(&path, text).unwrap();
        let map = Generated::written(read_map(&path));
        assert_eq!(name(&map, 0x7eff), None);
        assert_eq!(name(&map, 0x7f00).as_deref(), Some("a again"));
        assert_eq!(name(&map, 0x7f08).as_deref(), Some("LazyCompile:~a b.js:1"));
        assert_eq!(name(&map, 0x7f1f).as_deref(), Some("LazyCompile:~a b.js:1"));
        assert_eq!(name(&map, 0x7f20).as_deref(), Some("b"));
        assert_eq!(name(&map, 0x7f30), None);
        assert!(read_map(folder.path()).is_empty());
    }

    #[test]
    fn what_is_written_last_counts_wherever_it_begins() {
        let write = |functions: &[(u64, u64, &str)]| {
            let functions = functions.iter().map(|&(start, end, name)| {
                Function::new(start, end - start, name.as_bytes()).unwrap()
            });
            Generated::written(functions.collect())
        };
        let names = |generated: &Generated| -> String {
            let name = |at| name(generated, at).unwrap_or_else(|| "-".into());
            (0..12).map(name).collect()
        };
        let a = (2, 8, "a");
        assert_eq!(names(&write(&[a])), "--aaaaaa----");
        assert_eq!(names(&write(&[a, (0, 4, "b")])), "bbbbaaaa----");
        assert_eq!(names(&write(&[a, (4, 6, "b")])), "--aabbaa----");
        assert_eq!(names(&write(&[a, (6, 10, "b")])), "--aaaabbbb--");
        assert_eq!(
            names(&write(&[a, (8, 9, "b"), (0, 12, "c")])),
            "cccccccccccc"
        );
        assert_eq!(
            names(&write(&[a, (8, 11, "b"), (7, 10, "c")])),
            "--aaaaacccb-"
        );
        assert_eq!(
            names(&write(&[(0, 12, "b"), a, (2, 3, "c")])),
            "bbcaaaaabbbb"
        );
    }

    /// A dump with a function `f` of 16 bytes at 0x1000 that moves to 0x2000, and a `g`.
    fn dump() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [DUMP_MAGIC, 1, 40, 62, 0, 7] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([0; 16]);
        let mut record = |kind: u32, numbers: &[u64], rest: &[u8]| {
            let length = 16 + 8 + numbers.len() * 8 + rest.len();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend((length as u32).to_ne_bytes());
            bytes.extend([0; 16]);
            numbers
                .iter()
                .for_each(|number| bytes.extend(number.to_ne_bytes()));
            bytes.extend(rest);
        };
        record(CODE_LOAD, &[0x1000, 0x1000, 16, 1], b"f\0................");
        record(2, &[0x1000, 0], b"lines");
        record(CODE_MOVE, &[0, 0x1000, 0x2000, 16, 1], b"");
        record(CODE_LOAD, &[0, 0x1000, 8, 2], b"g\0........");
        bytes
    }

    #[test]
    fn a_dump_is_read_record_by_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit-7.dump");
        std::fs::write(&path, dump()).unwrap();
        let generated = Generated::written(read_dump(&path));
        assert_eq!(name(&generated, 0x1004).as_deref(), Some("g"));
        assert_eq!(name(&generated, 0x100c).as_deref(), Some("f"));
        assert_eq!(name(&generated, 0x200f).as_deref(), Some("f"));
        assert_eq!(name(&generated, 0x2010), None);
    }

    #[test]
    fn a_dump_cut_anywhere_names_what_was_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit-7.dump");
        let whole = dump();
        let mut most = 0;
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let found = read_dump(&path).len();
            assert!(found >= most);
            most = found;
        }
        assert_eq!(most, 3);
        // A record that says it is shorter than it is.
        let mut short = whole;
        short[44..48].copy_from_slice(&20_u32.to_ne_bytes());
        std::fs::write(&path, &short).unwrap();
        assert_eq!(read_dump(&path).len(), 1);
    }
}
