/*
 * watch.c - callbacks when a descriptor is ready; see coil/watch.h
 *
 * A watch is an operation that waits for readiness, made again after each call; so as with asyncio's selector the callback
 * runs in each iteration in which the descriptor is ready. On the loop's thread; in a runtime a watch stays on the worker that made
 * it, and others may remove it. The facade's shared_latch guards the table and `removed`.
 *
 * I1 a watch is in the loop's table until it is removed, and there until its handle has run or was discarded after that
 *
 * Source: asyncio.selector_events' _add_reader, _remove_reader and _process_events.
 */
#include <coil/watch.h>

#include <coil/errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "op.h"

#include "../src/base/alloc.h"
#include "../src/context.h"

typedef struct watch {
    struct coil__op op;
    coil_loop *loop; /* held */
    coil_callback *fn;
    void *arg;
    coil_context *context; /* owned */
    bool removed;
} watch;

/* By descriptor: its reader and its writer; NULL for none. */
struct coil__watches {
    size_t count; /* descriptors */
    watch *of[][2];
};

/* Held. The place of a watch, if the table is large enough. */
static watch **place_of(coil_loop *loop, int fd, short events)
{
    struct coil__watches *all = loop->watches;
    bool known = all && fd >= 0 && (size_t)fd < all->count;
    return known ? &all->of[fd][events == POLLOUT] : NULL;
}

/* Held. The same, making the table larger; NULL without memory. */
static watch **make_place(coil_loop *loop, int fd, short events)
{
    size_t count = loop->watches ? loop->watches->count : 0;
    if ((size_t)fd >= count) {
        size_t larger = (size_t)fd + 1 > 2 * count ? (size_t)fd + 1 : 2 * count;
        struct coil__watches *all = coil__realloc(loop->watches, sizeof *all + larger * sizeof all->of[0]);
        if (!all)
            return NULL;
        memset(all->of + count, 0, (larger - count) * sizeof all->of[0]);
        all->count = larger;
        loop->watches = all;
    }
    return place_of(loop, fd, events);
}

/* Held. It is in the table no more. */
static void leave_table(watch *w)
{
    watch **place = place_of(w->loop, w->op.fd, w->op.events);
    if (*place == w) /* another one may have taken it */
        *place = NULL;
}

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
        leave_table(w);
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
    leave_table(w);
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

/* Held. Takes the watch out of its place, if there is one: its handle frees it. */
static bool remove_from(watch **place)
{
    watch *w = place ? *place : NULL;
    if (!w)
        return false;
    *place = NULL;
    w->removed = true;
    coil__op_cancel(w->loop, &w->op);
    return true;
}

/* False without memory. */
static bool put(watch *w)
{
    COIL__GUARD(&w->loop->shared_latch);
    watch **place = make_place(w->loop, w->op.fd, w->op.events);
    if (!place)
        return false;
    (void)remove_from(place);
    *place = w;
    arm(w);
    return true;
}

static int add(coil_loop *loop, int fd, short events, coil_callback *fn, void *arg)
{
    COIL_TRY(check(loop, fd));
    if (!coil__loop_is_here(loop) && !coil_loop_is_running(loop)) /* a worker has its own, not the facade's */
        COIL_TRY(coil__loop_open_backend(loop));
    watch *w = new_watch(loop, fd, events, fn, arg);
    if (w && put(w))
        return 0;
    if (w)
        free_watch(w);
    return coil_raise(-ENOMEM, NULL);
}

static bool take_out(coil_loop *loop, int fd, short events)
{
    COIL__GUARD(&loop->shared_latch);
    return remove_from(place_of(loop, fd, events));
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
