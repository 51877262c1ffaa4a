/*
 * reader.h - the stream reader inside
 *
 * Fed by a transport, under its latch, which is the reader's too; or by hand, from any worker. The latch guards all
 * fields but `loop`, `transport` and `limit`; functions that say "held" are called with it held.
 *
 * I1 bytes lent to a caller stay where they are until the next reading call: in the buffer's block, which then is not
 *    moved, or in `kept`, when the buffer had to go on in another block
 * I2 waiter is the future of the one suspended reading call; it is owned by that call's frame
 * I3 paused: the transport was told not to read; only readers with a transport are
 */
#ifndef COIL_IO_READER_H
#define COIL_IO_READER_H

#include <coil/stream.h>

#include "bytes.h"

#include "../src/base/latch.h"

struct coil__transport;

/* What each message touches comes first: transport.h. */
struct coil_stream_reader {
    coil_future *waiter;   /* I2 */
    coil__latch own;       /* of one without a transport */
    unsigned reading;      /* calls that wait, or were woken and have not run yet */
    bool lending, eof, paused;
    coil__bytes buffer;    /* gives its block back while a call waits: an idle connection has none */
    struct coil__transport *transport; /* borrowed; NULL: fed by hand */
    coil_error *exception; /* owned */
    size_t limit;
    coil_loop *loop;
    char *kept;            /* I1; owned */
    size_t kept_bytes;     /* its size */
};

/* @transport: that feeds it; NULL: fed by hand. */
void coil__reader_init(coil_stream_reader *r, coil_loop *loop, size_t limit_bytes, struct coil__transport *transport);
void coil__reader_fini(coil_stream_reader *r); /* nobody may be reading (asserted) */

/* What the functions of coil/stream.h do, held. */
int coil__reader_feed_data(coil_stream_reader *r, const void *data, size_t n);
void coil__reader_feed_eof(coil_stream_reader *r);
void coil__reader_set_exception(coil_stream_reader *r, coil_error *error);

#endif
