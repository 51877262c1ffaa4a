/*
 * sock.c - sockets inside; see sock.h
 *
 * Source: socket(7), tcp(7), unix(7), and asyncio.base_events' _connect_sock and create_server.
 */
#include "sock.h"

#include <coil/errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shortage.h"

#include "../src/sync.h"

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
    coil__shortage_ends();
}

/* --- errors ----------------------------------------------------------------------------------------------------- */

int coil__sock_raise(int code, const char *what)
{
    return coil_raise(code, "%s: %s", what, coil_strerror(code));
}

int coil__sock_raise_for(const char *what, const coil_address *address, int code)
{
    char name[128];
    coil_address_format(address, name, sizeof name);
    return coil_raise(code, "%s %s: %s", what, name, coil_strerror(code));
}

/* --- making, naming --------------------------------------------------------------------------------------------- */

int coil__sock_open(int family, int type, int protocol)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    return fd < 0 ? -errno : fd;
}

void coil__sock_names(int fd, coil_address *self, coil_address *peer)
{
    coil_address a = {.bytes = sizeof a.storage};
    *self = getsockname(fd, &a.any, &a.bytes) == 0 ? a : (coil_address){0};
    coil__sock_peer(fd, peer);
}

void coil__sock_peer(int fd, coil_address *peer)
{
    coil_address a = {.bytes = sizeof a.storage};
    *peer = getpeername(fd, &a.any, &a.bytes) == 0 ? a : (coil_address){0};
}

struct msghdr coil__sock_message(struct iovec *part, const coil_address *other)
{
    struct msghdr message = {.msg_iov = part, .msg_iovlen = 1};
    if (other) {
        message.msg_name = (void *)(uintptr_t)&other->storage;
        message.msg_namelen = other->bytes;
    }
    return message;
}

void coil__unlink_stale(coil_loop *loop, const coil_address *address)
{
    struct stat s;
    const char *path = address->un.sun_path;
    if (address->any.sa_family != AF_UNIX || *path == '\0')
        return;
    int rc = stat(path, &s) < 0 ? -errno : 0;
    if (rc == 0 && S_ISSOCK(s.st_mode) && unlink(path) < 0)
        rc = -errno;
    if (rc == 0 || rc == -ENOENT)
        return;
    coil_error *error = coil_error_new(rc, "%s: %s", path, coil_strerror(rc)); /* binding may succeed all the same */
    coil_exception_context context = {.message = "Unable to check or remove stale UNIX socket", .error = error};
    coil_loop_call_exception_handler(loop, &context);
    coil_error_release(error);
}

/* --- options ---------------------------------------------------------------------------------------------------- */

void coil__set_nodelay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* without it things are slower, not wrong */
}

/* Sets one option, unless @value is 0 or something has failed already. */
static void set(int fd, int level, int name, int value, int *rc)
{
    if (*rc == 0 && value != 0 && setsockopt(fd, level, name, &value, sizeof value) < 0)
        *rc = -errno;
}

static bool is_tcp(int fd)
{
    int protocol = 0;
    socklen_t size = sizeof protocol;
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
}

static void set_tcp_options(int fd, const coil_socket_options *o, int *rc)
{
    int nodelay = !o->delay;
    if (*rc == 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof nodelay) < 0)
        *rc = -errno;
    set(fd, SOL_SOCKET, SO_KEEPALIVE, o->keepalive, rc);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, o->keepalive_idle_s, rc);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, o->keepalive_interval_s, rc);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keepalive_probes, rc);
}

int coil_sock_set_options(int fd, const coil_socket_options *o)
{
    int rc = 0;
    struct linger linger = {.l_onoff = o->linger, .l_linger = o->linger_s};
    if (o->linger && setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0)
        rc = -errno;
    set(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer_bytes, &rc);
    set(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer_bytes, &rc);
    if (is_tcp(fd))
        set_tcp_options(fd, o, &rc);
    return rc < 0 ? coil__sock_raise(rc, "setsockopt") : 0;
}

/* --- calls ------------------------------------------------------------------------------------------------------ */

int coil__sock_check(coil_loop *loop, int fd)
{
    if (coil_likely(!coil_loop_get_debug(loop)))
        return 0;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        return coil_raise(-EINVAL, "the socket must be non-blocking");
    return 0; /* the call itself will tell what is wrong with a bad descriptor */
}

int coil__sock_call(coil_loop *loop, coil__call *c, const char *what)
{
    COIL_TRY(coil__task_may_go_on());
    int res = coil__op_injected(loop);
    if (coil_likely(res == 0))
        res = coil__op_try(&c->op);
    if (res == -EAGAIN) {
        c->op.wait_first = true;
        return coil__call_result(loop, c, what);
    }
    return res < 0 ? coil__sock_raise(res, what) : res;
}

/* How a connection that has begun ends: *@code is 0 or a negative errno. Errors are those of waiting. */
static int await_connected(coil_loop *loop, int fd, int *code)
{
    coil__call c;
    int error = 0;
    socklen_t size = sizeof error;
    coil__call_init(&c, COIL__OP_POLL, fd);
    c.op.events = POLLOUT;
    COIL_TRY(coil__call_await(loop, &c));
    *code = c.op.res;
    if (c.op.res >= 0)
        *code = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
    return 0;
}

int coil__sock_connect(coil_loop *loop, int fd, const coil_address *address)
{
    int code = connect(fd, &address->any, address->bytes) < 0 ? -errno : 0;
    if (code == -EINPROGRESS || code == -EINTR)
        COIL_TRY(await_connected(loop, fd, &code));
    return code < 0 ? coil__sock_raise_for("connecting to", address, code) : 0;
}
