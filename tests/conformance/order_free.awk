# order_free.awk - compares traces with the one that they should be, but for the order of lines, times, default names
#
#   awk -f order_free.awk TRACE REPETITIONS
#
# REPETITIONS has a line "=" after each trace. The first one that differs is explained, and ends the program with
# status 1.

# Without the time; Task-12 becomes Task where it stands as a word.
function normal(line,    done, before, after)
{
    sub(/^\[[0-9]+\] /, "", line)
    done = ""
    while (match(line, /Task-[0-9]+/)) {
        before = RSTART > 1 ? substr(line, RSTART - 1, 1) : substr(done, length(done), 1)
        after = substr(line, RSTART + RLENGTH, 1)
        done = done substr(line, 1, RSTART - 1)
        done = done ((before after) ~ /[A-Za-z0-9_]/ ? substr(line, RSTART, RLENGTH) : "Task")
        line = substr(line, RSTART + RLENGTH)
    }
    return done line
}

# What is there too often or too seldom.
function explain(    line)
{
    print "repetition " repetition ":"
    for (line in got)
        if (got[line] > want[line] + 0)
            print "  + " line
    for (line in want)
        if (want[line] > got[line] + 0)
            print "  - " line
}

function finish(    line, same)
{
    repetition++
    same = got_n == want_n
    for (line in got)
        if (got[line] != want[line] + 0)
            same = 0
    if (!same) {
        explain()
        failed = 1
        exit 1
    }
    split("", got)
    got_n = 0
}

FILENAME != before_file { file++; before_file = FILENAME }
file == 1 { want[normal($0)]++; want_n++; next }
$0 == "=" { finish(); next }
{ got[normal($0)]++; got_n++ }

# What is left of a repetition that did not end.
END {
    if (!failed && got_n > 0)
        finish()
}
