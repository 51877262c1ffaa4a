/*
 * op.c - what both backends share of operations: the system calls, and the bookkeeping around them
 *
 * See op.h for the life of an operation. Called on the thread that runs the loop; in a runtime on any worker.
 */
#define _GNU_SOURCE /* accept4, statx, preadv2 */
#include "op.h"

#include <coil/errno.h>
#include <coil/runtime.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../src/base/alloc.h"

void coil__backend_init(coil__backend *b, const coil__backend_ops *ops, int ring_mode)
{
    b->ops = ops;
    b->shared = ring_mode == COIL_RING_SHARED;
    coil__latch_init(&b->latch);
    coil__list_init(&b->done);
    coil__list_init(&b->asked);
}

void coil__backend_fini(coil__backend *b)
{
    coil__free(b->scratch);
}

char *coil__backend_scratch(coil_loop *loop)
{
    coil__backend *b = coil__here(loop)->backend;
    if (!b->scratch)
        b->scratch = coil__malloc(COIL__SCRATCH_BYTES);
    return b->scratch;
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
    coil__node_unlink(&op->asked); /* uring.c may have put it there */
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
    op->announced = op->finished = false;
    op->first = op->last = op->taken = COIL__NO_BUFFER;
    count_in_flight(b, 1, 0);
    coil__backend_count(&b->counters.submissions, 1);
}

static void append_done(coil__backend *b, struct coil__op *op)
{
    coil__list_append(&b->done, &op->handle.node);
    b->done_count++;
}

void coil__op_announce(coil__backend *b, struct coil__op *op)
{
    if (op->announced)
        return;
    op->announced = true;
    append_done(b, op);
    count_in_flight(b, 1, 0); /* the handle, besides the operation */
}

/* A ..._MANY has completed: its handle is, or becomes, ready as it does for data. */
static void finish_many(coil__backend *b, struct coil__op *op)
{
    op->finished = true;
    coil__op_announce(b, op);
    count_in_flight(b, 0, 1);
}

void coil__op_complete(coil__backend *b, struct coil__op *op, int res)
{
    coil_debug_assert(op->in_flight);
    op->in_flight = op->postponed = false;
    op->res = res == -ECANCELED && !op->cancelled ? COIL_ECLOSED : res; /* I2 */
    coil__node_unlink(&op->flight);
    coil__node_unlink(&op->asked);
    if (coil__op_is_many(op->kind)) {
        finish_many(b, op);
        return;
    }
    coil__node_unlink(&op->handle.node); /* it may have been about to be asked for again */
    append_done(b, op);
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

/* --- receiving many times ------------------------------------------------------------------------------------- */

/* There is nothing more to take: for now, or because it has completed. */
static int end_of_taking(struct coil__op *op)
{
    op->announced = false;
    if (!op->finished)
        return -EAGAIN;
    op->finished = false;
    return op->res;
}

static void give_back(coil__backend *b, struct coil__op *op)
{
    if (op->taken != COIL__NO_BUFFER)
        b->ops->give(b, op);
    op->taken = COIL__NO_BUFFER;
}

static int take(coil__backend *b, struct coil__op *op, const char **data)
{
    give_back(b, op);
    return op->first != COIL__NO_BUFFER ? (int)b->ops->take(b, op, data) : end_of_taking(op);
}

int coil__op_take(struct coil__op *op, const char **data)
{
    coil__backend *b = op->home->backend;
    COIL__GUARD(&b->latch);
    return take(b, op, data);
}

static bool grow_accepted(coil__accepted *a)
{
    size_t cap = a->cap ? 2 * a->cap : 16;
    int *fds = coil__realloc(a->fds, cap * sizeof *fds);
    if (!fds)
        return false;
    a->fds = fds;
    a->cap = cap;
    return true;
}

void coil__op_accepted(coil__backend *b, struct coil__op *op, int fd)
{
    coil__accepted *a = op->data;
    if (a->count == a->cap && !grow_accepted(a)) {
        close(fd);
        return;
    }
    a->fds[a->count++] = fd;
    coil__op_announce(b, op);
}

int coil__op_take_accepted(struct coil__op *op)
{
    coil__accepted *a = op->data;
    COIL__GUARD(&op->home->backend->latch);
    if (a->first < a->count)
        return a->fds[a->first++];
    a->first = a->count = 0;
    return end_of_taking(op);
}

bool coil__op_rest(struct coil__op *op)
{
    COIL__GUARD(&op->home->backend_latch);
    coil__backend *b = op->home->backend;
    if (!b)
        return false; /* all has completed with it */
    COIL__GUARD(&b->latch);
    give_back(b, op);
    op->announced = false;
    return op->in_flight;
}

bool coil__op_rouse(struct coil__op *op)
{
    COIL__GUARD(&op->home->backend->latch);
    bool was_free = !op->announced;
    op->announced = true;
    return was_free;
}

void coil__op_drop(coil_loop *loop, struct coil__op *op)
{
    const char *data;
    if (op->kind != COIL__OP_RECV_MANY || op->first == COIL__NO_BUFFER)
        return;
    if (op->home != loop && !loop->parallel)
        return; /* of a worker that is gone */
    COIL__GUARD(&op->home->backend_latch);
    coil__backend *b = op->home->backend;
    if (!b)
        return; /* the buffers went with it */
    COIL__GUARD(&b->latch);
    while (take(b, op, &data) > 0)
        ;
}

/* --- system calls --------------------------------------------------------------------------------------------- */

short coil__op_events(const struct coil__op *op)
{
    switch (op->kind) {
    case COIL__OP_POLL:
        return op->events;
    case COIL__OP_CONNECT:
    case COIL__OP_SEND:
    case COIL__OP_SENDMSG:
    case COIL__OP_WRITE:
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

static int stat_file(const struct coil__op *op)
{
    return statx(op->fd, op->data, op->flags, (unsigned)op->bytes, op->more);
}

static ssize_t send_file(const struct coil__op *op)
{
    off_t offset = (off_t)op->offset;
    return sendfile(op->flags, op->fd, &offset, op->bytes);
}

/* Of files. The descriptor of one that is closed is gone even if that was interrupted. */
static ssize_t try_file(const struct coil__op *op)
{
    switch (op->kind) {
    case COIL__OP_FILE_READ:
        return pread(op->fd, op->data, op->bytes, op->offset);
    case COIL__OP_FILE_WRITE:
        return pwrite(op->fd, op->data, op->bytes, op->offset);
    case COIL__OP_FILE_READV:
        return preadv2(op->fd, op->data, (int)op->bytes, op->offset, 0);
    case COIL__OP_FILE_WRITEV:
        return pwritev2(op->fd, op->data, (int)op->bytes, op->offset, 0);
    case COIL__OP_FILE_SYNC:
        return op->flags ? fdatasync(op->fd) : fsync(op->fd);
    case COIL__OP_FILE_OPEN:
        return openat(op->fd, op->data, op->flags, (mode_t)op->bytes);
    case COIL__OP_FILE_CLOSE:
        return close(op->fd) < 0 && errno != EINTR ? -1 : 0;
    case COIL__OP_FILE_SEND:
        return send_file(op);
    case COIL__OP_FILE_TRUNCATE:
        return ftruncate(op->fd, op->offset);
    default:
        return stat_file(op);
    }
}

/*
 * The C library's recv() and send() are points where its threads may be cancelled, which costs them 50 to 75 ns in a process
 * with threads. A sanitizer has to see them, though.
 */
#if defined(COIL_ASAN) || defined(COIL_TSAN)
#define receive_now recv
#define send_now send
#else
static ssize_t receive_now(int fd, void *buf, size_t n, int flags)
{
    return syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL);
}

static ssize_t send_now(int fd, const void *data, size_t n, int flags)
{
    return syscall(SYS_sendto, fd, data, n, flags, NULL, 0);
}
#endif

static ssize_t try_once(const struct coil__op *op)
{
    switch (op->kind) {
    case COIL__OP_ACCEPT:
        return accept4(op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    case COIL__OP_RECV:
        return receive_now(op->fd, op->data, op->bytes, op->flags | MSG_DONTWAIT);
    case COIL__OP_SEND:
        return send_now(op->fd, op->data, op->bytes, op->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    case COIL__OP_RECVMSG:
        return recvmsg(op->fd, op->data, op->flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    case COIL__OP_SENDMSG:
        return sendmsg(op->fd, op->data, op->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    case COIL__OP_READ:
        return read(op->fd, op->data, op->bytes);
    case COIL__OP_WRITE:
        return write(op->fd, op->data, op->bytes);
    default:
        return try_file(op);
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
