/*
 * stream.h - streams inside: a transport with a reader, and those who wait for room or for the end
 *
 * The transport's latch guards all of it, but for the addresses, which never change.
 *
 * I1 a stream is freed by its transport's release: after coil_stream_free(), when the kernel has let go
 */
#ifndef COIL_IO_STREAM_H
#define COIL_IO_STREAM_H

#include "reader.h"
#include "sock.h"
#include "transport.h"
#include "waiting.h"

struct coil_stream {
    coil__transport transport;
    coil_stream_reader reader;
    bool writing_paused, lost;
    uint8_t self_bytes, peer_bytes; /* of `addresses` */
    coil__list draining;    /* wait until writing may go on */
    coil__list closing;     /* wait for the end */
    coil_error *lost_error; /* what the connection died of; owned */
    char addresses[];       /* the own one, and the peer's behind it: only as long as they are, most are 16 bytes */
};

/* A stream on what @wire says, reading already. Takes the descriptors, also on failure. Errors: -ENOMEM. */
int coil__stream_open(coil_loop *loop, const coil__wire *wire, size_t limit_bytes, coil_stream **stream);

/* The same on a connected TCP socket. */
int coil__stream_new(coil_loop *loop, int fd, size_t limit_bytes, coil_stream **stream);

#endif
