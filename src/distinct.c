/*
 * distinct.c - see distinct.h
 *
 * I1 at most half of the entries are used, so that probing ends
 */
#include "distinct.h"

#include <string.h>

#include "base/alloc.h"

int coil__distinct_init(coil__distinct *d, size_t n)
{
    size_t size = sizeof d->small / sizeof d->small[0];
    d->entries = d->small;
    while (size / 2 < n) /* I1 */
        size *= 2;
    d->mask = size - 1;
    if (size == sizeof d->small / sizeof d->small[0])
        memset(d->small, 0, sizeof d->small);
    else
        d->entries = coil__calloc(size * sizeof *d->entries);
    return d->entries ? 0 : -ENOMEM;
}

void coil__distinct_fini(coil__distinct *d)
{
    if (d->entries != d->small)
        coil__free(d->entries);
}

static size_t hash(const void *p)
{
    uint64_t x = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u;
    return (size_t)(x >> 32);
}

size_t coil__distinct_add(coil__distinct *d, const coil_awaitable *aw, size_t index)
{
    if (!aw->future && !aw->coro.drop)
        return index; /* has no identity */
    coil__distinct_entry e = {aw->future, NULL, NULL, index + 1};
    if (!aw->future)
        e = (coil__distinct_entry){aw->coro.arg, aw->coro.fn, aw->coro.drop, index + 1};
    for (size_t i = hash(e.object) & d->mask;; i = (i + 1) & d->mask) {
        coil__distinct_entry *x = &d->entries[i];
        if (x->index_plus_one == 0) {
            *x = e;
            return index;
        }
        if (x->object == e.object && x->fn == e.fn && x->drop == e.drop)
            return x->index_plus_one - 1;
    }
}

void coil__awaitables_drop(const coil_awaitable *aws, size_t n)
{
    coil__distinct seen;
    if (coil__distinct_init(&seen, n) < 0)
        return; /* no memory even for that: rather lose them than drop one twice */
    for (size_t i = 0; i < n; i++)
        if (!aws[i].future && coil__distinct_add(&seen, &aws[i], i) == i)
            coil_coro_drop(aws[i].coro);
    coil__distinct_fini(&seen);
}
