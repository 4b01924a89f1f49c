#!/bin/bash
# Model-checks the ring: the interleavings of producer and consumer that the memory model allows.
#
# With at most two preemptions an execution, which finds nearly all there is to find (loom's own
# advice) in about a minute; LOOM_MAX_PREEMPTIONS=3 takes hours. Only sntrace-format is built with
# --cfg loom, into a folder of its own: the flag changes every dependency.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}"
RUSTFLAGS="--cfg loom" cargo test -p sntrace-format --release --lib --locked loom "$@"
