#!/bin/bash
# How often lines stand in an order that can't have happened: a block freed that nobody has, or
# given out while somebody has it. The hardest case there is: 32 threads swap three addresses as fast
# as they can. Not a test: what is left is rare and depends on the machine (docs/architecture.md).
#
#   scripts/order.sh [RUNS [OPTIONS OF SNTRACE]]      30 runs; e.g. scripts/order.sh 5 --transport pipe
#
# SNTRACE=FILE tries that program instead of building one. Needs gcc and awk.
set -euo pipefail
[ -z "${SNTRACE:-}" ] || SNTRACE=$(realpath -e "$SNTRACE")
cd "$(dirname "$0")/.."
runs=${1:-30}
shift || true
if [ -z "${SNTRACE:-}" ]; then
    cargo build --release --locked -p sntrace
    SNTRACE=${CARGO_TARGET_DIR:-target}/release/sntrace
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/sntrace-order.XXXXXX")
trap 'rm -rf "$work"' EXIT
gcc -std=gnu11 -g -O1 -pthread -DSLOTS=3 -DONE_SIZE -o "$work/races" tests/programs/races.c
for _ in $(seq "$runs"); do
    "$SNTRACE" -q "$@" -o "$work/lines" "$work/races" realloc 32 "${EVENTS:-600000}" >"$work/said"
    awk '
        # [SN_ALLOC] CALL(OLD, SIZE) = NEW  [CALLER]
        { lines++; split($0, part, /[(,)]/) }
        / (free|realloc)\(0x/ { if (!(part[2] in live)) wrong++; delete live[part[2]] }
        match($0, / = 0x[0-9a-f]+/) {
            new = substr($0, RSTART + 3, RLENGTH - 3)
            if (new in live) wrong++
            live[new] = 1
        }
        END { print lines, wrong + 0 }' "$work/lines"
done | awk '
    { lines += $1; wrong += $2; bad += $2 > 0 }
    END { printf "%d runs, %d of them with wrong lines; %d wrong of %d lines\n", NR, bad, wrong, lines }'
