//! What stands at the end of `--help` and of the man page.

/// Shown at the end of `--help`, and in the man page.
pub const EXAMPLES: &str = "  Every allocation of a program, on stderr:
      sntrace ./program --its-own-options

  Lines to a file, with source lines, only blocks of a page or more:
      sntrace -o trace.txt --locations --filter 'size>=4096' ./program

  The same run as JSON, ready for jq:
      sntrace --quiet -o /dev/null --json trace.json ./program

  Full call stacks, recorded; what was live at the peak, what leaked:
      sntrace record -o trace.snt ./program
      sntrace report trace.snt --view peak,leaks

  A flame graph of what was allocated:
      sntrace export trace.snt --format folded --metric bytes | flamegraph.pl > graph.svg

  What a change costs, as a gate in front of a merge:
      sntrace diff base.snt head.snt --fail-on 'allocations>2%' --fail-on 'leaked_bytes>0'

  A budget that the tests must keep:
      sntrace check --budget alloc.toml ./tests

  A program that is called like a subcommand:
      sntrace -- report
";

/// Shown after the examples, and in the man page.
pub const EXIT_STATUS: &[(&str, &str)] = &[
    (
        "the program's own",
        "tracing worked (128+N when signal N ended it)",
    ),
    (
        "1",
        "a rule of diff or check failed; with --strict, the trace is not exact",
    ),
    ("2", "wrong usage; unreadable or damaged input"),
    ("125", "sntrace itself failed before or while tracing"),
    ("126", "PROGRAM can't be executed"),
    ("127", "PROGRAM was not found"),
];
