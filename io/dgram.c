/*
 * dgram.c - datagram endpoints: a socket that calls a protocol's functions
 *
 * A transport waits for readiness, on its home: the worker that it was made on. When there is something it receives
 * some datagrams into the worker's scratch buffer, and calls the protocol for each. What is sent goes out at once, or
 * is buffered in order and sent when there is room. All functions of the protocol are called at home, without the
 * latch, but for those that sendto() and set_write_limits() call themselves; on the loop's thread, in a runtime these
 * two and close() may be used on any worker.
 * Source: asyncio.selector_events._SelectorDatagramTransport of CPython 3.11.
 *
 *   state     entered by                                        receives  sends
 *   open      connection_made has returned                      yes       yes
 *   closing   close, with something buffered                    no        what is buffered
 *   dead      close without, abort, the last of what was        no        no
 *             buffered; the handle `lost` is on its way
 *   lost      connection_lost has returned                      no        no
 *
 * I1 connection_lost is called once, last, unless the transport was freed or the loop is closed before
 * I2 the descriptor is closed when the transport is lost, neither operation is in flight (their handles have run),
 *    and nobody is sending at once
 * I3 the memory goes when it was freed, the descriptor is closed, and the handles have run
 * I4 connection_lost waits until nothing else of the protocol is being called, be it on another worker
 * I5 the program hears of pausing before it hears of resuming, which waits for that: so it is not left paused
 */
#include "dgram.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "../src/base/alloc.h"
#include "../src/future.h"
#include "../src/sync.h"

enum { BURST = 16, HIGH_WATER = 64 * 1024 };

typedef struct packet {
    coil__node node;
    coil_address to; /* or none */
    size_t bytes;
    char data[];
} packet;

struct coil_datagram_transport {
    const coil_datagram_protocol *protocol;
    void *arg;
    coil_loop *loop;     /* held */
    coil_loop *home;     /* where the protocol is called; of the runtime of `loop` */
    coil_address remote; /* the only one to send to, or none */
    bool connected;      /* the kernel knows it */
    coil__latch latch;   /* guards what follows */
    int fd;              /* owned; -1: closed (I2) */
    struct coil__op receive, send;
    coil__handle begin, kick, lost; /* kick: to wait for room, or to resume, at home */
    coil_future *made;   /* connection_made has returned; a reference of the handle's */
    coil_error *error;   /* why it is lost; owned */
    coil__list queue;    /* of packets; owned */
    size_t buffered, high, low;
    bool beginning, kicking, losing; /* the handles are on their way */
    unsigned calling;         /* who uses the descriptor, or calls the protocol, with the latch free: I4 */
    bool lost_waits;          /* I4 */
    bool pausing;             /* pause_writing is being called: I5 */
    bool receiving, sending;  /* the operations' handles have not run */
    bool paused;              /* pause_writing was called */
    bool closing, dead, freed;
    bool orphan;              /* nobody got it: it is freed after connection_lost */
};

/* --- the end ---------------------------------------------------------------------------------------------------- */

static void drop_queue(coil_datagram_transport *t)
{
    while (!coil__list_empty(&t->queue))
        coil__free(coil_container_of(coil__list_pop(&t->queue), packet, node));
    t->buffered = 0;
}

static void run_at_home(coil_datagram_transport *t, coil__handle *h)
{
    if (t->home == coil__here(t->loop))
        coil__loop_ready(t->loop, h);
    else
        coil__loop_post(t->home, h);
}

/* Gives the latch back after something has ended. @t may be gone: I2, I3. */
static void leave(coil_datagram_transport *t, const coil__guard *guard)
{
    bool over = t->dead && !t->losing && !t->beginning && !t->kicking && !t->receiving && !t->sending &&
                t->calling == 0;
    if (t->lost_waits && t->calling == 0) {
        t->lost_waits = false;
        run_at_home(t, &t->lost); /* I4 */
    }
    if (over && t->fd >= 0) {
        coil__fd_close(t->loop, t->fd);
        t->fd = -1;
    }
    over = over && t->freed;
    coil__guard_leave(guard);
    if (!over)
        return;
    coil_loop *loop = t->loop;
    coil_error_release(t->error);
    coil__free(t);
    coil__loop_unhold(loop);
}

/* Held. Nothing is sent or received any more; connection_lost is on its way. */
static void die(coil_datagram_transport *t)
{
    if (t->dead)
        return;
    t->closing = t->dead = true;
    drop_queue(t);
    if (t->receiving)
        coil__op_cancel(t->loop, &t->receive);
    if (t->sending)
        coil__op_cancel(t->loop, &t->send);
    if (t->freed || coil__loop_closed(t->loop))
        return;
    t->losing = true;
    run_at_home(t, &t->lost);
}

static bool is_freed(coil_datagram_transport *t)
{
    COIL__GUARD(&t->latch);
    return t->freed;
}

/* I4. Who ends the last call brings the handle back. */
static bool must_wait(coil_datagram_transport *t)
{
    COIL__GUARD(&t->latch);
    return t->lost_waits = t->calling > 0;
}

static void run_lost(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, lost);
    if (must_wait(t))
        return;
    if (t->protocol->connection_lost && !is_freed(t)) /* I1 */
        t->protocol->connection_lost(t, t->error, t->arg);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->losing = false;
    t->freed |= t->orphan;
    leave(t, &guard);
}

static void discard_lost(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, lost);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->losing = false;
    t->freed |= t->orphan;
    leave(t, &guard);
}

static const coil__handle_ops lost_ops = {run_lost, discard_lost, "datagram: connection_lost"};

/* --- receiving -------------------------------------------------------------------------------------------------- */

static bool may_receive(coil_datagram_transport *t)
{
    COIL__GUARD(&t->latch);
    return !t->closing;
}

static void begin_calling(coil_datagram_transport *t)
{
    COIL__GUARD(&t->latch);
    t->calling++; /* I4 */
}

static void tell_error(coil_datagram_transport *t, int code, const char *what)
{
    if (!t->protocol->error_received)
        return;
    coil_error *error = coil_error_new(code, "%s: %s", what, coil_strerror(code));
    t->protocol->error_received(t, error, t->arg);
    coil_error_release(error);
}

/* Tells of each datagram that the kernel has joined. */
static void tell_data(coil_datagram_transport *t, const char *data, size_t n, size_t segment, const coil_address *from)
{
    size_t at = 0;
    do {
        size_t bytes = n - at < segment ? n - at : segment;
        if (t->protocol->datagram_received)
            t->protocol->datagram_received(t, data + at, bytes, from, t->arg);
        at += bytes;
    } while (at < n && may_receive(t));
}

/* One message. False if there is none. */
static bool receive_one(coil_datagram_transport *t, char *buf)
{
    coil_address from = {.bytes = sizeof from.storage};
    coil__dgram_control control;
    struct iovec part = {buf, COIL__SCRATCH_BYTES};
    struct msghdr message = coil__sock_message(&part, &from);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct coil__op op = {.kind = COIL__OP_RECVMSG, .fd = t->fd, .data = &message};
    int n = coil__op_try(&op);
    if (n == -EAGAIN)
        return false;
    from.bytes = message.msg_namelen;
    if (n < 0)
        tell_error(t, n, "receiving a datagram");
    else
        tell_data(t, buf, (size_t)n, coil__dgram_segment(&message, (size_t)n), &from);
    return true;
}

/* Held; at home. */
static void arm_receive(coil_datagram_transport *t)
{
    if (t->closing || coil__loop_closed(t->loop))
        return;
    t->receiving = true;
    t->receive.events = POLLIN;
    t->receive.wait_first = true;
    coil__op_submit(t->loop, &t->receive);
}

static void end_receive(coil_datagram_transport *t, bool again)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    t->receiving = false;
    t->calling -= again;
    if (again)
        arm_receive(t);
    leave(t, &guard);
}

static void run_receive(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, receive.handle);
    begin_calling(t);
    char *buf = coil__backend_scratch(t->loop); /* nothing else is received here until the protocol has returned */
    if (!buf && may_receive(t))
        tell_error(t, -ENOMEM, "receiving a datagram");
    for (int i = 0; buf && i < BURST && may_receive(t); i++)
        if (!receive_one(t, buf))
            break;
    end_receive(t, true);
}

static void discard_receive(coil__handle *h)
{
    end_receive(coil_container_of(h, coil_datagram_transport, receive.handle), false);
}

static const coil__handle_ops receive_ops = {run_receive, discard_receive, "datagram: receive"};

/* --- sending ---------------------------------------------------------------------------------------------------- */

/* Tries once. 0 or a negative errno. */
static int send_now(coil_datagram_transport *t, const void *data, size_t bytes, const coil_address *to)
{
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr message = coil__sock_message(&part, to && to->bytes && !t->connected ? to : NULL);
    struct coil__op op = {.kind = COIL__OP_SENDMSG, .fd = t->fd, .data = &message};
    int n = coil__op_try(&op);
    return n < 0 ? n : 0;
}

/* Held. */
static void kick(coil_datagram_transport *t)
{
    if (t->kicking)
        return;
    t->kicking = true;
    run_at_home(t, &t->kick);
}

/* Held. Waits for room, at home. */
static void arm_send(coil_datagram_transport *t)
{
    if (t->sending || t->kicking || t->dead || coil__list_empty(&t->queue) || coil__loop_closed(t->loop))
        return;
    if (t->home != coil__here(t->loop)) {
        kick(t);
        return;
    }
    t->sending = true;
    t->send.events = POLLOUT;
    t->send.wait_first = true;
    coil__op_submit(t->loop, &t->send);
}

static void end_kick(coil_datagram_transport *t, bool arm)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    t->kicking = false;
    if (arm)
        arm_send(t);
    leave(t, &guard);
}

/* Held: whether resume_writing is due. Not after die(): connection_lost may have been called, I1. */
static bool take_resume(coil_datagram_transport *t)
{
    bool due = t->paused && !t->pausing && t->buffered <= t->low && !t->dead; /* I5 */
    t->paused = t->paused && !due;
    return due;
}

static void run_kick(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, kick);
    coil__guard guard = coil__guard_enter(&t->latch);
    bool resume = take_resume(t);
    coil__guard_leave(&guard);
    if (resume && t->protocol->resume_writing)
        t->protocol->resume_writing(t, t->arg);
    end_kick(t, true);
}

static void discard_kick(coil__handle *h)
{
    end_kick(coil_container_of(h, coil_datagram_transport, kick), false);
}

static const coil__handle_ops kick_ops = {run_kick, discard_kick, "datagram: send"};

static packet *take_packet(coil_datagram_transport *t)
{
    COIL__GUARD(&t->latch);
    if (t->dead || coil__list_empty(&t->queue))
        return NULL;
    packet *p = coil_container_of(coil__list_pop(&t->queue), packet, node);
    t->buffered -= p->bytes;
    return p;
}

/* There was no room for it after all. */
static void put_back(coil_datagram_transport *t, packet *p)
{
    COIL__GUARD(&t->latch);
    if (t->dead) {
        coil__free(p);
        return;
    }
    coil__list_prepend(&t->queue, &p->node);
    t->buffered += p->bytes;
}

/* Sends from the queue until it is empty, would block, or fails: that is returned. */
static int send_queue(coil_datagram_transport *t)
{
    packet *p;
    int rc = 0;
    while (rc == 0 && (p = take_packet(t))) {
        rc = send_now(t, p->data, p->bytes, &p->to);
        if (rc == -EAGAIN)
            put_back(t, p);
        else
            coil__free(p);
    }
    return rc;
}

/* Held: there is room again, and nothing will be sent that brings resume_writing: a kick does. */
static bool resume_waits(const coil_datagram_transport *t)
{
    return t->paused && t->buffered <= t->low && !t->dead && !coil__loop_closed(t->loop);
}

static void run_send(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, send.handle);
    begin_calling(t);
    int rc = send_queue(t);
    coil__guard guard = coil__guard_enter(&t->latch);
    bool failed = rc < 0 && rc != -EAGAIN && !t->freed;
    bool resume = !failed && take_resume(t); /* after an error when the next has gone */
    coil__guard_leave(&guard);
    if (failed)
        tell_error(t, rc, "sending a datagram");
    if (resume && t->protocol->resume_writing)
        t->protocol->resume_writing(t, t->arg);
    guard = coil__guard_enter(&t->latch);
    t->sending = false;
    t->calling--;
    if (t->closing && coil__list_empty(&t->queue))
        die(t);
    else if (failed && coil__list_empty(&t->queue) && resume_waits(t))
        kick(t);
    else
        arm_send(t);
    leave(t, &guard);
}

static void discard_send(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, send.handle);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->sending = false;
    leave(t, &guard);
}

static const coil__handle_ops send_ops = {run_send, discard_send, "datagram: send"};

/* Held: whether pause_writing is due. Then end_calling() has to be told. */
static bool take_pause(coil_datagram_transport *t)
{
    bool due = !t->paused && t->buffered > t->high;
    t->paused |= due;
    t->pausing |= due;
    return due;
}

/* Held. Buffers a copy. Whether pause_writing is due, or -ENOMEM. */
static int enqueue(coil_datagram_transport *t, const void *data, size_t bytes, const coil_address *to)
{
    packet *p = coil__malloc(sizeof *p + bytes);
    if (!p)
        return -ENOMEM;
    p->to = to ? *to : (coil_address){0};
    p->bytes = bytes;
    memcpy(p->data, data, bytes);
    coil__list_append(&t->queue, &p->node);
    t->buffered += bytes;
    arm_send(t);
    return take_pause(t);
}

/* Whether the caller may send at once. Else *@pause is what enqueue() says, or 0. To be ended by end_calling(). */
static bool begin_sendto(coil_datagram_transport *t, const void *data, size_t bytes, const coil_address *to, int *pause)
{
    COIL__GUARD(&t->latch);
    t->calling++; /* I2, I4 */
    *pause = 0;
    if (t->closing)
        return false;
    bool at_once = coil__list_empty(&t->queue);
    if (!at_once)
        *pause = enqueue(t, data, bytes, to);
    return at_once;
}

/* What would have blocked is buffered, as enqueue() says. */
static int buffer_after_all(coil_datagram_transport *t, const void *data, size_t bytes, const coil_address *to)
{
    COIL__GUARD(&t->latch);
    return t->closing ? 0 : enqueue(t, data, bytes, to);
}

/* @pause: as take_pause() said: the program is told. */
static void end_calling(coil_datagram_transport *t, bool pause)
{
    if (pause && t->protocol->pause_writing)
        t->protocol->pause_writing(t, t->arg);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->calling--;
    if (pause) {
        t->pausing = false;
        if (t->loop->parallel && resume_waits(t))
            kick(t); /* there was room again, at home, in the meantime: I5 */
    }
    leave(t, &guard);
}

static int check_target(const coil_datagram_transport *t, const coil_address *to)
{
    char name[128];
    if (!to || !t->remote.bytes || coil_address_equal(to, &t->remote))
        return 0;
    coil_address_format(&t->remote, name, sizeof name);
    return coil_raise(-EINVAL, "Invalid address: must be None or %s", name);
}

int coil_datagram_transport_sendto(coil_datagram_transport *t, const void *data, size_t bytes, const coil_address *to)
{
    coil_assert(t);
    int rc = 0, pause;
    COIL_TRY(check_target(t, to));
    if (bytes == 0)
        return 0;
    if (!to)
        to = &t->remote;
    if (begin_sendto(t, data, bytes, to, &pause)) {
        rc = send_now(t, data, bytes, to);
        pause = rc == -EAGAIN ? buffer_after_all(t, data, bytes, to) : 0;
    }
    if (rc < 0 && rc != -EAGAIN)
        tell_error(t, rc, "sending a datagram");
    end_calling(t, pause > 0);
    return pause < 0 ? coil_raise(-ENOMEM, NULL) : 0;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

static void end_begin(coil_datagram_transport *t, bool receive)
{
    coil_future *made = t->made;
    coil__guard guard = coil__guard_enter(&t->latch);
    t->beginning = false;
    if (receive)
        arm_receive(t);
    leave(t, &guard);
    if (receive)
        (void)coil__future_finish(made, NULL, NULL);
    coil_release(made);
}

static void run_begin(coil__handle *h)
{
    coil_datagram_transport *t = coil_container_of(h, coil_datagram_transport, begin);
    if (t->protocol->connection_made && !is_freed(t))
        t->protocol->connection_made(t, t->arg);
    end_begin(t, true);
}

static void discard_begin(coil__handle *h)
{
    end_begin(coil_container_of(h, coil_datagram_transport, begin), false);
}

static const coil__handle_ops begin_ops = {run_begin, discard_begin, "datagram: connection_made"};

/* Takes @fd. */
static coil_datagram_transport *new_transport(const coil_datagram_protocol *protocol, void *arg, coil_loop *loop,
                                              int fd, const coil_address *remote)
{
    coil_datagram_transport *t = coil__calloc(sizeof *t);
    coil_future *made = t ? coil__future_new(loop) : NULL;
    if (!made) {
        coil__free(t);
        close(fd);
        return NULL;
    }
    coil_address self, peer;
    coil__sock_names(fd, &self, &peer);
    t->protocol = protocol;
    t->arg = arg;
    t->loop = loop;
    t->home = coil__here(loop);
    t->fd = fd;
    t->made = made;
    t->connected = peer.bytes > 0;
    t->remote = *remote;
    t->high = HIGH_WATER;
    t->low = HIGH_WATER / 4;
    coil__list_init(&t->queue);
    coil__op_init(&t->receive, COIL__OP_POLL, fd, &receive_ops);
    coil__op_init(&t->send, COIL__OP_POLL, fd, &send_ops);
    coil__handle_init(&t->begin, &begin_ops);
    coil__handle_init(&t->kick, &kick_ops);
    coil__handle_init(&t->lost, &lost_ops);
    coil__loop_hold(loop);
    return t;
}

/* Nobody gets it: it ends, and goes after connection_lost. */
static void abandon(coil_datagram_transport *t)
{
    coil__guard guard = coil__guard_enter(&t->latch);
    t->orphan = true;
    die(t);
    t->freed |= !t->losing; /* of a closed loop */
    leave(t, &guard);
}

static int begin(coil_datagram_transport *t, coil_datagram_transport **transport)
{
    if (!t)
        return coil_raise(-ENOMEM, NULL);
    coil_future *made = coil_retain(t->made);
    t->beginning = true;
    coil__loop_ready(t->loop, &t->begin);
    int rc = coil_await(made, NULL);
    coil_release(made);
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        abandon(t);
        return coil_raise_error(error);
    }
    *transport = t;
    return 0;
}

int coil_create_datagram_endpoint(const coil_datagram_protocol *protocol, void *arg,
                                  const coil_datagram_options *options, coil_datagram_transport **transport)
{
    int fd;
    coil_address remote;
    coil_assert(protocol);
    COIL_TRY(coil__task_may_wait());
    coil_loop *loop = coil__running_loop();
    COIL_TRY(coil__dgram_open(loop, options, &fd, &remote));
    return begin(new_transport(protocol, arg, loop, fd, &remote), transport);
}

int coil_create_datagram_endpoint_on(const coil_datagram_protocol *protocol, void *arg, int fd,
                                     coil_datagram_transport **transport)
{
    coil_address none = {0};
    coil_assert(protocol);
    int rc = coil__task_may_wait();
    if (rc < 0) {
        close(fd);
        return rc;
    }
    COIL_TRY(coil__dgram_adopt(fd));
    return begin(new_transport(protocol, arg, coil__running_loop(), fd, &none), transport);
}

/* --- what programs ask for -------------------------------------------------------------------------------------- */

void coil_datagram_transport_close(coil_datagram_transport *t)
{
    coil_assert(t);
    coil__guard guard = coil__guard_enter(&t->latch);
    t->closing = true;
    if (t->receiving)
        coil__op_cancel(t->loop, &t->receive);
    if (coil__list_empty(&t->queue))
        die(t);
    leave(t, &guard);
}

void coil_datagram_transport_abort(coil_datagram_transport *t)
{
    coil_assert(t);
    coil__guard guard = coil__guard_enter(&t->latch);
    die(t);
    leave(t, &guard);
}

void coil_datagram_transport_free(coil_datagram_transport *t)
{
    if (!t)
        return;
    coil__guard guard = coil__guard_enter(&t->latch);
    t->freed = true;
    die(t);
    leave(t, &guard);
}

/* A const transport's latch. */
static coil__latch *latch_of(const coil_datagram_transport *t)
{
    coil_assert(t);
    return &((coil_datagram_transport *)(uintptr_t)t)->latch;
}

bool coil_datagram_transport_is_closing(const coil_datagram_transport *t)
{
    COIL__GUARD(latch_of(t));
    return t->closing;
}

/* Whether there is more in the buffer than there may be now. To be ended by end_calling(). */
static bool set_limits(coil_datagram_transport *t, size_t high, size_t low)
{
    COIL__GUARD(&t->latch);
    t->calling++; /* I4 */
    t->high = high;
    t->low = low;
    return take_pause(t);
}

int coil_datagram_transport_set_write_limits(coil_datagram_transport *t, size_t high, size_t low)
{
    coil_assert(t);
    if (low > high)
        return coil_raise(-EINVAL, "high (%zu) must be >= low (%zu) must be >= 0", high, low);
    end_calling(t, set_limits(t, high, low));
    return 0;
}

void coil_datagram_transport_get_write_limits(const coil_datagram_transport *t, size_t *high, size_t *low)
{
    COIL__GUARD(latch_of(t));
    *high = t->high;
    *low = t->low;
}

size_t coil_datagram_transport_get_write_buffer_size(const coil_datagram_transport *t)
{
    COIL__GUARD(latch_of(t));
    return t->buffered;
}

int coil_datagram_transport_fd(const coil_datagram_transport *t)
{
    COIL__GUARD(latch_of(t));
    return t->dead && !t->losing ? -1 : t->fd; /* once it is lost it is only still to be closed */
}
