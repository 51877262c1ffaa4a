/*
 * ending.h - what ends with its loop at the latest, if nothing else ends it before
 *
 *   gather, shield, as_completed   Who follows a future holds it, and its callback among the future's holds the follower. If
 *                                  that future is a plain one which never completes, and nobody else has either of them, the
 *                                  two keep each other, and with them their loop. A garbage collector finds that
 *   transports of a server         which belong to nobody but their connection, and hold the loop while that lasts
 *
 * They are in a list of the loop's, and ended when it is freed, after its tasks. Called on any worker; ended by the thread that
 * frees the loop, when it is alone.
 */
#ifndef COIL_ENDING_H
#define COIL_ENDING_H

#include "base/list.h"

typedef struct coil__ending {
    coil__node node;
    bool joined; /* it was put into the list */
    void (*end)(struct coil__ending *e); /* releases what it holds; @e may go */
} coil__ending;

static inline void coil__ending_init(coil__ending *e, void (*end)(coil__ending *e))
{
    coil__node_init(&e->node);
    e->joined = false;
    e->end = end;
}

/* Any number of times. @loop: the facade. */
void coil__ending_join(coil__ending *e, coil_loop *loop);

/* The same for who follows @future, if that may never complete: tasks end with their loop anyway. */
void coil__ending_follow(coil__ending *e, const coil_future *future);

/* Before it is freed. */
void coil__ending_leave(coil__ending *e, coil_loop *loop);

void coil__endings_run(coil_loop *loop);

#endif
