/*
 * sendfile.c - what is in a file, through a socket, from page cache to socket without passing through this process
 *
 * sendfile(2) on a nonblocking socket blocks all the same while the file is read from its disk. So it is made by a
 * thread of the default executor, a piece at a time, until the socket is full; the loop waits for room. A kernel or
 * file that cannot do that (-EINVAL, -ENOSYS) has its data read and sent instead, as asyncio's fallback does.
 *
 * Called in tasks, in a runtime on any worker. Source: asyncio.unix_events._sock_sendfile_native, CPython 3.11;
 * sendfile(2); docs/decisions/0011-files-go-by-sendfile-on-a-thread.md.
 */
#include "sock.h"

#include <poll.h>

#include "pipe.h"

#include "../src/base/alloc.h"
#include "../src/sync.h"

#define PIECE_BYTES ((size_t)1024 * 1024)   /* of one call on a thread: how long a cancelled task may have to wait */
#define FALLBACK_BYTES ((size_t)128 * 1024) /* of the buffer */

typedef struct transfer {
    coil_loop *loop;
    int fd, file;
    int64_t offset;
    size_t left; /* SIZE_MAX: to the end */
    size_t sent;
} transfer;

static void advance(transfer *t, size_t n)
{
    t->offset += (int64_t)n;
    t->sent += n;
    t->left -= t->left == SIZE_MAX ? 0 : n;
}

static size_t piece(const transfer *t, size_t most)
{
    return t->left < most ? t->left : most;
}

/* --- the kernel's way ------------------------------------------------------------------------------------------- */

/* Bytes, 0 at the end of the file, a negative errno; or what was raised, with *@raised. */
static int send_piece(transfer *t, bool *raised)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_SEND, t->file);
    c.op.offset = t->offset;
    c.op.bytes = piece(t, PIECE_BYTES);
    c.op.flags = t->fd;
    int rc = coil__call_await(t->loop, &c);
    *raised = rc < 0;
    return rc < 0 ? rc : c.op.res;
}

static int await_room(transfer *t)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_POLL, t->fd);
    c.op.events = POLLOUT;
    int rc = coil__call_result(t->loop, &c, "sendfile");
    return rc < 0 ? rc : 0;
}

/* 0 when all was sent, or the file has ended. */
static int send_by_kernel(transfer *t, bool *unable)
{
    while (t->left > 0) {
        bool raised;
        int n = send_piece(t, &raised);
        if (raised || n == 0)
            return n;
        if (n > 0) {
            advance(t, (size_t)n);
            continue;
        }
        *unable = t->sent == 0 && (n == -EINVAL || n == -ENOSYS);
        if (*unable || n != -EAGAIN)
            return *unable ? 0 : coil__sock_raise(n, "sendfile");
        COIL_TRY(await_room(t));
    }
    return 0;
}

/* --- the other way ---------------------------------------------------------------------------------------------- */

static int read_piece(transfer *t, char *buf)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_READ, t->file);
    c.op.data = buf;
    c.op.bytes = piece(t, FALLBACK_BYTES);
    c.op.offset = t->offset;
    return coil__call_result(t->loop, &c, "reading a file");
}

static int send_by_hand(transfer *t)
{
    int n = 1;
    char *buf = coil__malloc(FALLBACK_BYTES);
    if (!buf)
        return coil_raise(-ENOMEM, NULL);
    while (t->left > 0 && (n = read_piece(t, buf)) > 0) {
        size_t sent;
        int rc = coil_sock_sendall(t->fd, buf, (size_t)n, &sent);
        advance(t, sent);
        if (rc < 0) {
            n = rc;
            break;
        }
    }
    coil__free(buf);
    return n < 0 ? n : 0;
}

int coil_sock_sendfile(int fd, int file, int64_t offset, size_t count, size_t *reterr_sent)
{
    bool unable = false;
    if (reterr_sent)
        *reterr_sent = 0;
    COIL_TRY(coil__task_may_wait());
    transfer t = {.loop = coil__running_loop(), .fd = fd, .file = file, .offset = offset};
    t.left = count ? count : SIZE_MAX;
    if (offset < 0)
        return coil_raise(-EINVAL, "offset must be a non-negative integer");
    coil__sigpipe_ignore(); /* sendfile(2) has no MSG_NOSIGNAL */
    int rc = coil__sock_check(t.loop, fd);
    if (rc == 0)
        rc = send_by_kernel(&t, &unable);
    if (rc == 0 && unable)
        rc = send_by_hand(&t);
    if (reterr_sent)
        *reterr_sent = t.sent;
    return rc;
}
