/*
 * uring.c - the io_uring backend
 *
 * One ring per loop. Requests are prepared by submit() and go to the kernel with the next wait(), all in one
 * io_uring_enter(2), which is also what waits, with the deadline as its argument. A multishot poll watches the
 * eventfd that other threads write; it reports every write, so nobody reads it.
 *
 * Two ways to set the ring up (enum coil_ring_mode), both SINGLE_ISSUER:
 *
 *   defer    DEFER_TASKRUN: completions are made when the loop asks for them, by the thread that set the ring up
 *   shared   COOP_TASKRUN: they become visible by themselves, at the latest at the owner's next timer tick; so that
 *            while it computes another worker can take them (reap_for): the completion queue is read under the
 *            backend's latch
 *
 * All but the entering of the kernel happens under the latch (backend.h).
 *
 * I1 an operation completes when the kernel has answered both its request and, if there is one, the request to
 *    cancel it: until then its address may come back as user data. There is at most one request to cancel it.
 * I2 only the thread that made the ring may enter it (the kernel says EEXIST to others). Outside an enter nothing
 *    runs in a DEFER_TASKRUN ring: an operation has either completed visibly or not touched its buffer, which is
 *    why operations can be moved to a new ring when another thread takes the loop over
 * I3 a wake-up that was seen outside the enter of a wait ends the next wait
 * I4 an operation in `again` is postponed, and the kernel knows nothing of it; no other is
 * I5 I2 does not hold for files, which other threads of the kernel work on: the owner waits for these before it
 *    leaves the loop to another thread
 *
 * Source: io_uring_setup(2), io_uring_enter(2), io_uring_cancelation(7).
 */
#define _GNU_SOURCE /* POLLRDHUP */
#include "uring.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "buffers.h"
#include "features.h"
#include "uring_buffers.h"
#include "uring_compat.h"

#include "../src/base/alloc.h"

#define CQ_ENTRIES 4096u
#define BYTES_MAX ((size_t)1 << 30) /* of one request, whose length has 32 bits */

/* User data: an operation's address, the same with bit 0 set for the request that cancels it, or: */
#define WAKE_DATA 2u
#define NOBODY_DATA 0u
#define CANCEL_BIT 1u

enum knowledge { UNTRIED, KNOWN, REFUSED }; /* what has been refused is not asked for again */

typedef struct uring {
    coil__backend base;
    struct io_uring ring;
    coil__list flight;   /* operations in the kernel's hands */
    coil__list again;    /* operations to be submitted anew: the kernel said EAGAIN instead of waiting. I4 */
    const coil__features *can; /* lent by the process; set up with the ring */
    unsigned enter_flags;
    coil__buffers buffers;
    uint8_t table, regions[COIL__REGIONS_MAX]; /* enum knowledge: of a table of registered memory, and of what is in it */
    size_t files;        /* I5: operations of files in flight */
    int wake_fd;
    bool woken; /* I3 */
    bool deaf;  /* the eventfd is not watched any more */
} uring;

unsigned coil__uring_sq_entries = 1024;

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
    coil__backend_count(&u->base.counters.kernel_waits, 1);
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

/* Makes room for a request. False if the kernel does not take those that are waiting. May complete operations. */
static bool make_room(uring *u)
{
    for (int attempt = 0; io_uring_sq_space_left(&u->ring) == 0; attempt++) {
        if (attempt == 3 || enter(u, 0, 0) < 0)
            return false;
        take_answers(u);
    }
    return true;
}

/* --- requests ------------------------------------------------------------------------------------------------- */

/* Whether the ring knows the memory; it learns of it at its first use. Where that is refused (RLIMIT_MEMLOCK) it does not. */
static bool knows_region(uring *u, const coil_buffers *b)
{
    if (!b)
        return false;
    if (u->table == UNTRIED)
        u->table = io_uring_register_buffers_sparse(&u->ring, COIL__REGIONS_MAX) == 0 ? KNOWN : REFUSED;
    if (u->table == KNOWN && u->regions[b->number] == UNTRIED) {
        struct iovec iov = {.iov_base = b->data, .iov_len = b->bytes};
        __u64 tag = 0;
        int rc = io_uring_register_buffers_update_tag(&u->ring, b->number, &iov, &tag, 1);
        u->regions[b->number] = rc == 1 ? KNOWN : REFUSED;
    }
    return u->regions[b->number] == KNOWN;
}

static void uring_forget_region(coil__backend *b, unsigned number)
{
    uring *u = uring_of(b);
    struct iovec none = {0};
    __u64 tag = 0;
    if (u->regions[number] == KNOWN)
        (void)io_uring_register_buffers_update_tag(&u->ring, number, &none, &tag, 1);
    u->regions[number] = UNTRIED;
}

static void prepare_transfer(uring *u, struct io_uring_sqe *sqe, const struct coil__op *op, unsigned bytes)
{
    const coil_buffers *region = op->more;
    uint64_t offset = (uint64_t)op->offset;
    bool reads = op->kind == COIL__OP_FILE_READ;
    if (!knows_region(u, region)) {
        if (reads)
            io_uring_prep_read(sqe, op->fd, op->data, bytes, offset);
        else
            io_uring_prep_write(sqe, op->fd, op->data, bytes, offset);
    } else if (reads) {
        io_uring_prep_read_fixed(sqe, op->fd, op->data, bytes, offset, (int)region->number);
    } else {
        io_uring_prep_write_fixed(sqe, op->fd, op->data, bytes, offset, (int)region->number);
    }
}

static void prepare_file(struct io_uring_sqe *sqe, const struct coil__op *op, unsigned bytes)
{
    uint64_t offset = (uint64_t)op->offset;
    switch (op->kind) {
    case COIL__OP_FILE_READV:
        io_uring_prep_readv(sqe, op->fd, op->data, bytes, offset);
        break;
    case COIL__OP_FILE_WRITEV:
        io_uring_prep_writev(sqe, op->fd, op->data, bytes, offset);
        break;
    case COIL__OP_FILE_SYNC:
        io_uring_prep_fsync(sqe, op->fd, op->flags ? IORING_FSYNC_DATASYNC : 0);
        break;
    case COIL__OP_FILE_OPEN:
        io_uring_prep_openat(sqe, op->fd, op->data, op->flags, bytes);
        break;
    case COIL__OP_FILE_CLOSE:
        io_uring_prep_close(sqe, op->fd);
        break;
    default:
        io_uring_prep_statx(sqe, op->fd, op->data, op->flags, bytes, op->more);
        break;
    }
}

static void prepare_stream(struct io_uring_sqe *sqe, const struct coil__op *op, unsigned bytes)
{
    switch (op->kind) {
    case COIL__OP_RECV:
        io_uring_prep_recv(sqe, op->fd, op->data, bytes, op->flags);
        break;
    case COIL__OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->data, bytes, op->flags | MSG_NOSIGNAL);
        break;
    case COIL__OP_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->data, (unsigned)op->flags | MSG_CMSG_CLOEXEC);
        break;
    case COIL__OP_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->data, (unsigned)op->flags | MSG_NOSIGNAL);
        break;
    case COIL__OP_READ:
        io_uring_prep_read(sqe, op->fd, op->data, bytes, UINT64_MAX);
        break;
    default:
        io_uring_prep_write(sqe, op->fd, op->data, bytes, UINT64_MAX);
        break;
    }
    if (op->wait_first && (op->kind == COIL__OP_RECV || op->kind == COIL__OP_RECVMSG))
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

static void prepare_recv_many(struct io_uring_sqe *sqe, struct coil__op *op)
{
    op->looked = false;
    /* Without POLL_FIRST, with which Linux 6.17 and later lose the end of a Unix stream that was there when it began. */
    io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = COIL__BUFFERS_GROUP;
}

static void prepare(uring *u, struct io_uring_sqe *sqe, struct coil__op *op)
{
    unsigned bytes = (unsigned)(op->bytes < BYTES_MAX ? op->bytes : BYTES_MAX);
    if (op->polling || op->kind == COIL__OP_POLL)
        io_uring_prep_poll_add(sqe, op->fd, (unsigned short)coil__op_events(op));
    else if (op->kind == COIL__OP_ACCEPT_MANY)
        io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    else if (op->kind == COIL__OP_ACCEPT)
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    else if (op->kind == COIL__OP_CONNECT)
        io_uring_prep_connect(sqe, op->fd, op->data, (socklen_t)op->bytes);
    else if (op->kind == COIL__OP_RECV_MANY)
        prepare_recv_many(sqe, op);
    else if (op->kind == COIL__OP_FILE_READ || op->kind == COIL__OP_FILE_WRITE)
        prepare_transfer(u, sqe, op, bytes);
    else if (coil__op_is_of_files(op->kind))
        prepare_file(sqe, op, bytes);
    else
        prepare_stream(sqe, op, bytes);
    io_uring_sqe_set_data(sqe, op);
}

/* The kernel is done with @op. */
static void complete(uring *u, struct coil__op *op, int res)
{
    u->files -= coil__op_is_of_files(op->kind); /* I5 */
    coil__op_complete(&u->base, op, res);
}

static void push(uring *u, struct coil__op *op)
{
    if (make_room(u))
        prepare(u, io_uring_get_sqe(&u->ring), op);
    else
        complete(u, op, -ENOMEM);
}

/* What waits for readiness before its first request: the kernel does not wait on a nonblocking pipe. */
static bool polls_first(const struct coil__op *op)
{
    return op->wait_first && (op->kind == COIL__OP_READ || op->kind == COIL__OP_WRITE);
}

static void uring_submit(coil__backend *b, struct coil__op *op)
{
    uring *u = uring_of(b);
    COIL__GUARD(&b->latch);
    coil__op_begin(b, op);
    op->polling = polls_first(op);
    u->files += coil__op_is_of_files(op->kind); /* I5 */
    coil__list_append(&u->flight, &op->flight);
    push(u, op);
}

/* The owner's next wait asks for the cancellation, perhaps again. */
static void ask_later(uring *u, struct coil__op *op)
{
    coil__node_unlink(&op->asked);
    coil__list_append(&u->base.asked, &op->asked);
}

static void uring_cancel(coil__backend *b, struct coil__op *op)
{
    uring *u = uring_of(b);
    bool room = make_room(u);
    if (!op->in_flight || op->cancelling) /* making room may have completed it; I1 */
        return;
    if (op->postponed) { /* I4 */
        complete(u, op, -ECANCELED);
    } else if (!room) {
        ask_later(u, op);
    } else {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
        op->cancelling = true;
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)op, 0);
        io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)op | CANCEL_BIT);
    }
}

/* Watches the eventfd, emptied first so that what was seen already is not reported again. */
static int arm_wake(uring *u)
{
    uint64_t count;
    ssize_t n = read(u->wake_fd, &count, sizeof count);
    (void)n; /* empty is fine */
    if (!make_room(u))
        return -EBUSY;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, WAKE_DATA);
    u->deaf = false;
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
    if (op->kind == COIL__OP_FILE_CLOSE && *res == -EINTR)
        *res = 0; /* all the same it is closed, and its number may be another's */
    if (coil__op_is_of_files(op->kind))
        return *res == -EINTR;
    bool no_descriptor = op->kind == COIL__OP_ACCEPT && (*res == -EMFILE || *res == -ENFILE);
    op->polling = *res == -EAGAIN || *res == -EINTR || (no_descriptor && !waited);
    op->started = op->polling && op->kind == COIL__OP_CONNECT;
    return op->polling;
}

static void final_answer(uring *u, struct coil__op *op, int res)
{
    op->res = res;
    op->answered = true;
    if (!op->cancelling) /* I1 */
        complete(u, op, res);
}

static void op_answered(uring *u, struct coil__op *op, int res)
{
    if (must_retry(op, &res)) {
        op->postponed = true; /* I4 */
        coil__list_append(&u->again, &op->handle.node);
        return;
    }
    final_answer(u, op, res);
}

/*
 * What ends a stream may have been there, with data before it, when the request was made. The kernel takes both for one
 * event, reads the data, finds that no more are queued, and waits for another event, which will not come. So it is with
 * resets, and since Linux 6.17 with the end of what a Unix socket receives. Hence a look of our own, once for a request; if
 * there is something the request is cancelled, and made again.
 */
static void look_for_end(uring *u, struct coil__op *op, const struct io_uring_cqe *cqe)
{
    if (op->looked || !(cqe->flags & IORING_CQE_F_MORE) || (cqe->flags & IORING_CQE_F_SOCK_NONEMPTY))
        return;
    struct pollfd p = {.fd = op->fd, .events = POLLRDHUP};
    op->looked = true;
    if (!op->cancelled && poll(&p, 1, 0) > 0)
        ask_later(u, op);
}

/* How a ..._MANY has ended, as coil__op_take() has it. What nobody has cancelled is made again. */
static int end_of_many(const struct coil__op *op, int res)
{
    bool accepted = res == 0 && op->kind == COIL__OP_ACCEPT_MANY;
    bool again = res > 0 || accepted || res == -EAGAIN || (res == -ECANCELED && !op->cancelled);
    return again ? -EINTR : res;
}

/* One of the answers to a ..._MANY. The kernel may end it with any of them. */
static void many_answered(uring *u, struct coil__op *op, const struct io_uring_cqe *cqe)
{
    if (op->kind == COIL__OP_ACCEPT_MANY && cqe->res >= 0) {
        coil__op_accepted(&u->base, op, cqe->res);
    } else if (cqe->flags & IORING_CQE_F_BUFFER) {
        uint16_t number = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        coil__buffers_chain(&u->buffers, op, number, (uint32_t)cqe->res);
        coil__op_announce(&u->base, op);
        look_for_end(u, op, cqe);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        final_answer(u, op, end_of_many(op, cqe->res));
}

static void cancel_answered(uring *u, struct coil__op *op, int res)
{
    op->cancelling = false;
    if (op->answered)
        complete(u, op, op->res);
    else if (res < 0) /* it was between two states: ask again */
        ask_later(u, op);
}

static void answer(uring *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    if (data == NOBODY_DATA)
        return;
    if (data == WAKE_DATA) {
        u->woken = true; /* I3 */
        u->deaf |= !(cqe->flags & IORING_CQE_F_MORE);
        return;
    }
    struct coil__op *op = (struct coil__op *)(uintptr_t)(data & ~(uint64_t)CANCEL_BIT);
    if (data & CANCEL_BIT)
        cancel_answered(u, op, cqe->res);
    else if (coil__op_is_many(op->kind))
        many_answered(u, op, cqe);
    else
        op_answered(u, op, cqe->res);
}

/* Takes visible completions, up to COIL__BATCH: those that are left become part of the next iteration. */
static void take_answers(uring *u)
{
    const struct io_uring_cqe *cqe;
    for (int n = 0; n < COIL__BATCH && (cqe = coil__uring_first(&u->ring)); n++) {
        struct io_uring_cqe copy = *cqe;
        io_uring_cq_advance(&u->ring, 1); /* before anything that may need room, or take answers itself */
        answer(u, &copy);
    }
}

/* Takes all of them: the ring is about to go. */
static void take_last_answers(uring *u)
{
    while (coil__uring_first(&u->ring))
        take_answers(u);
}

/*
 * Takes visible completions; then makes the requests that have to be made again, each once: making room for
 * them may bring the next that has to be, or complete one that is still in the list.
 */
static void reap(uring *u)
{
    coil__list now;
    take_answers(u);
    if (coil_unlikely(u->deaf))
        (void)arm_wake(u);
    coil__list_init(&now);
    coil__list_splice(&now, &u->again);
    while (!coil__list_empty(&now)) {
        coil__handle *h = coil__handle_of_node(coil__list_pop(&now));
        struct coil__op *op = coil_container_of(h, struct coil__op, handle);
        op->postponed = false;
        push(u, op);
    }
    if (!coil__list_empty(&u->base.asked))
        coil__op_cancel_asked(&u->base);
}

/* Whether there is something to be done that no completion will announce. */
static bool has_work(const uring *u)
{
    return u->base.done_count > 0 || u->woken || u->deaf || !coil__list_empty(&u->again) ||
           !coil__list_empty(&u->base.asked);
}

static int uring_wait(coil__backend *b, int64_t timeout_ns, coil__list *ready)
{
    uring *u = uring_of(b);
    int rc = 0;
    coil__guard guard = coil__guard_enter(&b->latch);
    reap(u);
    if (has_work(u))
        timeout_ns = 0;
    bool wants_more = b->done_count < COIL__BATCH / 2;
    if (timeout_ns != 0 || coil__uring_prepared(&u->ring) > 0 || (wants_more && coil__uring_needs_enter(&u->ring))) {
        b->waiting = true;
        coil__guard_leave(&guard);
        rc = enter(u, timeout_ns != 0, timeout_ns);
        guard = coil__guard_enter(&b->latch);
        b->waiting = false;
        reap(u);
    }
    u->woken = false;
    coil__op_deliver(b, ready);
    coil__guard_leave(&guard);
    return rc;
}

/* What has to be made again waits for the owner, who alone may submit. */
static int uring_reap_for(coil__backend *b, coil__list *ready)
{
    COIL__GUARD(&b->latch);
    if (!b->shared || b->waiting)
        return 0;
    take_answers(uring_of(b));
    return (int)coil__op_deliver(b, ready);
}

static bool uring_has_completed(coil__backend *b)
{
    COIL__GUARD(&b->latch);
    return b->shared && !b->waiting && (b->done_count > 0 || io_uring_cq_ready(&uring_of(b)->ring) > 0);
}

static size_t uring_take(coil__backend *b, struct coil__op *op, const char **data)
{
    return coil__buffers_take(&uring_of(b)->buffers, op, data);
}

static void uring_give(coil__backend *b, struct coil__op *op)
{
    coil__buffers_give(&uring_of(b)->buffers, op->taken);
}

static void uring_forget(coil__backend *b, int fd)
{
    (void)b; /* requests hold files, not descriptors: nothing is remembered of @fd */
    (void)fd;
}

/* --- making, moving, closing ---------------------------------------------------------------------------------- */

/* The operations of files that this kernel can make without a thread of ours. */
static uint32_t file_kinds(const coil__features *can)
{
    return (uint32_t)can->read << COIL__OP_FILE_READ | (uint32_t)can->write << COIL__OP_FILE_WRITE |
           (uint32_t)can->readv << COIL__OP_FILE_READV | (uint32_t)can->writev << COIL__OP_FILE_WRITEV |
           (uint32_t)can->fsync << COIL__OP_FILE_SYNC | (uint32_t)can->openat << COIL__OP_FILE_OPEN |
           (uint32_t)can->close << COIL__OP_FILE_CLOSE | (uint32_t)can->statx << COIL__OP_FILE_STAT;
}

static int set_up(uring *u)
{
    struct io_uring_params p = {
        .flags = COIL__URING_FLAGS | IORING_SETUP_CQSIZE |
                 (u->base.shared ? IORING_SETUP_COOP_TASKRUN : IORING_SETUP_DEFER_TASKRUN),
        .cq_entries = CQ_ENTRIES,
    };
    int rc = coil__features_probe(&u->can);
    if (rc == 0 && !u->can->defer_taskrun) /* this kernel has it, and it is known to be broken (kernels.h, I1) */
        rc = -EINVAL;
    if (rc == 0)
        rc = io_uring_queue_init_params(coil__uring_sq_entries, &u->ring, &p);
    if (rc < 0)
        return rc;
    u->base.file_kinds = file_kinds(u->can);
    u->table = UNTRIED;
    memset(u->regions, UNTRIED, sizeof u->regions);
    u->enter_flags = u->can->no_iowait ? IORING_ENTER_NO_IOWAIT : 0;
    rc = arm_wake(u);
    if (rc == 0)
        rc = enter(u, 0, 0); /* also finds out whether a filter lets us enter */
    if (rc < 0) {
        io_uring_queue_exit(&u->ring);
        return rc;
    }
    u->base.accepts_many = u->can->multishot_accept; /* it works without these, too */
    u->base.receives_many = u->can->multishot_recv && coil__buffers_open(&u->buffers, &u->ring) == 0;
    return 0;
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
        complete(u, op, op->answered ? op->res : -ECANCELED);
        return;
    }
    op->started = op->kind == COIL__OP_CONNECT; /* connecting twice would be EALREADY */
    op->polling = op->started || polls_first(op);
    coil__list_append(&u->flight, &op->flight);
    if (!op->postponed) /* I4 */
        push(u, op);
}

static int uring_attach(coil__backend *b)
{
    uring *u = uring_of(b);
    if (is_owner(u))
        return 0;
    COIL__GUARD(&b->latch);
    take_last_answers(u);
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

static void uring_detach(coil__backend *b)
{
    uring *u = uring_of(b);
    int rc = 0;
    coil__guard guard = coil__guard_enter(&b->latch);
    while (u->files > 0 && rc == 0) { /* I5 */
        b->waiting = true;
        coil__guard_leave(&guard);
        rc = enter(u, 1, COIL_FOREVER);
        guard = coil__guard_enter(&b->latch);
        b->waiting = false;
        reap(u);
    }
    coil__guard_leave(&guard);
}

/* Cancels everything and waits for the last answer; repeatedly, since a request can slip between two states. */
static void drain(uring *u)
{
    while (!coil__list_empty(&u->flight)) {
        if (make_room(u)) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
            io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            io_uring_sqe_set_data64(sqe, NOBODY_DATA);
        }
        if (enter(u, 1, COIL_MS(1)) < 0)
            return;
        reap(u);
    }
}

/* What is in flight is not wanted any more. */
static void cancel_all(uring *u)
{
    coil__list_foreach_safe(&u->flight, n, next) {
        struct coil__op *op = coil_container_of(n, struct coil__op, flight);
        op->cancelled = true;
        if (op->postponed) /* I4 */
            complete(u, op, -ECANCELED);
    }
}

static void uring_close(coil__backend *b, coil__list *ready)
{
    uring *u = uring_of(b);
    cancel_all(u);
    take_last_answers(u);
    if (is_owner(u))
        drain(u);
    io_uring_queue_exit(&u->ring);
    while (!coil__list_empty(&u->flight)) { /* I2: of a ring that is not ours; it is gone now */
        struct coil__op *op = coil_container_of(coil__list_first(&u->flight), struct coil__op, flight);
        coil__op_complete(b, op, op->answered ? op->res : -ECANCELED);
    }
    coil__op_deliver(b, ready);
    coil__buffers_close(&u->buffers);
    coil__backend_fini(b);
    coil__free(u);
}

static const coil__backend_ops uring_ops = {
    .name = "io_uring",
    .wait = uring_wait,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .forget = uring_forget,
    .forget_region = uring_forget_region,
    .take = uring_take,
    .give = uring_give,
    .attach = uring_attach,
    .detach = uring_detach,
    .reap_for = uring_reap_for,
    .has_completed = uring_has_completed,
    .close = uring_close,
};

int coil__uring_open(int ring_mode, int wake_fd, coil__backend **b)
{
    uring *u = coil__calloc(sizeof *u);
    if (!u)
        return -ENOMEM;
    coil__backend_init(&u->base, &uring_ops, ring_mode);
    u->wake_fd = wake_fd;
    coil__list_init(&u->flight);
    coil__list_init(&u->again);
    int rc = set_up(u);
    if (rc < 0) {
        coil__free(u);
        return rc;
    }
    *b = &u->base;
    return 0;
}
