/*
 * refs.h - a count of references that costs no locked instruction while no runtime has several workers
 *
 * Embedded in objects that calls and callbacks share: whoever gives the last reference back frees the object. As with
 * latches, an object belongs to one thread as long as coil__parallel is 0, or to a loop of its own.
 */
#ifndef COIL_BASE_REFS_H
#define COIL_BASE_REFS_H

#include "latch.h"

typedef struct coil__refs {
    _Atomic size_t count;
} coil__refs;

static inline void coil__refs_init(coil__refs *r, size_t count)
{
    store_relaxed(&r->count, count); /* [REFS-1] not shared yet */
}

/* [REFS-1] relaxed for more, since the caller has one; acq_rel for less: all use is over before the last one frees. */
static inline void coil__refs_take(coil__refs *r)
{
    if (coil__is_parallel())
        fetch_add_relaxed(&r->count, 1); /* [REFS-1] */
    else
        store_relaxed(&r->count, load_relaxed(&r->count) + 1); /* [REFS-1] one thread */
}

/* True: it was the last. */
static inline bool coil__refs_drop(coil__refs *r)
{
    if (coil__is_parallel())
        return fetch_sub_acq_rel(&r->count, 1) == 1; /* [REFS-1] */
    size_t left = load_relaxed(&r->count) - 1; /* [REFS-1] one thread */
    store_relaxed(&r->count, left);
    return left == 0;
}

#endif
