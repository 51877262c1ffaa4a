/*
 * address.c - addresses of sockets as values and as text
 *
 * Called from any thread: nothing here has a state, or waits. Source: ip(7), ipv6(7), unix(7).
 *
 * I1 of a Unix socket, bytes is the family's size for no name, one more than the path, or the length of an abstract
 *    name
 */
#include "sock.h"

#include <coil/errno.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/assert.h"

#define HOST_SIZE (INET6_ADDRSTRLEN + IF_NAMESIZE + 1) /* "fe80::1%eth0" */
#define PATH_AT offsetof(struct sockaddr_un, sun_path)

_Static_assert(sizeof(((coil_address *)0)->storage) >= sizeof(struct sockaddr_un), "the largest one");

int coil_address_of_sockaddr(const void *sockaddr, size_t bytes, coil_address *address)
{
    coil_address a = {0};
    coil_assert(sockaddr);
    if (bytes < sizeof a.any.sa_family || bytes > sizeof a.storage)
        return coil_raise(-EINVAL, "an address of %zu bytes", bytes);
    memcpy(&a.storage, sockaddr, bytes);
    a.bytes = (socklen_t)bytes;
    *address = a;
    return 0;
}

/* --- from text -------------------------------------------------------------------------------------------------- */

int coil_address_of_ip(const char *host, unsigned port, coil_address *address)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    char service[16];
    coil_assert(host);
    if (port > 65535)
        return coil_raise(-EINVAL, "port %u is out of range (0 to 65535)", port);
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return coil_raise(-EINVAL, "%s is not an IP address", host);
    int rc = coil_address_of_sockaddr(found->ai_addr, found->ai_addrlen, address);
    freeaddrinfo(found);
    return rc;
}

int coil_address_of_path(const char *path, coil_address *address)
{
    coil_address a = {.un.sun_family = AF_UNIX};
    coil_assert(path);
    size_t n = strlen(path);
    bool abstract = *path == '@';
    if (n == 0)
        return coil_raise(-EINVAL, "an empty path");
    if (n + !abstract > sizeof a.un.sun_path)
        return coil_raise(-ENAMETOOLONG, "the path of a Unix socket has at most %zu bytes: %s",
                          sizeof a.un.sun_path - 1, path);
    memcpy(a.un.sun_path, path, n);
    if (abstract)
        a.un.sun_path[0] = '\0';
    a.bytes = (socklen_t)(PATH_AT + n + !abstract); /* I1 */
    *address = a;
    return 0;
}

/* "host:port" or "[host]:port"; the port's number. */
static int split(const char *text, char *host, size_t size, unsigned *port)
{
    const char *colon = strrchr(text, ':'), *end = colon;
    if (!colon || colon == text || colon[1] < '0' || colon[1] > '9')
        return -EINVAL;
    if (*text == '[') {
        text++;
        if (*--end != ']')
            return -EINVAL;
    } else if (memchr(text, ':', (size_t)(colon - text))) {
        return -EINVAL; /* IPv6 without brackets: which colon is it? */
    }
    size_t n = (size_t)(end - text);
    char *last;
    unsigned long number = strtoul(colon + 1, &last, 10);
    if (n >= size || *last || number > 65535)
        return -EINVAL;
    memcpy(host, text, n);
    host[n] = '\0';
    *port = (unsigned)number;
    return 0;
}

int coil_address_parse(const char *text, coil_address *address)
{
    char host[HOST_SIZE];
    unsigned port;
    coil_assert(text);
    if (*text == '@' || strchr(text, '/'))
        return coil_address_of_path(text, address);
    if (split(text, host, sizeof host, &port) < 0)
        return coil_raise(-EINVAL, "%s is not an address", text);
    return coil_address_of_ip(host, port, address);
}

/* --- to text ---------------------------------------------------------------------------------------------------- */

static size_t format_ip(const coil_address *a, char *buf, size_t size)
{
    char host[HOST_SIZE];
    bool six = a->any.sa_family == AF_INET6;
    socklen_t bytes = six ? sizeof a->in6 : sizeof a->in;
    if (getnameinfo(&a->any, bytes, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
        return (size_t)snprintf(buf, size, "%s", "");
    return (size_t)snprintf(buf, size, six ? "[%s]:%d" : "%s:%d", host, coil_address_port(a));
}

/* A path ends before the zero behind it, if there is one; an abstract name is as long as it is: I1. */
static size_t format_unix(const coil_address *a, char *buf, size_t size)
{
    char path[sizeof a->un.sun_path + 1];
    size_t n = a->bytes > PATH_AT ? a->bytes - PATH_AT : 0;
    if (n > sizeof a->un.sun_path)
        n = sizeof a->un.sun_path; /* the kernel counts a zero that has no room in it */
    bool abstract = n > 0 && a->un.sun_path[0] == '\0';
    if (!abstract)
        n = strnlen(a->un.sun_path, n);
    memcpy(path, a->un.sun_path, n);
    path[n] = '\0';
    if (abstract)
        path[0] = '@';
    if (size > 0) {
        size_t fits = n < size ? n : size - 1;
        memcpy(buf, path, fits);
        buf[fits] = '\0';
    }
    return n;
}

size_t coil_address_format(const coil_address *address, char *buf, size_t size)
{
    switch (address->any.sa_family) {
    case AF_INET:
    case AF_INET6:
        return format_ip(address, buf, size);
    case AF_UNIX:
        return format_unix(address, buf, size);
    default:
        return (size_t)snprintf(buf, size, "%s", "");
    }
}

/* --- questions -------------------------------------------------------------------------------------------------- */

int coil_address_port(const coil_address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohs(address->in.sin_port);
    return address->any.sa_family == AF_INET6 ? ntohs(address->in6.sin6_port) : -1;
}

bool coil_address_equal(const coil_address *a, const coil_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    switch (a->any.sa_family) {
    case AF_INET: /* behind the port and the number there is padding */
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    case AF_INET6:
        return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
    default:
        return a->bytes == b->bytes && memcmp(&a->storage, &b->storage, a->bytes) == 0;
    }
}

static int name_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *), const char *what, coil_address *address)
{
    coil_address a = {.bytes = sizeof a.storage};
    if (get(fd, &a.any, &a.bytes) < 0)
        return coil__sock_raise(-errno, what);
    *address = a;
    return 0;
}

int coil_address_of_socket(int fd, coil_address *address)
{
    return name_of(fd, getsockname, "getsockname", address);
}

int coil_address_of_peer(int fd, coil_address *address)
{
    return name_of(fd, getpeername, "getpeername", address);
}
