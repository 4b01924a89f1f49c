//! Stacks under an entry: as lists for machines, as lines for people.
//!
//! Machines get every frame with all that is known of it. People get the caller first: what stands
//! inside it are wrappers, which are counted and not listed, and so is what every program starts
//! with outside of `main`.

use crate::page::{Line, Span, Style, shortened};
use serde::Serialize;

use crate::analyze::Callers;
use crate::symbolize::is_start;
use crate::trace::{SiteId, StackId, Tables};

/// A function of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrameEntry {
    /// Its name; where none is known `module+0xOFFSET`, else `???`; `[truncated]` for the missing
    /// outer part of a stack.
    pub function: String,
    /// Path of the module that has it.
    pub module: Option<String>,
    /// Source file, where debug information tells.
    pub file: Option<String>,
    /// Line in it: of the call.
    pub line: Option<u32>,
    /// The return address in the module's own numbering, `0x` and hexadecimal; where there is no
    /// module, in the process. `null` for what was truncated.
    pub address: Option<String>,
    /// Whether the compiler has put it into the function that follows.
    pub inlined: bool,
}

/// A stack, from the allocation function's caller outwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackFrames {
    /// Which of the frames is the caller: what stands before it merely wraps the allocator.
    pub caller_frame: usize,
    /// Inner to outer.
    pub frames: Vec<FrameEntry>,
}

impl StackFrames {
    /// A stack in full.
    pub(super) fn of(stack: StackId, tables: &Tables, callers: &Callers) -> StackFrames {
        let place = callers.place_in(stack);
        // Frames within the caller's: the sites between both stacks, with their inlined functions.
        let mut within = 0;
        let mut at = stack;
        while at != place.stack
            && let Some(node) = tables.stacks.node(at)
        {
            within += tables.depth_of(node.site);
            at = node.parent;
        }
        let frames: Vec<_> = tables
            .functions_of(stack)
            .map(|(site, level)| frame(tables, site, level))
            .collect();
        StackFrames {
            caller_frame: (within + place.level).min(frames.len().saturating_sub(1)),
            frames,
        }
    }

    /// The stack for a person: at most `most` frames, from the caller outwards.
    pub(super) fn lines(&self, indent: usize, most: usize, width: usize) -> Vec<Line> {
        let from_caller = self.frames.get(self.caller_frame..).unwrap_or(&[]);
        let start = from_caller
            .iter()
            .skip(1)
            .position(|frame| is_start(&frame.function))
            .map_or(from_caller.len(), |at| at + 1);
        let told = &from_caller[..start];
        let blank = || Span::new(Style::Plain, " ".repeat(indent));
        let mut lines = Vec::new();
        let shown = match told.len() > most {
            true => most,
            false => told.len(),
        };
        for frame in &told[..shown] {
            lines.push(frame.line(blank(), indent, width));
        }
        if from_caller.is_empty() {
            lines.push(vec![blank(), Span::new(Style::Dim, "no stack")]);
        }
        if shown < told.len() {
            let rest = format!("… and {} more", told.len() - shown);
            lines.push(vec![blank(), Span::new(Style::Dim, rest)]);
        }
        lines
    }
}

impl FrameEntry {
    fn line(&self, blank: Span, indent: usize, width: usize) -> Line {
        let mut place = String::new();
        if let (Some(file), Some(line)) = (&self.file, self.line) {
            place = format!("  {}:{line}", base_name(file));
        }
        if let Some(module) = &self.module {
            place += &format!("  {}", base_name(module));
        }
        if self.inlined {
            place += "  (inlined)";
        }
        let place = Span::new(Style::Dim, place);
        // A name always has half of the line.
        let room = width.saturating_sub(indent + place.width());
        let room = room.max(width.saturating_sub(indent) / 2);
        let style = match self.function.as_str() {
            "[truncated]" | "???" => Style::Dim,
            _ => Style::Plain,
        };
        let mut name = Span::new(style, &self.function);
        name.text = shortened(&name.text, room);
        vec![blank, name, place]
    }
}

fn frame(tables: &Tables, site: SiteId, level: usize) -> FrameEntry {
    let location = tables.location(site, level);
    let truncated = site == SiteId::TRUNCATED;
    FrameEntry {
        function: tables.function_name(site, level).into_owned(),
        module: tables.file_of(site).map(|file| file.path.clone()),
        file: location.map(|(file, _)| file.to_owned()),
        line: location.map(|(_, line)| line),
        address: (!truncated).then(|| format!("{:#x}", tables.site(site).address)),
        inlined: level + 1 < tables.depth_of(site),
    }
}

/// The last part of a path, of either kind.
pub(crate) fn base_name(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    if name.is_empty() { path } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::samples::Maker;

    fn shown(frames: &[&str], most: usize) -> Vec<String> {
        let mut made = Maker::default();
        let stack = made.stack(frames);
        let tables = made.tables();
        let stack = StackFrames::of(stack, &tables, &Callers::of(&tables));
        let text = |line: Line| line.into_iter().map(|span| span.text).collect::<String>();
        stack.lines(2, most, 60).into_iter().map(text).collect()
    }

    #[test]
    fn the_caller_comes_first_and_the_start_is_cut() {
        let lines = shown(
            &[
                "operator new(unsigned long) in /lib/libstdc++.so.6",
                "std::allocator<int>::allocate(unsigned long) < load @/src/load.cpp:7",
                "main @/src/main.cpp:3",
                "__libc_start_call_main in /lib/libc.so.6",
                "_start",
            ],
            9,
        );
        assert_eq!(
            lines,
            ["  load  load.cpp:7  app", "  main  main.cpp:3  app"]
        );
    }

    #[test]
    fn deep_stacks_say_how_deep() {
        let lines = shown(&["a", "b", "c", "d"], 2);
        assert_eq!(lines, ["  a  app", "  b  app", "  … and 2 more"]);
    }

    #[test]
    fn what_is_known_is_told_and_what_is_not_is_not_made_up() {
        assert_eq!(
            shown(&["small < big @/src/a.c:1", "?", "[truncated]"], 9),
            [
                "  small  app  (inlined)",
                "  big  a.c:1  app",
                "  app+0x1010  app",
                "  [truncated]"
            ]
        );
        assert_eq!(shown(&[], 9), ["  no stack"]);
    }
}
