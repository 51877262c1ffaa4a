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

# The test kit, which is there where Check is.
if [ -e "$pc/coil-testing.pc" ]; then
    # shellcheck disable=SC2046
    "$cc" "$root/docs/examples/fresh_loop_tests.c" -o "$prefix/tests" \
        $(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs coil-testing)
    LD_LIBRARY_PATH=$libdir "$prefix/tests" >/dev/null
fi

# HTTP, which is there where a parser is.
if [ -e "$pc/coil-http.pc" ]; then
    cat >"$prefix/http.c" <<END
#include <coil_http.h>
int main(void)
{
    coil_http_session *session;
    int rc = coil_http_session_new(NULL, &session);
    coil_http_session_free(session);
    return rc < 0;
}
END
    # shellcheck disable=SC2046
    "$cc" "$prefix/http.c" -o "$prefix/http" $(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs coil-http)
    LD_LIBRARY_PATH=$libdir "$prefix/http"
    mkdir "$prefix/http-consumer"
    cat >"$prefix/http-consumer/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(coil 0.1 REQUIRED)
add_executable(with_shared $prefix/http.c)
target_link_libraries(with_shared coil::http)
add_executable(with_static $prefix/http.c)
target_link_libraries(with_static coil::http_static)
END
    cmake -S "$prefix/http-consumer" -B "$prefix/http-consumer/build" -DCMAKE_PREFIX_PATH="$prefix" \
        -DCMAKE_C_COMPILER="$cc" >/dev/null
    cmake --build "$prefix/http-consumer/build" >/dev/null
    "$prefix/http-consumer/build/with_shared"
    "$prefix/http-consumer/build/with_static"
fi
