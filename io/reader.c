/*
 * reader.c - coil_stream_reader: asyncio's StreamReader
 *
 * Fed by a transport or by hand, read by one task; in a runtime on any worker. Static functions are called with the
 * latch held; those that suspend or raise are given the guard, and give the latch back for that. Invariants are in
 * reader.h.
 * Source: asyncio.streams.StreamReader of CPython 3.11.
 */
#define _GNU_SOURCE /* memmem */
#include "reader.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"

#include "../src/base/alloc.h"
#include "../src/error.h"
#include "../src/step.h"
#include "../src/sync.h"

static coil__latch *latch_of(coil_stream_reader *r)
{
    return coil_likely(r->transport != NULL) ? &r->transport->latch : &r->own;
}

/* --- making, feeding ------------------------------------------------------------------------------------------ */

void coil__reader_init(coil_stream_reader *r, coil_loop *loop, size_t limit_bytes, struct coil__transport *transport)
{
    *r = (coil_stream_reader){.loop = loop, .limit = limit_bytes, .transport = transport};
}

void coil__reader_fini(coil_stream_reader *r)
{
    coil_assert(r->reading == 0);
    coil_error_release(r->exception);
    coil__bytes_fini(&r->buffer);
    coil__sized_free(r->kept, r->kept_bytes);
}

int coil_stream_reader_new(coil_loop *loop, size_t limit_bytes, coil_stream_reader **reader)
{
    if (limit_bytes == 0 || limit_bytes > SSIZE_MAX)
        return coil_raise(-EINVAL, "Limit cannot be <= 0");
    coil_stream_reader *r = coil__malloc(sizeof *r);
    if (!r)
        return -ENOMEM;
    coil__reader_init(r, loop, limit_bytes, NULL);
    *reader = r;
    return 0;
}

void coil_stream_reader_free(coil_stream_reader *r)
{
    if (!r)
        return;
    coil__reader_fini(r);
    coil__free(r);
}

static void wake(coil_stream_reader *r)
{
    coil_future *waiter = r->waiter;
    r->waiter = NULL;
    if (waiter && coil__future_pending(waiter))
        (void)coil__future_finish(waiter, NULL, NULL); /* fails on a closed loop only, where nobody waits any more */
}

/* Room for @n more bytes, without moving what is lent: I1. */
static int reserve(coil_stream_reader *r, size_t n)
{
    if (!r->lending || r->kept)
        return coil__bytes_reserve(&r->buffer, n);
    if (n <= r->buffer.cap - r->buffer.end)
        return 0;
    coil__bytes moved = {0};
    size_t size = coil__bytes_size(&r->buffer);
    COIL_TRY(coil__bytes_reserve(&moved, size + n));
    COIL_TRY(coil__bytes_append(&moved, coil__bytes_first(&r->buffer), size));
    r->kept = r->buffer.data;
    r->kept_bytes = r->buffer.cap;
    r->buffer = moved;
    return 0;
}

int coil__reader_feed_data(coil_stream_reader *r, const void *data, size_t n)
{
    coil_assert(!r->eof);
    if (n == 0)
        return 0;
    COIL_TRY(reserve(r, n));
    memcpy(r->buffer.data + r->buffer.end, data, n);
    r->buffer.end += n;
    wake(r);
    if (r->transport && !r->paused && coil__bytes_size(&r->buffer) > 2 * r->limit) {
        r->paused = true;
        coil__transport_pause_reading(r->transport);
    }
    return 0;
}

int coil_stream_reader_feed_data(coil_stream_reader *r, const void *data, size_t n)
{
    COIL__GUARD(latch_of(r));
    return coil__reader_feed_data(r, data, n);
}

void coil__reader_feed_eof(coil_stream_reader *r)
{
    r->eof = true;
    wake(r);
}

void coil_stream_reader_feed_eof(coil_stream_reader *r)
{
    COIL__GUARD(latch_of(r));
    coil__reader_feed_eof(r);
}

/* Returns the one before, for the caller to release when the latch is free. */
static coil_error *exchange_exception(coil_stream_reader *r, coil_error *error)
{
    coil_error *before = r->exception;
    r->exception = error;
    coil_future *waiter = r->waiter;
    r->waiter = NULL;
    if (waiter && coil__future_pending(waiter))
        (void)coil__future_fail(waiter, coil_error_retain(error));
    return before;
}

void coil__reader_set_exception(coil_stream_reader *r, coil_error *error)
{
    coil_error_release(exchange_exception(r, error));
}

void coil_stream_reader_set_exception(coil_stream_reader *r, coil_error *error)
{
    coil__guard guard = coil__guard_enter(latch_of(r));
    coil_error *before = exchange_exception(r, error);
    coil__guard_leave(&guard);
    coil_error_release(before);
}

bool coil_stream_reader_at_eof(const coil_stream_reader *reader)
{
    coil_stream_reader *r = (coil_stream_reader *)(uintptr_t)reader; /* const for the caller; the latch is taken */
    COIL__GUARD(latch_of(r));
    return r->eof && coil__bytes_size(&r->buffer) == 0;
}

/* --- what reading calls share --------------------------------------------------------------------------------- */

/* Begins a reading call: what the one before has lent is given back. Takes the latch, if it succeeds. */
static int begin(coil_stream_reader *r, coil__guard *guard)
{
    COIL_TRY(coil__task_may_go_on());
    *guard = coil__guard_enter(latch_of(r));
    r->lending = false;
    if (coil_unlikely(r->kept != NULL)) {
        coil__sized_free(r->kept, r->kept_bytes);
        r->kept = NULL;
    }
    return 0;
}

/* Gives the latch back for good, before something is raised: that may run a user's function. */
static void end(coil__guard *guard)
{
    coil__guard_leave(guard);
    guard->latch = NULL;
}

/* Takes @e. */
static int raise_error(coil_error *e, coil__guard *guard)
{
    end(guard);
    return coil_raise_error(e);
}

static int raise_exception(const coil_stream_reader *r, coil__guard *guard)
{
    return coil_likely(!r->exception) ? 0 : raise_error(coil_error_retain(r->exception), guard);
}

static void resume(coil_stream_reader *r)
{
    if (!r->paused) /* I3 */
        return;
    r->paused = false;
    coil__transport_resume_reading(r->transport);
}

static void consume(coil_stream_reader *r, size_t n)
{
    coil__bytes_consume(&r->buffer, n);
    if (coil__bytes_size(&r->buffer) <= r->limit)
        resume(r);
}

static void lend(coil_stream_reader *r, size_t n, const char **data, size_t *lent)
{
    *data = n > 0 ? coil__bytes_first(&r->buffer) : "";
    *lent = n;
    r->lending = n > 0;
}

/* Waits for data or the end. A paused transport goes on, or this would wait for ever. */
static int wait_for_data(coil_stream_reader *r, const char *what, coil__guard *guard)
{
    if (r->waiter) {
        end(guard);
        return coil_raise(COIL_EBUSY, "%s() called while another coroutine is already waiting for incoming data",
                          what);
    }
    resume(r);
    coil__bytes_rest(&r->buffer);
    coil_future *waiter = coil__future_new(r->loop);
    if (!waiter)
        return -ENOMEM;
    r->waiter = waiter;
    r->reading++;
    coil__guard_leave(guard);
    int rc = coil_await(waiter, NULL);
    *guard = coil__guard_enter(latch_of(r));
    r->reading--;
    r->waiter = NULL;
    coil_release(waiter);
    return rc;
}

/* --- read, readexactly ---------------------------------------------------------------------------------------- */

/* Waits until there is something, or nothing more will come. */
static int wait_for_some(coil_stream_reader *r, coil__guard *guard)
{
    COIL_TRY(raise_exception(r, guard));
    if (coil__bytes_size(&r->buffer) == 0 && !r->eof)
        return wait_for_data(r, "read", guard);
    return 0;
}

static int read_some(coil_stream_reader *r, void *buf, size_t cap, size_t *n, coil__guard *guard)
{
    if (cap == 0) {
        COIL_TRY(raise_exception(r, guard));
        *n = 0;
        return 0;
    }
    COIL_TRY(wait_for_some(r, guard));
    size_t size = coil__bytes_size(&r->buffer);
    if (size > cap)
        size = cap;
    if (size > 0)
        memcpy(buf, coil__bytes_first(&r->buffer), size);
    consume(r, size);
    *n = size;
    return 0;
}

int coil_stream_reader_read(coil_stream_reader *r, void *buf, size_t cap, size_t *n)
{
    coil__guard guard;
    COIL_TRY(begin(r, &guard));
    int rc = cap <= SSIZE_MAX ? read_some(r, buf, cap, n, &guard) : 0;
    coil__guard_leave(&guard);
    return cap <= SSIZE_MAX ? rc : coil_raise(-EINVAL, "read size can not be less than zero");
}

/* Moves at most `limit` bytes to the end of @all, which holds @n; *moved is their number, 0 at the end. */
static int read_block(coil_stream_reader *r, char **all, size_t n, size_t *moved, coil__guard *guard)
{
    COIL_TRY(wait_for_some(r, guard));
    size_t size = coil__bytes_size(&r->buffer);
    if (size > r->limit)
        size = r->limit;
    char *grown = realloc(*all, n + size + 1); /* the caller frees it with free() */
    if (!grown)
        return -ENOMEM;
    *all = grown;
    if (size > 0)
        memcpy(grown + n, coil__bytes_first(&r->buffer), size);
    grown[n + size] = '\0';
    consume(r, size);
    *moved = size;
    return 0;
}

int coil_stream_reader_read_all(coil_stream_reader *r, char **data, size_t *n)
{
    coil__guard guard;
    COIL_TRY(begin(r, &guard));
    char *all = NULL;
    size_t total = 0, moved = 0;
    int rc;
    do {
        rc = read_block(r, &all, total, &moved, &guard);
        total += moved;
    } while (rc == 0 && moved > 0);
    coil__guard_leave(&guard);
    if (rc < 0) {
        free(all);
        return rc;
    }
    *data = all;
    *n = total;
    return 0;
}

/* The stream has ended too early: raises what there was, and forgets it. */
static int raise_incomplete(coil_stream_reader *r, ssize_t expected, coil__guard *guard)
{
    size_t size = coil__bytes_size(&r->buffer);
    coil_error *e = coil__error_incomplete_read(coil__bytes_first(&r->buffer), size, expected);
    coil__bytes_consume(&r->buffer, size);
    return raise_error(e, guard);
}

static int read_exactly(coil_stream_reader *r, void *buf, size_t n, coil__guard *guard)
{
    COIL_TRY(raise_exception(r, guard));
    while (coil__bytes_size(&r->buffer) < n) {
        if (r->eof)
            return raise_incomplete(r, (ssize_t)n, guard);
        COIL_TRY(wait_for_data(r, "readexactly", guard));
    }
    if (n > 0) {
        memcpy(buf, coil__bytes_first(&r->buffer), n);
        consume(r, n);
    }
    return 0;
}

int coil_stream_reader_readexactly(coil_stream_reader *r, void *buf, size_t n)
{
    coil__guard guard;
    COIL_TRY(begin(r, &guard));
    int rc = n <= SSIZE_MAX ? read_exactly(r, buf, n, &guard) : 0;
    coil__guard_leave(&guard);
    return n <= SSIZE_MAX ? rc : coil_raise(-EINVAL, "readexactly size can not be less than zero");
}

/* --- readuntil, readline -------------------------------------------------------------------------------------- */

static const char not_found[] = "Separator is not found, and chunk exceed the limit";
static const char found_late[] = "Separator is found, but chunk is longer than limit";

/* What a call reads up to: the separator whose end comes first. */
typedef struct separators {
    const struct iovec *all;
    size_t count, shortest, longest;
} separators;

/* How a search for a separator has ended. */
typedef struct finding {
    size_t offset;       /* of the separator; at an overrun: bytes to consume */
    size_t end;          /* of the separator */
    const char *overrun; /* asyncio's message, with COIL_ELIMITOVERRUN */
} finding;

static bool look_for(const char *data, size_t size, size_t from, const separators *s, finding *f)
{
    bool found = false;
    for (size_t i = 0; i < s->count; i++) {
        size_t n = s->all[i].iov_len;
        const char *hit = memmem(data + from, size - from, s->all[i].iov_base, n);
        size_t offset = hit ? (size_t)(hit - data) : 0;
        if (!hit || (found && offset + n >= f->end))
            continue;
        *f = (finding){.offset = offset, .end = offset + n, .overrun = found_late};
        found = true;
    }
    return found;
}

/*
 * Looks for a separator until there is one. COIL_EINCOMPLETEREAD at the end of the stream and COIL_ELIMITOVERRUN are
 * returned without an error object, for the caller to raise or to handle.
 */
static int find(coil_stream_reader *r, const separators *s, finding *f, coil__guard *guard)
{
    size_t searched = 0;
    for (;;) {
        size_t size = coil__bytes_size(&r->buffer);
        if (size >= searched + s->shortest) { /* size may have shrunk: somebody else has read meanwhile */
            if (look_for(coil__bytes_first(&r->buffer), size, searched, s, f))
                return f->offset > r->limit ? COIL_ELIMITOVERRUN : 0;
            searched = size >= s->longest ? size + 1 - s->longest : 0;
            *f = (finding){.offset = searched, .overrun = not_found};
            if (searched > r->limit)
                return COIL_ELIMITOVERRUN;
        }
        if (r->eof)
            return COIL_EINCOMPLETEREAD;
        COIL_TRY(wait_for_data(r, "readuntil", guard));
    }
}

static int read_until(coil_stream_reader *r, const separators *s, const char **data, size_t *n, coil__guard *guard)
{
    finding f = {0};
    COIL_TRY(raise_exception(r, guard));
    int rc = find(r, s, &f, guard);
    if (rc == COIL_EINCOMPLETEREAD)
        return raise_incomplete(r, -1, guard);
    if (rc == COIL_ELIMITOVERRUN)
        return raise_error(coil__error_limit_overrun(f.overrun, f.offset), guard);
    if (rc < 0)
        return rc;
    lend(r, f.end, data, n);
    consume(r, f.end);
    return 0;
}

/* The length of the shortest and of the longest; why they are none, or NULL. */
static const char *measure(separators *s)
{
    if (s->count == 0)
        return "Separator should contain at least one element";
    s->shortest = s->longest = s->all[0].iov_len;
    for (size_t i = 1; i < s->count; i++) {
        size_t n = s->all[i].iov_len;
        s->shortest = n < s->shortest ? n : s->shortest;
        s->longest = n > s->longest ? n : s->longest;
    }
    return s->shortest == 0 ? "Separator should be at least one-byte string" : NULL;
}

int coil_stream_reader_readuntil_any(coil_stream_reader *r, const struct iovec *all, size_t count, const char **data,
                                     size_t *n)
{
    coil__guard guard;
    separators s = {.all = all, .count = count};
    const char *none = measure(&s);
    COIL_TRY(begin(r, &guard));
    int rc = none ? 0 : read_until(r, &s, data, n, &guard);
    coil__guard_leave(&guard);
    return none ? coil_raise(-EINVAL, "%s", none) : rc;
}

int coil_stream_reader_readuntil(coil_stream_reader *r, const void *separator, size_t separator_bytes,
                                 const char **data, size_t *n)
{
    struct iovec one = {.iov_base = (void *)(uintptr_t)separator, .iov_len = separator_bytes};
    return coil_stream_reader_readuntil_any(r, &one, 1, data, n);
}

/* Drops a line that is too long, with its newline if that has been found. */
static int drop_line(coil_stream_reader *r, const finding *f, coil__guard *guard)
{
    consume(r, f->overrun == found_late ? f->offset + 1 : coil__bytes_size(&r->buffer));
    end(guard);
    return coil_raise(-EINVAL, "%s", f->overrun);
}

static const separators newline = {&(const struct iovec){"\n", 1}, 1, 1, 1};

static int read_line(coil_stream_reader *r, const char **line, size_t *n, coil__guard *guard)
{
    finding f = {0};
    COIL_TRY(raise_exception(r, guard));
    int rc = find(r, &newline, &f, guard);
    if (rc == COIL_ELIMITOVERRUN)
        return drop_line(r, &f, guard);
    if (rc < 0 && rc != COIL_EINCOMPLETEREAD)
        return rc;
    size_t size = rc == 0 ? f.offset + 1 : coil__bytes_size(&r->buffer);
    lend(r, size, line, n);
    consume(r, size);
    return 0;
}

int coil_stream_reader_readline(coil_stream_reader *r, const char **line, size_t *n)
{
    coil__guard guard;
    COIL_TRY(begin(r, &guard));
    int rc = read_line(r, line, n, &guard);
    coil__guard_leave(&guard);
    return rc;
}
