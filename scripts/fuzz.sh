#!/bin/bash
# Fuzzes every decoder for a while: coverage-guided, with overflow checks, on stable Rust.
#
#   scripts/fuzz.sh [SECONDS [TARGET]]   60 seconds each, or one target only
#
# An input that panics, hangs or takes too much memory is left in fuzz/artifacts/TARGET, and the
# script goes on with the next target and fails at the end. To run one again:
#
#   scripts/fuzz.sh repeat TARGET FILE
#
# New inputs go below the target folder; fuzz/corpus has the seeds only.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

targets=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' Cargo.toml)
repeat=
if [ "${1:-}" = repeat ]; then
    [ $# = 3 ] || { echo "usage: $0 repeat TARGET FILE" >&2; exit 2; }
    targets=$2
    repeat=$(cd "$OLDPWD" && realpath -- "$3")
else
    seconds=${1:-60}
    [[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [SECONDS [TARGET]]" >&2; exit 2; }
    targets=${2:-$targets}
fi

# What `cargo fuzz build --sanitizer none` sets. The host's build scripts stay without it because
# of --target.
triple=x86_64-unknown-linux-gnu
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    --cfg fuzzing
)
target_dir=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target_dir
bins=()
for target in $targets; do
    bins+=(--bin "$target")
done
RUSTFLAGS="${flags[*]}" cargo build --release --locked --target "$triple" "${bins[@]}"

failed=()
for target in $targets; do
    artifacts=artifacts/$target
    found=$target_dir/corpus/$target
    mkdir -p "$artifacts" "$found"
    binary=$target_dir/$triple/release/$target
    if [ -n "$repeat" ]; then
        exec "$binary" -timeout=10 "$repeat"
    fi
    echo "== $target, $seconds s" >&2
    "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$artifacts/" "$found" "corpus/$target" ||
        failed+=("$target")
done
if [ ${#failed[@]} != 0 ]; then
    echo "== failed: ${failed[*]}; see fuzz/artifacts" >&2
    exit 1
fi
echo "== all well" >&2
