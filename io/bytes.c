/*
 * bytes.c - a growing buffer of bytes; see bytes.h
 *
 * Used by stream readers and by transports, on the loop's thread.
 */
#include "bytes.h"

#include <string.h>

#include "../src/base/alloc.h"

#define BLOCK_BYTES_MIN 64u

/* A block for @need bytes: powers of two, so that growing costs a constant per byte. */
static size_t block_bytes(size_t need)
{
    size_t n = BLOCK_BYTES_MIN;
    while (n < need)
        n *= 2;
    return n;
}

int coil__bytes_reserve(coil__bytes *b, size_t n)
{
    size_t size = coil__bytes_size(b);
    if (size == 0)
        b->start = b->end = 0;
    if (n <= b->cap - b->end)
        return 0;
    if (n > SIZE_MAX / 4 - size)
        return -ENOMEM;
    if (size + n <= b->cap && b->start >= b->cap / 2) { /* moving frees at least as much as it copies */
        memmove(b->data, coil__bytes_first(b), size);
    } else {
        size_t cap = block_bytes(size + n);
        char *data = coil__sized_alloc(cap);
        if (!data)
            return -ENOMEM;
        if (size > 0)
            memcpy(data, coil__bytes_first(b), size);
        coil__sized_free(b->data, b->cap);
        b->data = data;
        b->cap = cap;
    }
    b->start = 0;
    b->end = size;
    return 0;
}

int coil__bytes_append(coil__bytes *b, const void *data, size_t n)
{
    if (n == 0)
        return 0;
    COIL_TRY(coil__bytes_reserve(b, n));
    memcpy(b->data + b->end, data, n);
    b->end += n;
    return 0;
}

void coil__bytes_clear(coil__bytes *b, size_t keep)
{
    b->start = b->end = 0;
    if (b->cap > keep)
        coil__bytes_fini(b);
}

void coil__bytes_fini(coil__bytes *b)
{
    coil__sized_free(b->data, b->cap);
    *b = (coil__bytes){0};
}

void coil__bytes_rest(coil__bytes *b)
{
    if (coil__bytes_size(b) == 0 && b->cap <= COIL_OBJECT_BYTES_MAX)
        coil__bytes_fini(b);
}
