/*
 * stack.h - stacks for coroutines: guarded slabs, recycled hot
 *
 * Stacks of one size are carved from slabs of address space; pages are committed by first touch. Each thread keeps a
 * cache of free stacks, last in first out, so that a stack that was just given back is the next to be used. The
 * struct lies at the high end of the stack itself, in the page that is touched anyway; above it a few unused cache lines,
 * as many as the stack's colour, so that the tops of neighbouring stacks do not compete for one set of the cache.
 *
 *   low                                                                     high
 *   | guard page | ............ usable: base .. top ............ | struct | colour |
 *
 * I1 the guard page faults on any access (MADV_GUARD_INSTALL where that works, else mprotect)
 * I2 a stack is in use by one coroutine, or in one cache, or cold in its slab
 * Stacks may be freed on another thread than they were allocated on.
 */
#ifndef COIL_BASE_STACK_H
#define COIL_BASE_STACK_H

#include "assert.h"

#define COIL_STACK_BYTES_DEFAULT ((size_t)64 * 1024)
#define COIL_STACK_BYTES_MIN ((size_t)16 * 1024)
#define COIL_STACK_BYTES_MAX ((size_t)1 << 30)

struct coil__slab;

typedef struct coil__stack {
    struct coil__stack *next; /* in a cache */
    char *base;               /* lowest usable byte; the guard page ends here */
    char *top;                /* one past the highest usable byte; 16-aligned */
    size_t bytes;             /* with guard and this struct */
    struct coil__slab *slab;  /* that it was carved from */
    uint32_t index;           /* in the slab */
    unsigned valgrind_id;
    void *tsan_fiber;         /* recycled with the stack; NULL in other builds */
    uint32_t tsan_uses;
    void (*overflow_name)(const void *owner, char *buf, size_t size); /* who uses it, for the overflow report;
                                                                         async-signal-safe; NULL: nameless */
    const void *owner;
} coil__stack;

/* What a stack of at least @bytes has: a power of two, guard included; four times as much under sanitizers. */
size_t coil__stack_round(size_t bytes);

/*
 * A stack of coil__stack_round(bytes). NULL without memory or mappings: *reason (unless reason is NULL) is then a static
 * text.
 */
coil__stack *coil__stack_alloc(size_t bytes, const char **reason);

/* Nobody may run on it any more. */
void coil__stack_free(coil__stack *s);

/* Free and alloc in one: a stack whose user has left is to be used again. */
void coil__stack_reuse(coil__stack *s);

/* Gives this thread's cached stacks back to the system (at thread exit, and for tests). */
void coil__stack_cache_clear(void);

/*
 * Makes overflow reports work on the calling thread: an alternate signal stack (unless it has one) and, once per
 * process, a SIGSEGV/SIGBUS handler that chains to what was there. The handler compares the fault's address with
 * *current's guard page, prints "coil: task 'x' overflowed its 64 KiB stack" and lets the process die of the signal.
 * @current: where this thread keeps the stack that it runs on; read by the handler. 0 or -ENOMEM.
 */
int coil__stack_watch_thread(coil__stack *const volatile *current);

/* The alternate stack, if it was coil's, stays until the thread ends. */
void coil__stack_unwatch_thread(void);

/* Whether the program runs under valgrind, as far as that could be told when coil was built. */
bool coil__under_valgrind(void);

/* How guards are made: "MADV_GUARD_INSTALL" or "mprotect". */
const char *coil__stack_guard_kind(void);

#endif
