/*
 * buffer.h - bytes that grow at one end and are used up at the other
 *
 * Belongs to one connection, and to the task that serves or uses it: nothing here is shared between threads.
 * Memory is kept between messages, so that a connection in its steady state allocates nothing.
 *
 * I1 begin <= end <= cap; the bytes in [begin, end) are what it holds
 */
#ifndef COIL_IO_HTTP_BUFFER_H
#define COIL_IO_HTTP_BUFFER_H

#include <coil.h>

#include <stdlib.h>
#include <string.h>

typedef struct coil__http_buffer {
    char *data; /* owned; malloc'ed */
    size_t begin, end, cap;
} coil__http_buffer;

static inline char *coil__http_buffer_first(const coil__http_buffer *b)
{
    return b->data + b->begin;
}

static inline size_t coil__http_buffer_size(const coil__http_buffer *b)
{
    return b->end - b->begin;
}

/* An empty buffer begins at the front again. */
static inline void coil__http_buffer_consume(coil__http_buffer *b, size_t n)
{
    b->begin += n;
    if (b->begin == b->end)
        b->begin = b->end = 0;
}

static inline void coil__http_buffer_clear(coil__http_buffer *b)
{
    b->begin = b->end = 0;
}

static inline void coil__http_buffer_fini(coil__http_buffer *b)
{
    free(b->data);
    *b = (coil__http_buffer){0};
}

/* Room for @n more bytes behind the end: what is there moves to the front, into larger memory if it has to. -ENOMEM. */
int coil__http_buffer_make_room(coil__http_buffer *b, size_t n);

static inline int coil__http_buffer_reserve(coil__http_buffer *b, size_t n)
{
    return b->cap - b->end >= n ? 0 : coil__http_buffer_make_room(b, n);
}

/* The caller has reserved the room. */
static inline void coil__http_buffer_put(coil__http_buffer *b, const void *data, size_t n)
{
    if (n > 0)
        memcpy(b->data + b->end, data, n);
    b->end += n;
}

/* A line of a head, of what has been checked; the same. */
static inline void coil__http_buffer_put_field(coil__http_buffer *b, const char *name, const char *value)
{
    coil__http_buffer_put(b, name, strlen(name));
    coil__http_buffer_put(b, ": ", 2);
    coil__http_buffer_put(b, value, strlen(value));
    coil__http_buffer_put(b, "\r\n", 2);
}

int coil__http_buffer_append(coil__http_buffer *b, const void *data, size_t n);

/*
 * A field as a program gives it: checked for what would end a line. @own, which ends with NULL: names that @side sets
 * itself.
 */
int coil__http_buffer_append_field(coil__http_buffer *b, const char *name, const char *value, const char *const *own,
                                   const char *side);

int coil__http_buffer_appendf(coil__http_buffer *b, const char *format, ...) COIL_PRINTF(2, 3);

#endif
