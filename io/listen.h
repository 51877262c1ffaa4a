/*
 * listen.h - listening sockets: what servers of streams and of protocols begin with
 */
#ifndef COIL_IO_LISTEN_H
#define COIL_IO_LISTEN_H

#include <coil/server.h>

#include "sock.h"

typedef struct coil__sockets {
    int *fds; /* owned, and so are the descriptors */
    size_t count;
    bool unix_sockets;
    bool given; /* by the program: others may have it too */
} coil__sockets;

/* The options, or the defaults for NULL; raises what makes no sense. */
int coil__server_options(const coil_server_options *options, coil_server_options *o);

/* @copies sockets on every address of @host whose family this machine has; those of one address follow each other. */
COIL_SUSPENDS int coil__listen_tcp(coil_loop *loop, const char *host, const char *port, const coil_server_options *o,
                                   size_t copies, coil__sockets *sockets);
int coil__listen_unix(coil_loop *loop, const char *path, const coil_server_options *o, coil__sockets *sockets);

/* Takes a socket of the program's own, bound or listening, also on failure. */
int coil__listen_on(int fd, const coil_server_options *o, coil__sockets *sockets);

/* Gives the array back; the descriptors have gone elsewhere. Or both. */
void coil__sockets_free(coil__sockets *sockets);
void coil__sockets_close(coil__sockets *sockets);

#endif
