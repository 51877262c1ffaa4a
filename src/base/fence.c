/*
 * fence.c - the rare side of asymmetric fences, and whether the kernel has them
 *
 * Called by whoever makes a runtime, and by its workers. I1: see fence.h
 */
#include "fence.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

_Atomic bool coil__fence_uneven;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

static void ask_kernel(void)
{
    bool uneven = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
    store_relaxed(&coil__fence_uneven, uneven); /* [FENCE-1] I1 */
}

void coil__fence_init(void)
{
    pthread_once(&once, ask_kernel);
}

void coil__fence_heavy(void)
{
    fence_seq_cst(); /* the caller's own, and all there is without membarrier */
    if (!load_relaxed(&coil__fence_uneven)) /* [FENCE-1] */
        return;
    long rc = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    coil_assert(rc == 0); /* a filter of system calls came after the first runtime: nothing could be relied on any more */
}
