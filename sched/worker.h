/*
 * worker.h - workers: threads with a loop and run queues; the runtime that they make up
 *
 * A worker's tasks wait in three places, which are looked at in this order:
 *
 *   next    what was woken last by what runs here: its data is warm. At most COIL_NEXT_MAX times in a row
 *   woken   what was woken before, or let others go first: oldest first
 *   fresh   what has not started: newest first, so that a tree of tasks is walked in depth, and memory follows its depth
 *
 * and after them in the queue that all workers share. So that nothing waits for ever, a quantum begins with the shared queue, and
 * then, if the last one came to nothing in `fresh`, or it is its turn, with the oldest there. (Not more often: it leaves the tree
 * that is being walked, and another branch lies about half done.) Thieves take the older half of `woken`, then of `fresh`, and `next`
 * only if there is nothing else anywhere.
 *
 * I1 all fields without another note are the worker's own thread's
 * I2 a task is in one of the places only; whoever takes it out owns it
 * I3 `searching` is what the idle word counts this worker as; it is false while anything runs
 */
#ifndef COIL_SCHED_WORKER_H
#define COIL_SCHED_WORKER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* CPU sets */
#endif
#include <coil/runtime.h>
#include <pthread.h>
#include <sched.h>

#include "deque.h"
#include "idle.h"
#include "inject.h"
#include "runq.h"
#include "watchdog.h"

#include "../src/place.h"

enum {
    COIL_NEXT_MAX = 3,
    COIL_STEAL_MAX = 32,     /* of `fresh`, at a time */
    COIL_OLDEST_EVERY = 256, /* quanta */
    COIL_CLOCK_EVERY = 16,   /* steps between looks at the clock */
    COIL_SPIN_MIN = 4,       /* at least */
    COIL_SPIN_MAX = 64,      /* looks at the others' queues before a worker parks */
    COIL_QUANTUM_NS = 100 * 1000,
};

typedef struct coil__worker {
    coil_loop *loop;
    struct coil_runtime *runtime;
    unsigned number;
    pthread_t thread;          /* of all but number 0 */
    int started;               /* what the thread's start came to */
    coil_error *start_error;   /* why it failed; owned until it is raised */
    uint32_t tick;             /* tasks taken */
    uint32_t next_uses;        /* in a row */
    uint32_t rounds;           /* quanta */
    bool fresh_ran;            /* something of `fresh` has begun in this quantum */
    uint32_t random;
    uint32_t spins;            /* how many looks were worth it lately */
    bool searching;            /* I3 */
    bool unannounced;          /* the step has put something into `fresh`, and told others at a glance only (place.c) */
    int64_t quantum_end;
    coil__watched watched;
    /* Read by others: [WS-1] relaxed, statistics and hints; one writer. */
    alignas(64) _Atomic uint64_t steals;
    _Atomic uint64_t searches, parks, rises, overflows, stalls;
    /* Any worker. */
    alignas(64) _Atomic(coil__task *) next;
    coil__runq woken;
    coil__deque fresh;
} coil__worker;

struct coil_runtime {
    coil_runtime_options options;
    struct coil_runner *runner;
    coil_loop *facade;
    coil_loop **loops;
    coil__worker *workers;
    unsigned count, running; /* workers; threads that were started and not joined */
    coil__idle idle;
    coil__inject inject;
    coil__watchdog watchdog;
    cpu_set_t cpus;              /* that the thread which made the runtime could use */
    pthread_mutex_t clock_mutex; /* held by who moves a clock that is not the system's */
    pthread_mutex_t start_mutex; /* guards workers[].started, left, closing */
    pthread_cond_t start_changed;
    unsigned left;               /* workers whose threads run nothing any more */
    unsigned closing;            /* the last worker whose turn it is to close */
};

static inline coil__worker *coil__worker_of(coil_loop *here)
{
    return here->worker;
}

static inline coil__task *coil__task_of_step(coil__node *n)
{
    return coil_container_of(coil__handle_of_node(n), coil__task, step);
}

extern const struct coil__place coil__workers_place;

void coil__worker_init(coil__worker *w, struct coil_runtime *rt, unsigned number);

/* Adds to a count that only this thread writes. */
static inline void coil__worker_add(_Atomic uint64_t *counter, uint64_t n)
{
    store_relaxed(counter, load_relaxed(counter) + n); /* [WS-1] */
}

/* The body of every worker's thread but that of number 0. */
void *coil__worker_main(void *worker);

/* Puts a task where the owner finds it after `next`, and others too. Worker's own thread. */
void coil__worker_push_woken(coil__worker *w, coil__task *t);

/* Takes a task that has waited for long; NULL: there is none. */
coil__task *coil__worker_take_neglected(coil__worker *w);

/* Takes the task to run next from the worker's own places and the shared queue; NULL: there is none. */
coil__task *coil__worker_take(coil__worker *w);

/* Takes from others, as a searching worker. NULL: there was nothing. */
coil__task *coil__worker_steal(coil__worker *w);

/*
 * Takes what the kernel has completed for workers that have begun nothing new since their @beats were noted. True if there was
 * something: it is in the FIFO of this worker's loop.
 */
bool coil__worker_rescue_others(coil__worker *w, const uint64_t *beats);

/* Any thread: whether the kernel has completed something for @w that others could take. */
bool coil__worker_needs_rescue(coil__worker *w);

/* Whether something waits in the worker's own places. Any worker. */
bool coil__worker_has_tasks(const coil__worker *w);

/* Whether there is anything that this worker could take, here or elsewhere. */
bool coil__worker_sees_work(const coil__worker *w);

/* The facade is being closed: all workers but this thread end; what was theirs becomes the facade's. */
void coil__runtime_end_workers(coil_loop *facade);

/* Wakes a parked worker if that is of use: there is work that it can take. Any thread. */
void coil__runtime_wake_one(struct coil_runtime *rt);

#endif
