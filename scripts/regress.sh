#!/bin/bash
# Builds two revisions of a project, traces the same command in both, and lets the gate judge what changed.
# For any project in git:
#
#   scripts/regress.sh -b BUILD [-r BASE] [-R HEAD] [-n RUNS] [-k DIR] [OPTIONS] -- COMMAND [ARGUMENTS]
#
#   -b BUILD  what builds a revision: a line for sh; ':' where nothing is to be built
#   -r BASE   what to compare with: a revision, or 'REVISION...' for where HEAD left it; HEAD~1 unless told
#   -R HEAD   what to judge, HEAD unless told
#   -n RUNS   runs of COMMAND in each, 3 unless told: what varies between them is noise, and fails no rule
#             (--runs RUNS is the same)
#   -k DIR    keep what was measured there: base.json and head.json, which 'sntrace diff' reads again
#
# OPTIONS are those of 'sntrace diff' (--fail-on RULE, --format FORMAT, -o OUT, --top N, ...), and of
# 'sntrace check' those that say how COMMAND is run (--mmap, --no-follow, --transport HOW, --overflow HOW,
# --ignore-status). E.g. in front of a merge, and to find the commit that brought a regression (with a BASE
# that stays while git bisect moves HEAD):
#
#   scripts/regress.sh -b make -r origin/main... --fail-on 'allocations>1%' -- ./parse sample.txt
#   git bisect run scripts/regress.sh -b make -r v1.2 --fail-on 'leaked_bytes>0' -- ./parse sample.txt
#
# Each revision is checked out in a temporary folder of its own, and built and run there, in the folder that
# this was called from; relative paths are looked up there, but for OUT and DIR. The working tree and what is not
# committed stay out of it. COMMAND reads standard input where that is a file, or else nothing; what it prints
# goes to stderr. Submodules are BUILD's to fetch.
#
# Ends with 0 where every rule held, 1 where one failed, 2 for wrong usage or what can't be judged, and 125
# where a revision could not be built or run (which git bisect takes for "skip").
#
# SNTRACE=FILE measures with that program instead of the one in PATH.
set -euo pipefail

fail() { # STATUS MESSAGE
    echo "$0: $2" >&2
    exit "$1"
}
usage() {
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
}

build='' base=HEAD~1 head=HEAD runs=3 keep='' source_root=
measuring=() judging=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
        -h | --help) usage && exit ;;
        # Everything with a value: it is the next word, or stands behind the sign of equality.
        -b | -r | -R | -n | --runs | -k | -o | -f | --output | --format | --fail-on | --match | --top | --frames | --color | \
            --source-root | --transport | --overflow)
            [ $# -gt 1 ] || fail 2 "$1 needs a value; $0 --help explains it"
            ;;&
        -b) build=$2 && shift ;;
        -r) base=$2 && shift ;;
        -R) head=$2 && shift ;;
        -n | --runs) runs=$2 && shift ;;
        --runs=*) runs=${1#*=} ;;
        -k) keep=$(realpath -m -- "$2") && shift ;;
        # The verdict is written from another folder.
        -o | --output)
            [ "$2" = - ] || judging+=(-o "$(realpath -m -- "$2")")
            shift
            ;;
        --output=* | -o=*) judging+=(-o "$(realpath -m -- "${1#*=}")") ;;
        -o?*) judging+=(-o "$(realpath -m -- "${1#-o}")") ;;
        --source-root | --source-root=*) source_root=given ;;&
        --mmap | --no-follow | --ignore-status | --transport=* | --overflow=*) measuring+=("$1") ;;
        --transport | --overflow) measuring+=("$1" "$2") && shift ;;
        -f | --format | --fail-on | --match | --top | --frames | --color | --source-root)
            judging+=("$1" "$2")
            shift
            ;;
        -*) judging+=("$1") ;;
        *) fail 2 "'$1' is no option; COMMAND comes after '--'" ;;
    esac
    shift
done
[ $# -gt 1 ] || fail 2 "no COMMAND, which comes after '--'; $0 --help explains it"
shift
[ -n "$build" ] || fail 2 "no BUILD: -b says what builds the project, such as -b make; -b : builds nothing"

sntrace=$(command -v -- "${SNTRACE:-sntrace}") ||
    fail 125 "'${SNTRACE:-sntrace}' is not there; install sntrace, or name it: SNTRACE=FILE $0 ..."
sntrace=$(realpath -- "$sntrace")
# What is wrong with the options should not wait for two builds.
"$sntrace" check ${measuring[@]+"${measuring[@]}"} --runs "$runs" --help >/dev/null || exit 2
"$sntrace" diff ${judging[@]+"${judging[@]}"} --help >/dev/null || exit 2

repository=$(git rev-parse --show-toplevel) || fail 2 "not in the working tree of a git repository"
folder=$(git rev-parse --show-prefix)
# Set where git itself calls this, as from a hook; the two revisions are other working trees.
# shellcheck disable=SC2046 # names of variables, a word each
unset $(git rev-parse --local-env-vars)

git() {
    command git -C "$repository" "$@"
}
commit() { # REVISION
    git rev-parse --quiet --verify --end-of-options "$1^{commit}" ||
        fail 2 "there is no revision '$1' here; is the clone a shallow one?"
}
head_commit=$(commit "$head")
case $base in
    *...)
        base_commit=$(commit "${base%...}")
        base_commit=$(git merge-base "$base_commit" "$head_commit") ||
            fail 2 "'${base%...}' and '$head' have no commit in common; is the clone a shallow one?"
        ;;
    *) base_commit=$(commit "$base") ;;
esac
# Not git diff, which would write the index.
if [ "$head" = HEAD ] && [ -n "$(git --no-optional-locks status --porcelain --untracked-files=no)" ]; then
    echo "$0: note: what is not committed is not judged" >&2
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/sntrace-regress.XXXXXX")
# shellcheck disable=SC2317 # reached by the trap
clean_up() {
    local revision
    cd /
    for revision in base head; do
        # Faster than git's own way, and it works on whatever a build has left; git then forgets the folder.
        rm -rf "${work:?}/$revision" || true
        git worktree remove --force "$work/$revision" 2>/dev/null || true
    done
    rm -rf "$work" || true
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
measured=${keep:-$work/measured}
mkdir -p "$measured"

# A file is read by every run from its start.
exec 3<&0
input=/dev/null
[ ! -f /dev/fd/3 ] || input=/dev/fd/3

# Names of one length: what a program makes of its folder's path has one length too.
measure() { # base or head, COMMIT, COMMAND...
    local name=$1 commit=$2 status=0
    shift 2
    echo "$0: $name: $(git log -1 --format='%h %s' "$commit")" >&2
    # Without hooks, which would do what the user has for their own working tree.
    git -c core.hooksPath=/dev/null worktree add --quiet --detach "$work/$name" "$commit" >&2 ||
        fail 125 "$name: cannot check out $commit"
    cd "$work/$name/$folder" || fail 125 "$name: there is no folder '$folder' in $commit"
    sh -c "$build" </dev/null >&2 || status=$?
    [ $status = 0 ] || fail 125 "$name: cannot build $commit: '$build' ended with status $status"
    "$sntrace" check ${measuring[@]+"${measuring[@]}"} --runs "$runs" --save-baseline "$name" \
        --baseline-dir "$measured" -- "$@" <"$input" >&2 || status=$?
    case $status in
        0) ;;
        2) exit 2 ;;
        *) fail 125 "$name: cannot measure $commit: see above (status $status)" ;;
    esac
}
measure base "$base_commit" "$@"
measure head "$head_commit" "$@"

cd "$measured"
[ -n "$source_root" ] || judging+=(--source-root "$work/head")
status=0
"$sntrace" diff ${judging[@]+"${judging[@]}"} -- base.json head.json || status=$?
exit "$status"
