/*
 * op.h - one request to the kernel: accept, connect, receive, send, or waiting for readiness
 *
 * An operation is embedded in an object that owns the descriptor's use, the buffer, and the handle's functions. All
 * calls come from the thread that runs the loop. The life of an operation:
 *
 *   state       entered by                                  left by
 *   idle        coil__op_init, or its handle's run           submit
 *   in flight   submit                                       the kernel's final word: the backend stores res
 *   completed   the backend; its handle is in a ready queue  the handle's run or discard: idle
 *
 * I1 the kernel may use the buffer from submit to completion; asking for cancellation does not shorten that
 * I2 res is a result of the system call of the same name, or a negative errno. -ECANCELED only if cancellation was
 *    asked for; a request that the kernel cancelled on its own is COIL_ECLOSED
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
    int fd;
    int res;            /* I2 */
    uint8_t kind;
    bool in_flight;
    bool cancelled;     /* cancellation was asked for */
    bool cancelling;    /* uring: the request to cancel has not been answered */
    bool answered;      /* uring: the kernel is done with the request itself */
    bool started;       /* connect: what remains is to wait for writability and to fetch the result */
    bool wait_first;    /* hint: nothing is expected to be there yet, so do not try before waiting */
    bool polling;       /* uring: the request in the ring waits for readiness on behalf of this one */
    short events;       /* poll */
    void *data;         /* receive, send: the buffer; connect: the address. Borrowed until completion (I1) */
    size_t bytes;
};

/* @op: borrowed until its handle has run, after each submit. */
void coil__op_init(struct coil__op *op, enum coil__op_kind kind, int fd, const coil__handle_ops *ops);

/* Gives @op to the loop's backend. Its handle runs when it has completed. */
void coil__op_submit(coil_loop *loop, struct coil__op *op);

/* Asks for cancellation; nothing happens if it is not in flight. */
void coil__op_cancel(coil_loop *loop, struct coil__op *op);

/* Makes the system call once, without blocking. A result or a negative errno; -EAGAIN: wait for coil__op_events(). */
int coil__op_try(struct coil__op *op);

/* POLLIN or POLLOUT: what @op waits for. */
short coil__op_events(const struct coil__op *op);

/* For backends: @op enters their hands; they link op->flight as they like. */
void coil__op_begin(coil__backend *b, struct coil__op *op);

/* For backends: the kernel is done with @op. Unlinks it; its handle waits in b->done for coil__op_deliver(). */
void coil__op_complete(coil__backend *b, struct coil__op *op, int res);

/* For backends: appends the handles of all that has completed to @ready. */
void coil__op_deliver(coil__backend *b, coil__list *ready);

#endif
