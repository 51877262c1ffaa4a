/*
 * echo_server.c - the program coil-echo-server: W9's and W11's server, one task per connection
 *
 * It runs on one loop, or on a runtime of several workers. For W11 (--stall) messages have 64 bytes, and the first 4
 * are a number of nanoseconds that the server computes before it sends the message back. A connection's buffer is
 * small and on its task's stack, or from the heap if a larger one is asked for.
 *
 * Prints "listening on 127.0.0.1:PORT backend=NAME" when it can be reached. SIGTERM and SIGINT end it in order: it
 * stops listening, cancels the connections' tasks, waits for them and exits with 0. SIGUSR1 makes it print what the
 * loop has done so far (with several workers: worker 0's), how many tasks there are and how many allocations the
 * process has made: "counts iterations=N waits=N tasks=N allocations=N", allocations -1 where they are not counted.
 */
#include "bench.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SMALL_BYTES 1024 /* of a buffer that is on the stack */
#define BUFFER_BYTES_MAX ((unsigned long)1 << 30)
#define MESSAGE_BYTES 64 /* with --stall */
#define WORKERS_MAX 64

typedef struct program {
    const char *port;
    coil_loop_options loop;
    unsigned workers;     /* of a runtime; 0: a plain loop */
    enum coil_ring_mode ring_mode;
    bool stall;           /* messages say how long to compute */
    size_t buffer_bytes;  /* the most that is read at once */
    coil_future *stopped; /* completed by the first signal */
} program;

/* --- connections --------------------------------------------------------------------------------------------- */

static int echo_with(coil_stream *stream, char *buffer, size_t bytes)
{
    for (;;) {
        size_t n;
        COIL_TRY(coil_stream_read(stream, buffer, bytes, &n));
        if (n == 0)
            return 0;
        COIL_TRY(coil_stream_write(stream, buffer, n));
        COIL_TRY(coil_stream_drain(stream));
    }
}

static int echo_small(coil_stream *stream)
{
    char buffer[SMALL_BYTES];
    return echo_with(stream, buffer, sizeof buffer);
}

static int echo(coil_stream *stream, size_t bytes)
{
    if (bytes <= SMALL_BYTES)
        return echo_small(stream);
    char *buffer = malloc(bytes);
    if (!buffer)
        return coil_raise(-ENOMEM, NULL);
    int rc = echo_with(stream, buffer, bytes);
    free(buffer);
    return rc;
}

static int64_t monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Holds the worker: that is the point. */
static void compute(uint32_t ns)
{
    int64_t end = monotonic_ns() + ns;
    while (monotonic_ns() < end) {
    }
}

static int echo_and_stall(coil_stream *stream)
{
    char message[MESSAGE_BYTES];
    uint32_t ns;
    for (;;) {
        COIL_TRY(coil_stream_readexactly(stream, message, sizeof message));
        memcpy(&ns, message, sizeof ns);
        if (ns > 0)
            compute(ns);
        COIL_TRY(coil_stream_write(stream, message, sizeof message));
        COIL_TRY(coil_stream_drain(stream));
    }
}

static int serve_connection(coil_stream *stream, void *arg)
{
    const program *p = arg;
    int rc = p->stall ? echo_and_stall(stream) : echo(stream, p->buffer_bytes);
    if (rc == COIL_EINCOMPLETEREAD)
        rc = 0; /* the client is done */
    if (rc == 0) {
        coil_stream_close(stream);
        rc = coil_stream_wait_closed(stream);
    }
    coil_stream_free(stream);
    /* A client that goes away in the middle is nothing to report; it has noticed. */
    return rc == -ECONNRESET || rc == -EPIPE ? 0 : rc;
}

/* --- signals ------------------------------------------------------------------------------------------------- */

static int stop(void *arg)
{
    program *p = arg;
    return coil_future_done(p->stopped) ? 0 : coil_future_set_result(p->stopped, NULL);
}

static int print_counts(void *arg)
{
    coil_loop_stats stats = {.size = sizeof stats};
    (void)arg;
    coil_loop_get_stats(coil_get_running_loop(), &stats);
    int64_t allocations = bench_allocations_counted() ? (int64_t)bench_allocations() : -1;
    printf("counts iterations=%" PRIu64 " waits=%" PRIu64 " tasks=%zu allocations=%" PRId64 "\n", stats.iterations,
           stats.kernel_waits, stats.tasks, allocations);
    fflush(stdout);
    return 0;
}

static int handle_signals(program *p)
{
    coil_loop *loop = coil_get_running_loop();
    COIL_TRY(coil_loop_add_signal_handler(loop, SIGUSR1, print_counts, NULL));
    COIL_TRY(coil_loop_add_signal_handler(loop, SIGTERM, stop, p));
    return coil_loop_add_signal_handler(loop, SIGINT, stop, p);
}

/* --- program ------------------------------------------------------------------------------------------------- */

static int announce(const coil_server *server)
{
    coil_backend_info info = {.size = sizeof info};
    COIL_TRY(coil_loop_backend_info(coil_get_running_loop(), &info));
    printf("listening on 127.0.0.1:%d backend=%s\n", coil_server_port(server), info.name);
    fflush(stdout);
    return 0;
}

static int serve_until_signal(program *p, coil_server *server)
{
    COIL_TRY(handle_signals(p));
    COIL_TRY(announce(server));
    COIL_TRY(coil_await(p->stopped, NULL));
    coil_server_close(server);
    coil_server_cancel_clients(server);
    return coil_server_wait_closed(server);
}

static int serve(void *arg, void **result)
{
    (void)result;
    program *p = arg;
    coil_server *server;
    coil_server_options options = {.size = sizeof options, .backlog = 4096};
    COIL_TRY(coil_create_future(&p->stopped));
    int rc = coil_start_server(serve_connection, p, "127.0.0.1", p->port, &options, &server);
    if (rc == 0) {
        rc = serve_until_signal(p, server);
        coil_server_free(server);
    }
    coil_release(p->stopped);
    return rc;
}

static int run_coro(const program *p, coil_coro coro)
{
    if (p->workers == 0)
        return coil_run_with(&p->loop, coro, NULL);
    const coil_runtime_options runtime = {
        .size = sizeof runtime, .workers = p->workers, .ring_mode = p->ring_mode, .loop = p->loop};
    return coil_runtime_run(&runtime, coro, NULL);
}

static int run(program *p)
{
    int rc = run_coro(p, coil_coro_of(serve, p));
    if (rc == 0)
        return 0;
    coil_error *error = coil_catch(rc);
    char text[200];
    coil_error_format(error, text, sizeof text);
    fprintf(stderr, "coil-echo-server: %s\n", text);
    coil_error_release(error);
    return 1;
}

static int usage(FILE *out)
{
    fprintf(out, "usage: coil-echo-server [--port N] [--backend uring|epoll] [--stall] [--buffer N]\n"
                 "                        [--workers N [--ring defer|shared]]\n"
                 "  --port N     where to listen on 127.0.0.1; 0, the default: a free port\n"
                 "  --workers N  a runtime of that many; without it, one loop\n"
                 "  --ring MODE  of the workers: who collects what completes\n"
                 "  --buffer N   bytes that a connection reads at once (1024)\n"
                 "  --stall      messages have 64 bytes and begin with how many nanoseconds to compute (W11)\n");
    return out == stdout ? 0 : 2;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *number)
{
    char *end;
    *number = strtoul(text, &end, 10);
    return end != text && *end == '\0' && *number <= max;
}

static bool parse_option(const char *name, const char *value, program *p)
{
    unsigned long number;
    if (strcmp(name, "--port") == 0) {
        p->port = value;
        return parse_number(value, 65535, &number);
    }
    if (strcmp(name, "--workers") == 0) {
        bool right = parse_number(value, WORKERS_MAX, &number) && number > 0;
        p->workers = (unsigned)number;
        return right;
    }
    if (strcmp(name, "--buffer") == 0) {
        bool right = parse_number(value, BUFFER_BYTES_MAX, &number) && number > 0;
        p->buffer_bytes = number;
        return right;
    }
    if (strcmp(name, "--ring") == 0) {
        p->ring_mode = strcmp(value, "defer") == 0 ? COIL_RING_DEFER : COIL_RING_SHARED;
        return p->ring_mode == COIL_RING_DEFER || strcmp(value, "shared") == 0;
    }
    p->loop.backend = strcmp(value, "uring") == 0 ? COIL_BACKEND_URING : COIL_BACKEND_EPOLL;
    return strcmp(name, "--backend") == 0 && (strcmp(value, "uring") == 0 || strcmp(value, "epoll") == 0);
}

int main(int argc, char **argv)
{
    program p = {.port = "0", .loop.size = sizeof(coil_loop_options), .buffer_bytes = SMALL_BYTES};
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--stall") == 0)
            p.stall = true;
        else if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &p))
            return usage(stderr);
        else
            i++;
    }
    return run(&p);
}
