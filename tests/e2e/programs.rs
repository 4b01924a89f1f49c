//! The programs that tests trace: built from `tests/programs/` by the machine's own compilers.
//!
//! What is built is kept in Cargo's folder for test files under a name that contains a hash of
//! the sources and the command, so a program is built once, and again when either changes.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Debian's package for a tool that is missing.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "gcc libc6-dev"),
    ("g++", "g++"),
    ("musl-gcc", "musl-tools"),
    (
        "aarch64-linux-gnu-gcc",
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    ),
    ("rustc", "rustc (or rustup)"),
    ("objcopy", "binutils"),
    ("strip", "binutils"),
    ("valgrind", "valgrind"),
    ("sqlite3", "sqlite3"),
    ("git", "git"),
    ("xz", "xz-utils"),
    ("perl", "perl"),
    ("python3", "python3"),
    ("script", "bsdutils"),
    ("setarch", "util-linux"),
    ("dwp", "binutils"),
    ("ctest", "cmake"),
];

/// The path of a program that must be installed. Debian's own folders come first: wrappers that a
/// developer put into the PATH (pyenv's python3 is a shell script) are not what tests mean.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/bin", "/bin"]
        .iter()
        .map(PathBuf::from)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            let package = PACKAGES.iter().find(|row| row.0 == name).map_or(name, |row| row.1);
            panic!("{name} is missing: apt-get install {package} (scripts/install-test-tools.sh installs all of them)")
        })
}

/// A file that a Debian package installs, such as a library.
pub fn installed(path: &str, package: &str) -> PathBuf {
    let file = PathBuf::from(path);
    assert!(
        file.exists(),
        "{path} is missing: apt-get install {package} (scripts/install-test-tools.sh installs all of them)"
    );
    file
}

/// A file of `tests/tools`, or of a package that is installed there.
pub fn of_tools(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/tools")
        .join(path);
    assert!(
        file.exists(),
        "{} is missing: run scripts/install-test-tools.sh",
        file.display()
    );
    file.canonicalize().unwrap()
}

/// The sources of the test programs.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/programs")
        .canonicalize()
        .unwrap()
}

/// Serialises building: two tests that need the same program wait for one compiler.
static BUILDING: Mutex<()> = Mutex::new(());

/// How to build a program.
#[derive(Clone)]
pub struct Build {
    compiler: String,
    sources: Vec<String>,
    flags: Vec<String>,
    /// File name of the result; a library's name matters to its users.
    name: Option<String>,
    /// Commands that run after the compiler, in the folder of the result: `{}` is the result.
    then: Vec<Vec<String>>,
    inputs: Vec<PathBuf>,
}

impl Build {
    fn new(compiler: &str, source: &str, flags: &[&str]) -> Self {
        Self {
            compiler: compiler.to_owned(),
            sources: vec![source.to_owned()],
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            name: None,
            then: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// A C program, without optimisation so that every function of the source has its frame.
    pub fn c(source: &str) -> Self {
        Self::new(
            "gcc",
            source,
            &["-std=gnu11", "-g", "-O0", "-Wall", "-Werror"],
        )
    }

    /// A C++ program, built likewise.
    pub fn cpp(source: &str) -> Self {
        Self::new(
            "g++",
            source,
            &["-std=c++17", "-g", "-O0", "-Wall", "-Werror"],
        )
    }

    /// A Rust program.
    pub fn rust(source: &str) -> Self {
        Self::new("rustc", source, &["--edition=2021", "-g", "-Copt-level=0"])
    }

    /// Another compiler of the same command line.
    pub fn compiler(mut self, compiler: &str) -> Self {
        self.compiler = compiler.to_owned();
        self
    }

    /// More flags, after those there are.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// One more source.
    pub fn source(mut self, source: &str) -> Self {
        self.sources.push(source.to_owned());
        self
    }

    /// A file that the result is linked with: built earlier, or installed.
    pub fn link(mut self, file: &Path) -> Self {
        self.flags.push(file.to_str().unwrap().to_owned());
        self.inputs.push(file.to_owned());
        self
    }

    /// A shared library of this name.
    pub fn library(mut self, name: &str) -> Self {
        self.flags.extend(["-shared", "-fPIC"].map(str::to_owned));
        self.named(name)
    }

    /// The result's file name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// A command to run on the result; `{}` stands for its path.
    pub fn then(mut self, command: &[&str]) -> Self {
        self.then
            .push(command.iter().map(|&word| word.to_owned()).collect());
        self
    }

    /// Builds unless it has been, and returns the path of the result. It stands in a folder of
    /// its own, so a test may put things beside it... but then shares them with other tests.
    pub fn path(&self) -> PathBuf {
        let _one_at_a_time = BUILDING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let stem = self.sources[0].split('.').next().unwrap();
        let name = self.name.clone().unwrap_or_else(|| stem.to_owned());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("programs/{stem}-{:016x}", self.hash()));
        let result = folder.join(&name);
        if result.exists() {
            return result;
        }
        // Built beside and moved into place: a build that was interrupted leaves nothing behind.
        let making = folder.with_extension(format!("making-{}", std::process::id()));
        let _ = fs::remove_dir_all(&making);
        fs::create_dir_all(&making).unwrap();
        let made = making.join(&name);
        let sources = self.sources.iter().map(|source| sources().join(source));
        let mut compile = Command::new(tool(&self.compiler));
        compile
            .args(sources)
            .args(&self.flags)
            .arg("-o")
            .arg(&made)
            .current_dir(&making);
        succeed(&mut compile);
        for words in &self.then {
            let mut command = Command::new(tool(&words[0]));
            command.args(
                words[1..]
                    .iter()
                    .map(|word| word.replace("{}", made.to_str().unwrap())),
            );
            succeed(command.current_dir(&making));
        }
        if fs::rename(&making, &folder).is_err() {
            // Another test process was faster; what it built is the same.
            let _ = fs::remove_dir_all(&making);
        }
        assert!(result.exists(), "{} was not built", result.display());
        result
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (
            &self.compiler,
            &self.sources,
            &self.flags,
            &self.name,
            &self.then,
        )
            .hash(&mut hasher);
        for source in &self.sources {
            fs::read(sources().join(source))
                .unwrap_or_else(|e| panic!("{source}: {e}"))
                .hash(&mut hasher);
        }
        // Headers are few: any change of one rebuilds everything.
        let mut headers: Vec<PathBuf> = fs::read_dir(sources())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        headers.retain(|file| file.extension().is_some_and(|e| e == "h"));
        headers.sort();
        for file in headers.iter().chain(&self.inputs) {
            fs::read(file)
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
                .hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn succeed(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
