//! Which file was mapped where: the modules of a process image at an event's time.
//!
//! A [`ModuleMap`] belongs to one image and follows its loads and unloads in the order of the
//! trace, so that an address is always asked of what was mapped when the event happened. Forks
//! clone it, which costs one reference.
//!
//! The same library is mapped by many images at many addresses. What is learned about it is
//! therefore kept by [`FileId`], which stands for the file (path, device, inode, build id)
//! regardless of where it is mapped, and asked by *file address*: the address in the process
//! minus the module's bias.
//!
//! Every state of a map that can answer differently has a *generation* of its own, unique in
//! this process; equal generations answer alike. Caches by runtime address key on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::trace::Module;

/// Number of a distinct file that has been mapped by any image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// What makes a file the same file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileIdentity {
    pub(super) path: Vec<u8>,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) build_id: Vec<u8>,
}

/// All files that were ever mapped. Shared by all maps of a run; only loading a module, which is
/// rare, takes its lock.
#[derive(Debug, Default)]
pub(super) struct FileTable(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    ids: HashMap<Arc<FileIdentity>, FileId>,
    identities: Vec<Arc<FileIdentity>>,
}

impl FileTable {
    fn intern(&self, module: &Module) -> FileId {
        let identity = FileIdentity {
            path: module.path.clone(),
            device: module.device,
            inode: module.inode,
            build_id: module.build_id.clone(),
        };
        // The table is whole between any two statements: a panic elsewhere does not harm it.
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = files.ids.get(&identity) {
            return *id;
        }
        let id = FileId(u32::try_from(files.identities.len()).unwrap_or(u32::MAX));
        let identity = Arc::new(identity);
        files.ids.insert(identity.clone(), id);
        files.identities.push(identity);
        id
    }

    pub(super) fn identity(&self, id: FileId) -> Option<Arc<FileIdentity>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.identities.get(id.0 as usize).cloned()
    }
}

#[derive(Clone, Debug)]
struct Mapped {
    module: Arc<Module>,
    file: FileId,
}

/// The modules of one process image, by address.
#[derive(Clone, Debug)]
pub struct ModuleMap {
    table: Arc<FileTable>,
    /// Sorted by start; no two overlap.
    mapped: Arc<Vec<Mapped>>,
    generation: u64,
}

/// Where an address is.
#[derive(Clone, Copy, Debug)]
pub struct Located<'m> {
    /// The module.
    pub module: &'m Arc<Module>,
    /// The file it maps.
    pub file: FileId,
    /// The address in the file's own numbering (its ELF virtual address).
    pub file_address: u64,
}

fn new_generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the numbers only have to differ.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl ModuleMap {
    /// A map without modules. Comes from [`super::CallerFinder::new_map`] or
    /// [`super::Symbolizer::new_map`].
    pub(super) fn new(table: Arc<FileTable>) -> ModuleMap {
        ModuleMap {
            table,
            mapped: Arc::default(),
            generation: new_generation(),
        }
    }

    /// A module is mapped from now on. Modules that it overlaps are gone: their unloading was
    /// not seen.
    pub fn add(&mut self, module: Module) {
        if module.start >= module.end {
            return;
        }
        let file = self.table.intern(&module);
        let (start, end) = (module.start, module.end);
        let mapped = Arc::make_mut(&mut self.mapped);
        mapped.retain(|other| other.module.end <= start || other.module.start >= end);
        let at = mapped.partition_point(|other| other.module.start < start);
        let module = Arc::new(module);
        mapped.insert(at, Mapped { module, file });
        self.generation = new_generation();
    }

    /// The module that starts at `start` is gone.
    pub fn remove(&mut self, start: u64) {
        let found = self
            .mapped
            .binary_search_by_key(&start, |mapped| mapped.module.start);
        if let Ok(at) = found {
            Arc::make_mut(&mut self.mapped).remove(at);
            self.generation = new_generation();
        }
    }

    /// The module that covers `address`.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Option<Located<'_>> {
        let after = self
            .mapped
            .partition_point(|mapped| mapped.module.start <= address);
        let mapped = self.mapped.get(after.checked_sub(1)?)?;
        (address < mapped.module.end).then(|| Located {
            module: &mapped.module,
            file: mapped.file,
            file_address: address.wrapping_sub(mapped.module.bias),
        })
    }

    /// The modules by address.
    pub fn modules(&self) -> impl Iterator<Item = &Arc<Module>> {
        self.mapped.iter().map(|mapped| &mapped.module)
    }

    /// Number of this state of the map: maps of the same number answer alike.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(start: u64, end: u64, path: &str) -> Module {
        Module {
            start,
            end,
            bias: start,
            device: 1,
            inode: 2,
            build_id: vec![1, 2],
            path: path.into(),
        }
    }

    #[test]
    fn an_address_belongs_to_what_is_mapped_now() {
        let mut map = ModuleMap::new(Arc::default());
        map.add(module(0x5000, 0x6000, "b"));
        map.add(module(0x1000, 0x2000, "a"));
        let path = |map: &ModuleMap, address| {
            map.lookup(address)
                .map(|found| String::from_utf8(found.module.path.clone()).unwrap())
        };
        assert_eq!(path(&map, 0xfff), None);
        assert_eq!(path(&map, 0x1000).as_deref(), Some("a"));
        assert_eq!(path(&map, 0x1fff).as_deref(), Some("a"));
        assert_eq!(path(&map, 0x2000), None);
        assert_eq!(path(&map, 0x5800).as_deref(), Some("b"));
        assert_eq!(map.lookup(0x5800).unwrap().file_address, 0x800);
        let child = map.clone();
        let before = map.generation();
        assert_eq!(child.generation(), before);
        // A library unloaded unseen, and another one loaded over a part of its place.
        map.add(module(0x5800, 0x7000, "c"));
        assert_eq!(path(&map, 0x5400), None);
        assert_eq!(path(&map, 0x5800).as_deref(), Some("c"));
        map.remove(0x1000);
        assert_eq!(path(&map, 0x1000), None);
        assert_ne!(map.generation(), before);
        // The child goes on with what it had.
        assert_eq!(path(&child, 0x1000).as_deref(), Some("a"));
        assert_eq!(path(&child, 0x5400).as_deref(), Some("b"));
    }

    #[test]
    fn one_file_mapped_twice_is_one_file() {
        let table = Arc::<FileTable>::default();
        let (mut one, mut two) = (ModuleMap::new(table.clone()), ModuleMap::new(table));
        one.add(module(0x1000, 0x2000, "a"));
        two.add(module(0x9000, 0xa000, "a"));
        two.add(module(0xb000, 0xc000, "b"));
        let (a, b) = (one.lookup(0x1234).unwrap(), two.lookup(0x9234).unwrap());
        assert_eq!((a.file, a.file_address), (b.file, b.file_address));
        assert_ne!(two.lookup(0xb000).unwrap().file, a.file);
    }

    #[test]
    fn an_empty_or_reversed_module_is_ignored() {
        let mut map = ModuleMap::new(Arc::default());
        map.add(module(0x2000, 0x2000, "a"));
        map.add(module(0x2000, 0x1000, "a"));
        assert!(map.lookup(0x2000).is_none());
        assert!(map.lookup(0x1800).is_none());
    }
}
