//! The `sntrace` command: see `cli` for what it does.

fn main() -> std::process::ExitCode {
    sntrace::cli::main()
}
