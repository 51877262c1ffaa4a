# kit.sh - for scripts that need the conformance kit and the Python it describes; sourced
#
# Sets kit ($COIL_CONFORMANCE_KIT, else ../shared/conformance beside the project) and python ($COIL_PYTHON, else
# python3.11 or python3, whichever is CPython 3.11.7). Without either it says so and ends the script with status 77.
# The script has set here, the directory of both.
# shellcheck shell=sh

find_python()
{
    for candidate in ${COIL_PYTHON-python3.11 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:3] != (3, 11, 7))' 2> /dev/null; then
            echo "$candidate"
            return
        fi
    done
}

kit=${COIL_CONFORMANCE_KIT-$here/../../../shared/conformance}
if [ ! -f "$kit/compare.py" ]; then
    echo "skipped: there is no conformance kit at $kit"
    exit 77
fi
kit=$(cd "$kit" && pwd)
python=$(find_python)
if [ -z "$python" ]; then
    echo "skipped: there is no CPython 3.11.7"
    exit 77
fi
