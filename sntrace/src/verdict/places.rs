//! Where in a repository a failure is to be shown.
//!
//! Services annotate files of the repository and of no other, by paths relative to it. Debug information has
//! paths of the machine that built the program: absolute, with `..` in them, of Windows with backslashes. They are
//! compared as texts, as the files may not be here.

use std::path::Path;

use super::{Failure, Judged, SiteChange, StackFrame, Verdict};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub file: File,
    /// From 1.
    pub line: usize,
    /// From 1, in characters, where it is known.
    pub column: Option<usize>,
}

/// A file, seen from the source root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// Below it: relative, with `/`.
    Below(String),
    /// Elsewhere: absolute, with `/`; on Windows with its drive first.
    Outside(String),
}

impl File {
    /// `file`, which is relative to `root` where it is not absolute.
    pub fn of(file: &str, root: &Path) -> File {
        let root = Parts::of(&root.to_string_lossy());
        let file = Parts::of(file);
        let mut whole = match file.absolute {
            true => Parts {
                names: Vec::new(),
                ..file.clone()
            },
            false => root.clone(),
        };
        for name in file.names {
            match name.as_str() {
                ".." => {
                    whole.names.pop();
                }
                _ => whole.names.push(name),
            }
        }
        let same_drive = whole.drive.eq_ignore_ascii_case(&root.drive);
        match whole.names.strip_prefix(root.names.as_slice()) {
            Some(below) if same_drive && !below.is_empty() => File::Below(below.join("/")),
            _ => File::Outside(format!("{}/{}", whole.drive, whole.names.join("/"))),
        }
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        match self {
            File::Below(path) | File::Outside(path) => path,
        }
    }

    /// As a reference of RFC 3986: relative to the root, or `file:///...`.
    pub fn uri(&self) -> String {
        match self {
            File::Below(path) => encoded(path),
            File::Outside(path) => file_uri(path),
        }
    }
}

/// The folder as a URI, with a `/` at its end, so that what is below can be resolved against it.
pub(super) fn root_uri(root: &Path) -> String {
    let root = Parts::of(&root.to_string_lossy());
    let uri = file_uri(&format!("{}/{}", root.drive, root.names.join("/")));
    match uri.ends_with('/') {
        true => uri,
        false => uri + "/",
    }
}

fn file_uri(path: &str) -> String {
    match path.starts_with('/') {
        true => format!("file://{}", encoded(path)),
        // A drive: its colon stays.
        false => match path.split_at_checked(2) {
            Some((drive, rest)) => format!("file:///{drive}{}", encoded(rest)),
            None => format!("file:///{}", encoded(path)),
        },
    }
}

/// Everything but what RFC 3986 leaves unreserved, and `/`, becomes `%XX`.
fn encoded(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for &byte in path.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

/// A path taken apart.
#[derive(Clone, Debug)]
struct Parts {
    /// `C:`, or nothing.
    drive: String,
    absolute: bool,
    /// Neither empty nor `.`.
    names: Vec<String>,
}

impl Parts {
    fn of(path: &str) -> Parts {
        // Windows shows absolute paths of files that exist in this form.
        let path = path.strip_prefix(r"\\?\").unwrap_or(path);
        let (drive, rest) = match path.as_bytes() {
            [letter, b':', ..] if letter.is_ascii_alphabetic() => path.split_at(2),
            _ => ("", path),
        };
        // A backslash separates where there is a drive; elsewhere it is part of a name.
        let separates = |c| c == '/' || (c == '\\' && !drive.is_empty());
        let names = rest
            .split(separates)
            .filter(|name| !matches!(*name, "" | "."));
        Parts {
            drive: drive.to_owned(),
            absolute: !drive.is_empty() || rest.starts_with('/'),
            names: names.map(str::to_owned).collect(),
        }
    }
}

/// The place of the worst site that has one. Of that site, the innermost function of the repository, as nobody
/// mends an allocation in a header of the system; where no function is, the innermost.
pub(super) fn blamed(verdict: &Verdict, failure: &Failure, root: &Path) -> Option<Place> {
    let mut sites = verdict.blamed(failure);
    sites.find_map(|(site, _)| of_site(site, root))
}

fn of_site(site: &SiteChange, root: &Path) -> Option<Place> {
    let places = || site.stack.iter().filter_map(|frame| of_frame(frame, root));
    let below = places().find(|place| matches!(place.file, File::Below(_)));
    below.or_else(|| places().next())
}

/// Where a function of a stack made its call, if it is known.
pub(super) fn of_frame(frame: &StackFrame, root: &Path) -> Option<Place> {
    let (file, line) = frame.place()?;
    Some(Place {
        file: File::of(file, root),
        line: line_of(line as usize),
        column: None,
    })
}

/// Where the rule was written, if in a file.
pub(super) fn written(rule: &Judged, root: &Path) -> Option<Place> {
    let written = rule.written.as_ref()?;
    Some(Place {
        file: File::of(&written.file.to_string_lossy(), root),
        line: line_of(written.line),
        column: Some(written.column.max(1)),
    })
}

/// The program that was judged: for services that refuse what has no place.
pub(super) fn program(verdict: &Verdict, root: &Path) -> Place {
    let program = verdict.head.command.first().map(String::as_str);
    let program = match program {
        None | Some("") => verdict.head.name.as_str(),
        Some(program) => program,
    };
    Place {
        file: File::of(program, root),
        line: 1,
        column: None,
    }
}

/// Debug information has line 0 for code that no line made.
fn line_of(line: usize) -> usize {
    line.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(file: &str, root: &str) -> File {
        File::of(file, Path::new(root))
    }

    #[test]
    fn files_below_the_root_are_relative() {
        for below in [
            "/home/me/app/src/a.c",
            "/home/me/app/./build/../src/a.c",
            "src/a.c",
            "./build/../src//a.c",
        ] {
            assert_eq!(file(below, "/home/me/app/"), File::Below("src/a.c".into()));
        }
        let windows = file(r"c:\me\app\src\a.c", r"\\?\C:\me\app");
        assert_eq!(windows, File::Below("src/a.c".into()));
    }

    #[test]
    fn files_elsewhere_are_absolute() {
        let outside = |path: &str| File::Outside(path.into());
        assert_eq!(
            file("/home/me/app2/a.c", "/home/me/app"),
            outside("/home/me/app2/a.c")
        );
        assert_eq!(
            file("../lib/a.c", "/home/me/app"),
            outside("/home/me/lib/a.c")
        );
        assert_eq!(file("/../../a.c", "/home"), outside("/a.c"));
        assert_eq!(file(r"D:\a.c", r"C:\"), outside("D:/a.c"));
        // The root itself is no file of it.
        assert_eq!(file("/home", "/home"), outside("/home"));
    }

    #[test]
    fn uris_hold_nothing_but_what_they_may() {
        assert_eq!(
            file("a b/ü#?%:.c", "/r").uri(),
            "a%20b/%C3%BC%23%3F%25%3A.c"
        );
        assert_eq!(file("/usr/a b.c", "/r").uri(), "file:///usr/a%20b.c");
        assert_eq!(file(r"C:\x\a.c", "/r").uri(), "file:///C:/x/a.c");
        assert_eq!(root_uri(Path::new("/a b")), "file:///a%20b/");
        assert_eq!(root_uri(Path::new("/")), "file:///");
        assert_eq!(root_uri(Path::new(r"C:\r")), "file:///C:/r/");
    }
}
