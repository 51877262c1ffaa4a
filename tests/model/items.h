/*
 * items.h - what model threads push, take and count: nothing may be lost, nothing taken twice, nothing taken unfinished
 */
#ifndef COIL_MODEL_ITEMS_H
#define COIL_MODEL_ITEMS_H

#include "base/atomic.h"
#include "base/list.h"

#include "model_test.h"

enum { ITEMS = 8 };

typedef struct item {
    coil__node node;
    _Atomic int content; /* a relaxed store, before the item is handed over */
    int taken;
} item;

static item items[ITEMS];
static int made;

static inline void items_reset(void)
{
    made = 0;
    for (int i = 0; i < ITEMS; i++) {
        coil__node_init(&items[i].node);
        store_relaxed(&items[i].content, 0);
        items[i].taken = 0;
    }
}

/* The next item. In one thread only, and in setup(). */
static inline coil__node *make_item(void)
{
    item *it = &items[made++];
    store_relaxed(&it->content, 1);
    return &it->node;
}

static inline void take(coil__node *n)
{
    item *it = (item *)n;
    for (int i = 0; i < ITEMS; i++) {
        if (it == &items[i]) {
            model_assert(load_relaxed(&it->content) == 1);
            it->taken++;
            model_assert(it->taken == 1);
            return;
        }
    }
    model_fail("not an item");
}

static COIL_TEST_UNUSED void take_all(coil__list *chain)
{
    while (!coil__list_empty(chain))
        take(coil__list_pop(chain));
}

/* After everything that is left was taken as well. */
static inline void each_item_was_taken(void)
{
    for (int i = 0; i < made; i++)
        model_assert(items[i].taken == 1);
}

#endif
