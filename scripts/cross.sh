#!/bin/bash
# Other platforms: type-checks what is checkable, builds for aarch64 Linux and tries it under qemu.
#
#   scripts/cross.sh             everything
#   scripts/cross.sh check       type checks for Windows and macOS
#   scripts/cross.sh aarch64     hook and launcher for aarch64 Linux, with a smoke test
#
# Goes on after a failure and names all of them at the end. Nothing is registered or mounted
# outside a namespace of the script's own.
set -euo pipefail
cd "$(dirname "$0")/.."

checked=(x86_64-pc-windows-gnu x86_64-apple-darwin aarch64-apple-darwin)
arm=aarch64-unknown-linux-gnu
# Debian's cross packages put the foreign C library here.
sysroot=/usr/aarch64-linux-gnu
target_dir=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d "${TMPDIR:-/tmp}/sntrace-cross.XXXXXX")
trap 'rm -rf "$work"' EXIT
failures=()

# What to do, as words. A failure is noted, and is this function's status too.
step() {
    echo "== $*" >&2
    "$@" || {
        failures+=("$*")
        echo "== failed: $*" >&2
        return 1
    }
}

# Makes the standard library of a target available: sets `cargo` (how to call it) and
# `cargo_flags`. With rustup, else from the sources that Debian packages.
provide_target() {
    local target=$1
    cargo=(cargo)
    cargo_flags=(--locked --target "$target")
    unset SNTRACE_HOOK_CARGO_FLAGS
    if command -v rustup >/dev/null && rustup target add "$target" >&2; then
        return
    fi
    # A distribution's or a container's toolchain may have it without rustup.
    if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
        return
    fi
    echo "$0: no standard library for $target; building it from Debian's rust-web-src" >&2
    install_packages rustc-web cargo-web rust-web-src
    cargo=(env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo)
    cargo_flags+=(-Zbuild-std=std,panic_unwind)
    export SNTRACE_HOOK_CARGO_FLAGS=-Zbuild-std=core
}

install_packages() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" </dev/null >&2
}

check_other_systems() {
    local target name
    for target in "${checked[@]}"; do
        name=${target//-/_}
        if step provide_target "$target"; then
            # Types are checked, nothing is linked: the C in dependencies needs no compiler.
            step env "CC_$name=true" "AR_$name=true" "${cargo[@]}" check "${cargo_flags[@]}" -p sntrace-format -p sntrace || true
        fi
    done
}

# --- aarch64 Linux ---------------------------------------------------------------------------

build_for_arm() {
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    step provide_target "$arm" || return
    # By itself, as a packager would, and by sntrace's build script, which embeds it.
    local hook_flags=("${cargo_flags[@]/-Zbuild-std=std,panic_unwind/-Zbuild-std=core}")
    step "${cargo[@]}" build --release "${hook_flags[@]}" \
        --manifest-path libsnhook/Cargo.toml --target-dir "$target_dir/cross-hook" || return
    hook=$target_dir/cross-hook/$arm/release/libsnhook.so
    step "${cargo[@]}" build --release "${cargo_flags[@]}" -p sntrace || return
    sntrace=$target_dir/$arm/release/sntrace
    step cargo build --locked -p sntrace-format --example print_pipe || return
    print_pipe=$target_dir/debug/examples/print_pipe
}

build_programs() {
    # sntrace looks for the loader that a program names: the path where it really is. A program
    # whose environment was cleared finds its libraries by itself.
    local flags=(-g -O0 -Wall -Werror "-Wl,--dynamic-linker=$sysroot/lib/ld-linux-aarch64.so.1" "-Wl,-rpath,$sysroot/lib") name
    for name in every_function processes worker; do
        aarch64-linux-gnu-gcc -std=gnu11 "${flags[@]}" -o "$work/$name" "tests/programs/$name.c" || return
    done
    programs=(every_function "processes fork" "processes fork-of-fork" "processes raw-clone")
    if command -v aarch64-linux-gnu-g++ >/dev/null; then
        aarch64-linux-gnu-g++ -std=c++17 "${flags[@]}" -o "$work/every_operator" tests/programs/every_operator.cpp || return
        programs+=(every_operator)
    else
        echo "$0: C++ is left out: install g++-aarch64-linux-gnu" >&2
    fi
}

# The hook fits any C library: it names none, and needs only `dlsym`.
hook_stands_alone() {
    local undefined
    undefined=$(aarch64-linux-gnu-nm -D --undefined-only "$hook" | awk '{print $2}')
    [ "$undefined" = dlsym ] || {
        echo "undefined symbols: $undefined" >&2
        return 1
    }
    ! aarch64-linux-gnu-readelf -dW "$hook" | grep -E 'NEEDED|TEXTREL' >&2
}

emulated() {
    timeout -s KILL 120 qemu-aarch64-static -L "$sysroot" "$@"
}

# Addresses, process ids: what may differ between two runs.
without_numbers() {
    sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/(parent|child)=[0-9]+/\1/g' "$1" | sort
}

# A program with the hook and without a run says what it says without the hook.
passes_through() {
    local bare=0 hooked=0
    emulated "$work/$1" "${@:2}" >"$work/bare" || bare=$?
    emulated -E LD_PRELOAD="$hook" "$work/$1" "${@:2}" >"$work/hooked" || hooked=$?
    [ "$bare" = "$hooked" ] || {
        echo "exit status $hooked, without the hook $bare" >&2
        return 1
    }
    diff <(without_numbers "$work/bare") <(without_numbers "$work/hooked") >&2
}

# Runs a program with the hook, its events through a pipe: `said` is what it printed, `trace`
# what print_pipe made of the events.
record() {
    local version fifo=$work/events status=0 reader
    version=$(sed -nE 's/^pub const PROTOCOL_VERSION: u32 = ([0-9]+);.*/\1/p' sntrace-format/src/version.rs)
    rm -f "$fifo"
    mkfifo "$fifo"
    # Open in both directions meanwhile: opening the ends then waits for nobody.
    exec 9<>"$fifo" 8<"$fifo"
    "$print_pipe" <&8 9>&- >"$work/trace" &
    reader=$!
    exec 8<&-
    SNTRACE_RUN="$version:$$:0:0:0:$fifo" emulated -E LD_PRELOAD="$hook" \
        "$work/$1" "${@:2}" >"$work/said" 9>&- || status=$?
    exec 9>&-
    wait "$reader" || return
    return "$status"
}

# The events of a trace with the function that the caller lies in, or that the frame `$2` beyond
# it lies in, if that is the program: `CALL  [FUNCTION]`.
named_events() {
    local program=$1 beyond=$2 at
    sed -nE "s/^(.*)  \\[([^ ]* ){$beyond}$program\\+0x([0-9a-f]+).*/\\1\\t\\3/p" "$work/trace" >"$work/frames"
    while IFS=$'\t' read -r _ at; do
        # A return address may be the next function's: the call is before it.
        printf '%x\n' $((0x$at - 1))
    done <"$work/frames" | aarch64-linux-gnu-addr2line -f -C -e "$work/$program" |
        sed -n '1~2s/(.*//; 1~2p' | paste "$work/frames" - | sed -E 's/\t[^\t]*\t(.*)/  [\1]/'
}

functions_are_recorded() {
    record every_function || return
    diff <(grep -v '^done' "$work/said") <(named_events every_function 0) >&2
}

# The frame beyond each caller: main calls them all.
stacks_are_recorded() {
    record every_function || return
    diff <(grep -v '^done' "$work/said" | sed 's/ \[.*/ [main]/') <(named_events every_function 1) >&2
}

operators_are_recorded() {
    record every_operator || return
    grep -qx thrown "$work/said" || return
    named_events every_operator 0 | sort -u >"$work/named"
    # All that the program says is there; libstdc++'s own calls may be too.
    local missing
    missing=$(grep -E '^operator (new|delete)(\[\])?\(' "$work/said" | sort -u | comm -23 - "$work/named")
    [ -z "$missing" ] || {
        echo "not in the trace: $missing" >&2
        return 1
    }
}

children_are_recorded() {
    local way=$1 status=0
    record processes "$way" || status=$?
    # What the program ends with.
    [ "$status" = 7 ] || return
    grep -q '^# process [0-9]* of [0-9]* by fork' "$work/trace" || return
    local said traced
    said=$(grep -c '^child=' "$work/said")
    traced=$(grep -c '^malloc(777) = .*  \[processes+0x' "$work/trace")
    [ "$said" = "$traced" ] || {
        echo "$said children, $traced of them traced" >&2
        return 1
    }
}

# Runs a command where aarch64 programs start by themselves: the kernel gives each user namespace
# a list of interpreters of its own (since Linux 6.7).
with_interpreter() {
    QEMU_LD_PREFIX=$sysroot timeout -s KILL 120 unshare --user --map-root-user --mount bash -c '
        mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 125
        printf %s "$0" >/proc/sys/fs/binfmt_misc/register || exit 125
        exec "$@"' "$interpreter" "$@"
}
elf='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
# F: opened now, in this file system. P: the program's own argv[0]; Debian's qemu goes by the name.
interpreter=":qemu-aarch64:M::$elf:$mask:/usr/libexec/qemu-binfmt/aarch64-binfmt-P:PF"

launcher_traces_functions() {
    with_interpreter "$sntrace" --transport "$1" -o "$work/lines" "$work/every_function" >"$work/said" || return
    diff <(grep -v '^done' "$work/said") <(sed 's/^\[SN_ALLOC\] //' "$work/lines") >&2
}

launcher_traces_children() {
    local status=0
    with_interpreter "$sntrace" --transport "$1" -o "$work/lines" "$work/processes" fork >"$work/said" || status=$?
    [ "$status" = 7 ] && grep -q 'malloc(777) = .*\[in_child\]' "$work/lines"
}

# A program that has cleared its environment starts another one, with more arguments than fit
# into registers, or fewer.
launcher_traces_exec() {
    local transport=$1 way=$2 status=0
    with_interpreter "$sntrace" --transport "$transport" -o "$work/lines" \
        "$work/processes" "$way" "$work/worker" cleared >"$work/said" || status=$?
    [ "$status" = 7 ] && grep -q 'malloc(888) = .*\[worked\]' "$work/lines" || return
    case $way in
    *-*) diff <(seq -s, "${way#*-}") <(sed -n 's/^arguments=\(.*\), .*/\1/p' "$work/said") >&2 ;;
    esac
}

try_on_arm() {
    step hook_stands_alone || true
    step build_programs || return 0
    local program transport way
    for program in "${programs[@]}"; do
        # Words on purpose: a program and its arguments.
        # shellcheck disable=SC2086
        step passes_through $program || true
    done
    step functions_are_recorded || true
    step stacks_are_recorded || true
    [ ! -e "$work/every_operator" ] || step operators_are_recorded || true
    step children_are_recorded fork || true
    step children_are_recorded fork-of-fork || true
    if ! with_interpreter true 2>/dev/null; then
        echo "$0: the launcher is not tried: no binfmt_misc in a user namespace (Linux 6.7)" >&2
        return 0
    fi
    for transport in shared pipe; do
        step launcher_traces_functions "$transport" || true
        step launcher_traces_children "$transport" || true
        for way in vfork posix_spawn execv execl-3 execl-6 execle-5 execlp-20; do
            step launcher_traces_exec "$transport" "$way" || true
        done
    done
}

what=${1:-all}
case $what in
all | check | aarch64) ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
[ "$what" = aarch64 ] || check_other_systems
if [ "$what" != check ]; then
    step scripts/install-test-tools.sh --cross
    build_for_arm && try_on_arm
fi || true

if [ ${#failures[@]} -gt 0 ]; then
    printf '== failed: %s\n' "${failures[@]}" >&2
    exit 1
fi
echo "== all well" >&2
