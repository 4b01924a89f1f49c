#!/bin/bash
# Model-checks the ring: every interleaving of producer and consumer that the memory model allows.
#
# Only sntrace-format is built with --cfg loom, into a folder of its own (the flag changes every
# dependency's fingerprint).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
RUSTFLAGS="--cfg loom" cargo test -p sntrace-format --release --lib --locked loom "$@"
