/*
 * uring_buffers.c - a ring's provided buffers; see uring_buffers.h
 *
 * Called by io/uring.c, under the backend's latch.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "uring_buffers.h"

#include <coil/errno.h>
#include <sys/mman.h>

#include "uring_compat.h"

#include "../src/base/alloc.h"

#define BUFFERS 512u /* a power of two */
#define MASK (int)(BUFFERS - 1)

/* One mapping: the kernel's ring first, which has to begin a page, then the buffers. Pages that are not used cost nothing. */
static int map(coil__buffers *b)
{
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    size_t bytes = ring_bytes + (size_t)BUFFERS * COIL__BUFFER_BYTES;
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return -errno;
    b->ring = mapped;
    b->memory = (char *)mapped + ring_bytes;
    b->mapped_bytes = bytes;
    return 0;
}

static int make(coil__buffers *b)
{
    COIL_TRY(map(b));
    b->bytes = coil__calloc(BUFFERS * sizeof *b->bytes);
    b->next = coil__calloc(BUFFERS * sizeof *b->next);
    if (b->bytes && b->next)
        return 0;
    coil__buffers_close(b);
    return -ENOMEM;
}

static void add(coil__buffers *b, uint16_t number, int offset)
{
    io_uring_buf_ring_add(b->ring, b->memory + (size_t)number * COIL__BUFFER_BYTES, COIL__BUFFER_BYTES, number, MASK, offset);
}

static int fill(coil__buffers *b)
{
    int n = 0;
    io_uring_buf_ring_init(b->ring);
    for (unsigned i = 0; i < BUFFERS; i++)
        if (b->bytes[i] == 0)
            add(b, (uint16_t)i, n++);
    return n;
}

int coil__buffers_open(coil__buffers *b, struct io_uring *uring)
{
    if (!b->ring)
        COIL_TRY(make(b));
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)b->ring, .ring_entries = BUFFERS,
                                   .bgid = COIL__BUFFERS_GROUP};
    int rc = io_uring_register_buf_ring(uring, &reg, 0);
    if (rc < 0)
        return rc;
    io_uring_buf_ring_advance(b->ring, fill(b));
    return 0;
}

void coil__buffers_close(coil__buffers *b)
{
    if (b->ring)
        munmap(b->ring, b->mapped_bytes);
    coil__free(b->bytes);
    coil__free(b->next);
    *b = (coil__buffers){0};
}

void coil__buffers_chain(coil__buffers *b, struct coil__op *op, uint16_t number, uint32_t bytes)
{
    b->bytes[number] = bytes; /* I1 */
    b->next[number] = COIL__NO_BUFFER;
    if (op->first == COIL__NO_BUFFER)
        op->first = number;
    else
        b->next[op->last] = number;
    op->last = number;
}

size_t coil__buffers_take(coil__buffers *b, struct coil__op *op, const char **data)
{
    uint16_t number = op->first;
    op->first = b->next[number];
    op->taken = number;
    *data = b->memory + (size_t)number * COIL__BUFFER_BYTES;
    return b->bytes[number];
}

void coil__buffers_give(coil__buffers *b, uint16_t number)
{
    b->bytes[number] = 0; /* I1 */
    add(b, number, 0);
    io_uring_buf_ring_advance(b->ring, 1);
}
