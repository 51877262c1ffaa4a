#!/bin/sh
# Runs the scenarios where there is nothing that could help the interpreter: no Python and hardly any program on PATH, an
# empty environment, no way to start another program.
#
#   run_alone.sh NO_EXEC INTERPRETER DATADIR
#
# Paths are absolute. Exit status: 0 if every trace was equal; 77 if the kernel has no seccomp filters.
set -eu
no_exec=$1 interpreter=$2 data=$3
here=$(cd "$(dirname "$0")" && pwd)

cat=$(command -v cat)
"$no_exec" "$cat" /dev/null || exit $?
if "$no_exec" "$(command -v sh)" -c '"$1" /dev/null' sh "$cat" 2> /dev/null; then
    echo "$no_exec lets a program start another"
    exit 1
fi

alone=$(mktemp -d)
trap 'rm -rf "$alone"' EXIT
trap 'exit 2' HUP INT TERM
mkdir "$alone/bin"
for tool in cmp diff head mktemp rm sh timeout; do
    ln -s "$(command -v "$tool")" "$alone/bin/$tool"
done
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$no_exec" "$interpreter" > "$alone/interpreter"
chmod +x "$alone/interpreter"
cd "$alone"
env -i PATH="$alone/bin" sh "$here/run_data.sh" "$alone/interpreter" "$data"
