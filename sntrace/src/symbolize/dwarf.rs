//! Functions, inlined functions and lines from DWARF, through `addr2line`.
//!
//! `addr2line` parses lazily: at first the list of units with their address ranges, then the
//! functions and lines of those units that are asked. [`Dwarf`] feeds it: sections (compressed
//! ones decompressed), the supplementary file of dwz, and split DWARF, from a `.dwp` package or
//! from `.dwo` files, when a unit turns out to be split. All reading is metered: see
//! [`super::meter`] for what that bounds.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use addr2line::{LookupContinuation, LookupResult, SplitDwarfLoad};
use gimli::{RunTimeEndian, SectionId};

use super::elf::Image;
use super::locate::Locator;
use super::meter::{Meter, Metered};

/// A function that covers an address, as DWARF tells it.
pub(super) struct DwarfFrame {
    /// Linkage name where there is one, else the name in the source.
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// The DWARF of one module.
pub(super) struct Dwarf<'f> {
    context: addr2line::Context<Metered<'f>>,
    package: OnceCell<Option<gimli::DwarfPackage<Metered<'f>>>>,
    meter: &'f Meter,
    locator: &'f Locator,
    /// The module's own path, beside which split DWARF is looked for.
    module: &'f Path,
}

/// Sections that naming an address takes. The others (types, locations of variables, macros)
/// can be most of the file and would be decompressed for nothing.
fn is_needed(id: SectionId) -> bool {
    use SectionId::*;
    matches!(
        id,
        DebugAbbrev
            | DebugAddr
            | DebugAranges
            | DebugCuIndex
            | DebugInfo
            | DebugLine
            | DebugLineStr
            | DebugRanges
            | DebugRngLists
            | DebugStr
            | DebugStrOffsets
    )
}

fn endian(image: &Image<'_>) -> RunTimeEndian {
    if image.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big }
}

impl<'f> Dwarf<'f> {
    /// The DWARF in `image`, which is the file of the module at `module` or its debug file.
    /// `None` if there is none, or none that can be read.
    pub(super) fn load(image: &Image<'f>, module: &'f Path, locator: &'f Locator) -> Option<Dwarf<'f>> {
        let mut bytes = 0;
        let mut sections = |image: &Image<'f>| {
            gimli::DwarfSections::load(|id| {
                let section = if is_needed(id) { image.section(id.name(), locator) } else { &[] };
                bytes += section.len() as u64;
                Ok::<&[u8], gimli::Error>(section)
            })
            .ok()
        };
        let main = sections(image)?;
        let supplementary = locator.supplementary(image).and_then(|image| sections(&image));
        let meter = locator.keep_meter(Meter::new(bytes));
        meter.start();
        let endian = endian(image);
        let mut dwarf = main.borrow_with_sup(supplementary.as_ref(), |section| {
            Metered::new(section, endian, meter)
        });
        // Units that share their abbreviations (Rust's do) parse them once.
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        Some(Dwarf {
            context: addr2line::Context::from_dwarf(dwarf).ok()?,
            package: OnceCell::new(),
            meter,
            locator,
            module,
        })
    }

    /// The functions that cover `file_address`, the innermost inlined one first; empty where
    /// DWARF knows nothing or contradicts itself.
    pub(super) fn frames(&self, file_address: u64) -> Vec<DwarfFrame> {
        let mut found = Vec::new();
        // addr2line looks for `address..address + 1`.
        if file_address == u64::MAX {
            return found;
        }
        self.meter.start();
        let mut lookup = self.context.find_frames(file_address);
        let frames = loop {
            match lookup {
                LookupResult::Output(output) => break output,
                LookupResult::Load { load, continuation } => {
                    lookup = continuation.resume(self.split(&load).map(Arc::new));
                }
            }
        };
        let Ok(mut frames) = frames else { return found };
        loop {
            match frames.next() {
                Ok(Some(frame)) => {
                    let location = frame.location.as_ref();
                    found.push(DwarfFrame {
                        function: frame
                            .function
                            .and_then(|function| Some(function.raw_name().ok()?.into_owned()))
                            .filter(|name| !name.is_empty()),
                        file: location.and_then(|location| location.file).map(str::to_owned),
                        line: location.and_then(|location| location.line),
                    });
                }
                Ok(None) => return found,
                // Half a chain of inlined functions would name the wrong outer function.
                Err(_) => return Vec::new(),
            }
        }
    }

    /// Loads the split part of a unit.
    fn split(&self, load: &SplitDwarfLoad<Metered<'f>>) -> Option<gimli::Dwarf<Metered<'f>>> {
        if let Some(package) = self.package.get_or_init(|| self.open_package())
            && let Ok(Some(dwarf)) = package.find_cu(load.dwo_id, &load.parent)
        {
            return Some(dwarf);
        }
        let folder = load.comp_dir.as_ref().map(Metered::bytes);
        Locator::split_candidates(folder, load.path.as_ref()?.bytes(), self.module)
            .iter()
            .filter_map(|path| self.locator.image(path))
            .find_map(|image| self.open_split(&image, load))
    }

    fn open_split(
        &self,
        image: &Image<'f>,
        load: &SplitDwarfLoad<Metered<'f>>,
    ) -> Option<gimli::Dwarf<Metered<'f>>> {
        let section = |id: SectionId| self.split_section(image, id.dwo_name().filter(|_| is_needed(id)));
        let mut dwarf = gimli::Dwarf::load(|id| Ok::<_, gimli::Error>(section(id))).ok()?;
        // The file may be of another build: its unit says which skeleton it belongs to.
        let header = dwarf.units().next().ok()??;
        let unit = dwarf.unit(header).ok()?;
        if unit.dwo_id != Some(load.dwo_id) {
            return None;
        }
        dwarf.make_dwo(&load.parent);
        Some(dwarf)
    }

    fn open_package(&self) -> Option<gimli::DwarfPackage<Metered<'f>>> {
        let image = self.locator.package(self.module)?;
        let empty = Metered::new(&[], endian(&image), self.meter);
        // All sections: the index of a package cuts a unit's part out of each of them, and an
        // error in any makes the unit fail.
        let section = |id: SectionId| self.split_section(&image, id.dwo_name());
        gimli::DwarfPackage::load(|id| Ok::<_, gimli::Error>(section(id)), empty).ok()
    }

    fn split_section(&self, image: &Image<'f>, name: Option<&str>) -> Metered<'f> {
        let bytes = name.map_or(&[][..], |name| image.section(name, self.locator));
        self.meter.refuel(bytes.len() as u64);
        Metered::new(bytes, endian(image), self.meter)
    }

    #[cfg(test)]
    pub(super) fn fuel(&self) -> u64 {
        self.meter.fuel()
    }
}
