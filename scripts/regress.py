#!/usr/bin/env python3
"""Compares two JSON traces by function: which allocates more than it did?

An example of scripting against sntrace's JSON alone (docs/json.md), to be copied and changed. It needs
nothing but Python 3.9. `sntrace diff` knows more: whole stacks, renamed functions, noise.

    sntrace --json old.json -o /dev/null ./program-1.0
    sntrace --json new.json -o /dev/null ./program-1.1
    scripts/regress.py old.json new.json --max-growth 5

`sntrace export TRACE.snt --format json` makes the same document of a recorded trace. Events are counted while
they are read, and forgotten: memory holds the text of the document and the blocks that are live.

Ends with 0; with 1 where a figure of a function grew by more than --max-growth; with 2 for wrong usage, and
for files that are no whole JSON trace. Blocks that a forked child has from its parent leak in the parent only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

METRICS = ("allocations", "bytes", "leaked")
RELEASING = ("free", "free_sized", "free_aligned_sized", "operator delete", "operator delete[]")
MAPPING = ("mmap", "munmap", "mremap", "brk")  # sntrace --mmap records them; they are no allocations
NULL = "0x0"

# What a function allocated itself, by its name: a number for each of METRICS.
Figures = dict[str, dict[str, int]]


class NotATrace(Exception):
    """A file that can't be compared; the message says why."""


class Counter:
    """Sees every object of a document in the order in which they stand there."""

    def __init__(self) -> None:
        self.figures: Figures = defaultdict(lambda: dict.fromkeys(METRICS, 0))
        # Who allocated a live block, its size and when, by process and address.
        self.live: dict[tuple[int, str], tuple[str, int, int]] = {}

    def see(self, thing: dict[str, Any]) -> Any:
        """For json.load: keeps what is no event as it is."""
        if "op" not in thing:
            return thing
        if thing["op"] not in MAPPING:
            self.count(thing)
        return None

    def count(self, event: dict[str, Any]) -> None:
        pid = event["pid"]
        # Where a block was given back: by free and its like, or replaced by realloc and its like.
        if "released" in event:
            self.live.pop((pid, event.get("old_ptr", event["ptr"])), None)
        if event["op"] in RELEASING or event["ptr"] == NULL:
            return
        function = event["caller"] or "(names were not recorded)"
        size = event["size"] * event.get("count", 1)
        figures = self.figures[function]
        figures["allocations"] += 1
        figures["bytes"] += size
        self.live[pid, event["ptr"]] = (function, size, event["time_ns"])

    def finish(self, processes: list[dict[str, Any]]) -> Figures:
        """Adds what leaked: what was live when its process ended."""
        # What a process had before its last exec was gone with it, and is no leak.
        begins: dict[int, int] = defaultdict(int)
        for process in processes:
            begins[process["pid"]] = max(begins[process["pid"]], process["start_ns"])
        for (pid, _), (function, size, time_ns) in self.live.items():
            if time_ns >= begins[pid]:
                self.figures[function]["leaked"] += size
        return self.figures


def read(path: Path) -> Figures:
    """The figures of one document."""
    counter = Counter()
    try:
        with path.open(encoding="utf-8") as file:
            document = json.load(file, object_hook=counter.see)
        if not isinstance(document, dict) or document.get("format") != "sntrace":
            raise NotATrace("it is JSON, but no JSON trace of sntrace")
        if document["version"] != 1:
            raise NotATrace(f"it has version {document['version']}; this script reads version 1")
        dropped = document["summary"]["dropped_events"]
        if dropped or not document.get("certificate", {}).get("complete", True):
            raise NotATrace(f"it is not whole: {dropped} events were dropped, or its end is missing")
        return counter.finish(document["processes"])
    except OSError as error:
        raise NotATrace(error.strerror) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotATrace(f"it is no JSON, or was cut: {error}") from error
    except (KeyError, TypeError) as error:
        raise NotATrace(f"it is JSON, but no JSON trace of sntrace ({error!r})") from error


def growth(base: int, head: int) -> float:
    """In percent. What comes from nothing grows without bounds."""
    if head == base:
        return 0.0
    return (head - base) * 100 / base if base else float("inf")


def table(rows: list[tuple[str, str, int, int]]) -> str:
    """Function, metric, base and head, the biggest growth first."""
    cells = [("METRIC", "BASE", "HEAD", "GROWTH", "FUNCTION")]
    for function, metric, base, head in rows:
        percent = f"{growth(base, head):+.1f}%" if base else "new"
        cells.append((metric, f"{base:,}", f"{head:,}", percent, function))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = []
    for metric, *numbers, function in cells:
        columns = [metric.ljust(widths[0])]
        columns += [number.rjust(width) for number, width in zip(numbers, widths[1:])]
        lines.append("  ".join([*columns, function]))
    return "\n".join(lines)


def percentage(text: str) -> float:
    value = float(text.rstrip("%"))
    if not value >= 0:
        raise ValueError(text)
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares two JSON traces of sntrace by function.")
    parser.add_argument("base", type=Path, metavar="BASE", help="JSON trace to compare with")
    parser.add_argument("head", type=Path, metavar="HEAD", help="JSON trace to judge")
    parser.add_argument("--max-growth", type=percentage, metavar="PERCENT",
                        help="fail if a figure of a function grows by more, or is new")
    parser.add_argument("--metric", action="append", choices=METRICS,
                        help="compare this one only; may be given several times")
    arguments = parser.parse_args()
    sides = []
    for path in (arguments.base, arguments.head):
        try:
            sides.append(read(path))
        except NotATrace as error:
            print(f"{parser.prog}: cannot read '{path}': {error}", file=sys.stderr)
            return 2
    base, head = sides
    grown = []
    for function in sorted(head.keys() | base.keys()):
        for metric in arguments.metric or METRICS:
            old, new = base[function][metric], head[function][metric]
            if new > old:
                grown.append((function, metric, old, new))
    if not grown:
        print("nothing grew")
        return 0
    grown.sort(key=lambda row: (METRICS.index(row[1]), row[2] - row[3]))
    print(table(grown))
    limit = arguments.max_growth
    if limit is not None and any(growth(old, new) > limit for _, _, old, new in grown):
        print(f"{parser.prog}: figures above grew by more than {limit:g}%", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
