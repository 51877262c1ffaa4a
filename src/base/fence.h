/*
 * fence.h - a fence between two threads of which one passes it often and the other rarely
 *
 * Where each of two threads stores something and then looks for what the other has stored, both need a fence, or both may miss
 * it. Here the rare one pays for both: its heavy fence makes the kernel interrupt every core that runs a thread of this process
 * (membarrier), so that for the frequent one it is enough that the compiler keeps the order. Any thread may call either. Where
 * the kernel cannot do that, as under valgrind, both are ordinary fences. ThreadSanitizer knows neither: nothing may be handed
 * over by them alone.
 *
 * I1 coil__fence_uneven changes only in coil__fence_init(), before the first runtime with several workers starts its threads
 *
 * Source: membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED; P1202, asymmetric fences.
 */
#ifndef COIL_BASE_FENCE_H
#define COIL_BASE_FENCE_H

#include "assert.h"
#include "atomic.h"

/* Before any thread relies on the others. Any number of times. */
void coil__fence_init(void);

#ifdef COIL_MODEL
#define coil__fence_light() fence_seq_cst()
#define coil__fence_heavy() fence_seq_cst()
#else

extern _Atomic bool coil__fence_uneven; /* [FENCE-1] relaxed: I1 */

static inline void coil__fence_light(void)
{
    if (coil_likely(load_relaxed(&coil__fence_uneven))) /* [FENCE-1] */
        __asm__ volatile("" : : : "memory");
    else
        fence_seq_cst();
}

void coil__fence_heavy(void);

#endif
#endif
