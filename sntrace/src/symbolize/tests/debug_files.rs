//! Separate debug files, stripped files, and files that are not what they were.

use std::path::Path;

use super::super::testing::{Workshop, caller_of, locator_for, map_of};
use super::super::{CallerFinder, Locator, Symbolizer};
use super::debug_info::{INLINED, build, frames};
use crate::trace::Op;

/// Moves the debug info of `library` to `debug` and strips it.
fn split_off(shop: &Workshop, library: &str, debug: &str) {
    std::fs::create_dir_all(Path::new(debug).parent().unwrap()).unwrap();
    shop.run("objcopy", &["--only-keep-debug", library, debug]);
    shop.run("strip", &["--strip-unneeded", library]);
}

fn installed_debug_file(shop: &Workshop, library: &str) -> String {
    let id: String = shop
        .build_id(library)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    shop.path(&format!("root/.build-id/{}/{}.debug", &id[..2], &id[2..]))
}

fn root(shop: &Workshop) -> Locator {
    locator_for(&shop.folder().join("root"))
}

#[test]
fn a_debug_file_is_found_by_build_id() {
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g"]);
    let debug = installed_debug_file(&shop, &library);
    split_off(&shop, &library, &debug);
    assert_eq!(frames(&shop, &root(&shop), &library, address), INLINED);
    // One that is installed under this id, but has another, is refused.
    let id = shop.build_id(&library);
    shop.run("objcopy", &["--remove-section=.note.gnu.build-id", &debug]);
    assert_eq!(shop.build_id(&library), id);
    assert_eq!(frames(&shop, &root(&shop), &library, address), ["outer"]);
}

#[test]
fn a_debug_file_is_found_by_its_link() {
    for place in ["inline.debug", ".debug/inline.debug", "ROOT"] {
        let shop = Workshop::new();
        let (library, address) = build(&shop, "gcc", &["-g", "-Wl,--build-id=none"]);
        let debug = if place == "ROOT" {
            let folder = shop.folder().canonicalize().unwrap();
            let inside = folder.strip_prefix("/").unwrap().to_str().unwrap();
            shop.path(&format!("root/{inside}/inline.debug"))
        } else {
            shop.path(place)
        };
        split_off(&shop, &library, &debug);
        shop.run(
            "objcopy",
            &[&format!("--add-gnu-debuglink={debug}"), &library],
        );
        assert_eq!(
            frames(&shop, &root(&shop), &library, address),
            INLINED,
            "{place}"
        );
        // Without build ids, the CRC is what proves it.
        let mut bytes = std::fs::read(&debug).unwrap();
        bytes.push(0);
        std::fs::write(&debug, bytes).unwrap();
        assert_eq!(
            frames(&shop, &root(&shop), &library, address),
            ["outer"],
            "{place}"
        );
    }
}

#[test]
fn a_stripped_file_has_its_dynamic_symbols_and_offsets() {
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &[]);
    let hidden = shop.return_address(&library, "hidden", "calloc");
    shop.run("strip", &[&library]);
    let locator = root(&shop);
    assert_eq!(frames(&shop, &locator, &library, address), ["outer"]);
    assert!(frames(&shop, &locator, &library, hidden).is_empty());

    let mut finder = CallerFinder::new(&locator);
    let mut map = finder.new_map();
    let mut module = shop.module(&library);
    // As it is mapped by a process, at an address of its own.
    (module.start, module.end, module.bias) =
        (0x7f00_0000_0000, 0x7f00_0001_0000, 0x7f00_0000_0000);
    map.add(module);
    let caller = caller_of(
        &mut finder,
        &map,
        Op::Calloc,
        0x7f00_0000_0000 + hidden,
        &[],
        false,
    );
    assert_eq!(*caller.name, format!("inline.so+{hidden:#x}"));
    assert_eq!(caller.function, None);
    assert_eq!(caller.module.as_deref(), Some(&*library));
    assert_eq!(caller.file_address, hidden);
    assert_eq!(finder.notes().unnamed_sites, 1);
    let nowhere = caller_of(&mut finder, &map, Op::Calloc, 0x1234, &[], false);
    assert_eq!((&*nowhere.name, &nowhere.module), ("???", &None));
    assert_eq!(finder.notes().unnamed_sites, 1);
}

#[test]
fn a_replaced_file_gives_no_names() {
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g"]);
    let module = shop.module(&library);
    build(&shop, "gcc", &["-g", "-DOTHER", "-O1"]);
    assert_ne!(shop.build_id(&library), module.build_id);
    let locator = root(&shop);
    let mut symbolizer = Symbolizer::new(&locator);
    let (_, file) = map_of(&symbolizer, module);
    assert!(symbolizer.frames(file, address - 1).is_empty());
    assert_eq!(symbolizer.replaced().len(), 1);
    assert_eq!(&*symbolizer.replaced()[0], library);
}

#[test]
fn a_replaced_files_installed_debug_file_still_names_it() {
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g"]);
    let module = shop.module(&library);
    split_off(&shop, &library, &installed_debug_file(&shop, &library));
    std::fs::remove_file(&library).unwrap();
    let locator = root(&shop);
    let mut symbolizer = Symbolizer::new(&locator);
    let (_, file) = map_of(&symbolizer, module);
    let found = super::super::testing::shown(&symbolizer.frames(file, address - 1));
    assert_eq!(found, INLINED);
}

#[test]
fn a_file_without_build_id_is_known_by_its_inode() {
    use std::os::unix::fs::MetadataExt;
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g", "-Wl,--build-id=none"]);
    let mut module = shop.module(&library);
    assert!(module.build_id.is_empty());
    let metadata = std::fs::metadata(&library).unwrap();
    (module.device, module.inode) = (metadata.dev(), metadata.ino());
    let locator = root(&shop);
    let count = |module: crate::trace::Module| {
        let mut symbolizer = Symbolizer::new(&locator);
        let (_, file) = map_of(&symbolizer, module);
        symbolizer.frames(file, address - 1).len()
    };
    assert_eq!(count(module.clone()), 2);
    module.inode += 1;
    assert_eq!(count(module.clone()), 0);
    // On another device, as an overlay reports it, the numbers cannot be compared.
    module.device += 1;
    assert_eq!(count(module), 2);
}

#[test]
fn a_deleted_file_that_was_put_back_is_known_by_build_id() {
    let shop = Workshop::new();
    let (library, address) = build(&shop, "gcc", &["-g"]);
    let mut module = shop.module(&library);
    module.path.extend(b" (deleted)");
    let locator = root(&shop);
    let mut symbolizer = Symbolizer::new(&locator);
    let (_, file) = map_of(&symbolizer, module.clone());
    assert_eq!(symbolizer.frames(file, address - 1).len(), 2);
    module.build_id[0] ^= 1;
    let (_, file) = map_of(&symbolizer, module);
    assert!(symbolizer.frames(file, address - 1).is_empty());
}

#[test]
fn what_no_file_backs_is_named_by_its_module() {
    let locator = Locator::default();
    let mut finder = CallerFinder::new(&locator);
    let mut map = finder.new_map();
    map.add(crate::trace::Module {
        start: 0x1000,
        end: 0x2000,
        bias: 0x1000,
        device: 0,
        inode: 0,
        build_id: vec![],
        path: b"[vdso]".to_vec(),
    });
    let caller = caller_of(&mut finder, &map, Op::Malloc, 0x1234, &[], false);
    assert_eq!(&*caller.name, "[vdso]+0x234");
}
