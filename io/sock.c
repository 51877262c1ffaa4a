/*
 * sock.c - sockets; see sock.h
 *
 * Source: socket(7), tcp(7), and asyncio.base_events' _connect_sock and create_server.
 */
#include "sock.h"

#include <coil/errno.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "op.h"

#include "../src/base/alloc.h"
#include "../src/future.h"

static void forget(coil_loop *loop, int fd)
{
    COIL__GUARD(&loop->backend_latch);
    if (loop->backend)
        loop->backend->ops->forget(loop->backend, fd);
}

void coil__fd_close(coil_loop *loop, int fd)
{
    if (coil_likely(!loop->parallel))
        forget(loop, fd);
    for (unsigned i = 0; loop->parallel && i < loop->member_count; i++)
        forget(loop->members[i], fd);
    close(fd);
}

void coil__set_nodelay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* without it things are slower, not wrong */
}

size_t coil__address_format(const coil__address *a, char *buf, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    int n;
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof host);
        n = snprintf(buf, size, "%s:%u", host, (unsigned)ntohs(a->in.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof host);
        n = snprintf(buf, size, "[%s]:%u", host, (unsigned)ntohs(a->in6.sin6_port));
    } else {
        n = snprintf(buf, size, "%s", "");
    }
    return (size_t)n;
}

/* The error of a socket call on an address, with both in its message. */
static int raise_for(const char *what, const struct addrinfo *a, int code)
{
    coil__address address = {0};
    char name[80];
    memcpy(&address, a->ai_addr, a->ai_addrlen < sizeof address ? a->ai_addrlen : sizeof address);
    coil__address_format(&address, name, sizeof name);
    return coil_raise(code, "%s %s: %s", what, name, coil_strerror(code));
}

/* --- connecting ----------------------------------------------------------------------------------------------- */

/*
 * A connection being made. The caller and the operation's handle, which may run on another worker at the same time,
 * agree by one word on who frees it:
 *
 *   PENDING -> SETTLED    the operation is over: the handle has let go, the caller frees
 *   PENDING -> ABANDONED  the caller was cancelled before: the handle frees, and closes the descriptor
 */
enum { PENDING, SETTLED, ABANDONED };

typedef struct connecting {
    struct coil__op op;
    coil__address address;
    coil_loop *loop;     /* kept by the future */
    coil_future *future; /* two references: the caller's and the handle's */
    _Atomic int state;   /* [CONN-1] acq_rel: who comes second sees what the first has done */
} connecting;

static void free_connecting(connecting *c)
{
    coil_release(c->future);
    coil__free(c);
}

/* The operation is over, one way or the other. True if the caller is still there; then @c is its. */
static bool settle_connecting(connecting *c)
{
    if (exchange_acq_rel(&c->state, SETTLED) == PENDING) /* [CONN-1] */
        return true;
    coil__fd_close(c->loop, c->op.fd);
    free_connecting(c);
    return false;
}

static void run_connect(coil__handle *h)
{
    connecting *c = coil_container_of(h, connecting, op.handle);
    coil_future *future = c->future;
    if (settle_connecting(c) && coil__future_pending(future))
        (void)coil__future_finish(future, NULL, NULL);
    coil_release(future);
}

static void discard_connect(coil__handle *h)
{
    connecting *c = coil_container_of(h, connecting, op.handle);
    coil_future *future = c->future;
    (void)settle_connecting(c);
    coil_release(future);
}

static const coil__handle_ops connect_ops = {run_connect, discard_connect, "connect"};

static connecting *new_connecting(coil_loop *loop, const struct addrinfo *a, int fd)
{
    connecting *c = coil__calloc(sizeof *c);
    if (!c)
        return NULL;
    c->future = coil__future_new(loop);
    if (!c->future) {
        coil__free(c);
        return NULL;
    }
    c->loop = loop;
    store_relaxed(&c->state, PENDING); /* [CONN-1] not shared yet */
    memcpy(&c->address, a->ai_addr, a->ai_addrlen);
    coil__op_init(&c->op, COIL__OP_CONNECT, fd, &connect_ops);
    c->op.data = &c->address;
    c->op.bytes = a->ai_addrlen;
    return c;
}

/* A caller that was cancelled leaves @c to the handle. False if that has run. */
static bool abandon(connecting *c)
{
    if (load_acquire(&c->state) == SETTLED) /* [CONN-1] */
        return false;
    coil__op_cancel(c->loop, &c->op); /* while it is there for certain */
    return exchange_acq_rel(&c->state, ABANDONED) == PENDING; /* [CONN-1] */
}

static int await_connect(coil_loop *loop, const struct addrinfo *a, int fd)
{
    connecting *c = new_connecting(loop, a, fd);
    if (!c) {
        close(fd);
        return coil_raise(-ENOMEM, NULL);
    }
    coil_retain(c->future);
    coil__op_submit(loop, &c->op);
    int rc = coil_await(c->future, NULL);
    if (abandon(c))
        return rc;
    int res = c->op.res;
    free_connecting(c);
    if (rc == 0 && res < 0)
        rc = raise_for("connecting to", a, res);
    if (rc < 0)
        coil__fd_close(loop, fd);
    return rc;
}

int coil__connect(coil_loop *loop, const struct addrinfo *a, int *fd)
{
    if (a->ai_addrlen > sizeof(coil__address))
        return raise_for("connecting to", a, -EAFNOSUPPORT);
    int s = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (s < 0)
        return raise_for("connecting to", a, -errno);
    COIL_TRY(await_connect(loop, a, s));
    *fd = s;
    return 0;
}

/* --- listening ------------------------------------------------------------------------------------------------ */

static int set_listen_options(int fd, int family, bool reuse_port)
{
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
        return -errno;
    return 0;
}

int coil__listen(const struct addrinfo *a, int backlog, bool reuse_port, int *fd)
{
    int s = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (s < 0)
        return raise_for("listening on", a, -errno);
    int rc = set_listen_options(s, a->ai_family, reuse_port);
    if (rc == 0 && bind(s, a->ai_addr, a->ai_addrlen) < 0)
        rc = -errno;
    if (rc == 0 && listen(s, backlog) < 0)
        rc = -errno;
    if (rc < 0) {
        close(s);
        return raise_for("listening on", a, rc);
    }
    *fd = s;
    return 0;
}
