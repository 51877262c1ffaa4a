/*
 * follower.c - see follower.h
 *
 * I1 the list is the facade's; its nodes are touched under shared_latch only; `joined` by its maker and its end
 */
#include "follower.h"

#include "future.h"
#include "loop.h"

void coil__follower_join(coil__follower *f, const coil_future *future)
{
    coil_loop *loop = future->loop;
    if (f->joined || future->class == &coil__task_class || !coil__future_pending(future))
        return;
    f->joined = true;
    COIL__GUARD(&loop->shared_latch);
    coil__list_append(&loop->followers, &f->node); /* I1 */
}

void coil__follower_leave(coil__follower *f, coil_loop *loop)
{
    if (!f->joined)
        return;
    COIL__GUARD(&loop->shared_latch);
    coil__node_unlink(&f->node); /* I1 */
}

void coil__followers_cut(coil_loop *loop)
{
    while (!coil__list_empty(&loop->followers)) {
        coil__follower *f = coil_container_of(coil__list_pop(&loop->followers), coil__follower, node);
        f->cut(f);
    }
}
