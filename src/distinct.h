/*
 * distinct.h - which of several awaitables are the same one
 *
 * gather, wait and as_completed treat a future that is given twice as one, and so a coroutine object. A hash table of what
 * was seen, so that ten thousand awaitables cost ten thousand steps.
 */
#ifndef COIL_DISTINCT_H
#define COIL_DISTINCT_H

#include <coil/coro.h>

typedef struct coil__distinct_entry {
    const void *object; /* the future, or the coroutine's argument */
    coil_coro_fn *fn;
    void (*drop)(void *);
    size_t index_plus_one; /* 0: free */
} coil__distinct_entry;

typedef struct coil__distinct {
    coil__distinct_entry *entries;
    size_t mask;
    coil__distinct_entry small[16];
} coil__distinct;

/* For at most @n awaitables. -ENOMEM. */
int coil__distinct_init(coil__distinct *d, size_t n);
void coil__distinct_fini(coil__distinct *d);

/* The index under which the same awaitable was given before, or @index, under which it is known from now on. */
size_t coil__distinct_add(coil__distinct *d, const coil_awaitable *aw, size_t index);

/* Drops coroutines that nobody took, each object once. */
void coil__awaitables_drop(const coil_awaitable *aws, size_t n);

#endif
