/*
 * listen.c - listening sockets; see listen.h
 *
 * The options of connections are set on the listening socket, from which Linux copies them to those that it accepts;
 * not so of Unix sockets. Called in tasks. Source: asyncio.base_events.create_server,
 * asyncio.unix_events.create_unix_server, CPython 3.11; tcp(7), ipv6(7).
 */
#include "listen.h"

#include <coil/errno.h>
#include <limits.h>
#include <netdb.h>
#include <unistd.h>

#include "connect.h"

#include "../src/base/alloc.h"

#define BACKLOG_DEFAULT 100

int coil__server_options(const coil_server_options *options, coil_server_options *o)
{
    *o = (coil_server_options){.size = sizeof *o};
    if (options && options->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_server_options.size is %zu, not %zu", options->size, sizeof *o);
    if (options)
        *o = *options;
    if (o->backlog < 0)
        return coil_raise(-EINVAL, "a backlog of %d", o->backlog);
    if (o->limit_bytes > SSIZE_MAX)
        return coil_raise(-EINVAL, "Limit cannot be <= 0");
    if (o->family != AF_UNSPEC && o->family != AF_INET && o->family != AF_INET6)
        return coil_raise(-EINVAL, "unexpected address family");
    if (o->backlog == 0)
        o->backlog = BACKLOG_DEFAULT;
    if (o->limit_bytes == 0)
        o->limit_bytes = COIL_STREAM_LIMIT;
    return 0;
}

void coil__sockets_free(coil__sockets *sockets)
{
    coil__free(sockets->fds);
    *sockets = (coil__sockets){0};
}

void coil__sockets_close(coil__sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        close(sockets->fds[i]);
    coil__sockets_free(sockets);
}

static int make_room(coil__sockets *sockets, size_t n)
{
    *sockets = (coil__sockets){.fds = coil__calloc(n * sizeof(int))};
    return sockets->fds ? 0 : coil_raise(-ENOMEM, NULL);
}

/* --- TCP -------------------------------------------------------------------------------------------------------- */

static int set_listen_options(int fd, int family, const coil_server_options *o, size_t copies)
{
    int on = 1, only = !o->dual_stack;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if ((o->reuse_port || copies > 1) && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
        return -errno;
    return 0;
}

/* One socket. 0, or what was raised; -EAFNOSUPPORT and -EPROTONOSUPPORT: this machine does not have that. */
static int listen_on_address(const struct addrinfo *a, const coil_address *address, const coil_server_options *o,
                             size_t copies, int *fd)
{
    int s = coil__sock_open(a->ai_family, SOCK_STREAM, a->ai_protocol);
    if (s < 0)
        return coil__sock_raise_for("listening on", address, s);
    int rc = set_listen_options(s, a->ai_family, o, copies);
    if (rc == 0 && bind(s, &address->any, address->bytes) < 0)
        rc = -errno;
    if (rc == 0 && listen(s, o->backlog) < 0)
        rc = -errno;
    rc = rc < 0 ? coil__sock_raise_for("listening on", address, rc) : coil_sock_set_options(s, &o->socket);
    if (rc < 0)
        close(s);
    else
        *fd = s;
    return rc;
}

/* All copies for one address: where the system chooses a port, it does so for the first; the others have the same. */
static int listen_on_copies(const struct addrinfo *a, const coil_server_options *o, size_t copies,
                            coil__sockets *sockets)
{
    coil_address address;
    COIL_TRY(coil_address_of_sockaddr(a->ai_addr, a->ai_addrlen, &address));
    for (size_t i = 0; i < copies; i++) {
        int fd = -1;
        COIL_TRY(listen_on_address(a, &address, o, copies, &fd));
        sockets->fds[sockets->count++] = fd;
        if (i == 0)
            COIL_TRY(coil_address_of_socket(fd, &address));
    }
    return 0;
}

/* The IPv4 address that stands for all interfaces, when IPv6's socket for all takes IPv4 as well. */
static bool is_covered(const struct addrinfo *a, const coil__sockets *sockets, bool dual_stack_for_all)
{
    return dual_stack_for_all && a->ai_family == AF_INET && sockets->count > 0;
}

static int listen_on_list(const struct addrinfo *list, const coil_server_options *o, size_t copies, bool for_all,
                          coil__sockets *sockets)
{
    static const int families[] = {AF_INET6, AF_INET};
    bool one_for_all = for_all && o->dual_stack;
    int rc = 0;
    for (size_t round = 0; round < (one_for_all ? 2 : 1); round++) { /* IPv6 first, if that may do for both */
        for (const struct addrinfo *a = list; a; a = a->ai_next) {
            if ((one_for_all && a->ai_family != families[round]) || is_covered(a, sockets, one_for_all))
                continue;
            rc = listen_on_copies(a, o, copies, sockets);
            if (rc < 0 && rc != -EAFNOSUPPORT && rc != -EPROTONOSUPPORT)
                return rc;
        }
    }
    if (sockets->count > 0)
        return 0;
    return rc < 0 ? rc : coil_raise(-EINVAL, "no address to listen on");
}

int coil__listen_tcp(coil_loop *loop, const char *host, const char *port, const coil_server_options *o, size_t copies,
                     coil__sockets *sockets)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE, .ai_family = o->family}, *list;
    COIL_TRY(coil__resolve(loop, host, port, &hints, &list));
    int rc = make_room(sockets, copies * coil__addresses_count(list));
    if (rc == 0)
        rc = listen_on_list(list, o, copies, !host || !*host, sockets);
    freeaddrinfo(list);
    if (rc < 0)
        coil__sockets_close(sockets);
    return rc;
}

/* --- others ----------------------------------------------------------------------------------------------------- */

static bool is_unix(int fd)
{
    int domain = AF_UNSPEC;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

/* Takes a bound socket, also on failure. */
static int listen_on(int fd, const coil_server_options *o, bool given, coil__sockets *sockets)
{
    int rc = coil__adopt_socket(fd, SOCK_STREAM, "Stream Socket");
    if (rc == 0)
        rc = coil_sock_set_options(fd, &o->socket);
    if (rc == 0 && listen(fd, o->backlog) < 0)
        rc = coil__sock_raise(-errno, "listen");
    if (rc == 0)
        rc = make_room(sockets, 1);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    sockets->fds[sockets->count++] = fd;
    sockets->unix_sockets = is_unix(fd);
    sockets->given = given;
    return 0;
}

int coil__listen_on(int fd, const coil_server_options *o, coil__sockets *sockets)
{
    return listen_on(fd, o, true, sockets);
}

static int raise_bind(const char *path, const coil_address *address, int code)
{
    return code == -EADDRINUSE ? coil_raise(code, "Address '%s' is already in use", path)
                               : coil__sock_raise_for("listening on", address, code);
}

int coil__listen_unix(coil_loop *loop, const char *path, const coil_server_options *o, coil__sockets *sockets)
{
    coil_address address;
    COIL_TRY(coil_address_of_path(path, &address));
    int fd = coil__sock_open(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return coil__sock_raise(fd, "socket");
    coil__unlink_stale(loop, &address);
    if (bind(fd, &address.any, address.bytes) == 0)
        return listen_on(fd, o, false, sockets);
    int code = -errno;
    close(fd);
    return raise_bind(path, &address, code);
}
