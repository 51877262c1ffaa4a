/*
 * loadgen.c - the program coil-loadgen: W9's client, a closed loop over many connections; W11's, an open one (--rate)
 *
 * Plain C on epoll, one thread, nothing of coil's. Each connection has one message under way; every byte that comes
 * back is compared. After a warm-up it measures for a given time: requests a second, latency, the processor time that
 * the server used a request, and how busy the generator itself was (near 100 % it is the generator that is measured).
 * What both loops share is here; the open one is in load_open.c.
 *
 * Exit status: 0; 1 after a wrong byte, a lost connection, 5 s without any answer, or a connection that got none
 * during the whole measurement; 2 for bad arguments.
 */
#define _GNU_SOURCE /* EPOLL_CLOEXEC */
#include "load.h"
#include "load_open.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* What the clocks said at one moment. */
typedef struct load_mark {
    int64_t wall_ns, own_cpu_ns, server_cpu_ns;
} load_mark;

/* --- clocks -------------------------------------------------------------------------------------------------- */

int64_t load_clock_ns(clockid_t clock)
{
    struct timespec ts;
    return clock_gettime(clock, &ts) == 0 ? (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec : 0;
}

static load_mark mark_now(const load_options *options)
{
    load_mark mark = {.wall_ns = load_clock_ns(CLOCK_MONOTONIC), .own_cpu_ns = load_clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    clockid_t clock;
    if (options->server_pid && clock_getcpuclockid((pid_t)options->server_pid, &clock) == 0)
        mark.server_cpu_ns = load_clock_ns(clock);
    return mark;
}

/* --- connections --------------------------------------------------------------------------------------------- */

int load_complain(const char *what, int code)
{
    fprintf(stderr, "coil-loadgen: %s: %s\n", what, strerror(-code));
    return code;
}

/* Level-triggered. Writability is asked for only while a message is stuck. */
int load_watch(const load *l, load_conn *c, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (load_conn_sending(c) ? EPOLLOUT : 0u), .data.ptr = c};
    return epoll_ctl(l->epoll, operation, c->fd, &event) == 0 ? 0 : -errno;
}

static int open_one(load *l, uint64_t number)
{
    load_conn *c = &l->conns[number];
    const load_options *o = l->options;
    int rc = load_conn_open(c, o->host, (uint16_t)o->port, (size_t)o->bytes, number);
    if (rc < 0)
        return load_complain("cannot connect", rc);
    l->opened++;
    return 0;
}

/* With a message: the closed loop's first. */
static int start_one(load *l, load_conn *c)
{
    int rc = load_conn_begin(c, load_clock_ns(CLOCK_MONOTONIC));
    if (rc == 0)
        rc = load_watch(l, c, EPOLL_CTL_ADD);
    return rc < 0 ? load_complain("cannot send", rc) : 0;
}

static int open_all(load *l)
{
    int rc = 0;
    for (uint64_t i = 0; i < l->options->connections && rc == 0; i++)
        rc = open_one(l, i);
    return rc;
}

static int start_all(load *l)
{
    int rc = 0;
    for (uint64_t i = 0; i < l->opened && rc == 0; i++)
        rc = start_one(l, &l->conns[i]);
    return rc;
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

static int next_message(load *l, load_conn *c)
{
    int64_t now = load_clock_ns(CLOCK_MONOTONIC);
    histogram_add(&l->latencies, now - c->started_ns);
    int rc = load_conn_begin(c, now);
    if (rc == 0 && load_conn_sending(c))
        rc = load_watch(l, c, EPOLL_CTL_MOD);
    return rc < 0 ? load_complain("cannot send", rc) : 0;
}

static int go_on_sending(const load *l, load_conn *c)
{
    int rc = load_conn_send(c);
    if (rc == 0 && !load_conn_sending(c))
        rc = load_watch(l, c, EPOLL_CTL_MOD);
    return rc;
}

int load_handle_event(load *l, const struct epoll_event *event)
{
    load_conn *c = event->data.ptr;
    int rc = 0;
    if (event->events & EPOLLOUT)
        rc = go_on_sending(l, c);
    if (rc == 0 && (event->events & ~(uint32_t)EPOLLOUT))
        rc = load_conn_receive(c, l->scratch, sizeof l->scratch);
    if (rc == -EBADMSG)
        fprintf(stderr, "coil-loadgen: connection %td: wrong data after %zu of %zu bytes\n", c - l->conns, c->received,
                c->bytes);
    else if (rc < 0)
        load_complain("a connection was lost", rc);
    return rc;
}

static int turn(load *l)
{
    struct epoll_event events[LOAD_EVENTS_MAX];
    int n = epoll_wait(l->epoll, events, LOAD_EVENTS_MAX, LOAD_PATIENCE_MS);
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

/* --- results ------------------------------------------------------------------------------------------------- */

void load_print(const load_options *o, const char *suffix, double value, const char *unit)
{
    char name[96];
    if (o->name || o->rate > 0)
        snprintf(name, sizeof name, "%s%s", o->name ? o->name : "W11.stall", suffix);
    else
        snprintf(name, sizeof name, "W9.echo1_%" PRIu64 "c%s", o->connections, suffix);
    printf(o->lines ? "%s %s %.*f %s\n" : "%-10s %-28s %12.*f %s\n", o->contender, name, value < 1000 ? 2 : 0, value,
           unit);
}

static void report(const load *l, load_mark before, load_mark after)
{
    const load_options *o = l->options;
    double wall_ns = (double)(after.wall_ns - before.wall_ns), requests = (double)l->latencies.total;
    load_print(o, "", requests * 1e9 / wall_ns, "req/s");
    load_print(o, ".p50", (double)histogram_quantile(&l->latencies, 0.5) / 1e3, "us");
    load_print(o, ".p99", (double)histogram_quantile(&l->latencies, 0.99) / 1e3, "us");
    load_print(o, ".p99.9", (double)histogram_quantile(&l->latencies, 0.999) / 1e3, "us");
    if (o->server_pid && requests > 0)
        load_print(o, ".server_cpu", (double)(after.server_cpu_ns - before.server_cpu_ns) / 1e3 / requests, "us");
    load_print(o, ".loadgen_cpu", (double)(after.own_cpu_ns - before.own_cpu_ns) * 100 / wall_ns, "%");
}

/* A connection whose message was begun before the measurement and is not back at its end has been forgotten. */
static int check_progress(const load *l, int64_t since_ns)
{
    for (uint64_t i = 0; i < l->opened; i++) {
        if (l->conns[i].started_ns < since_ns) {
            fprintf(stderr, "coil-loadgen: connection %" PRIu64 ": no answer during the whole measurement\n", i);
            return -ETIMEDOUT;
        }
    }
    return 0;
}

static int measure(load *l)
{
    int rc = open_all(l);
    if (rc == 0 && l->options->rate > 0)
        return load_open_measure(l);
    if (rc == 0)
        rc = start_all(l);
    if (rc == 0)
        rc = run_for(l, LOAD_WARM_UP_NS);
    if (rc < 0)
        return rc;
    memset(&l->latencies, 0, sizeof l->latencies);
    load_mark before = mark_now(l->options);
    rc = run_for(l, (int64_t)(l->options->seconds * 1e9));
    if (rc < 0)
        return rc;
    report(l, before, mark_now(l->options));
    return check_progress(l, before.wall_ns);
}

/* Thousands of connections need more descriptors than shells allow; as many as there may be. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(const load_options *options)
{
    load *l = calloc(1, sizeof *l);
    int rc = -ENOMEM;
    if (l) {
        l->options = options;
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        l->conns = calloc(options->connections, sizeof *l->conns);
        rc = l->epoll < 0 || !l->conns ? load_complain("cannot start", -ENOMEM) : measure(l);
        for (uint64_t i = 0; i < l->opened; i++)
            load_conn_close(&l->conns[i]);
        close(l->epoll);
        free(l->conns);
    }
    free(l);
    return rc < 0 ? 1 : 0;
}

/* --- arguments ----------------------------------------------------------------------------------------------- */

static int usage(FILE *out)
{
    fprintf(out,
            "usage: coil-loadgen --port N [option value ...]\n"
            "  --host ADDRESS       IPv4 address (127.0.0.1)\n"
            "  --connections N      (64)\n"
            "  --bytes N            of a message (64)\n"
            "  --seconds S          measured, after 0.3 s of warm-up (0.8)\n"
            "  --server-pid PID     whose processor time is measured\n"
            "  --format table|lines for people, or one 'coil W9.echo1_64c 100000 req/s' a line (table)\n"
            "  --contender WORD     first word of the results (coil)\n"
            "  --name NAME          of the workload (W9.echo1_<connections>c, W11.stall)\n"
            "an open loop (W11), for servers that run with --stall:\n"
            "  --rate R             messages a second, at Poisson times, over all connections\n"
            "  --stalls S           of them, how many a second ask the server to compute (0)\n"
            "  --stall-us US        for how long (1000)\n");
    return out == stdout ? 0 : 2;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *number)
{
    char *end;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == '-' || parsed == 0 || parsed > max)
        return false;
    *number = parsed;
    return true;
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;
    *seconds = strtod(text, &end);
    return end != text && *end == '\0' && *seconds > 0 && *seconds < 1e6;
}

static bool parse_text(const char *name, const char *value, load_options *o)
{
    if (strcmp(name, "--host") == 0)
        o->host = value;
    else if (strcmp(name, "--contender") == 0)
        o->contender = value;
    else if (strcmp(name, "--name") == 0)
        o->name = value;
    else
        return false;
    return true;
}

static bool parse_option(const char *name, const char *value, load_options *o)
{
    if (strcmp(name, "--port") == 0)
        return parse_number(value, 65535, &o->port);
    if (strcmp(name, "--connections") == 0)
        return parse_number(value, 1000000, &o->connections);
    if (strcmp(name, "--bytes") == 0)
        return parse_number(value, 1 << 30, &o->bytes);
    if (strcmp(name, "--server-pid") == 0)
        return parse_number(value, INT32_MAX, &o->server_pid);
    if (strcmp(name, "--rate") == 0)
        return parse_number(value, 100000000, &o->rate);
    if (strcmp(name, "--stalls") == 0)
        return parse_number(value, 100000000, &o->stalls);
    if (strcmp(name, "--stall-us") == 0)
        return parse_number(value, 1000000, &o->stall_us);
    if (strcmp(name, "--seconds") == 0)
        return parse_seconds(value, &o->seconds);
    if (strcmp(name, "--format") == 0) {
        o->lines = strcmp(value, "lines") == 0;
        return o->lines || strcmp(value, "table") == 0;
    }
    return parse_text(name, value, o);
}

int main(int argc, char **argv)
{
    load_options options = {
        .host = "127.0.0.1", .contender = "coil", .connections = 64, .bytes = 64, .stall_us = 1000, .seconds = 0.8};
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &options))
            return usage(stderr);
    }
    if (options.port == 0 || options.stalls > options.rate || (options.rate > 0 && options.bytes < sizeof(uint32_t)))
        return usage(stderr);
    raise_descriptor_limit();
    return run(&options);
}
