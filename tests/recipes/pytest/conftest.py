"""Fixtures that run programs under sntrace. Copy this file, and use them in tests of your own."""

import json
import os
import subprocess

import pytest

SNTRACE = os.environ.get("SNTRACE", "sntrace")

# Python itself: the same hashes in every run, and no files that only a first run writes. Its objects come from
# malloc, as those of other programs do, not from arenas that hide them.
STEADY = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONMALLOC": "malloc"}


def run(options, command, stdin):
    return subprocess.run(
        [SNTRACE, *options, "--", *command],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **STEADY},
    )


@pytest.fixture
def within_budget(tmp_path):
    """within_budget(BUDGET, COMMAND, stdin=FILE): what COMMAND printed; fails where it needed more than BUDGET."""

    def check(budget, command, stdin=subprocess.DEVNULL):
        verdict = tmp_path / "verdict.txt"
        done = run(["check", "--budget", budget, "--top", "3", "-o", verdict], command, stdin)
        if done.returncode == 1:
            pytest.fail(verdict.read_text(), pytrace=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return check


@pytest.fixture
def allocations(tmp_path):
    """allocations(COMMAND, stdin=FILE): how many allocations COMMAND made."""

    def count(command, stdin=subprocess.DEVNULL):
        trace = tmp_path / "trace.jsonl"
        options = ["--quiet", "--stacks", "none", "-o", os.devnull, "--jsonl", trace]
        done = run(options, command, stdin)
        assert done.returncode == 0, done.stderr
        with trace.open() as lines:
            *_, last = lines
        return json.loads(last)["summary"]["allocations"]

    return count
