#!/bin/bash
# What CI runs: formatting, lints with warnings denied, build, tests, documentation.
#
#   scripts/check.sh                  everything
#   scripts/check.sh --without-tests  all but the tests, for a quick look
set -euo pipefail
cd "$(dirname "$0")/.."
with_tests=yes
[ "${1:-}" != --without-tests ] || with_tests=no

step() {
    echo "== $*" >&2
    "$@"
}
# Every Cargo workspace of the tree: see the comment in Cargo.toml on why there is more than one.
in_every_root() {
    local root
    for root in . libsnhook fuzz; do
        (cd "$root" && step "$@")
    done
}

in_every_root cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
# One after the other: the tests' dependencies have std, which must not reach the hook itself.
(cd libsnhook && step cargo clippy --lib --locked -- -D warnings && step cargo clippy --tests --locked -- -D warnings)
(cd fuzz && step cargo clippy --all-targets --locked -- -D warnings)
step cargo build --workspace --locked
[ "$with_tests" = no ] || step scripts/test.sh
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked
(cd libsnhook && RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --locked)
echo "== all well" >&2
