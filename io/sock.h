/*
 * sock.h - sockets: making, connecting, listening, naming
 *
 * On the loop's thread, in a runtime on any worker; coil__connect and coil__resolve suspend the current task.
 */
#ifndef COIL_IO_SOCK_H
#define COIL_IO_SOCK_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <coil/loop.h>

struct addrinfo;

/* An address of a kind that TCP has. */
typedef union coil__address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} coil__address;

/* Closes a descriptor after the backends have forgotten it. No operation on it is in flight. */
void coil__fd_close(coil_loop *loop, int fd);

/* Connects; a cancelled caller returns at once, and the socket is closed when the kernel has let go. Gives @fd. */
COIL_SUSPENDS int coil__connect(coil_loop *loop, const struct addrinfo *a, int *fd);

/* A listening socket; the error's message tells the address. Gives @fd. */
int coil__listen(const struct addrinfo *a, int backlog, bool reuse_port, int *fd);

/* asyncio's choice for TCP. */
void coil__set_nodelay(int fd);

/* "127.0.0.1:80", "[::1]:80", "" for an unknown family; returns the length as snprintf does. */
size_t coil__address_format(const coil__address *a, char *buf, size_t size);

/*
 * getaddrinfo for TCP. Addresses are looked up at once, names by the default executor, while the task is suspended.
 * Gives @list, for freeaddrinfo. @host: NULL: all interfaces, if @passive, else this machine. Errors: -EINVAL with a
 * message.
 */
COIL_SUSPENDS int coil__resolve(coil_loop *loop, const char *host, const char *port, bool passive,
                                struct addrinfo **list);

#endif
