/*
 * coil/stream.h - TCP connections as streams: asyncio's StreamReader and StreamWriter in one object
 *
 * The transport reads ahead into the stream's buffer, up to twice the limit, then pauses; what is written is sent at
 * once as far as the kernel takes it, the rest is buffered, and coil_stream_drain() waits while there is too much of
 * it. A cancelled read loses no byte: they stay in the buffer. Source: asyncio.streams of CPython 3.11.
 */
#ifndef COIL_STREAM_H
#define COIL_STREAM_H

#include <sys/uio.h>

#include <coil/loop.h>
COIL_BEGIN

/* --- StreamReader -------------------------------------------------------------------------------------------- */

/* A buffer that one side feeds and one task reads. Every stream has one; it can be used alone as well. */
typedef struct coil_stream_reader coil_stream_reader;

#define COIL_STREAM_LIMIT ((size_t)64 * 1024)

/** coil_stream_reader_new - of the loop @loop. @limit_bytes: 0 is -EINVAL ("Limit cannot be <= 0"). Gives. */
COIL_ON_LOOP int coil_stream_reader_new(coil_loop *loop, size_t limit_bytes, coil_stream_reader **reader);
COIL_ON_LOOP void coil_stream_reader_free(coil_stream_reader *reader); /* nobody may be reading (asserted) */

COIL_ON_LOOP int coil_stream_reader_feed_data(coil_stream_reader *reader, const void *data, size_t n); /* -ENOMEM */
COIL_ON_LOOP void coil_stream_reader_feed_eof(coil_stream_reader *reader);
COIL_ON_LOOP void coil_stream_reader_set_exception(coil_stream_reader *reader, coil_error *error); /* takes */
COIL_ON_LOOP bool coil_stream_reader_at_eof(const coil_stream_reader *reader); /* at the end, and nothing buffered */

/**
 * coil_stream_reader_read - whatever is available, at least one byte
 * @buf: borrows until return
 * @cap: bytes; 0 reads nothing and returns at once; beyond SSIZE_MAX is -EINVAL
 * @n:   bytes read, 1 .. @cap, or 0 at the end of the stream
 *
 * Errors: -ECANCELED (no byte is lost), COIL_EBUSY if another task is waiting for data, what the connection died of.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_reader_read(coil_stream_reader *reader, void *buf, size_t cap, size_t *n);

/**
 * coil_stream_reader_read_all - everything up to the end: asyncio's read(-1)
 * @data: gives @n bytes and a zero behind them; free() them
 *
 * If it fails, what it had collected is lost, as in asyncio.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_reader_read_all(coil_stream_reader *reader, char **data, size_t *n);

/**
 * coil_stream_reader_readexactly - exactly @n bytes into @buf
 *
 * Errors: COIL_EINCOMPLETEREAD if the stream ends before (the error has what there was, and the buffer is empty then);
 * -EINVAL for a size beyond SSIZE_MAX.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_reader_readexactly(coil_stream_reader *reader, void *buf, size_t n);

/**
 * coil_stream_reader_readuntil - up to and with a separator
 * @data: lends @n bytes, valid until the next call on the reader
 *
 * Errors: COIL_EINCOMPLETEREAD at the end of the stream; COIL_ELIMITOVERRUN if the limit was reached (the data stay in
 * the buffer); -EINVAL for an empty separator.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_reader_readuntil(coil_stream_reader *reader, const void *separator,
                                                            size_t separator_bytes, const char **data, size_t *n);

/**
 * coil_stream_reader_readuntil_any - up to and with whichever of several separators ends first: readuntil of Python 3.13
 * @separators: @count of them; borrows
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_reader_readuntil_any(coil_stream_reader *reader, const struct iovec *separators,
                                                                size_t count, const char **data, size_t *n);

/**
 * coil_stream_reader_readline - a line with its newline; the last one may lack it; 0 bytes at the end
 * @line: lends @n bytes, valid until the next call on the reader
 *
 * Errors: -EINVAL for a line longer than the limit, which is dropped.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_reader_readline(coil_stream_reader *reader, const char **line, size_t *n);

/* --- streams ------------------------------------------------------------------------------------------------- */

typedef struct coil_stream coil_stream;

/**
 * coil_open_connection - connect to a TCP server
 * @host:   name or address, IPv4 or IPv6
 * @port:   number or service name
 * @stream: gives; coil_stream_close() it, then coil_stream_free() it
 *
 * Tries the addresses of @host in their order. Errors: -ECANCELED, that of the last address that was tried
 * (-ECONNREFUSED, -ENETUNREACH, ...), -EINVAL for a name that does not resolve (the message says why), -EMFILE.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_open_connection(const char *host, const char *port, coil_stream **stream);

/* Reading: see the functions of coil_stream_reader with the same names. */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_read(coil_stream *stream, void *buf, size_t cap, size_t *n);
COIL_IN_TASK COIL_SUSPENDS int coil_stream_read_all(coil_stream *stream, char **data, size_t *n);
COIL_IN_TASK COIL_SUSPENDS int coil_stream_readexactly(coil_stream *stream, void *buf, size_t n);
COIL_IN_TASK COIL_SUSPENDS int coil_stream_readuntil(coil_stream *stream, const void *separator,
                                                     size_t separator_bytes, const char **data, size_t *n);
COIL_IN_TASK COIL_SUSPENDS int coil_stream_readuntil_any(coil_stream *stream, const struct iovec *separators,
                                                         size_t count, const char **data, size_t *n);
COIL_IN_TASK COIL_SUSPENDS int coil_stream_readline(coil_stream *stream, const char **line, size_t *n);
COIL_ON_LOOP bool coil_stream_at_eof(const coil_stream *stream);

/** coil_stream_read_buffer_size - bytes that have arrived, and were not read yet. */
COIL_ON_LOOP size_t coil_stream_read_buffer_size(const coil_stream *stream);

/**
 * coil_stream_write - send @n bytes, buffering what the kernel does not take
 * @data: borrows for the call
 *
 * Never suspends; call coil_stream_drain() to be held back when the peer is slow. After the connection is lost the data
 * are dropped, as in asyncio. Errors: COIL_ERUNTIME after write_eof, -ENOMEM (nothing was taken).
 */
COIL_ON_LOOP int coil_stream_write(coil_stream *stream, const void *data, size_t n);

/**
 * coil_stream_writelines - several pieces as one coil_stream_write() of them all
 * @pieces: borrows, with what they point to, for the call
 * @count:  their number
 *
 * What a socket takes at once is not copied, unless there are more than IOV_MAX pieces.
 */
COIL_ON_LOOP int coil_stream_writelines(coil_stream *stream, const struct iovec *pieces, size_t count);

/** coil_stream_writef - printf into the stream. */
COIL_ON_LOOP int coil_stream_writef(coil_stream *stream, const char *format, ...) COIL_PRINTF(2, 3);

/** coil_stream_drain - wait while the write buffer is above its high-water mark. Errors: what the connection died of. */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_drain(coil_stream *stream);

/** coil_stream_write_eof - shut the sending side down after what is buffered; reading goes on. */
COIL_ON_LOOP int coil_stream_write_eof(coil_stream *stream);

/** coil_stream_set_write_limits - water marks in bytes; @low 0: @high / 4. Errors: -EINVAL if @low > @high. */
COIL_ON_LOOP int coil_stream_set_write_limits(coil_stream *stream, size_t high, size_t low);
COIL_ON_LOOP size_t coil_stream_write_buffer_size(const coil_stream *stream);

/** coil_stream_close - send what is buffered, then close; reading ends at once. A second close does nothing. */
COIL_ON_LOOP void coil_stream_close(coil_stream *stream);

/** coil_stream_abort - close without sending what is buffered. */
COIL_ON_LOOP void coil_stream_abort(coil_stream *stream);
COIL_ON_LOOP bool coil_stream_is_closing(const coil_stream *stream);

/** coil_stream_wait_closed - wait until it is closed. Errors: what the connection died of. */
COIL_IN_TASK COIL_SUSPENDS int coil_stream_wait_closed(coil_stream *stream);

/** coil_stream_free - abort it if it is still open, and give the memory back when the kernel has let go. NULL is allowed. */
COIL_ON_LOOP void coil_stream_free(coil_stream *stream);

/** coil_stream_peername - "127.0.0.1:8888", "[::1]:8888"; returns the length as snprintf does. */
COIL_ON_LOOP size_t coil_stream_peername(const coil_stream *stream, char *buf, size_t size);
COIL_ON_LOOP size_t coil_stream_sockname(const coil_stream *stream, char *buf, size_t size);

COIL_END
#endif
