/*
 * buffers.c - memory that rings know: coil_buffers; see buffers.h and coil/file.h
 *
 * The table of regions is the facade's, under its shared_latch. It is there from the first region until the loop is freed.
 *
 * Source: io_uring_registered_buffers(7).
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "buffers.h"

#include <coil/errno.h>
#include <sys/mman.h>

#include "../src/base/alloc.h"

#define BYTES_MAX ((size_t)1 << 30) /* the kernel's limit for one region */

/* Takes a free number; false without one. */
static bool enter(coil_buffers *b)
{
    COIL__GUARD(&b->loop->shared_latch);
    for (unsigned i = 0; i < COIL__REGIONS_MAX; i++) {
        if (b->loop->regions[i])
            continue;
        b->number = i;
        b->loop->regions[i] = b;
        store_relaxed(&b->loop->region_count, load_relaxed(&b->loop->region_count) + 1); /* [REGION-2] */
        return true;
    }
    return false;
}

static void leave(coil_buffers *b)
{
    COIL__GUARD(&b->loop->shared_latch);
    b->loop->regions[b->number] = NULL;
    store_relaxed(&b->loop->region_count, load_relaxed(&b->loop->region_count) - 1); /* [REGION-2] */
}

coil_buffers *coil__buffers_find(coil_loop *loop, const void *buf, size_t n)
{
    if (coil_likely(!loop || load_relaxed(&loop->region_count) == 0)) /* [REGION-2] */
        return NULL;
    COIL__GUARD(&loop->shared_latch);
    for (unsigned i = 0; i < COIL__REGIONS_MAX; i++) {
        coil_buffers *b = loop->regions[i];
        uintptr_t offset = b ? (uintptr_t)buf - (uintptr_t)b->data : UINTPTR_MAX;
        if (b && offset <= b->bytes && n <= b->bytes - offset)
            return b;
    }
    return NULL;
}

static void destroy(coil_buffers *b)
{
    coil_loop *loop = b->loop;
    munmap(b->data, b->bytes);
    coil__free(b);
    coil__loop_unhold(loop);
}

static void forget(coil__handle *h, bool closed)
{
    coil__forgetting *f = coil_container_of(h, coil__forgetting, handle);
    coil_buffers *b = f->buffers;
    coil__backend *backend = f->member->backend;
    if (!closed && backend->ops->forget_region)
        backend->ops->forget_region(backend, b->number);
    if (fetch_sub_acq_rel(&b->knowing, 1) != 1) /* [REGION-1] acq_rel: the last one comes after all */
        return;
    leave(b);
    destroy(b);
}

static void run_forget(coil__handle *h)
{
    forget(h, false);
}

static void discard_forget(coil__handle *h)
{
    forget(h, true); /* the ring has gone, or is about to */
}

static const coil__handle_ops forget_ops = {run_forget, discard_forget, "buffers: forget"};

static coil_loop *member_of(coil_loop *loop, unsigned i)
{
    return loop->parallel ? loop->members[i] : loop;
}

static coil_buffers *new_buffers(coil_loop *loop, size_t bytes)
{
    unsigned members = loop->parallel ? loop->member_count : 1;
    coil_buffers *b = coil__calloc(sizeof *b + members * sizeof b->forgetting[0]);
    if (!b)
        return NULL;
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        coil__free(b);
        return NULL;
    }
    b->loop = loop;
    b->data = data;
    b->bytes = bytes;
    store_relaxed(&b->knowing, members); /* [REGION-1] not shared yet */
    for (unsigned i = 0; i < members; i++) {
        b->forgetting[i] = (coil__forgetting){.member = member_of(loop, i), .buffers = b};
        coil__handle_init(&b->forgetting[i].handle, &forget_ops);
    }
    coil__loop_hold(loop);
    return b;
}

int coil_buffers_new(coil_loop *loop, size_t bytes, coil_buffers **buffers)
{
    if (bytes == 0 || bytes > BYTES_MAX)
        return coil_raise(-EINVAL, "buffers of %zu bytes; 1 to %zu are possible", bytes, BYTES_MAX);
    coil_buffers *b = new_buffers(loop, bytes);
    if (!b)
        return coil_raise(-ENOMEM, NULL);
    if (!enter(b)) {
        destroy(b);
        return coil_raise(-EAGAIN, "%d registered buffers at a time are the most", COIL__REGIONS_MAX);
    }
    *buffers = b;
    return 0;
}

void *coil_buffers_data(const coil_buffers *buffers)
{
    coil_assert(buffers);
    return buffers->data;
}

void coil_buffers_free(coil_buffers *b)
{
    if (!b)
        return;
    if (coil__loop_closed(b->loop)) { /* and its rings */
        leave(b);
        destroy(b);
        return;
    }
    uint32_t members = load_relaxed(&b->knowing); /* [REGION-1] nobody has begun to forget */
    for (uint32_t i = 0; i < members; i++) {
        coil__forgetting *f = &b->forgetting[i]; /* there until the last of them has been dealt with */
        if (f->member == coil__current()->loop)
            run_forget(&f->handle);
        else
            coil__loop_post(f->member, &f->handle);
    }
}
