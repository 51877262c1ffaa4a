/*
 * features.h - what this kernel's io_uring can do
 *
 * Asked once in a process, by trying: coil__features_probe() sets a small ring up, lets the kernel list its requests
 * (IORING_REGISTER_PROBE), and tries what no list tells. What kernels.c knows to be broken here counts as missing.
 * Called by the backends when they are opened, on any thread. A member that is false means: do it another way.
 *
 * I1 what the probe has found never changes: the pointer may be kept
 * I2 defer_taskrun is what io_uring is not used without; kernels that have it have EXT_ARG, SUBMIT_ALL, multishot
 *    polls and cancelling of everything as well
 *
 * Source: io_uring_setup(2), io_uring_register(2).
 */
#ifndef COIL_IO_FEATURES_H
#define COIL_IO_FEATURES_H

#include <errno.h>
#include <stddef.h>

#include "../src/backend.h"

typedef struct coil__features {
    /* Of rings. */
    bool single_issuer, defer_taskrun, coop_taskrun; /* I2 */
    bool no_iowait;              /* waiting does not count as iowait */
    bool min_wait;               /* waiting a little for more completions than one */
    bool registered_descriptors;
    bool buffer_ring;            /* receives take their buffers from a ring */
    /* Requests that answer several times, or in other ways. */
    bool multishot_accept;
    bool multishot_recv;         /* with a buffer ring */
    bool send_zc;
    /* Plain requests. */
    bool read, write, readv, writev, fsync, openat, close, statx, splice, sendmsg, recvmsg, shutdown;
} coil__features;

/* Names a member of coil__features. */
#define COIL__FEATURE(member) offsetof(coil__features, member)

static inline bool coil__features_has(const coil__features *can, size_t feature)
{
    return *(const bool *)((const char *)can + feature);
}

/*
 * Lends what this kernel can (I1). Errors: those of io_uring_setup(2) and io_uring_enter(2), which the next call finds
 * out anew.
 */
#ifdef COIL_URING
int coil__features_probe(const coil__features **can);
#else
static inline int coil__features_probe(const coil__features **can)
{
    (void)can;
    return -ENOSYS; /* built without it */
}
#endif

/* Fills b->features, for coil_backend_info. @can: of a ring; NULL: the backend is epoll. */
void coil__features_report(coil__backend *b, const coil__features *can);

#endif
