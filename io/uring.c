/*
 * uring.c - the io_uring backend
 *
 * One ring per loop: SINGLE_ISSUER | DEFER_TASKRUN, so that completions are made when the loop asks for them,
 * by the thread that set the ring up. Requests are prepared by submit() and go to the kernel with the next
 * wait(), all in one io_uring_enter(2), which is also what waits, with the deadline as its argument. A
 * multishot poll watches the eventfd that other threads write; it reports every write, so nobody reads it.
 *
 * I1 an operation completes when the kernel has answered both its request and, if there is one, the request to
 *    cancel it: until then its address may come back as user data
 * I2 only the thread that made the ring may enter it (the kernel says EEXIST to others). Outside an enter nothing
 *    runs in a DEFER_TASKRUN ring: an operation has either completed visibly or not touched its buffer, which is
 *    why operations can be moved to a new ring when another thread takes the loop over
 * I3 a wake-up that was seen outside the enter of a wait ends the next wait
 *
 * Source: io_uring_setup(2), io_uring_enter(2), io_uring_cancelation(7).
 */
#include "uring.h"

#include <poll.h>
#include <unistd.h>

#include "uring_compat.h"

#include "../src/base/alloc.h"

#define SQ_ENTRIES 1024u
#define CQ_ENTRIES 4096u
#define BYTES_MAX ((size_t)1 << 30) /* of one request, whose length has 32 bits */

/* User data: an operation's address, the same with bit 0 set for the request that cancels it, or: */
#define WAKE_DATA 2u
#define NOBODY_DATA 0u
#define CANCEL_BIT 1u

typedef struct uring {
    coil__backend base;
    struct io_uring ring;
    coil__list flight;   /* operations in the kernel's hands */
    coil__list again;    /* operations to be submitted anew: the kernel said EAGAIN instead of waiting */
    unsigned enter_flags;
    int wake_fd;
    bool woken; /* I3 */
} uring;

static inline uring *uring_of(coil__backend *b)
{
    return coil_container_of(b, uring, base);
}

static void take_answers(uring *u);

/* --- entering the kernel -------------------------------------------------------------------------------------- */

/* One io_uring_enter: submits, waits for @min completions for at most @timeout_ns. What a retry mends is no error. */
static int enter(uring *u, unsigned min, int64_t timeout_ns)
{
    unsigned submit = coil__uring_flush(&u->ring);
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_getevents_arg arg = {.ts = timeout_ns == COIL_FOREVER ? 0 : (uint64_t)(uintptr_t)&ts};
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | u->enter_flags;
    u->base.counters.kernel_waits++;
    int rc = io_uring_enter2((unsigned)u->ring.ring_fd, submit, min, flags, (sigset_t *)(void *)&arg, sizeof arg);
    switch (rc) {
    case -ETIME:
    case -EINTR:
    case -EAGAIN: /* no memory for a request just now */
    case -EBUSY:  /* completions must be taken first */
        return 0;
    default:
        return rc < 0 ? rc : 0;
    }
}

/* Room for a request. NULL if the kernel does not take those that are waiting. */
static struct io_uring_sqe *get_sqe(uring *u)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
        if (sqe)
            return sqe;
        if (enter(u, 0, 0) < 0)
            return NULL;
        take_answers(u);
    }
    return NULL;
}

/* --- requests ------------------------------------------------------------------------------------------------- */

static void prepare(struct io_uring_sqe *sqe, struct coil__op *op)
{
    size_t bytes = op->bytes < BYTES_MAX ? op->bytes : BYTES_MAX;
    switch (op->polling ? COIL__OP_POLL : op->kind) {
    case COIL__OP_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        break;
    case COIL__OP_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->data, (socklen_t)op->bytes);
        break;
    case COIL__OP_RECV:
        io_uring_prep_recv(sqe, op->fd, op->data, bytes, 0);
        if (op->wait_first)
            sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
        break;
    case COIL__OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->data, bytes, MSG_NOSIGNAL);
        break;
    default:
        io_uring_prep_poll_add(sqe, op->fd, (unsigned short)coil__op_events(op));
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

static void push(uring *u, struct coil__op *op)
{
    struct io_uring_sqe *sqe = get_sqe(u);
    if (sqe)
        prepare(sqe, op);
    else
        coil__op_complete(&u->base, op, -ENOMEM);
}

static void push_cancel(uring *u, struct coil__op *op)
{
    struct io_uring_sqe *sqe = get_sqe(u);
    if (!sqe || !op->in_flight) /* making room may have completed it */
        return;
    op->cancelling = true; /* I1 */
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)op, 0);
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)op | CANCEL_BIT);
}

static void uring_submit(coil__backend *b, struct coil__op *op)
{
    uring *u = uring_of(b);
    coil__op_begin(b, op);
    coil__list_append(&u->flight, &op->flight);
    push(u, op);
}

static void uring_cancel(coil__backend *b, struct coil__op *op)
{
    push_cancel(uring_of(b), op);
}

/* Watches the eventfd, emptied first so that what was seen already is not reported again. */
static int arm_wake(uring *u)
{
    uint64_t count;
    ssize_t n = read(u->wake_fd, &count, sizeof count);
    (void)n; /* empty is fine */
    struct io_uring_sqe *sqe = get_sqe(u);
    if (!sqe)
        return -EBUSY;
    io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, WAKE_DATA);
    return 0;
}

/* --- completions ---------------------------------------------------------------------------------------------- */

/*
 * Whether the request has to be made again: after waiting for readiness on its behalf (kernels that do not wait for
 * nonblocking descriptors, and accepts, which fail for want of a descriptor before anybody knocks), or interrupted.
 */
static bool must_retry(struct coil__op *op, int *res)
{
    bool waited = op->polling;
    op->polling = false;
    if (op->cancelled) {
        if (waited && *res >= 0)
            *res = -ECANCELED; /* it was ready, and nothing was done about it */
        return false;
    }
    if (waited && *res >= 0)
        *res = coil__op_try(op);
    if (op->kind == COIL__OP_POLL)
        return *res == -EINTR;
    bool no_descriptor = op->kind == COIL__OP_ACCEPT && (*res == -EMFILE || *res == -ENFILE);
    op->polling = *res == -EAGAIN || *res == -EINTR || (no_descriptor && !waited);
    op->started = op->polling && op->kind == COIL__OP_CONNECT;
    return op->polling;
}

static void op_answered(uring *u, struct coil__op *op, int res)
{
    if (must_retry(op, &res)) {
        coil__list_append(&u->again, &op->handle.node);
        return;
    }
    op->res = res;
    op->answered = true;
    if (!op->cancelling) /* I1 */
        coil__op_complete(&u->base, op, res);
}

static void cancel_answered(uring *u, struct coil__op *op, int res)
{
    op->cancelling = false;
    if (op->answered)
        coil__op_complete(&u->base, op, op->res);
    else if (res < 0) /* it was between two states: ask again */
        coil__list_append(&u->again, &op->handle.node);
}

static void answer(uring *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    if (data == NOBODY_DATA)
        return;
    if (data == WAKE_DATA) {
        u->woken = true; /* I3 */
        if (!(cqe->flags & IORING_CQE_F_MORE))
            (void)arm_wake(u);
        return;
    }
    struct coil__op *op = (struct coil__op *)(uintptr_t)(data & ~(uint64_t)CANCEL_BIT);
    if (data & CANCEL_BIT)
        cancel_answered(u, op, cqe->res);
    else
        op_answered(u, op, cqe->res);
}

/* Takes all visible completions. */
static void take_answers(uring *u)
{
    const struct io_uring_cqe *cqe;
    while ((cqe = coil__uring_first(&u->ring))) {
        struct io_uring_cqe copy = *cqe;
        io_uring_cq_advance(&u->ring, 1); /* before anything that may need room, or take answers itself */
        answer(u, &copy);
    }
}

/*
 * Takes all visible completions; then makes the requests that have to be made again, each once: making room for
 * them may bring the next that has to be, or complete one that is still in the list.
 */
static void reap(uring *u)
{
    coil__list now;
    take_answers(u);
    coil__list_init(&now);
    coil__list_splice(&now, &u->again);
    while (!coil__list_empty(&now)) {
        coil__handle *h = coil__handle_of_node(coil__list_pop(&now));
        struct coil__op *op = coil_container_of(h, struct coil__op, handle);
        if (op->cancelled)
            push_cancel(u, op);
        else
            push(u, op);
    }
}

static int uring_wait(coil__backend *b, int64_t timeout_ns, coil__list *ready)
{
    uring *u = uring_of(b);
    int rc = 0;
    reap(u);
    if (b->done_count > 0 || u->woken || !coil__list_empty(&u->again))
        timeout_ns = 0;
    if (timeout_ns != 0 || coil__uring_prepared(&u->ring) > 0 || coil__uring_needs_enter(&u->ring)) {
        rc = enter(u, timeout_ns != 0, timeout_ns);
        reap(u);
    }
    u->woken = false;
    coil__op_deliver(b, ready);
    return rc;
}

static void uring_forget(coil__backend *b, int fd)
{
    (void)b; /* requests hold files, not descriptors: nothing is remembered of @fd */
    (void)fd;
}

/* --- making, moving, closing ---------------------------------------------------------------------------------- */

static int set_up(uring *u)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
    };
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
    if (rc < 0)
        return rc;
    u->enter_flags = p.features & IORING_FEAT_NO_IOWAIT ? IORING_ENTER_NO_IOWAIT : 0;
    rc = arm_wake(u);
    if (rc == 0)
        rc = enter(u, 0, 0); /* also finds out whether a filter lets us enter */
    if (rc < 0)
        io_uring_queue_exit(&u->ring);
    return rc;
}

/* Whether the calling thread may enter the ring: I2. */
static bool is_owner(uring *u)
{
    return io_uring_enter2((unsigned)u->ring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0) != -EEXIST;
}

/* Makes the request of an operation whose ring is gone once more, on the present one. */
static void move_op(uring *u, struct coil__op *op)
{
    if (op->answered || op->cancelled) {
        coil__op_complete(&u->base, op, op->answered ? op->res : -ECANCELED);
        return;
    }
    op->started = op->polling = op->kind == COIL__OP_CONNECT; /* connecting twice would be EALREADY */
    coil__list_append(&u->flight, &op->flight);
    push(u, op);
}

static int uring_attach(coil__backend *b)
{
    uring *u = uring_of(b);
    if (is_owner(u))
        return 0;
    reap(u);
    struct io_uring old = u->ring;
    int rc = set_up(u);
    if (rc < 0) {
        u->ring = old;
        return rc;
    }
    io_uring_queue_exit(&old);
    coil__list moving;
    coil__list_init(&moving);
    coil__list_splice(&moving, &u->flight);
    while (!coil__list_empty(&moving))
        move_op(u, coil_container_of(coil__list_pop(&moving), struct coil__op, flight));
    return 0;
}

/* Cancels everything and waits for the last answer; repeatedly, since a request can slip between two states. */
static void drain(uring *u)
{
    while (!coil__list_empty(&u->flight)) {
        struct io_uring_sqe *sqe = get_sqe(u);
        if (sqe) {
            io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            io_uring_sqe_set_data64(sqe, NOBODY_DATA);
        }
        if (enter(u, 1, COIL_MS(1)) < 0)
            return;
        reap(u);
    }
}

static void uring_close(coil__backend *b, coil__list *ready)
{
    uring *u = uring_of(b);
    for (coil__node *n = u->flight.head.next; n != &u->flight.head; n = n->next)
        coil_container_of(n, struct coil__op, flight)->cancelled = true;
    reap(u);
    if (is_owner(u))
        drain(u);
    io_uring_queue_exit(&u->ring);
    while (!coil__list_empty(&u->flight)) { /* I2: of a ring that is not ours; it is gone now */
        struct coil__op *op = coil_container_of(coil__list_first(&u->flight), struct coil__op, flight);
        coil__op_complete(b, op, op->answered ? op->res : -ECANCELED);
    }
    coil__op_deliver(b, ready);
    coil__free(u);
}

static const coil__backend_ops uring_ops = {
    .name = "io_uring",
    .wait = uring_wait,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .forget = uring_forget,
    .attach = uring_attach,
    .close = uring_close,
};

int coil__uring_open(int wake_fd, coil__backend **b)
{
    uring *u = coil__calloc(sizeof *u);
    if (!u)
        return -ENOMEM;
    u->base.ops = &uring_ops;
    u->wake_fd = wake_fd;
    coil__list_init(&u->flight);
    coil__list_init(&u->base.done);
    coil__list_init(&u->again);
    int rc = set_up(u);
    if (rc < 0) {
        coil__free(u);
        return rc;
    }
    *b = &u->base;
    return 0;
}
