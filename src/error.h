/*
 * error.h - errors inside: the constructors of errors that carry data, and the current error's place
 */
#ifndef COIL_ERROR_INTERNAL_H
#define COIL_ERROR_INTERNAL_H

#include <coil/error.h>

#include "base/assert.h"

/* Where the running code's current error is: its task's, or its thread's. */
coil_error **coil__error_slot(void);

/* coil_error_release() where there mostly is none. */
static inline void coil__error_drop(coil_error *e)
{
    if (coil_unlikely(e != NULL))
        coil_error_release(e);
}

/*
 * The error that the other side of a thread gets: as in asyncio a TimeoutError of its own, unless it has a payload, and
 * any other as it is. Takes and gives; NULL for none.
 */
coil_error *coil__error_for_other_thread(coil_error *e);

/* IncompleteReadError: copies the @n bytes at @partial; @expected -1: unknown. Gives. */
coil_error *coil__error_incomplete_read(const void *partial, size_t n, ssize_t expected);

/* LimitOverrunError with asyncio's message. Gives. */
coil_error *coil__error_limit_overrun(const char *message, size_t consumed);

#endif
