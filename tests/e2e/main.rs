//! The real tool on real programs, end to end.
//!
//! Programs of our own are in `tests/programs`, one behaviour each; they say on stdout what they
//! did, and the trace must say the same. Whatever depends on how events travel runs for both
//! transports. Nothing here waits for a time: a test waits for what it needs to happen.

mod grammar;
mod programs;
mod support;

/// jemalloc, mimalloc, tcmalloc, musl.
mod allocators;
/// Arenas, through the header.
mod arenas;
/// Bad input, full disks, killed launchers.
mod bad_days;
/// Programs checked against budgets and baselines.
mod check;
/// Exports of a recorded trace, read back by their own tools.
mod exports;
/// Full stacks, compared with walks and with lines without them.
mod full_stacks;
/// Two traces compared, and rules judged.
mod gate;
/// What the hook asks of its process.
mod hook_file;
/// JSON traces, read back.
mod json_traces;
/// Every function has its line.
mod lines;
/// dlopen, dlclose, constructors.
mod modules;
/// The options of the main job, the JSON outputs.
mod options;
/// An address has one owner at a time.
mod order;
/// fork, exec and what becomes of descriptors and environments.
mod processes;
/// Recorded traces as a user meets them who reads them.
mod reading;
/// Programs from Debian's packages.
mod real_programs;
/// Recipes and workflows that users copy.
mod recipes;
/// Recorded traces: what is in them.
mod record;
/// Scripts that compare two revisions, or two exports.
mod regress;
/// Stacks that are hard to follow, compared with libunwind's.
mod stacks;
/// Names from every form of debug information.
mod symbols;
/// Ten million events under everything that is hard, counted.
mod torture;
/// Children that cannot carry the hook: they run as they would, and are named.
mod untraced;
/// Counts equal to those of mtrace and Valgrind.
mod witnesses;
/// Streams, signals, terminal, status: the program's own.
mod wrapper;
