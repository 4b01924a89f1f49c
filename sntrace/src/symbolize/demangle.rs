//! Readable names from linkage names: C++ (Itanium), Rust (legacy and v0), and plain C.
//!
//! The form is what a person types: Rust paths without their hash (`alloc::vec::Vec<T>::push`),
//! C++ with parameters but without the return type (`ns::Class::method(int)`), so that a filter
//! like `fn=ns::*` finds templates too, whose mangled names carry the type that they return.
//! Suffixes that compilers add to clones of a function (`.part.0`, `.cold`) and linkers to
//! versioned symbols (`@@GLIBC_2.34`) are dropped, as is glibc's `__GI_` before its own use of a
//! public function: to its reader, the function is the same one.
//!
//! A name is untrusted: mangling schemes have back references, by which a few bytes expand to
//! gigabytes. So output is cut at [`NAME_BYTES_MAX`].

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Bytes of a readable name at most. Longer ones (deep templates) are cut and end in `...`.
pub(super) const NAME_BYTES_MAX: usize = 4096;
/// Bytes of a linkage name that is worth parsing.
const LINKAGE_NAME_BYTES_MAX: usize = 32 << 10;

/// Places where the end of a C++ name is looked for.
const NAME_ENDS_MAX: usize = 64;

/// The readable form of a linkage name; the name itself where it is not mangled.
///
/// Control characters stay: what shows a name escapes it.
#[must_use]
pub fn demangle(raw: &str) -> Cow<'_, str> {
    let name = without_decoration(raw);
    if raw.len() <= LINKAGE_NAME_BYTES_MAX
        && let Some(readable) = rust(name).or_else(|| cpp(name))
    {
        return Cow::Owned(readable);
    }
    if name.len() > NAME_BYTES_MAX {
        let mut text = Bounded::default();
        // Cutting is what `Bounded` reports as an error.
        let _ = text.write_str(name);
        return Cow::Owned(text.finish());
    }
    Cow::Borrowed(name)
}

/// Whether a name is in a mangled form of C++ or Rust.
pub(super) fn is_mangled(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    name.starts_with("ZN") || name.starts_with('Z') || name.starts_with('R')
}

/// Drops symbol versions, the suffixes of clones and glibc's prefix.
fn without_decoration(name: &str) -> &str {
    let name = name
        .strip_prefix("__GI_")
        .filter(|public| !public.is_empty())
        .unwrap_or(name);
    let name = match name.find('@') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    };
    const CLONES: &[&str] = &[
        "part",
        "isra",
        "constprop",
        "cold",
        "lto_priv",
        "llvm",
        "localalias",
    ];
    let mut rest = name;
    loop {
        // `.part.0` is two pieces, `.cold` one.
        let Some((head, last)) = rest.rsplit_once('.') else {
            return rest;
        };
        let shorter = if CLONES.contains(&last) {
            head
        } else if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            match head.rsplit_once('.') {
                Some((stem, kind)) if CLONES.contains(&kind) => stem,
                _ => return rest,
            }
        } else {
            return rest;
        };
        if shorter.is_empty() {
            return rest;
        }
        rest = shorter;
    }
}

fn rust(name: &str) -> Option<String> {
    let v0 = name.starts_with("_R") || name.starts_with("__R");
    // The legacy scheme is a subset of C++'s; the hash that ends each path tells it.
    let legacy = (name.starts_with("_ZN") || name.starts_with("__ZN"))
        && name.strip_suffix('E').is_some_and(|path| {
            path.len() > 19
                && path.is_char_boundary(path.len() - 19)
                && path[path.len() - 19..].starts_with("17h")
                && path[path.len() - 16..]
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit())
        });
    if !v0 && !legacy {
        return None;
    }
    let parsed = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Bounded::default();
    match write!(text, "{parsed:#}") {
        Err(_) if !text.cut => None,
        _ => Some(text.finish()),
    }
}

fn cpp(name: &str) -> Option<String> {
    if !name.trim_start_matches('_').starts_with('Z') || !name.starts_with('_') {
        return None;
    }
    let parsed = cpp_demangle::Symbol::new(name.as_bytes()).or_else(|error| {
        // cpp_demangle does not know all expressions of C++17 and later, which stand in the
        // types of returns and parameters: then the name alone, up to where it ends and they
        // begin. Each `E` may be that end; the first that closes all it opened is.
        name.match_indices('E')
            .take(NAME_ENDS_MAX)
            .find_map(|(at, _)| cpp_demangle::Symbol::new(&name.as_bytes()[..=at]).ok())
            .ok_or(error)
    });
    let parsed = parsed.ok()?;
    let mut text = Bounded::default();
    let options = cpp_demangle::DemangleOptions::new().no_return_type();
    match parsed.structured_demangle(&mut text, &options) {
        Err(_) if !text.cut => None,
        // An empty pack of template arguments leaves its comma behind.
        _ => Some(text.finish().replace(", >", ">")),
    }
}

/// Text that stops growing at [`NAME_BYTES_MAX`], and then fails to be written, so that whoever
/// expands a name stops too.
#[derive(Default)]
struct Bounded {
    text: String,
    cut: bool,
}

impl Bounded {
    fn finish(mut self) -> String {
        if self.cut {
            self.text.push_str("...");
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = NAME_BYTES_MAX - self.text.len();
        if piece.len() <= room {
            self.text.push_str(piece);
            return Ok(());
        }
        self.text
            .push_str(&piece[..piece.floor_char_boundary(room)]);
        self.cut = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_a_person_writes_them() {
        for (raw, readable) in [
            ("deflateInit2_", "deflateInit2_"),
            ("_Znwm", "operator new(unsigned long)"),
            (
                "_ZdaPvSt11align_val_t",
                "operator delete[](void*, std::align_val_t)",
            ),
            ("_ZN2ns5Class6methodEi", "ns::Class::method(int)"),
            // A template's mangled name carries its return type (void), which is not shown.
            ("_ZN2ns1fIiEEvT_", "ns::f<int>(int)"),
            (
                "_ZN5alloc3vec16Vec$LT$T$C$A$GT$4push17h0123456789abcdefE",
                "alloc::vec::Vec<T,A>::push",
            ),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            (
                "_RNvCskYnHPFaZq3i_7___rustc12___rust_alloc",
                "__rustc::__rust_alloc",
            ),
            // An expression in the return type that cpp_demangle 0.5 cannot parse.
            (
                "_ZSt11make_sharedI1TJEESt10shared_ptrINSt9enable_ifIXntsrSt8is_arrayIT_E5valueES4_E4typeEEDpOT0_",
                "std::make_shared<T>",
            ),
            (
                "_ZN2ns1C1fIiEEvPKNSt9enable_ifIXntsrSt8is_arrayIT_E5valueEiE4typeE",
                "ns::C::f<int>",
            ),
            ("memcpy@@GLIBC_2.14", "memcpy"),
            ("__GI___strdup", "__strdup"),
            ("do_work.part.0", "do_work"),
            ("do_work.constprop.0.isra.0.cold", "do_work"),
            ("_ZN2ns1gEv.cold", "ns::g()"),
            ("file.c", "file.c"),
            (".L42", ".L42"),
            ("_Zwhat", "_Zwhat"),
            ("_ZN", "_ZN"),
            ("", ""),
        ] {
            assert_eq!(demangle(raw), readable, "{raw}");
        }
    }

    #[test]
    fn a_name_that_expands_without_end_is_cut() {
        // Each `S_`-style back reference doubles what comes before it.
        let mut raw = String::from("_Z1f3abc");
        let mut last = String::from("S_");
        for i in 0..60 {
            raw.push_str(&format!("4pairI{last}{last}E"));
            last = match i {
                0 => "S1_".into(),
                i if i < 5 => format!("S{}_", 2 * i + 1),
                _ => "S1_".into(),
            };
        }
        assert!(demangle(&raw).len() <= NAME_BYTES_MAX + 3);
        let long = "x".repeat(100_000);
        assert_eq!(demangle(&long).len(), NAME_BYTES_MAX + 3);
        assert!(demangle(&long).ends_with("..."));
    }

    proptest::proptest! {
        #[test]
        fn any_name_comes_out_bounded(tail in "[a-zA-Z0-9_$.]{0,80}", head in "(_ZN|_R|_Z|__Z|)") {
            let name = format!("{head}{tail}");
            proptest::prop_assert!(demangle(&name).len() <= NAME_BYTES_MAX + 3);
        }
    }
}
