//! What an ELF file's header says about tracing it: facts, no verdicts.
//!
//! Only a few ranges of the file are read, not mapped: a file that shrinks meanwhile is then an
//! error and no SIGBUS. String tables above a limit are not searched: a verdict on a
//! gigabyte-sized program has to be quick too.

use std::fs::File;

use object::elf;
use object::read::elf::{
    Dyn as _, FileHeader, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _,
};
use object::read::{ReadCache, ReadRef, SectionIndex};

/// Longest string table that is searched for a sanitizer's symbols, in bytes.
const STRINGS_MAX: u64 = 64 << 20;

/// Facts of an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Processor that it is built for, an `EM_*` number.
    pub machine: u16,
    /// Words of 64 bits.
    pub is_64_bit: bool,
    /// Byte order.
    pub is_little_endian: bool,
    /// A program or shared library; else an object file or a core dump.
    pub is_executable: bool,
    /// The dynamic loader that it asks for; `None`: nothing is linked at start.
    pub loader: Option<Vec<u8>>,
    /// It calls itself a shared library: so does a dynamic loader that is run as a program.
    pub has_library_name: bool,
    /// The sanitizer that is linked in.
    pub sanitizer: Option<Sanitizer>,
}

/// Sanitizers that bring an allocator of their own and refuse another in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitizer {
    /// `-fsanitize=address`
    Address,
    /// `-fsanitize=hwaddress`
    HardwareAddress,
    /// `-fsanitize=leak`
    Leak,
    /// `-fsanitize=memory`
    Memory,
    /// `-fsanitize=thread`
    Thread,
}

impl Sanitizer {
    const ALL: [Self; 5] = [
        Self::Address,
        Self::HardwareAddress,
        Self::Leak,
        Self::Memory,
        Self::Thread,
    ];

    /// The name people know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "AddressSanitizer",
            Self::HardwareAddress => "HWAddressSanitizer",
            Self::Leak => "LeakSanitizer",
            Self::Memory => "MemorySanitizer",
            Self::Thread => "ThreadSanitizer",
        }
    }

    /// The argument of `-fsanitize=`.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::HardwareAddress => "hwaddress",
            Self::Leak => "leak",
            Self::Memory => "memory",
            Self::Thread => "thread",
        }
    }

    /// gcc's and clang's shared run-time libraries, up to the version or architecture. The hook has
    /// the same list, for what a traced program starts (libsnhook's `target.rs`).
    fn libraries(self) -> [&'static [u8]; 2] {
        match self {
            Self::Address => [b"libasan.so", b"libclang_rt.asan"],
            Self::HardwareAddress => [b"libhwasan.so", b"libclang_rt.hwasan"],
            Self::Leak => [b"liblsan.so", b"libclang_rt.lsan"],
            Self::Memory => [b"libmsan.so", b"libclang_rt.msan"],
            Self::Thread => [b"libtsan.so", b"libclang_rt.tsan"],
        }
    }

    /// The sanitizer whose run-time library has this file name.
    #[must_use]
    pub fn of_library(name: &[u8]) -> Option<Self> {
        let is_of = |sanitizer: &Self| {
            sanitizer
                .libraries()
                .iter()
                .any(|one| name.starts_with(one))
        };
        Self::ALL.into_iter().find(is_of)
    }

    /// The function by which a run-time library that is linked statically starts.
    fn entry(self) -> &'static [u8] {
        match self {
            Self::Address => b"__asan_init",
            Self::HardwareAddress => b"__hwasan_init",
            Self::Leak => b"__lsan_init",
            Self::Memory => b"__msan_init",
            Self::Thread => b"__tsan_init",
        }
    }
}

/// Reads the facts. The error says what is damaged.
pub fn read(file: File) -> Result<Header, object::read::Error> {
    let data = ReadCache::new(file);
    // The fifth byte is the class. Where it is missing, the parser says so.
    match (&data).read_bytes_at(4, 1) {
        Ok(class) if class[0] == elf::ELFCLASS32.0 => {
            read_class::<elf::FileHeader32<object::Endianness>>(&data)
        }
        _ => read_class::<elf::FileHeader64<object::Endianness>>(&data),
    }
}

fn read_class<Elf: FileHeader<Endian = object::Endianness>>(
    data: &ReadCache<File>,
) -> Result<Header, object::read::Error> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let mut loader = None;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            loader = Some(path.to_vec());
        }
    }
    // Section headers may be stripped or damaged: without them a program still runs, and nothing
    // speaks against tracing it.
    let (has_library_name, sanitizer) = linked::<Elf>(header, endian, data).unwrap_or_default();
    let kind = header.e_type(endian);
    Ok(Header {
        machine: header.e_machine(endian).0,
        is_64_bit: header.is_type_64(),
        is_little_endian: header.is_little_endian(),
        is_executable: kind == elf::ET_EXEC || kind == elf::ET_DYN,
        loader,
        has_library_name,
        sanitizer,
    })
}

/// Whether the file has a library's name (`DT_SONAME`), and the sanitizer linked in.
fn linked<Elf: FileHeader<Endian = object::Endianness>>(
    header: &Elf,
    endian: Elf::Endian,
    data: &ReadCache<File>,
) -> Result<(bool, Option<Sanitizer>), object::read::Error> {
    let sections = header.sections(endian, data)?;
    let mut has_library_name = false;
    let mut sanitizer = None;
    if let Some((entries, strings_index)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, strings_index)?;
        for entry in entries {
            match entry.tag(endian) {
                elf::DT_NULL => break,
                elf::DT_SONAME => has_library_name = true,
                elf::DT_NEEDED => {
                    let name = entry.string(endian, strings)?;
                    sanitizer = sanitizer.or_else(|| Sanitizer::of_library(name));
                }
                _ => {}
            }
        }
    }
    for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
        if sanitizer.is_some() {
            break;
        }
        let symbols = sections.symbols(endian, data, kind)?;
        if symbols.is_empty() {
            continue;
        }
        let Some(found) = entry_in_strings(&sections, endian, data, symbols.string_section())?
        else {
            continue;
        };
        // A weak reference only asks whether a sanitizer is there.
        let (candidate, name_offset) = found;
        let is_there = symbols.iter().any(|symbol| {
            symbol.st_name(endian) == name_offset
                && !(symbol.is_undefined(endian) && symbol.st_bind() == elf::STB_WEAK)
        });
        sanitizer = is_there.then_some(candidate);
    }
    Ok((has_library_name, sanitizer))
}

/// The first name of a sanitizer's entry in a string table, and its offset there. One pass over
/// the bytes, where asking for each symbol's name would be a look-up for each.
fn entry_in_strings<'data, Elf: FileHeader<Endian = object::Endianness>>(
    sections: &SectionTable<'data, Elf, &'data ReadCache<File>>,
    endian: Elf::Endian,
    data: &'data ReadCache<File>,
    index: SectionIndex,
) -> Result<Option<(Sanitizer, u32)>, object::read::Error> {
    let section = sections.section(index)?;
    if section.sh_size(endian).into() > STRINGS_MAX {
        return Ok(None);
    }
    let strings = section.data(endian, data)?;
    let mut offset = 0;
    for name in strings.split(|&byte| byte == 0) {
        if name.starts_with(b"__")
            && let Some(sanitizer) = Sanitizer::ALL.into_iter().find(|s| s.entry() == name)
        {
            return Ok(u32::try_from(offset).ok().map(|offset| (sanitizer, offset)));
        }
        offset += name.len() + 1;
    }
    Ok(None)
}

/// The usual name of a processor, for messages.
#[must_use]
pub fn machine_name(machine: u16, is_64_bit: bool, is_little_endian: bool) -> String {
    let name = match (elf::Machine(machine), is_64_bit, is_little_endian) {
        (elf::EM_X86_64, true, _) => "x86-64",
        (elf::EM_X86_64, false, _) => "x86-64 with 32-bit pointers (x32)",
        (elf::EM_386, ..) => "32-bit x86 (i386)",
        (elf::EM_AARCH64, ..) => "aarch64",
        (elf::EM_ARM, ..) => "32-bit ARM",
        (elf::EM_RISCV, true, _) => "riscv64",
        (elf::EM_RISCV, false, _) => "riscv32",
        (elf::EM_PPC64, _, true) => "ppc64le",
        (elf::EM_PPC64, _, false) => "ppc64",
        (elf::EM_S390, ..) => "s390x",
        (elf::EM_LOONGARCH, ..) => "loongarch64",
        (elf::EM_MIPS, ..) => "MIPS",
        _ => return format!("a processor with ELF machine number {machine}"),
    };
    name.to_owned()
}
