/*
 * ending.c - see ending.h
 *
 * I1 the list is the facade's; its nodes are touched under shared_latch only; `joined` by its maker and its end
 */
#include "ending.h"

#include "future.h"
#include "loop.h"

void coil__ending_join(coil__ending *e, coil_loop *loop)
{
    if (e->joined)
        return;
    e->joined = true;
    COIL__GUARD(&loop->shared_latch);
    coil__list_append(&loop->endings, &e->node); /* I1 */
}

void coil__ending_follow(coil__ending *e, const coil_future *future)
{
    if (future->class != &coil__task_class && coil__future_pending(future))
        coil__ending_join(e, future->loop);
}

void coil__ending_leave(coil__ending *e, coil_loop *loop)
{
    if (!e->joined)
        return;
    COIL__GUARD(&loop->shared_latch);
    coil__node_unlink(&e->node); /* I1 */
}

void coil__endings_run(coil_loop *loop)
{
    while (!coil__list_empty(&loop->endings)) {
        coil__ending *e = coil_container_of(coil__list_pop(&loop->endings), coil__ending, node);
        e->end(e);
    }
}
