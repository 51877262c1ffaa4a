/*
 * op.c - what both backends share of operations: the system calls, and the bookkeeping around them
 *
 * See op.h for the life of an operation. Called on the thread that runs the loop; in a runtime on any worker.
 */
#define _GNU_SOURCE /* accept4 */
#include "op.h"

#include <coil/errno.h>
#include <coil/runtime.h>
#include <poll.h>

void coil__backend_init(coil__backend *b, const coil__backend_ops *ops, int ring_mode)
{
    b->ops = ops;
    b->shared = ring_mode == COIL_RING_SHARED;
    coil__latch_init(&b->latch);
    coil__list_init(&b->done);
    coil__list_init(&b->asked);
}

/* --- submitting, cancelling ----------------------------------------------------------------------------------- */

void coil__op_init(struct coil__op *op, enum coil__op_kind kind, int fd, const coil__handle_ops *ops)
{
    *op = (struct coil__op){.fd = fd, .kind = (uint8_t)kind};
    coil__handle_init(&op->handle, ops);
    coil__node_init(&op->flight);
    coil__node_init(&op->asked);
}

void coil__op_submit(coil_loop *loop, struct coil__op *op)
{
    coil_loop *here = coil__here(loop);
    coil_debug_assert(!op->in_flight);
    op->home = here;
    here->backend->ops->submit(here->backend, op);
}

/* The home's latch is held: whether somebody has still to see to the cancellation of @op. */
static bool mark_cancelled(struct coil__op *op)
{
    if (!op->in_flight || op->cancelled)
        return false;
    op->cancelled = true;
    return true;
}

static void cancel_here(coil__backend *b, struct coil__op *op)
{
    COIL__GUARD(&b->latch);
    if (mark_cancelled(op))
        b->ops->cancel(b, op);
}

/*
 * Leaves the cancellation to the home; true if that has to be woken. A home that is being closed cancels
 * everything anyway.
 */
static bool ask_home(coil_loop *home, struct coil__op *op)
{
    COIL__GUARD(&home->backend_latch);
    coil__backend *b = home->backend;
    if (!b)
        return false;
    COIL__GUARD(&b->latch);
    if (!mark_cancelled(op))
        return false;
    coil__list_append(&b->asked, &op->asked);
    return true;
}

void coil__op_cancel(coil_loop *loop, struct coil__op *op)
{
    if (coil_likely(!loop->parallel)) {
        if (op->in_flight)
            cancel_here(loop->backend, op);
        return;
    }
    coil_loop *home = op->home;
    if (!home)
        return; /* it was never submitted */
    if (home == coil__current()->loop)
        cancel_here(home->backend, op);
    else if (ask_home(home, op))
        coil__loop_notify(home);
}

/* --- for backends --------------------------------------------------------------------------------------------- */

static void count_in_flight(coil__backend *b, size_t more, size_t fewer)
{
    store_relaxed(&b->in_flight, load_relaxed(&b->in_flight) + more - fewer); /* [BACKEND-1] under the latch */
}

void coil__op_begin(coil__backend *b, struct coil__op *op)
{
    op->in_flight = true;
    op->cancelled = op->cancelling = op->answered = op->postponed = op->started = op->polling = false;
    count_in_flight(b, 1, 0);
    coil__backend_count(&b->counters.submissions, 1);
}

void coil__op_complete(coil__backend *b, struct coil__op *op, int res)
{
    coil_debug_assert(op->in_flight);
    op->in_flight = op->postponed = false;
    op->res = res == -ECANCELED && !op->cancelled ? COIL_ECLOSED : res; /* I2 */
    coil__node_unlink(&op->flight);
    coil__node_unlink(&op->asked);
    coil__node_unlink(&op->handle.node); /* it may have been about to be asked for again */
    coil__list_append(&b->done, &op->handle.node);
    b->done_count++;
}

void coil__op_cancel_asked(coil__backend *b)
{
    coil__list now;
    coil__list_init(&now);
    coil__list_splice(&now, &b->asked);
    while (!coil__list_empty(&now))
        b->ops->cancel(b, coil_container_of(coil__list_pop(&now), struct coil__op, asked));
}

size_t coil__op_deliver(coil__backend *b, coil__list *ready)
{
    size_t n = b->done_count;
    if (n == 0)
        return 0;
    coil__list_splice(ready, &b->done);
    count_in_flight(b, 0, n);
    coil__backend_count(&b->counters.completions, n);
    b->done_count = 0;
    return n;
}

/* --- system calls --------------------------------------------------------------------------------------------- */

short coil__op_events(const struct coil__op *op)
{
    switch (op->kind) {
    case COIL__OP_POLL:
        return op->events;
    case COIL__OP_CONNECT:
    case COIL__OP_SEND:
        return POLLOUT;
    default:
        return POLLIN;
    }
}

/* How a connection that was begun has ended: -EAGAIN while it has not. */
static int connect_result(struct coil__op *op)
{
    struct pollfd p = {.fd = op->fd, .events = POLLOUT};
    int n = poll(&p, 1, 0);
    if (n <= 0)
        return n == 0 ? -EAGAIN : -errno;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

static int try_connect(struct coil__op *op)
{
    if (op->started)
        return connect_result(op);
    if (connect(op->fd, op->data, (socklen_t)op->bytes) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -errno;
    op->started = true;
    return -EAGAIN;
}

static int try_poll(struct coil__op *op)
{
    struct pollfd p = {.fd = op->fd, .events = op->events};
    int n = poll(&p, 1, 0);
    if (n < 0)
        return -errno;
    return n == 0 ? -EAGAIN : p.revents;
}

static ssize_t try_once(struct coil__op *op)
{
    switch (op->kind) {
    case COIL__OP_ACCEPT:
        return accept4(op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    case COIL__OP_RECV:
        return recv(op->fd, op->data, op->bytes, MSG_DONTWAIT);
    default:
        return send(op->fd, op->data, op->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

int coil__op_try(struct coil__op *op)
{
    if (op->kind == COIL__OP_CONNECT)
        return try_connect(op);
    if (op->kind == COIL__OP_POLL)
        return try_poll(op);
    for (;;) {
        ssize_t n = try_once(op);
        if (n >= 0)
            return (int)n;
        if (errno != EINTR)
            return -errno;
    }
}
