/*
 * stream.c - TCP connections as streams: asyncio's StreamReader, StreamWriter and StreamReaderProtocol in one object
 *
 * On the loop's thread; in a runtime on any worker. What the transport tells is told under its latch.
 * Source: asyncio.streams of CPython 3.11.
 */
#include "stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

#include "../src/base/alloc.h"
#include "../src/step.h"
#include "../src/sync.h"

static inline coil_stream *stream_of(coil__transport *t)
{
    return coil_container_of(t, coil_stream, transport);
}

/* --- what the transport tells --------------------------------------------------------------------------------- */

static int data_received(coil__transport *t, const char *data, size_t n)
{
    return coil__reader_feed_data(&stream_of(t)->reader, data, n);
}

static bool eof_received(coil__transport *t)
{
    coil__reader_feed_eof(&stream_of(t)->reader);
    return true; /* the peer may still be listening */
}

static void pause_writing(coil__transport *t)
{
    stream_of(t)->writing_paused = true;
}

static void resume_writing(coil__transport *t)
{
    coil_stream *s = stream_of(t);
    s->writing_paused = false;
    coil__line_wake(&s->draining, NULL);
}

static void connection_lost(coil__transport *t, coil_error *error)
{
    coil_stream *s = stream_of(t);
    s->lost = true;
    s->lost_error = coil_error_retain(error);
    if (error)
        coil__reader_set_exception(&s->reader, coil_error_retain(error));
    else
        coil__reader_feed_eof(&s->reader);
    coil__line_wake(&s->closing, error);
    coil__line_wake(&s->draining, error);
}

static void release(coil__transport *t)
{
    coil_stream *s = stream_of(t);
    coil__reader_fini(&s->reader);
    coil_error_release(s->lost_error);
    coil__free(s);
}

static const coil__protocol stream_protocol = {
    .data_received = data_received,
    .eof_received = eof_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
    .release = release,
};

/* --- making, freeing ------------------------------------------------------------------------------------------ */

static void store_addresses(coil_stream *s, const coil_address *self, const coil_address *peer)
{
    s->self_bytes = (uint8_t)self->bytes;
    s->peer_bytes = (uint8_t)peer->bytes;
    memcpy(s->addresses, &self->storage, self->bytes);
    memcpy(s->addresses + self->bytes, &peer->storage, peer->bytes);
}

static coil_address load_address(const char *from, size_t bytes)
{
    coil_address a = {.bytes = (socklen_t)bytes};
    memcpy(&a.storage, from, bytes);
    return a;
}

static coil_stream *new_stream(coil_loop *loop, const coil__wire *wire, size_t limit_bytes)
{
    coil_address self = {0}, peer = {0};
    if (wire->socket)
        coil__sock_names(wire->in, &self, &peer);
    coil_stream *s = coil__calloc(sizeof *s + self.bytes + peer.bytes);
    if (!s)
        return NULL;
    store_addresses(s, &self, &peer);
    coil__transport_init(&s->transport, &stream_protocol, loop, wire);
    coil__reader_init(&s->reader, loop, limit_bytes, &s->transport);
    coil__list_init(&s->draining);
    coil__list_init(&s->closing);
    return s;
}

static void close_unused(const coil__wire *wire)
{
    if (wire->memory) {
        coil__memory_close(wire->memory);
        return;
    }
    if (wire->in >= 0)
        close(wire->in);
    if (wire->out >= 0 && wire->out != wire->in)
        close(wire->out);
}

int coil__stream_open(coil_loop *loop, const coil__wire *wire, size_t limit_bytes, coil_stream **stream)
{
    coil_stream *s = new_stream(loop, wire, limit_bytes);
    if (!s) {
        close_unused(wire);
        return coil_raise(-ENOMEM, NULL);
    }
    coil__transport_start(&s->transport);
    *stream = s;
    return 0;
}

int coil__stream_new(coil_loop *loop, int fd, size_t limit_bytes, coil_stream **stream)
{
    coil__set_nodelay(fd);
    return coil__stream_open(loop, &(coil__wire){.in = fd, .out = fd, .socket = true}, limit_bytes, stream);
}

/* No call on it is suspended. */
static void assert_unused(coil_stream *s)
{
    COIL__GUARD(&s->transport.latch);
    coil_assert(s->reader.reading == 0);
    coil_assert(coil__list_empty(&s->draining));
    coil_assert(coil__list_empty(&s->closing));
}

void coil_stream_free(coil_stream *s)
{
    if (!s)
        return;
    assert_unused(s);
    coil__transport_abandon(&s->transport);
}

/* --- reading -------------------------------------------------------------------------------------------------- */

/* A const stream's latch. */
static coil__latch *latch_of(const coil_stream *s)
{
    return &((coil_stream *)(uintptr_t)s)->transport.latch;
}

int coil_stream_read(coil_stream *s, void *buf, size_t cap, size_t *n)
{
    return coil_stream_reader_read(&s->reader, buf, cap, n);
}

int coil_stream_read_all(coil_stream *s, char **data, size_t *n)
{
    return coil_stream_reader_read_all(&s->reader, data, n);
}

int coil_stream_readexactly(coil_stream *s, void *buf, size_t n)
{
    return coil_stream_reader_readexactly(&s->reader, buf, n);
}

int coil_stream_readuntil(coil_stream *s, const void *separator, size_t separator_bytes, const char **data, size_t *n)
{
    return coil_stream_reader_readuntil(&s->reader, separator, separator_bytes, data, n);
}

int coil_stream_readuntil_any(coil_stream *s, const struct iovec *separators, size_t count, const char **data, size_t *n)
{
    return coil_stream_reader_readuntil_any(&s->reader, separators, count, data, n);
}

int coil_stream_readline(coil_stream *s, const char **line, size_t *n)
{
    return coil_stream_reader_readline(&s->reader, line, n);
}

bool coil_stream_at_eof(const coil_stream *s)
{
    return coil_stream_reader_at_eof(&s->reader);
}

size_t coil_stream_read_buffer_size(const coil_stream *s)
{
    COIL__GUARD(latch_of(s));
    return coil__bytes_size(&s->reader.buffer);
}

/* --- writing -------------------------------------------------------------------------------------------------- */

int coil_stream_write(coil_stream *s, const void *data, size_t n)
{
    return coil__transport_write(&s->transport, data, n);
}

int coil_stream_writelines(coil_stream *s, const struct iovec *pieces, size_t count)
{
    return coil__transport_writelines(&s->transport, pieces, count);
}

static int write_long(coil_stream *s, size_t n, const char *format, va_list args)
{
    char *text = coil__malloc(n + 1);
    if (!text)
        return coil_raise(-ENOMEM, NULL);
    vsnprintf(text, n + 1, format, args);
    int rc = coil__transport_write(&s->transport, text, n);
    coil__free(text);
    return rc;
}

int coil_stream_writef(coil_stream *s, const char *format, ...)
{
    char text[512];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(text, sizeof text, format, args);
    int rc;
    if (n < 0)
        rc = coil_raise(-EINVAL, "the format cannot be converted");
    else if ((size_t)n < sizeof text)
        rc = coil__transport_write(&s->transport, text, (size_t)n);
    else
        rc = write_long(s, (size_t)n, format, again);
    va_end(again);
    va_end(args);
    return rc;
}

/* What the reader died of, with a reference, or NULL; and whether the connection is on its way to its end. */
static coil_error *look(coil_stream *s, bool *closing)
{
    COIL__GUARD(&s->transport.latch);
    *closing = s->transport.closing;
    return coil_error_retain(s->reader.exception);
}

int coil_stream_drain(coil_stream *s)
{
    bool closing;
    COIL_TRY(coil__task_may_go_on());
    COIL_TRY(coil_raise_error(look(s, &closing)));
    if (closing)
        COIL_TRY(coil_sleep(0)); /* lets connection_lost run, so that who writes in a loop hears of it */
    coil__guard guard = coil__guard_enter(&s->transport.latch);
    bool lost = s->lost;
    int rc = 0;
    if (!lost && s->writing_paused)
        rc = coil__line_wait(&s->draining, s->transport.loop, &s->transport.latch, &guard);
    coil__guard_leave(&guard);
    return lost ? coil_raise(-ECONNRESET, "Connection lost") : rc;
}

int coil_stream_write_eof(coil_stream *s)
{
    return coil__transport_write_eof(&s->transport);
}

int coil_stream_set_write_limits(coil_stream *s, size_t high, size_t low)
{
    return coil__transport_set_limits(&s->transport, high, low ? low : high / 4);
}

size_t coil_stream_write_buffer_size(const coil_stream *s)
{
    COIL__GUARD(latch_of(s));
    return coil__transport_buffered(&s->transport);
}

/* --- closing -------------------------------------------------------------------------------------------------- */

void coil_stream_close(coil_stream *s)
{
    coil__transport_close(&s->transport);
}

void coil_stream_abort(coil_stream *s)
{
    coil__transport_abort(&s->transport);
}

bool coil_stream_is_closing(const coil_stream *s)
{
    COIL__GUARD(latch_of(s));
    return s->transport.closing;
}

int coil_stream_wait_closed(coil_stream *s)
{
    COIL_TRY(coil__task_needed());
    coil__guard guard = coil__guard_enter(&s->transport.latch);
    if (!s->lost) {
        int rc = coil__line_wait(&s->closing, s->transport.loop, &s->transport.latch, &guard);
        coil__guard_leave(&guard);
        return rc;
    }
    coil_error *error = coil_error_retain(s->lost_error);
    coil__guard_leave(&guard);
    return coil_raise_error(error); /* 0 without one */
}

size_t coil_stream_peername(const coil_stream *s, char *buf, size_t size)
{
    coil_address peer = load_address(s->addresses + s->self_bytes, s->peer_bytes);
    return coil_address_format(&peer, buf, size);
}

size_t coil_stream_sockname(const coil_stream *s, char *buf, size_t size)
{
    coil_address self = load_address(s->addresses, s->self_bytes);
    return coil_address_format(&self, buf, size);
}
