/*
 * transport.h - one connection: its descriptor, its two operations, its buffers, and asyncio's rules about them
 *
 * A transport is embedded in the object that talks through it, which implements coil__protocol. It reads ahead
 * while it is not paused; what is written is sent at once as far as the socket takes it, the rest by an
 * operation. On the loop's thread; in a runtime on any worker, several at a time: the latch guards all fields but
 * those that never change, and the protocol's functions are called under it. Functions that say "held" are called
 * with the latch held.
 * Source: asyncio.selector_events._SelectorSocketTransport of CPython 3.11.
 *
 *   state     entered by                                        reading  writing
 *   open      start                                             yes      yes
 *   closing   close, with bytes still to be sent                no       yes (also appends)
 *   dead      close without such bytes, abort, an error,        no       dropped
 *             the last byte of closing
 *   lost      in the iteration after dead: connection_lost      no       dropped
 *
 * I1 the descriptor is closed, and the buffers freed, when the transport is lost and the kernel has let go of both
 *    operations
 * I2 sending.data is not touched while the send is in flight; new bytes go to `queued`
 * I3 connection_lost is called exactly once, last, unless the loop is closed before
 * I4 while a writer sends at once (sending_now, and the operation is not in flight), `sending` is empty: the latch
 *    is free meanwhile, and what others write goes to `queued`
 * I5 who makes the last of I1's conditions and `abandoned` true, under the latch, calls release after it
 */
#ifndef COIL_IO_TRANSPORT_H
#define COIL_IO_TRANSPORT_H

#include "bytes.h"
#include "op.h"

typedef struct coil__transport coil__transport;

/* What a transport tells its owner. All held, but for release. */
typedef struct coil__protocol {
    int (*data_received)(coil__transport *t, const char *data, size_t n); /* -ENOMEM breaks the connection */
    bool (*eof_received)(coil__transport *t);                             /* whether to stay open for writing */
    void (*pause_writing)(coil__transport *t);
    void (*resume_writing)(coil__transport *t);
    void (*connection_lost)(coil__transport *t, coil_error *error); /* borrows; NULL: closed in good order */
    void (*release)(coil__transport *t); /* after coil__transport_abandon(): nothing uses the memory any more */
} coil__protocol;

struct coil__transport {
    const coil__protocol *protocol;
    coil_loop *loop; /* held */
    coil__latch latch;
    int fd;          /* owned; -1: closed (I1) */
    struct coil__op receive, send;
    coil__handle lost_handle;
    coil_error *lost_error; /* why it died; owned */
    char *input;            /* what is received goes here; owned */
    size_t input_bytes;
    coil__bytes sending, queued; /* I2 */
    size_t high, low;            /* water marks */
    bool receiving, sending_now; /* the operation was submitted, and its handle has not run; or I4 */
    bool reading_paused, writing_paused;
    bool eof_received, eof_written;
    bool closing, dead, lost;
    bool abandoned;
};

/* Takes @fd, on success only. */
int coil__transport_init(coil__transport *t, const coil__protocol *protocol, coil_loop *loop, int fd);
void coil__transport_start(coil__transport *t);

void coil__transport_pause_reading(coil__transport *t);  /* held */
void coil__transport_resume_reading(coil__transport *t); /* held */

int coil__transport_write(coil__transport *t, const void *data, size_t n);
int coil__transport_write_eof(coil__transport *t);
int coil__transport_set_limits(coil__transport *t, size_t high, size_t low);

/* Held. */
static inline size_t coil__transport_buffered(const coil__transport *t)
{
    return coil__bytes_size(&t->sending) + coil__bytes_size(&t->queued);
}

void coil__transport_close(coil__transport *t);
void coil__transport_abort(coil__transport *t);

/* The owner needs it no more: aborts it, and calls release, perhaps at once, when I1 has come true. */
void coil__transport_abandon(coil__transport *t);

#endif
