/*
 * loadgen.c - the program coil-loadgen: W9's client, a closed loop over many connections
 *
 * Plain C on epoll, one thread, nothing of coil's. Each connection has one message under way; every byte that comes
 * back is compared. After a warm-up it measures for a given time: requests a second, latency, the processor time that
 * the server used a request, and how busy the generator itself was (near 100 % it is the generator that is measured).
 *
 * Exit status: 0; 1 after a wrong byte, a lost connection, 5 s without any answer, or a connection that got none
 * during the whole measurement; 2 for bad arguments.
 */
#define _GNU_SOURCE /* EPOLL_CLOEXEC */
#include "histogram.h"
#include "load_conn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP_NS INT64_C(300000000)
#define PATIENCE_MS 5000
#define EVENTS_MAX 256
#define SCRATCH_BYTES 65536

typedef struct load_options {
    const char *host;
    const char *contender; /* first word of each line of results */
    const char *name;      /* of the workload; NULL: W9.echo1_<connections>c */
    uint64_t port, connections, bytes, server_pid;
    double seconds;
    bool lines; /* results for programs, not for people */
} load_options;

typedef struct load {
    const load_options *options;
    load_conn *conns; /* owned */
    uint64_t opened;
    int epoll;
    histogram latencies;
    char scratch[SCRATCH_BYTES];
} load;

/* What the clocks said at one moment. */
typedef struct load_mark {
    int64_t wall_ns, own_cpu_ns, server_cpu_ns;
} load_mark;

/* --- clocks -------------------------------------------------------------------------------------------------- */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    return clock_gettime(clock, &ts) == 0 ? (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec : 0;
}

static load_mark mark_now(const load_options *options)
{
    load_mark mark = {.wall_ns = clock_ns(CLOCK_MONOTONIC), .own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
    clockid_t clock;
    if (options->server_pid && clock_getcpuclockid((pid_t)options->server_pid, &clock) == 0)
        mark.server_cpu_ns = clock_ns(clock);
    return mark;
}

/* --- connections --------------------------------------------------------------------------------------------- */

static int complain(const char *what, int code)
{
    fprintf(stderr, "coil-loadgen: %s: %s\n", what, strerror(-code));
    return code;
}

/* Level-triggered. Writability is asked for only while a message is stuck. */
static int watch(const load *l, load_conn *c, int operation)
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
        return complain("cannot connect", rc);
    l->opened++;
    return 0;
}

static int start_one(load *l, load_conn *c)
{
    int rc = load_conn_begin(c, clock_ns(CLOCK_MONOTONIC));
    if (rc == 0)
        rc = watch(l, c, EPOLL_CTL_ADD);
    return rc < 0 ? complain("cannot send", rc) : 0;
}

static int open_all(load *l)
{
    int rc = 0;
    for (uint64_t i = 0; i < l->options->connections && rc == 0; i++)
        rc = open_one(l, i);
    for (uint64_t i = 0; i < l->opened && rc == 0; i++)
        rc = start_one(l, &l->conns[i]);
    return rc;
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

static int next_message(load *l, load_conn *c)
{
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    histogram_add(&l->latencies, now - c->started_ns);
    int rc = load_conn_begin(c, now);
    if (rc == 0 && load_conn_sending(c))
        rc = watch(l, c, EPOLL_CTL_MOD);
    return rc;
}

static int go_on_sending(const load *l, load_conn *c)
{
    int rc = load_conn_send(c);
    if (rc == 0 && !load_conn_sending(c))
        rc = watch(l, c, EPOLL_CTL_MOD);
    return rc;
}

static int handle_event(load *l, const struct epoll_event *event)
{
    load_conn *c = event->data.ptr;
    int rc = 0;
    if (event->events & EPOLLOUT)
        rc = go_on_sending(l, c);
    if (rc == 0 && (event->events & ~(uint32_t)EPOLLOUT))
        rc = load_conn_receive(c, l->scratch, sizeof l->scratch);
    if (rc == 1)
        rc = next_message(l, c);
    if (rc == -EBADMSG)
        fprintf(stderr, "coil-loadgen: connection %td: wrong data after %zu of %zu bytes\n", c - l->conns, c->received,
                c->bytes);
    else if (rc < 0)
        complain("a connection was lost", rc);
    return rc;
}

static int turn(load *l)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(l->epoll, events, EVENTS_MAX, PATIENCE_MS);
    if (n == 0)
        return complain("no answer on any connection", -ETIMEDOUT);
    if (n < 0)
        return errno == EINTR ? 0 : complain("epoll_wait", -errno);
    for (int i = 0; i < n; i++) {
        int rc = handle_event(l, &events[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_for(load *l, int64_t duration_ns)
{
    int64_t end = clock_ns(CLOCK_MONOTONIC) + duration_ns;
    int rc = 0;
    while (rc == 0 && clock_ns(CLOCK_MONOTONIC) < end)
        rc = turn(l);
    return rc;
}

/* --- results ------------------------------------------------------------------------------------------------- */

static void print_result(const load_options *o, const char *suffix, double value, const char *unit)
{
    char name[96];
    if (o->name)
        snprintf(name, sizeof name, "%s%s", o->name, suffix);
    else
        snprintf(name, sizeof name, "W9.echo1_%" PRIu64 "c%s", o->connections, suffix);
    printf(o->lines ? "%s %s %.*f %s\n" : "%-10s %-28s %12.*f %s\n", o->contender, name, value < 1000 ? 2 : 0, value,
           unit);
}

static void report(const load *l, load_mark before, load_mark after)
{
    const load_options *o = l->options;
    double wall_ns = (double)(after.wall_ns - before.wall_ns), requests = (double)l->latencies.total;
    print_result(o, "", requests * 1e9 / wall_ns, "req/s");
    print_result(o, ".p50", (double)histogram_quantile(&l->latencies, 0.5) / 1e3, "us");
    print_result(o, ".p99", (double)histogram_quantile(&l->latencies, 0.99) / 1e3, "us");
    print_result(o, ".p99.9", (double)histogram_quantile(&l->latencies, 0.999) / 1e3, "us");
    if (o->server_pid && requests > 0)
        print_result(o, ".server_cpu", (double)(after.server_cpu_ns - before.server_cpu_ns) / 1e3 / requests, "us");
    print_result(o, ".loadgen_cpu", (double)(after.own_cpu_ns - before.own_cpu_ns) * 100 / wall_ns, "%");
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
    if (rc == 0)
        rc = run_for(l, WARM_UP_NS);
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
        rc = l->epoll < 0 || !l->conns ? complain("cannot start", -ENOMEM) : measure(l);
        for (uint64_t i = 0; i < l->opened; i++)
            load_conn_close(&l->conns[i]);
        close(l->epoll);
        free(l->conns);
    }
    free(l);
    return rc < 0 ? 1 : 0;
}

/* --- arguments ----------------------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr,
            "usage: coil-loadgen --port N [option value ...]\n"
            "  --host ADDRESS       IPv4 address (127.0.0.1)\n"
            "  --connections N      (64)\n"
            "  --bytes N            of a message (64)\n"
            "  --seconds S          measured, after 0.3 s of warm-up (0.8)\n"
            "  --server-pid PID     whose processor time is measured\n"
            "  --format table|lines for people, or one 'coil W9.echo1_64c 100000 req/s' a line (table)\n"
            "  --contender WORD     first word of the results (coil)\n"
            "  --name NAME          of the workload (W9.echo1_<connections>c)\n");
    return 2;
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
        .host = "127.0.0.1", .contender = "coil", .connections = 64, .bytes = 64, .seconds = 0.8};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &options))
            return usage();
    }
    if (options.port == 0)
        return usage();
    raise_descriptor_limit();
    return run(&options);
}
