/*
 * handle.h - a handle: one entry of a ready queue
 *
 * Handles are embedded in tasks, futures' callbacks, timers and operations. A handle waits in at most one list (a
 * future's callbacks, the ready queue); the same node is used for both, so that completing a future appends all of its
 * callbacks in O(1).
 */
#ifndef COIL_HANDLE_H
#define COIL_HANDLE_H

#include <coil/loop.h>

#include "base/list.h"

typedef struct coil__handle coil__handle;

typedef struct coil__handle_ops {
    /* Runs in the loop's thread, in an iteration. The handle may be freed by it. */
    void (*run)(coil__handle *h);
    /* The handle was dropped without having run (closed loop, freed future): release what it holds. */
    void (*discard)(coil__handle *h);
    const char *what; /* names it in reports */
} coil__handle_ops;

struct coil__handle {
    coil__node node;
    const coil__handle_ops *ops;
    coil_context *context; /* that it runs in; owned by whoever embeds the handle; NULL: the empty one */
};

static inline void coil__handle_init(coil__handle *h, const coil__handle_ops *ops)
{
    coil__node_init(&h->node);
    h->ops = ops;
    h->context = NULL;
}

/* What a handle of call_soon, call_later or call_at calls; NULL if it is another kind of handle. */
coil_callback *coil__handle_callback(const coil__handle *h);

#define coil__handle_of_node(n) coil_container_of(n, coil__handle, node)

#endif
