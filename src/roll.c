/*
 * roll.c - the tasks of a runtime with several workers that are not done
 *
 * Who may call what, the protocol and I1 to I3 are in roll.h.
 */
#include "roll.h"

#include <string.h>

#include "base/alloc.h"
#include "base/fence.h"
#include "task.h"

#ifndef COIL_ROLL_SLOTS /* of the first chunk; model tests shrink it */
#define COIL_ROLL_SLOTS 256
#endif

struct coil__roll_chunk {
    _Atomic(coil__roll_chunk *) next; /* [ROLL-3] */
    size_t count;
    coil__roll_slot slot[];
};

/* [ROLL-3] release: who looks acquires a chunk with all its slots; the owner, who alone writes, may load relaxed. */
static coil__roll_chunk *add_chunk(coil__roll *roll)
{
    size_t count = roll->capacity ? roll->capacity : COIL_ROLL_SLOTS;
    coil__roll_chunk *chunk = coil__calloc(sizeof *chunk + count * sizeof chunk->slot[0]);
    if (!chunk)
        return NULL;
    chunk->count = count;
    roll->capacity += count;
    store_release(roll->at ? &roll->at->next : &roll->first, chunk); /* [ROLL-3] */
    return chunk;
}

/* After the last chunk comes the first, or a new one. */
static bool go_to_next_chunk(coil__roll *roll)
{
    coil__roll_chunk *next = roll->at ? load_relaxed(&roll->at->next) : NULL; /* [ROLL-3] */
    if (!next) {
        bool enough = roll->at && 2 * roll->found >= roll->capacity;
        next = enough ? load_relaxed(&roll->first) : add_chunk(roll); /* [ROLL-3] */
        roll->found = 0;
    }
    if (!next)
        return false;
    roll->at = next;
    roll->cursor = next->slot;
    roll->end = next->slot + next->count;
    return true;
}

int coil__roll_enter(coil__roll *roll, coil__task *t)
{
    for (;;) {
        if (coil_unlikely(roll->cursor == roll->end) && !go_to_next_chunk(roll))
            return -ENOMEM;
        coil__roll_slot *slot = roll->cursor++;
        if (load_relaxed(slot)) /* [ROLL-1] relaxed: what was there is forgotten */
            continue;
        roll->found++;
        uint64_t entered = load_relaxed(&roll->entered) + 1; /* [ROLL-4] the owner's own */
        t->in_roll.slot = slot;
        t->in_roll.number = entered;
        /* [ROLL-4] before the task can be seen, so before its end is counted; pairs with count_tasks() in task.c. */
        store_relaxed(&roll->entered, entered);
        store_release(slot, t); /* [ROLL-1] release: who looks acquires the task */
        return 0;
    }
}

void coil__roll_leave(coil__task *t, const _Atomic uint32_t *lookers, coil__latch *latch)
{
    store_relaxed(t->in_roll.slot, NULL); /* [ROLL-1] relaxed: hands nothing over */
    coil__node_init(&t->all);             /* in no list */
    coil__fence_light();
    if (coil_likely(load_acquire(lookers) == 0)) /* [ROLL-2] acquire: whoever has looked is through with the task */
        return;
    COIL__GUARD(latch); /* so that this look is over; a later one finds NULL */
}

void coil__roll_begin_look(_Atomic uint32_t *lookers)
{
    store_relaxed(lookers, 1); /* [ROLL-2] relaxed: the fence orders it */
    coil__fence_heavy();
}

void coil__roll_end_look(_Atomic uint32_t *lookers)
{
    store_release(lookers, 0); /* [ROLL-2] */
}

size_t coil__roll_look(const coil__roll *roll, coil_task **tasks, size_t room)
{
    size_t n = 0;
    for (const coil__roll_chunk *c = load_acquire(&roll->first); c; c = load_acquire(&c->next)) { /* [ROLL-3] */
        for (size_t i = 0; i < c->count; i++) {
            coil__task *t = load_acquire(&c->slot[i]); /* [ROLL-1] */
            if (!t || !coil__future_pending(&t->future))
                continue;
            if (n < room)
                tasks[n] = coil_retain(&t->future); /* I3 */
            n++;
        }
    }
    return n;
}

/* --- the end ------------------------------------------------------------------------------------------------------------ */

/* All tasks of the roll, chained, which is left without memory. */
static coil__task *take_all(coil__roll *roll, size_t *n)
{
    coil__task *all = NULL;
    for (coil__roll_chunk *c = load_relaxed(&roll->first), *next; c; c = next) { /* [ROLL-3] one thread is left; and below */
        for (size_t i = 0; i < c->count; i++) {
            coil__task *t = load_relaxed(&c->slot[i]); /* [ROLL-1] */
            if (!t)
                continue;
            t->in_roll.next = all;
            all = t;
            ++*n;
        }
        next = load_relaxed(&c->next);
        coil__free(c);
    }
    memset(roll, 0, sizeof *roll);
    return all;
}

static coil__task *merge(coil__task *a, coil__task *b)
{
    coil__task *first = NULL, **end = &first;
    while (a && b) {
        coil__task **lower = a->in_roll.number < b->in_roll.number ? &a : &b;
        *end = *lower;
        end = &(*lower)->in_roll.next;
        *lower = *end;
    }
    *end = a ? a : b;
    return first;
}

/* The first @n of @rest, which are taken off it, in order. */
static coil__task *sort(coil__task **rest, size_t n)
{
    coil__task *first = *rest;
    if (n == 0)
        return NULL;
    if (n == 1) {
        *rest = first->in_roll.next;
        first->in_roll.next = NULL;
        return first;
    }
    first = sort(rest, n / 2);
    return merge(first, sort(rest, n - n / 2));
}

size_t coil__roll_fold(coil__roll *roll, coil__list *list)
{
    size_t n = 0;
    coil__task *all = take_all(roll, &n);
    for (coil__task *t = sort(&all, n), *next; t; t = next) {
        next = t->in_roll.next;
        coil__list_append(list, &t->all);
    }
    return n;
}
