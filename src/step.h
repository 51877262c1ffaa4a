/*
 * step.h - how the loop and the tasks pass the processor to each other
 */
#ifndef COIL_STEP_H
#define COIL_STEP_H

#include "loop.h"
#include "place.h"
#include "task.h"

/* Marks a handle as a task's step. */
extern const coil__handle_ops coil__step_ops;

/*
 * If @h is the step of a task that has waited and is going to run: what it was doing is on top of its stack, which is in no cache
 * any more if many others wait as well. Always inline: gcc takes a function that only fetches for one without effect, and drops
 * the call.
 */
static inline __attribute__((always_inline)) void coil__step_fetch(const coil__handle *h)
{
    if (h->ops != &coil__step_ops)
        return;
    const char *top = coil_container_of(h, coil__task, step)->coro.sp;
    for (int line = 0; line < 4; line++)
        __builtin_prefetch(top + 64 * line);
}

/* Tells one step of the loop's tasks from another, for as long as it runs. */
static inline uint32_t coil__step_id(coil_loop *loop)
{
    return (uint32_t)load_relaxed(&coil__here(loop)->handles_run); /* [BEAT-1] */
}

/* Runs one step of @t, and whatever other tasks it hands the processor to, from the main stack. */
void coil__step_run(coil_loop *loop, coil__task *t);

/* The task's must_cancel, which is cleared. */
bool coil__step_take_cancel(coil__task *t);

/*
 * A call that need not wait is about to go on. In a runtime it has used a part of its worker's budget: when that is spent, it
 * lets others go first, so that a task which never has to wait does not keep its worker. 0 or the error thrown in.
 */
int coil__task_spend(coil__task *t);
static inline int coil__task_cooperate(coil__task *t)
{
    coil_loop *loop = t->future.loop;
    if (coil_likely(!loop->place))
        return 0;
    if (coil_unlikely(loop->parallel) || coil_unlikely(loop->budget == 0))
        return coil__task_spend(t);
    loop->budget--;
    return 0;
}

/*
 * Waits for @f, whose cancel function refuses. A request to cancel the task meanwhile stays pending, for the next
 * suspension or coil__task_meet(). 0, or COIL_EGENERATOREXIT when the task's loop is being freed.
 */
int coil__task_outlast(coil__task *t, coil_future *f);

/* Raises what is pending: 0 for nothing. */
int coil__task_meet(coil__task *t);

/* Puts the task that was suspended last on @loop, a worker's, where it belongs: the code that runs next calls it (I3 of loop.h). */
void coil__step_settle(coil_loop *loop);

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
    coil__loop_count(&loop->handles_run);
    return coil__handle_of_node(node);
}

/* A task that has not started, if it is its turn (I5 of loop.h); now and then none, so that the kernel is looked at. */
coil__task *coil__loop_take_fresh(coil_loop *loop);

static inline void coil__loop_begin_snapshot(coil_loop *loop)
{
    coil__loop_count(&loop->iterations);
    loop->last = coil__list_empty(&loop->ready) ? NULL : coil__list_last(&loop->ready);
}

/* Whether the next iteration has nothing to collect, so that it may begin on a task's stack. */
static inline bool coil__loop_nothing_to_collect(coil_loop *loop)
{
    return !coil__list_empty(&loop->ready) && /* first: a closed loop, which has no backend, has none */
           loop->timers.count == 0 && !coil__backend_busy(loop->backend) &&
           !coil__loop_posted(loop) && !coil__loop_stopping(loop);
}

/*
 * The task whose step runs next, if it may run without returning to the main stack: its step is at the front of the ready
 * queue and of the snapshot, or begins the next one; or, on a worker, the next in the run queues once the snapshot is over.
 * It is taken out of its queue. NULL: go back to the main stack.
 */
static inline __attribute__((always_inline)) coil__task *coil__loop_next_task(coil_loop *loop)
{
    if (coil_unlikely(!load_relaxed(&loop->direct))) /* [SET-1] */
        return NULL;
    if (!loop->last) {
        if (coil_unlikely(loop->place != NULL)) {
            coil__task *t = loop->parallel ? loop->place->next(loop) : coil__loop_take_fresh(loop);
            if (t || loop->parallel)
                return t;
        }
        if (!coil__loop_nothing_to_collect(loop))
            return NULL;
        coil__loop_begin_snapshot(loop);
    }
    coil__handle *h = coil__handle_of_node(coil__list_first(&loop->ready));
    if (h->ops != &coil__step_ops)
        return NULL;
    coil__loop_pop(loop);
    return coil_container_of(h, coil__task, step);
}

#endif
