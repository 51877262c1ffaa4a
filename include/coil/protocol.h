/*
 * coil/protocol.h - transports and protocols: connections that call functions, without a task each
 *
 * asyncio's lower level, for servers that have very many connections, or parse as bytes arrive. Most programs are better served
 * by streams.
 *
 *     static int made(coil_transport *transport, void *arg) { return 0; }
 *     static int received(coil_transport *transport, const void *data, size_t n, void *arg)
 *     {
 *         return coil_transport_write(transport, data, n);
 *     }
 *     static const coil_protocol echo = {.connection_made = made, .data_received = received};
 *     static int each(void *factory_arg, const coil_protocol **protocol, void **arg)
 *     {
 *         *protocol = &echo;
 *         *arg = NULL;
 *         return 0;
 *     }
 *     ...
 *     COIL_TRY(coil_create_server(each, NULL, "127.0.0.1", "8888", NULL, &server));
 *
 * A task that is to wait for the end of a connection waits for a future or event of the program's, which connection_lost sets.
 * Source: asyncio.protocols, asyncio.transports, asyncio.base_events of CPython 3.11.
 */
#ifndef COIL_PROTOCOL_H
#define COIL_PROTOCOL_H

#include <sys/uio.h>

#include <coil/connection.h>
#include <coil/server.h>
COIL_BEGIN

typedef struct coil_transport coil_transport;

/*
 * What a connection calls, each with the protocol's @arg. connection_made, and data_received or get_buffer with buffer_updated
 * where something is received, have to be there (else -EINVAL); the others may be NULL. Data and errors are borrowed for the
 * call. connection_made comes first, connection_lost last, once.
 *
 * In a runtime they are called on any worker: never two of them that receive at a time; but pause_writing and
 * resume_writing, in their order, perhaps while data_received runs elsewhere. connection_lost waits for all others. None of
 * them may suspend; pause_writing neither, although it may be called in a task.
 */
typedef struct coil_protocol {
    /* An error is reported ("Exception in callback"), and the connection goes on. */
    int (*connection_made)(coil_transport *transport, void *arg);
    /* An error is reported ("Fatal error: protocol.data_received() call failed."), and the connection lost with it. */
    int (*data_received)(coil_transport *transport, const void *data, size_t n, void *arg);
    /*
     * asyncio's BufferedProtocol, if data_received is NULL: where to put at least one byte; then how many have come. Without a
     * copy in between. The buffer is borrowed until buffer_updated or connection_lost.
     */
    int (*get_buffer)(coil_transport *transport, void **buf, size_t *n, void *arg);
    int (*buffer_updated)(coil_transport *transport, size_t n, void *arg);
    /* The peer sends no more. True: the connection stays open for writing. NULL: it is closed. */
    bool (*eof_received)(coil_transport *transport, void *arg);
    void (*pause_writing)(coil_transport *transport, void *arg); /* from within coil_transport_write() */
    void (*resume_writing)(coil_transport *transport, void *arg);
    void (*connection_lost)(coil_transport *transport, coil_error *error, void *arg); /* NULL: closed, or end of file */
} coil_protocol;

/* --- making ------------------------------------------------------------------------------------------------------ */

/**
 * coil_create_connection - connect, as coil_open_connection_with(), with a protocol
 * @protocol:  borrows until connection_lost has returned; @arg likewise
 * @options:   borrows; may be NULL
 * @transport: gives, after connection_made has returned; coil_transport_free() it
 *
 * If the call fails after connection_made (the task was cancelled), connection_lost is called, and the transport goes by itself.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_create_connection(const coil_protocol *protocol, void *arg, const char *host,
                                                      const char *port, const coil_connect_options *options,
                                                      coil_transport **transport);
COIL_IN_TASK COIL_SUSPENDS int coil_create_unix_connection(const coil_protocol *protocol, void *arg, const char *path,
                                                           const coil_connect_options *options,
                                                           coil_transport **transport);

/**
 * coil_connect_accepted_socket - on a connected socket: one that was accepted, connected or inherited, or of socketpair(2)
 * @fd:      takes, also on failure; it becomes nonblocking
 * @options: only `socket` is used
 *
 * Errors: -EINVAL for what is no stream socket: "A Stream Socket was expected, got ...".
 */
COIL_IN_TASK COIL_SUSPENDS int coil_connect_accepted_socket(const coil_protocol *protocol, void *arg, int fd,
                                                            const coil_connect_options *options,
                                                            coil_transport **transport);

/**
 * coil_create_read_pipe_transport - what is read from a pipe, fifo, socket or terminal: asyncio's loop.connect_read_pipe()
 * @fd: takes, also on failure; see coil/pipe.h
 *
 * Its end closes it, whatever eof_received says; writing to it is -EINVAL. Cancelled as coil_create_connection().
 * Errors: those of coil_connect_read_pipe(), which makes a stream of it.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_create_read_pipe_transport(const coil_protocol *protocol, void *arg, int fd,
                                                               coil_transport **transport);

/**
 * coil_create_write_pipe_transport - the same for writing: loop.connect_write_pipe()
 *
 * Nothing is received, so that connection_made is all that the protocol needs. coil_transport_write_eof() is
 * coil_transport_close(). When nobody can read any more, it is lost: with -EPIPE if something was buffered. That
 * the other end of a terminal has gone, only writing tells.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_create_write_pipe_transport(const coil_protocol *protocol, void *arg, int fd,
                                                                coil_transport **transport);

/*
 * Makes the protocol of a connection that was accepted: sets @protocol and @arg, as above. The transport is coil's: it goes after
 * connection_lost, which is called by coil_loop_free() for the connections that are left then. An error is reported, and
 * the connection closed. If there is no memory for the transport, or the loop is closed before connection_made,
 * connection_lost is called with NULL in its place, and nothing else.
 */
typedef int coil_protocol_factory(void *factory_arg, const coil_protocol **protocol, void **arg);

/** coil_create_server - coil_start_server() with a protocol for each connection, instead of a task. */
COIL_IN_TASK COIL_SUSPENDS int coil_create_server(coil_protocol_factory *factory, void *factory_arg, const char *host,
                                                  const char *port, const coil_server_options *options,
                                                  coil_server **server);
COIL_IN_TASK COIL_SUSPENDS int coil_create_unix_server(coil_protocol_factory *factory, void *factory_arg,
                                                       const char *path, const coil_server_options *options,
                                                       coil_server **server);

/** coil_create_server_on - on a socket of the program's own, as coil_start_server_on(). @fd: takes, also on failure. */
COIL_IN_TASK COIL_SUSPENDS int coil_create_server_on(coil_protocol_factory *factory, void *factory_arg, int fd,
                                                     const coil_server_options *options, coil_server **server);

/* --- transports -------------------------------------------------------------------------------------------------- */

/**
 * coil_transport_write - send @n bytes, buffering what the kernel does not take
 *
 * After the connection is lost the data are dropped. Errors: COIL_ERUNTIME after write_eof; -ENOMEM (nothing was taken).
 */
COIL_ON_LOOP int coil_transport_write(coil_transport *transport, const void *data, size_t n);

/** coil_transport_writelines - several pieces as one coil_transport_write() of them all. */
COIL_ON_LOOP int coil_transport_writelines(coil_transport *transport, const struct iovec *pieces, size_t count);

/** coil_transport_write_eof - send what is buffered, then no more; receiving goes on. */
COIL_ON_LOOP int coil_transport_write_eof(coil_transport *transport);

/* A protocol's own brakes. Errors of set_write_buffer_limits: -EINVAL if @low > @high; @low 0: @high / 4. */
COIL_ON_LOOP void coil_transport_pause_reading(coil_transport *transport);
COIL_ON_LOOP void coil_transport_resume_reading(coil_transport *transport);
COIL_ON_LOOP bool coil_transport_is_reading(const coil_transport *transport);
COIL_ON_LOOP int coil_transport_set_write_buffer_limits(coil_transport *transport, size_t high, size_t low);
COIL_ON_LOOP void coil_transport_get_write_buffer_limits(const coil_transport *transport, size_t *high, size_t *low);
COIL_ON_LOOP size_t coil_transport_get_write_buffer_size(const coil_transport *transport);

/** coil_transport_close - send what is buffered, then close. coil_transport_abort: at once. */
COIL_ON_LOOP void coil_transport_close(coil_transport *transport);
COIL_ON_LOOP void coil_transport_abort(coil_transport *transport);
COIL_ON_LOOP bool coil_transport_is_closing(const coil_transport *transport);

/**
 * coil_transport_peername - who is at the other end, as it was when the connection was made; of pipes no address
 *
 * coil_transport_sockname: at this end.
 */
COIL_ON_LOOP void coil_transport_peername(const coil_transport *transport, coil_address *address);
COIL_ON_LOOP void coil_transport_sockname(const coil_transport *transport, coil_address *address);

/**
 * coil_transport_free - no more of it is needed: aborts what is open, and gives the memory back
 *
 * Of a transport that the program was given. connection_lost is still called, if it was not. NULL is allowed.
 */
COIL_ON_LOOP void coil_transport_free(coil_transport *transport);

COIL_END
#endif
