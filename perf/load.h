/*
 * load.h - what the two loops of coil-loadgen share: options, connections, clocks, events, lines of results
 *
 * loadgen.c has it, with main() and the closed loop; load_open.c is the open loop. One thread.
 */
#ifndef COIL_PERF_LOAD_H
#define COIL_PERF_LOAD_H

#include <sys/epoll.h>
#include <time.h>

#include "histogram.h"
#include "load_conn.h"

#define LOAD_WARM_UP_NS INT64_C(300000000)
#define LOAD_PATIENCE_MS 5000
#define LOAD_EVENTS_MAX 256
#define LOAD_SCRATCH_BYTES 65536

typedef struct load_options {
    const char *host;
    const char *contender; /* first word of each line of results */
    const char *name;      /* of the workload; NULL: W9.echo1_<connections>c, or W11.stall */
    uint64_t port, connections, bytes, server_pid;
    uint64_t rate;             /* messages a second of the open loop; 0: closed */
    uint64_t stalls, stall_us; /* of them, a second, that ask the server to compute, and for how long */
    double seconds;
    bool lines; /* results for programs, not for people */
} load_options;

typedef struct load {
    const load_options *options;
    load_conn *conns; /* owned */
    uint64_t opened;
    int epoll;
    histogram latencies;
    char scratch[LOAD_SCRATCH_BYTES];
} load;

/* 0 where the clock cannot be read. */
int64_t load_clock_ns(clockid_t clock);

/* Says on stderr what went wrong; returns @code, a negative errno. */
int load_complain(const char *what, int code);

/* Adds a connection to the loop's epoll, or changes what it is watched for. 0 or a negative errno. */
int load_watch(const load *l, load_conn *c, int operation);

/* Sends and receives as an event allows. 1: the message is back whole; 0: not yet; negative: complained about. */
int load_handle_event(load *l, const struct epoll_event *event);

/* One line of results. */
void load_print(const load_options *o, const char *suffix, double value, const char *unit);

#endif
