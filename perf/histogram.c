/*
 * histogram.c - log-linear buckets: bucket of a value, value of a bucket, quantiles
 *
 * Below 2^5 each value has a bucket. Above, the top bit chooses a group of 32 and the five bits after it the bucket.
 */
#include "histogram.h"

#define SUB_COUNT (1u << HISTOGRAM_SUB_BITS)

static uint32_t bucket_of(uint64_t value)
{
    if (value < SUB_COUNT)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift) - SUB_COUNT;
}

/* The greatest value in a bucket. */
static int64_t value_of(uint32_t bucket)
{
    if (bucket < SUB_COUNT)
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t low = (uint64_t)(SUB_COUNT + (bucket & (SUB_COUNT - 1))) << shift;
    return (int64_t)(low + (UINT64_C(1) << shift) - 1);
}

void histogram_add(histogram *h, int64_t value)
{
    uint32_t bucket = bucket_of(value > 0 ? (uint64_t)value : 0);
    h->counts[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1]++;
    h->total++;
}

int64_t histogram_quantile(const histogram *h, double q)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > 0 && (double)seen >= q * (double)h->total)
            return value_of(i);
    }
    return 0;
}
