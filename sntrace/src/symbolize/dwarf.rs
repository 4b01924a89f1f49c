//! Functions, inlined functions and lines from DWARF, through `addr2line`.
//!
//! [`Dwarf`] feeds `addr2line`: sections (compressed ones decompressed), the supplementary file
//! of dwz, and [split DWARF](super::split) when a unit turns out to be split. All reading is metered: see [`super::meter`] for what that bounds.
//!
//! `addr2line` parses functions and lines of a unit when they are asked for, but a context of it
//! begins with the head and the abbreviations of *every* unit: 25 ms for Debian's `libc6-dbg`,
//! which nearly every run asks. So where `.debug_aranges` tells which unit covers an address
//! (gcc writes it, clang does not), that unit gets a small context of its own, as if it were
//! alone in the file. That works for units that refer to themselves only; units that share
//! entries with others (dwz, link-time optimization) and addresses that the table does not
//! know take the context of the whole file.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use addr2line::{LookupContinuation, LookupResult};
use gimli::{Reader, RunTimeEndian, Section, SectionId};

use super::demangle::is_mangled;
use super::elf::Image;
use super::hash::AddressMap;
use super::locate::Locator;
use super::meter::{Meter, Metered};
use super::rust_path;
use super::split::SplitFiles;

/// A function that covers an address, as DWARF tells it.
pub(super) struct DwarfFrame {
    /// Linkage name where there is one, else the name in the source.
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

type Context<'f> = addr2line::Context<Metered<'f>>;

/// The DWARF of one module.
pub(super) struct Dwarf<'f> {
    main: Sections<'f>,
    supplementary: Option<Sections<'f>>,
    endian: RunTimeEndian,
    /// What `main` holds, to find units in.
    sections: gimli::Dwarf<Metered<'f>>,
    /// Ranges of addresses and the offset of their unit, sorted by start.
    ranges: Box<[(u64, u64, usize)]>,
    /// Contexts of single units by their offset; `None` for those that need the whole file.
    units: AddressMap<usize, Option<Context<'f>>>,
    whole: OnceCell<Option<Context<'f>>>,
    split: SplitFiles<'f>,
    meter: &'f Meter,
}

/// Sections that naming an address takes. The others (types, locations of variables, macros)
/// can be most of the file and would be decompressed for nothing.
const NEEDED: [SectionId; 10] = [
    SectionId::DebugInfo,
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

pub(super) fn is_needed(id: SectionId) -> bool {
    NEEDED.contains(&id)
}

type Sections<'f> = [(SectionId, &'f [u8]); NEEDED.len()];

/// Decompressing them is what the first name waits for (libc6-dbg: 8 MB in 20 ms). Tried: two
/// threads at it take longer, as they meet in the kernel over their page faults.
fn load_sections<'f>(image: &Image<'f>, locator: &'f Locator) -> Sections<'f> {
    NEEDED.map(|id| (id, image.section(id.name(), locator)))
}

fn dwarf_of<'f>(
    sections: &Sections<'f>,
    endian: RunTimeEndian,
    meter: &'f Meter,
) -> gimli::Dwarf<Metered<'f>> {
    let section = |id: SectionId| {
        let found = sections.iter().find(|section| section.0 == id);
        Metered::new(found.map_or(&[], |section| section.1), endian, meter)
    };
    let Ok(dwarf) = gimli::Dwarf::load(|id| Ok::<_, std::convert::Infallible>(section(id)));
    dwarf
}

pub(super) fn endian(image: &Image<'_>) -> RunTimeEndian {
    if image.is_little_endian() {
        RunTimeEndian::Little
    } else {
        RunTimeEndian::Big
    }
}

impl<'f> Dwarf<'f> {
    /// The DWARF in `image`, which is the file of the module at `module` or its debug file.
    /// `None` if there is none, or none that can be read.
    pub(super) fn load(
        image: &Image<'f>,
        module: &'f Path,
        locator: &'f Locator,
    ) -> Option<Dwarf<'f>> {
        let main = load_sections(image, locator);
        let supplementary = locator
            .supplementary(image)
            .map(|image| load_sections(&image, locator));
        let size = |sections: &Sections<'f>| {
            sections
                .iter()
                .map(|section| section.1.len() as u64)
                .sum::<u64>()
        };
        let bytes = size(&main) + supplementary.as_ref().map_or(0, size);
        let meter = locator.keep_meter(Meter::new(bytes));
        meter.start();
        let endian = endian(image);
        let sections = dwarf_of(&main, endian, meter);
        Some(Dwarf {
            main,
            supplementary,
            endian,
            ranges: unit_ranges(&sections),
            sections,
            units: AddressMap::default(),
            whole: OnceCell::new(),
            split: SplitFiles::new(module, meter, locator),
            meter,
        })
    }

    /// The functions that cover `file_address`, the innermost inlined one first; empty where
    /// How often debug info wanted more than honest one takes, and was refused.
    pub(super) fn refused(&self) -> u64 {
        self.meter.refused()
    }

    /// DWARF knows nothing or contradicts itself.
    pub(super) fn frames(&mut self, file_address: u64) -> Vec<DwarfFrame> {
        let mut found = Vec::new();
        // addr2line looks for `address..address + 1`.
        if file_address == u64::MAX {
            return found;
        }
        self.meter.start();
        if let Some(unit) = self.unit_of(file_address) {
            if !self.units.contains_key(&unit) {
                let context = self.open_unit(unit);
                self.units.insert(unit, context);
            }
            if let Some(Some(context)) = self.units.get(&unit) {
                found = frames_in(context, &self.split, file_address);
            }
        }
        if found.is_empty()
            && let Some(whole) = self.whole.get_or_init(|| self.whole_context())
        {
            found = frames_in(whole, &self.split, file_address);
        }
        found
    }

    /// The unit that covers an address, as `.debug_aranges` has it.
    fn unit_of(&self, file_address: u64) -> Option<usize> {
        let after = self.ranges.partition_point(|range| range.0 <= file_address);
        let (_, end, unit) = self.ranges[after.checked_sub(1)?];
        (file_address < end).then_some(unit)
    }

    /// A context of the unit at offset `unit` alone; `None` if it needs others, or is damaged.
    fn open_unit(&self, unit: usize) -> Option<Context<'f>> {
        let header = self
            .sections
            .unit_header(gimli::DebugInfoOffset(unit))
            .ok()?;
        let mut abbreviations = *self.sections.debug_abbrev.reader();
        abbreviations.skip(header.debug_abbrev_offset().0).ok()?;
        if refers_to_others(&mut abbreviations).unwrap_or(true) {
            return None;
        }
        let mut info = *self.sections.debug_info.reader();
        info.skip(unit).ok()?;
        info.truncate(header.length_including_self()).ok()?;
        let mut nothing = info;
        nothing.empty();
        let mut alone = dwarf_of(&self.main, self.endian, self.meter);
        alone.debug_info = info.into();
        // Its offsets are those of the whole file.
        alone.debug_aranges = nothing.into();
        Context::from_dwarf(alone).ok()
    }

    fn whole_context(&self) -> Option<Context<'f>> {
        let mut sections = dwarf_of(&self.main, self.endian, self.meter);
        if let Some(supplementary) = &self.supplementary {
            sections.set_sup(dwarf_of(supplementary, self.endian, self.meter));
        }
        // Units that share their abbreviations (Rust's do) parse them once.
        sections.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        Context::from_dwarf(sections).ok()
    }

    #[cfg(test)]
    pub(super) fn fuel(&self) -> u64 {
        self.meter.fuel()
    }
}

fn frames_in<'f>(
    context: &Context<'f>,
    split: &SplitFiles<'f>,
    file_address: u64,
) -> Vec<DwarfFrame> {
    let mut found = Vec::new();
    let mut lookup = context.find_frames(file_address);
    let frames = loop {
        match lookup {
            LookupResult::Output(output) => break output,
            LookupResult::Load { load, continuation } => {
                lookup = continuation.resume(split.open(&load).map(Arc::new));
            }
        }
    };
    let Ok(mut frames) = frames else { return found };
    loop {
        match frames.next() {
            Ok(Some(frame)) => {
                let location = frame.location.as_ref();
                let file = location.and_then(|location| location.file);
                found.push(DwarfFrame {
                    function: frame
                        .function
                        .and_then(|function| name_of(&function, file))
                        .filter(|name| !name.is_empty()),
                    file: file.map(str::to_owned),
                    line: location.and_then(|location| location.line),
                });
            }
            Ok(None) => return found,
            // Half a chain of inlined functions would name the wrong outer function.
            Err(_) => return Vec::new(),
        }
    }
}

/// A function's name as debug information has it; of a Rust function without a path, with the one that its source file tells.
fn name_of(function: &addr2line::FunctionName<Metered<'_>>, file: Option<&str>) -> Option<String> {
    let name = function.raw_name().ok()?;
    if function.language == Some(gimli::DW_LANG_Rust)
        && !is_mangled(&name)
        && let Some(whole) = file.and_then(|file| rust_path::qualified(&name, file))
    {
        return Some(whole);
    }
    Some(name.into_owned())
}

/// The ranges of `.debug_aranges`. Nothing of a damaged table is used.
fn unit_ranges(sections: &gimli::Dwarf<Metered<'_>>) -> Box<[(u64, u64, usize)]> {
    let read = || {
        let mut ranges = Vec::new();
        let mut headers = sections.debug_aranges.headers();
        while let Some(header) = headers.next()? {
            let mut entries = header.entries();
            while let Some(entry) = entries.next()? {
                let range = entry.range();
                // Code that the linker dropped is left at 0.
                if range.begin != 0 && range.begin < range.end {
                    ranges.push((range.begin, range.end, header.debug_info_offset().0));
                }
            }
        }
        ranges.sort_unstable();
        Ok::<_, gimli::Error>(ranges)
    };
    read().unwrap_or_default().into_boxed_slice()
}

/// Whether entries of these abbreviations may refer to other units or files.
fn refers_to_others(abbreviations: &mut Metered<'_>) -> gimli::Result<bool> {
    // Code, tag, one byte, then pairs of name and form up to (0, 0).
    while abbreviations.read_uleb128()? != 0 {
        abbreviations.skip_leb128()?;
        abbreviations.read_u8()?;
        loop {
            let name = abbreviations.read_uleb128_u16()?;
            let form = gimli::DwForm(abbreviations.read_uleb128_u16()?);
            match form {
                gimli::DW_FORM_ref_addr
                | gimli::DW_FORM_ref_sup4
                | gimli::DW_FORM_ref_sup8
                | gimli::DW_FORM_GNU_ref_alt
                | gimli::DW_FORM_strp_sup
                | gimli::DW_FORM_GNU_strp_alt
                | gimli::DW_FORM_indirect => return Ok(true),
                gimli::DW_FORM_implicit_const => abbreviations.skip_leb128()?,
                gimli::DwForm(0) if name == 0 => break,
                _ => {}
            }
        }
    }
    Ok(false)
}
