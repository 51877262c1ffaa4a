/*
 * buffers.h - memory that rings know, inside: coil_buffers
 *
 * A region has a number in the runtime, the same in all its rings. A ring learns of a region when an operation first uses it
 * there (io/uring.c), on the thread that owns the ring; each forgets it on that thread, too, after which the memory goes.
 *
 * I1 a number is in use from coil_buffers_new() until all rings have forgotten the region
 */
#ifndef COIL_IO_BUFFERS_H
#define COIL_IO_BUFFERS_H

#include <coil/file.h>

#include "../src/base/atomic.h"
#include "../src/loop.h"

#define COIL__REGIONS_MAX 16

typedef struct coil__forgetting {
    coil__handle handle; /* posted to one of the loops */
    coil_loop *member;
    coil_buffers *buffers;
} coil__forgetting;

struct coil_buffers {
    coil_loop *loop; /* held */
    void *data;      /* a mapping */
    size_t bytes;
    unsigned number; /* I1 */
    _Atomic uint32_t knowing; /* loops that have still to forget it */
    coil__forgetting forgetting[]; /* of each loop */
};

/* The region of @loop (NULL: of none) that @buf .. @buf + @n lies in; NULL: none. */
coil_buffers *coil__buffers_find(coil_loop *loop, const void *buf, size_t n);

#endif
