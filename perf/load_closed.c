/*
 * load_closed.c - the closed loop: every connection has one message under way (W9); see load_loops.h
 *
 * After a warm-up it measures for a given time: requests a second, latency, the processor time (user and system, of
 * all its threads) that the server used a request, and how busy the generator itself was (near 100 % it is the
 * generator that is measured).
 */
#define _GNU_SOURCE /* clock_getcpuclockid */
#include "load_loops.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WARM_UP_PERIODS_MAX 20
#define BANDWIDTH_BYTES 4096 /* of messages from which on it is of interest */

/* What the clocks said at one moment. */
typedef struct load_mark {
    int64_t wall_ns, own_cpu_ns, server_cpu_ns;
} load_mark;

static load_mark mark_now(const load_options *options)
{
    load_mark mark = {.wall_ns = load_clock_ns(CLOCK_MONOTONIC), .own_cpu_ns = load_clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    clockid_t clock;
    if (options->server_pid && clock_getcpuclockid((pid_t)options->server_pid, &clock) == 0)
        mark.server_cpu_ns = load_clock_ns(clock);
    return mark;
}

/* With a message: the closed loop's first. */
static int start_one(load *l, load_conn *c)
{
    int rc = load_conn_begin(c, load_clock_ns(CLOCK_MONOTONIC));
    if (rc == 0)
        rc = load_watch(l, c, EPOLL_CTL_ADD);
    return rc < 0 ? load_complain("cannot send", rc) : 0;
}

static int start_all(load *l)
{
    int rc = 0;
    for (uint64_t i = 0; i < l->opened && rc == 0; i++)
        rc = start_one(l, &l->conns[i]);
    return rc;
}

static int next_message(load *l, load_conn *c)
{
    int64_t now = load_clock_ns(CLOCK_MONOTONIC);
    histogram_add(&l->latencies, now - c->started_ns);
    int rc = load_conn_begin(c, now);
    if (rc == 0 && load_conn_sending(c))
        rc = load_watch(l, c, EPOLL_CTL_MOD);
    return rc < 0 ? load_complain("cannot send", rc) : 0;
}

/* Who sleeps has to be woken by the server, which pays for that. */
static int wait_for_events(const load *l, struct epoll_event *events)
{
    if (!l->options->spins)
        return epoll_wait(l->epoll, events, LOAD_EVENTS_MAX, LOAD_PATIENCE_MS);
    int64_t until = load_clock_ns(CLOCK_MONOTONIC) + LOAD_PATIENCE_MS * INT64_C(1000000);
    int n;
    do
        n = epoll_wait(l->epoll, events, LOAD_EVENTS_MAX, 0);
    while (n == 0 && load_clock_ns(CLOCK_MONOTONIC) < until);
    return n;
}

static int turn(load *l)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int n = wait_for_events(l, events);
    if (n == 0)
        return load_complain("no answer on any connection", -ETIMEDOUT);
    if (n < 0)
        return errno == EINTR ? 0 : load_complain("epoll_wait", -errno);
    for (int i = 0; i < n; i++) {
        int rc = load_handle_event(l, &events[i]);
        if (rc == 1)
            rc = next_message(l, events[i].data.ptr);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_for(load *l, int64_t duration_ns)
{
    int64_t end = load_clock_ns(CLOCK_MONOTONIC) + duration_ns;
    int rc = 0;
    while (rc == 0 && load_clock_ns(CLOCK_MONOTONIC) < end)
        rc = turn(l);
    return rc;
}

static void report(load *l, load_mark before, load_mark after)
{
    const load_options *o = l->options;
    double wall_ns = (double)(after.wall_ns - before.wall_ns), requests = (double)l->latencies.total;
    l->result->requests = l->latencies.total;
    load_add(l, "", requests * 1e9 / wall_ns, "req/s");
    load_add_quantile(l, ".p50", &l->latencies, 0.5);
    load_add_quantile(l, ".p99", &l->latencies, 0.99);
    load_add_quantile(l, ".p99.9", &l->latencies, 0.999);
    if (o->bytes >= BANDWIDTH_BYTES)
        load_add(l, ".bandwidth", requests * (double)o->bytes * 1e3 / wall_ns, "MB/s");
    if (o->server_pid && requests > 0)
        load_add(l, ".server_cpu", (double)(after.server_cpu_ns - before.server_cpu_ns) / 1e3 / requests, "us");
    load_add(l, ".loadgen_cpu", (double)(after.own_cpu_ns - before.own_cpu_ns) * 100 / wall_ns, "%");
}

/* The first connection whose message was begun before @since_ns and is not back; `opened` if there is none. */
static uint64_t first_waiting(const load *l, int64_t since_ns)
{
    uint64_t i = 0;
    while (i < l->opened && l->conns[i].started_ns >= since_ns)
        i++;
    return i;
}

/* Who waits since before the measurement, at its end, has been forgotten. */
static int check_progress(const load *l, int64_t since_ns)
{
    uint64_t waiting = first_waiting(l, since_ns);
    if (waiting == l->opened)
        return 0;
    fprintf(stderr, "# load: connection %" PRIu64 ": no answer during the whole measurement\n", waiting);
    return -ETIMEDOUT;
}

/* Until all connections have been served in a period: a server may still be accepting the last when the first have been. */
static int warm_up(load *l)
{
    int rc = run_for(l, LOAD_WARM_UP_NS / 2);
    for (int periods = 0; rc == 0 && periods < WARM_UP_PERIODS_MAX; periods++) {
        int64_t since = load_clock_ns(CLOCK_MONOTONIC);
        rc = run_for(l, LOAD_WARM_UP_NS / 2);
        if (first_waiting(l, since) == l->opened)
            break;
    }
    return rc;
}

static void observe(const load *l, bool end)
{
    if (l->options->observe)
        l->options->observe(l->options->observer, end);
}

int load_closed_measure(load *l)
{
    int rc = start_all(l);
    if (rc == 0)
        rc = warm_up(l);
    if (rc < 0)
        return rc;
    observe(l, false);
    memset(&l->latencies, 0, sizeof l->latencies);
    load_mark before = mark_now(l->options);
    rc = run_for(l, (int64_t)(l->options->seconds * 1e9));
    if (rc < 0)
        return rc;
    load_mark after = mark_now(l->options);
    observe(l, true);
    report(l, before, after);
    return check_progress(l, before.wall_ns);
}
