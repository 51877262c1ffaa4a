#!/bin/sh
# tidy.sh COMPILE_COMMANDS - the rules of the house that a compiler does not check. Each finding is a line.
#
#   1 who may include whom        docs/architecture.md draws it
#   2 one file per third party    liburing, jemalloc, valgrind, the HTTP parsers
#   3 atomics                     only through src/base/atomic.h; labels in pairs, but for relaxed accesses
#   4 dead files                  every source is compiled, every private header included
#   5 sizes                       at most 800 lines in a file
#   6 errno                       no file but those that make system calls looks at it
#   7 documents                   the README's program is an example; links lead somewhere; all examples are listed
set -u
LC_ALL=C
export LC_ALL
if [ $# -ne 1 ] || [ ! -f "$1" ]; then
    echo "usage: $0 BUILD/compile_commands.json" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
commands=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") || exit 1
cd "$root" || exit 1
findings=$(mktemp) || exit 1
trap 'rm -f "$findings"' EXIT

# found RULE - reads "file:line: text" lines, and puts them down as findings against RULE.
found() {
    sed "s|\$|    <- $1|" >>"$findings"
}

sources() {
    find "$@" -name '*.[chS]' 2>/dev/null
}

# includes DIRECTORY... - "file:line:#include ..." of all sources below
includes() {
    sources "$@" | xargs -r grep -n '^ *# *include' /dev/null
}

# --- 1 who may include whom ---
# Quoted names are relative to the file.
includes src io sched | grep '"' | while IFS=: read -r file line text; do
    name=$(echo "$text" | sed 's/.*"\(.*\)".*/\1/')
    target=$(realpath -m --relative-to=. "$(dirname "$file")/$name")
    case $file:$target in
    src/base/*:src/base/*) ;;
    src/base/*:*) echo "$file:$line: $text" | found "src/base knows nothing above it" ;;
    src/*:src/* | io/*:io/* | io/*:src/* | sched/*:sched/* | sched/*:src/*) ;;
    *) echo "$file:$line: $text" | found "includes point down: src/ below io/ and sched/, which do not know each other" ;;
    esac
done
includes tests/api tests/conformance perf docs/examples | grep '"' | while IFS=: read -r file line text; do
    name=$(echo "$text" | sed 's/.*"\(.*\)".*/\1/')
    directory=$(dirname "$file")
    case $file:$name in
    perf/*:../src/base/*) continue ;;              # what a switch costs below the loop
    tests/api/*:../../docs/examples/*) continue ;; # the program under test
    *:../*) ;;
    *) if [ -f "$directory/$name" ] || [ -f "tests/support/$name" ]; then continue; fi ;;
    esac
    echo "$file:$line: $text" | found "uses <coil.h> and headers of its own only"
done
includes docs/examples perf tests/api tests/conformance tests/stress | grep '<coil/' |
    found "programs include <coil.h>"

# --- 2 one file per third party ---
includes src io sched tests perf | grep '<liburing' | grep -v -e '^io/uring' -e '^perf/limits/' |
    found "only io/uring*.[ch] know liburing"
includes src io sched tests | grep '<jemalloc' | grep -v '^src/base/alloc\.c:' | found "only src/base/alloc.c knows jemalloc"
includes src io sched | grep -e '<llhttp' -e '<http_parser' | grep -v '^io/http/parser\.h:' |
    found "only io/http/parser.h knows the parsers"
includes src io sched | grep '<valgrind' | grep -v '^src/base/' | found "only src/base knows valgrind"

# --- 3 atomics ---
sources src io sched | grep -v -x src/base/atomic.h | xargs grep -nE \
    '(^|[^a-z_])(atomic_(load|store|exchange|fetch|compare|thread_fence|init|flag)|__atomic_|__sync_)' |
    found "atomic accesses go through src/base/atomic.h"
labels=$(sources src io sched | xargs grep -ohE '\[[A-Z]+-[0-9]+\]' | sort | uniq -c | awk '$1 < 2 { print $2 }')
for label in $labels; do
    # Relaxed accesses order nothing, so there is nobody to pair with.
    sources src io sched | xargs grep -nF "$label" | grep -vF "$label relaxed" | found "a label names both sides: at least twice"
done

# --- 4 dead files ---
sources src io sched | grep '\.[cS]$' | while read -r file; do
    case $file in
    src/base/arch/*) continue ;; # one of them fits
    io/uring*) grep -q DCOIL_URING "$commands" || continue ;;
    io/http/*) grep -q /io/http/ "$commands" || continue ;; # optional
    esac
    grep -q "/$file\"" "$commands" || echo "$file:1:" | found "nothing compiles it"
done
included=$(includes src io sched tests | sed 's/.*[":/<]\(.*\.h\)[">].*/\1/' | sort -u)
sources src io sched | grep '\.h$' | while read -r file; do
    echo "$included" | grep -qx "$(basename "$file")" || echo "$file:1:" | found "nothing includes it"
done

# --- 5 sizes ---
sources include src io sched tests perf docs/examples | while read -r file; do
    lines=$(wc -l <"$file")
    [ "$lines" -le 800 ] || echo "$file:$lines:" | found "at most 800 lines"
done

# --- 6 errno ---
sources src | grep -v '^src/base/' | xargs grep -nE '(^|[^a-z_<"./])errno([^a-z_.]|$)' | grep -vE ':[0-9]+: *(\*|/\*|//)' |
    grep -v -e '^src/loop' | found "errno is read next to a system call only: src/base, src/loop*.c, io"

# --- 7 documents ---
awk '/^```$/ { if (code) exit } code; /^```c$/ { code = 1 }' README.md | cmp -s - docs/examples/first_program.c ||
    echo "README.md:1:" | found "its program is docs/examples/first_program.c"
find README.md docs perf -name '*.md' | while read -r file; do
    grep -no '](\([^)#:]*\)[#)]' "$file" | sed 's/](\(.*\)[#)]/\1/' | while IFS=: read -r line target; do
        [ -z "$target" ] || [ -e "$(dirname "$file")/$target" ] || echo "$file:$line: $target" | found "the link leads nowhere"
    done
done
for file in docs/decisions/[0-9]*.md; do
    grep -qF "($(basename "$file"))" docs/decisions/README.md || echo "$file:1:" | found "the index does not list it"
done
for file in docs/examples/*.c; do
    grep -qF "($(basename "$file"))" docs/examples/README.md || echo "$file:1:" | found "the index does not list it"
    expected=docs/examples/expected/$(basename "$file" .c).out
    [ -e "$expected" ] || grep -q "docs/$(basename "$(dirname "$file")")/$(basename "$file")\"" tests/api/*.c tests/http/*.c ||
        grep -q "example\.$(basename "$file" .c) " docs/examples/CMakeLists.txt ||
        echo "$file:1:" | found "nothing tests it"
done

if [ -s "$findings" ]; then
    cat "$findings"
    exit 1
fi
