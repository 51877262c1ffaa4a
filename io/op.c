/*
 * op.c - what both backends share of operations: the system calls, and the bookkeeping around them
 *
 * See op.h for the life of an operation. Called on the thread that runs the loop.
 */
#define _GNU_SOURCE /* accept4 */
#include "op.h"

#include <poll.h>

void coil__op_init(struct coil__op *op, enum coil__op_kind kind, int fd, const coil__handle_ops *ops)
{
    *op = (struct coil__op){.fd = fd, .kind = (uint8_t)kind};
    coil__handle_init(&op->handle, ops);
    coil__node_init(&op->flight);
}

void coil__op_submit(coil_loop *loop, struct coil__op *op)
{
    coil_debug_assert(!op->in_flight);
    loop->backend->ops->submit(loop->backend, op);
}

void coil__op_cancel(coil_loop *loop, struct coil__op *op)
{
    if (!op->in_flight || op->cancelled)
        return;
    op->cancelled = true;
    loop->backend->ops->cancel(loop->backend, op);
}

void coil__op_begin(coil__backend *b, struct coil__op *op)
{
    op->in_flight = true;
    op->cancelled = op->cancelling = op->answered = op->started = op->polling = false;
    b->in_flight++;
    b->counters.submissions++;
}

void coil__op_complete(coil__backend *b, struct coil__op *op, int res)
{
    coil_debug_assert(op->in_flight);
    op->in_flight = false;
    op->res = res == -ECANCELED && !op->cancelled ? COIL_ECLOSED : res; /* I2 */
    coil__node_unlink(&op->flight);
    coil__node_unlink(&op->handle.node); /* it may have been about to be asked for again */
    coil__list_append(&b->done, &op->handle.node);
    b->done_count++;
}

void coil__op_deliver(coil__backend *b, coil__list *ready)
{
    coil__list_splice(ready, &b->done);
    b->in_flight -= b->done_count;
    b->counters.completions += b->done_count;
    b->done_count = 0;
}

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
