/*
 * follower.h - futures that follow others: gather, shield, as_completed
 *
 * Who follows a future holds it, and its callback among the future's holds the follower. If that future is a plain
 * one which never completes, and nobody else has either of them, the two keep each other, and with them their loop. A
 * garbage collector finds that; here the followers of futures that are no tasks (which end with their loop at the
 * latest) are in a list of the loop's, and are cut off when it is freed. Called on any worker; cut by the thread that
 * frees the loop, when it is alone.
 */
#ifndef COIL_FOLLOWER_H
#define COIL_FOLLOWER_H

#include "base/list.h"

typedef struct coil__follower {
    coil__node node;
    bool joined; /* it was put into the list */
    void (*cut)(struct coil__follower *f); /* takes the callbacks out and releases what they hold; @f may go */
} coil__follower;

static inline void coil__follower_init(coil__follower *f, void (*cut)(coil__follower *f))
{
    coil__node_init(&f->node);
    f->joined = false;
    f->cut = cut;
}

/* It follows @future, if that needs it. Any number of times. */
void coil__follower_join(coil__follower *f, const coil_future *future);

/* Before it is freed. @loop: its future's. */
void coil__follower_leave(coil__follower *f, coil_loop *loop);

void coil__followers_cut(coil_loop *loop);

#endif
