/*
 * transport.c - one connection; see transport.h for its states and invariants
 *
 * Functions from other files, and handles, take the latch; the static ones are called with the latch held, unless
 * they say otherwise.
 */
#include "transport.h"

#include <coil/errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "sock.h"

#include "../src/base/alloc.h"

#define HIGH_WATER ((size_t)64 * 1024)
#define INPUT_BYTES_FIRST ((size_t)4 * 1024)
#define INPUT_BYTES_MAX ((size_t)256 * 1024) /* asyncio's max_size */
#define KEPT_BYTES ((size_t)256 * 1024)      /* an empty write buffer keeps no more memory than this */

static void run_receive(coil__handle *h);
static void discard_receive(coil__handle *h);
static void run_send(coil__handle *h);
static void discard_send(coil__handle *h);
static void run_lost(coil__handle *h);
static void discard_lost(coil__handle *h);

static const coil__handle_ops receive_ops = {run_receive, discard_receive, "transport: receive"};
static const coil__handle_ops send_ops = {run_send, discard_send, "transport: send"};
static const coil__handle_ops lost_ops = {run_lost, discard_lost, "transport: connection lost"};

int coil__transport_init(coil__transport *t, const coil__protocol *protocol, coil_loop *loop, int fd)
{
    char *input = coil__malloc(INPUT_BYTES_FIRST);
    if (!input)
        return coil_raise(-ENOMEM, NULL);
    *t = (coil__transport){.protocol = protocol, .loop = loop, .fd = fd, .input = input, .high = HIGH_WATER,
                           .low = HIGH_WATER / 4, .input_bytes = INPUT_BYTES_FIRST};
    coil__op_init(&t->receive, COIL__OP_RECV, fd, &receive_ops);
    coil__op_init(&t->send, COIL__OP_SEND, fd, &send_ops);
    coil__handle_init(&t->lost_handle, &lost_ops);
    coil__loop_hold(loop);
    return 0;
}

/* --- the end -------------------------------------------------------------------------------------------------- */

/* Lets go of what it can: I1. True: it is over, I5. */
static bool settle(coil__transport *t)
{
    if (!t->lost || t->receiving || t->sending_now)
        return false;
    if (t->fd >= 0) {
        coil__fd_close(t->loop, t->fd);
        t->fd = -1;
        coil__free(t->input);
        t->input = NULL;
        coil__bytes_fini(&t->sending);
        coil__bytes_fini(&t->queued);
    }
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
    coil__op_cancel(t->loop, &t->receive);
}

/* Takes @error. */
static void force_close(coil__transport *t, coil_error *error)
{
    if (t->dead) {
        coil_error_release(error);
        return;
    }
    coil__op_cancel(t->loop, &t->send);
    if (!t->closing)
        stop_reading(t);
    coil__bytes_clear(&t->queued, KEPT_BYTES);
    if (!t->sending_now)
        coil__bytes_clear(&t->sending, KEPT_BYTES); /* I2: else when the send has completed */
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

void coil__transport_abandon(coil__transport *t)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    t->abandoned = true;
    if (!t->dead)
        force_close(t, NULL);
    leave(t, &guard);
}

/* --- reading -------------------------------------------------------------------------------------------------- */

static void arm_receive(coil__transport *t)
{
    if (t->receiving || t->reading_paused || t->eof_received || t->closing || coil__loop_closed(t->loop))
        return;
    t->receiving = true;
    t->receive.data = t->input;
    t->receive.bytes = t->input_bytes;
    t->receive.wait_first = true;
    coil__op_submit(t->loop, &t->receive);
}

/* Data that filled the whole input buffer deserve a larger one. */
static void grow_input(coil__transport *t)
{
    if (t->input_bytes >= INPUT_BYTES_MAX)
        return;
    char *larger = coil__malloc(t->input_bytes * 4);
    if (!larger)
        return; /* it works with the small one as well */
    coil__free(t->input);
    t->input = larger;
    t->input_bytes *= 4;
}

static void received(coil__transport *t, int res)
{
    if (res < 0) {
        fail(t, res);
    } else if (res == 0) {
        t->eof_received = true;
        if (!t->protocol->eof_received(t))
            close_gently(t);
    } else {
        int rc = t->protocol->data_received(t, t->input, (size_t)res);
        if (rc < 0)
            fail(t, rc);
        else if ((size_t)res == t->input_bytes)
            grow_input(t);
    }
}

static void run_receive(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, receive.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->receiving = false;
    if (!t->closing) /* what arrives later than that is dropped */
        received(t, t->receive.res);
    arm_receive(t);
    leave(t, &guard);
}

static void discard_receive(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, receive.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->receiving = false;
    leave(t, &guard);
}

void coil__transport_start(coil__transport *t)
{
    COIL__GUARD(&t->latch);
    arm_receive(t);
}

void coil__transport_pause_reading(coil__transport *t)
{
    t->reading_paused = true; /* called while data are handed over: no receive is in flight */
}

void coil__transport_resume_reading(coil__transport *t)
{
    t->reading_paused = false;
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
    if (t->sending_now || t->dead || coil__loop_closed(t->loop))
        return;
    if (coil__bytes_size(&t->sending) == 0) {
        coil__bytes empty = t->sending;
        empty.start = empty.end = 0;
        t->sending = t->queued;
        t->queued = empty;
    }
    if (coil__bytes_size(&t->sending) == 0)
        return;
    t->sending_now = true;
    t->send.data = coil__bytes_first(&t->sending);
    t->send.bytes = coil__bytes_size(&t->sending);
    t->send.wait_first = true;
    coil__op_submit(t->loop, &t->send);
}

static int shut_down(coil__transport *t)
{
    return shutdown(t->fd, SHUT_WR) < 0 ? -errno : 0;
}

/* The last buffered byte is sent: what was waiting for that happens now. */
static void drained(coil__transport *t)
{
    coil__bytes_clear(&t->sending, KEPT_BYTES);
    coil__bytes_clear(&t->queued, KEPT_BYTES);
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
    coil__bytes_consume(&t->sending, (size_t)res);
    resume_if_empty(t);
    arm_send(t);
}

static void run_send(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, send.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->sending_now = false;
    if (!t->dead)
        sent(t, t->send.res);
    if (!t->dead && !t->sending_now)
        drained(t);
    leave(t, &guard);
}

static void discard_send(coil__handle *h)
{
    coil__transport *t = coil_container_of(h, coil__transport, send.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->sending_now = false;
    leave(t, &guard);
}

/* What the socket takes at once: the number of bytes or a negative errno. The latch is free meanwhile: I4. */
static ssize_t send_at_once(coil__transport *t, const void *data, size_t n, coil__guard *guard)
{
    struct coil__op op = {.kind = COIL__OP_SEND, .fd = t->fd, .data = (void *)(uintptr_t)data, .bytes = n};
    t->sending_now = true;
    coil__guard_leave(guard);
    int res = coil__op_try(&op);
    *guard = coil__guard_enter(&t->latch);
    t->sending_now = false;
    return res == -EAGAIN ? 0 : res;
}

/* Behind what is buffered; but before what others have written while @data were being sent: I4. */
static int buffer_rest(coil__transport *t, bool first, const void *data, size_t n)
{
    return coil__bytes_append(first ? &t->sending : &t->queued, data, n);
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

static int write_some(coil__transport *t, const void *data, size_t n, coil__guard *guard)
{
    size_t taken = 0;
    bool at_once = coil__transport_buffered(t) == 0 && !t->sending_now;
    if (at_once) {
        ssize_t sent_now = send_at_once(t, data, n, guard);
        if (sent_now < 0)
            fail(t, (int)sent_now); /* an error is told to the reader and to drain, as in asyncio */
        if (t->dead)
            return 0;
        taken = (size_t)sent_now;
    }
    int rc = taken < n ? buffer_rest(t, at_once, (const char *)data + taken, n - taken) : 0;
    if (rc < 0 && taken > 0)
        fail(t, rc); /* half a message must not be followed by another one */
    if (coil_unlikely(coil__transport_buffered(t) > 0 || t->closing || t->eof_written))
        catch_up(t);
    return rc;
}

int coil__transport_write(coil__transport *t, const void *data, size_t n)
{
    if (n > SSIZE_MAX)
        return coil_raise(-EINVAL, "write size can not be less than zero");
    coil__guard guard = coil__guard_enter(&t->latch);
    bool too_late = t->eof_written;
    int rc = too_late || n == 0 || t->dead ? 0 : write_some(t, data, n, &guard);
    if (coil_likely(!t->dead))
        coil__guard_leave(&guard);
    else
        leave(t, &guard);
    if (too_late)
        return coil_raise(COIL_ERUNTIME, "Cannot call write() after write_eof()");
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

int coil__transport_write_eof(coil__transport *t)
{
    COIL__GUARD(&t->latch);
    if (t->closing || t->eof_written)
        return 0;
    t->eof_written = true;
    return coil__transport_buffered(t) == 0 && !t->sending_now ? shut_down(t) : 0;
}

int coil__transport_set_limits(coil__transport *t, size_t high, size_t low)
{
    if (low > high)
        return coil_raise(-EINVAL, "high (%zu) must be >= low (%zu) must be >= 0", high, low);
    COIL__GUARD(&t->latch);
    t->high = high;
    t->low = low;
    pause_if_full(t);
    return 0;
}
