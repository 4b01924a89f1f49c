//! The file that an exec is about to run: which it is, and whether the hook would break it.
//!
//! A program built with a sanitizer brings an allocator of its own, whose start fails where another
//! library comes before it ("ASan runtime does not come first in initial library list"). sntrace
//! refuses such a program beforehand; one that a traced program starts must run as it would
//! alone, so it gets no hook. It is recognised by the run-time library that it names
//! (`DT_NEEDED`). One that has the run-time linked in puts its functions before the hook's and is not
//! disturbed.
//!
//! Everything else that can't be traced ignores the hook by itself. What is found here is only the
//! path, for the launcher to look at and say why.
//!
//! Phase: exec. Raw system calls only, in pages that are unmapped again before the exec: the caller
//! may be a `vfork` child, on its parent's memory and perhaps a small stack. Whatever can't be read is
//! left to the real function to judge.

use core::ffi::CStr;

use crate::elf_file;
use crate::environment;
use crate::environment::complete::Way;
use crate::hooks::real;
use crate::platform::sys;

/// How a program is named to exec.
#[derive(Clone, Copy)]
pub enum Named {
    /// By its path, a C string.
    Path(usize),
    /// By its name, to be looked up in PATH, or its path.
    Name(usize),
    /// By a descriptor.
    Descriptor(usize),
    /// By a path that begins in the folder behind a descriptor (`execveat`).
    At(usize, usize),
}

/// What is known of the file.
pub struct Target<'a> {
    /// Its absolute path as far as it could be found; empty if it could not.
    pub path: &'a [u8],
    /// What is to become of it.
    pub way: Way,
}

impl Target<'_> {
    /// Nothing is known.
    const UNKNOWN: Target<'static> = Target {
        path: &[],
        way: Way::Traced,
    };
}

/// `PATH_MAX`: with its zero, no path that the kernel takes is longer.
const PATH_BYTES: usize = 4096;
/// Where execvp looks when PATH is not set.
const DEFAULT_SEARCH_PATH: &[u8] = b"/bin:/usr/bin";
/// Where a process finds the files behind its descriptors.
const OWN_DESCRIPTORS: &[u8] = b"/proc/self/fd/";
/// How many interpreters the kernel follows.
const INTERPRETERS_MAX: usize = 4;

/// Memory for looking: too much for a stack.
#[repr(C)]
struct Scratch {
    path: [u8; PATH_BYTES],
    absolute: [u8; PATH_BYTES],
    file: [u8; elf_file::BUFFER],
}

/// Calls `call` with what is known of the program that `named` names.
///
/// # Safety
/// Strings are C strings.
pub unsafe fn with<R>(named: Named, call: impl FnOnce(&Target<'_>) -> R) -> R {
    let Some(pages) = sys::map_anonymous(size_of::<Scratch>()) else {
        return call(&Target::UNKNOWN);
    };
    // SAFETY: fresh pages of that size; zeros are valid.
    let scratch = unsafe { &mut *(pages as *mut Scratch) };
    // SAFETY: the caller's promise.
    let result = call(&unsafe { look(named, scratch) }.unwrap_or(Target::UNKNOWN));
    // SAFETY: nothing that the call returned can borrow from them.
    unsafe { sys::unmap(pages, size_of::<Scratch>()) };
    result
}

/// # Safety
/// As for [`with`].
unsafe fn look(named: Named, scratch: &mut Scratch) -> Option<Target<'_>> {
    let Scratch {
        path,
        absolute,
        file,
    } = scratch;
    let mut path = Text::new(path);
    // SAFETY: the caller's promise.
    unsafe { find(named, &mut path) }?;
    let way = if is_sanitized(path.terminated(), file) {
        Way::Untraced
    } else {
        Way::Traced
    };
    let mut absolute = Text::new(absolute);
    make_absolute(&path, &mut absolute)?;
    Some(Target {
        path: absolute.into_bytes(),
        way,
    })
}

/// Finds the file; `None` if there is none that may be executed.
///
/// # Safety
/// As for [`with`].
unsafe fn find(named: Named, path: &mut Text<'_>) -> Option<()> {
    match named {
        Named::Path(text) => {
            // SAFETY: the caller's promise.
            path.put(unsafe { bytes(text) }?)?;
        }
        Named::Name(text) => {
            // SAFETY: the caller's promise.
            let name = unsafe { bytes(text) }?;
            if !name.contains(&b'/') {
                return search(name, path);
            }
            path.put(name)?;
        }
        Named::Descriptor(fd) => path.put_descriptor(fd)?,
        Named::At(folder, text) => {
            const AT_FDCWD: i32 = -100;
            // SAFETY: the caller's promise.
            let rest = unsafe { bytes(text) }?;
            // An int: only the lower half of the register counts.
            let is_relative = rest.first() != Some(&b'/') && folder as i32 != AT_FDCWD;
            if is_relative {
                path.put_descriptor(folder)?;
            }
            if is_relative && !rest.is_empty() {
                path.put(b"/")?;
            }
            path.put(rest)?;
        }
    }
    sys::may_execute(path.terminated()).then_some(())
}

/// `execvp`'s search: the first file of this name in PATH that may be executed. (It would go on
/// after one that the kernel refuses; then exec fails here, and says so.)
fn search(name: &[u8], path: &mut Text<'_>) -> Option<()> {
    if name.is_empty() {
        return None;
    }
    // SAFETY: the C library's own environment.
    let folders = unsafe { environment::variable(real::environment(), b"PATH=") };
    for folder in folders
        .unwrap_or(DEFAULT_SEARCH_PATH)
        .split(|&byte| byte == b':')
    {
        path.clear();
        // An empty entry is the working folder.
        let found = path.put(folder).is_some()
            && (folder.is_empty() || path.put(b"/").is_some())
            && path.put(name).is_some()
            && sys::may_execute(path.terminated())
            && !sys::is_folder(path.terminated());
        if found {
            return Some(());
        }
    }
    None
}

/// Whether a program, or the interpreter of a script, names a sanitizer's library.
fn is_sanitized(path: &[u8], buffer: &mut [u8; elf_file::BUFFER]) -> bool {
    let mut fd = sys::open(path, sys::READ_ONLY_NOW);
    for _ in 0..=INTERPRETERS_MAX {
        let Some(open) = fd else { return false };
        elf_file::fill(open, buffer, 0);
        let Some(interpreter) = interpreter(buffer) else {
            let found = elf_file::names_library(open, buffer, is_sanitizer);
            sys::close(open);
            return found;
        };
        sys::close(open);
        fd = sys::open(interpreter, sys::READ_ONLY_NOW);
    }
    fd.inspect(|&fd| sys::close(fd));
    false
}

/// The interpreter of a script, with a zero behind it.
fn interpreter(start: &mut [u8; elf_file::BUFFER]) -> Option<&[u8]> {
    let line = start.strip_prefix(b"#!")?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let first = 2 + line.iter().position(|byte| !is_blank(byte))?;
    let name = start.get(first..)?;
    let length = name
        .iter()
        .position(|byte| is_blank(byte) || matches!(byte, b'\n' | 0))?;
    *start.get_mut(first + length)? = 0;
    start.get(first..=first + length)
}

/// Whether a library is a sanitizer's run-time that wants to come first: gcc's and clang's names, up
/// to the version or architecture. The launcher has the same list (`launch/header.rs`).
pub fn is_sanitizer(library: &[u8]) -> bool {
    let name = library
        .rsplit(|&byte| byte == b'/')
        .next()
        .unwrap_or(library);
    const NAMES: [&[u8]; 10] = [
        b"libasan.so",
        b"libhwasan.so",
        b"liblsan.so",
        b"libmsan.so",
        b"libtsan.so",
        b"libclang_rt.asan",
        b"libclang_rt.hwasan",
        b"libclang_rt.lsan",
        b"libclang_rt.msan",
        b"libclang_rt.tsan",
    ];
    NAMES.iter().any(|prefix| name.starts_with(prefix))
}

/// The path as every process sees it: what begins in a folder of this process's begins at the root.
fn make_absolute(path: &Text<'_>, absolute: &mut Text<'_>) -> Option<()> {
    let bytes = path.bytes();
    let rest = if let Some(number) = bytes.strip_prefix(OWN_DESCRIPTORS) {
        let digits = number
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (link, rest) = bytes.split_at(OWN_DESCRIPTORS.len() + digits);
        let mut name = [0u8; 64];
        name.get_mut(..link.len())?.copy_from_slice(link);
        absolute.put_link(name.get(..=link.len())?)?;
        rest
    } else if bytes.first() == Some(&b'/') {
        bytes
    } else {
        absolute.put_link(b"/proc/self/cwd\0")?;
        absolute.put(b"/")?;
        bytes.strip_prefix(b"./").unwrap_or(bytes)
    };
    absolute.put(rest)
}

/// # Safety
/// Null or a C string that lives long enough.
unsafe fn bytes<'a>(text: usize) -> Option<&'a [u8]> {
    if text == 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(text as *const _) }.to_bytes())
}

/// A path that is being made, with zeros behind it. What does not fit is no path: `None`.
struct Text<'a> {
    room: &'a mut [u8; PATH_BYTES],
    length: usize,
}

impl<'a> Text<'a> {
    fn new(room: &'a mut [u8; PATH_BYTES]) -> Self {
        Self { room, length: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        if end >= PATH_BYTES {
            return None;
        }
        self.room.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    fn put_descriptor(&mut self, fd: usize) -> Option<()> {
        self.put(OWN_DESCRIPTORS)?;
        // An int: only the lower half of the register counts.
        let mut number = u32::try_from(fd as i32).ok()?;
        let mut digits = [0u8; 10];
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            first -= 1;
            if number == 0 {
                break;
            }
        }
        self.put(digits.get(first..)?)
    }

    /// What a symbolic link (its path ended by a zero) leads to.
    fn put_link(&mut self, link: &[u8]) -> Option<()> {
        let room = self.room.get_mut(self.length..PATH_BYTES - 1)?;
        let length = sys::read_link(link, room);
        self.length += length;
        (length > 0).then_some(())
    }

    fn clear(&mut self) {
        self.room.fill(0);
        self.length = 0;
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or(&[])
    }

    fn terminated(&self) -> &[u8] {
        self.room.get(..=self.length).unwrap_or(b"\0")
    }

    fn into_bytes(self) -> &'a [u8] {
        self.room.get(..self.length).unwrap_or(&[])
    }
}
