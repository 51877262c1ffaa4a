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

struct coil_stream_reader {
    coil_loop *loop;
    struct coil__transport *transport; /* borrowed; NULL: fed by hand */
    coil__latch own;
    coil__latch *latch;    /* `own`, or the transport's */
    coil__bytes buffer;
    char *kept;            /* I1; owned */
    size_t limit;
    coil_future *waiter;   /* I2 */
    unsigned reading;      /* calls that wait, or were woken and have not run yet */
    coil_error *exception; /* owned */
    bool lending, eof, paused;
};

/* @transport: that feeds it; NULL: fed by hand. */
void coil__reader_init(coil_stream_reader *r, coil_loop *loop, size_t limit_bytes, struct coil__transport *transport);
void coil__reader_fini(coil_stream_reader *r); /* nobody may be reading (asserted) */

/* What the functions of coil/stream.h do, held. */
int coil__reader_feed_data(coil_stream_reader *r, const void *data, size_t n);
void coil__reader_feed_eof(coil_stream_reader *r);
void coil__reader_set_exception(coil_stream_reader *r, coil_error *error);

#endif
