/* clock.h - CLOCK_MONOTONIC in nanoseconds */
#ifndef COIL_BASE_CLOCK_H
#define COIL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t coil__monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

#endif
