/*
 * datagram.c - sockets for datagrams on which tasks receive and send
 *
 * Called in tasks, in a runtime on any worker, several at a time: each call has an operation of its own, in its frame
 * (call.h).
 * Source: none in asyncio; udp(7) tells of UDP_SEGMENT and UDP_GRO.
 */
#include <coil/datagram.h>

#include <unistd.h>

#include "dgram.h"

#include "../src/base/alloc.h"
#include "../src/base/atomic.h"
#include "../src/sync.h"

enum { SEGMENTS_MAX = 64, MESSAGE_MAX = 65507 }; /* the kernel's UDP_MAX_SEGMENTS of old; what fits into IPv4 */

struct coil_datagram {
    coil_loop *loop; /* held */
    int fd;          /* owned */
    bool joins;      /* UDP_GRO was asked for */
    coil_address self, peer;
    bool names_peer; /* it is not connected, and may broadcast to its peer, which each call has to name */
    _Atomic unsigned users; /* suspended calls. [DGRAM-1] relaxed: only for the assertion */
    _Atomic bool splits;    /* [DGRAM-2] relaxed: the kernel has UDP_SEGMENT, as far as is known */
};

/* --- opening, closing ------------------------------------------------------------------------------------------- */

/* Other sockets take the wish to split, and send a single message all the same. */
static bool is_udp(int fd)
{
    int protocol = 0;
    socklen_t size = sizeof protocol;
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_UDP;
}

static int make(coil_loop *loop, int fd, coil_datagram **datagram)
{
    coil_datagram *d = coil__calloc(sizeof *d);
    if (!d) {
        close(fd);
        return coil_raise(-ENOMEM, NULL);
    }
    d->loop = loop;
    d->fd = fd;
    store_relaxed(&d->splits, is_udp(fd)); /* [DGRAM-2] */
    coil__sock_names(fd, &d->self, &d->peer);
    coil__loop_hold(loop);
    *datagram = d;
    return 0;
}

int coil_datagram_open(const coil_datagram_options *options, coil_datagram **datagram)
{
    int fd;
    coil_address remote;
    coil_datagram *d;
    COIL_TRY(coil__task_may_wait());
    coil_loop *loop = coil__running_loop();
    COIL_TRY(coil__dgram_open(loop, options, &fd, &remote));
    COIL_TRY(make(loop, fd, &d));
    d->joins = options && options->gro;
    d->names_peer = remote.bytes && !d->peer.bytes;
    d->peer = remote;
    *datagram = d;
    return 0;
}

int coil_datagram_open_on(int fd, coil_datagram **datagram)
{
    coil_loop *loop = coil_get_running_loop();
    if (!loop) {
        close(fd);
        return COIL_ENOLOOP;
    }
    COIL_TRY(coil__dgram_adopt(fd));
    return make(loop, fd, datagram);
}

void coil_datagram_close(coil_datagram *d)
{
    if (!d)
        return;
    coil_assert(load_relaxed(&d->users) == 0); /* [DGRAM-1] */
    coil_loop *loop = d->loop;
    coil__fd_close(loop, d->fd);
    coil__free(d);
    coil__loop_unhold(loop);
}

int coil_datagram_fd(const coil_datagram *d)
{
    coil_assert(d);
    return d->fd;
}

void coil_datagram_address(const coil_datagram *d, coil_address *address)
{
    coil_assert(d);
    *address = d->self;
}

void coil_datagram_peer(const coil_datagram *d, coil_address *address)
{
    coil_assert(d);
    *address = d->peer;
}

/* --- receiving, sending ----------------------------------------------------------------------------------------- */

static int transfer(coil_datagram *d, enum coil__op_kind kind, struct msghdr *message, const char *what)
{
    coil__call c;
    COIL_TRY(coil__task_needed());
    coil__call_init(&c, kind, d->fd);
    c.op.data = message;
    c.op.once = false;
    fetch_add_relaxed(&d->users, 1); /* [DGRAM-1] */
    int rc = coil__sock_call(d->loop, &c, what);
    fetch_sub_acq_rel(&d->users, 1); /* [DGRAM-1] */
    return rc;
}

static int receive(coil_datagram *d, void *buf, size_t cap, coil_address *from, size_t *n, size_t *segment)
{
    coil_address address = {.bytes = sizeof address.storage};
    coil__dgram_control control;
    struct iovec part = {buf, cap};
    struct msghdr message = coil__sock_message(&part, &address);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    int res = transfer(d, COIL__OP_RECVMSG, &message, "receiving a datagram");
    COIL_TRY(res);
    address.bytes = message.msg_namelen;
    if (from)
        *from = address;
    *segment = coil__dgram_segment(&message, (size_t)res);
    *n = (size_t)res;
    return 0;
}

int coil_datagram_recv(coil_datagram *d, void *buf, size_t cap, coil_address *from, size_t *n)
{
    coil_assert(d);
    size_t segment;
    if (d->joins)
        return coil_raise(COIL_ERUNTIME, "with gro there may be several datagrams: coil_datagram_recv_segments()");
    return receive(d, buf, cap, from, n, &segment);
}

int coil_datagram_recv_segments(coil_datagram *d, void *buf, size_t cap, coil_address *from, size_t *n, size_t *segment)
{
    coil_assert(d);
    return receive(d, buf, cap, from, n, segment);
}

/* @segment: 0: the kernel is not asked to cut it. */
static int send_message(coil_datagram *d, const void *data, size_t bytes, size_t segment, const coil_address *to)
{
    coil__dgram_control control;
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr message = coil__sock_message(&part, to ? to : d->names_peer ? &d->peer : NULL);
    if (segment)
        coil__dgram_ask_segments(&message, &control, segment);
    return transfer(d, COIL__OP_SENDMSG, &message, "sending a datagram");
}

int coil_datagram_send(coil_datagram *d, const void *data, size_t bytes, const coil_address *to)
{
    coil_assert(d);
    int rc = send_message(d, data, bytes, 0, to);
    return rc < 0 ? rc : 0;
}

/* The kernel, or the device that the packets would leave by, does not cut messages. */
static bool cannot_split(int code)
{
    return code == -EINVAL || code == -EIO || code == -ENOPROTOOPT || code == -EOPNOTSUPP;
}

/* As many datagrams as go into one call. The number of bytes. */
static int send_several(coil_datagram *d, const char *data, size_t bytes, size_t segment, const coil_address *to)
{
    size_t most = MESSAGE_MAX / segment < SEGMENTS_MAX ? MESSAGE_MAX / segment : SEGMENTS_MAX;
    size_t n = bytes < most * segment ? bytes : most * segment;
    if (n > segment && load_relaxed(&d->splits)) { /* [DGRAM-2] */
        int rc = send_message(d, data, n, segment, to);
        if (!cannot_split(rc))
            return rc;
        coil_error_release(coil_catch(rc));
        store_relaxed(&d->splits, false); /* [DGRAM-2] */
    }
    return send_message(d, data, bytes < segment ? bytes : segment, 0, to);
}

int coil_datagram_send_segments(coil_datagram *d, const void *data, size_t bytes, size_t segment,
                                const coil_address *to, size_t *reterr_sent)
{
    coil_assert(d);
    size_t sent = 0;
    int n = 0;
    if (segment == 0 || segment > MESSAGE_MAX)
        n = coil_raise(-EINVAL, "datagrams of %zu bytes", segment);
    while (n >= 0 && sent < bytes) {
        n = send_several(d, (const char *)data + sent, bytes - sent, segment, to);
        sent += n > 0 ? (size_t)n : 0;
    }
    if (reterr_sent)
        *reterr_sent = sent;
    return n < 0 ? n : 0;
}
