//! From return addresses to places in code: the same number for the same place, in whatever process
//! and at whatever address its file is mapped.
//!
//! Nothing is named while the program runs: it may have to wait for us, and debug information of a
//! large program takes seconds to read. What a place needs to be named later is its file, and its
//! address in the file's own numbering.

use std::sync::Arc;

use crate::symbolize::hash::{AddressMap, slot};
use crate::symbolize::{FileId, ModuleMap};
use crate::trace::{FileNumber, ImageId, Module, SiteId, StackNode};

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A return address in a file, in the file's own numbering.
    InFile(FileId, u64),
    /// An address that no file covers, in a process: code that was generated, or that is gone.
    Elsewhere(ImageId, u64),
}

/// What is new and has to be written down before it is used.
pub trait Define {
    /// A file, which gets the next number.
    fn file(&mut self, module: &Module);
    /// A place, which gets the next number.
    fn site(&mut self, file: Option<FileNumber>, address: u64);
    /// A stack, which gets the next number.
    fn stack(&mut self, node: StackNode);
}

/// See the module.
pub struct Places {
    recent: Box<[Recent]>,
    numbers: AddressMap<Place, SiteId>,
    /// By [`SiteId`], from 1.
    places: Vec<Place>,
    /// By [`FileId`].
    files: Vec<Option<FileNumber>>,
    files_written: u32,
}

/// Slots of the table in front: 16,384 of 24 bytes hold the return addresses of nearly any program.
const RECENT_BITS: u32 = 14;

#[derive(Clone, Copy)]
struct Recent {
    /// 0: empty, as generations count from 1.
    generation: u64,
    address: u64,
    site: SiteId,
}

impl Default for Places {
    fn default() -> Self {
        let empty = Recent {
            generation: 0,
            address: 0,
            site: SiteId::TRUNCATED,
        };
        Self {
            recent: vec![empty; 1 << RECENT_BITS].into_boxed_slice(),
            numbers: AddressMap::default(),
            places: Vec::new(),
            files: Vec::new(),
            files_written: 0,
        }
    }
}

impl Places {
    /// The place that a call in `image`, with these modules mapped, returns to.
    #[inline]
    pub fn site(
        &mut self,
        image: ImageId,
        modules: &ModuleMap,
        address: u64,
        define: &mut impl Define,
    ) -> SiteId {
        let generation = modules.generation();
        let at = slot(address, generation, RECENT_BITS);
        let recent = self.recent[at];
        if recent.address == address && recent.generation == generation {
            return recent.site;
        }
        let site = self.find(image, modules, address, define);
        self.recent[at] = Recent {
            generation,
            address,
            site,
        };
        site
    }

    #[cold]
    fn find(
        &mut self,
        image: ImageId,
        modules: &ModuleMap,
        address: u64,
        define: &mut impl Define,
    ) -> SiteId {
        // The call is before the address that it returns to, and may be its file's last instruction.
        let found = modules.lookup(address.wrapping_sub(1));
        let place = match found {
            Some(found) => Place::InFile(found.file, found.file_address.wrapping_add(1)),
            None => Place::Elsewhere(image, address),
        };
        if let Some(known) = self.numbers.get(&place) {
            return *known;
        }
        match (place, found) {
            (Place::InFile(file, address), Some(found)) => {
                let number = self.file(file, found.module, define);
                define.site(Some(number), address);
            }
            _ => define.site(None, address),
        }
        self.places.push(place);
        // As many would not fit in memory.
        let site = SiteId(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        self.numbers.insert(place, site);
        site
    }

    fn file(&mut self, file: FileId, module: &Arc<Module>, define: &mut impl Define) -> FileNumber {
        let at = file.0 as usize;
        if at >= self.files.len() {
            self.files.resize(at + 1, None);
        }
        if let Some(known) = self.files[at] {
            return known;
        }
        define.file(module);
        let number = FileNumber(self.files_written);
        self.files_written += 1;
        self.files[at] = Some(number);
        number
    }

    /// All places, in the order of their numbers, from 1.
    #[must_use]
    pub fn all(&self) -> &[Place] {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::{Locator, Symbolizer};

    #[derive(Default)]
    struct Defined(Vec<String>);

    impl Define for Defined {
        fn file(&mut self, module: &Module) {
            self.0
                .push(String::from_utf8_lossy(&module.path).into_owned());
        }
        fn site(&mut self, file: Option<FileNumber>, address: u64) {
            self.0
                .push(format!("{:?}+{address:#x}", file.map(|file| file.0)));
        }
        fn stack(&mut self, _: StackNode) {}
    }

    fn module(start: u64, path: &str) -> Module {
        Module {
            start,
            end: start + 0x1000,
            bias: start,
            device: 1,
            inode: path.len() as u64,
            build_id: vec![7],
            path: path.into(),
        }
    }

    #[test]
    fn a_place_is_the_same_wherever_its_file_is_mapped() {
        let locator = Locator::default();
        let symbolizer = Symbolizer::new(&locator);
        let (mut one, mut two) = (symbolizer.new_map(), symbolizer.new_map());
        one.add(module(0x10000, "/lib/a"));
        two.add(module(0x50000, "/lib/bb"));
        two.add(module(0x70000, "/lib/a"));
        let (mut places, mut defined) = (Places::default(), Defined::default());
        let mut site = |image, map: &ModuleMap, address| {
            places.site(ImageId(image), map, address, &mut defined).0
        };
        let first = site(1, &one, 0x10123);
        assert_eq!(site(1, &one, 0x10123), first);
        assert_eq!(site(2, &two, 0x70123), first);
        assert_ne!(site(2, &two, 0x50123), first);
        // The call that ends a file.
        assert_eq!(site(1, &one, 0x11000), 3);
        // Nothing is mapped there: places of two processes are two.
        assert_eq!((site(1, &one, 0x99), site(2, &two, 0x99)), (4, 5));
        let expected = [
            "/lib/a",
            "Some(0)+0x123",
            "/lib/bb",
            "Some(1)+0x123",
            "Some(0)+0x1000",
            "None+0x99",
            "None+0x99",
        ];
        assert_eq!(defined.0, expected);
        assert_eq!(places.all().len(), 5);
    }
}
