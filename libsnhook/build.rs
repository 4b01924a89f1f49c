//! Links the hook without anything: no start files, no C library, no DT_NEEDED.

fn main() {
    for argument in [
        "-nostdlib",
        "-nostartfiles",
        // The loader must find every symbol before the program runs, not lazily inside malloc.
        "-Wl,-z,now",
        "-Wl,-z,relro",
        // Symbol names may be made writable for a moment (`ways::interpose`): not in one page with
        // code. The linkers' default on x86-64, not on aarch64.
        "-Wl,-z,separate-code",
        "-Wl,--hash-style=both",
        "-Wl,-soname,libsnhook.so",
        // `dlsym` is found in whatever C library the program brings.
        "-Wl,--unresolved-symbols=ignore-all",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
