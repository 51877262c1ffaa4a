/*
 * offload.c - operations of files on the epoll backend: made by a thread of the default executor
 *
 * A regular file is always ready, and blocks all the same. So the system call is a job; the task waits until that has ended,
 * or is withdrawn before it has begun. State table of a job:
 *
 *   QUEUED  -> RUNNING    the executor's thread; it alone uses the call until it has posted `ended`. After that, or when the
 *                         executor's future is done, the call's frame may go
 *   QUEUED  -> WITHDRAWN  the task was cancelled, or its loop is being freed; the job does nothing when its turn comes.
 *                         The call's result is what it was from the beginning, -ECANCELED; it is not touched: the job's
 *                         turn may come at once, and then the waiting call goes on and its frame is gone
 *
 * I1 refs: the future's, and the job's. The future's own references: the waiting call's, and the callback's of the
 *    executor's future, until that has run or was discarded
 *
 * Called on the loop's thread, in a runtime on any worker.
 */
#include "call.h"

#include <coil/executor.h>
#include <semaphore.h>

#include "../src/base/alloc.h"
#include "../src/base/atomic.h"
#include "../src/future.h"
#include "../src/step.h"

enum { QUEUED, RUNNING, WITHDRAWN };

typedef struct offloaded {
    coil_future future;    /* what the task waits for */
    coil__handle returned; /* the callback */
    coil__call *call;
    sem_t ended;           /* for a task that cannot be suspended any more */
    _Atomic int state;     /* [OFFLOAD-1] acq_rel: who has the call */
    _Atomic uint32_t refs; /* I1 */
} offloaded;

static offloaded *offloaded_of(coil_future *f)
{
    return coil_container_of(f, offloaded, future);
}

static void release(offloaded *o)
{
    if (fetch_sub_acq_rel(&o->refs, 1) != 1) /* [OFFLOAD-2] acq_rel: all use is over before the last one frees it */
        return;
    sem_destroy(&o->ended);
    coil__free(o);
}

static bool change(offloaded *o, int from, int to)
{
    return cas_strong_seq_cst(&o->state, &from, to); /* [OFFLOAD-1] at least acq_rel */
}

/* A request to cancel the task. It stays pending in any case. */
static bool refuse_cancel(coil_future *f, coil_error *message)
{
    offloaded *o = offloaded_of(f);
    (void)message;
    if (change(o, QUEUED, WITHDRAWN))
        (void)coil__future_finish(f, NULL, NULL);
    return false;
}

static void free_future(coil_future *f)
{
    coil__future_fini(f);
    release(offloaded_of(f));
}

static const coil__future_class offloaded_class = {.name = "Future", .cancel = refuse_cancel, .free = free_future};

static void run_returned(coil__handle *h)
{
    coil_future *f = &coil_container_of(h, offloaded, returned)->future;
    (void)coil__future_finish(f, NULL, NULL); /* not if it was withdrawn */
    coil_release(f);
}

static void discard_returned(coil__handle *h)
{
    coil_release(&coil_container_of(h, offloaded, returned)->future);
}

static const coil__handle_ops returned_ops = {run_returned, discard_returned, "file operation"};

/* The job. */
static int make(void *arg, void **result)
{
    offloaded *o = arg;
    (void)result;
    if (change(o, QUEUED, RUNNING)) {
        int res = coil__op_try(&o->call->op);
        o->call->op.res = res == -ECANCELED ? COIL_ECLOSED : res; /* I2 of op.h: nobody has asked for that */
        o->call->op.answered = true;
        sem_post(&o->ended);
    }
    release(o);
    return 0;
}

static offloaded *new_offloaded(coil_loop *loop, coil__call *c)
{
    offloaded *o = coil__calloc(sizeof *o);
    if (!o)
        return NULL;
    coil__future_init(&o->future, &offloaded_class, loop);
    coil__handle_init(&o->returned, &returned_ops);
    sem_init(&o->ended, 0, 0);
    store_relaxed(&o->refs, 2);       /* [OFFLOAD-2] not shared yet */
    store_relaxed(&o->state, QUEUED); /* [OFFLOAD-1] the same */
    o->call = c;
    return o;
}

static int submit(coil_loop *loop, offloaded *o)
{
    coil_future *job;
    coil_retain(&o->future); /* I1: the callback's */
    int rc = coil_loop_run_in_executor(loop, NULL, make, o, &job);
    if (rc < 0) {
        coil_release(&o->future);
        release(o); /* there is no job */
        return rc;
    }
    rc = coil__future_add_handle(job, &o->returned);
    coil_release(job);
    return rc;
}

/* The loop is being freed: the frame stays until nobody uses it. */
static void wait_for_thread(offloaded *o)
{
    if (change(o, QUEUED, WITHDRAWN))
        return;
    while (sem_wait(&o->ended) < 0) /* interrupted by a signal */
        ;
}

int coil__call_offload(coil_loop *loop, coil__call *c)
{
    coil__task *t = coil__current()->task;
    int failure = coil__op_injected(loop);
    if (coil_unlikely(failure < 0)) {
        c->op.res = failure;
        return 0;
    }
    offloaded *o = new_offloaded(loop, c);
    if (!o)
        return coil_raise(-ENOMEM, NULL);
    int rc = submit(loop, o);
    if (rc == 0) {
        rc = coil__task_outlast(t, &o->future);
        if (rc < 0)
            wait_for_thread(o);
    }
    coil_release(&o->future);
    return rc;
}
