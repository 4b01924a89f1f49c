//! An object file's sections and symbols.
//!
//! Reads through the `object` crate, which takes ELF of either width and byte order (and Mach-O
//! and PE, whose symbol tables come with it). [`Image`] is a parsed file; [`Symbols`] its
//! functions sorted by address, built at the first question about that file.
//!
//! A symbol answers for the addresses it covers by its size, one without a size (hand-written
//! assembly) up to the next symbol. It never answers beyond: in a stripped library the gaps
//! between exported functions are other functions, and a wrong name is worse than none.

use std::borrow::Cow;
use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::locate::Locator;

/// Decompressed bytes of one section at most, for each compressed byte. zlib ends at about 1000,
/// zstd goes further on empty data only.
const EXPANSION_MAX: u64 = 2048;
/// Decompressed bytes of one section at most.
const SECTION_BYTES_MAX: u64 = 4 << 30;

/// A parsed object file, and where it was found.
pub(super) struct Image<'f> {
    file: object::File<'f>,
    path: &'f Path,
}

impl<'f> Image<'f> {
    /// Parses `bytes`; `None` if they are no object file.
    pub(super) fn parse(bytes: &'f [u8], path: &'f Path) -> Option<Image<'f>> {
        let file = object::File::parse(bytes).ok()?;
        Some(Image { file, path })
    }

    pub(super) fn path(&self) -> &'f Path {
        self.path
    }

    pub(super) fn is_little_endian(&self) -> bool {
        self.file.is_little_endian()
    }

    /// GNU build id; empty where there is none.
    pub(super) fn build_id(&self) -> &'f [u8] {
        self.file.build_id().ok().flatten().unwrap_or(&[])
    }

    /// File name and CRC of the separate debug file.
    pub(super) fn debug_link(&self) -> Option<(&'f [u8], u32)> {
        self.file.gnu_debuglink().ok().flatten()
    }

    /// File name and build id of the DWARF supplementary file (dwz).
    pub(super) fn debug_alt_link(&self) -> Option<(&'f [u8], &'f [u8])> {
        self.file.gnu_debugaltlink().ok().flatten()
    }

    /// Whether the file carries DWARF.
    pub(super) fn has_debug_info(&self) -> bool {
        // `object` finds `.zdebug_info` by this name too.
        self.file
            .section_by_name(".debug_info")
            .is_some_and(|section| section.size() > 0 && section.file_range().is_some())
    }

    /// The bytes of a section, decompressed; empty where there is none or it is damaged.
    pub(super) fn section(&self, name: &str, locator: &'f Locator) -> &'f [u8] {
        let Some(section) = self.file.section_by_name(name) else {
            return &[];
        };
        let Ok(data) = section.compressed_data() else {
            return &[];
        };
        let size = data.uncompressed_size;
        if size > SECTION_BYTES_MAX
            || data.format != object::CompressionFormat::None
                && size / EXPANSION_MAX > data.data.len() as u64
        {
            return &[];
        }
        match data.decompress() {
            Ok(Cow::Borrowed(bytes)) => bytes,
            Ok(Cow::Owned(bytes)) => locator.keep(bytes),
            Err(_) => &[],
        }
    }

    /// Whether there is a full symbol table.
    pub(super) fn has_symbol_table(&self) -> bool {
        self.file.symbol_table().is_some()
    }

    /// The functions of the full symbol table.
    pub(super) fn symbols(&self) -> Symbols<'f> {
        Symbols::new(self.file.symbols(), self.code_ranges())
    }

    /// The functions among the dynamic symbols.
    pub(super) fn dynamic_symbols(&self) -> Symbols<'f> {
        Symbols::new(self.file.dynamic_symbols(), self.code_ranges())
    }

    fn code_ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<_> = self
            .file
            .sections()
            .filter(|section| match section.flags() {
                // Not by kind: in a separate debug file the code has no bytes, hence another kind.
                object::SectionFlags::Elf { sh_flags, .. } => {
                    sh_flags.contains(object::elf::SHF_EXECINSTR)
                }
                _ => section.kind() == object::SectionKind::Text,
            })
            .map(|section| {
                (
                    section.address(),
                    section.address().saturating_add(section.size()),
                )
            })
            .collect();
        ranges.sort_unstable();
        ranges
    }
}

/// Functions by address.
pub(super) struct Symbols<'f> {
    /// Sorted by start; one a start.
    functions: Box<[Function<'f>]>,
}

struct Function<'f> {
    start: u64,
    end: u64,
    name: &'f [u8],
}

/// How many functions that start before an address are asked whether they cover it. Only
/// hand-written code nests symbols, and not deeply.
const NESTING_MAX: usize = 16;

/// One symbol as a candidate for its address; the greatest is taken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_function: bool,
    has_size: bool,
    is_global: bool,
    /// Of aliases, the one that programs call: `strdup` rather than `__strdup`.
    few_underscores: std::cmp::Reverse<usize>,
    short: std::cmp::Reverse<usize>,
}

impl<'f> Symbols<'f> {
    fn new<'a>(
        symbols: impl Iterator<Item = object::Symbol<'f, 'a>>,
        code_ranges: Vec<(u64, u64)>,
    ) -> Symbols<'f>
    where
        'f: 'a,
    {
        let mut found: Vec<(u64, u64, Rank, &'f [u8])> = symbols
            .filter(|symbol| !symbol.is_undefined())
            .filter_map(|symbol| {
                let is_function = symbol.kind() == SymbolKind::Text;
                let (start, size) = (symbol.address(), symbol.size());
                let name = symbol.name_bytes().ok()?;
                // `$x`, `$d`: marks of code and data on ARM, not names.
                if name.is_empty() || name.starts_with(b"$") || name.starts_with(b".L") {
                    return None;
                }
                if !is_function {
                    // Labels of assembly have no type. They count inside code only.
                    let untyped = matches!(symbol.kind(), SymbolKind::Unknown | SymbolKind::Label);
                    if !untyped || section_end(&code_ranges, start).is_none() {
                        return None;
                    }
                }
                let underscores = name.iter().take_while(|byte| **byte == b'_').count();
                let rank = Rank {
                    is_function,
                    has_size: size > 0,
                    is_global: symbol.is_global(),
                    few_underscores: std::cmp::Reverse(underscores),
                    short: std::cmp::Reverse(name.len()),
                };
                Some((start, size, rank, name))
            })
            .collect();
        // The best of each address first; the name makes the order whole.
        found.sort_unstable_by(|a, b| (a.0, &b.2, a.3).cmp(&(b.0, &a.2, b.3)));
        found.dedup_by_key(|symbol| symbol.0);
        let starts: Vec<u64> = found.iter().map(|symbol| symbol.0).collect();
        let functions = found
            .into_iter()
            .enumerate()
            .map(|(at, (start, size, _, name))| {
                let end = if size > 0 {
                    start.saturating_add(size)
                } else {
                    let next = starts.get(at + 1).copied().unwrap_or(u64::MAX);
                    next.min(section_end(&code_ranges, start).unwrap_or(start))
                };
                Function { start, end, name }
            })
            .collect();
        Symbols { functions }
    }

    /// The linkage name of the function that covers `file_address`.
    pub(super) fn name_at(&self, file_address: u64) -> Option<Cow<'f, str>> {
        let after = self
            .functions
            .partition_point(|function| function.start <= file_address);
        self.functions[..after]
            .iter()
            .rev()
            .take(NESTING_MAX)
            .find(|function| file_address < function.end)
            .map(|function| String::from_utf8_lossy(function.name))
    }
}

#[cfg(test)]
impl Symbols<'_> {
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> {
        self.functions.iter().map(|function| function.start)
    }
}

/// The end of the code section, among `ranges` sorted by start, that holds `address`.
fn section_end(ranges: &[(u64, u64)], address: u64) -> Option<u64> {
    let after = ranges.partition_point(|range| range.0 <= address);
    let end = ranges.get(after.checked_sub(1)?)?.1;
    (address < end).then_some(end)
}

// The offsets below count instructions of one byte.
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::super::testing::Workshop;
    use super::*;

    const ASSEMBLY: &str = r#"
        .text
        .globl outer, alias, __alias
        .type outer, @function
outer:  nop; nop
        .type nested, @function
nested: nop
        .size nested, .-nested
        nop; nop
        .size outer, .-outer
        nop
        .type alias, @function
        .type __alias, @function
alias:
__alias: nop
        .size alias, .-alias
        .size __alias, .-__alias
label:  nop; nop
"#;

    #[test]
    fn a_symbol_answers_for_what_it_covers_and_no_more() {
        let shop = Workshop::new();
        let source = shop.write("a.s", ASSEMBLY);
        let library = shop.path("a.so");
        shop.run(
            "gcc",
            &[
                "-nostdlib",
                "-shared",
                "-Wl,--build-id=none",
                "-o",
                &library,
                &source,
            ],
        );
        let locator = Locator::default();
        let image = locator.image(Path::new(&library)).unwrap();
        let symbols = image.symbols();
        let outer = symbols
            .functions
            .iter()
            .find(|f| f.name == b"outer")
            .unwrap()
            .start;
        let name = |offset| symbols.name_at(outer + offset).map(Cow::into_owned);
        let expected = [
            Some("outer"),  // 0
            Some("outer"),  // 1
            Some("nested"), // 2
            Some("outer"),  // 3: behind the nested one, still covered
            Some("outer"),  // 4
            None,           // 5: covered by nothing
            Some("alias"),  // 6: rather than `__alias`
            Some("label"),  // 7: no size, up to the section's end
            Some("label"),  // 8
            None,           // 9: behind the section
        ];
        for (offset, expected) in expected.iter().enumerate() {
            assert_eq!(name(offset as u64).as_deref(), *expected, "at {offset}");
        }
        assert_eq!(symbols.name_at(0), None);
        assert_eq!(symbols.name_at(u64::MAX), None);
        // The dynamic symbols know the exported ones only.
        let dynamic = image.dynamic_symbols();
        assert_eq!(dynamic.name_at(outer + 2).as_deref(), Some("outer"));
        assert_eq!(dynamic.name_at(outer + 8), None);
    }
}
