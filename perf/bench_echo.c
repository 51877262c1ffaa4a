/*
 * bench_echo.c - W9: TCP echo, and what an idle connection costs
 *
 * The server is coil-echo-server, a process of its own from this program's directory; the generator (load.h) runs here.
 * With one worker the server is kept on the first CPU that this process may use and the generator on the second, where it does
 * not sleep; with more both go where they like. Beside the generator's figures it prints what the server counted meanwhile:
 *
 *   .allocations   per message, the most of any round. Has to be 0.0000; the two or three of a round are those of being
 *                  asked. jemalloc counts an allocation when the thread's cache is flushed: with several workers the
 *                  server therefore runs without that cache
 *   .waits_loop    system calls that wait for, and submit, I/O: per iteration of the loop. At most 1
 *   .waits         the same per message
 *
 * idle_connections: the growth of the server's resident memory per connection: accepted and never used; after a
 * message each.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include "bench_process.h"

#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "load_conn.h"

#define FIGURES_MAX (LOAD_FIGURES_MAX + 2)
#define CONNECTIONS 64
#define IDLE_CONNECTIONS 10000
#define BYTES 64
#define SMALL_BYTES 1024 /* of the server's buffer, unless it is asked for more */
#define LARGE_BYTES 65536
#define PATIENCE_MS 10000

typedef struct echo_run {
    const bench_options *options;
    char name[64];
    bench_server server;
    bench_counts counts[2]; /* as the measurement began and ended */
    int rc;                 /* of asking for them */
    double values[FIGURES_MAX][BENCH_REPETITIONS_MAX];
    load_figure figures[FIGURES_MAX]; /* their names and units */
    size_t count;
    double allocations; /* per message, of the round that made most; negative: not counted */
    bool apart;         /* the server and the generator have a core each */
} echo_run;

static uint64_t connections_of(const bench_options *o, uint64_t otherwise)
{
    return o->connections > 0 ? o->connections : otherwise;
}

static uint64_t bytes_of(const bench_options *o)
{
    return o->bytes > 0 ? o->bytes : BYTES;
}

/* --- where things run ---------------------------------------------------------------------------------------- */

/* The @n-th CPU of @allowed alone, from 0. False if there is none. */
static bool only(const cpu_set_t *allowed, int n, cpu_set_t *one)
{
    CPU_ZERO(one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, allowed) && n-- == 0) {
            CPU_SET(cpu, one);
            return true;
        }
    }
    return false;
}

static int start_server(echo_run *run)
{
    char bytes[24] = "";
    char *const more[] = {"--buffer", bytes, NULL};
    cpu_set_t allowed, first, second;
    bool pin = run->options->workers <= 1 && sched_getaffinity(0, sizeof allowed, &allowed) == 0 &&
               only(&allowed, 0, &first) && only(&allowed, 1, &second);
    snprintf(bytes, sizeof bytes, "%d", bytes_of(run->options) > SMALL_BYTES ? LARGE_BYTES : SMALL_BYTES);
    if (run->options->workers > 1)
        setenv("MALLOC_CONF", "tcache:false", 1);
    load_raise_descriptor_limit();
    if (pin)
        sched_setaffinity(0, sizeof first, &first); /* the server inherits it */
    int rc = bench_server_start(run->options, more, &run->server);
    if (pin)
        sched_setaffinity(0, sizeof second, &second);
    run->apart = pin;
    return rc;
}

/* --- echo ---------------------------------------------------------------------------------------------------- */

static void take_counts(void *observer, bool end)
{
    echo_run *run = observer;
    int rc = bench_server_count(&run->server, &run->counts[end]);
    if (rc < 0)
        run->rc = rc;
}

static void keep(echo_run *run, size_t figure, unsigned round, load_figure value)
{
    run->figures[figure] = value;
    run->values[figure][round] = value.value;
    if (figure >= run->count)
        run->count = figure + 1;
}

static void keep_counts(echo_run *run, unsigned round, const load_result *result)
{
    const bench_counts *before = &run->counts[0], *after = &run->counts[1];
    double waits = (double)(after->waits - before->waits);
    double iterations = (double)(after->iterations - before->iterations);
    keep(run, result->count, round, (load_figure){".waits_loop", iterations > 0 ? waits / iterations : 0, "count"});
    keep(run, result->count + 1, round,
         (load_figure){".waits", result->requests > 0 ? waits / (double)result->requests : 0, "count"});
    double allocations = after->allocations < 0 || result->requests == 0
                             ? -1
                             : (double)(after->allocations - before->allocations) / (double)result->requests;
    if (round == 0 || allocations > run->allocations)
        run->allocations = allocations;
}

static int measure_round(echo_run *run, unsigned round)
{
    const bench_options *o = run->options;
    const load_options load = {.host = "127.0.0.1", .port = run->server.port,
                               .connections = connections_of(o, CONNECTIONS), .bytes = bytes_of(o),
                               .server_pid = (uint64_t)run->server.pid, .seconds = 0.8 / (double)o->divide, .spins = run->apart,
                               .observe = take_counts, .observer = run};
    load_result result;
    if (load_run(&load, &result) < 0)
        return coil_raise(COIL_EUSER(0), "the server did not echo as it should");
    for (size_t i = 0; i < result.count; i++)
        keep(run, i, round, result.figures[i]);
    keep_counts(run, round, &result);
    return run->rc;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_medians(echo_run *run)
{
    unsigned n = run->options->repetitions;
    for (size_t i = 0; i < run->count; i++) {
        const load_figure *f = &run->figures[i];
        double *values = run->values[i];
        qsort(values, n, sizeof values[0], compare_doubles);
        double median = values[n / 2];
        printf("coil %s%s %.*f %s\n", run->name, f->suffix, median < 1 ? 4 : median < 1000 ? 2 : 0, median, f->unit);
        fprintf(stderr, "# %s%s: min %.2f, max %.2f %s, %u rounds\n", run->name, f->suffix, values[0], values[n - 1],
                f->unit, n);
    }
    if (run->allocations >= 0)
        printf("coil %s.allocations %.4f count\n", run->name, run->allocations);
    fflush(stdout);
}

static void name_run(echo_run *run, const char *what, uint64_t otherwise)
{
    const bench_options *o = run->options;
    int n = snprintf(run->name, sizeof run->name, "W9.%s%u_%" PRIu64 "c", what, o->workers > 0 ? o->workers : 1,
                     connections_of(o, otherwise));
    if (bytes_of(o) != BYTES)
        snprintf(run->name + n, sizeof run->name - (size_t)n, "_%" PRIu64 "b", o->bytes);
}

static int run_echo(const bench_options *options)
{
    static echo_run run; /* large */
    memset(&run, 0, sizeof run);
    run.options = options;
    name_run(&run, "echo", CONNECTIONS);
    COIL_TRY(start_server(&run));
    int rc = 0;
    for (unsigned i = 0; i < options->repetitions && rc == 0; i++)
        rc = measure_round(&run, i);
    if (rc == 0)
        print_medians(&run);
    int ended = bench_server_stop(&run.server);
    return rc < 0 ? rc : ended;
}

const bench_workload bench_echo = {"echo", "W9: TCP echo, with --connections N (64) and --bytes N (64)", run_echo};

/* --- idle connections ---------------------------------------------------------------------------------------- */

/* The server's resident memory in bytes, or a negative code. */
static int64_t resident(const bench_server *server)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)server->pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return coil_raise(-errno, "%s", path);
    bool read = fscanf(f, "%*d %ld", &pages) == 1;
    fclose(f);
    return read ? pages * sysconf(_SC_PAGESIZE) : coil_raise(COIL_EUSER(0), "%s cannot be read", path);
}

/* Until each of the connections has its task. */
static int wait_for_tasks(bench_server *server, uint64_t before, uint64_t connections)
{
    bench_counts counts = {0};
    for (int ms = 0; ms < PATIENCE_MS && counts.tasks < before + connections; ms++) {
        COIL_TRY(bench_server_count(server, &counts));
        poll(NULL, 0, 1);
    }
    return counts.tasks >= before + connections ? 0 : coil_raise(-ETIMEDOUT, "connections are not accepted");
}

/* One message there and back. */
static int exchange(load_conn *c)
{
    char scratch[BYTES];
    int rc = load_conn_begin(c, 0);
    while (rc == 0) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        rc = poll(&p, 1, PATIENCE_MS) == 1 ? load_conn_receive(c, scratch, sizeof scratch) : -ETIMEDOUT;
    }
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

static int print_growth(const echo_run *run, const char *suffix, int64_t before, uint64_t connections)
{
    int64_t now = resident(&run->server);
    if (now < 0)
        return (int)now;
    printf("coil %s%s %.0f bytes\n", run->name, suffix, (double)(now - before) / (double)connections);
    fflush(stdout);
    return 0;
}

static int measure_idle(echo_run *run, load_conn *conns, uint64_t n, uint64_t *opened)
{
    bench_counts counts;
    COIL_TRY(bench_server_count(&run->server, &counts));
    int64_t before = resident(&run->server);
    if (before < 0)
        return (int)before;
    for (; *opened < n; ++*opened) {
        int rc = load_conn_open(&conns[*opened], "127.0.0.1", (uint16_t)run->server.port, BYTES, *opened);
        if (rc < 0)
            return coil_raise(rc, "cannot connect the %" PRIu64 "th time", *opened + 1);
    }
    COIL_TRY(wait_for_tasks(&run->server, counts.tasks, n));
    COIL_TRY(print_growth(run, ".fresh", before, n));
    for (uint64_t i = 0; i < n; i++)
        COIL_TRY(exchange(&conns[i]));
    return print_growth(run, "", before, n);
}

static int run_idle(const bench_options *options)
{
    echo_run *run = calloc(1, sizeof *run);
    uint64_t n = connections_of(options, IDLE_CONNECTIONS) / options->divide, opened = 0;
    load_conn *conns = calloc(n > 0 ? n : 1, sizeof *conns);
    int rc = run && conns ? 0 : coil_raise(-ENOMEM, NULL);
    if (rc == 0) {
        run->options = options;
        name_run(run, "idle", IDLE_CONNECTIONS);
        rc = start_server(run);
    }
    if (rc == 0) {
        rc = measure_idle(run, conns, n, &opened);
        for (uint64_t i = 0; i < opened; i++)
            load_conn_close(&conns[i]);
        int ended = bench_server_stop(&run->server);
        rc = rc < 0 ? rc : ended;
    }
    free(conns);
    free(run);
    return rc;
}

const bench_workload bench_idle = {
    "idle_connections", "W9: a server's memory per idle connection, --connections N (10000)", run_idle};
