/*
 * transport.c - one connection; see transport.h for its states and invariants
 *
 * Functions from other files, and handles, take the latch; the static ones are called with the latch held, unless
 * they say otherwise.
 */
#define _GNU_SOURCE /* IOV_MAX */
#include "transport.h"

#include <coil/errno.h>
#include <limits.h>
#include <poll.h>

#include "memory.h"
#include "sock.h"

#include "../src/base/alloc.h"

#define HIGH_WATER ((size_t)64 * 1024)
#define KEPT_BYTES ((size_t)256 * 1024) /* an empty write buffer keeps no more memory than this */

/* Pieces of that size are large; after BULK of them in a row it is POLL, after BULK smaller ones RECV_MANY. */
#define LARGE_BYTES COIL__BUFFER_BYTES
#define BULK 16

static void run_receive(coil__handle *h);
static void discard_receive(coil__handle *h);
static void run_send(coil__handle *h);
static void discard_send(coil__handle *h);
static void run_lost(coil__handle *h);
static void discard_lost(coil__handle *h);

static const coil__handle_ops receive_ops = {run_receive, discard_receive, "transport: receive"};
static const coil__handle_ops send_ops = {run_send, discard_send, "transport: send"};
static const coil__handle_ops lost_ops = {run_lost, discard_lost, "transport: connection lost"};

void coil__transport_init(coil__transport *t, const coil__protocol *protocol, coil_loop *loop, const coil__wire *wire)
{
    *t = (coil__transport){.protocol = protocol, .loop = loop, .wire = *wire, .high = HIGH_WATER,
                           .low = HIGH_WATER / 4};
    coil__op_init(&t->receive, COIL__OP_POLL, wire->in >= 0 ? wire->in : wire->out, &receive_ops);
    t->read_only = wire->out < 0;
    coil__handle_init(&t->lost_handle, &lost_ops);
    coil__loop_hold(loop);
}

/* --- the wire ------------------------------------------------------------------------------------------------- */

static void submit(coil__transport *t, struct coil__op *op)
{
    if (coil_likely(!t->wire.memory))
        coil__op_submit(t->loop, op);
    else
        coil__memory_submit(t->wire.memory, op);
}

static void cancel(coil__transport *t, struct coil__op *op)
{
    if (coil_likely(!t->wire.memory)) {
        coil__op_cancel(t->loop, op);
        return;
    }
    coil__memory_cancel(t->wire.memory, op);
    if (coil__loop_closed(t->loop)) /* nobody runs or discards its handle any more */
        *(op == &t->receive ? &t->receiving : &t->sending_now) = false;
}

/* Once, without blocking: as coil__op_try(). The latch may be free. */
static int attempt(coil__transport *t, struct coil__op *op)
{
    int failure = coil__op_injected(t->loop);
    if (coil_unlikely(failure < 0))
        return failure;
    return coil_likely(!t->wire.memory) ? coil__op_try(op) : coil__memory_try(t->wire.memory, op);
}

static void close_wire(coil__transport *t)
{
    if (t->wire.in >= 0 && t->wire.memory)
        coil__memory_close(t->wire.memory);
    else if (t->wire.in >= 0)
        coil__fd_close(t->loop, t->wire.in);
    if (t->wire.out >= 0 && t->wire.out != t->wire.in)
        coil__fd_close(t->loop, t->wire.out);
    t->wire.in = t->wire.out = -1;
}

/* --- the end -------------------------------------------------------------------------------------------------- */

static void free_backlog(coil__transport *t)
{
    if (!t->backlog)
        return;
    coil__bytes_fini(&t->backlog->sending);
    coil__bytes_fini(&t->backlog->queued);
    coil__free(t->backlog);
    t->backlog = NULL;
}

/* Lets go of what it can: I1. True: it is over, I5. */
static bool settle(coil__transport *t)
{
    if (!t->lost || t->receiving || t->sending_now || t->calling > 0)
        return false;
    coil__op_drop(t->loop, &t->receive);
    t->resting = false; /* there is nothing more to be delivered */
    close_wire(t);
    free_backlog(t);
    return t->abandoned;
}

/* Gives the latch back, after something may have ended. @t may be freed. */
static void leave(coil__transport *t, const coil__guard *guard)
{
    bool over = settle(t);
    coil__guard_leave(guard);
    if (!over)
        return;
    coil_loop *loop = t->loop;
    t->protocol->release(t); /* I5 */
    coil__loop_unhold(loop);
}

static void call_connection_lost(coil__transport *t)
{
    coil_error *error = t->lost_error;
    t->lost_error = NULL;
    t->lost = true;
    t->protocol->connection_lost(t, error); /* I3 */
    coil_error_release(error);
}

static void run_lost(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, lost_handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    call_connection_lost(t);
    leave(t, &guard);
}

static void discard_lost(coil__handle *h)
{
    run_lost(h); /* the loop is closed: now or never */
}

/* From now on nothing is read or sent; the owner hears of it in the next iteration. Takes @error. */
static void die(coil__transport *t, coil_error *error)
{
    t->dead = true;
    t->lost_error = error;
    if (coil__loop_closed(t->loop))
        call_connection_lost(t);
    else
        coil__loop_ready(t->loop, &t->lost_handle);
}

static void stop_reading(coil__transport *t)
{
    t->closing = true;
    cancel(t, &t->receive);
}

/* What waits to be sent never will be. */
static void drop_backlog(coil__transport *t)
{
    coil__backlog *b = t->backlog;
    cancel(t, &b->send);
    coil__bytes_clear(&b->queued, KEPT_BYTES);
    if (!t->sending_now)
        coil__bytes_clear(&b->sending, KEPT_BYTES); /* I2: else when the send has completed */
}

/* Takes @error. */
static void force_close(coil__transport *t, coil_error *error)
{
    if (t->dead) {
        coil_error_release(error);
        return;
    }
    if (t->backlog)
        drop_backlog(t);
    if (!t->closing)
        stop_reading(t);
    die(t, error);
}

static void fail(coil__transport *t, int code)
{
    force_close(t, coil_error_new(code, NULL));
}

static void close_gently(coil__transport *t)
{
    if (t->closing)
        return;
    stop_reading(t);
    if (coil__transport_buffered(t) == 0 && !t->sending_now)
        die(t, NULL);
}

void coil__transport_close(coil__transport *t)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    close_gently(t);
    leave(t, &guard);
}

void coil__transport_abort(coil__transport *t)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    force_close(t, NULL);
    leave(t, &guard);
}

void coil__transport_kill(coil__transport *t)
{
    COIL__GUARD(&t->latch);
    if (!coil__loop_closed(t->loop))
        force_close(t, NULL);
}

void coil__transport_abandon(coil__transport *t)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    t->abandoned = true;
    if (!t->dead)
        force_close(t, NULL);
    leave(t, &guard);
}

/* --- reading -------------------------------------------------------------------------------------------------- */

/* How to receive next. A stream of pieces that fill the backend's buffers is better read in larger ones. */
static enum coil__op_kind way_to_receive(coil__transport *t)
{
    bool many = t->wire.socket && !t->starved && !t->large && !t->protocol->get_buffer &&
                coil__here(t->loop)->backend->receives_many;
    t->starved = false;
    return many ? COIL__OP_RECV_MANY : COIL__OP_POLL;
}

static void arm_receive(coil__transport *t)
{
    if (t->receiving || t->resting || t->reading_paused || t->eof_received || t->closing || coil__loop_closed(t->loop))
        return;
    t->receiving = true; /* I6 */
    t->receive.kind = (uint8_t)way_to_receive(t);
    t->receive.events = t->wire.in >= 0 ? POLLIN : 0; /* 0: errors, such as that a pipe's reader has gone */
    t->receive.wait_first = true;
    submit(t, &t->receive);
}

static void ended(coil__transport *t)
{
    t->eof_received = true;
    if (!t->protocol->eof_received(t))
        close_gently(t);
}

static void deliver(coil__transport *t, const char *data, size_t n)
{
    int rc = t->protocol->data_received(t, data, n);
    if (rc < 0)
        fail(t, rc);
}

/* After the last of what was there has been taken: how the operation has ended, if it has. */
static void receive_ended(coil__transport *t, int res)
{
    if (res == -EAGAIN)
        return;
    t->receiving = t->resting = false; /* I6; I7: a connection that was closed while it rested */
    t->starved = res == -ENOBUFS;
    if (t->closing || t->starved || res == -EINTR || res == -ECANCELED) /* paused, and not any more */
        return;
    if (res == 0)
        ended(t);
    else
        fail(t, res);
}

/* What the size of a piece says about how to receive. True: it is time to change. */
static bool weigh(coil__transport *t, int n)
{
    bool large = n >= LARGE_BYTES;
    t->run = large == t->large ? 0 : (uint8_t)(t->run + 1);
    if (t->run < BULK)
        return false;
    t->large = large;
    t->run = 0;
    return true;
}

static void take_received(coil__transport *t)
{
    const char *data;
    int n = -EAGAIN;
    while (!t->reading_paused || t->closing) {
        n = coil__op_take(&t->receive, &data);
        if (n <= 0)
            break;
        if (!t->closing) /* what arrives later than that is dropped */
            deliver(t, data, (size_t)n);
        if (weigh(t, n))
            cancel(t, &t->receive);
    }
    if (t->reading_paused && !t->closing) {
        t->resting = true; /* I7 */
        t->receiving = coil__op_rest(&t->receive);
    } else {
        receive_ended(t, n);
    }
}

/* A place for what is there to be read. */
static int find_buffer(coil__transport *t, char **buf, size_t *n)
{
    if (t->protocol->get_buffer)
        return t->protocol->get_buffer(t, buf, n);
    *buf = coil__backend_scratch(t->loop);
    *n = COIL__SCRATCH_BYTES;
    return *buf ? 0 : -ENOMEM;
}

/* What is there to be read: as coil__op_try(). */
static int read_now(coil__transport *t, char *buf, size_t n)
{
    struct coil__op op = {.kind = t->wire.socket ? COIL__OP_RECV : COIL__OP_READ, .fd = t->wire.in, .data = buf, .bytes = n};
    return attempt(t, &op);
}

/* Of something that is only written to: its reader has gone. */
static void reader_gone(coil__transport *t)
{
    force_close(t, coil__transport_buffered(t) > 0 ? coil_error_new(-EPIPE, NULL) : NULL);
}

static void read_ready(coil__transport *t)
{
    char *buf;
    size_t size;
    int n = find_buffer(t, &buf, &size);
    if (t->closing) /* by the protocol */
        return;
    if (n < 0) {
        fail(t, n);
        return;
    }
    n = read_now(t, buf, size);
    if (n > 0) {
        deliver(t, buf, (size_t)n);
        (void)weigh(t, n);
    } else if (n == 0) {
        ended(t);
    } else if (n != -EAGAIN) {
        fail(t, n);
    }
}

static void became_ready(coil__transport *t)
{
    if (t->closing)
        return;
    if (t->receive.res < 0)
        fail(t, t->receive.res);
    else if (t->wire.in < 0)
        reader_gone(t);
    else if (!t->reading_paused)
        read_ready(t);
}

static void run_receive(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, receive.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    if (t->receive.kind == COIL__OP_RECV_MANY) {
        take_received(t);
    } else {
        became_ready(t);
        t->receiving = false; /* I6: not before, a protocol may let go of the latch */
    }
    arm_receive(t);
    leave(t, &guard);
}

static void discard_receive(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, receive.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->receiving = t->receive.kind == COIL__OP_RECV_MANY && coil__op_rest(&t->receive); /* roused while in flight */
    leave(t, &guard);
}

void coil__transport_start(coil__transport *t)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    t->receiving = false;
    arm_receive(t);
    leave(t, &guard);
}

void coil__transport_pause_reading(coil__transport *t)
{
    t->reading_paused = true;
    if (t->receive.kind == COIL__OP_RECV_MANY)
        cancel(t, &t->receive); /* the kernel must not go on receiving */
}

/* Data that were received before the pause come first: I7. */
static void end_rest(coil__transport *t)
{
    t->resting = false;
    t->receiving = true;
    if (coil__op_rouse(&t->receive))
        coil__loop_ready(t->loop, &t->receive.handle);
}

void coil__transport_resume_reading(coil__transport *t)
{
    t->reading_paused = false;
    if (t->resting && !coil__loop_closed(t->loop))
        end_rest(t);
    else
        arm_receive(t);
}

/* --- writing -------------------------------------------------------------------------------------------------- */

static void pause_if_full(coil__transport *t)
{
    if (t->writing_paused || coil__transport_buffered(t) <= t->high)
        return;
    t->writing_paused = true;
    t->protocol->pause_writing(t);
}

static void resume_if_empty(coil__transport *t)
{
    if (!t->writing_paused || coil__transport_buffered(t) > t->low)
        return;
    t->writing_paused = false;
    t->protocol->resume_writing(t);
}

/* Sends what is buffered. The socket was found full, so nothing is tried before it says that there is room. */
static void arm_send(coil__transport *t)
{
    coil__backlog *b = t->backlog;
    if (t->sending_now || t->dead || coil__transport_buffered(t) == 0 || coil__loop_closed(t->loop))
        return;
    if (coil__bytes_size(&b->sending) == 0) {
        coil__bytes empty = b->sending;
        empty.start = empty.end = 0;
        b->sending = b->queued;
        b->queued = empty;
    }
    t->sending_now = true;
    b->send.data = coil__bytes_first(&b->sending);
    b->send.bytes = coil__bytes_size(&b->sending);
    b->send.wait_first = true;
    submit(t, &b->send);
}

/* All is sent, and nothing more will be. What is only written to ends with that. */
static int shut_down(coil__transport *t)
{
    if (t->wire.memory) {
        coil__memory_shut_down(t->wire.memory);
        return 0;
    }
    if (t->wire.socket)
        return shutdown(t->wire.out, SHUT_WR) < 0 ? -errno : 0;
    if (t->wire.in < 0) {
        close_gently(t);
    } else if (t->wire.out >= 0) {
        coil__fd_close(t->loop, t->wire.out);
        t->wire.out = -1;
    }
    return 0;
}

/* The last buffered byte is sent: what was waiting for that happens now. */
static void drained(coil__transport *t)
{
    coil__bytes_clear(&t->backlog->sending, KEPT_BYTES);
    coil__bytes_clear(&t->backlog->queued, KEPT_BYTES);
    if (t->closing) {
        t->dead = true;
        call_connection_lost(t);
    } else if (t->eof_written) {
        (void)shut_down(t); /* a connection that is broken will say so to its reader */
    }
}

static void sent(coil__transport *t, int res)
{
    if (res < 0) {
        fail(t, res);
        return;
    }
    coil__bytes_consume(&t->backlog->sending, (size_t)res);
    resume_if_empty(t);
    arm_send(t);
}

static void run_send(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__backlog, send.handle)->transport;
    coil__guard guard = coil__guard_enter(&t->latch);
    t->sending_now = false;
    if (!t->dead)
        sent(t, t->backlog->send.res);
    if (!t->dead && !t->sending_now)
        drained(t);
    leave(t, &guard);
}

static void discard_send(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__backlog, send.handle)->transport;
    coil__guard guard = coil__guard_enter(&t->latch);
    t->sending_now = false;
    leave(t, &guard);
}

static enum coil__op_kind kind_of_send(const coil__transport *t)
{
    return t->wire.socket ? COIL__OP_SEND : COIL__OP_WRITE;
}

/*
 * What the wire takes at once: the number of bytes or a negative errno. The latch is free meanwhile: I4. Several pieces go to
 * a socket only.
 */
static ssize_t send_at_once(coil__transport *t, const struct iovec *pieces, size_t count, coil__guard *guard)
{
    struct msghdr message;
    struct coil__op op = {.kind = (uint8_t)kind_of_send(t), .fd = t->wire.out};
    op.data = pieces->iov_base;
    op.bytes = pieces->iov_len;
    if (count > 1) {
        message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)pieces};
        message.msg_iovlen = count;
        op.kind = COIL__OP_SENDMSG;
        op.data = &message;
    }
    t->sending_now = true;
    coil__guard_leave(guard);
    int res = attempt(t, &op);
    *guard = coil__guard_enter(&t->latch);
    t->sending_now = false;
    return res == -EAGAIN ? 0 : res;
}

/* I9. NULL without memory. */
static coil__backlog *need_backlog(coil__transport *t)
{
    if (t->backlog)
        return t->backlog;
    coil__backlog *b = coil__calloc(sizeof *b);
    if (!b)
        return NULL;
    b->transport = t;
    coil__op_init(&b->send, kind_of_send(t), t->wire.out, &send_ops);
    return t->backlog = b;
}

/*
 * The pieces but for their first @skip bytes, @n in all: behind what is buffered, but before what others have written while
 * they were being sent: I4. -ENOMEM, and nothing has changed.
 */
static int buffer_rest(coil__transport *t, bool first, const struct iovec *pieces, size_t skip, size_t n)
{
    coil__backlog *b = need_backlog(t);
    coil__bytes *to = !b ? NULL : first ? &b->sending : &b->queued;
    if (!to || coil__bytes_reserve(to, n) < 0)
        return -ENOMEM;
    for (; n > 0; pieces++) {
        size_t passed = skip < pieces->iov_len ? skip : pieces->iov_len, bytes = pieces->iov_len - passed;
        if (bytes > 0)
            (void)coil__bytes_append(to, (const char *)pieces->iov_base + passed, bytes); /* there is room */
        skip -= passed;
        n -= bytes;
    }
    return 0;
}

/* Sends what is buffered; without any, does what others have asked for while a writer sent at once. */
static void catch_up(coil__transport *t)
{
    arm_send(t);
    pause_if_full(t);
    if (t->sending_now || t->dead || coil__transport_buffered(t) > 0)
        return;
    if (t->closing)
        die(t, NULL);
    else if (t->eof_written)
        (void)shut_down(t);
}

/* @n bytes in all. */
static int write_some(coil__transport *t, const struct iovec *pieces, size_t count, size_t n, coil__guard *guard)
{
    size_t taken = 0;
    bool at_once = coil__transport_buffered(t) == 0 && !t->sending_now;
    if (at_once) {
        ssize_t sent_now = send_at_once(t, pieces, count, guard);
        if (sent_now < 0)
            fail(t, (int)sent_now); /* an error is told to the reader and to drain, as in asyncio */
        if (t->dead)
            return 0;
        taken = (size_t)sent_now;
    }
    int rc = taken < n ? buffer_rest(t, at_once, pieces, taken, n - taken) : 0;
    if (rc < 0 && taken > 0)
        fail(t, rc); /* half a message must not be followed by another one */
    if (coil_unlikely(coil__transport_buffered(t) > 0 || t->closing || t->eof_written))
        catch_up(t);
    return rc;
}

/* Why nothing can be written; NULL: it can. */
static const char *why_not(const coil__transport *t, size_t n)
{
    if (n > SSIZE_MAX)
        return "write size can not be less than zero";
    return t->read_only ? "the stream is for reading only" : NULL;
}

static int write_pieces(coil__transport *t, const struct iovec *pieces, size_t count, size_t n)
{
    const char *refused = why_not(t, n);
    if (refused)
        return coil_raise(-EINVAL, "%s", refused);
    coil__guard guard = coil__guard_enter(&t->latch);
    bool too_late = t->eof_written;
    int rc = too_late || n == 0 || t->dead ? 0 : write_some(t, pieces, count, n, &guard);
    if (coil_likely(!t->dead))
        coil__guard_leave(&guard);
    else
        leave(t, &guard);
    if (too_late)
        return coil_raise(COIL_ERUNTIME, "Cannot call write() after write_eof()");
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

int coil__transport_write(coil__transport *t, const void *data, size_t n)
{
    const struct iovec piece = {(void *)(uintptr_t)data, n};
    return write_pieces(t, &piece, 1, n);
}

/* What takes no messages, or not so many pieces, gets them in one. */
static int write_joined(coil__transport *t, const struct iovec *pieces, size_t count, size_t n)
{
    char *data = coil__malloc(n), *end = data;
    if (!data)
        return coil_raise(-ENOMEM, NULL);
    for (size_t i = 0; i < count; i++)
        if (pieces[i].iov_len > 0)
            end = (char *)memcpy(end, pieces[i].iov_base, pieces[i].iov_len) + pieces[i].iov_len;
    int rc = coil__transport_write(t, data, n);
    coil__free(data);
    return rc;
}

static size_t sum_of(const struct iovec *pieces, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(n, pieces[i].iov_len, &n))
            return SIZE_MAX; /* which is refused */
    return n;
}

int coil__transport_writelines(coil__transport *t, const struct iovec *pieces, size_t count)
{
    size_t n = sum_of(pieces, count);
    if ((t->wire.socket && count <= IOV_MAX) || count <= 1 || n == 0 || n > SSIZE_MAX)
        return write_pieces(t, pieces, count, n);
    return write_joined(t, pieces, count, n);
}

int coil__transport_write_eof(coil__transport *t)
{
    if (t->read_only)
        return 0;
    coil__guard guard = coil__guard_enter(&t->latch);
    bool first = !t->closing && !t->eof_written;
    int rc = 0;
    if (first) {
        t->eof_written = true;
        rc = coil__transport_buffered(t) == 0 && !t->sending_now ? shut_down(t) : 0;
    }
    leave(t, &guard);
    return rc;
}

int coil__transport_set_limits(coil__transport *t, size_t high, size_t low)
{
    if (low > high)
        return coil_raise(-EINVAL, "high (%zu) must be >= low (%zu) must be >= 0", high, low);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->high = high;
    t->low = low;
    pause_if_full(t);
    leave(t, &guard); /* I8 */
    return 0;
}
