/*
 * sock.h - sockets inside: making, connecting, listening, naming
 *
 * On the loop's thread, in a runtime on any worker; what is marked suspends the current task.
 */
#ifndef COIL_IO_SOCK_H
#define COIL_IO_SOCK_H

#include <coil/socket.h>

#include "call.h"

/* Closes a descriptor after the backends have forgotten it. No operation on it is in flight. */
void coil__fd_close(coil_loop *loop, int fd);

/* Raises "@what: ..." for a negative errno. */
int coil__sock_raise(int code, const char *what);

/* A new nonblocking socket that exec closes, or a negative errno, which is not raised. */
int coil__sock_open(int family, int type, int protocol);

/* Debug mode: a blocking socket is refused. */
int coil__sock_check(coil_loop *loop, int fd);

/*
 * Makes an operation that need not wait if it can be made at once: coil__op_try(), then coil__call_result(). Returns
 * its result, or what was raised.
 */
COIL_SUSPENDS int coil__sock_call(coil_loop *loop, coil__call *c, const char *what);

/* connect(2), which a stream socket may have to wait for. Its errors name the address, those of waiting do not. */
COIL_SUSPENDS int coil__sock_connect(coil_loop *loop, int fd, const coil_address *address);

/* A message of one part to @other, or from it: its `bytes` are the room that it has. NULL: unnamed. Borrows both. */
struct msghdr coil__sock_message(struct iovec *part, const coil_address *other);

/* asyncio's choice for TCP. */
void coil__set_nodelay(int fd);

/* Both ends' addresses: none for an end that has gone. */
void coil__sock_names(int fd, coil_address *self, coil_address *peer);
void coil__sock_peer(int fd, coil_address *peer);

/* Tells the address that a system call failed for. */
int coil__sock_raise_for(const char *what, const coil_address *address, int code);

/* Of the socket that is bound to a path: removes it, as asyncio does before it binds one anew. */
void coil__unlink_stale(coil_loop *loop, const coil_address *address);

/* getaddrinfo() with a service that was checked: a port has 16 bits. Errors: -EINVAL with a message. Gives @list. */
COIL_SUSPENDS int coil__resolve(coil_loop *loop, const char *host, const char *port, const struct addrinfo *hints,
                                struct addrinfo **list);
size_t coil__addresses_count(const struct addrinfo *list);

#endif
