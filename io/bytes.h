/*
 * bytes.h - a growing buffer of bytes: appended to at its end, consumed from its front
 *
 * I1 start <= end <= cap; the bytes are data[start .. end)
 * I2 consuming moves nothing; appending may move the bytes to the front of the block, or to another block
 * I3 data is from coil__sized_alloc(cap)
 */
#ifndef COIL_IO_BYTES_H
#define COIL_IO_BYTES_H

#include <coil/base.h>

typedef struct coil__bytes {
    char *data; /* owned; NULL at first */
    size_t start, end, cap;
} coil__bytes;

static inline size_t coil__bytes_size(const coil__bytes *b)
{
    return b->end - b->start;
}

static inline char *coil__bytes_first(const coil__bytes *b)
{
    return b->data + b->start;
}

/* Room for @n more bytes at the end. -ENOMEM, and nothing has changed. */
int coil__bytes_reserve(coil__bytes *b, size_t n);
int coil__bytes_append(coil__bytes *b, const void *data, size_t n);

/* Drops the first @n bytes: I2, they stay readable until the next append. */
static inline void coil__bytes_consume(coil__bytes *b, size_t n)
{
    b->start += n;
}

/* Drops all bytes and keeps the memory, or gives it back if it is more than @keep bytes. */
void coil__bytes_clear(coil__bytes *b, size_t keep);
void coil__bytes_fini(coil__bytes *b);

/* Without bytes: gives back a small block, which comes from the cache of objects. A larger one is kept for the next bytes. */
void coil__bytes_rest(coil__bytes *b);

#endif
