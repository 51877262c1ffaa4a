/*
 * body.c - reading bodies: by length, in chunks, or up to the end of the connection; see body.h
 *
 * On the task of a connection; suspends when the buffer is empty. Chunks are unframed here, not by the
 * parser, since every byte of a chunk's line has to be looked at: hexadecimal digits, an extension without
 * control characters, CR LF, and nothing else.
 */
#include "body.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

#define CAP_MIN        4096
#define LINE_MAX_BYTES 1024 /* of a chunk's line or a trailer; fits into what keep_head() makes room for */
#define EXTRAS_MAX     8192 /* of all chunk extensions and trailers of a body */

/* --- the buffer ----------------------------------------------------------------------------------------- */

void coil__http_input_fini(coil__http_input *in)
{
    free(in->data);
    in->data = NULL;
}

/* Room for @n bytes behind the end. */
static int make_room(coil__http_input *in, size_t n)
{
    size_t size = coil__http_input_size(in), cap = in->cap ? in->cap : CAP_MIN;
    while (cap - in->floor - size < n)
        cap *= 2;
    if (cap == in->cap) {
        memmove(in->data + in->floor, in->data + in->begin, size);
    } else {
        char *larger = malloc(cap);
        if (!larger)
            return coil_raise(-ENOMEM, NULL);
        if (in->floor > 0)
            memcpy(larger, in->data, in->floor);
        if (size > 0)
            memcpy(larger + in->floor, in->data + in->begin, size);
        free(in->data);
        in->data = larger;
        in->cap = cap;
    }
    in->begin = in->floor;
    in->end = in->begin + size;
    return 0;
}

static void consume(coil__http_input *in, size_t n)
{
    in->begin += n;
    if (in->begin == in->end)
        in->begin = in->end = in->floor;
}

int coil__http_input_fill(coil__http_input *in, size_t *n)
{
    size_t got;
    if (in->end == in->cap)
        COIL_TRY(make_room(in, 1));
    COIL_TRY(in->read(in, in->data + in->end, in->cap - in->end, &got));
    in->end += got;
    *n = got;
    return 0;
}

int coil__http_input_keep_head(coil__http_input *in, size_t bytes, char **head)
{
    size_t at = in->begin;
    if (in->cap - (at + bytes) < LINE_MAX_BYTES + 2) { /* I2: room for whatever line the body has */
        COIL_TRY(make_room(in, LINE_MAX_BYTES + 2 + bytes));
        at = in->begin;
    }
    in->floor = at + bytes;
    consume(in, bytes);
    *head = in->data + at;
    return 0;
}

void coil__http_input_drop_head(coil__http_input *in)
{
    in->floor = 0;
    consume(in, 0);
}

/* --- chunks --------------------------------------------------------------------------------------------- */

void coil__http_body_start(coil__http_body *b, const coil__http_head *h, uint64_t max)
{
    *b = (coil__http_body){.framing = h->framing, .max = max};
    b->state = h->framing == COIL__HTTP_EMPTY     ? COIL__HTTP_OVER
               : h->framing == COIL__HTTP_CHUNKED ? COIL__HTTP_SIZE_LINE
                                                  : COIL__HTTP_DATA;
    if (h->framing == COIL__HTTP_LENGTH)
        b->left = b->total = h->length;
    else if (h->framing == COIL__HTTP_UNTIL_CLOSE)
        b->left = UINT64_MAX;
}

static int fill(coil__http_input *in)
{
    size_t n;
    COIL_TRY(coil__http_input_fill(in, &n));
    return n > 0 ? 0 : coil_raise(-ECONNRESET, "the connection ended inside a message");
}

/* The next line without its end, in the buffer until something is consumed; *whole is with it. */
static int get_line(coil__http_input *in, const char **line, size_t *n, size_t *whole)
{
    for (size_t seen = 0;;) {
        const char *first = in->data + in->begin;
        size_t size = coil__http_input_size(in);
        const char *lf = size > seen ? memchr(first + seen, '\n', size - seen) : NULL;
        if (lf) {
            *whole = (size_t)(lf - first) + 1;
            if (*whole > LINE_MAX_BYTES)
                return coil_raise(-EPROTO, "a line in a chunked body is too long");
            if (*whole < 2 || lf[-1] != '\r')
                return coil_raise(-EPROTO, "a line does not end with CR LF");
            *line = first;
            *n = *whole - 2;
            return 0;
        }
        if (size >= LINE_MAX_BYTES)
            return coil_raise(-EPROTO, "a line in a chunked body is too long");
        seen = size;
        COIL_TRY(fill(in));
    }
}

static int count_extras(coil__http_body *b, size_t n)
{
    b->extras += n;
    return b->extras <= EXTRAS_MAX ? 0 : coil_raise(-EPROTO, "too many chunk extensions or trailers");
}

static int read_size_line(coil__http_body *b, coil__http_input *in)
{
    const char *line;
    size_t n, whole;
    uint64_t size;
    COIL_TRY(get_line(in, &line, &n, &whole));
    const char *semicolon = memchr(line, ';', n);
    size_t digits = semicolon ? (size_t)(semicolon - line) : n;
    if (!coil__http_hexadecimal(line, digits, &size))
        return coil_raise(-EPROTO, "a bad chunk size");
    if (semicolon) {
        const char *end = line + n;
        coil__http_trim(&semicolon, &end);
        if (!coil__http_is_value(semicolon, (size_t)(end - semicolon)))
            return coil_raise(-EPROTO, "a bad chunk extension");
        COIL_TRY(count_extras(b, whole - digits));
    }
    if (size > b->max - b->total)
        return coil_raise(-EMSGSIZE, "the body is larger than %llu bytes", (unsigned long long)b->max);
    consume(in, whole);
    b->total += size;
    b->left = size;
    b->state = size > 0 ? COIL__HTTP_DATA : COIL__HTTP_TRAILERS;
    return 0;
}

static int read_data_end(coil__http_body *b, coil__http_input *in)
{
    while (coil__http_input_size(in) < 2)
        COIL_TRY(fill(in));
    if (memcmp(in->data + in->begin, "\r\n", 2) != 0)
        return coil_raise(-EPROTO, "a chunk is longer than it said");
    consume(in, 2);
    b->state = COIL__HTTP_SIZE_LINE;
    return 0;
}

/* They are checked and dropped: nobody may rely on a field that comes after the body. */
static int read_trailer(coil__http_body *b, coil__http_input *in)
{
    const char *line;
    size_t n, whole;
    COIL_TRY(get_line(in, &line, &n, &whole));
    const char *colon = memchr(line, ':', n);
    if (n == 0) {
        b->state = COIL__HTTP_OVER;
    } else {
        COIL_TRY(count_extras(b, whole));
        if (!colon || !coil__http_is_token(line, (size_t)(colon - line)))
            return coil_raise(-EPROTO, "a bad trailer");
        for (const char *at = colon; at < line + n; at++)
            if ((unsigned char)*at < ' ' && *at != '\t')
                return coil_raise(-EPROTO, "a bad trailer");
    }
    consume(in, whole);
    return 0;
}

/* --- data ----------------------------------------------------------------------------------------------- */

static void data_is_over(coil__http_body *b)
{
    b->state = b->framing == COIL__HTTP_CHUNKED ? COIL__HTTP_DATA_END : COIL__HTTP_OVER;
}

/* Large reads do without the buffer. */
static int read_data(coil__http_body *b, coil__http_input *in, void *buf, size_t cap, size_t *n)
{
    size_t got = cap < b->left ? cap : (size_t)b->left, size = coil__http_input_size(in);
    if (size > 0) {
        got = got < size ? got : size;
        memcpy(buf, in->data + in->begin, got);
        consume(in, got);
    } else {
        COIL_TRY(in->read(in, buf, got, &got));
        if (got == 0 && b->framing != COIL__HTTP_UNTIL_CLOSE)
            return coil_raise(-ECONNRESET, "the connection ended inside a message");
    }
    if (b->framing == COIL__HTTP_UNTIL_CLOSE) {
        if (got > b->max - b->total)
            return coil_raise(-EMSGSIZE, "the body is larger than %llu bytes", (unsigned long long)b->max);
        b->total += got;
        if (got == 0)
            b->state = COIL__HTTP_OVER;
    } else {
        b->left -= got;
        if (b->left == 0)
            data_is_over(b);
    }
    *n = got;
    return 0;
}

static int read_some(coil__http_body *b, coil__http_input *in, void *buf, size_t cap, size_t *n)
{
    for (;;) {
        switch (b->state) {
        case COIL__HTTP_SIZE_LINE:
            COIL_TRY(read_size_line(b, in));
            break;
        case COIL__HTTP_DATA:
            if (b->framing == COIL__HTTP_LENGTH && b->total > b->max)
                return coil_raise(-EMSGSIZE, "the body is larger than %llu bytes", (unsigned long long)b->max);
            return read_data(b, in, buf, cap, n);
        case COIL__HTTP_DATA_END:
            COIL_TRY(read_data_end(b, in));
            break;
        case COIL__HTTP_TRAILERS:
            COIL_TRY(read_trailer(b, in));
            break;
        case COIL__HTTP_OVER:
            *n = 0;
            return 0;
        }
    }
}

int coil__http_body_read(coil__http_body *b, coil__http_input *in, void *buf, size_t cap, size_t *n)
{
    if (b->failed)
        return coil_raise(b->failed, "reading this body has failed before");
    if (cap == 0) {
        *n = 0;
        return 0;
    }
    int rc = read_some(b, in, buf, cap, n);
    if (rc == -EPROTO || rc == -EMSGSIZE || rc == -ECONNRESET || rc == -EPIPE)
        b->failed = rc;
    return rc;
}

int coil__http_body_skip(coil__http_body *b, coil__http_input *in)
{
    char buf[4096];
    size_t n;
    for (size_t sum = 0; !coil__http_body_over(b) && sum <= COIL__HTTP_SKIP_MAX; sum += n) {
        int rc = coil__http_body_read(b, in, buf, sizeof buf, &n);
        if (rc == -ECANCELED || rc == COIL_EGENERATOREXIT)
            return rc;
        coil_error_release(coil_catch(rc));
        if (rc < 0)
            return 0;
    }
    return coil__http_body_over(b);
}

static int grow(char **data, size_t *cap, size_t max)
{
    size_t larger = *cap ? *cap * 2 : 2048;
    char *moved = realloc(*data, (larger < max ? larger : max) + 1);
    if (!moved)
        return coil_raise(-ENOMEM, NULL);
    *data = moved;
    *cap = larger < max ? larger : max;
    return 0;
}

static int collect(coil__http_body *b, coil__http_input *in, size_t max, char **data, size_t *n)
{
    size_t cap = 0, got;
    char beyond;
    for (;;) {
        bool full = *n == max;
        if (*n == cap && (!full || !*data))
            COIL_TRY(grow(data, &cap, max));
        COIL_TRY(coil__http_body_read(b, in, full ? &beyond : *data + *n, full ? 1 : cap - *n, &got));
        if (got == 0)
            return 0;
        if (full)
            return coil_raise(-EMSGSIZE, "the body is larger than %zu bytes", max);
        *n += got;
    }
}

int coil__http_body_read_all(coil__http_body *b, coil__http_input *in, size_t max, char **data, size_t *n)
{
    char *all = NULL;
    size_t size = 0;
    int rc = collect(b, in, max, &all, &size);
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        free(all);
        return coil_raise_error(error);
    }
    all[size] = '\0';
    *data = all;
    *n = size;
    return 0;
}
