/*
 * coil/base.h - marks of prototypes, units of time, error codes, and the names of the types
 */
#ifndef COIL_BASE_H
#define COIL_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define COIL_BEGIN extern "C" {
#define COIL_END }
#else
#define COIL_BEGIN
#define COIL_END
#endif

#define COIL_API __attribute__((visibility("default")))
#define COIL_ANY_THREAD COIL_API
#define COIL_ON_LOOP COIL_API
#define COIL_IN_TASK COIL_API
#define COIL_SUSPENDS __attribute__((warn_unused_result))
#define COIL_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))

#define COIL_VERSION_MAJOR 0
#define COIL_VERSION_MINOR 1
#define COIL_VERSION_PATCH 0

/* Durations and points in time are int64_t nanoseconds. */
#define COIL_US(n) ((int64_t)((n) * INT64_C(1000)))
#define COIL_MS(n) ((int64_t)((n) * INT64_C(1000000)))
#define COIL_SECONDS(s) ((int64_t)((s) * 1e9))
#define COIL_FOREVER INT64_MAX

/* Returns the error of a call from the enclosing function, as an exception would travel. */
#define COIL_TRY(call)               \
    do {                             \
        int coil_try_rc_ = (call);   \
        if (coil_try_rc_ < 0)        \
            return coil_try_rc_;     \
    } while (0)

/*
 * Codes. asyncio's exceptions that an errno describes use it:
 *
 *   CancelledError -ECANCELED      TimeoutError -ETIMEDOUT       ValueError -EINVAL
 *   ConnectionResetError -ECONNRESET, BrokenPipeError -EPIPE, other OSErrors their errno, MemoryError -ENOMEM
 *
 * The rest has codes below. Codes marked (R) are RuntimeErrors in asyncio: coil_is_runtime_error().
 * Programs may use COIL_EUSER(0) .. COIL_EUSER(9999) for errors of their own.
 */
enum coil_code {
    COIL_ERUNTIME = -5000,    /* (R) RuntimeError without a code of its own */
    COIL_ENOLOOP = -5001,     /* (R) no running event loop */
    COIL_ELOOPCLOSED = -5002, /* (R) Event loop is closed */
    COIL_EBUSY = -5003,       /* (R) already running, already entered, already being waited for */
    COIL_EWRONGLOOP = -5004,  /* (R) attached or bound to a different event loop */
    COIL_EBROKENBARRIER = -5005, /* (R) BrokenBarrierError */
    COIL_EINVALIDSTATE = -5006,  /* InvalidStateError */
    COIL_EQUEUEEMPTY = -5007,    /* QueueEmpty */
    COIL_EQUEUEFULL = -5008,     /* QueueFull */
    COIL_ETYPE = -5009,          /* TypeError */
    COIL_EINCOMPLETEREAD = -5010,   /* IncompleteReadError; payload: coil_error_incomplete_read() */
    COIL_ELIMITOVERRUN = -5011,     /* LimitOverrunError; payload: coil_error_limit_overrun() */
    COIL_EGROUP = -5012,            /* ExceptionGroup; coil_error_suberrors() */
    COIL_ESTOPITERATION = -5013,    /* StopAsyncIteration: the end of an iteration */
    COIL_EGENERATOREXIT = -5014,    /* GeneratorExit */
    COIL_ELOOKUP = -5015,           /* LookupError: a context variable without a value */
    COIL_ECLOSED = -5016,           /* the descriptor was closed while the operation waited */
    COIL_EBROKENPROCESS = -5017,    /* BrokenProcessPool: the worker process that ran the job has ended */
    COIL_EKEYBOARDINTERRUPT = -5018, /* KeyboardInterrupt: SIGINT has ended coil_run */
};
#define COIL_EUSER_FIRST (-20000)
#define COIL_EUSER(n) (COIL_EUSER_FIRST - (n))

typedef struct coil_error coil_error;
typedef struct coil_loop coil_loop;
typedef struct coil_handle coil_handle;
typedef struct coil_future coil_future;
typedef struct coil_future coil_task; /* every task is a future: what takes a future takes a task */
typedef struct coil_context coil_context;

#endif
