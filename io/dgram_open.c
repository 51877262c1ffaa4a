/*
 * dgram_open.c - sockets for datagrams; see dgram.h
 *
 * Local and remote addresses are paired by family and protocol, and the pairs tried in order until one works. Called
 * in tasks, in a runtime on any worker. Source: asyncio.base_events.create_datagram_endpoint, CPython 3.11; udp(7).
 */
#include "dgram.h"

#include <coil/errno.h>
#include <netdb.h>
#include <netinet/udp.h>
#include <string.h>
#include <unistd.h>

#include "connect.h"

#include "../src/base/alloc.h"

/* --- one pair --------------------------------------------------------------------------------------------------- */

typedef struct pair {
    int family, protocol;
    coil_address local, remote; /* or none */
} pair;

static int set_options(int fd, const coil_datagram_options *o)
{
    int on = 1;
    if (o->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return coil__sock_raise(-errno, "reuse_port");
    if (o->allow_broadcast && setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) < 0)
        return coil__sock_raise(-errno, "allow_broadcast");
    if (o->gro)
        coil__dgram_join(fd);
    return 0;
}

static int name_both_ends(coil_loop *loop, int fd, const coil_datagram_options *o, const pair *p)
{
    if (p->local.bytes && bind(fd, &p->local.any, p->local.bytes) < 0)
        return coil__sock_raise_for("binding to", &p->local, -errno);
    if (!p->remote.bytes || o->allow_broadcast)
        return 0;
    return coil__sock_connect(loop, fd, &p->remote);
}

static int open_pair(coil_loop *loop, const coil_datagram_options *o, const pair *p, int *fd)
{
    int s = coil__sock_open(p->family, SOCK_DGRAM, p->protocol);
    if (s < 0)
        return coil__sock_raise(s, "socket");
    int rc = set_options(s, o);
    if (rc == 0)
        rc = name_both_ends(loop, s, o, p);
    if (rc < 0)
        coil__fd_close(loop, s);
    else
        *fd = s;
    return rc;
}

/* The first error is raised if none works. */
static int open_first(coil_loop *loop, const coil_datagram_options *o, const pair *pairs, size_t n, int *fd,
                      coil_address *remote)
{
    coil_error *first = NULL;
    for (size_t i = 0; i < n; i++) {
        int rc = open_pair(loop, o, &pairs[i], fd);
        if (rc == 0)
            *remote = pairs[i].remote;
        if (rc == 0 || rc == -ECANCELED || rc == COIL_EGENERATOREXIT) {
            coil_error_release(first);
            return rc;
        }
        coil_error *error = coil_catch(rc);
        if (first)
            coil_error_release(error);
        else
            first = error;
    }
    return first ? coil_raise_error(first) : coil_raise(-EINVAL, "can not get address information");
}

/* --- pairs ------------------------------------------------------------------------------------------------------ */

static pair *find_pair(pair *pairs, size_t n, const struct addrinfo *a)
{
    for (size_t i = 0; i < n; i++)
        if (pairs[i].family == a->ai_family && pairs[i].protocol == a->ai_protocol)
            return &pairs[i];
    return NULL;
}

/* Enters the addresses of one end; of several with the same family the last one counts. */
static void enter(pair *pairs, size_t *n, const struct addrinfo *list, bool remote)
{
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        pair *p = find_pair(pairs, *n, a);
        if (!p)
            p = &pairs[(*n)++];
        p->family = a->ai_family;
        p->protocol = a->ai_protocol;
        (void)coil_address_of_sockaddr(a->ai_addr, a->ai_addrlen, remote ? &p->remote : &p->local);
    }
}

/* Drops the pairs that lack an end which was asked for. Returns how many are left. */
static size_t keep_complete(pair *pairs, size_t n, bool local, bool remote)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if ((!local || pairs[i].local.bytes) && (!remote || pairs[i].remote.bytes))
            pairs[kept++] = pairs[i];
    return kept;
}

static int open_resolved(coil_loop *loop, const coil_datagram_options *o, const struct addrinfo *local,
                         const struct addrinfo *remote, int *fd, coil_address *to)
{
    size_t n = 0;
    pair *pairs = coil__calloc((coil__addresses_count(local) + coil__addresses_count(remote)) * sizeof *pairs);
    if (!pairs)
        return coil_raise(-ENOMEM, NULL);
    enter(pairs, &n, local, false);
    enter(pairs, &n, remote, true);
    n = keep_complete(pairs, n, local, remote);
    int rc = open_first(loop, o, pairs, n, fd, to);
    coil__free(pairs);
    return rc;
}

static int open_ip(coil_loop *loop, const coil_datagram_options *o, int *fd, coil_address *to)
{
    struct addrinfo hints = {.ai_family = o->family, .ai_socktype = SOCK_DGRAM}, *local = NULL, *remote = NULL;
    int rc = 0;
    if (o->local_host || o->local_port)
        rc = coil__resolve(loop, o->local_host, o->local_port ? o->local_port : "0", &hints, &local);
    if (rc == 0 && (o->remote_host || o->remote_port))
        rc = coil__resolve(loop, o->remote_host, o->remote_port, &hints, &remote);
    if (rc == 0)
        rc = open_resolved(loop, o, local, remote, fd, to);
    if (local)
        freeaddrinfo(local);
    if (remote)
        freeaddrinfo(remote);
    return rc;
}

static int open_unix(coil_loop *loop, const coil_datagram_options *o, int *fd, coil_address *to)
{
    pair p = {.family = AF_UNIX};
    if (o->local_port || o->remote_port)
        return coil_raise(-EINVAL, "Unix sockets have no ports");
    if (o->local_host)
        COIL_TRY(coil_address_of_path(o->local_host, &p.local));
    if (o->remote_host)
        COIL_TRY(coil_address_of_path(o->remote_host, &p.remote));
    if (o->local_host)
        coil__unlink_stale(loop, &p.local);
    return open_first(loop, o, &p, 1, fd, to);
}

int coil__dgram_open(coil_loop *loop, const coil_datagram_options *options, int *fd, coil_address *remote)
{
    coil_datagram_options o = {.size = sizeof o};
    if (options && options->size != sizeof o)
        return coil_raise(-EINVAL, "coil_datagram_options.size is %zu, not %zu", options->size, sizeof o);
    if (options)
        o = *options;
    *remote = (coil_address){0};
    if (o.family == AF_UNIX)
        return open_unix(loop, &o, fd, remote);
    if (o.local_host || o.local_port || o.remote_host || o.remote_port)
        return open_ip(loop, &o, fd, remote);
    pair p = {.family = o.family};
    if (o.family == AF_UNSPEC)
        return coil_raise(-EINVAL, "unexpected address family");
    return open_first(loop, &o, &p, 1, fd, remote);
}

int coil__dgram_adopt(int fd)
{
    int rc = coil__adopt_socket(fd, SOCK_DGRAM, "UDP Socket");
    if (rc < 0)
        close(fd);
    return rc;
}

/* --- several at a time ------------------------------------------------------------------------------------------ */

void coil__dgram_join(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
}

void coil__dgram_ask_segments(struct msghdr *message, coil__dgram_control *control, size_t segment)
{
    uint16_t size = (uint16_t)segment;
    memset(control, 0, sizeof *control);
    message->msg_control = control;
    message->msg_controllen = CMSG_SPACE(sizeof size);
    control->align.cmsg_level = IPPROTO_UDP;
    control->align.cmsg_type = UDP_SEGMENT;
    control->align.cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(&control->align), &size, sizeof size);
}

size_t coil__dgram_segment(struct msghdr *message, size_t n)
{
    int segment = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h))
        if (h->cmsg_level == IPPROTO_UDP && h->cmsg_type == UDP_GRO)
            memcpy(&segment, CMSG_DATA(h), sizeof segment);
    return segment > 0 && (size_t)segment < n ? (size_t)segment : n;
}
