/*
 * coil_bench.c - the program coil-bench: chooses workloads by name and runs them one after the other
 *
 * Exit status: 0, 1 if a workload failed, 2 for arguments it does not understand.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const bench_workload *const workloads[] = {&bench_switch, &bench_spawn_join, &bench_queue, &bench_timers,
                                                  &bench_sleepers, &bench_cross_thread, &bench_fork_join, &bench_stall,
                                                  &bench_echo, &bench_idle, &bench_file, &bench_executor};
#define WORKLOADS (sizeof workloads / sizeof workloads[0])

static void print_usage(FILE *out)
{
    fprintf(out, "usage: coil-bench WORKLOAD [--backend uring|epoll] [--workers N] [--ring defer|shared]\n"
                 "                  [--repetitions N] [--divide N] [--connections N] [--bytes N]\n"
                 "                  [--file PATH]\n"
                 "  --workers N      on a runtime of that many workers (default: a plain loop)\n"
                 "  --ring MODE      of a runtime's workers: who collects what completes\n"
                 "  --repetitions N  measured rounds, of which the median is printed (default 5)\n"
                 "  --divide N       do an N-th of the work, for runs under valgrind (default 1)\n"
                 "  --connections N, --bytes N   of the echo: how many, and of a message\n"
                 "  --file PATH      to be read (default: a new one of 1 GiB in TMPDIR or /var/tmp)\n"
                 "workloads:\n");
    for (size_t i = 0; i < WORKLOADS; i++)
        fprintf(out, "  %-16s %s\n", workloads[i]->name, workloads[i]->what);
    fprintf(out, "  %-16s all of them\n", "all");
}

static int usage(const char *complaint, const char *about)
{
    if (complaint)
        fprintf(stderr, "coil-bench: %s '%s'\n", complaint, about);
    print_usage(stderr);
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

static bool parse_backend(const char *text, enum coil_backend_kind *kind)
{
    *kind = strcmp(text, "uring") == 0 ? COIL_BACKEND_URING : COIL_BACKEND_EPOLL;
    return *kind == COIL_BACKEND_URING || strcmp(text, "epoll") == 0;
}

static bool parse_ring(const char *text, enum coil_ring_mode *mode)
{
    *mode = strcmp(text, "defer") == 0 ? COIL_RING_DEFER : COIL_RING_SHARED;
    return *mode == COIL_RING_DEFER || strcmp(text, "shared") == 0;
}

static bool parse_option(const char *name, const char *value, bench_options *options)
{
    uint64_t number;
    if (strcmp(name, "--backend") == 0)
        return parse_backend(value, &options->loop.backend);
    if (strcmp(name, "--ring") == 0)
        return parse_ring(value, &options->ring_mode);
    if (strcmp(name, "--divide") == 0)
        return parse_number(value, 1000000000, &options->divide);
    if (strcmp(name, "--file") == 0) {
        options->file = value;
        return true;
    }
    if (strcmp(name, "--connections") == 0)
        return parse_number(value, 1000000, &options->connections);
    if (strcmp(name, "--bytes") == 0)
        return parse_number(value, 1 << 30, &options->bytes);
    if (strcmp(name, "--workers") == 0 && parse_number(value, BENCH_WORKERS_MAX, &number)) {
        options->workers = (unsigned)number;
        return true;
    }
    if (strcmp(name, "--repetitions") != 0 || !parse_number(value, BENCH_REPETITIONS_MAX, &number))
        return false;
    options->repetitions = (unsigned)number;
    return true;
}

static bool is_workload(const char *name)
{
    if (strcmp(name, "all") == 0)
        return true;
    for (size_t i = 0; i < WORKLOADS; i++) {
        if (strcmp(name, workloads[i]->name) == 0)
            return true;
    }
    return false;
}

static int run_workload(const bench_workload *workload, const bench_options *options)
{
    int rc = workload->run(options);
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        char text[200];
        coil_error_format(error, text, sizeof text);
        fprintf(stderr, "coil-bench: %s: %s\n", workload->name, text);
        coil_error_release(error);
    }
    return rc;
}

static int run_named(const char *name, const bench_options *options)
{
    bool failed = false;
    for (size_t i = 0; i < WORKLOADS; i++) {
        if (strcmp(name, "all") == 0 || strcmp(name, workloads[i]->name) == 0)
            failed |= run_workload(workloads[i], options) < 0;
    }
    return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    bench_options options = {.loop.size = sizeof(coil_loop_options), .repetitions = 5, .divide = 1};
    bench_executor_register();
    coil_process_init(argc, argv); /* the fork servers of process pools stay in there */
    if (argc < 2)
        return usage(NULL, NULL);
    if (strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (!is_workload(argv[1]))
        return usage("no such workload:", argv[1]);
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 == argc)
            return usage("a value is missing after", argv[i]);
        if (!parse_option(argv[i], argv[i + 1], &options))
            return usage("does not understand", argv[i]);
    }
    return run_named(argv[1], &options);
}
