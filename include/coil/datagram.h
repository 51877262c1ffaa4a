/*
 * coil/datagram.h - UDP, and datagrams between Unix sockets
 *
 * Two ways to use a socket: a coil_datagram, on which tasks receive and send; and asyncio's endpoint, whose transport
 * calls a protocol's functions. Source: asyncio.base_events.create_datagram_endpoint, asyncio.selector_events'
 * _SelectorDatagramTransport of CPython 3.11; udp(7).
 */
#ifndef COIL_DATAGRAM_H
#define COIL_DATAGRAM_H

#include <coil/socket.h>
COIL_BEGIN

typedef struct coil_datagram_options {
    size_t size;             /* sizeof(coil_datagram_options) */
    int family;              /* AF_INET, AF_INET6, AF_UNIX; 0: what the addresses are */
    const char *local_host;  /* to bind to, of AF_UNIX a path ("@name": abstract); NULL, without a port too: unbound */
    const char *local_port;  /* number or service; NULL: any free one */
    const char *remote_host; /* the only peer; NULL, without a port too: none in particular */
    const char *remote_port;
    bool reuse_port;         /* SO_REUSEPORT */
    bool allow_broadcast;    /* SO_BROADCAST; then the remote address is only where things are sent to by default */
    bool gro;                /* UDP_GRO: receive several datagrams at a time, where the kernel has it */
} coil_datagram_options;

/* --- for tasks --------------------------------------------------------------------------------------------------- */

typedef struct coil_datagram coil_datagram;

/**
 * coil_datagram_open - a socket for datagrams
 * @datagram: gives; coil_datagram_close() it
 *
 * Of the addresses of a host the last of each family is taken, as in asyncio. A socket that is there at the local
 * path is removed before. Errors: those of socket(2), bind(2), connect(2): the first, if several addresses were
 * tried; -EINVAL for names that do not resolve, or options that make no sense.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_datagram_open(const coil_datagram_options *options, coil_datagram **datagram);

/**
 * coil_datagram_open_on - on a socket of the program's own, which may be bound and connected: asyncio's `sock`
 * @fd: takes, also on failure; it becomes nonblocking
 *
 * Errors: -EINVAL for what is no datagram socket: "A UDP Socket was expected, got ...".
 */
COIL_ON_LOOP int coil_datagram_open_on(int fd, coil_datagram **datagram);

/** coil_datagram_close - and give the memory back. No call on it may be suspended (asserted). NULL is allowed. */
COIL_ON_LOOP void coil_datagram_close(coil_datagram *datagram);
COIL_ON_LOOP int coil_datagram_fd(const coil_datagram *datagram); /* lends */

/** coil_datagram_address - where it is bound to; coil_datagram_peer: its only peer, or none. */
COIL_ON_LOOP void coil_datagram_address(const coil_datagram *datagram, coil_address *address);
COIL_ON_LOOP void coil_datagram_peer(const coil_datagram *datagram, coil_address *address);

/**
 * coil_datagram_recv - one datagram
 * @cap:  bytes; what does not fit is cut off
 * @from: gets the sender; may be NULL
 *
 * Errors: -ECANCELED (nothing is lost), what the network reported (-ECONNREFUSED, ...) once, COIL_ERUNTIME if opened
 * with gro.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_datagram_recv(coil_datagram *datagram, void *buf, size_t cap, coil_address *from,
                                                  size_t *n);

/**
 * coil_datagram_recv_segments - as many datagrams of one sender as the kernel has joined
 * @cap:     bytes; 65535 are always enough
 * @segment: the size of each datagram but the last, which may be shorter; @n if it is only one
 */
COIL_IN_TASK COIL_SUSPENDS int coil_datagram_recv_segments(coil_datagram *datagram, void *buf, size_t cap,
                                                           coil_address *from, size_t *n, size_t *segment);

/** coil_datagram_send - one datagram, waiting for room. @to: NULL: the peer. */
COIL_IN_TASK COIL_SUSPENDS int coil_datagram_send(coil_datagram *datagram, const void *data, size_t bytes,
                                                  const coil_address *to);

/**
 * coil_datagram_send_segments - several datagrams of one size in one call
 * @bytes:       of all of them together
 * @segment:     the size of each but the last, which may be shorter
 * @reterr_sent: may be NULL; the bytes that were sent, also if it fails
 *
 * By UDP_SEGMENT where the kernel has it, up to 64 at a time; else one by one. Errors: also -EINVAL for a size of 0.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_datagram_send_segments(coil_datagram *datagram, const void *data, size_t bytes,
                                                           size_t segment, const coil_address *to, size_t *reterr_sent);

/* --- for protocols ----------------------------------------------------------------------------------------------- */

typedef struct coil_datagram_transport coil_datagram_transport;

/*
 * What an endpoint calls, on the worker that it was made on; each may be NULL. connection_made comes first,
 * connection_lost last. Data, addresses and errors are borrowed for the call. With COIL_RING_SHARED another worker may stand in
 * for that one: then two of the others may run at the same time.
 */
typedef struct coil_datagram_protocol {
    void (*connection_made)(coil_datagram_transport *transport, void *arg);
    void (*datagram_received)(coil_datagram_transport *transport, const void *data, size_t n, const coil_address *from,
                              void *arg);
    /* Also from within sendto: */
    void (*error_received)(coil_datagram_transport *transport, coil_error *error, void *arg);
    void (*pause_writing)(coil_datagram_transport *transport, void *arg); /* only from within sendto */
    void (*resume_writing)(coil_datagram_transport *transport, void *arg);
    void (*connection_lost)(coil_datagram_transport *transport, coil_error *error, void *arg); /* NULL: closed */
} coil_datagram_protocol;

/**
 * coil_create_datagram_endpoint - a socket for datagrams that calls a protocol
 * @protocol:  borrows until connection_lost has returned
 * @transport: gives; coil_datagram_transport_free() it. If the call fails after connection_made, connection_lost is
 *             called, and the transport goes by itself afterwards
 *
 * Errors: those of coil_datagram_open().
 */
COIL_IN_TASK COIL_SUSPENDS int coil_create_datagram_endpoint(const coil_datagram_protocol *protocol, void *arg,
                                                             const coil_datagram_options *options,
                                                             coil_datagram_transport **transport);

/** coil_create_datagram_endpoint_on - on a socket of the program's own, as coil_datagram_open_on(). */
COIL_IN_TASK COIL_SUSPENDS int coil_create_datagram_endpoint_on(const coil_datagram_protocol *protocol, void *arg,
                                                                int fd, coil_datagram_transport **transport);

/**
 * coil_datagram_transport_sendto - send, or buffer what the kernel does not take
 * @data: borrows; no bytes: nothing happens, as in asyncio
 * @to:   NULL: the remote address; with one, no other is allowed
 *
 * Never suspends. What cannot be sent is told to error_received. After close it is dropped. Errors: -EINVAL for a
 * wrong address, -ENOMEM.
 */
COIL_ON_LOOP int coil_datagram_transport_sendto(coil_datagram_transport *transport, const void *data, size_t bytes,
                                                const coil_address *to);

/** coil_datagram_transport_close - send what is buffered, then connection_lost; ..._abort: without sending it. */
COIL_ON_LOOP void coil_datagram_transport_close(coil_datagram_transport *transport);
COIL_ON_LOOP void coil_datagram_transport_abort(coil_datagram_transport *transport);
COIL_ON_LOOP bool coil_datagram_transport_is_closing(const coil_datagram_transport *transport);

/**
 * coil_datagram_transport_set_write_limits - bytes; 64 KiB and 16 KiB at first
 *
 * If more than @high is buffered, pause_writing is called at once. Errors: -EINVAL if @low > @high.
 */
COIL_ON_LOOP int coil_datagram_transport_set_write_limits(coil_datagram_transport *transport, size_t high, size_t low);
COIL_ON_LOOP void coil_datagram_transport_get_write_limits(const coil_datagram_transport *transport, size_t *high,
                                                           size_t *low);
COIL_ON_LOOP size_t coil_datagram_transport_get_write_buffer_size(const coil_datagram_transport *transport);
COIL_ON_LOOP int coil_datagram_transport_fd(const coil_datagram_transport *transport); /* lends; -1 when it is lost */

/** coil_datagram_transport_free - abort it, and call no function of the protocol any more. NULL is allowed. */
COIL_ON_LOOP void coil_datagram_transport_free(coil_datagram_transport *transport);

COIL_END
#endif
