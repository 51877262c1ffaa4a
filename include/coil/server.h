/*
 * coil/server.h - TCP servers: asyncio.start_server
 */
#ifndef COIL_SERVER_H
#define COIL_SERVER_H

#include <coil/stream.h>
COIL_BEGIN

typedef struct coil_server coil_server;

/*
 * Serves one connection, in a task of its own. The stream is the callback's: it must be closed and freed by it. A negative
 * return value goes to the exception handler ("Unhandled exception in client_connected_cb"), but for -ECANCELED.
 */
typedef int coil_client_connected(coil_stream *stream, void *arg);

typedef struct coil_server_options {
    size_t size;          /* sizeof(coil_server_options) */
    int backlog;          /* 0: 100 */
    size_t limit_bytes;   /* of the streams' readers; 0: COIL_STREAM_LIMIT */
    bool reuse_port;
    size_t stack_bytes;   /* of the connections' tasks; 0: the loop's default */
} coil_server_options;

/**
 * coil_start_server - listen on every address of @host, and start a task per connection
 * @host:    NULL: all interfaces
 * @port:    number or service name; "0": a free one, see coil_server_port()
 * @options: borrows; may be NULL
 * @server:  gives; coil_server_close() it, then coil_server_free() it
 *
 * When descriptors run out, accepting pauses and goes on when there are some again (the exception handler is told once).
 * Errors: -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EINVAL (name does not resolve), -EMFILE.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_start_server(coil_client_connected *callback, void *arg, const char *host,
                                                 const char *port, const coil_server_options *options,
                                                 coil_server **server);

/** coil_server_port - the port that the first socket listens on; -1 when it is closed. */
COIL_ON_LOOP int coil_server_port(const coil_server *server);
COIL_ON_LOOP bool coil_server_is_serving(const coil_server *server);

/** coil_server_serve_forever - until cancelled, which closes the server. Errors: COIL_EBUSY, COIL_ERUNTIME if closed. */
COIL_IN_TASK COIL_SUSPENDS int coil_server_serve_forever(coil_server *server);

/** coil_server_close - stop listening; connections stay open. A second close does nothing. */
COIL_ON_LOOP void coil_server_close(coil_server *server);

/** coil_server_wait_closed - wait until it is closed and, unlike 3.11, the callbacks of its connections have ended. */
COIL_IN_TASK COIL_SUSPENDS int coil_server_wait_closed(coil_server *server);

/** coil_server_cancel_clients - cancel the tasks of all connections: what a deadline for draining does at its end. */
COIL_ON_LOOP void coil_server_cancel_clients(coil_server *server);
COIL_ON_LOOP size_t coil_server_clients(const coil_server *server);

/** coil_server_free - closes first; the memory goes when the last connection's task has ended. NULL is allowed. */
COIL_ON_LOOP void coil_server_free(coil_server *server);

COIL_END
#endif
