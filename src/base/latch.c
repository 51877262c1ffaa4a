/*
 * latch.c - waiting for a latch: spin a little, then let others run (the holder may have lost its core)
 */
#include "latch.h"

#include <sched.h>

_Atomic unsigned coil__parallel;

enum { SPINS = 64 };

__attribute__((noinline, cold)) void coil__latch_wait(coil__latch *l)
{
    int spins = 0;
    do {
        while (load_relaxed(&l->held) != 0) { /* [LATCH-1] a look; the exchange acquires */
            if (++spins < SPINS)
                coil__cpu_relax();
            else
                sched_yield();
        }
    } while (exchange_acquire(&l->held, 1) != 0); /* [LATCH-1] */
}
