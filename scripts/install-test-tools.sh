#!/bin/bash
# Installs the Debian packages that the tests use, those that are missing only.
#
#   scripts/install-test-tools.sh            for scripts/test.sh
#   scripts/install-test-tools.sh --cross    also for scripts/cross.sh
#
# Works as root or through sudo, without a question. Where nothing is missing it needs neither.
set -euo pipefail

packages=(
    binutils gcc g++ libc6-dev          # test programs in C and C++
    musl-tools                          # the same for musl
    zlib1g-dev                          # a program with zlib, shared and static
    libjemalloc2 libmimalloc2.0 libgoogle-perftools4 libtcmalloc-minimal4
    valgrind                            # a witness of the counts; the other is in libc6 itself
    python3 sqlite3 git xz-utils perl   # real programs
    bsdutils util-linux procps          # script, setarch, ps
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross
)
# 32-bit programs. Not gcc-multilib: that one conflicts with the cross compilers.
packages+=("gcc-12-multilib")
if [ "${1:-}" = --cross ]; then
    packages+=(qemu-user-static)
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "$0: not root and no sudo; please install: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "$0: installing ${missing[*]}" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >&2
