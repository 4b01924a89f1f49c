//! Paths for Rust functions whose debug information has only their last name.
//!
//! `debug = "line-tables-only"`, which many projects ship with, leaves inlined functions their names and their source files, and
//! nothing of their paths: `alloc` of `/rustc/HASH/library/alloc/src/alloc.rs`. The file tells the crate and the module, as
//! they are laid out alike everywhere: the standard library's sources, and those of crates from a registry. So that function is
//! `alloc::alloc::alloc`, and is looked past as what it is. A type's name is not in a file's: `alloc::vec::push` stands for
//! `alloc::vec::Vec<T>::push`.
//!
//! Other files (the project's own) tell less, and their functions keep their short names.

/// The name with its path, if it has none and the file tells one.
pub(super) fn qualified(name: &str, file: &str) -> Option<String> {
    let head = name.split(['<', '{', '(']).next().unwrap_or(name);
    if head.is_empty() && !name.starts_with('{') || head.contains("::") {
        return None;
    }
    Some(format!("{}::{name}", module(file)?))
}

/// The module that a source file of a well-known crate is, as a path.
fn module(file: &str) -> Option<String> {
    let (package, inside) = package(file)?;
    let inside = inside.strip_suffix(".rs")?;
    let mut path = package.replace('-', "_");
    for part in inside.split('/') {
        if part.is_empty() || !part.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        if !matches!(part, "mod" | "lib") {
            path += "::";
            path += part;
        }
    }
    Some(path)
}

/// The package that a file belongs to, and the file below its `src`.
fn package(file: &str) -> Option<(&str, &str)> {
    let (before, inside) = file
        .split_once("/src/")
        .filter(|_| !file.contains("/registry/"))
        // A registry's own folder is called so, too: the package's is the one after it.
        .or_else(|| {
            let (_, below) = file.split_once("/registry/src/")?;
            below.split_once("/src/")
        })?;
    let folder = before.rsplit('/').next()?;
    let parent = before.strip_suffix(folder)?;
    if parent.ends_with("/library/") {
        let standard = matches!(folder, "alloc" | "core" | "std");
        return standard.then_some((folder, inside));
    }
    // `hashbrown-0.16.0`, of a registry or of what the standard library is built with.
    let is_known = file.contains("/registry/src/") || parent.ends_with("/rust/deps/");
    let (name, version) = folder.rsplit_once('-')?;
    let numbered = version.starts_with(|c: char| c.is_ascii_digit());
    (is_known && numbered).then_some((name, inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_the_path_of_its_functions() {
        let rustc = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library";
        let registry = "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        for (name, file, path) in [
            (
                "alloc",
                format!("{rustc}/alloc/src/alloc.rs"),
                "alloc::alloc::alloc",
            ),
            (
                "try_allocate_in<alloc::alloc::Global>",
                format!("{rustc}/alloc/src/raw_vec/mod.rs"),
                "alloc::raw_vec::try_allocate_in<alloc::alloc::Global>",
            ),
            (
                "{closure#0}",
                format!("{rustc}/core/src/iter/traits/iterator.rs"),
                "core::iter::traits::iterator::{closure#0}",
            ),
            (
                "reserve_inner",
                format!("{registry}/bytes-1.2.0/src/bytes_mut.rs"),
                "bytes::bytes_mut::reserve_inner",
            ),
            (
                "wrap",
                format!("{registry}/unicode-width-0.2.0/src/lib.rs"),
                "unicode_width::wrap",
            ),
            (
                "find<u8>",
                "/rust/deps/hashbrown-0.16.1/src/raw/mod.rs".to_owned(),
                "hashbrown::raw::find<u8>",
            ),
        ] {
            assert_eq!(qualified(name, &file).as_deref(), Some(path), "{file}");
        }
    }

    #[test]
    fn what_has_a_path_or_tells_none_stays() {
        for (name, file) in [
            ("alloc::alloc::alloc", "/rustc/x/library/alloc/src/alloc.rs"),
            ("work", "/home/u/project/src/main.rs"),
            ("work", "/home/u/library/mine/src/main.rs"),
            ("work", "/home/u/thing-2/src/main.rs"),
            ("work", "main.rs"),
            ("work", "/rustc/x/library/alloc/src/../evil file.rs"),
            ("", "/rustc/x/library/alloc/src/alloc.rs"),
        ] {
            assert_eq!(qualified(name, file), None, "{name} {file}");
        }
    }
}
