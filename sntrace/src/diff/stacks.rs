//! A site's stack as a person is shown it: the real one, with files and lines, of the side that has it.
//!
//! From the caller outwards to `main`, or to a thread's first function, with recursions folded, as paths are.

use super::paths::period;
use crate::symbolize::{caller_in, is_start};
use crate::trace::{StackId, Tables};
use crate::verdict::StackFrame;

/// Frames that are listed of one stack.
const FRAMES_MAX: usize = 500;

/// The stack, the caller first. Of a stack that was not taken, one frame that says so.
#[must_use]
pub fn shown(tables: &Tables, stack: StackId) -> Vec<StackFrame> {
    let (site, level, _) = caller_in(tables, stack);
    let functions = tables.functions_of(stack);
    let mut functions = functions.skip_while(|place| *place != (site, level));
    let mut frames: Vec<StackFrame> = Vec::new();
    for (site, level) in functions.by_ref().take(FRAMES_MAX) {
        let name = tables.function_name(site, level);
        if !frames.is_empty() && is_start(&name) {
            break;
        }
        let location = tables.location(site, level);
        let end = name == "main";
        frames.push(StackFrame {
            function: name.into_owned(),
            module: tables.file_of(site).map(|file| file.path.clone()),
            file: location.map(|(file, _)| file.to_owned()),
            line: location.map(|(_, line)| line),
        });
        if end {
            break;
        }
    }
    if frames.is_empty() {
        frames.push(StackFrame {
            function: "???".into(),
            module: None,
            file: None,
            line: None,
        });
    }
    folded(frames)
}

/// Without what repeats at once. Of equal functions the innermost ones stay: their lines lead to the allocation.
fn folded(inner_first: Vec<StackFrame>) -> Vec<StackFrame> {
    let mut path: Vec<StackFrame> = Vec::new();
    for frame in inner_first.into_iter().rev() {
        let outwards = path.iter().rev().map(|frame| frame.function.as_str());
        if let Some(period) = period(frame.function.as_str(), outwards) {
            path.truncate(path.len() + 1 - period);
            if let Some(last) = path.last_mut() {
                *last = frame;
            }
        } else {
            path.push(frame);
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::samples::Maker;

    fn names(stack: &[&str]) -> Vec<String> {
        let mut maker = Maker::default();
        let stack = maker.stack(stack);
        let frames = shown(&maker.tables(), stack);
        frames.into_iter().map(|frame| frame.function).collect()
    }

    #[test]
    fn a_stack_is_shown_from_its_caller_to_main() {
        let shown = names(&[
            "malloc_wrapper",
            "work",
            "main",
            "__libc_start_main",
            "_start",
        ]);
        assert_eq!(shown, ["malloc_wrapper", "work", "main"]);
        assert_eq!(
            names(&["xmalloc < work", "run", "start_thread"]),
            ["work", "run"]
        );
        assert_eq!(names(&["xmalloc", "strdup"]), ["strdup"]);
        assert_eq!(names(&["work", "[truncated]"]), ["work", "[truncated]"]);
        assert_eq!(names(&[]), ["???"]);
    }

    #[test]
    fn a_recursion_is_shown_once_with_its_innermost_lines() {
        let mut maker = Maker::default();
        let stack = maker.stack(&["leaf", "f @a.c:1", "f @a.c:2", "f @a.c:3", "main"]);
        let frames = shown(&maker.tables(), stack);
        let lines: Vec<_> = frames
            .iter()
            .map(|f| (f.function.as_str(), f.line))
            .collect();
        assert_eq!(lines, [("leaf", None), ("f", Some(1)), ("main", None)]);
    }
}
