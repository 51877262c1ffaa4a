/*
 * place.h - where tasks that can run go: the table that sched/place.c implements
 *
 * A loop of its own has no table: its tasks' steps stand in the FIFO of ready handles, as asyncio has it. A worker's loop
 * has one. If there are several workers, the steps of its tasks go to the worker's run queues, from where other workers may take
 * them, and everything else that is ready (callbacks, completions, timers, steps of pinned tasks) stays in the worker's FIFO. A
 * single worker keeps steps in its FIFO too, but for tasks that have not started (coil_loop.fresh).
 *
 * Between its suspension and its next step a task belongs to exactly one of: the worker that is switching away from it
 * (coil_loop.leaving), the future that it awaits, a run queue, the worker that runs it. Who suspends does not register
 * itself: the code that runs next on that worker does, from another stack (coil__step_settle in step.c), so that nobody
 * can resume a task whose stack is still in use. That is all the protocol there is: no task has a state word.
 */
#ifndef COIL_PLACE_H
#define COIL_PLACE_H

#include "loop.h"
#include "task.h"

struct coil__place {
    /* Of several workers, all that follows up to quiet(). */
    /* On a worker: a task that has not started, that was woken, that lets others go first. It can be taken at once. */
    void (*spawned)(coil_loop *here, coil__task *t);
    void (*woken)(coil_loop *here, coil__task *t);
    void (*yielded)(coil_loop *here, coil__task *t);
    /* On a thread that is no worker of this runtime. */
    void (*injected)(coil_loop *facade, coil__task *t);
    /* The task to run now instead of going back to the main stack, taken out of its queue; NULL: go back. */
    coil__task *(*next)(coil_loop *here);
    /* On the main stack: runs tasks until there is none, or it is time to look at the kernel. */
    void (*run)(coil_loop *here);
    /* On the main stack, whether a task is waiting to be run here. */
    bool (*busy)(coil_loop *here);
    /* On the main stack, with nothing to run: takes a task from elsewhere, or sleeps. */
    void (*idle)(coil_loop *here);
    /* About to sleep, with `parked` set: whether there is work after all, since all workers sleep and the clock was moved. */
    bool (*quiet)(coil_loop *here);
    /* Of any worker. Its thread is about to wait in the kernel, and has waited. */
    void (*sleeps)(coil_loop *here);
    void (*rises)(coil_loop *here);
    /* The thread begins to run the loop. */
    void (*entered)(coil_loop *here);
    /* The thread does not run the loop any more, for now or for ever. */
    void (*left)(coil_loop *here);
    /* The facade is being closed: ends the other workers. It is a loop of its own from then on, with what was theirs. */
    void (*close)(coil_loop *facade);
};

#endif
