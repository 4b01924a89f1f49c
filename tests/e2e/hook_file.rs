//! The hook as a file: what it asks of the process it is loaded into.
//!
//! It must fit any libc, so it names no library it needs and no function but `dlsym`.

use std::path::{Path, PathBuf};

use object::read::elf::{Dyn as _, FileHeader as _, Sym as _};
use object::{Endianness, elf};

use crate::support::Sntrace;

/// A copy of the hook that sntrace puts into its programs, taken while one runs.
pub fn copy_of_the_hook(folder: &Path) -> PathBuf {
    let copy = folder.join("hook.so");
    // The first preloaded library, as the loader mapped it.
    let script = format!("cp \"${{LD_PRELOAD%%[: ]*}}\" '{}'", copy.display());
    Sntrace::default_transport()
        .run(&["sh", "-c", &script])
        .succeeds();
    copy
}

fn with_the_hook(check: impl FnOnce(&[u8], &elf::FileHeader64<Endianness>)) {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(copy_of_the_hook(folder.path())).unwrap();
    let header = elf::FileHeader64::<Endianness>::parse(&*bytes).unwrap();
    check(&bytes, header);
}

#[test]
fn the_hook_needs_no_library() {
    with_the_hook(|bytes, header| {
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, bytes).unwrap();
        let (entries, _) = sections
            .dynamic(endian, bytes)
            .unwrap()
            .expect("a dynamic section");
        let needed = entries
            .iter()
            .filter(|entry| entry.tag(endian) == elf::DT_NEEDED)
            .count();
        assert_eq!(needed, 0, "DT_NEEDED entries");
        let text_relocations = entries
            .iter()
            .filter(|entry| entry.tag(endian) == elf::DT_TEXTREL)
            .count();
        assert_eq!(text_relocations, 0, "text relocations");
    });
}

#[test]
fn the_hook_asks_for_dlsym_alone() {
    with_the_hook(|bytes, header| {
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, bytes).unwrap();
        let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM).unwrap();
        let wanted: Vec<String> = symbols
            .iter()
            .skip(1)
            .filter(|symbol| symbol.is_undefined(endian) && symbol.st_bind() != elf::STB_WEAK)
            .map(|symbol| {
                String::from_utf8_lossy(symbols.symbol_name(endian, symbol).unwrap()).into_owned()
            })
            .collect();
        assert_eq!(wanted, ["dlsym"]);
    });
}

#[test]
fn the_hook_defines_what_it_hooks_and_little_else() {
    with_the_hook(|bytes, header| {
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, bytes).unwrap();
        let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM).unwrap();
        let defined: Vec<&str> = symbols
            .iter()
            .skip(1)
            .filter(|symbol| !symbol.is_undefined(endian))
            .map(|symbol| {
                std::str::from_utf8(symbols.symbol_name(endian, symbol).unwrap()).unwrap()
            })
            .collect();
        for name in [
            "malloc",
            "calloc",
            "realloc",
            "reallocarray",
            "free",
            "posix_memalign",
            "aligned_alloc",
            "memalign",
        ] {
            assert!(defined.contains(&name), "{name} among {defined:?}");
        }
        let strange: Vec<_> = defined
            .iter()
            .filter(|name| name.contains("rust") || name.starts_with("mem") && **name != "memalign")
            .collect();
        assert!(
            strange.is_empty(),
            "symbols that could take the place of the program's own: {strange:?}"
        );
    });
}

#[test]
fn the_hook_defines_what_its_header_declares_and_no_more() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../libsnhook/include/snhook.h");
    let header = std::fs::read_to_string(header).unwrap();
    let mut declared: Vec<&str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("SNHOOK_IMPORT "))
        .map(|line| {
            let name = &line[line.find("snhook_").unwrap()..];
            // The type of the result may begin like that too.
            let name = name.strip_prefix("snhook_arena ").unwrap_or(name);
            name.split('(').next().unwrap()
        })
        .collect();
    declared.sort_unstable();
    assert!(declared.len() > 10, "{declared:?}");
    with_the_hook(|bytes, header| {
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, bytes).unwrap();
        let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM).unwrap();
        let mut defined: Vec<&str> = symbols
            .iter()
            .skip(1)
            .filter(|symbol| !symbol.is_undefined(endian))
            .map(|symbol| {
                std::str::from_utf8(symbols.symbol_name(endian, symbol).unwrap()).unwrap()
            })
            .filter(|name| name.starts_with("snhook_"))
            .collect();
        defined.sort_unstable();
        assert_eq!(defined, declared);
    });
}

#[test]
fn the_hook_runs_no_code_of_an_executable_stack() {
    with_the_hook(|bytes, header| {
        let endian = header.endian().unwrap();
        let stack = header
            .program_headers(endian, bytes)
            .unwrap()
            .iter()
            .find(|segment| segment.p_type.get(endian) == elf::PT_GNU_STACK)
            .expect(
                "a PT_GNU_STACK segment: without it every stack of the program becomes executable",
            );
        assert!(!stack.p_flags.get(endian).contains(elf::PF_X));
    });
}
