# expect_status.sh - to be read by scripts: what a command ends with, and what it says

# expect STATUS COMMAND... - COMMAND ends with STATUS.
expect() {
    expected=$1
    shift
    command=$*
    output=$("$@" 2>&1)
    status=$?
    [ "$status" -eq "$expected" ] || { echo "$command: status $status, not $expected: $output"; exit 1; }
}

# says TEXT - the last command's output, on both streams, contains TEXT.
says() {
    case $output in
    *"$1"*) ;;
    *) echo "$command: \"$1\" is not in: $output"; exit 1 ;;
    esac
}
