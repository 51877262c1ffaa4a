/*
 * heap.h - the timers' priority queue: a 4-ary heap ordered by (when, sequence)
 *
 * Entries hold the deadline, so that sifting reads the heap's own memory; owners know their place (slot.index), so that
 * any of them can be taken out in O(log n). Equal deadlines are ordered by the owner's sequence number. Used by the
 * thread that runs the loop.
 *
 * I1 entries[i].slot->index == i and entries[i].when == entries[i].slot->when, for all i < count
 * I2 no entry is before its parent, (i - 1) / 4
 */
#ifndef COIL_BASE_HEAP_H
#define COIL_BASE_HEAP_H

#include "assert.h"

#define COIL_HEAP_NONE UINT32_MAX

typedef struct coil__heap_slot {
    int64_t when;      /* this and sequence must not change while in the heap */
    uint64_t sequence; /* the owner's; orders equal deadlines */
    uint32_t index;    /* COIL_HEAP_NONE: not in the heap */
} coil__heap_slot;

typedef struct coil__heap_entry {
    int64_t when;
    coil__heap_slot *slot;
} coil__heap_entry;

typedef struct coil__timer_heap {
    coil__heap_entry *entries; /* owned; entries[0] is the first to leave */
    uint32_t count, capacity;
} coil__timer_heap;

int coil__heap_push(coil__timer_heap *h, coil__heap_slot *slot); /* slot->when and sequence are set; -ENOMEM */
void coil__heap_remove(coil__timer_heap *h, coil__heap_slot *slot);
void coil__heap_fini(coil__timer_heap *h);

/* Aborts if an invariant does not hold. For tests. */
void coil__heap_verify(const coil__timer_heap *h);

#endif
