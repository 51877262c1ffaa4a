# packages.sh - for scripts that install what is missing; sourced
#
#   want PACKAGE COMMAND...    PACKAGE (of Debian) is missing unless COMMAND succeeds
#   want_to_build              what a build takes
#   install_missing            installs it, without asking, as root or through sudo
missing=

want() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_http_parser() {
    [ -e /usr/include/llhttp.h ] || [ -e /usr/include/http_parser.h ]
}

want_to_build() {
    want gcc command -v cc
    want libc6-dev test -e /usr/include/stdio.h
    want make command -v make
    want cmake command -v cmake
    want pkg-config command -v pkg-config
    want liburing-dev pkg-config --exists 'liburing >= 2.3'
    want libjemalloc-dev pkg-config --exists jemalloc
    want libhttp-parser-dev has_http_parser
    want libcjson-dev test -e /usr/include/cjson/cJSON.h
}

install_missing() {
    [ -n "$missing" ] || return 0
    echo "== missing packages, installing them with apt-get:$missing"
    if ! command -v apt-get >/dev/null; then
        echo "there is no apt-get here; please install them by hand (the names are Debian's)" >&2
        return 1
    fi
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
    fi
    # The lists may be missing or old: then fetch them and try again.
    # shellcheck disable=SC2086 # packages are words
    apt_install $missing || { $as_root apt-get -q update && apt_install $missing; }
    missing=
}

apt_install() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
}
