/*
 * connect.h - connecting to a host by name: what streams and protocols begin with
 */
#ifndef COIL_IO_CONNECT_H
#define COIL_IO_CONNECT_H

#include <coil/connection.h>

#include "sock.h"

/* The options, or the defaults for NULL; raises what makes no sense. */
int coil__connect_options(const coil_connect_options *options, coil_connect_options *o);

/* A connected socket, with its options set. Gives @fd. */
COIL_SUSPENDS int coil__connect(coil_loop *loop, const char *host, const char *port, const coil_connect_options *o,
                                int *fd);
COIL_SUSPENDS int coil__connect_unix(coil_loop *loop, const char *path, const coil_connect_options *o, int *fd);

/* A socket of the program's own: becomes nonblocking. -EINVAL if it is none of @type, called @what. Takes nothing. */
int coil__adopt_socket(int fd, int type, const char *what);

#endif
