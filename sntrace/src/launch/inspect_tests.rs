//! Programs of every kind that can't be traced, made by the C compiler where one is needed.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// A folder with files in it that may be executed.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a temporary file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("our own file");
        path
    }

    /// Compiles a program that does nothing; `package` is what provides compiler and flags.
    fn compile(&self, name: &str, package: &str, compiler: &str, flags: &[&str]) -> PathBuf {
        let source = self.path(&format!("{name}.c"));
        std::fs::write(&source, "int main(void) { return 0; }\n").expect("a temporary file");
        let path = self.path(name);
        let output = Command::new(compiler)
            .args(flags)
            .arg("-o")
            .arg(&path)
            .arg(&source)
            .output();
        match output {
            Ok(output) if output.status.success() => path,
            Ok(output) => panic!(
                "{compiler} {flags:?} failed; is it there? (apt-get install {package})\n{}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => panic!("cannot run {compiler}: {error} (apt-get install {package})"),
        }
    }
}

fn look(path: &Path) -> Result<Program, InspectError> {
    inspect(path.as_os_str(), None)
}

fn refusal(path: &Path) -> InspectError {
    look(path).expect_err("refused")
}

#[test]
fn a_dynamic_program_is_accepted() {
    let folder = Folder::new();
    let path = folder.compile("dynamic", "gcc", "gcc", &[]);
    let program = look(&path).expect("accepted");
    assert_eq!(program.path, path);
    assert!(!program.needs_shell);
    assert!(program.warnings.is_empty(), "{:?}", program.warnings);
}

#[test]
fn the_search_is_that_of_execvp() {
    let folder = Folder::new();
    let (first, second) = (folder.path("first"), folder.path("second"));
    for each in [&first, &second] {
        std::fs::create_dir(each).expect("a temporary folder");
    }
    std::fs::create_dir(first.join("tool")).expect("a temporary folder");
    let program = second.join("tool");
    std::fs::copy("/bin/true", &program).expect("coreutils");
    std::fs::write(first.join("data"), "x").expect("a temporary file");
    let search_path = format!("/nowhere:{}:{}", first.display(), second.display());
    let search = |name: &str| inspect(OsStr::new(name), Some(OsStr::new(&search_path)));

    // A folder of the name is passed over.
    assert_eq!(search("tool").expect("found").path, program);
    // A file that may not be executed is remembered.
    let error = search("data").expect_err("refused");
    assert_eq!(error.exit_status(), 126);
    assert!(matches!(error.fault, Fault::NotExecutable));
    let error = search("nothing").expect_err("refused");
    assert_eq!(error.exit_status(), 127);
    assert_eq!(
        error.to_string(),
        "cannot run 'nothing': it was not found in PATH"
    );
    // Without PATH the system's folders are searched.
    assert!(inspect(OsStr::new("true"), None).is_ok());
}

#[test]
fn what_cannot_run_says_why() {
    let folder = Folder::new();
    let data = folder.path("data");
    std::fs::write(&data, "x").expect("a temporary file");
    for (path, status, text) in [
        (folder.path("nothing"), 127, "does not exist"),
        (data.join("below"), 127, "does not exist"),
        (folder.0.path().to_path_buf(), 126, "is a folder"),
        (PathBuf::from("/dev/null"), 126, "is no regular file"),
        (data.clone(), 126, "may not be executed"),
    ] {
        let error = refusal(&path);
        assert_eq!(error.exit_status(), status, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(
        refusal(&data).hint(),
        Some(format!("if it is a program: chmod +x {}", data.display()))
    );
}

#[test]
fn static_programs_are_warned_of_but_may_start_others() {
    let folder = Folder::new();
    for flag in ["-static", "-static-pie"] {
        let program =
            look(&folder.compile(&flag[1..], "libc6-dev", "gcc", &[flag])).expect("accepted");
        let [warning] = &program.warnings[..] else {
            panic!("{flag}: {:?}", program.warnings)
        };
        assert!(
            warning.message.contains("is statically linked"),
            "{}",
            warning.message
        );
        assert!(warning.hint.is_some());
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn a_dynamic_loader_run_as_a_program_is_no_static_program() {
    assert!(look(Path::new("/lib64/ld-linux-x86-64.so.2")).is_ok());
}

#[test]
fn object_files_are_no_programs() {
    let folder = Folder::new();
    let path = folder.compile("object", "gcc", "gcc", &["-c"]);
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("our own file");
    assert!(matches!(refusal(&path).fault, Fault::NotAProgram));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn programs_of_other_processors_are_refused() {
    let folder = Folder::new();
    let i386 = folder.compile("i386", "gcc-12-multilib", "gcc", &["-m32"]);
    let error = refusal(&i386);
    assert_eq!(error.exit_status(), 125);
    assert!(error.to_string().contains("32-bit x86"), "{error}");

    let native = folder.compile("native", "gcc", "gcc", &[]);
    let mut bytes = std::fs::read(native).expect("just compiled");
    // e_machine is at byte 18 of the header; 183 is aarch64.
    bytes[18] = 183;
    let error = refusal(&folder.write("aarch64", &bytes));
    assert_eq!(error.exit_status(), 126);
    assert!(
        error
            .to_string()
            .contains("built for aarch64; this sntrace traces x86-64"),
        "{error}"
    );
}

#[test]
fn a_missing_loader_is_named() {
    let folder = Folder::new();
    let path = folder.compile(
        "lost",
        "gcc",
        "gcc",
        &["-Wl,--dynamic-linker=/nowhere/ld.so"],
    );
    let error = refusal(&path);
    assert_eq!(error.exit_status(), 126);
    assert!(
        error
            .to_string()
            .contains("'/nowhere/ld.so', which does not exist"),
        "{error}"
    );
}

#[test]
fn sanitizers_are_refused() {
    let folder = Folder::new();
    for (name, flags) in [
        ("AddressSanitizer", &["-fsanitize=address"][..]),
        (
            "AddressSanitizer",
            &["-fsanitize=address", "-static-libasan"],
        ),
        ("ThreadSanitizer", &["-fsanitize=thread"]),
    ] {
        let error = refusal(&folder.compile("sanitized", "libgcc-12-dev", "gcc", flags));
        assert_eq!(error.exit_status(), 125);
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().expect("a hint").contains(flags[0]));
    }
    // This one has no allocator of its own.
    let path = folder.compile(
        "undefined",
        "libgcc-12-dev",
        "gcc",
        &["-fsanitize=undefined"],
    );
    assert!(look(&path).is_ok());
    // Asking whether a sanitizer is there does not bring one.
    let source = folder.path("asks.c");
    let code = "void __asan_init(void) __attribute__((weak));\nint main(void) { return __asan_init != 0; }\n";
    std::fs::write(&source, code).expect("a temporary file");
    let path = folder.path("asks");
    let status = Command::new("gcc")
        .arg("-o")
        .arg(&path)
        .arg(&source)
        .status()
        .expect("gcc");
    assert!(status.success());
    assert!(look(&path).is_ok());
}

#[test]
fn raised_privileges_are_refused() {
    const ME: (u32, u32) = (1000, 100);
    let judge = |mode, owner, group| privilege_in(mode, owner, group, ME.0, ME.1);
    assert_eq!(judge(0o4755, 0, 0), Some(Privilege::User(0)));
    assert_eq!(judge(0o2755, 0, 5), Some(Privilege::Group(5)));
    // One's own identity raises nothing; neither does setgid without the group's execute bit.
    assert_eq!(judge(0o6755, 1000, 100), None);
    assert_eq!(judge(0o2745, 0, 5), None);
    assert_eq!(judge(0o755, 0, 0), None);
}

#[test]
fn a_setuid_file_of_another_user_is_refused() {
    if !permissions::is_root() {
        // Only root can make a file another user's; the rule itself is tested above.
        return;
    }
    let folder = Folder::new();
    let path = folder.compile("setuid", "gcc", "gcc", &[]);
    std::os::unix::fs::chown(&path, Some(65534), None).expect("we are root");
    std::fs::set_permissions(&path, Permissions::from_mode(0o4755)).expect("we are root");
    if permissions::may_raise_privileges(&path) {
        let error = refusal(&path);
        assert_eq!(error.exit_status(), 125);
        assert!(error.hint().expect("a hint").contains("sudo -u '#65534'"));
    }
}

#[test]
fn scripts_are_judged_by_their_interpreter() {
    let folder = Folder::new();
    assert!(
        !look(&folder.write("plain", b"#!/bin/sh -e\nexit 0\n"))
            .expect("accepted")
            .needs_shell
    );

    let fixed = folder.compile("fixed", "libc6-dev", "gcc", &["-static"]);
    let warned = |path: &Path, search_path: Option<&OsStr>| {
        let program = inspect(path.as_os_str(), search_path).expect("accepted");
        program
            .warnings
            .iter()
            .any(|warning| warning.message.contains(&fixed.display().to_string()))
    };
    let script = folder.write("script", format!("#! {} arg\n", fixed.display()).as_bytes());
    assert!(warned(&script, None));
    let nested = folder.write("nested", format!("#!{}\n", script.display()).as_bytes());
    assert!(warned(&nested, None));

    let search_path = folder.0.path().as_os_str();
    let through_env = folder.write("through-env", b"#!/usr/bin/env -S fixed -x\n");
    assert!(warned(&through_env, Some(search_path)));
}

#[test]
fn broken_scripts_are_refused() {
    let folder = Folder::new();
    let error = refusal(&folder.write("lost", b"#!/nowhere/sh\n"));
    assert_eq!(error.exit_status(), 126);
    assert!(
        error
            .to_string()
            .contains("its interpreter '/nowhere/sh' does not exist"),
        "{error}"
    );

    let error = refusal(&folder.write("dos", b"#!/bin/sh\r\nexit\r\n"));
    assert!(error.hint().expect("a hint").contains("carriage return"));

    let own = folder.path("loop");
    let error = refusal(&folder.write("loop", format!("#!{}\n", own.display()).as_bytes()));
    assert!(matches!(error.fault, Fault::TooManyInterpreters), "{error}");

    assert!(matches!(
        refusal(&folder.write("none", b"#!\n")).fault,
        Fault::NotAProgram
    ));
}

#[test]
fn text_goes_to_the_shell() {
    let folder = Folder::new();
    let program = look(&folder.write("text", b"exit 3\n")).expect("accepted");
    assert!(program.needs_shell && program.warnings.is_empty());
    let program = look(&folder.write("empty", b"")).expect("accepted");
    assert!(program.needs_shell);
    assert!(program.warnings[0].message.contains("is empty"));
}

#[test]
fn what_nobody_knows_is_run_with_a_warning() {
    let folder = Folder::new();
    for (name, content) in [
        ("binary", &b"MZ\0\x01"[..]),
        ("cut", b"\x7fELF\x02\x01\x01\0\0\0"),
    ] {
        let program = look(&folder.write(name, content)).expect("accepted");
        assert!(!program.needs_shell);
        assert_eq!(program.warnings.len(), 1, "{name}");
    }
}

#[test]
fn no_cut_of_a_program_does_harm() {
    let folder = Folder::new();
    let bytes = std::fs::read(folder.compile("whole", "gcc", "gcc", &[])).expect("just compiled");
    for length in (0..bytes.len()).step_by(61) {
        // Whatever it is, it is an answer.
        let _ = look(&folder.write("part", &bytes[..length]));
    }
}
