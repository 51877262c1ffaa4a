/*
 * watch.c - callbacks when a descriptor is ready; see coil/watch.h
 *
 * A watch is an operation that waits for readiness, made again after each call; so as with asyncio's selector the callback
 * runs in each iteration in which the descriptor is ready. On the loop's thread; in a runtime a watch stays on the worker that made
 * it, and others may remove it. The facade's shared_latch guards the list and `removed`.
 *
 * I1 a watch is in the loop's list until it is removed, and there until its handle has run or was discarded after that
 *
 * Source: asyncio.selector_events' _add_reader, _remove_reader and _process_events.
 */
#include <coil/watch.h>

#include <coil/errno.h>
#include <poll.h>
#include <sys/stat.h>

#include "op.h"

#include "../src/base/alloc.h"
#include "../src/context.h"

typedef struct watch {
    struct coil__op op;
    coil__node node; /* I1 */
    coil_loop *loop; /* held */
    coil_callback *fn;
    void *arg;
    coil_context *context; /* owned */
    bool removed;
} watch;

static void free_watch(watch *w)
{
    coil_loop *loop = w->loop;
    coil_context_release(w->op.handle.context);
    coil_context_release(w->context);
    coil__free(w);
    coil__loop_unhold(loop);
}

static void arm(watch *w)
{
    w->op.handle.context = w->context ? coil_context_retain(w->context) : NULL; /* each run takes it */
    coil__op_submit(w->loop, &w->op);
}

/* Waits for the next time, unless it is removed or cannot be waited for. False: it is over. */
static bool arm_again(watch *w)
{
    COIL__GUARD(&w->loop->shared_latch);
    if (w->op.res < 0)
        coil__node_unlink(&w->node);
    bool goes_on = !w->removed && w->op.res >= 0;
    if (goes_on)
        arm(w);
    return goes_on;
}

static bool is_removed(watch *w)
{
    COIL__GUARD(&w->loop->shared_latch);
    return w->removed;
}

/* The descriptor is ready, or cannot be polled: that is reported as the callback's failure is. */
static int call(watch *w)
{
    if (w->op.res < 0)
        return coil_raise(w->op.res, "waiting for descriptor %d: %s", w->op.fd, coil_strerror(w->op.res));
    return w->fn(w->arg);
}

static void run_watch(coil__handle *h)
{
    watch *w = coil_container_of(h, watch, op.handle);
    if (!is_removed(w)) {
        int rc = call(w);
        if (rc < 0)
            coil__loop_report_callback(w->loop, rc);
    }
    if (!arm_again(w))
        free_watch(w);
}

/* The loop is closed. */
static void discard_watch(coil__handle *h)
{
    watch *w = coil_container_of(h, watch, op.handle);
    coil__guard guard = coil__guard_enter(&w->loop->shared_latch);
    coil__node_unlink(&w->node);
    coil__guard_leave(&guard);
    free_watch(w);
}

static const coil__handle_ops watch_ops = {run_watch, discard_watch, "watch"};

/* What can be polled. */
static int check(coil_loop *loop, int fd)
{
    struct stat st;
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (fstat(fd, &st) < 0)
        return coil_raise(-errno, "Invalid file descriptor: %d", fd);
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return coil_raise(-EPERM, "descriptor %d is a file, which is always ready", fd);
    return 0;
}

static watch *new_watch(coil_loop *loop, int fd, short events, coil_callback *fn, void *arg)
{
    int rc = 0;
    watch *w = coil__calloc(sizeof *w);
    if (!w)
        return NULL;
    w->context = coil__context_copy_current(&rc);
    if (rc < 0) {
        coil__free(w);
        return NULL;
    }
    coil__op_init(&w->op, COIL__OP_POLL, fd, &watch_ops);
    w->op.events = events;
    w->op.once = true; /* the program closes it when it likes, after having removed this */
    w->loop = loop;
    w->fn = fn;
    w->arg = arg;
    coil__loop_hold(loop);
    return w;
}

/* Held. Takes the watch of @fd out of the list: its handle frees it. */
static bool remove_held(coil_loop *loop, int fd, short events)
{
    coil__list_foreach_safe(&loop->watches, n, next) {
        watch *w = coil_container_of(n, watch, node);
        if (w->op.fd != fd || w->op.events != events)
            continue;
        coil__node_unlink(n);
        w->removed = true;
        coil__op_cancel(loop, &w->op);
        return true;
    }
    return false;
}

static int add(coil_loop *loop, int fd, short events, coil_callback *fn, void *arg)
{
    COIL_TRY(check(loop, fd));
    if (!coil_loop_is_running(loop))
        COIL_TRY(coil__loop_open_backend(loop));
    watch *w = new_watch(loop, fd, events, fn, arg);
    if (!w)
        return coil_raise(-ENOMEM, NULL);
    coil__guard guard = coil__guard_enter(&loop->shared_latch);
    (void)remove_held(loop, fd, events);
    coil__list_append(&loop->watches, &w->node);
    arm(w);
    coil__guard_leave(&guard);
    return 0;
}

static bool take_out(coil_loop *loop, int fd, short events)
{
    COIL__GUARD(&loop->shared_latch);
    return remove_held(loop, fd, events);
}

int coil_loop_add_reader(coil_loop *loop, int fd, coil_callback *fn, void *arg)
{
    return add(loop, fd, POLLIN, fn, arg);
}

bool coil_loop_remove_reader(coil_loop *loop, int fd)
{
    return take_out(loop, fd, POLLIN);
}

int coil_loop_add_writer(coil_loop *loop, int fd, coil_callback *fn, void *arg)
{
    return add(loop, fd, POLLOUT, fn, arg);
}

bool coil_loop_remove_writer(coil_loop *loop, int fd)
{
    return take_out(loop, fd, POLLOUT);
}
