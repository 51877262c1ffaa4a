/*
 * coil/coro.h - coroutine values, and awaitables: what asyncio calls f(x), and "an awaitable"
 *
 * `async def f(x)` is `int f(void *arg, void **result)`. It returns 0 and sets *result (NULL if it does not), or
 * returns a negative code, which is what it raises. `await f(x)` is calling it. A coil_coro is the coroutine
 * *object* f(x): something that has not run yet and can be made a task, gathered, shielded, waited for.
 */
#ifndef COIL_CORO_H
#define COIL_CORO_H

#include <coil/base.h>
COIL_BEGIN

/*
 * The body of a coroutine. @result is never NULL and points to NULL at entry. A positive return value counts as 0, and
 * is lost when the body is a task's: the result is *result. C++: no exception may leave the body; the program would be terminated.
 */
typedef int coil_coro_fn(void *arg, void **result);

/*
 * A coroutine value. It is used up by the first function that takes it; until then it is plain data. drop(arg) is
 * called if the body never runs: a task cancelled before its first step, a failed create_task, a loop closed.
 * Two values with the same fn, arg and drop, drop not NULL, are one coroutine object: whoever takes several
 * awaitables at a time (gather, as_completed) makes one task of them, as asyncio does for an object given twice.
 */
typedef struct coil_coro {
    coil_coro_fn *fn;          /* NULL: not a coroutine; taking it fails with COIL_ETYPE */
    void *arg;
    void (*drop)(void *arg);   /* may be NULL */
    size_t copy_bytes;         /* 0, or the size of what arg points to, copied into the task when it is made */
    const char *name;          /* of the function, for diagnostics; static; may be NULL */
} coil_coro;

static inline coil_coro coil_coro_make(coil_coro_fn *fn, void *arg, void (*drop)(void *), size_t copy_bytes,
                                       const char *name)
{
    coil_coro c;
    c.fn = fn;
    c.arg = arg;
    c.drop = drop;
    c.copy_bytes = copy_bytes;
    c.name = name;
    return c;
}

/* In C++ too, arg may be a string literal. */
#ifdef __cplusplus
COIL_END
static inline void *coil_coro_arg_(void *arg) { return arg; }
template <size_t n> static inline void *coil_coro_arg_(const char (&arg)[n]) { return const_cast<char *>(arg); }
COIL_BEGIN
#else
#define coil_coro_arg_(arg) (arg)
#endif

/** coil_coro_of(fn, arg) - the coroutine fn(arg); borrows arg until the body ends. */
#define coil_coro_of(fn, arg) coil_coro_make((fn), coil_coro_arg_(arg), NULL, 0, #fn)

/** coil_coro_owning(fn, arg, drop) - the same; arg becomes the body's own; drop(arg) if it never runs. */
#define coil_coro_owning(fn, arg, drop) coil_coro_make((fn), (arg), (drop), 0, #fn)

/**
 * coil_coro_copy(fn, args, size) - the body gets a copy of the @size bytes at @args.
 *
 * Borrows @args until the coroutine becomes a task; the copy lives until the body returns.
 */
#define coil_coro_copy(fn, args, size) coil_coro_make((fn), (args), NULL, (size), #fn)

/** coil_coro_drop - forget a coroutine that nobody took: calls its drop, if any. */
static inline void coil_coro_drop(coil_coro coro)
{
    if (coro.drop)
        coro.drop(coro.arg);
}

/* A coroutine, or a future (borrowed): future if it is not NULL, else coro. */
typedef struct coil_awaitable {
    coil_future *future;
    coil_coro coro;
} coil_awaitable;

static inline coil_awaitable coil_awaitable_of_coro(coil_coro coro)
{
    coil_awaitable a;
    a.future = NULL;
    a.coro = coro;
    return a;
}

static inline coil_awaitable coil_awaitable_of_future(coil_future *future)
{
    coil_awaitable a;
    a.future = future;
    a.coro = coil_coro_make(NULL, NULL, NULL, 0, NULL);
    return a;
}

static inline coil_awaitable coil_awaitable_itself(coil_awaitable a)
{
    return a;
}

COIL_END

/* COIL_AWAITABLE(x) - a coil_coro or a coil_future (coil_task) pointer as an awaitable. */
#ifdef __cplusplus
static inline coil_awaitable COIL_AWAITABLE(coil_coro c) { return coil_awaitable_of_coro(c); }
static inline coil_awaitable COIL_AWAITABLE(coil_future *f) { return coil_awaitable_of_future(f); }
static inline coil_awaitable COIL_AWAITABLE(coil_awaitable a) { return a; }
#else
#define COIL_AWAITABLE(x)                               \
    _Generic((x),                                       \
        coil_coro: coil_awaitable_of_coro,              \
        coil_future *: coil_awaitable_of_future,        \
        coil_awaitable: coil_awaitable_itself)(x)
#endif

#endif
