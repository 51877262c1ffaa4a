/*
 * histogram.h - latencies in log-linear buckets: 32 per power of two, so that a quantile is right to 3 %
 *
 * Used by coil-loadgen, one thread. Values are nanoseconds; those beyond 2^40 count as 2^40. Source: HdrHistogram's idea.
 */
#ifndef COIL_PERF_HISTOGRAM_H
#define COIL_PERF_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_MAX_BITS 40
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

typedef struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
} histogram;

void histogram_add(histogram *h, int64_t value);

/* The least value that at least the fraction @q of all values do not exceed; 0 if there are none. */
int64_t histogram_quantile(const histogram *h, double q);

#endif
