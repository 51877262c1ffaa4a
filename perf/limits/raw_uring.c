/*
 * raw_uring.c - the program raw-uring-echo: W9's physical limit on io_uring with one receive and one send a message
 *
 * A ring per worker (limit.c), DEFER_TASKRUN and SINGLE_ISSUER, its descriptor registered; one io_uring_enter an
 * iteration submits what the last one brought, and waits. A receive does not try before waiting (POLL_FIRST): the
 * client has just been answered. A send does not wait (MSG_DONTWAIT), and says nothing if all was taken
 * (CQE_SKIP_SUCCESS): so it is over when the enter returns, and a message takes two requests and one completion. Only
 * what a full socket has left over is sent again by a request that waits.
 *
 * I1 each connection has two buffers, and while one of them is received into the other is being sent: the next
 *    receive goes with the send
 * I2 `blocked`: a send that waits is in flight, and nothing else is sent; a message that comes meanwhile is `held`, and
 *    no receive is armed
 * I3 a completion of a send that does not wait is visible before that of the receive submitted after it, so a
 *    connection whose receive has ended and that is not blocked is not in the kernel's hands any more
 *
 * Source: io_uring_enter(2), io_uring_prep_send(3).
 */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "limit.h"

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SQ_ENTRIES 4096
#define CQ_ENTRIES 16384
#define BUFFER_BYTES 4096

/* User data: the connection's address with one of these in its lowest bits; the accept has no connection. */
enum tag { RECEIVED, NOT_ALL_SENT, REST_SENT, TAG_MASK };

typedef struct conn {
    int fd;
    unsigned receiving_into; /* I1 */
    bool blocked, closing;   /* I2 */
    size_t held;             /* I2: bytes in buffers[receiving_into] */
    size_t sent;             /* bytes that were to be sent, out of the other one */
    char *rest;              /* I2: what is being sent, and its size */
    size_t rest_bytes;
    char buffers[2][BUFFER_BYTES];
} conn;

static struct io_uring_sqe *get_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe;
    while (!(sqe = io_uring_get_sqe(ring)))
        io_uring_submit(ring);
    return sqe;
}

static void set_user(struct io_uring_sqe *sqe, conn *c, enum tag tag)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | tag);
}

static void arm_accept(struct io_uring *ring, int listener)
{
    struct io_uring_sqe *sqe = get_sqe(ring);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    set_user(sqe, NULL, RECEIVED);
}

static void receive(struct io_uring *ring, conn *c)
{
    struct io_uring_sqe *sqe = get_sqe(ring);
    io_uring_prep_recv(sqe, c->fd, c->buffers[c->receiving_into], BUFFER_BYTES, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    set_user(sqe, c, RECEIVED);
}

/* @n bytes that have been received go back, and the next receive goes with them. */
static void echo(struct io_uring *ring, conn *c, size_t n)
{
    struct io_uring_sqe *sqe = get_sqe(ring);
    io_uring_prep_send(sqe, c->fd, c->buffers[c->receiving_into], n, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    set_user(sqe, c, NOT_ALL_SENT);
    c->sent = n;
    c->receiving_into ^= 1;
    receive(ring, c);
}

static void send_rest(struct io_uring *ring, conn *c)
{
    struct io_uring_sqe *sqe = get_sqe(ring);
    io_uring_prep_send(sqe, c->fd, c->rest, c->rest_bytes, MSG_NOSIGNAL | MSG_WAITALL);
    set_user(sqe, c, REST_SENT);
}

static void accepted(struct io_uring *ring, int fd)
{
    if (fd < 0)
        return;
    conn *c = malloc(sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    limit_no_delay(fd);
    c->fd = fd;
    c->receiving_into = 0;
    c->blocked = c->closing = false;
    c->held = 0;
    receive(ring, c);
}

static void end(conn *c)
{
    close(c->fd);
    free(c);
}

static void received(struct io_uring *ring, conn *c, int n)
{
    if (n <= 0 && c->blocked)
        c->closing = true;
    else if (n <= 0)
        end(c); /* I3 */
    else if (c->blocked)
        c->held = (size_t)n;
    else
        echo(ring, c, (size_t)n);
}

/* The receive that went with the send is in flight: it notices if the connection is broken. */
static void not_all_sent(struct io_uring *ring, conn *c, int n)
{
    if (n < 0 && n != -EAGAIN) {
        shutdown(c->fd, SHUT_RDWR);
        return;
    }
    size_t taken = n > 0 ? (size_t)n : 0;
    c->blocked = true;
    c->rest = c->buffers[c->receiving_into ^ 1] + taken;
    c->rest_bytes = c->sent - taken;
    send_rest(ring, c);
}

static void rest_sent(struct io_uring *ring, conn *c, int n)
{
    c->blocked = false;
    bool broken = n < 0 || (size_t)n < c->rest_bytes;
    if (c->closing || (broken && c->held > 0))
        end(c);
    else if (broken)
        shutdown(c->fd, SHUT_RDWR); /* a receive is in flight, and notices */
    else if (c->held > 0) {
        size_t held = c->held;
        c->held = 0;
        echo(ring, c, held);
    }
}

static void handle(struct io_uring *ring, int listener, const struct io_uring_cqe *cqe)
{
    conn *c = (conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
    switch ((enum tag)(cqe->user_data & TAG_MASK)) {
    case RECEIVED:
        if (c) {
            received(ring, c, cqe->res);
            return;
        }
        accepted(ring, cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            arm_accept(ring, listener);
        return;
    case NOT_ALL_SENT:
        not_all_sent(ring, c, cqe->res);
        return;
    case REST_SENT:
    case TAG_MASK:
        rest_sent(ring, c, cqe->res);
        return;
    }
}

static void serve(int listener)
{
    struct io_uring ring;
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
                                .cq_entries = CQ_ENTRIES};
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &ring, &p);
    if (rc == 0) {
        io_uring_register_ring_fd(&ring); /* where it fails, it costs a little more */
        arm_accept(&ring, listener);
    }
    while (rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY) {
        const struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            handle(&ring, listener, cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
        rc = io_uring_submit_and_wait(&ring, 1);
    }
    limit_complain("io_uring", -rc);
}

int main(int argc, char **argv)
{
    return limit_main(argc, argv, "raw-uring", serve);
}
