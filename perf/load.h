/*
 * load.h - the load generator as a function: connections to an echo server, messages, figures
 *
 * Called by coil-loadgen and by coil-bench, on one thread that does nothing else meanwhile. Each connection has at
 * most one message under way. Messages differ from each other and between connections in every word, and every byte
 * that comes back is compared. What goes wrong is said on stderr.
 */
#ifndef COIL_PERF_LOAD_H
#define COIL_PERF_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_FIGURES_MAX 8

typedef struct load_options {
    const char *host; /* a numeric IPv4 address */
    uint64_t port, connections, bytes;
    uint64_t server_pid;       /* whose processor time is measured; 0: nobody's */
    uint64_t rate;             /* messages a second of the open loop; 0: closed */
    uint64_t stalls, stall_us; /* of them, a second, that ask the server to compute, and for how long */
    double seconds;            /* measured, after a warm-up */
    bool spins;                /* closed loop: looks for answers without sleeping; for a generator with a core of its own */
    void (*observe)(void *observer, bool end); /* closed loop: called as the measurement begins and ends; NULL */
    void *observer;
} load_options;

/* A name is to be put before the suffix. Strings are static. */
typedef struct load_figure {
    const char *suffix;
    double value;
    const char *unit;
} load_figure;

typedef struct load_result {
    load_figure figures[LOAD_FIGURES_MAX];
    size_t count;
    uint64_t requests; /* answered during the measurement */
} load_result;

/* Connects, warms up, measures, disconnects. 0 or a negative errno; @result then has what there is. */
int load_run(const load_options *options, load_result *result);

/* Thousands of connections need more descriptors than shells allow: as many as there may be. */
void load_raise_descriptor_limit(void);

#endif
