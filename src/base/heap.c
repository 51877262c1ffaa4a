/*
 * heap.c - the timers' priority queue (heap.h has the invariants)
 *
 * Called on the loop's thread. Four children a node: half the depth of a binary heap, and the children share a cache
 * line. Source: D. B. Johnson, "Priority queues with update and finding minimum spanning trees", 1975 (d-heaps).
 */
#include "heap.h"

#include "alloc.h"

enum { CHILDREN = 4, FIRST_CAPACITY = 16 };

static bool before(const coil__heap_entry *a, const coil__heap_entry *b)
{
    if (a->when != b->when)
        return a->when < b->when;
    return a->slot->sequence < b->slot->sequence;
}

static void place(coil__timer_heap *h, uint32_t i, coil__heap_entry e)
{
    h->entries[i] = e;
    e.slot->index = i; /* I1 */
}

/* Moves @e up from the hole at @i to where it belongs. */
static void sift_up(coil__timer_heap *h, uint32_t i, coil__heap_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / CHILDREN;
        if (!before(&e, &h->entries[parent]))
            break;
        place(h, i, h->entries[parent]);
        i = parent;
    }
    place(h, i, e);
}

static uint32_t least_child(const coil__timer_heap *h, uint64_t first)
{
    uint64_t end = first + CHILDREN < h->count ? first + CHILDREN : h->count;
    uint64_t best = first;
    for (uint64_t i = first + 1; i < end; i++)
        if (before(&h->entries[i], &h->entries[best]))
            best = i;
    return (uint32_t)best;
}

/* Moves @e down from the hole at @i to where it belongs. */
static void sift_down(coil__timer_heap *h, uint32_t i, coil__heap_entry e)
{
    for (;;) {
        uint64_t first = (uint64_t)i * CHILDREN + 1;
        if (first >= h->count)
            break;
        uint32_t child = least_child(h, first);
        if (!before(&h->entries[child], &e))
            break;
        place(h, i, h->entries[child]);
        i = child;
    }
    place(h, i, e);
}

static int grow(coil__timer_heap *h)
{
    uint32_t capacity = h->capacity ? h->capacity * 2 : FIRST_CAPACITY;
    if (capacity < h->capacity)
        return -ENOMEM; /* 2^32 timers */
    coil__heap_entry *entries = coil__realloc(h->entries, capacity * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    h->entries = entries;
    h->capacity = capacity;
    return 0;
}

int coil__heap_push(coil__timer_heap *h, coil__heap_slot *slot)
{
    if (h->count == h->capacity && grow(h) < 0)
        return -ENOMEM;
    sift_up(h, h->count++, (coil__heap_entry){slot->when, slot});
    return 0;
}

void coil__heap_remove(coil__timer_heap *h, coil__heap_slot *slot)
{
    uint32_t i = slot->index;
    coil_assert(i < h->count);
    coil_debug_assert(h->entries[i].slot == slot); /* I1 */
    slot->index = COIL_HEAP_NONE;
    coil__heap_entry last = h->entries[--h->count];
    if (last.slot == slot)
        return;
    if (i > 0 && before(&last, &h->entries[(i - 1) / CHILDREN]))
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
}

void coil__heap_fini(coil__timer_heap *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        h->entries[i].slot->index = COIL_HEAP_NONE;
    coil__free(h->entries);
    *h = (coil__timer_heap){0};
}

void coil__heap_verify(const coil__timer_heap *h)
{
    coil_assert(h->count <= h->capacity);
    for (uint32_t i = 0; i < h->count; i++) {
        const coil__heap_entry *e = &h->entries[i];
        coil_assert(e->slot->index == i);       /* I1 */
        coil_assert(e->when == e->slot->when);  /* I1 */
        coil_assert(i == 0 || !before(e, &h->entries[(i - 1) / CHILDREN])); /* I2 */
    }
}
