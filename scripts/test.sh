#!/bin/bash
# Passes all tests: the README's second command.
#
#   scripts/test.sh [ARGUMENTS FOR THE TEST RUNNER]      e.g. scripts/test.sh torture
#
# Installs the Debian packages that the tests use where they are missing. One test, without the
# rest: cargo test -p sntrace --test e2e NAME
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-test-tools.sh
# The workspace: unit, property and end-to-end tests, and the examples in the documentation.
cargo test --workspace --locked -- "$@"
# The hook is a workspace of its own (see Cargo.toml), tested with std around it.
(cd libsnhook && cargo test --locked -- "$@")
