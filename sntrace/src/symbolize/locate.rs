//! Finding and mapping a module's file and the files that hold its debug info.
//!
//! This is the only input and output of the folder. Where things are looked for:
//!
//! | what | where |
//! |---|---|
//! | the module | its path; only if its build id (or else its inode) is still the one that was mapped |
//! | separate debug file | `ROOT/.build-id/xx/yyyy.debug`; then the name of `.gnu_debuglink` beside the module, in `.debug/` beside it, in `ROOT/<its folder>/`, proven by build id or CRC |
//! | supplementary file (dwz) | the name of `.gnu_debugaltlink`, relative to the file that names it; by build id as above |
//! | split DWARF | `<module>.dwp`; the path that the unit names, relative to its compilation folder; its file name beside the module |
//!
//! ROOT is `/usr/lib/debug`, or whatever [`Locator::debug_roots`] says. A file that was replaced
//! while the program ran would give wrong names, so it is refused, and counted as such.
//!
//! # Safety
//!
//! Files are mapped, not read: a name touches a few pages of what can be gigabytes. The bytes of
//! a mapped file can change under a reader, which Rust's `&[u8]` rules out. Debug info is
//! parsed with bounds checks at each read and nothing is derived from it but names, so a file
//! rewritten in place (rather than replaced, as linkers and package managers do) yields wrong
//! names at worst. A file *truncated* in place ends the launcher by SIGBUS; like every
//! debugger and profiler that maps its inputs, this one accepts that.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};

use super::arena::Arena;
use super::elf::Image;
use super::modules::FileIdentity;

/// Bytes that stay until the [`Locator`] goes.
enum Kept {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

/// Finds files, and owns the bytes of all that were found.
pub struct Locator {
    /// Where separate debug files are installed.
    pub debug_roots: Vec<PathBuf>,
    kept: Arena<Kept>,
    paths: Arena<PathBuf>,
    meters: Arena<super::meter::Meter>,
}

impl Default for Locator {
    fn default() -> Self {
        Locator::new(vec![PathBuf::from("/usr/lib/debug")])
    }
}

/// What was found of a module.
#[derive(Default)]
pub(super) struct Found<'f> {
    /// The module's own file.
    pub(super) module: Option<Image<'f>>,
    /// Its separate debug file.
    pub(super) debug: Option<Image<'f>>,
    /// There is a file at the module's path, but another than the one that was mapped.
    pub(super) replaced: bool,
}

impl Locator {
    /// A locator that looks for debug files below `debug_roots`.
    #[must_use]
    pub fn new(debug_roots: Vec<PathBuf>) -> Locator {
        Locator {
            debug_roots,
            kept: Arena::default(),
            paths: Arena::default(),
            meters: Arena::default(),
        }
    }

    /// Keeps `bytes`.
    pub(super) fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        self.kept.keep(Kept::Owned(bytes)).bytes()
    }

    /// Keeps `meter`, which stands beside the bytes it is about.
    pub(super) fn keep_meter(&self, meter: super::meter::Meter) -> &super::meter::Meter {
        self.meters.keep(meter)
    }

    /// Maps a regular file.
    pub(super) fn map(&self, path: &Path) -> Option<&[u8]> {
        // Asked before opening: opening a FIFO or a device may wait or act.
        let metadata = std::fs::metadata(path).ok()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return None;
        }
        let file = File::open(path).ok()?;
        // SAFETY: the file may change while it is mapped; the module's documentation says why
        // that is accepted. Nothing here writes through the map.
        let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
        Some(self.kept.keep(Kept::Mapped(map)).bytes())
    }

    /// Maps and parses an object file.
    pub(super) fn image(&self, path: &Path) -> Option<Image<'_>> {
        let bytes = self.map(path)?;
        Image::parse(bytes, self.paths.keep(path.to_owned()))
    }

    /// Finds a module's file and its separate debug file.
    pub(super) fn find(&self, identity: &FileIdentity) -> Found<'_> {
        let mut found = Found::default();
        // `[vdso]`, `[heap]`: the kernel's names for what no file backs.
        if identity.path.is_empty() || identity.path.starts_with(b"[") {
            return found;
        }
        let path = path_of(&identity.path);
        found.module = self.image(&path).filter(|image| {
            let same = if identity.build_id.is_empty() && image.build_id().is_empty() {
                !inode_differs(&path, identity)
            } else {
                image.build_id() == identity.build_id
            };
            found.replaced = !same;
            same
        });
        if found.module.is_none()
            && let Some(stem) = identity.path.strip_suffix(b" (deleted)")
            && !identity.build_id.is_empty()
        {
            // Deleted and put back, as package managers do: the same only by build id.
            found.module = self
                .image(&path_of(stem))
                .filter(|image| image.build_id() == identity.build_id);
        }
        if found.module.as_ref().is_some_and(Image::has_debug_info) {
            return found;
        }
        found.debug = self
            .by_build_id(&identity.build_id)
            .or_else(|| self.by_debug_link(found.module.as_ref()?));
        found
    }

    /// The debug file that is installed under a build id.
    fn by_build_id(&self, build_id: &[u8]) -> Option<Image<'_>> {
        let (first, rest) = build_id.split_first()?;
        let mut name = hex(rest);
        name.push_str(".debug");
        self.debug_roots.iter().find_map(|root| {
            let path = root.join(".build-id").join(hex(&[*first])).join(&name);
            self.image(&path)
                .filter(|image| image.build_id() == build_id)
        })
    }

    /// The debug file that `.gnu_debuglink` names.
    fn by_debug_link(&self, module: &Image<'_>) -> Option<Image<'_>> {
        let (name, crc) = module.debug_link()?;
        // Only ever a file's name: anything else is not followed out of the folders below.
        let name = path_of(name);
        let name = name.file_name()?;
        let mut folders = Vec::new();
        // The path as it was given, and as it really is: /lib is a link to /usr/lib, and debug
        // files are installed for either.
        for path in [
            Some(module.path().to_owned()),
            module.path().canonicalize().ok(),
        ] {
            if let Some(folder) = path.as_deref().and_then(Path::parent)
                && !folders.contains(&folder.to_owned())
            {
                folders.push(folder.to_owned());
            }
        }
        let candidates = folders.iter().flat_map(|folder| {
            let inside = folder.strip_prefix("/").unwrap_or(folder).to_owned();
            [folder.join(name), folder.join(".debug").join(name)]
                .into_iter()
                .chain(
                    self.debug_roots
                        .iter()
                        .map(move |root| root.join(&inside).join(name)),
                )
        });
        for path in candidates {
            let Some(bytes) = self.map(&path) else {
                continue;
            };
            let Some(image) = Image::parse(bytes, self.paths.keep(path)) else {
                continue;
            };
            // Equal build ids prove more than a CRC, and spare reading the whole file.
            let proven = if module.build_id().is_empty() || image.build_id().is_empty() {
                crc32(bytes) == crc
            } else {
                image.build_id() == module.build_id()
            };
            // A module may be linked to itself by name; it has nothing to add then.
            if proven && (image.has_debug_info() || image.has_symbol_table()) {
                return Some(image);
            }
        }
        None
    }

    /// The DWARF supplementary file (dwz) of `image`.
    pub(super) fn supplementary(&self, image: &Image<'_>) -> Option<Image<'_>> {
        let (name, build_id) = image.debug_alt_link()?;
        let base = image.path().canonicalize().ok();
        base.as_deref()
            .and_then(Path::parent)
            .and_then(|folder| self.image(&folder.join(path_of(name))))
            .filter(|image| image.build_id() == build_id)
            .or_else(|| self.by_build_id(build_id))
    }

    /// The package of split DWARF beside `path`.
    pub(super) fn package(&self, path: &Path) -> Option<Image<'_>> {
        let mut name = path.as_os_str().to_owned();
        name.push(".dwp");
        self.image(Path::new(&name))
    }

    /// Where a split DWARF file may be, in order.
    pub(super) fn split_candidates(
        compilation_folder: Option<&[u8]>,
        name: &[u8],
        module: &Path,
    ) -> Vec<PathBuf> {
        let name = path_of(name);
        let named = match compilation_folder {
            Some(folder) => path_of(folder).join(&name),
            None => name.clone(),
        };
        let moved = name
            .file_name()
            .zip(module.parent())
            .map(|(name, folder)| folder.join(name));
        [Some(named), moved].into_iter().flatten().collect()
    }
}

impl Kept {
    fn bytes(&self) -> &[u8] {
        match self {
            Kept::Mapped(map) => map,
            Kept::Owned(bytes) => bytes,
        }
    }
}

/// A path from the bytes that the traced system uses.
pub(super) fn path_of(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    // Elsewhere paths are text; one that is not was never a path of this system.
    #[cfg(not(unix))]
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// Whether the file at `path` is certainly another one than `identity`.
fn inode_differs(path: &Path, identity: &FileIdentity) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // A differing device proves nothing: overlay and btrfs report another one for a mapping
        // than for the file.
        identity.inode != 0
            && std::fs::metadata(path)
                .is_ok_and(|found| found.dev() == identity.device && found.ino() != identity.inode)
    }
    #[cfg(not(unix))]
    {
        let _ = (path, identity);
        false
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The CRC of `.gnu_debuglink`: CRC-32 as of zip and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    0xedb8_8320 ^ value >> 1
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(!0u32, |crc, byte| {
        TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_usual_one() {
        // The check value of every list of CRCs.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let locator = Locator::default();
        assert!(locator.map(Path::new("/dev/zero")).is_none());
        assert!(locator.map(Path::new("/")).is_none());
        assert!(locator.map(Path::new("/dev/null")).is_none());
        assert!(locator.map(Path::new("/no/such/file")).is_none());
    }
}
