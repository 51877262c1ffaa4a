/*
 * connection.c - connections as streams: opening them, and sending files through them
 *
 * Called in tasks, in a runtime on any worker. Source: asyncio.streams' open_connection and open_unix_connection, and
 * asyncio.base_events' sendfile with its fallback, CPython 3.11.
 */
#include <coil/connection.h>

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "connect.h"
#include "stream.h"

#include "../src/base/alloc.h"
#include "../src/sync.h"

#define PIECE_BYTES ((size_t)256 * 1024) /* of a file; a piece is buffered at a time */

static int open_stream(coil_loop *loop, int fd, const coil_connect_options *o, coil_stream **stream)
{
    return coil__stream_open(loop, &(coil__wire){.in = fd, .out = fd, .socket = true}, o->limit_bytes, stream);
}

int coil_open_connection_with(const char *host, const char *port, const coil_connect_options *options,
                              coil_stream **stream)
{
    coil_connect_options o;
    int fd;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(coil__connect_options(options, &o));
    coil_loop *loop = coil__running_loop();
    COIL_TRY(coil__connect(loop, host, port, &o, &fd));
    return open_stream(loop, fd, &o, stream);
}

int coil_open_connection(const char *host, const char *port, coil_stream **stream)
{
    return coil_open_connection_with(host, port, NULL, stream);
}

int coil_open_unix_connection(const char *path, const coil_connect_options *options, coil_stream **stream)
{
    coil_connect_options o;
    int fd;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(coil__connect_options(options, &o));
    coil_loop *loop = coil__running_loop();
    COIL_TRY(coil__connect_unix(loop, path, &o, &fd));
    return open_stream(loop, fd, &o, stream);
}

int coil_open_connection_on(int fd, const coil_connect_options *options, coil_stream **stream)
{
    coil_connect_options o;
    coil_loop *loop = coil_get_running_loop();
    int rc = loop ? coil__connect_options(options, &o) : COIL_ENOLOOP;
    if (rc == 0)
        rc = coil__adopt_socket(fd, SOCK_STREAM, "Stream Socket");
    if (rc == 0)
        rc = coil_sock_set_options(fd, &o.socket);
    if (rc == 0)
        return open_stream(loop, fd, &o, stream);
    close(fd);
    return rc;
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static int read_file(coil_loop *loop, int file, int64_t offset, char *buf, size_t bytes)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_FILE_READ, file);
    c.op.data = buf;
    c.op.bytes = bytes;
    c.op.offset = offset;
    return coil__call_result(loop, &c, "reading a file");
}

/* One piece more. The number of bytes; 0 at the end. */
static int send_piece(coil_stream *s, int file, int64_t offset, char *buf, size_t left)
{
    int n = read_file(coil__running_loop(), file, offset, buf, left < PIECE_BYTES ? left : PIECE_BYTES);
    if (n <= 0)
        return n;
    COIL_TRY(coil_stream_write(s, buf, (size_t)n));
    return n;
}

int coil_stream_sendfile(coil_stream *s, int file, int64_t offset, size_t count, size_t *reterr_sent)
{
    if (reterr_sent)
        *reterr_sent = 0;
    COIL_TRY(coil__task_may_wait());
    if (offset < 0)
        return coil_raise(-EINVAL, "offset must be a non-negative integer");
    char *buf = coil__malloc(PIECE_BYTES);
    size_t sent = 0;
    int n = buf ? 1 : coil_raise(-ENOMEM, NULL);
    while (n > 0 && (count == 0 || sent < count)) {
        n = send_piece(s, file, offset + (int64_t)sent, buf, count ? count - sent : PIECE_BYTES);
        if (n <= 0)
            break;
        sent += (size_t)n;
        int rc = coil_stream_drain(s);
        n = rc < 0 ? rc : n;
    }
    coil__free(buf);
    if (reterr_sent)
        *reterr_sent = sent;
    return n < 0 ? n : 0;
}
