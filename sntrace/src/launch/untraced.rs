//! The programs that a run started and that could not carry the hook: which, and why.
//!
//! Such a program runs and says nothing; whoever started it says that it did ([`Item::Exec`]). Its
//! file is looked at soon after, while it is still there. What is found is told at the end, one
//! message a program: in the middle it would stand between the program's own output, and whether an
//! exec succeeded is certain only when nobody has said that it failed.
//!
//! It also knows which images were over before their processes were, as such a program took their
//! place: their blocks are gone and no leaks.
//!
//! The traced processes are not trusted: a path that leads nowhere, or to something that bears a
//! hook, is no finding.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::inspect::{self, Fault, InspectError, Warning};
use crate::output::escape;
use crate::trace::{ImageId, Item, NotFollowed};

/// Files remembered at most, so that none is looked at again each time it is started.
const REMEMBERED_MAX: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub struct Untraced {
    found: Vec<Found>,
    /// What was found in files: a place in `found`, or nothing.
    remembered: HashMap<PathBuf, (Stamp, Option<usize>)>,
    /// Processes that may run a program that was found, and since when: the exec may still turn out
    /// to have failed.
    pending: HashMap<u32, (usize, u64)>,
    execs: u64,
    /// Process ids of the images that live.
    images: HashMap<ImageId, u32>,
    /// Images whose process runs such a program in their place, unless that exec failed.
    left: HashSet<ImageId>,
    /// Programs that did carry the hook, whatever their files look like.
    traced: HashSet<PathBuf>,
}

/// A program that can't be traced.
#[derive(Debug)]
struct Found {
    error: InspectError,
    /// The file, without symbolic links.
    file: PathBuf,
    first_pid: u32,
    times: u64,
}

/// Tells a file from another that has taken its place: device, inode, length, time of change.
type Stamp = [u64; 5];

impl Untraced {
    /// Takes in what happened.
    pub fn notice(&mut self, item: &Item) {
        match item {
            Item::Exec { image, pid, path } if path.is_empty() => {
                self.pending.remove(pid);
                self.left.remove(image);
            }
            Item::Exec { image, pid, path } => {
                self.settle(*pid);
                if let Some(at) = self.judge(Path::new(OsStr::from_bytes(path))) {
                    self.execs += 1;
                    self.pending.insert(*pid, (at, self.execs));
                    // A child of its own, still on its memory, has another id.
                    if self.images.get(image) == Some(pid) {
                        self.left.insert(*image);
                    }
                }
            }
            Item::Ended { image, .. } => {
                self.images.remove(image);
                self.left.remove(image);
            }
            Item::Process {
                image,
                pid,
                forked_from,
                executable,
                ..
            } => {
                self.settle(*pid);
                self.images.insert(*image, *pid);
                let executable = Path::new(OsStr::from_bytes(executable));
                if forked_from.is_none() && !self.traced.contains(executable) {
                    self.traced.insert(executable.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Whether an image was over before its process was: a program that can't be traced took its
    /// place.
    #[must_use]
    pub fn has_left(&self, image: ImageId) -> bool {
        self.left.contains(&image)
    }

    /// The process goes on to something else: what was announced for it before did run.
    fn settle(&mut self, pid: u32) {
        if let Some((at, _)) = self.pending.remove(&pid) {
            let found = &mut self.found[at];
            if found.times == 0 {
                found.first_pid = pid;
            }
            found.times += 1;
        }
    }

    /// Looks at a file; a place in `found` if it can't be traced.
    fn judge(&mut self, path: &Path) -> Option<usize> {
        let stamp = stamp_of(path)?;
        if let Some((remembered, verdict)) = self.remembered.get(path)
            && *remembered == stamp
        {
            return *verdict;
        }
        let verdict = inspect::what_keeps_the_hook_out(path).map(|error| {
            self.found.push(Found {
                error,
                file: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
                first_pid: 0,
                times: 0,
            });
            self.found.len() - 1
        });
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(path.to_owned(), (stamp, verdict));
        verdict
    }

    /// What there is to tell at the end of the run, and how it is kept in a trace.
    pub fn findings(&mut self) -> Vec<(Warning, NotFollowed)> {
        let pending = self.pending.iter();
        let mut pending: Vec<(u64, u32)> =
            pending.map(|(&pid, &(_, since))| (since, pid)).collect();
        pending.sort_unstable();
        for (_, pid) in pending {
            self.settle(pid);
        }
        // A sanitizer that is linked in lets the hook load, which then sees nothing.
        let traced = |found: &Found| {
            self.traced.contains(&found.file) && !matches!(found.error.fault, Fault::Sanitized(_))
        };
        let mut told = HashSet::new();
        let found = self.found.iter();
        found
            .filter(|found| found.times > 0 && !traced(found))
            .map(|found| {
                let warning = Warning {
                    message: message(found),
                    hint: found.error.hint(),
                };
                let kept = NotFollowed {
                    program: escape::lossy(found.error.program.as_os_str().as_bytes()).into_owned(),
                    reason: found.error.predicate(),
                    times: found.times,
                };
                (warning, kept)
            })
            // One that was built again in between is another file, but no other program.
            .filter(|(warning, _)| told.insert(warning.message.clone()))
            .collect()
    }
}

fn message(found: &Found) -> String {
    let others = match found.times - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "'{}' (pid {}{others}) was not traced: {}",
        found.error.program.display(),
        found.first_pid,
        found.error.predicate()
    )
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let facts = std::fs::metadata(path).ok()?;
    Some([
        facts.dev(),
        facts.ino(),
        facts.len(),
        facts.ctime().cast_unsigned(),
        facts.ctime_nsec().cast_unsigned(),
    ])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A folder with a static and a dynamic program.
    fn programs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("nothing.c");
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        for (name, option) in [("static", "-static"), ("dynamic", "-O1")] {
            let mut compiler = Command::new("gcc");
            compiler.arg(option).arg("-o").arg(folder.path().join(name));
            assert!(compiler.arg(&source).status().unwrap().success());
        }
        folder
    }

    fn exec(pid: u32, path: &Path) -> Item {
        Item::Exec {
            image: ImageId(1),
            pid,
            path: path.as_os_str().as_bytes().to_vec(),
        }
    }

    fn failed(pid: u32) -> Item {
        exec(pid, Path::new(""))
    }

    fn began(pid: u32, path: &Path) -> Item {
        Item::Process {
            image: ImageId(2),
            time_ns: 0,
            pid,
            ppid: 1,
            forked_from: None,
            executable: path.as_os_str().as_bytes().to_vec(),
            command: Vec::new(),
        }
    }

    fn messages(items: &[Item]) -> Vec<String> {
        let mut untraced = Untraced::default();
        for item in items {
            untraced.notice(item);
        }
        let warnings = untraced.findings().into_iter().map(|(warning, _)| warning);
        warnings.map(|warning| warning.message).collect()
    }

    #[test]
    fn a_static_program_is_told_once_with_the_count() {
        let folder = programs();
        let path = folder.path().join("static");
        let text = |who: &str| {
            format!(
                "'{}' (pid {who}) was not traced: it is statically linked: no hook can be loaded into it",
                path.display()
            )
        };
        assert_eq!(messages(&[exec(7, &path)]), [text("7")]);
        let three = [exec(9, &path), exec(8, &path), exec(7, &path)];
        assert_eq!(messages(&three), [text("9 and 2 more")]);
        // And what it then runs itself may be traced.
        let then = [exec(7, &path), began(7, &folder.path().join("dynamic"))];
        assert_eq!(messages(&then), [text("7")]);
    }

    #[test]
    fn nothing_is_told_of_what_did_not_run_or_bears_the_hook() {
        let folder = programs();
        let (path, dynamic) = (folder.path().join("static"), folder.path().join("dynamic"));
        assert!(messages(&[exec(7, &path), failed(7)]).is_empty());
        assert!(messages(&[exec(7, &dynamic), began(7, &dynamic)]).is_empty());
        assert!(messages(&[exec(7, Path::new("/nonexistent/program"))]).is_empty());
        assert!(messages(&[exec(7, &path), began(7, &path)]).is_empty());
    }
}
