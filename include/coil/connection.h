/*
 * coil/connection.h - connections with options: happy eyeballs, a local address, Unix sockets, a socket of one's own;
 * files as data
 *
 * The short form is coil_open_connection(). Source: asyncio.base_events.create_connection, asyncio.staggered,
 * asyncio.unix_events of CPython 3.11.
 */
#ifndef COIL_CONNECTION_H
#define COIL_CONNECTION_H

#include <coil/socket.h>
#include <coil/stream.h>
COIL_BEGIN

typedef struct coil_connect_options {
    size_t size;            /* sizeof(coil_connect_options) */
    int family;             /* AF_INET or AF_INET6: only addresses of that family; 0: both */
    const char *local_host; /* the address to connect from; NULL, without a local_port too: the system's choice */
    const char *local_port; /* NULL: any */
    /*
     * Happy eyeballs (RFC 8305): 0: the addresses are tried one after the other. Else the next is also tried when the
     * one before has not connected within this time, and who connects first is taken; 0.25 s is the RFC's advice.
     */
    int64_t happy_eyeballs_delay_ns;
    int interleave;         /* addresses of the first family before families alternate; 0: 1 with happy eyeballs, else
                               the resolver's order; -1: the resolver's order in any case */
    size_t limit_bytes;     /* of the stream's reader; 0: COIL_STREAM_LIMIT */
    coil_socket_options socket;
} coil_connect_options;

/**
 * coil_open_connection_with - coil_open_connection() with options
 * @options: borrows; NULL for the defaults
 *
 * Errors: those of coil_open_connection(). If several addresses failed in different ways, the message is "Multiple
 * exceptions: " and what each raised, and the code is the last one's.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_open_connection_with(const char *host, const char *port,
                                                         const coil_connect_options *options, coil_stream **stream);

/**
 * coil_open_connection_on - a stream on a connected socket: one that was accepted, connected or inherited, or of
 * socketpair(2)
 * @fd:      takes, also on failure; it becomes nonblocking
 * @options: only limit_bytes and socket are used
 *
 * Errors: -EINVAL for what is no stream socket: "A Stream Socket was expected, got ...".
 */
COIL_ON_LOOP int coil_open_connection_on(int fd, const coil_connect_options *options, coil_stream **stream);

/**
 * coil_open_unix_connection - connect to a Unix socket
 * @path: "@name" is in the abstract name space
 *
 * Errors: -ENOENT, -ECONNREFUSED, -EACCES; -EAGAIN if the server's backlog is full; -EINVAL, -ENAMETOOLONG.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_open_unix_connection(const char *path, const coil_connect_options *options,
                                                         coil_stream **stream);

/**
 * coil_stream_sendfile - write what is in a file, behind what was written before: asyncio's loop.sendfile()
 * @file:        a descriptor, read at @offset; its own position is neither used nor changed
 * @count:       bytes; 0: to the end of the file
 * @reterr_sent: may be NULL; the bytes that were written, also if it fails
 *
 * Reads without blocking the loop, and never runs ahead of the water marks; the last bytes may still be in the
 * stream's buffer when it returns. No other task may write meanwhile. Errors: those of coil_stream_drain() and of
 * read(2).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_sendfile(coil_stream *stream, int file, int64_t offset, size_t count,
                                                    size_t *reterr_sent);

COIL_END
#endif
