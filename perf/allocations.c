/*
 * allocations.c - how many allocations the process has made, by jemalloc's own count
 *
 * Weak, so that the program also links and runs on another allocator; it then prints no counts. jemalloc merges a
 * thread's requests into its statistics when the thread's cache is flushed, so each look flushes it: look only outside
 * of what is timed. Source: jemalloc(3), stats.arenas.<i>.{small,large}.nrequests.
 */
#include "bench.h"

__attribute__((weak)) int mallctl(const char *name, void *old, size_t *old_bytes, void *new, size_t new_bytes);

bool bench_allocations_counted(void)
{
    bool stats = false;
    size_t bytes = sizeof stats;
    return mallctl && mallctl("config.stats", &stats, &bytes, NULL, 0) == 0 && stats;
}

static uint64_t counter(const char *name)
{
    uint64_t value = 0;
    size_t bytes = sizeof value;
    return mallctl(name, &value, &bytes, NULL, 0) == 0 ? value : 0;
}

uint64_t bench_allocations(void)
{
    uint64_t epoch = 1;
    if (!bench_allocations_counted())
        return 0;
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
    /* 4096 is MALLCTL_ARENAS_ALL: all arenas together. */
    return counter("stats.arenas.4096.small.nrequests") + counter("stats.arenas.4096.large.nrequests");
}
