/*
 * raw_multishot.c - the program raw-multishot-echo: the physical limit for W9 on io_uring, as few requests as it allows
 *
 * As raw_uring.c, but one receive for all messages of a connection (multishot), into buffers that all connections of a
 * worker share: a ring of them is given to the kernel, which picks one when a message is there. The answer is sent out
 * of that buffer, which then goes back into the ring: nothing is copied, and idle connections have no buffer. A message
 * takes one request, the send, and one completion, the receive's.
 *
 *   a buffer is with   left by
 *   the kernel         a receive's completion that names it: the connection's queue
 *   a connection       all of it sent: back to the kernel. The first of a queue is being sent, the others wait
 *
 * I1 the sends of a `batch` do not wait, so they are over when the enter returns; failures, which alone have
 *    completions, are the first of what it brings, and take their connection out of the batch. The batch is settled
 *    before any other completion is handled; without waiting for one if something else goes on when it is settled
 * I2 `armed`: a receive is in flight. A connection is freed when it is neither armed nor has a buffer
 * I3 `starved` connections are not armed, because there was no buffer, and are armed when there is one
 *
 * Source: io_uring_prep_recv_multishot(3), io_uring_setup_buf_ring(3).
 */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "limit.h"

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SQ_ENTRIES 4096
#define CQ_ENTRIES 16384
#define BUFFERS 2048u /* a power of two */
#define BUFFER_BYTES 4096u
#define GROUP 0
#define NOBODY UINT16_MAX /* no buffer */

/* User data: the connection's address with one of these in its lowest bits; the accept has no connection. */
enum tag { RECEIVED, NOT_ALL_SENT, REST_SENT, TAG_MASK };

typedef struct conn {
    int fd;
    uint16_t first, last; /* its queue of buffers; NOBODY: empty */
    bool armed;           /* I2 */
    bool broken;          /* nothing can be sent any more */
    unsigned batch_index; /* I1 */
    struct conn *next_starved;
} conn;

typedef struct worker {
    struct io_uring ring;
    int listener;
    struct io_uring_buf_ring *buffers;
    char *memory;
    unsigned given;     /* buffers put into the ring but not published */
    unsigned with_conns, queued; /* buffers that connections have, and those among them that are not the first */
    conn *starved;      /* I3 */
    unsigned batch_size;
    conn *batch[BUFFERS];    /* I1: each has a buffer; NULL: taken out */
    uint16_t next[BUFFERS];  /* in a connection's queue */
    uint32_t at[BUFFERS], end[BUFFERS]; /* what is still to be sent */
} worker;

/* --- buffers ------------------------------------------------------------------------------------------------- */

static char *address_of(worker *w, uint16_t buffer)
{
    return w->memory + (size_t)buffer * BUFFER_BYTES;
}

static void give(worker *w, uint16_t buffer)
{
    io_uring_buf_ring_add(w->buffers, address_of(w, buffer), BUFFER_BYTES, buffer, (int)(BUFFERS - 1), (int)w->given++);
}

static void publish(worker *w)
{
    if (w->given > 0)
        io_uring_buf_ring_advance(w->buffers, (int)w->given);
    w->given = 0;
}

static void enqueue(worker *w, conn *c, uint16_t buffer, uint32_t bytes)
{
    w->at[buffer] = 0;
    w->end[buffer] = bytes;
    w->next[buffer] = NOBODY;
    if (c->first == NOBODY) {
        c->first = buffer;
    } else {
        w->next[c->last] = buffer;
        w->queued++;
    }
    c->last = buffer;
    w->with_conns++;
}

static void drop_first(worker *w, conn *c)
{
    uint16_t buffer = c->first;
    c->first = w->next[buffer];
    w->with_conns--;
    if (c->first != NOBODY)
        w->queued--;
    give(w, buffer);
}

static int make_buffers(worker *w)
{
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    void *memory = mmap(NULL, ring_bytes + (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    w->buffers = memory;
    w->memory = (char *)memory + ring_bytes;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)memory, .ring_entries = BUFFERS, .bgid = GROUP};
    int rc = io_uring_register_buf_ring(&w->ring, &reg, 0);
    for (uint16_t i = 0; i < BUFFERS; i++)
        give(w, i);
    publish(w);
    return rc;
}

/* --- requests ------------------------------------------------------------------------------------------------ */

static struct io_uring_sqe *get_sqe(worker *w)
{
    struct io_uring_sqe *sqe;
    while (!(sqe = io_uring_get_sqe(&w->ring)))
        io_uring_submit(&w->ring);
    return sqe;
}

static void set_user(struct io_uring_sqe *sqe, conn *c, enum tag tag)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | tag);
}

static void arm_accept(worker *w)
{
    struct io_uring_sqe *sqe = get_sqe(w);
    io_uring_prep_multishot_accept(sqe, w->listener, NULL, NULL, SOCK_CLOEXEC);
    set_user(sqe, NULL, RECEIVED);
}

static void arm_receive(worker *w, conn *c)
{
    struct io_uring_sqe *sqe = get_sqe(w);
    io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    set_user(sqe, c, RECEIVED);
    c->armed = true;
}

static struct io_uring_sqe *prepare_send(worker *w, conn *c, int flags)
{
    struct io_uring_sqe *sqe = get_sqe(w);
    uint16_t b = c->first;
    char *data = address_of(w, b) + w->at[b];
    io_uring_prep_send(sqe, c->fd, data, w->end[b] - w->at[b], MSG_NOSIGNAL | MSG_WAITALL | flags);
    return sqe;
}

/* I1 */
static void send_first(worker *w, conn *c)
{
    struct io_uring_sqe *sqe = prepare_send(w, c, MSG_DONTWAIT);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    set_user(sqe, c, NOT_ALL_SENT);
    c->batch_index = w->batch_size;
    w->batch[w->batch_size++] = c;
}

static void send_rest(worker *w, conn *c)
{
    set_user(prepare_send(w, c, 0), c, REST_SENT);
}

/* --- connections --------------------------------------------------------------------------------------------- */

static void accepted(worker *w, int fd)
{
    if (fd < 0)
        return;
    conn *c = malloc(sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    limit_no_delay(fd);
    *c = (conn){.fd = fd, .first = NOBODY};
    arm_receive(w, c);
}

/* The queue's first buffer is done with. @c may be freed: I2. */
static void go_on(worker *w, conn *c)
{
    do
        drop_first(w, c);
    while (c->broken && c->first != NOBODY);
    if (c->first != NOBODY) {
        send_first(w, c);
    } else if (!c->armed) {
        close(c->fd);
        free(c);
    }
}

static void give_up(conn *c)
{
    c->broken = true;
    shutdown(c->fd, SHUT_RDWR);
}

/* I1: the sends of the last iteration that have not failed are done. */
static void settle_batch(worker *w)
{
    unsigned n = w->batch_size;
    w->batch_size = 0;
    for (unsigned i = 0; i < n; i++) {
        if (w->batch[i]) /* the next batch grows where this loop has been: by at most one a connection */
            go_on(w, w->batch[i]);
    }
}

static void not_all_sent(worker *w, conn *c, int n)
{
    w->batch[c->batch_index] = NULL;
    if (n < 0 && n != -EAGAIN) {
        give_up(c);
        go_on(w, c);
        return;
    }
    w->at[c->first] += n > 0 ? (uint32_t)n : 0;
    send_rest(w, c);
}

static void rest_sent(worker *w, conn *c, int n)
{
    if (n < 0 || (uint32_t)n < w->end[c->first] - w->at[c->first])
        give_up(c);
    go_on(w, c);
}

/* Arms the receive again, or lets it be; without a buffer or a receive, the connection is over. */
static void receive_ended(worker *w, conn *c, int n)
{
    c->armed = false;
    if (n == -ENOBUFS) {
        c->next_starved = w->starved;
        w->starved = c;
        c->armed = true; /* as good as: it must not be freed */
    } else if (n > 0 && !c->broken) {
        arm_receive(w, c);
    } else if (c->first == NOBODY) {
        close(c->fd);
        free(c);
    }
}

static void received(worker *w, conn *c, const struct io_uring_cqe *cqe)
{
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        uint16_t buffer = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        if (cqe->res > 0 && !c->broken) {
            bool idle = c->first == NOBODY;
            enqueue(w, c, buffer, (uint32_t)cqe->res);
            if (idle)
                send_first(w, c);
        } else {
            give(w, buffer);
        }
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        receive_ended(w, c, cqe->res);
}

static void feed_starved(worker *w)
{
    while (w->starved && w->with_conns < BUFFERS) {
        conn *c = w->starved;
        w->starved = c->next_starved;
        arm_receive(w, c);
    }
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

static void handle(worker *w, const struct io_uring_cqe *cqe)
{
    conn *c = (conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
    enum tag tag = (enum tag)(cqe->user_data & TAG_MASK);
    if (tag == NOT_ALL_SENT) {
        not_all_sent(w, c, cqe->res);
    } else if (tag == REST_SENT) {
        rest_sent(w, c, cqe->res);
    } else if (c) {
        received(w, c, cqe);
    } else {
        accepted(w, cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            arm_accept(w);
    }
}

static void serve_batch(worker *w)
{
    const struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    bool settled = false;
    io_uring_for_each_cqe(&w->ring, head, cqe)
    {
        if (!settled && (cqe->user_data & TAG_MASK) != NOT_ALL_SENT) {
            settle_batch(w);
            settled = true;
        }
        handle(w, cqe);
        count++;
    }
    if (!settled)
        settle_batch(w);
    io_uring_cq_advance(&w->ring, count);
    feed_starved(w);
    publish(w);
}

static int set_up(worker *w)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
                                .cq_entries = CQ_ENTRIES};
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &w->ring, &p);
    if (rc < 0)
        return rc;
    io_uring_register_ring_fd(&w->ring); /* where it fails, it costs a little more */
    arm_accept(w);
    return make_buffers(w);
}

static void serve(int listener)
{
    worker *w = calloc(1, sizeof *w);
    int rc = -ENOMEM;
    if (w) {
        w->listener = listener;
        rc = set_up(w);
    }
    while (rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY) {
        serve_batch(w);
        bool goes_on = w->batch_size > 0 && (w->queued > 0 || w->starved); /* I1 */
        rc = io_uring_submit_and_wait(&w->ring, goes_on ? 0 : 1);
    }
    limit_complain("io_uring", -rc);
    free(w); /* the ring and its buffers go with the process */
}

int main(int argc, char **argv)
{
    return limit_main(argc, argv, "raw-multishot", serve);
}
