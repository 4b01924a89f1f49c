#!/usr/bin/env python3
"""What tracing costs. Started by scripts/bench.sh, which builds what this measures."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MODES = {"raw": ["--raw-callers"], "default": []}


class Bench:
    def __init__(self, sntrace, build, events):
        self.sntrace = [sntrace, "-q"]
        self.measure = os.path.join(build, "measure")
        self.hook = os.path.join(build, "reference_hook.so")
        self.out = os.path.join(build, "out")
        self.lines = os.path.join(build, "lines")
        self.build = build
        self.events = events

    def program(self, name, *args):
        return [os.path.join(self.build, name), *map(str, args)]

    def run(self, command, env=None):
        """Runs to the end; returns wall seconds and what wait4 tells."""
        with tempfile.TemporaryFile() as errors:
            begin = time.perf_counter()
            process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                errors.seek(0)
                sys.stderr.write(errors.read().decode(errors="replace"))
                sys.exit(f"bench: exit status {process.returncode} of: {' '.join(command)}")
        return wall, usage

    def target(self, how, program, output=os.devnull):
        """CPU and wall nanoseconds per event of the program alone, run bare or under a tracer."""
        command = [self.measure, self.out, *program]
        env = None
        if how == "reference":
            env = dict(os.environ, LD_PRELOAD=self.hook)
        elif how != "bare":
            command = [*self.sntrace, *MODES[how], "-o", output, *command]
        self.run(command, env)
        with open(self.out) as file:
            wall, user, system, _ = map(float, file.read().split())
        os.remove(self.out)
        return (user + system) * 1e9 / self.events, wall * 1e9 / self.events

    def take_lines(self):
        """How many lines the last trace has. The file is removed: it may be large."""
        with open(self.lines, "rb") as file:
            count = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
        os.remove(self.lines)
        return count


def middle(values, digits=1):
    """Median, with the least and the greatest."""
    low, median, high = min(values), statistics.median(values), max(values)
    return f"{median:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def goal(met, text):
    return f"goal {text} {'met' if met else 'missed'}"


def title(text):
    print(f"\n{text}", flush=True)


def row(*cells, widths=(10, 10, 24, 24, 10, 10, 0)):
    line = "".join(str(cell).ljust(width) for cell, width in zip(cells, widths))
    print("  " + line.rstrip(), flush=True)


def check_tracing(bench):
    """Without this, a hook that does not load would be the fastest of all."""
    program = bench.program("replace", 20000)
    preloaded = subprocess.run(
        program, env=dict(os.environ, LD_PRELOAD=bench.hook), stderr=subprocess.PIPE, check=True
    )
    if preloaded.stderr:
        sys.exit(f"bench: the reference hook: {preloaded.stderr.decode(errors='replace')}")
    for how in MODES:
        bench.target(how, program, bench.lines)
        lines = bench.take_lines()
        if lines < 20000:
            sys.exit(f"bench: {lines} lines for 20000 events ({how}): not traced")


def extra_per_event(bench, rounds):
    title("1. Extra nanoseconds per event in the target; output to /dev/null")
    row("program", "tracer", "CPU", "wall", "CPU/ref", "wall/ref", "by CPU")
    limits = {"raw": 1.2, "default": 2.5}
    for name, program in (
        ("replace", bench.program("replace", bench.events)),
        ("exchange", bench.program("exchange", bench.events, 2)),
    ):
        hows = ["bare", "reference", *MODES]
        taken = {how: [] for how in hows}
        for _ in range(rounds):
            for how in hows:
                taken[how].append(bench.target(how, program))
        row(name, "bare", *(middle(column) for column in zip(*taken["bare"])))
        medians = {}
        for how in hows[1:]:
            extra = [
                [with_it[i] - bare[i] for with_it, bare in zip(taken[how], taken["bare"])]
                for i in (0, 1)
            ]
            medians[how] = [statistics.median(column) for column in extra]
            cells = [name, how, *map(middle, extra)]
            if how in limits:
                cpu, wall = (
                    medians[how][i] / medians["reference"][i] if medians["reference"][i] > 0 else None
                    for i in (0, 1)
                )
                cells += ["?" if ratio is None else f"{ratio:.2f}" for ratio in (cpu, wall)]
                if cpu is None:
                    cells.append("too noisy to tell")
                else:
                    cells.append(goal(cpu <= limits[how], f"<= {limits[how]}"))
            row(*cells)


def lines_per_second(bench, rounds):
    title("2. Million lines per second to a file: the whole run of sntrace on replace")
    rates = {how: [] for how in MODES}
    program = bench.program("replace", bench.events)
    for _ in range(rounds):
        for how, options in MODES.items():
            wall, _ = bench.run([*bench.sntrace, *options, "-o", bench.lines, *program])
            rates[how].append(bench.take_lines() / wall / 1e6)
    for how, values in rates.items():
        row(how, middle(values, 2), goal(statistics.median(values) >= 3, ">= 3"), widths=(20, 24, 0))


def start_up(bench):
    title("3. Start-up: milliseconds of `sntrace true` minus `true`, 21 runs of each")
    true = [shutil.which("true") or "/bin/true"]
    bare, traced = [], []
    for _ in range(21):
        bare.append(bench.run(true)[0] * 1e3)
        traced.append(bench.run([*bench.sntrace, "-o", os.devnull, *true])[0] * 1e3)
    extra = statistics.median(traced) - statistics.median(bare)
    row("true", middle(bare), widths=(20, 0))
    row("sntrace true", middle(traced), widths=(20, 0))
    row("extra", f"{extra:.1f}", goal(extra <= 30, "<= 30"), widths=(20, 24, 0))


def by_threads(bench, rounds):
    title("4. CPU nanoseconds per event in the target by threads: exchange, output to /dev/null")
    row("threads", "tracer", "CPU", "/ 1 thread", widths=(10, 10, 24, 12, 0))
    hows = ["bare", *MODES]
    counts = (1, 2, 4, 8)
    taken = {(count, how): [] for count in counts for how in hows}
    for _ in range(rounds):
        for count in counts:
            program = bench.program("exchange", bench.events, count)
            for how in hows:
                taken[count, how].append(bench.target(how, program)[0])
    for how in hows:
        one = statistics.median(taken[1, how])
        for count in counts:
            values = taken[count, how]
            ratio = statistics.median(values) / one
            verdict = goal(ratio <= 1.3, "<= 1.3") if how != "bare" and count > 1 else ""
            row(count, how, middle(values), f"{ratio:.2f}", verdict, widths=(10, 10, 24, 12, 0))


def long_run(bench):
    events = 100_000_000
    title(f"5. Peak resident set of the launcher: replace with {events:,} events to /dev/null")
    program = bench.program("replace", events)
    wall, usage = bench.run([*bench.sntrace, "-o", os.devnull, *program])
    # wait4 tells the greater one of sntrace and its child, which is far smaller.
    peak = usage.ru_maxrss / 1024
    row("default", f"{peak:.1f} MiB in {wall:.0f} s", goal(peak <= 64, "<= 64"), widths=(20, 24, 0))


def extra_with_stacks(bench, rounds):
    title("6. Full stacks on every event, recorded, beside heaptrack (which takes them of allocations only)")
    row("program", "tool", "target CPU", "target wall", "all CPU", "bytes", widths=(10, 10, 22, 22, 22, 8, 0))
    limits = {"replace": 35, "deep": 85, "exchange 8": 60}
    folder = os.path.join(bench.build, "recorded")
    for name, program in (
        ("replace", bench.program("replace", bench.events)),
        ("deep", bench.program("deep", bench.events)),
        ("exchange 8", bench.program("exchange", bench.events, 8)),
    ):
        tools = ["bare", "record", *(["heaptrack"] if shutil.which("heaptrack") else [])]
        taken = {tool: [] for tool in tools}
        written = {}
        for _ in range(rounds):
            for tool in tools:
                shutil.rmtree(folder, ignore_errors=True)
                os.mkdir(folder)
                command = [bench.measure, bench.out, *program]
                if tool == "record":
                    command = [*bench.sntrace[:1], "record", "-q", "-o", folder + "/t.snt", *command]
                elif tool == "heaptrack":
                    command = ["heaptrack", "-o", folder + "/t", *command]
                _, usage = bench.run(command)
                with open(bench.out) as file:
                    wall, user, system, _ = map(float, file.read().split())
                os.remove(bench.out)
                per_event = 1e9 / bench.events
                everything = (usage.ru_utime + usage.ru_stime) * per_event
                taken[tool].append(((user + system) * per_event, wall * per_event, everything))
                written[tool] = sum(file.stat().st_size for file in os.scandir(folder)) / bench.events
        shutil.rmtree(folder, ignore_errors=True)
        medians = {}
        for tool in tools[1:]:
            extra = [
                [with_it[i] - bare[i] for with_it, bare in zip(taken[tool], taken["bare"])]
                for i in range(3)
            ]
            medians[tool] = [statistics.median(column) for column in extra]
            cells = [name, tool, *map(middle, extra), f"{written[tool]:.1f}"]
            if tool == "record":
                met = medians[tool][0] <= limits[name] and written[tool] <= 6
                cells.append(goal(met, f"<= {limits[name]} ns, 6 bytes"))
            row(*cells, widths=(10, 10, 22, 22, 22, 8, 0))
        if "heaptrack" in medians:
            ours, theirs = medians["record"], medians["heaptrack"]
            least = 12 if name == "exchange 8" else 5
            ratios = [their / our if our > 0 else float("inf") for our, their in zip(ours, theirs)]
            met = ratios[0] >= least and ratios[2] >= 3
            row("", "", f"{ratios[0]:.1f} times less", f"{ratios[1]:.1f} times less", f"{ratios[2]:.1f} times less", "",
                goal(met, f">= {least} (target), 3 (all)"), widths=(10, 10, 22, 22, 22, 8, 0))


def long_report(bench):
    events = 100_000_000
    title(f"7. sntrace report on a trace of {events:,} events")
    trace = os.path.join(bench.build, "long.snt")
    sntrace = bench.sntrace[0]
    bench.run([sntrace, "record", "-q", "-o", trace, *bench.program("replace", events)])
    size = os.stat(trace).st_size
    wall, usage = bench.run([sntrace, "report", trace])
    os.remove(trace)
    peak = usage.ru_maxrss / 1024
    row(f"{wall:.1f} s, {peak:.0f} MiB", f"{size / events:.2f} bytes an event",
        goal(wall <= 30 and peak <= 1024, "<= 30 s, 1024 MiB"), widths=(24, 28, 0))


def long_diff(bench):
    """Two traces of ten million events each, from the program whose stacks are many."""
    title("8. Two traces of 10 million events compared, as trace files and as JSON")
    row("format", "size", "seconds", "peak", widths=(12, 12, 12, 0))
    traces, documents = [], []
    for side in ("base", "head"):
        trace = os.path.join(bench.build, side + ".snt")
        bench.run([*bench.sntrace[:1], "record", "-q", "-o", trace, "--", *bench.program("deep", 10_000_000)])
        document = os.path.join(bench.build, side + ".json")
        bench.run([*bench.sntrace[:1], "export", trace, "--format", "json", "-o", document])
        traces.append(trace)
        documents.append(document)
    for name, files in (("snt", traces), ("json", documents), ("mixed", [traces[0], documents[1]])):
        size = sum(os.path.getsize(file) for file in files) / 2**20
        command = [*bench.sntrace[:1], "diff", *files, "--fail-on", "allocations>1%", "--fail-on", "site:*:bytes>50%"]
        wall, usage = bench.run(command)
        peak = usage.ru_maxrss / 1024
        met = wall < 10 and peak < 512
        cells = (name, f"{size:.0f} MiB", f"{wall:.1f} s", f"{peak:.0f} MiB", goal(met, "< 10 s, < 512 MiB"))
        row(*cells, widths=(12, 12, 12, 12, 0))
    for file in traces + documents:
        os.remove(file)
    # A program with many stacks, as it is: the compiler, on a source of ours.
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/programs/library.cpp")
    compiler = ["g++", "-std=c++17", "-O2", "-c", source, "-o", os.path.join(bench.build, "library.o")]
    for trace in traces:
        bench.run([*bench.sntrace[:1], "record", "-q", "-o", trace, "--", *compiler])
    report = subprocess.run(
        [*bench.sntrace[:1], "report", "--json", traces[0]], stdout=subprocess.PIPE, check=True
    )
    events = json.loads(report.stdout)["certificate"]["events"]
    size = sum(os.path.getsize(file) for file in traces) / 2**20
    wall, usage = bench.run([*bench.sntrace[:1], "diff", *traces])
    peak = usage.ru_maxrss / 1024
    cells = ("g++, snt", f"{size:.0f} MiB", f"{wall:.1f} s", f"{peak:.0f} MiB", f"{events / 1e6:.1f} million events each")
    row(*cells, widths=(12, 12, 12, 12, 0))
    for file in traces:
        os.remove(file)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench.sh", description="Measures what tracing costs; always exits with 0 if it could."
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each measurement (5; quick: 3)")
    parser.add_argument("--events", type=int, metavar="N", help="events of each run (5000000; quick: 1000000)")
    parser.add_argument("--quick", action="store_true", help="for a look: fewer rounds and events")
    parser.add_argument("--recording", action="store_true", help="only what recording full stacks costs")
    parser.add_argument("--diff", action="store_true", help="only how long two traces take to be compared")
    parser.add_argument("--long", action="store_true", help="also 100 million events: the launcher's memory, and a report on them; and --diff")
    # From bench.sh, absent when it only checks what it was given.
    parser.add_argument("--sntrace", help=argparse.SUPPRESS)
    parser.add_argument("--build", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = (3 if options.quick else 5) if options.rounds is None else options.rounds
    events = (1_000_000 if options.quick else 5_000_000) if options.events is None else options.events
    if rounds < 1 or events < 100_000:
        parser.error("at least 1 round and 100000 events")
    if options.build is None:
        return

    bench = Bench(options.sntrace, options.build, events)
    check_tracing(bench)
    processors = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(f"{time.strftime('%Y-%m-%d')} {platform.machine()}, {processors} processors, load {load:.1f}")
    print(f"{rounds} rounds of {events:,} events; median (least..greatest)")
    if load > processors / 2:
        print("The machine is busy with something else: figures, of wall time above all, mean little.")
    if options.diff:
        long_diff(bench)
        return
    if not options.recording:
        extra_per_event(bench, rounds)
        lines_per_second(bench, rounds)
        start_up(bench)
        by_threads(bench, rounds)
    extra_with_stacks(bench, rounds)
    if options.long:
        long_run(bench)
        long_report(bench)
        long_diff(bench)


if __name__ == "__main__":
    main()
