/*
 * op.h - one request to the kernel: accept, connect, receive, send, or waiting for readiness
 *
 * An operation is embedded in an object that owns the descriptor's use, the buffer, and the handle's functions. It is
 * submitted to the backend of the worker that runs the code, its home until it has completed. The life of an
 * operation:
 *
 *   state       entered by                                  left by
 *   idle        coil__op_init, or its handle's run           submit
 *   in flight   submit                                       the kernel's final word: the backend stores res;
 *                                                            cancel: asked
 *   asked       cancel: `cancelled` is set. At home the      the kernel's final word
 *               backend is told at once; elsewhere the
 *               operation is put into the home's list
 *               `asked`, which the home's next wait empties,
 *               and the home is woken
 *   completed   the backend; its handle is in a ready queue  the handle's run or discard: idle
 *
 * All changes of state but the last are made under the home backend's latch, and completion takes the operation out
 * of `asked`: so a cancel that meets a completion finds an operation in flight, or does nothing, and the result is
 * delivered. Who calls cancel sees to it that the operation is still there: by the latch of the object that embeds
 * it, or by owning it.
 *
 * I1 the kernel may use the buffer from submit to completion; asking for cancellation does not shorten that
 * I2 res is a result of the system call of the same name, or a negative errno. -ECANCELED only if cancellation was
 *    asked for; a request that the kernel cancelled on its own is COIL_ECLOSED
 * I3 the handle runs at home; where the backend is shared (COIL_RING_SHARED), perhaps on a worker that has stood in
 *    for it
 */
#ifndef COIL_IO_OP_H
#define COIL_IO_OP_H

#include <sys/socket.h>

#include "../src/backend.h"
#include "../src/loop.h"

enum coil__op_kind {
    COIL__OP_ACCEPT,
    COIL__OP_CONNECT,
    COIL__OP_RECV,
    COIL__OP_SEND,
    COIL__OP_POLL,
};

struct coil__op {
    coil__handle handle;
    coil__node flight;  /* the backend's */
    coil__node asked;   /* in the backend's list of that name */
    coil_loop *home;    /* that it was submitted on */
    int fd;
    int res;            /* I2 */
    uint8_t kind;
    bool in_flight;
    bool cancelled;     /* cancellation was asked for */
    bool cancelling;    /* uring: the request to cancel has not been answered */
    bool answered;      /* uring: the kernel is done with the request itself */
    bool postponed;     /* uring: the kernel is done with a request that has to be made again */
    bool started;       /* connect: what remains is to wait for writability and to fetch the result */
    bool wait_first;    /* hint: nothing is expected to be there yet, so do not try before waiting */
    bool polling;       /* uring: the request in the ring waits for readiness on behalf of this one */
    short events;       /* poll */
    void *data;         /* receive, send: the buffer; connect: the address. Borrowed until completion (I1) */
    size_t bytes;
};

/* @op: borrowed until its handle has run, after each submit. */
void coil__op_init(struct coil__op *op, enum coil__op_kind kind, int fd, const coil__handle_ops *ops);

/* Gives @op to the backend of the worker that runs this. Its handle runs when it has completed. */
void coil__op_submit(coil_loop *loop, struct coil__op *op);

/* Asks for cancellation, from any worker; nothing happens if it is not in flight. */
void coil__op_cancel(coil_loop *loop, struct coil__op *op);

/* Makes the system call once, without blocking. A result or a negative errno; -EAGAIN: wait for coil__op_events(). */
int coil__op_try(struct coil__op *op);

/* POLLIN or POLLOUT: what @op waits for. */
short coil__op_events(const struct coil__op *op);

/* For backends, under the latch: @op enters their hands; they link op->flight as they like. */
void coil__op_begin(coil__backend *b, struct coil__op *op);

/*
 * For backends, under the latch: the kernel is done with @op. Unlinks it; its handle waits in b->done for
 * coil__op_deliver().
 */
void coil__op_complete(coil__backend *b, struct coil__op *op, int res);

/* For backends, under the latch: asks for the cancellation of what is in b->asked, each once. */
void coil__op_cancel_asked(coil__backend *b);

/* For backends, under the latch: appends the handles of all that has completed to @ready. Returns how many. */
size_t coil__op_deliver(coil__backend *b, coil__list *ready);

/* For backends: what all of them begin with. */
void coil__backend_init(coil__backend *b, const coil__backend_ops *ops, int ring_mode);

static inline void coil__backend_count(_Atomic uint64_t *counter, uint64_t n)
{
    store_relaxed(counter, load_relaxed(counter) + n); /* [BACKEND-1] one writer at a time */
}

#endif
