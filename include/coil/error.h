/*
 * coil/error.h - errors: a code that travels as the return value, and an optional object behind it
 *
 * A failing function returns a negative code. If more is known than the code (a message, a payload, the errors
 * of a group), an immutable coil_error with that code is the *current error* of the task, or of the thread
 * outside one. Handling an error looks like this:
 *
 *     int rc = work();                        // try
 *     if (rc == -ETIMEDOUT) { ... }           // except TimeoutError: the code is enough
 *
 *     coil_error *e = coil_catch(rc);         // finally: keep the error while cleaning up,
 *     clean_up();                             // which may await and fail on its own,
 *     return coil_raise_error(e);             // then go on raising it
 *
 * An error without a message is only its code: it is represented without allocation, and every function
 * below accepts it.
 */
#ifndef COIL_ERROR_H
#define COIL_ERROR_H

#include <coil/base.h>
COIL_BEGIN

/**
 * coil_raise - make an error with a message the current one
 * @code:   negative
 * @format: printf format; NULL for no message
 *
 * Returns @code, also when there is no memory for the message (which is then lost).
 */
COIL_ANY_THREAD int coil_raise(int code, const char *format, ...) COIL_PRINTF(2, 3);

/**
 * coil_catch - detach the current error
 * @rc: what a call returned
 *
 * Gives the error, to be released or raised again; NULL if @rc is not negative. If the current error does not
 * carry the code @rc, the result is an error that is only its code.
 */
COIL_ANY_THREAD coil_error *coil_catch(int rc);

/** coil_raise_error - make @error (takes; NULL means none) the current one; returns its code, 0 for NULL. */
COIL_ANY_THREAD int coil_raise_error(coil_error *error);

/** coil_error_new - an error object; gives. Without memory for it, an error that is only @code. */
COIL_ANY_THREAD coil_error *coil_error_new(int code, const char *format, ...) COIL_PRINTF(2, 3);

/**
 * coil_error_new_payload - an error that carries data
 * @payload: takes; borrowed by coil_error_payload() until the error's last release
 * @drop:    called with @payload at the last release, or at once if there is no memory; may be NULL
 */
COIL_ANY_THREAD coil_error *coil_error_new_payload(int code, void *payload, void (*drop)(void *),
                                                   const char *format, ...) COIL_PRINTF(4, 5);

/** coil_error_new_group - an ExceptionGroup of @n errors (each shared). */
COIL_ANY_THREAD coil_error *coil_error_new_group(const char *message, coil_error *const *errors, size_t n);

COIL_ANY_THREAD coil_error *coil_error_retain(coil_error *error); /* returns @error; NULL is allowed */
COIL_ANY_THREAD void coil_error_release(coil_error *error);       /* NULL is allowed */

/** coil_error_code - the code; 0 for NULL. */
COIL_ANY_THREAD int coil_error_code(const coil_error *error);

/** coil_error_message - the message given when it was raised, "" without one; borrowed from the error. */
COIL_ANY_THREAD const char *coil_error_message(const coil_error *error);

/** coil_error_payload - what coil_error_new_payload() was given, else NULL; borrowed from the error. */
COIL_ANY_THREAD void *coil_error_payload(const coil_error *error);

/** coil_error_suberrors - number of errors in a group; @errors gets an array borrowed from @error. */
COIL_ANY_THREAD size_t coil_error_suberrors(const coil_error *error, coil_error *const **errors);

/**
 * coil_error_incomplete_read - what an IncompleteReadError knows
 * @partial:  gets the bytes read before the end, borrowed from the error
 * @n:        their number
 * @expected: the number asked for, or -1 if it was unknown (readuntil)
 *
 * False if @error is something else.
 */
COIL_ANY_THREAD bool coil_error_incomplete_read(const coil_error *error, const void **partial, size_t *n,
                                                ssize_t *expected);

/** coil_error_limit_overrun - bytes to consume at a LimitOverrunError; false if @error is something else. */
COIL_ANY_THREAD bool coil_error_limit_overrun(const coil_error *error, size_t *consumed);

/** coil_error_name - asyncio's name of the error class: "CancelledError", "TimeoutError", "OSError", ... */
COIL_ANY_THREAD const char *coil_error_name(int code);

/** coil_strerror - what a code means, in words; never NULL; static. */
COIL_ANY_THREAD const char *coil_strerror(int code);

/**
 * coil_error_format - "TimeoutError: message" for people
 *
 * Writes at most @size bytes with the final zero into @buf; returns the length that the whole text has.
 */
COIL_ANY_THREAD size_t coil_error_format(const coil_error *error, char *buf, size_t size);

/** coil_is_runtime_error - whether asyncio's exception for @code is a RuntimeError (or derived from it). */
COIL_ANY_THREAD bool coil_is_runtime_error(int code);

COIL_END
#endif
