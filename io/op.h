/*
 * op.h - one request to the kernel: what a socket, a pipe or a file is asked for, or waiting for readiness
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

/*
 * Kinds, and the fields that they use beside `fd`. Those of files come last: they never wait for readiness, and the
 * epoll backend knows nothing of them (call.h has them made by another thread).
 */
enum coil__op_kind {
    COIL__OP_ACCEPT,  /* the result is a descriptor, nonblocking and closed by exec */
    COIL__OP_CONNECT, /* data, bytes: the address */
    COIL__OP_RECV,    /* data, bytes; flags: MSG_... */
    COIL__OP_SEND,    /* the same */
    COIL__OP_RECVMSG, /* data: a struct msghdr; flags: MSG_... */
    COIL__OP_SENDMSG, /* the same */
    COIL__OP_READ,    /* data, bytes: of a pipe or terminal, which is nonblocking */
    COIL__OP_WRITE,   /* the same */
    COIL__OP_POLL,    /* events: POLL...; the result is those that have come true */
    COIL__OP_ACCEPT_MANY, /* accepts again and again; data: a coil__accepted, see coil__op_take_accepted() */
    COIL__OP_RECV_MANY, /* receives again and again into the backend's own buffers, see coil__op_take() */
    COIL__OP_FILE_READ,   /* data, bytes, offset; more: the coil_buffers that data lies in, or NULL */
    COIL__OP_FILE_WRITE,  /* the same */
    COIL__OP_FILE_READV,  /* data: struct iovec[bytes]; offset */
    COIL__OP_FILE_WRITEV, /* the same */
    COIL__OP_FILE_SYNC,   /* flags: 1: the data alone, as fdatasync() */
    COIL__OP_FILE_OPEN,   /* fd: a directory or AT_FDCWD; data: the path; flags: O_...; bytes: the mode */
    COIL__OP_FILE_CLOSE,
    COIL__OP_FILE_STAT,   /* fd: a directory, file or AT_FDCWD; data: the path; flags: AT_...; more: a struct statx; bytes: its mask */
    COIL__OP_FILE_TRUNCATE, /* offset: the new length. No backend has it: Linux 6.9 */
    COIL__OP_FILE_SEND,     /* offset, bytes; flags: the socket, which is nonblocking. No backend has it */
};

static inline bool coil__op_is_of_files(enum coil__op_kind kind)
{
    return kind >= COIL__OP_FILE_READ;
}

/* It completes again and again: see coil__op_take(). */
static inline bool coil__op_is_many(enum coil__op_kind kind)
{
    return kind == COIL__OP_RECV_MANY || kind == COIL__OP_ACCEPT_MANY;
}

/* What an ACCEPT_MANY has accepted: owned by who embeds the operation, guarded by the home's latch. */
typedef struct coil__accepted {
    int *fds; /* owned, and so are the descriptors from first on */
    size_t first, count, cap;
} coil__accepted;

#define COIL__NO_BUFFER UINT16_MAX

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
    bool answered;      /* uring, files: the kernel is done with the request itself */
    bool postponed;     /* uring: the kernel is done with a request that has to be made again */
    bool started;       /* connect: what remains is to wait for writability and to fetch the result */
    bool wait_first;    /* hint: nothing is expected to be there yet, so do not try before waiting */
    bool once;          /* the descriptor is not the library's: when this is over nothing of it may be kept (epoll) */
    bool polling;       /* uring: the request in the ring waits for readiness on behalf of this one */
    bool announced;     /* ..._MANY: the handle is in a ready queue, or its run has not come to the end of what there is */
    bool finished;      /* ..._MANY: it has completed, and coil__op_take() has not said so yet */
    bool looked;        /* uring, RECV_MANY: whether the kernel has overlooked the end was found out for this request */
    uint16_t first, last; /* RECV_MANY: chain of the backend's buffers with data, COIL__NO_BUFFER: empty */
    uint16_t taken;       /* RECV_MANY: to be given back by the next take, or a rest */
    short events;
    int flags;
    void *data;         /* borrowed until completion (I1), with all that it points to */
    size_t bytes;
    int64_t offset;
    void *more;         /* as data */
};

/* @op: borrowed until its handle has run, after each submit. */
void coil__op_init(struct coil__op *op, enum coil__op_kind kind, int fd, const coil__handle_ops *ops);

/* Gives @op to the backend of the worker that runs this. Its handle runs when it has completed. */
void coil__op_submit(coil_loop *loop, struct coil__op *op);

/* Asks for cancellation, from any worker; nothing happens if it is not in flight. */
void coil__op_cancel(coil_loop *loop, struct coil__op *op);

/*
 * Makes the system call once, without blocking (but for files). A result or a negative errno; -EAGAIN: wait for
 * coil__op_events().
 */
int coil__op_try(struct coil__op *op);

/*
 * For those who make a system call themselves, with coil__op_try(): the error that it fails with because a test wants
 * it to (fault.c), or 0. On a worker of @loop's.
 */
extern _Atomic unsigned coil__faults; /* [FAULT-1] relaxed: backends with a failure to come; who wants one is on this thread */
int coil__op_inject(coil_loop *loop);

static inline int coil__op_injected(coil_loop *loop)
{
    return coil_likely(load_relaxed(&coil__faults) == 0) ? 0 : coil__op_inject(loop); /* [FAULT-1] */
}

/* POLLIN or POLLOUT: what @op waits for. */
short coil__op_events(const struct coil__op *op);

/*
 * Receiving many times (only where the backend's receives_many is set), by who runs the handle, under the latch of the
 * object that embeds @op.
 *
 *   state of the handle   entered by                                  left by
 *   free                  submit; take: -EAGAIN or the end; rest      data or the end: announced; rouse
 *   announced             the backend, which appends it to `done`;    its run, which takes until there is no more, or rests
 *                         rouse, whose caller makes it ready
 *
 * coil__op_take: the number of bytes, which *data points to until the next take, or a rest. 0: the end of the stream. -EAGAIN:
 * nothing now. Anything else is an error: -ENOBUFS: the backend has no buffer left; -EINTR: nobody's fault. After
 * all but data and -EAGAIN the operation is idle and may be submitted again.
 */
int coil__op_take(struct coil__op *op, const char **data);

/* The same of an ACCEPT_MANY: a descriptor, which the caller owns; or an error. (Only where the backend's accepts_many is set.) */
int coil__op_take_accepted(struct coil__op *op);

/*
 * Takes no more for now, or never, if the handle is discarded. False: the operation has completed, although there may be
 * something to take.
 */
bool coil__op_rest(struct coil__op *op);

/* After a rest. True: the caller makes the handle ready; else somebody has. */
bool coil__op_rouse(struct coil__op *op);

/* Gives back all that was not taken. The operation has completed; @loop may be closed, and its other workers gone. */
void coil__op_drop(coil_loop *loop, struct coil__op *op);

/* For backends, under the latch: @op enters their hands; they link op->flight as they like. */
void coil__op_begin(coil__backend *b, struct coil__op *op);

/*
 * For backends, under the latch: the kernel is done with @op. Unlinks it; its handle waits in b->done for
 * coil__op_deliver().
 */
void coil__op_complete(coil__backend *b, struct coil__op *op, int res);

/* For backends, under the latch: an ACCEPT_MANY has accepted @fd. Closes it if there is no memory. */
void coil__op_accepted(coil__backend *b, struct coil__op *op, int fd);

/* For backends, under the latch: there is something to take from an operation in flight. */
void coil__op_announce(coil__backend *b, struct coil__op *op);

/* For backends, under the latch: asks for the cancellation of what is in b->asked, each once. */
void coil__op_cancel_asked(coil__backend *b);

/* For backends, under the latch: appends the handles of all that has completed to @ready. Returns how many. */
size_t coil__op_deliver(coil__backend *b, coil__list *ready);

/*
 * For backends: how much a wait collects at most. What belongs to a connection is then still in the cache when its task runs;
 * with 256 and 1000 connections a message costs some per cent more (docs/decisions/0017-batches-of-64.md).
 */
#define COIL__BATCH 64

#define COIL__BUFFER_BYTES 2048 /* of a backend's buffer, for a RECV_MANY */

/* For backends: what all of them begin and end with. */
void coil__backend_init(coil__backend *b, const coil__backend_ops *ops, int ring_mode);
void coil__backend_fini(coil__backend *b);

/*
 * Room for COIL__SCRATCH_BYTES that have to be copied before anything else is received on this worker. NULL without
 * memory. @loop's backend that belongs to this thread lends it.
 */
#define COIL__SCRATCH_BYTES ((size_t)256 * 1024) /* asyncio's max_size */
char *coil__backend_scratch(coil_loop *loop);

static inline void coil__backend_count(_Atomic uint64_t *counter, uint64_t n)
{
    store_relaxed(counter, load_relaxed(counter) + n); /* [BACKEND-1] one writer at a time */
}

#endif
