#!/bin/bash
# Measures what tracing costs, next to a hook that does the least possible, and compares it with
# the goals. Not a test: a goal that is missed does not fail it.
#
#   scripts/bench.sh              some minutes
#   scripts/bench.sh --quick      for a look; figures are rough
#   scripts/bench.sh --recording  only what full stacks cost, beside heaptrack where that is installed
#   scripts/bench.sh --diff       only how long two traces of 10 million events take to be compared
#   scripts/bench.sh --long       also 100 million events: the launcher's memory, and a report on them; and --diff
#   scripts/bench.sh --arenas     only what arenas cost (libsnhook/include/snhook.h), beside malloc
#   scripts/bench.sh --rounds N --events N
#
# SNTRACE=FILE measures that program instead of building one. Needs gcc and python3 besides.
set -euo pipefail
[ -z "${SNTRACE:-}" ] || SNTRACE=$(realpath -e "$SNTRACE")
cd "$(dirname "$0")/.."

# Nothing of this is traced: the hook alone is enough, and it only passes malloc on.
if [ "${1:-}" = --arenas ]; then
    (cd libsnhook && cargo build --release --locked)
    build=$(mktemp -d "${TMPDIR:-/tmp}/sntrace-bench.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    gcc -std=gnu11 -O2 -Wall -Wextra -o "$build/arena" benches/arena.c
    LD_PRELOAD=$(realpath "${CARGO_TARGET_DIR:-libsnhook/target}/release/libsnhook.so") "$build/arena"
    exit
fi

# A wrong option or --help should not wait for a build.
python3 benches/bench.py "$@"
for word in "$@"; do
    case $word in -h | --h*) exit ;; esac
done

if [ -z "${SNTRACE:-}" ]; then
    cargo build --release --locked -p sntrace
    SNTRACE=${CARGO_TARGET_DIR:-target}/release/sntrace
fi
build=$(mktemp -d "${TMPDIR:-/tmp}/sntrace-bench.XXXXXX")
trap 'rm -rf "$build"' EXIT

compile() {
    gcc -std=gnu11 -O2 -Wall -Wextra "$@"
}
compile -o "$build/replace" benches/replace.c
compile -pthread -o "$build/exchange" benches/exchange.c
compile -o "$build/deep" benches/deep.c
compile -fno-builtin -fPIC -shared -o "$build/reference_hook.so" benches/reference_hook.c -ldl
compile -static -o "$build/measure" benches/measure.c

python3 benches/bench.py "$@" --sntrace "$(realpath "$SNTRACE")" --build "$build"
