#!/bin/sh
# Builds the programs that coil is measured beside, into BUILD_DIRECTORY/perf/peers: what is missing is said, and skipped.
#
#   perf/peers/build.sh [BUILD_DIRECTORY]          default: build/release
#
# C and C++ with -O2; Rust in release mode with fat LTO, the crates pinned by Cargo.lock. Debian: libtbb-dev, libuv1-dev,
# g++; cargo from a Rust toolchain of 1.85 or later, in PATH or in ~/.cargo/bin.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
case ${1-} in
-h | --help)
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
build=${1:-$root/build/release}
sources=$root/perf/peers
out=$build/perf/peers
mkdir -p "$out"
PATH=$PATH:$HOME/.cargo/bin

# build PROGRAM SOURCE PACKAGE COMPILER FLAGS...: rebuilt when the source is newer
build()
{
    program=$1 source=$2 package=$3 compiler=$4
    shift 4
    if [ "$out/$program" -nt "$sources/$source" ]; then
        return
    fi
    if ! command -v "$compiler" >/dev/null; then
        echo "# $program skipped: no $compiler" >&2
    elif ! "$compiler" -O2 -g -pthread "$sources/$source" -o "$out/$program" "$@" 2>"$out/$program.log"; then
        rm -f "$out/$program"
        echo "# $program skipped: it does not build ($package installed?), see $out/$program.log" >&2
    fi
}

build_tokio()
{
    if ! command -v cargo >/dev/null; then
        echo "# tokio-peer skipped: no cargo" >&2
    elif CARGO_TARGET_DIR=$out/cargo cargo build --locked --release --manifest-path "$sources/tokio/Cargo.toml" \
        2>"$out/tokio-peer.log"; then
        cp "$out/cargo/release/tokio-peer" "$out/tokio-peer"
    else
        rm -f "$out/tokio-peer"
        echo "# tokio-peer skipped: it does not build, see $out/tokio-peer.log" >&2
    fi
}

build tbb-peer tbb.cpp libtbb-dev c++ -std=c++17 -ltbb
build libuv-peer libuv.c libuv1-dev cc -std=gnu17 -luv
build_tokio
