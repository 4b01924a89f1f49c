//! Split DWARF: the part of a unit's debug info that the linker never saw.
//!
//! With `-gsplit-dwarf` a linked file keeps a skeleton of each unit (lines, address ranges), and
//! a name and an id of the file with the rest: a `.dwo` beside the object file, or its part of a
//! `.dwp` package beside the linked file. The id is checked, as the file may be of another
//! build.

use std::cell::OnceCell;
use std::path::Path;

use addr2line::SplitDwarfLoad;
use gimli::SectionId;

use super::dwarf::{endian, is_needed};
use super::elf::Image;
use super::locate::Locator;
use super::meter::{Meter, Metered};

/// Where the split DWARF of one module is.
pub(super) struct SplitFiles<'f> {
    package: OnceCell<Option<gimli::DwarfPackage<Metered<'f>>>>,
    /// The module's own path, beside which files are looked for.
    module: &'f Path,
    meter: &'f Meter,
    locator: &'f Locator,
}

impl<'f> SplitFiles<'f> {
    pub(super) fn new(module: &'f Path, meter: &'f Meter, locator: &'f Locator) -> SplitFiles<'f> {
        SplitFiles {
            package: OnceCell::new(),
            module,
            meter,
            locator,
        }
    }

    /// Loads the split part of a unit.
    pub(super) fn open(
        &self,
        load: &SplitDwarfLoad<Metered<'f>>,
    ) -> Option<gimli::Dwarf<Metered<'f>>> {
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
        let section =
            |id: SectionId| self.split_section(image, id.dwo_name().filter(|_| is_needed(id)));
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
}
