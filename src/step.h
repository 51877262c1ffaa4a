/*
 * step.h - how the loop and the tasks pass the processor to each other
 */
#ifndef COIL_STEP_H
#define COIL_STEP_H

#include "loop.h"
#include "task.h"

/* Marks a handle as a task's step. */
extern const coil__handle_ops coil__step_ops;

/* Tells one step of the loop's tasks from another, for as long as it runs. */
static inline uint32_t coil__step_id(const coil_loop *loop)
{
    return (uint32_t)loop->handles_run;
}

/* Runs one step of @t, and whatever other tasks it hands the processor to, from the main stack. */
void coil__step_run(coil_loop *loop, coil__task *t);

/* The loop is going: ends every task that is not done, raising COIL_EGENERATOREXIT in it. */
void coil__step_unwind_all(coil_loop *loop);

/* Gives the spare stack back: the loop does not run any more. */
void coil__step_drop_spare(coil_loop *loop);

/* Takes the handle at the front of the ready queue, which must not be empty. */
static inline coil__handle *coil__loop_pop(coil_loop *loop)
{
    coil__node *node = coil__list_pop(&loop->ready);
    if (node == loop->last)
        loop->last = NULL; /* I1 of loop.h */
    loop->handles_run++;
    return coil__handle_of_node(node);
}

static inline void coil__loop_begin_snapshot(coil_loop *loop)
{
    loop->iterations++;
    loop->last = coil__list_empty(&loop->ready) ? NULL : coil__list_last(&loop->ready);
}

/* Whether the next iteration has nothing to collect, so that it may begin on a task's stack. */
static inline bool coil__loop_nothing_to_collect(coil_loop *loop)
{
    return !coil__list_empty(&loop->ready) && /* first: a closed loop, which has no backend, has none */
           loop->timers.count == 0 && loop->backend->in_flight == 0 &&
           load_relaxed(&loop->inbox) == NULL && /* [INBOX-2] */
           load_acquire(&loop->stopping) == 0;   /* [STOP-1] */
}

/*
 * The step that is to run next, if it may run without returning to the main stack: it is at the front of the ready queue
 * and of the snapshot, or begins the next one. NULL: go back to the main stack. It stays in the queue until it is popped.
 */
static inline coil__task *coil__loop_next_step(coil_loop *loop)
{
    if (coil_unlikely(!loop->direct))
        return NULL;
    if (!loop->last) {
        if (!coil__loop_nothing_to_collect(loop))
            return NULL;
        coil__loop_begin_snapshot(loop);
    }
    coil__handle *h = coil__handle_of_node(coil__list_first(&loop->ready));
    return h->ops == &coil__step_ops ? coil_container_of(h, coil__task, step) : NULL;
}

#endif
