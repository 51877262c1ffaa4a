/*
 * error.c - errors as objects
 *
 * An error that is only a code is a tagged pointer, ((-code) << 1) | 1, so that it costs no memory; an object is
 * immutable and counted, and may be shared between threads.
 *
 * I1 the current error is either NULL, or the object behind the code that the last failing call returned. Code that
 *    returns a bare negative number leaves a stale object there, so coil_catch() compares codes.
 */
#define _GNU_SOURCE /* strerrordesc_np */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "current.h"
#include "task.h"

struct coil_error {
    _Atomic uint32_t refs;
    int code;
    void *payload;
    void (*drop)(void *);
    coil_error **suberrors;
    size_t suberror_count;
    char message[];
};

/* What is behind COIL_EINCOMPLETEREAD and COIL_ELIMITOVERRUN. */
struct incomplete_read {
    ssize_t expected;
    size_t n;
    char partial[];
};

static bool is_bare(const coil_error *e)
{
    return (uintptr_t)e & 1;
}

static coil_error *bare(int code)
{
    return (coil_error *)(((uintptr_t)(unsigned)-code << 1) | 1);
}

static coil_error *new_with_text(int code, const char *text)
{
    size_t bytes = strlen(text) + 1;
    coil_error *e = coil__calloc(sizeof *e + bytes);
    if (!e)
        return bare(code);
    store_relaxed(&e->refs, 1); /* not shared yet */
    e->code = code;
    memcpy(e->message, text, bytes);
    return e;
}

static coil_error *new_formatted(int code, const char *format, va_list args)
{
    coil_assert(code < 0);
    if (!format)
        return bare(code);
    char stack_text[256];
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(stack_text, sizeof stack_text, format, args);
    coil_error *e;
    char *text = NULL;
    if (n >= (int)sizeof stack_text && (text = coil__malloc((size_t)n + 1)))
        vsnprintf(text, (size_t)n + 1, format, again);
    e = new_with_text(code, text ? text : stack_text);
    coil__free(text);
    va_end(again);
    return e;
}

coil_error *coil_error_new(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    coil_error *e = new_formatted(code, format, args);
    va_end(args);
    return e;
}

coil_error *coil__error_for_other_thread(coil_error *e)
{
    if (coil_error_code(e) != -ETIMEDOUT || is_bare(e) || e->payload)
        return e;
    coil_error *copy = new_with_text(-ETIMEDOUT, e->message);
    coil_error_release(e);
    return copy;
}

coil_error *coil_error_new_payload(int code, void *payload, void (*drop)(void *), const char *format, ...)
{
    va_list args;
    va_start(args, format);
    coil_error *e = new_formatted(code, format ? format : "", args);
    va_end(args);
    if (is_bare(e)) {
        if (drop)
            drop(payload);
        return e;
    }
    e->payload = payload;
    e->drop = drop;
    return e;
}

coil_error *coil_error_new_group(const char *message, coil_error *const *errors, size_t n)
{
    coil_error *e = new_with_text(COIL_EGROUP, message);
    if (is_bare(e))
        return e;
    e->suberrors = coil__malloc((n ? n : 1) * sizeof *e->suberrors);
    if (!e->suberrors) {
        coil_error_release(e);
        return bare(COIL_EGROUP);
    }
    for (size_t i = 0; i < n; i++)
        e->suberrors[i] = coil_error_retain(errors[i]);
    e->suberror_count = n;
    return e;
}

coil_error *coil__error_incomplete_read(const void *partial, size_t n, ssize_t expected)
{
    struct incomplete_read *p = coil__malloc(sizeof *p + n);
    if (!p)
        return bare(COIL_EINCOMPLETEREAD);
    p->expected = expected;
    p->n = n;
    if (n > 0)
        memcpy(p->partial, partial, n);
    if (expected < 0)
        return coil_error_new_payload(COIL_EINCOMPLETEREAD, p, coil__free,
                                      "%zu bytes read on a total of undefined expected bytes", n);
    return coil_error_new_payload(COIL_EINCOMPLETEREAD, p, coil__free,
                                  "%zu bytes read on a total of %zd expected bytes", n, expected);
}

coil_error *coil__error_limit_overrun(const char *message, size_t consumed)
{
    return coil_error_new_payload(COIL_ELIMITOVERRUN, (void *)consumed, NULL, "%s", message);
}

coil_error *coil_error_retain(coil_error *e)
{
    if (e && !is_bare(e))
        fetch_add_relaxed(&e->refs, 1); /* [ERR-1] relaxed: the caller has a reference, so it cannot go meanwhile */
    return e;
}

void coil_error_release(coil_error *e)
{
    if (!e || is_bare(e))
        return;
    /* [ERR-1] acq_rel: every other thread's use of the object is over before the last one frees it. */
    if (fetch_sub_acq_rel(&e->refs, 1) != 1)
        return;
    for (size_t i = 0; i < e->suberror_count; i++)
        coil_error_release(e->suberrors[i]);
    coil__free(e->suberrors);
    if (e->drop)
        e->drop(e->payload);
    coil__free(e);
}

int coil_error_code(const coil_error *e)
{
    if (!e)
        return 0;
    return is_bare(e) ? -(int)((uintptr_t)e >> 1) : e->code;
}

const char *coil_error_message(const coil_error *e)
{
    return !e || is_bare(e) ? "" : e->message;
}

void *coil_error_payload(const coil_error *e)
{
    return !e || is_bare(e) ? NULL : e->payload;
}

size_t coil_error_suberrors(const coil_error *e, coil_error *const **errors)
{
    bool none = !e || is_bare(e);
    if (errors)
        *errors = none ? NULL : e->suberrors;
    return none ? 0 : e->suberror_count;
}

bool coil_error_incomplete_read(const coil_error *e, const void **partial, size_t *n, ssize_t *expected)
{
    if (coil_error_code(e) != COIL_EINCOMPLETEREAD || !coil_error_payload(e))
        return false;
    const struct incomplete_read *p = e->payload;
    *partial = p->partial;
    *n = p->n;
    *expected = p->expected;
    return true;
}

bool coil_error_limit_overrun(const coil_error *e, size_t *consumed)
{
    if (coil_error_code(e) != COIL_ELIMITOVERRUN || is_bare(e))
        return false;
    *consumed = (size_t)e->payload;
    return true;
}

/* --- the current error ---------------------------------------------------------------------------------------- */

coil_error **coil__error_slot(void)
{
    coil__current_state *current = coil__current();
    return current->task ? &current->task->error : &current->error;
}

static void set_current(coil_error *e)
{
    coil__current_state *current = coil__current();
    coil_error **slot = current->task ? &current->task->error : &current->error;
    coil_error *old = *slot;
    *slot = is_bare(e) ? NULL : e; /* I1 */
    if (*slot && !current->task)
        coil__current_own(current);
    coil_error_release(old); /* last: its payload's drop may raise */
}

int coil_raise(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_current(new_formatted(code, format, args));
    va_end(args);
    return code;
}

int coil_raise_error(coil_error *e)
{
    if (!e)
        return 0;
    int code = coil_error_code(e);
    set_current(e);
    return code;
}

coil_error *coil_catch(int rc)
{
    if (rc >= 0)
        return NULL;
    coil_error **slot = coil__error_slot(), *e = *slot;
    if (!e || e->code != rc)
        return bare(rc); /* I1 */
    *slot = NULL;
    return e;
}

/* --- names ----------------------------------------------------------------------------------------------------- */

static const struct {
    int code;
    const char *name, *text;
} names[] = {
    {-ECANCELED, "CancelledError", "cancelled"},
    {-ETIMEDOUT, "TimeoutError", "timed out"},
    {-EINVAL, "ValueError", "invalid argument"},
    {-ENOMEM, "MemoryError", "out of memory"},
    {-ECONNREFUSED, "ConnectionRefusedError", NULL},
    {-ECONNRESET, "ConnectionResetError", NULL},
    {-ECONNABORTED, "ConnectionAbortedError", NULL},
    {-EPIPE, "BrokenPipeError", NULL},
    {-ESHUTDOWN, "BrokenPipeError", NULL},
    {-EAGAIN, "BlockingIOError", NULL},
    {-EALREADY, "BlockingIOError", NULL},
    {-EINPROGRESS, "BlockingIOError", NULL},
    {-EINTR, "InterruptedError", NULL},
    {-ECHILD, "ChildProcessError", NULL},
    {-ESRCH, "ProcessLookupError", NULL},
    {-EEXIST, "FileExistsError", NULL},
    {-EISDIR, "IsADirectoryError", NULL},
    {-ENOTDIR, "NotADirectoryError", NULL},
    {-ENOENT, "FileNotFoundError", NULL},
    {-EACCES, "PermissionError", NULL},
    {-EPERM, "PermissionError", NULL},
    {COIL_ERUNTIME, "RuntimeError", "runtime error"},
    {COIL_ENOLOOP, "RuntimeError", "no running event loop"},
    {COIL_ELOOPCLOSED, "RuntimeError", "event loop is closed"},
    {COIL_EBUSY, "RuntimeError", "already running, entered or waited for"},
    {COIL_EWRONGLOOP, "RuntimeError", "attached to a different event loop"},
    {COIL_EBROKENBARRIER, "BrokenBarrierError", "barrier is broken"},
    {COIL_EINVALIDSTATE, "InvalidStateError", "invalid state"},
    {COIL_EQUEUEEMPTY, "QueueEmpty", "queue is empty"},
    {COIL_EQUEUEFULL, "QueueFull", "queue is full"},
    {COIL_ETYPE, "TypeError", "wrong type"},
    {COIL_EINCOMPLETEREAD, "IncompleteReadError", "the stream ended too early"},
    {COIL_ELIMITOVERRUN, "LimitOverrunError", "buffer limit reached"},
    {COIL_EGROUP, "ExceptionGroup", "several errors"},
    {COIL_ESTOPITERATION, "StopAsyncIteration", "end of iteration"},
    {COIL_EGENERATOREXIT, "GeneratorExit", "the coroutine is being closed"},
    {COIL_ELOOKUP, "LookupError", "context variable without a value"},
    {COIL_ECLOSED, "ClosedError", "descriptor closed during the operation"},
    {COIL_EBROKENPROCESS, "BrokenProcessPool", "the worker process has ended"},
    {COIL_EKEYBOARDINTERRUPT, "KeyboardInterrupt", "interrupted by SIGINT"},
};

const char *coil_error_name(int code)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            return names[i].name;
    if (code <= COIL_EUSER_FIRST)
        return "UserError";
    return code < 0 && code > -4096 ? "OSError" : "Error";
}

const char *coil_strerror(int code)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code && names[i].text)
            return names[i].text;
    if (code >= 0)
        return "success";
    if (code <= COIL_EUSER_FIRST)
        return "error of the program";
    const char *text = code > -4096 ? strerrordesc_np(-code) : NULL;
    return text ? text : "unknown error";
}

size_t coil_error_format(const coil_error *e, char *buf, size_t size)
{
    int code = coil_error_code(e);
    const char *message = coil_error_message(e);
    if (code == 0)
        return (size_t)snprintf(buf, size, "no error");
    if (code <= COIL_EUSER_FIRST)
        return (size_t)snprintf(buf, size, "UserError %d%s%s", COIL_EUSER_FIRST - code, *message ? ": " : "",
                                message);
    return (size_t)snprintf(buf, size, "%s: %s", coil_error_name(code), *message ? message : coil_strerror(code));
}

bool coil_is_runtime_error(int code)
{
    return code <= COIL_ERUNTIME && code >= COIL_EBROKENBARRIER;
}
