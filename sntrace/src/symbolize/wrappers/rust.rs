//! Rust functions that merely wrap the allocator: the `alloc` crate and what stands around it.
//!
//! Decided by the path of a name, in either form that demangling gives: legacy
//! (`alloc::vec::Vec<T,A>::push`) and v0 (`<alloc::vec::Vec<u8>>::push`). In a trait's method
//! (`<Self as Trait>::method`) both count: `<Vec<T> as Clone>::clone` is the `alloc` crate's own
//! code, `<Vec<u8> as mine::Pack>::pack` and `<mine::Thing as Display>::fmt` are the program's.

/// Starts of paths that are looked past. Types too: as the `Self` of an implementation.
const PATHS: &[&str] = &[
    "alloc::",
    // Has no allocator: when it stands between one and a caller (`Option::map`, `Iterator::fold`,
    // `drop_in_place`, formatting), it does so for someone else.
    "core::",
    "hashbrown::",
    "__rustc::",
    "std::alloc::",
    "std::sys::alloc::",
    "std::collections::hash::",
];

/// Traits whose methods are looked past whoever implements them: allocators, and traits that
/// everyone gets from the library's blanket implementation.
const TRAITS: &[&str] = &[
    "core::alloc::global::GlobalAlloc",
    "core::alloc::Allocator",
    "alloc::string::ToString",
    "alloc::string::SpecToString",
    "alloc::borrow::ToOwned",
    "alloc::slice::Concat",
    "alloc::slice::Join",
    "alloc::slice::hack::ConvertVec",
];

/// Crates whose traits are implemented for the library's types by the library itself.
const LIBRARIES: &[&str] = &["core::", "alloc::", "std::", "hashbrown::"];

/// Whether the Rust function of this name merely wraps the allocator.
pub(super) fn is_wrapper(name: &str) -> bool {
    match split_implementation(name) {
        Some((self_type, Some(of_trait))) => {
            let path = of_trait.split('<').next().unwrap_or(of_trait);
            TRAITS.contains(&path)
                || path.starts_with("alloc::vec::")
                || is_library_type(self_type) && is_library_trait(of_trait)
        }
        Some((self_type, None)) => is_library_type(self_type),
        None => is_library_path(name),
    }
}

/// Whether a path belongs to what is looked past.
fn is_library_path(path: &str) -> bool {
    PATHS.iter().any(|start| path.starts_with(start))
        // `std::sys::pal::unix::alloc::`, `std::sys::unix::alloc::`: it moved over the years.
        || path.starts_with("std::sys::") && path.contains("::alloc::")
}

/// Whether a library's code for this type is looked past. Not only its own types are: a type
/// without a path is a primitive, a slice or a parameter, for which a program can implement
/// neither methods nor the library's traits.
fn is_library_type(self_type: &str) -> bool {
    let mut inner = self_type;
    while let Some(rest) = ["&", "*", "mut ", "const ", "dyn ", "<"]
        .iter()
        .find_map(|mark| inner.strip_prefix(mark))
    {
        inner = rest;
    }
    let head = inner.split('<').next().unwrap_or(inner);
    is_library_path(inner) || inner.starts_with(['[', '(']) || !head.contains("::")
}

fn is_library_trait(of_trait: &str) -> bool {
    // `<[_]>::to_vec_in::ConvertVec`: declared inside a method of a slice.
    LIBRARIES
        .iter()
        .any(|library| of_trait.starts_with(library))
        || of_trait.starts_with("<[")
}

/// Takes `<Self as Trait>::method` or `<Self>::method` apart: `Self`, `Trait`.
fn split_implementation(name: &str) -> Option<(&str, Option<&str>)> {
    let inside = name.strip_prefix('<')?;
    let mut depth = 0u32;
    let mut as_at = None;
    let bytes = inside.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            // `->` closes nothing.
            b'>' if at > 0 && bytes[at - 1] == b'-' => {}
            b'>' if depth == 0 => {
                return Some(match as_at {
                    Some(as_at) => (&inside[..as_at], Some(&inside[as_at + 4..at])),
                    None => (&inside[..at], None),
                });
            }
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 && as_at.is_none() && inside[at..].starts_with(" as ") => {
                as_at = Some(at)
            }
            _ => {}
        }
    }
    None
}
