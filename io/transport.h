/*
 * transport.h - one connection: its descriptors, its two operations, its buffers, and asyncio's rules about them
 *
 * A transport is embedded in the object that talks through it, which implements coil__protocol. It reads ahead
 * while it is not paused; what is written is sent at once as far as the wire takes it, the rest by an
 * operation. On the loop's thread; in a runtime on any worker, several at a time: the latch guards all fields but
 * those that never change, and the protocol's functions are called under it. Functions that say "held" are called
 * with the latch held.
 * Source: asyncio.selector_events._SelectorSocketTransport and asyncio.unix_events' pipe transports of CPython 3.11.
 *
 * It receives in one of two ways, and owns no buffer for it:
 *
 *   RECV_MANY  into the backend's buffers, which the kernel takes when data arrive: sockets on io_uring
 *   POLL       waits for readiness, then reads into the worker's scratch buffer, or where get_buffer says: epoll, pipes, memory, when
 *              the backend is out of buffers, and for large amounts, which come in larger pieces that way
 *
 *   state     entered by                                        reading  writing
 *   open      start                                             yes      yes
 *   closing   close, with bytes still to be sent                no       yes (also appends)
 *   dead      close without such bytes, abort, an error,        no       dropped
 *             the last byte of closing
 *   lost      after dead, mostly in the next iteration:         no       dropped
 *             connection_lost
 *
 * I1 the descriptor is closed, and the buffers freed, when the transport is lost and the kernel has let go of both
 *    operations
 * I2 sending.data is not touched while the send is in flight; new bytes go to `queued`
 * I3 connection_lost is called exactly once, last, unless the loop is closed before
 * I4 while a writer sends at once (sending_now, and the operation is not in flight), `sending` is empty: the latch
 *    is free meanwhile, and what others write goes to `queued`
 * I5 who makes the last of I1's conditions and `abandoned` true, under the latch, calls release after it
 * I6 receiving: the receive operation was submitted, and its end has not been seen by a run of its handle
 * I7 resting: paused with data that the backend has received already; they are delivered after the pause
 * I8 calling: the owner's functions that are under way without the latch, which they may leave; I1 waits for them. Who
 *    calls them looks afterwards whether all is over
 * I9 backlog is NULL until the wire has refused something: most connections never need one. It goes with the descriptor
 */
#ifndef COIL_IO_TRANSPORT_H
#define COIL_IO_TRANSPORT_H

#include <sys/uio.h>

#include "bytes.h"
#include "op.h"

typedef struct coil__transport coil__transport;

/*
 * What a transport reads from and writes to: nonblocking descriptors. -1: nothing. A socket is both. Or one end of two in
 * memory (memory.h), owned like descriptors; in and out are 0 then.
 */
typedef struct coil__wire {
    int in, out;
    bool socket;
    struct coil__memory_end *memory; /* NULL: descriptors */
} coil__wire;

/* What a transport tells its owner. All held, but for release. */
typedef struct coil__protocol {
    /* Where the next data are wanted: a buffer and its size, -EINVAL breaks the connection. NULL: it does not matter. */
    int (*get_buffer)(coil__transport *t, char **buf, size_t *n);
    int (*data_received)(coil__transport *t, const char *data, size_t n); /* an error breaks the connection */
    bool (*eof_received)(coil__transport *t);                             /* whether to stay open for writing */
    void (*pause_writing)(coil__transport *t);
    void (*resume_writing)(coil__transport *t);
    void (*connection_lost)(coil__transport *t, coil_error *error); /* borrows; NULL: closed in good order */
    void (*release)(coil__transport *t); /* after coil__transport_abandon(): nothing uses the memory any more */
} coil__protocol;

/* What the wire did not take at once. */
typedef struct coil__backlog {
    coil__transport *transport;
    struct coil__op send;
    coil__bytes sending, queued; /* I2 */
} coil__backlog;

/*
 * Ordered by use: the end of one connection's life, what each message touches, the operation. A stream goes on with its reader,
 * so that all that a message touches is in few cache lines, one behind the other.
 */
struct coil__transport {
    coil__handle lost_handle;
    coil_error *lost_error; /* why it died; owned */
    size_t high, low;       /* water marks */
    coil_loop *loop;        /* held */
    const coil__protocol *protocol;
    coil__backlog *backlog; /* I9; owned */
    coil__wire wire;        /* owned; -1 when closed (I1) */
    coil__latch latch;
    unsigned calling;       /* I8 */
    bool receiving;         /* I6 */
    bool resting;           /* I7 */
    bool starved;           /* the backend had no buffer left */
    bool large;             /* pieces have been large */
    uint8_t run;            /* of pieces that have not been so */
    bool read_only;         /* nothing was ever there to be written to; never changes, so it shares no byte with what does */
    bool sending_now;       /* the operation was submitted, and its handle has not run; or I4 */
    bool reading_paused : 1, writing_paused : 1;
    bool eof_received : 1, eof_written : 1;
    bool closing : 1, dead : 1, lost : 1;
    bool abandoned : 1;
    struct coil__op receive;
};

/* Takes the descriptors. */
void coil__transport_init(coil__transport *t, const coil__protocol *protocol, coil_loop *loop, const coil__wire *wire);
void coil__transport_start(coil__transport *t);

/* It stays until coil__transport_start(), which must follow, and begins nothing before. */
static inline void coil__transport_hold(coil__transport *t)
{
    t->receiving = true; /* as if: I6 */
}

void coil__transport_pause_reading(coil__transport *t);  /* held */
void coil__transport_resume_reading(coil__transport *t); /* held */

int coil__transport_write(coil__transport *t, const void *data, size_t n);
int coil__transport_writelines(coil__transport *t, const struct iovec *pieces, size_t count);
int coil__transport_write_eof(coil__transport *t);
int coil__transport_set_limits(coil__transport *t, size_t high, size_t low);

/* Held. */
static inline size_t coil__transport_buffered(const coil__transport *t)
{
    const coil__backlog *b = t->backlog;
    return coil_likely(!b) ? 0 : coil__bytes_size(&b->sending) + coil__bytes_size(&b->queued);
}

void coil__transport_close(coil__transport *t);
void coil__transport_abort(coil__transport *t);

/* As abort, but it ends nothing now: for who has to stay until release. Not on a closed loop, which ends it anyway. */
void coil__transport_kill(coil__transport *t);

/* The owner needs it no more: aborts it, and calls release, perhaps at once, when I1 has come true. */
void coil__transport_abandon(coil__transport *t);

#endif
