#!/bin/sh
# install.sh BUILD PREFIX CC - installs coil below PREFIX and builds a program against it the three ways that the README
# shows: pkg-config, pkg-config --static, and CMake's find_package.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$1
prefix=$2
cc=$3
program=$root/docs/examples/hello_run.c

rm -rf "$prefix"
cmake --install "$build" --prefix "$prefix" >/dev/null
# The .pc file names the configured prefix; pkg-config is told where it really is.
pc=$(dirname "$(find "$prefix" -name coil.pc)")
config() {
    PKG_CONFIG_PATH=$pc pkg-config "$@" coil
}
libdir=$(config --variable=libdir)

# shellcheck disable=SC2046 # the flags are words
"$cc" "$program" -o "$prefix/shared" $(config --cflags --libs)
LD_LIBRARY_PATH=$libdir "$prefix/shared"
# shellcheck disable=SC2046
"$cc" "$program" -o "$prefix/static" $(config --cflags) "$libdir/libcoil.a" \
    $(config --static --libs-only-l | sed 's/-lcoil//')
"$prefix/static"

mkdir "$prefix/consumer"
cat >"$prefix/consumer/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(coil 0.1 REQUIRED)
add_executable(with_shared $program)
target_link_libraries(with_shared coil::coil)
add_executable(with_static $program)
target_link_libraries(with_static coil::coil_static)
END
cmake -S "$prefix/consumer" -B "$prefix/consumer/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >/dev/null
cmake --build "$prefix/consumer/build" >/dev/null
"$prefix/consumer/build/with_shared"
"$prefix/consumer/build/with_static"
