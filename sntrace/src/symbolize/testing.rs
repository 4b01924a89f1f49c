//! Programs to name, built with the machine's own tools in a folder that vanishes.
//!
//! Tests of symbolization are worth what their inputs are: what gcc, clang, rustc, strip and
//! objcopy write today. A missing tool is a failure with the name of its Debian package, never
//! a test that passes unseen.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Caller, CallerFinder, FileId, Frame, Locator, ModuleMap, Symbolizer};
use crate::trace::{Module, Op};

/// A folder to build in.
pub(super) struct Workshop(tempfile::TempDir);

impl Workshop {
    pub(super) fn new() -> Workshop {
        Workshop(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder()
            .join(name)
            .to_str()
            .expect("temporary folders are UTF-8")
            .to_owned()
    }

    pub(super) fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs a tool in this folder.
    pub(super) fn run(&self, tool: &str, arguments: &[&str]) {
        let output = Command::new(tool)
            .args(arguments)
            .current_dir(self.folder())
            .output();
        let output = output.unwrap_or_else(|error| {
            let package = match tool {
                "clang" => "clang",
                "llvm-dwp" => "llvm",
                "xz" => "xz-utils",
                "rustc" => "(rustup)",
                _ => "build-essential",
            };
            panic!("cannot run {tool}: {error}; apt install {package}")
        });
        assert!(
            output.status.success(),
            "{tool} {arguments:?}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// What a tool prints.
    pub(super) fn output(&self, tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool)
            .args(arguments)
            .current_dir(self.folder())
            .output();
        String::from_utf8(
            output
                .unwrap_or_else(|error| panic!("{tool}: {error}"))
                .stdout,
        )
        .unwrap()
    }

    /// The address of symbol `name` in `file`, as nm tells it. Ask before stripping.
    pub(super) fn address(&self, file: &str, name: &str) -> u64 {
        self.output("nm", &[file])
            .lines()
            .find_map(|line| {
                let mut words = line.split_whitespace();
                let address = words.next()?;
                let found = words.nth(1)?;
                (found == name).then(|| u64::from_str_radix(address, 16).unwrap())
            })
            .unwrap_or_else(|| panic!("no symbol {name} in {file}"))
    }

    /// The instructions of `function` in `file`, as objdump shows them. Ask before stripping.
    fn listing(&self, file: &str, function: &str) -> Vec<String> {
        let listing = self.output("objdump", &["-d", "--no-show-raw-insn", file]);
        let head = format!("<{function}>:");
        let lines = listing
            .lines()
            .skip_while(|line| !line.ends_with(&head))
            .skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The address behind the first call of `callee` in `function` of `file`.
    pub(super) fn return_address(&self, file: &str, function: &str, callee: &str) -> u64 {
        let listing = self.listing(file, function);
        let target = |line: &str| {
            let target = line.rsplit_once('<').map_or("", |(_, target)| target);
            target
                .trim_end_matches('>')
                .split(['@', '+'])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let call = listing
            .iter()
            .position(|line| is_call(line) && target(line) == callee);
        let call =
            call.unwrap_or_else(|| panic!("no call of {callee} in {function}: {listing:#?}"));
        address_of(&listing[call + 1])
    }

    /// The addresses behind all calls in `function` of `file`.
    pub(super) fn return_addresses(&self, file: &str, function: &str) -> Vec<u64> {
        let listing = self.listing(file, function);
        let calls = listing.windows(2).filter(|pair| is_call(&pair[0]));
        calls.map(|pair| address_of(&pair[1])).collect()
    }

    /// The build id of `file`, as readelf tells it.
    pub(super) fn build_id(&self, file: &str) -> Vec<u8> {
        let notes = self.output("readelf", &["-n", file]);
        let text = notes
            .lines()
            .find_map(|line| line.trim().strip_prefix("Build ID: "));
        let text = text.unwrap_or_default().trim();
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    /// `file` as a module that is mapped at address 0, so that file addresses are addresses.
    pub(super) fn module(&self, file: &str) -> Module {
        Module {
            start: 0,
            end: 1 << 40,
            bias: 0,
            device: 0,
            inode: 0,
            build_id: self.build_id(file),
            path: file.into(),
        }
    }
}

/// Whether a line of objdump is a call: x86-64's, then aarch64's.
fn is_call(line: &str) -> bool {
    line.contains("\tcall") || line.contains("\tbl\t") || line.contains("\tblr\t")
}

fn address_of(line: &str) -> u64 {
    let address = line.split(':').next().unwrap_or_default().trim();
    u64::from_str_radix(address, 16).unwrap_or_else(|_| panic!("no address: {line}"))
}

/// What a finder finds, to be kept while it finds more.
pub(super) fn caller_of(
    finder: &mut CallerFinder<'_>,
    map: &ModuleMap,
    op: Op,
    caller: u64,
    beyond: &[u64],
    raw: bool,
) -> Caller {
    let number = finder.find(map, op, caller, beyond, raw);
    finder.caller(number).clone()
}

/// A locator that looks for debug files in `folder` only.
pub(super) fn locator_for(folder: &Path) -> Locator {
    Locator::new(vec![folder.to_owned()])
}

/// A map of `module` alone, and its file.
pub(super) fn map_of(symbolizer: &Symbolizer<'_>, module: Module) -> (ModuleMap, FileId) {
    let start = module.start;
    let mut map = symbolizer.new_map();
    map.add(module);
    let file = map.lookup(start).unwrap().file;
    (map, file)
}

/// `function file:line` a frame, the file without its folder.
pub(super) fn shown(frames: &[Frame]) -> Vec<String> {
    let part = |frame: &Frame| {
        let function = frame.function.as_deref().unwrap_or("?").to_owned();
        match (&frame.file, frame.line) {
            (Some(file), Some(line)) => {
                let file = PathBuf::from(&**file);
                format!("{function} {}:{line}", file.file_name().unwrap().display())
            }
            _ => function,
        }
    };
    frames.iter().map(part).collect()
}
