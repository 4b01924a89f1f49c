//! Builds the hook and hands its path to `launch/hook_library.rs`, which embeds it.
//!
//! The hook is a freestanding cdylib in a workspace of its own, for the same target as sntrace,
//! always optimized, in a target folder of its own below `OUT_DIR` (a shared one would deadlock
//! on cargo's lock). Whatever flags the outer build has (`RUSTFLAGS` with coverage or a
//! sanitizer, clippy's wrapper) stay outside: they would bring a runtime into the hook.
//!
//! For packagers and cross builds:
//!
//! - `SNTRACE_PREBUILT_HOOK=/path/libsnhook.so` embeds that file, and nothing is built here.
//! - `SNTRACE_HOOK_CARGO_FLAGS` is added to the inner cargo's arguments (`-Zbuild-std=core`).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SNTRACE_PREBUILT_HOOK");
    println!("cargo::rerun-if-env-changed=SNTRACE_HOOK_CARGO_FLAGS");
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let hook = match env::var_os("SNTRACE_PREBUILT_HOOK") {
        Some(path) => {
            let path = PathBuf::from(path);
            println!("cargo::rerun-if-changed={}", path.display());
            assert!(
                path.is_file(),
                "SNTRACE_PREBUILT_HOOK: no file '{}'",
                path.display()
            );
            path
        }
        None => build_hook(&manifest_dir),
    };
    let hook = fs::canonicalize(&hook).expect("the hook's path, which was just built, exists");
    println!("cargo::rustc-env=SNTRACE_HOOK={}", hook.display());
}

/// Builds `libsnhook.so` and returns where it is.
fn build_hook(manifest_dir: &Path) -> PathBuf {
    let hook_dir = manifest_dir.join("../libsnhook");
    let format_dir = manifest_dir.join("../sntrace-format");
    for source in [
        hook_dir.join("src"),
        hook_dir.join("Cargo.toml"),
        hook_dir.join("Cargo.lock"),
        hook_dir.join("build.rs"),
        format_dir.join("src"),
        format_dir.join("Cargo.toml"),
    ] {
        // A path that does not exist would make cargo run this script each time.
        if source.exists() {
            println!("cargo::rerun-if-changed={}", source.display());
        }
    }

    let target = variable("TARGET");
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let target_dir = out_dir.join("hook");
    let manifest = hook_dir.join("Cargo.toml");
    if !manifest.is_file() {
        fail(&format!(
            "no '{}': build sntrace from its whole source tree",
            manifest.display()
        ));
    }

    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .arg("build")
        .arg("--release")
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&target_dir);
    if let Ok(flags) = env::var("SNTRACE_HOOK_CARGO_FLAGS") {
        cargo.args(flags.split_whitespace());
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    // Empty, not absent: it also overrules `build.rustflags` of configuration files.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");

    let output = match cargo.output() {
        Ok(output) => output,
        Err(error) => fail(&format!("cannot run {cargo:?}: {error}")),
    };
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        fail(&format!("{cargo:?} failed:\n{talk}"));
    }
    let hook = target_dir.join(&target).join("release/libsnhook.so");
    if !hook.is_file() {
        fail(&format!("the build left no '{}'", hook.display()));
    }
    hook
}

/// Variables that cargo sets for this script or the user for the outer build, and that would
/// change how the hook is compiled or where it is put. What says where compiler, registry and
/// linker are (`RUSTC`, `CARGO_HOME`, `CARGO_NET_OFFLINE`, `CARGO_TARGET_<T>_LINKER`,
/// `RUSTUP_TOOLCHAIN`) stays.
fn belongs_to_the_outer_build(name: &str) -> bool {
    const EXACT: [&str; 12] = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_BUILD_BUILD_DIR",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
    ];
    EXACT.contains(&name)
        || name.starts_with("CARGO_PROFILE_")
        || name.starts_with("CARGO_FEATURE_")
        || (name.starts_with("CARGO_TARGET_") && name.ends_with("_RUSTFLAGS"))
}

/// No hook, no sntrace: the build ends with the reason.
fn fail(why: &str) -> ! {
    panic!("cannot build the hook: {why}");
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}: cargo sets it"))
}
