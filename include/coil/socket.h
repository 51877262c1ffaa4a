/*
 * coil/socket.h - sockets of the program's own: addresses, the sock_* calls of asyncio's loop, descriptor passing,
 * names
 *
 * The calls take a plain descriptor, which must be nonblocking (SOCK_NONBLOCK); debug mode checks that. It may be
 * closed when no call on it is suspended. As in asyncio a call that need not wait does not suspend. What a cancelled
 * call has received, accepted or sent is never lost: either nothing happened, and it raises -ECANCELED, or it returns
 * its result, and the task is cancelled at its next suspension. Source: asyncio.selector_events of CPython 3.11;
 * socket(7), unix(7).
 */
#ifndef COIL_SOCKET_H
#define COIL_SOCKET_H

#include <coil/loop.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
COIL_BEGIN

struct addrinfo;

/* --- addresses ------------------------------------------------------------------------------------------------- */

/* Of IPv4, IPv6 or a Unix socket. All zero: no address. */
typedef struct coil_address {
    union {
        struct sockaddr any; /* .sa_family: AF_UNSPEC for none */
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t bytes; /* of the union, in use */
} coil_address;

/**
 * coil_address_parse - what coil_address_format() writes: "127.0.0.1:80", "[::1]:80", "/run/socket", "@name"
 *
 * A text with a slash is the path of a Unix socket; "@name" is in the abstract name space. Names of hosts are not
 * resolved.
 * Errors: -EINVAL, -ENAMETOOLONG.
 */
COIL_ANY_THREAD int coil_address_parse(const char *text, coil_address *address);

/** coil_address_of_ip - @host: a number, IPv4 or IPv6 (also "fe80::1%eth0"). Errors: -EINVAL. */
COIL_ANY_THREAD int coil_address_of_ip(const char *host, unsigned port, coil_address *address);

/** coil_address_of_path - @path may be relative; "@name" is abstract. Errors: -EINVAL, -ENAMETOOLONG. */
COIL_ANY_THREAD int coil_address_of_path(const char *path, coil_address *address);

/** coil_address_of_sockaddr - a copy of what a system call uses. Errors: -EINVAL for a size that is none. */
COIL_ANY_THREAD int coil_address_of_sockaddr(const void *sockaddr, size_t bytes, coil_address *address);

/**
 * coil_address_format - the address as text; "" for none and for Unix sockets without a name
 *
 * Writes at most @size bytes with the final zero into @buf; returns the length that the whole text has.
 */
COIL_ANY_THREAD size_t coil_address_format(const coil_address *address, char *buf, size_t size);

/** coil_address_port - of IPv4 and IPv6; -1 of others. */
COIL_ANY_THREAD int coil_address_port(const coil_address *address);
COIL_ANY_THREAD bool coil_address_equal(const coil_address *a, const coil_address *b);

/** coil_address_of_socket, _of_peer - the own or the peer's address. Errors: of getsockname(2), getpeername(2). */
COIL_ANY_THREAD int coil_address_of_socket(int fd, coil_address *address);
COIL_ANY_THREAD int coil_address_of_peer(int fd, coil_address *address);

/* --- calls ----------------------------------------------------------------------------------------------------- */

/*
 * All of them: errors of the system calls of the same name, with the call's name in the message; -ECANCELED; -ENOMEM;
 * -EINVAL in debug mode for a blocking socket. Buffers are borrowed until return. @n: the number of bytes.
 */

/** coil_sock_recv - whatever has arrived; 0 bytes at the end of a stream. asyncio's sock_recv and sock_recv_into. */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_recv(int fd, void *buf, size_t cap, size_t *n);

/** coil_sock_recvfrom - one datagram, cut off behind @cap bytes. @from: who sent it; may be NULL. */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_recvfrom(int fd, void *buf, size_t cap, coil_address *from, size_t *n);

/** coil_sock_sendto - one datagram, or part of the data. @to: NULL for a connected socket. */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_sendto(int fd, const void *data, size_t bytes, const coil_address *to,
                                                size_t *n);

/** coil_sock_sendall - everything. @reterr_sent: may be NULL; the bytes that were sent, also if it fails. */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_sendall(int fd, const void *data, size_t bytes, size_t *reterr_sent);

/**
 * coil_sock_connect - connect, or set a datagram socket's peer
 *
 * If it fails or is cancelled, the only thing left to do with a stream socket is to close it. A Unix socket whose
 * server's backlog is full raises -EAGAIN.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_connect(int fd, const coil_address *address);

/** coil_sock_accept - @conn: gives; nonblocking, closed by exec. @peer: may be NULL. */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_accept(int fd, int *conn, coil_address *peer);

/**
 * coil_sock_sendfile - send what is in a file, without copying it where the kernel can
 * @fd:          a stream socket
 * @file:        a descriptor, read at @offset; its own position is neither used nor changed
 * @count:       bytes; 0: to the end of the file
 * @reterr_sent: may be NULL; the bytes that were sent, also if it fails: fewer than @count if the file ends before
 *
 * A file that is not in memory holds up a thread of the default executor, never the loop. Errors: also those of
 * read(2).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_sendfile(int fd, int file, int64_t offset, size_t count, size_t *reterr_sent);

/* --- ancillary data, descriptor passing ------------------------------------------------------------------------- */

/**
 * coil_sock_recvmsg, coil_sock_sendmsg - recvmsg(2), sendmsg(2)
 * @flags: MSG_...
 *
 * Descriptors that are received are closed by exec (MSG_CMSG_CLOEXEC), and are the caller's also if MSG_CTRUNC is set.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_recvmsg(int fd, struct msghdr *message, int flags, size_t *n);
COIL_IN_TASK COIL_SUSPENDS int coil_sock_sendmsg(int fd, const struct msghdr *message, int flags, size_t *n);

#define COIL_FDS_MAX 253 /* that one message can carry: the kernel's SCM_MAX_FD */

/**
 * coil_sock_send_fds - data, and descriptors with their first byte, through a Unix socket
 * @bytes: at least 1
 * @fds:   shares: the receiver gets duplicates
 * @n:     may be less than @bytes: the rest is for coil_sock_sendall()
 *
 * Errors: also -EINVAL for no data, or more than COIL_FDS_MAX descriptors.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_send_fds(int fd, const void *data, size_t bytes, const int *fds, size_t count,
                                                  size_t *n);

/**
 * coil_sock_recv_fds - data, and the descriptors that came with them
 * @fds:   gives @count descriptors, closed by exec
 * @max:   how many there is room for
 *
 * Errors: also -EMSGSIZE if more came, -EMFILE if this process could not have them: then all that came are closed,
 * and the data are lost.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_sock_recv_fds(int fd, void *buf, size_t cap, int *fds, size_t max, size_t *count,
                                                  size_t *n);

/* --- names ------------------------------------------------------------------------------------------------------ */

/**
 * coil_loop_getaddrinfo - getaddrinfo(3) without blocking the loop: names are looked up by the default executor
 * @host, @service: NULL as there
 * @hints: borrows; NULL as there
 * @list:  gives; freeaddrinfo() it
 *
 * Errors: -EINVAL with the resolver's words; -ECANCELED (the look-up goes on behind the scenes); -ENOMEM.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_loop_getaddrinfo(coil_loop *loop, const char *host, const char *service,
                                                     const struct addrinfo *hints, struct addrinfo **list);

/**
 * coil_loop_getnameinfo - getnameinfo(3) likewise
 * @host, @service: get the names, cut to their sizes; NULL with size 0: not wanted
 * @flags: NI_...
 */
COIL_IN_TASK COIL_SUSPENDS int coil_loop_getnameinfo(coil_loop *loop, const coil_address *address, char *host,
                                                     size_t host_size, char *service, size_t service_size, int flags);

/* --- options ---------------------------------------------------------------------------------------------------- */

/* Of a connection; all zero is what asyncio sets. */
typedef struct coil_socket_options {
    bool delay;               /* Nagle's algorithm stays on; else TCP_NODELAY */
    bool keepalive;           /* SO_KEEPALIVE, and what is not 0 of these: */
    int keepalive_idle_s;     /* TCP_KEEPIDLE */
    int keepalive_interval_s; /* TCP_KEEPINTVL */
    int keepalive_probes;     /* TCP_KEEPCNT */
    bool linger;              /* SO_LINGER for linger_s; 0 s: closing resets the connection */
    int linger_s;
    int send_buffer_bytes;    /* SO_SNDBUF, SO_RCVBUF; 0: the system's */
    int receive_buffer_bytes;
} coil_socket_options;

/** coil_sock_set_options - those that a Unix socket does not have are left out there. Errors: of setsockopt(2). */
COIL_ANY_THREAD int coil_sock_set_options(int fd, const coil_socket_options *options);

COIL_END
#endif
