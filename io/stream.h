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
    coil__list draining; /* wait until writing may go on */
    coil__list closing;  /* wait for the end */
    coil__address peer, self;
    coil_error *lost_error; /* what the connection died of; owned */
    bool writing_paused, lost;
};

/* A stream on a connected socket, reading already. Takes @fd, also on failure. */
int coil__stream_new(coil_loop *loop, int fd, size_t limit_bytes, coil_stream **stream);

#endif
