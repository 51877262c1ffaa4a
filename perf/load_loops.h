/*
 * load_loops.h - what the two loops of the load generator share: connections, clocks, events, figures
 *
 * load.c has it; load_closed.c and load_open.c are the loops. One thread.
 */
#ifndef COIL_PERF_LOAD_LOOPS_H
#define COIL_PERF_LOAD_LOOPS_H

#include <sys/epoll.h>
#include <time.h>

#include "histogram.h"
#include "load.h"
#include "load_conn.h"

#define LOAD_WARM_UP_NS INT64_C(300000000)
#define LOAD_PATIENCE_MS 5000
#define LOAD_EVENTS_MAX 256
#define LOAD_SCRATCH_BYTES 65536

typedef struct load {
    const load_options *options;
    load_result *result;
    load_conn *conns; /* owned */
    uint64_t opened;
    int epoll;
    histogram latencies;
    char scratch[LOAD_SCRATCH_BYTES];
} load;

/* They warm up and measure. The connections are open and nothing is under way. 0 or a negative errno. */
int load_closed_measure(load *l); /* W9: the next message goes when the last one is back */
int load_open_measure(load *l);   /* W11: messages go at times of their own, whether or not the server keeps up */

/* 0 where the clock cannot be read. */
int64_t load_clock_ns(clockid_t clock);

/* Says on stderr what went wrong; returns @code, a negative errno. */
int load_complain(const char *what, int code);

/* Adds a connection to the loop's epoll, or changes what it is watched for. 0 or a negative errno. */
int load_watch(const load *l, load_conn *c, int operation);

/* Sends and receives as an event allows. 1: the message is back whole; 0: not yet; negative: complained about. */
int load_handle_event(load *l, const struct epoll_event *event);

/* One more figure. @suffix and @unit are static. A quantile of @h, which has nanoseconds, is given in microseconds. */
void load_add(load *l, const char *suffix, double value, const char *unit);
void load_add_quantile(load *l, const char *suffix, const histogram *h, double quantile);

#endif
