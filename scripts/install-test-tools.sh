#!/bin/bash
# Installs the Debian packages that the tests use, those that are missing only, and the npm
# and Python packages of tests/tools.
#
#   scripts/install-test-tools.sh            for scripts/test.sh
#   scripts/install-test-tools.sh --cross    also for scripts/cross.sh
#
# Works as root or through sudo, without a question. Where nothing is missing it needs neither; the packages of
# tests/tools go into the tree and need neither at all.
set -euo pipefail

packages=(
    binutils gcc g++ libc6-dev          # test programs in C and C++
    musl-tools                          # the same for musl
    clang llvm                          # debug information as others write it
    zlib1g-dev                          # a program with zlib, shared and static
    libjemalloc2 libmimalloc2.0 libgoogle-perftools4 libtcmalloc-minimal4
    libunwind-dev                       # a witness of the stacks
    valgrind                            # a witness of the counts; the other is in libc6 itself
    heaptrack golang-go nodejs          # readers of exports: heaptrack_print, go tool pprof, viewers in JavaScript
    libxml2-utils                       # xmllint: a JUnit report by its XML schema
    make cmake python3-pytest           # test runners with sntrace in them: tests/recipes
    python3-yaml                        # the workflow of docs/guide, to run its steps
    python3 sqlite3 git xz-utils perl   # real programs
    bsdutils util-linux procps          # script, setarch, ps
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross
)
# npm and pip get the readers of exports that Debian has not: see below. Some packages of node and python3, and
# other builds of them, bring them along.
command -v npm >/dev/null || packages+=(npm)
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
if [ "${1:-}" = --cross ]; then
    packages+=(g++-aarch64-linux-gnu qemu-user-static)
fi

as_root() {
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "$0: not root and no sudo; please run: $*" >&2
            exit 1
        }
        set -- sudo "$@"
    fi
    "$@" </dev/null >&2
}

# The version of gcc that is this system's own, where apt knows its packages.
own_gcc() {
    apt-cache depends --important gcc 2>/dev/null | sed -nE 's/^ *Depends: gcc-([0-9]+)$/\1/p'
}

# 32-bit programs. Not gcc-multilib: that one conflicts with the cross compilers.
gcc=$(own_gcc)
if [ -z "$gcc" ]; then
    as_root apt-get update -qq
    gcc=$(own_gcc)
fi
packages+=("gcc-${gcc:?no package gcc: is this a Debian system?}-multilib")

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "$0: installing ${missing[*]}" >&2
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing[@]}"
fi

# The programs of three viewers, of the versions that the files name and no others: speedscope, the Firefox
# Profiler's command line, Perfetto's trace processor. The second asks for a newer node than Debian's, which runs
# all that the tests use. Nothing of a package is run here.
cd "$(dirname "$0")/../tests/tools"
if ! cmp -s package-lock.json node_modules/.installed; then
    echo "$0: installing npm packages" >&2
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >&2
    cp package-lock.json node_modules/.installed
fi
if ! cmp -s requirements.txt python/.installed; then
    echo "$0: installing Python packages" >&2
    rm -rf python
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --require-hashes --only-binary=:all: --platform manylinux2014_x86_64 --python-version 3.11 \
        --target python --requirement requirements.txt </dev/null >&2
    cp requirements.txt python/.installed
fi
