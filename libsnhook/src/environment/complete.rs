//! The environment of a next program: the one that its starter gives it, and what leads it to
//! this run.
//!
//! A copy of the array, and of at most one text: whatever else it points to stays where it is.
//! Nothing here may allocate. The caller may be a `vfork` child that runs on its parent's memory,
//! and what such a child maps and does not unmap again stays in the parent for ever, as a
//! successful exec does not come back. So a small copy lives on the stack, and only one
//! that is too large for anybody's stack in pages of its own; those are unmapped wherever the call
//! does come back (always, for `posix_spawn`). Phase: exec.

use core::ffi::CStr;

use sntrace_format::env::RUN_VARIABLE;

use super::{PRELOAD, RUN};
use crate::platform::sys;
use crate::state::{self, Mode};
use crate::target;

/// Largest copy that is put on the stack, in bytes: four hundred variables. The C library's own
/// exec functions take as much for a path.
const STACK_BYTES: usize = 4096;

/// What is to become of a next program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It finds the run.
    Traced,
    /// It is started as it would be without sntrace: the hook would break it.
    Untraced,
}

/// The two variables.
#[derive(Clone, Copy)]
struct Variables<'a> {
    /// The run's, `NAME=value`; a zero follows.
    run: &'a [u8],
    /// The hook's path.
    hook: &'a [u8],
}

/// What has to be changed in an array.
pub struct Change {
    entries: *const *const u8,
    count: usize,
    variables: Variables<'static>,
    way: Way,
    /// Place of the program's own LD_PRELOAD, and its value.
    preload: Option<(usize, &'static [u8])>,
}

/// Calls `call` with `environment` if it leads a next program where it should, or with a copy that
/// does.
///
/// # Safety
/// `environment` is null or a C array of C strings ended by null.
pub unsafe fn with(environment: usize, way: Way, call: impl FnOnce(usize) -> usize) -> usize {
    // SAFETY: the caller's promise.
    match unsafe { change(environment, way) } {
        None => call(environment),
        Some(change) if change.bytes() <= STACK_BYTES => with_stack(&change, call),
        Some(change) => with_pages(&change, environment, call),
    }
}

/// Not inlined: callers whose environment is complete need no such frame.
#[inline(never)]
fn with_stack(change: &Change, call: impl FnOnce(usize) -> usize) -> usize {
    let mut room = [0usize; STACK_BYTES / size_of::<usize>()];
    let room = room.as_mut_ptr();
    // SAFETY: zeros, as long as needed, aligned for pointers.
    unsafe { change.write(room as usize, room as usize + change.pointer_bytes()) };
    call(room as usize)
}

#[inline(never)]
fn with_pages(change: &Change, environment: usize, call: impl FnOnce(usize) -> usize) -> usize {
    let bytes = change.bytes();
    let Some(pages) = sys::map_anonymous(bytes) else {
        return call(environment);
    };
    // SAFETY: fresh pages of that length.
    unsafe { change.write(pages, pages + change.pointer_bytes()) };
    let result = call(pages);
    // SAFETY: mapped above, and the call that used them is over.
    unsafe { sys::unmap(pages, bytes) };
    result
}

/// What has to be changed in `environment`; `None` if it is as it should be.
///
/// # Safety
/// As for [`with`]; the array and its strings stay as long as the change is used.
pub unsafe fn change(environment: usize, way: Way) -> Option<Change> {
    let variables = Variables {
        run: RUN.get(),
        hook: super::hook_path(),
    };
    if !super::has_run() {
        return None;
    }
    // A launcher that is gone, or a process that is not to be followed. A hook that came along
    // nevertheless would break what it would break.
    if state::mode() == Mode::Off && way == Way::Traced {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { survey(environment, variables, way) }
}

/// # Safety
/// As for [`change`].
unsafe fn survey(environment: usize, variables: Variables<'static>, way: Way) -> Option<Change> {
    let entries = environment as *const *const u8;
    let mut change = Change {
        entries,
        count: 0,
        variables,
        way,
        preload: None,
    };
    let (mut has_run, mut has_any_run) = (false, false);
    while !entries.is_null() {
        // SAFETY: within the array, which ends with null.
        let entry = unsafe { *entries.add(change.count) };
        if entry.is_null() {
            break;
        }
        // SAFETY: a C string.
        let text = unsafe { CStr::from_ptr(entry.cast()) }.to_bytes();
        has_run |= text == variables.run;
        has_any_run |= is_run(text);
        if let Some(value) = text.strip_prefix(PRELOAD)
            && change.preload.is_none()
        {
            change.preload = Some((change.count, value));
        }
        change.count += 1;
    }
    let has_hook = libraries(change.preload_value()).any(|library| library == variables.hook);
    // A sanitizer that the program preloads itself wants to be the first library as well.
    if libraries(change.preload_value()).any(target::is_sanitizer) {
        change.way = Way::Untraced;
    }
    let is_as_wanted = match change.way {
        Way::Traced => has_run && has_hook,
        Way::Untraced => !has_any_run && !has_hook,
    };
    (!is_as_wanted).then_some(change)
}

/// The libraries of an LD_PRELOAD, separated as `man 8 ld.so` says.
fn libraries(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b':' || byte == b' ')
        .filter(|library| !library.is_empty())
}

impl Change {
    fn preload_value(&self) -> &'static [u8] {
        self.preload.map_or(&[], |(_, value)| value)
    }

    /// Room for the array: every entry, the two variables, null.
    pub fn pointer_bytes(&self) -> usize {
        (self.count + 3) * size_of::<usize>()
    }

    /// Room for the new LD_PRELOAD, its zero included.
    pub fn text_bytes(&self) -> usize {
        PRELOAD.len() + self.variables.hook.len() + 1 + self.preload_value().len() + 1
    }

    fn bytes(&self) -> usize {
        self.pointer_bytes() + self.text_bytes()
    }

    /// The entries that stay, in their order.
    pub fn each(&self, mut take: impl FnMut(usize)) {
        for at in 0..self.count {
            // SAFETY: below the count made when the array was surveyed.
            let entry = unsafe { *self.entries.add(at) };
            // SAFETY: a C string.
            let variable = unsafe { CStr::from_ptr(entry.cast()) }.to_bytes();
            if !is_run(variable) && self.preload.is_none_or(|(place, _)| place != at) {
                take(entry as usize);
            }
        }
    }

    /// Address of the run's variable.
    pub fn run(&self) -> usize {
        self.variables.run.as_ptr() as usize
    }

    /// Writes the changed array and its new text.
    ///
    /// # Safety
    /// [`Change::pointer_bytes`] and [`Change::text_bytes`] of zeros are writable there, the array
    /// aligned.
    unsafe fn write(&self, array: usize, text: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.write_text(text) };
        let mut used = 0;
        let mut add = |entry: usize| {
            // SAFETY: at most `count + 2` entries are added; the last place stays null.
            unsafe { *(array as *mut usize).add(used) = entry };
            used += 1;
        };
        self.each(&mut add);
        if self.has_text() {
            add(text);
        }
        if self.way == Way::Traced {
            add(self.run());
        }
    }

    /// Whether there is an LD_PRELOAD afterwards.
    fn has_text(&self) -> bool {
        self.way == Way::Traced || self.theirs().next().is_some()
    }

    /// Writes the new LD_PRELOAD.
    ///
    /// # Safety
    /// [`Change::text_bytes`] of zeros are writable there.
    pub unsafe fn write_text(&self, text: usize) {
        let mut at = text;
        self.text(|part| {
            for &byte in part {
                // SAFETY: the parts add up to less than `text_bytes`; the rest stays zero.
                unsafe { *(at as *mut u8) = byte };
                at += 1;
            }
        });
    }

    /// Whether a C string is the new LD_PRELOAD.
    ///
    /// # Safety
    /// It is a C string.
    pub unsafe fn is_text(&self, text: usize) -> bool {
        // SAFETY: the caller's promise.
        let mut rest = Some(unsafe { CStr::from_ptr(text as *const _) }.to_bytes());
        self.text(|part| rest = rest.and_then(|rest| rest.strip_prefix(part)));
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// The new LD_PRELOAD, part by part: the hook, then what the program preloads itself.
    fn text(&self, mut put: impl FnMut(&[u8])) {
        put(PRELOAD);
        let hook = (self.way == Way::Traced).then_some(self.variables.hook);
        for (at, library) in hook.into_iter().chain(self.theirs()).enumerate() {
            if at > 0 {
                put(b":");
            }
            put(library);
        }
    }

    /// What the program preloads itself.
    fn theirs(&self) -> impl Iterator<Item = &'static [u8]> {
        let hook = self.variables.hook;
        libraries(self.preload_value()).filter(move |&library| library != hook)
    }
}

/// Whether a variable is some run's.
fn is_run(variable: &[u8]) -> bool {
    variable.starts_with(RUN_VARIABLE.as_bytes()) && variable.get(RUN_VARIABLE.len()) == Some(&b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    const VARIABLES: Variables<'static> = Variables {
        run: c"SNTRACE_RUN=1:2:3:4:5:/p/e".to_bytes(),
        hook: b"/h.so",
    };
    const RUN_ENTRY: &str = "SNTRACE_RUN=1:2:3:4:5:/p/e";

    /// What becomes of an environment; `None`: nothing.
    fn changed(texts: &[&str], way: Way) -> Option<Vec<String>> {
        let owned: Vec<CString> = texts
            .iter()
            .map(|text| CString::new(*text).unwrap())
            .collect();
        let mut array: Vec<usize> = owned.iter().map(|text| text.as_ptr() as usize).collect();
        array.push(0);
        // SAFETY: an array of C strings ended by null.
        let change = unsafe { survey(array.as_ptr() as usize, VARIABLES, way) }?;
        Some(written(&change))
    }

    fn written(change: &Change) -> Vec<String> {
        let mut array = vec![0usize; change.pointer_bytes() / size_of::<usize>()];
        let mut text = vec![0u8; change.text_bytes()];
        // SAFETY: zeros of those lengths.
        unsafe { change.write(array.as_mut_ptr() as usize, text.as_mut_ptr() as usize) };
        assert_eq!(array.last(), Some(&0));
        let entries = array.iter().take_while(|&&entry| entry != 0);
        entries
            // SAFETY: C strings, all still there.
            .map(|&entry| unsafe { CStr::from_ptr(entry as *const _) })
            .map(|text| text.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn an_empty_environment_gets_the_two_variables() {
        let expected = Some(vec!["LD_PRELOAD=/h.so".to_owned(), RUN_ENTRY.to_owned()]);
        assert_eq!(changed(&[], Way::Traced), expected);
        // SAFETY: null is allowed.
        let null = unsafe { survey(0, VARIABLES, Way::Traced) };
        assert_eq!(null.map(|change| written(&change)), expected);
    }

    #[test]
    fn another_preload_stays_behind_the_hook_and_a_stale_run_goes() {
        let given = ["B=2", "LD_PRELOAD=/jemalloc.so", "SNTRACE_RUN=old", "C=3"];
        assert_eq!(
            changed(&given, Way::Traced).unwrap(),
            ["B=2", "C=3", "LD_PRELOAD=/h.so:/jemalloc.so", RUN_ENTRY]
        );
        let similar = ["LD_PRELOAD=/x/h.so", "SNTRACE_RUNNER=1", RUN_ENTRY];
        assert_eq!(
            changed(&similar, Way::Traced).unwrap(),
            ["SNTRACE_RUNNER=1", "LD_PRELOAD=/h.so:/x/h.so", RUN_ENTRY]
        );
    }

    #[test]
    fn a_complete_environment_is_left_alone() {
        assert_eq!(
            changed(&["LD_PRELOAD=/x.so:/h.so", RUN_ENTRY], Way::Traced),
            None
        );
    }

    #[test]
    fn a_program_that_must_not_be_traced_gets_what_it_would_get() {
        let untraced = |texts: &[&str]| changed(texts, Way::Untraced);
        let traced = ["A=1", "LD_PRELOAD=/h.so", RUN_ENTRY, "B=2"];
        assert_eq!(untraced(&traced).unwrap(), ["A=1", "B=2"]);
        let with_another = ["LD_PRELOAD=/h.so:/j.so /k.so", RUN_ENTRY];
        assert_eq!(untraced(&with_another).unwrap(), ["LD_PRELOAD=/j.so:/k.so"]);
        assert_eq!(untraced(&["A=1", "LD_PRELOAD=/j.so"]), None);
        assert_eq!(untraced(&[]), None);
    }

    #[test]
    fn a_preloaded_sanitizer_stays_the_first_library() {
        let given = ["LD_PRELOAD=/lib/libasan.so.8", "A=1"];
        assert_eq!(changed(&given, Way::Traced), None);
        let behind = ["LD_PRELOAD=/h.so:/lib/libasan.so.8", RUN_ENTRY];
        assert_eq!(
            changed(&behind, Way::Traced).unwrap(),
            ["LD_PRELOAD=/lib/libasan.so.8"]
        );
    }

    #[test]
    fn a_large_environment_is_copied_too() {
        let texts: Vec<String> = (0..3000).map(|n| format!("V{n}={n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let complete = changed(&texts, Way::Traced).unwrap();
        assert_eq!(complete.len(), 3002);
        assert_eq!(complete[..3000], texts);
    }
}
