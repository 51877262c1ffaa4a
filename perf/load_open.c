/*
 * load_open.c - the open loop: messages go at times of their own (W11); see load_loops.h
 *
 * The times of the messages are drawn beforehand, so to speak: a Poisson process, the same in every run, that knows
 * nothing of the server. A message takes a random connection of those that have none under way; if all have, it goes as
 * soon as one is free. Its latency counts from the time it was drawn for, so a server that stalls cannot hide what
 * it delays. Quantiles are of the messages that asked for nothing: how long others suffer from those that compute.
 *
 * The generator shares the cores with the server. It runs with real-time priority where it may, so that it is not it
 * that waits (before a server with the lowest such priority); how late it sent is printed (.sent_late), and includes
 * waiting for a free connection.
 *
 * I1 idle[0 .. idle_count) are the connections without a message under way
 * I2 `due_ns` is the time of the next message that has not been sent; it grows only when that is sent
 */
#define _GNU_SOURCE /* epoll_pwait2 */
#include "load_loops.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

typedef struct open_loop {
    load *load;
    load_conn **idle; /* I1; owned */
    uint64_t idle_count;
    uint64_t random;
    double due_ns; /* I2 */
    int64_t begin_ns, end_ns; /* what is due in between is measured */
    uint64_t answered;        /* in that time */
    histogram late;
} open_loop;

/* --- chance -------------------------------------------------------------------------------------------------- */

/* splitmix64. */
static uint64_t draw(open_loop *o)
{
    uint64_t z = (o->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* In (0, 1]. */
static double draw_fraction(open_loop *o)
{
    return (double)((draw(o) >> 11) + 1) * 0x1p-53;
}

static double draw_pause_ns(open_loop *o)
{
    return -log(draw_fraction(o)) * 1e9 / (double)o->load->options->rate;
}

/* What a message asks for: nothing, or now and then to compute. */
static uint32_t draw_question(open_loop *o)
{
    const load_options *options = o->load->options;
    bool stall = draw_fraction(o) * (double)options->rate <= (double)options->stalls;
    return stall ? (uint32_t)options->stall_us * 1000 : 0;
}

/* --- sending and receiving ----------------------------------------------------------------------------------- */

static int64_t now_ns(void)
{
    return load_clock_ns(CLOCK_MONOTONIC);
}

static bool in_measurement(const open_loop *o, int64_t when_ns)
{
    return when_ns >= o->begin_ns && when_ns < o->end_ns;
}

static int send_one(open_loop *o, int64_t now)
{
    uint64_t chosen = draw(o) % o->idle_count;
    load_conn *c = o->idle[chosen];
    o->idle[chosen] = o->idle[--o->idle_count];
    int64_t due = (int64_t)o->due_ns;
    if (in_measurement(o, due))
        histogram_add(&o->late, now - due);
    o->due_ns += draw_pause_ns(o);
    int rc = load_conn_begin_asking(c, due, draw_question(o));
    if (rc == 0 && load_conn_sending(c))
        rc = load_watch(o->load, c, EPOLL_CTL_MOD);
    return rc < 0 ? load_complain("cannot send", rc) : 0;
}

static int send_what_is_due(open_loop *o)
{
    int64_t now = now_ns();
    while (o->idle_count > 0 && (int64_t)o->due_ns <= now && (int64_t)o->due_ns < o->end_ns) {
        int rc = send_one(o, now);
        if (rc < 0)
            return rc;
        now = now_ns();
    }
    return 0;
}

static void take_answer(open_loop *o, load_conn *c)
{
    int64_t now = now_ns();
    if (in_measurement(o, now))
        o->answered++;
    if (in_measurement(o, c->started_ns) && !c->asking)
        histogram_add(&o->load->latencies, now - c->started_ns);
    o->idle[o->idle_count++] = c;
}

/* Waits for answers, at most until the next message is due, and takes them. */
static int turn(open_loop *o)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int64_t pause = (int64_t)o->due_ns - now_ns();
    if (o->idle_count == 0 || (int64_t)o->due_ns >= o->end_ns)
        pause = LOAD_PATIENCE_MS * INT64_C(1000000);
    if (pause < 0)
        pause = 0;
    struct timespec timeout = {.tv_sec = pause / 1000000000, .tv_nsec = pause % 1000000000};
    int n = epoll_pwait2(o->load->epoll, events, LOAD_EVENTS_MAX, &timeout, NULL);
    if (n < 0)
        return errno == EINTR ? 0 : load_complain("epoll_pwait2", -errno);
    if (n == 0 && pause >= LOAD_PATIENCE_MS * INT64_C(1000000))
        return load_complain("no answer on any connection", -ETIMEDOUT);
    for (int i = 0; i < n; i++) {
        int rc = load_handle_event(o->load, &events[i]);
        if (rc < 0)
            return rc;
        if (rc == 1)
            take_answer(o, events[i].data.ptr);
    }
    return 0;
}

/* Until all that is due before the end is answered. */
static int go_on(open_loop *o)
{
    int64_t patience_ns = o->end_ns + 2 * LOAD_PATIENCE_MS * INT64_C(1000000);
    while ((int64_t)o->due_ns < o->end_ns || o->idle_count < o->load->opened) {
        if (now_ns() > patience_ns)
            return load_complain("the server cannot keep up with this rate", -ETIMEDOUT);
        int rc = send_what_is_due(o);
        if (rc == 0)
            rc = turn(o);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* --- measuring ----------------------------------------------------------------------------------------------- */

static void report(const open_loop *o)
{
    static const struct {
        const char *suffix;
        double quantile;
    } latencies[] = {{".p50", 0.5}, {".p99", 0.99}, {".p99.9", 0.999}, {".max", 1}};
    load *l = o->load;
    load_add(l, "", (double)o->answered * 1e9 / (double)(o->end_ns - o->begin_ns), "req/s");
    for (size_t i = 0; i < sizeof latencies / sizeof latencies[0]; i++)
        load_add_quantile(l, latencies[i].suffix, &l->latencies, latencies[i].quantile);
    load_add_quantile(l, ".sent_late.p99.9", &o->late, 0.999);
    l->result->requests = o->answered;
}

static void ask_for_priority(void)
{
    const struct sched_param first = {.sched_priority = 2};
    if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
        fprintf(stderr, "# load: no real-time priority here: latencies include its own waiting for a core\n");
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

static int start(open_loop *o)
{
    load *l = o->load;
    o->idle = calloc(l->opened, sizeof(load_conn *));
    if (!o->idle)
        return load_complain("cannot start", -ENOMEM);
    for (uint64_t i = 0; i < l->opened; i++) {
        int rc = load_watch(l, &l->conns[i], EPOLL_CTL_ADD);
        if (rc < 0)
            return load_complain("cannot watch", rc);
        l->conns[i].sent = l->conns[i].received = l->conns[i].bytes; /* nothing under way */
        o->idle[o->idle_count++] = &l->conns[i];
    }
    ask_for_priority();
    int64_t now = now_ns();
    o->due_ns = (double)now;
    o->begin_ns = now + LOAD_WARM_UP_NS;
    o->end_ns = o->begin_ns + (int64_t)(l->options->seconds * 1e9);
    return 0;
}

int load_open_measure(load *l)
{
    open_loop *o = calloc(1, sizeof *o);
    if (!o)
        return load_complain("cannot start", -ENOMEM);
    o->load = l;
    int rc = start(o);
    if (rc == 0)
        rc = go_on(o);
    if (rc == 0)
        report(o);
    free(o->idle);
    free(o);
    return rc;
}
