/*
 * coil/server.h - servers of streams: asyncio.start_server, asyncio.start_unix_server
 *
 * Those of protocols (coil/protocol.h) have the same options, but for limit_bytes and stack_bytes, and the same functions.
 * Source: asyncio.base_events.Server, asyncio.streams of CPython 3.11.
 */
#ifndef COIL_SERVER_H
#define COIL_SERVER_H

#include <coil/socket.h>
#include <coil/stream.h>
COIL_BEGIN

typedef struct coil_server coil_server;

/*
 * Serves one connection, in a task of its own. The stream is the callback's: it must be closed and freed by it. A
 * negative return value goes to the exception handler ("Unhandled exception in client_connected_cb"), but for
 * -ECANCELED.
 */
typedef int coil_client_connected(coil_stream *stream, void *arg);

typedef struct coil_server_options {
    size_t size;          /* sizeof(coil_server_options) */
    int backlog;          /* 0: 100 */
    size_t limit_bytes;   /* of the streams' readers; 0: COIL_STREAM_LIMIT */
    int family;           /* AF_INET or AF_INET6: only addresses of that family; 0: both */
    bool reuse_port;      /* SO_REUSEPORT: several servers, also of other processes, share the port */
    bool per_worker;      /* in a runtime: each worker listens on a socket of its own (SO_REUSEPORT), and serves whom it
                             accepted; else one worker accepts, and hands the connections to all in turn */
    bool dual_stack;      /* IPv6 sockets take IPv4 connections too, so that all interfaces need one socket, not two */
    size_t stack_bytes;   /* of the connections' tasks; 0: the loop's default */
    coil_socket_options socket; /* of the connections */
} coil_server_options;

/**
 * coil_start_server - listen on every address of @host, and start a task per connection
 * @host:    NULL: all interfaces
 * @port:    number or service name; "0": a free one, see coil_server_port()
 * @options: borrows; may be NULL
 * @server:  gives; coil_server_close() it, then coil_server_free() it
 *
 * When descriptors run out, accepting pauses; it goes on when a connection of this process closes, at the latest
 * after a second (the exception handler is told once for each shortage).
 * Errors: -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EINVAL (name does not resolve), -EMFILE.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_start_server(coil_client_connected *callback, void *arg, const char *host,
                                                 const char *port, const coil_server_options *options,
                                                 coil_server **server);

/**
 * coil_start_unix_server - the same on a Unix socket
 * @path: "@name" is in the abstract name space. A socket that is there already is removed before; the new one stays
 *        when the server is closed, as in asyncio of 3.11.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_start_unix_server(coil_client_connected *callback, void *arg, const char *path,
                                                      const coil_server_options *options, coil_server **server);

/**
 * coil_start_server_on - the same on a socket of the program's own: asyncio's `sock`, of TCP or Unix
 * @fd: takes, also on failure; bound, or listening already, as one that was inherited (socket activation). It becomes
 *      nonblocking, for all that share it, and listen(2) is called with options->backlog, also if it was before
 *
 * Others that have the socket too, such as processes that share it, go on when this server is closed. In a runtime one
 * worker accepts, and hands the connections to all, whatever per_worker says; `family`, reuse_port and dual_stack are
 * not looked at. Errors: also -EINVAL for what is no stream socket: "A Stream Socket was expected, got ...".
 */
COIL_IN_TASK COIL_SUSPENDS int coil_start_server_on(coil_client_connected *callback, void *arg, int fd,
                                                    const coil_server_options *options, coil_server **server);

/** coil_server_port - the port that the first socket listens on; -1 when it is closed, and of Unix sockets. */
COIL_ON_LOOP int coil_server_port(const coil_server *server);

/**
 * coil_server_sockets - the descriptors that it listens on
 * @fds: gets at most @max of them, lent until the server is closed
 *
 * Returns how many there are.
 */
COIL_ON_LOOP size_t coil_server_sockets(const coil_server *server, int *fds, size_t max);
COIL_ON_LOOP bool coil_server_is_serving(const coil_server *server);

/** coil_server_serve_forever - until cancelled, which closes it. Errors: COIL_EBUSY, COIL_ERUNTIME if closed. */
COIL_IN_TASK COIL_SUSPENDS int coil_server_serve_forever(coil_server *server);

/** coil_server_close - stop listening; connections stay open. A second close does nothing. */
COIL_ON_LOOP void coil_server_close(coil_server *server);

/**
 * coil_server_wait_closed - wait until it is closed and, unlike 3.11, the callbacks of its connections have ended
 *
 * Of those that have a protocol: connection_lost has returned.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_server_wait_closed(coil_server *server);

/**
 * coil_server_drain - close, give the connections time to end, then cancel the tasks of those that are left, and wait
 * for them
 * @timeout_ns: 0: cancel at once; COIL_FOREVER: never
 *
 * Returns how many had to be cancelled. Errors: -ECANCELED.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_server_drain(coil_server *server, int64_t timeout_ns);

/**
 * coil_server_cancel_clients - what a deadline for draining does at its end: cancels the tasks of all connections
 *
 * Those that have a protocol instead are aborted.
 */
COIL_ON_LOOP void coil_server_cancel_clients(coil_server *server);
COIL_ON_LOOP size_t coil_server_clients(const coil_server *server);

/** coil_server_free - closes first; the memory goes when the last connection's task has ended. NULL is allowed. */
COIL_ON_LOOP void coil_server_free(coil_server *server);

COIL_END
#endif
