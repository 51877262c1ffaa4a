/*
 * coil/errno.h - errno for code whose task may move to another thread; to be included on purpose, not part of coil.h
 *
 * The C library calls the function behind `errno` constant, so a compiler may take its address once per function and keep
 * it across a suspension. On a runtime the task may then be on another thread, and would read and write the first
 * thread's errno. After this header `errno` is looked up anew at each use. docs/thread-local.md has an example.
 *
 * The *value* belongs to the thread and does not travel: read errno directly after the call that set it, before anything
 * that may suspend. In `errno = f()` the address may be taken before f() runs: do not suspend in f().
 */
#ifndef COIL_ERRNO_H
#define COIL_ERRNO_H

#include <coil/base.h>
COIL_BEGIN

/** coil_errno_location - the address of the calling thread's errno; not to be kept across a suspension. */
COIL_ANY_THREAD int *coil_errno_location(void);

COIL_END

#undef errno
#define errno (*coil_errno_location())

#endif
