/*
 * bench_process.h - other programs of this directory, run by coil-bench: coil-echo-server, coil-loadgen
 *
 * Called from the main thread. Functions return 0, or a negative code that is raised.
 */
#ifndef COIL_PERF_BENCH_PROCESS_H
#define COIL_PERF_BENCH_PROCESS_H

#include "bench.h"

#include <stdio.h>
#include <sys/types.h>

typedef struct bench_server {
    pid_t pid;
    unsigned port;
    FILE *output; /* what it prints; owned */
} bench_server;

/* What coil-echo-server has counted since it was started; allocations -1 where they are not counted. */
typedef struct bench_counts {
    uint64_t iterations, waits, tasks;
    int64_t allocations;
} bench_counts;

/* Starts coil-echo-server with the backend, workers and ring mode of @options, and @more arguments, NULL-ended. */
int bench_server_start(const bench_options *options, char *const *more, bench_server *server);

/* Asks it to end in order, and waits. Raises if it fails. */
int bench_server_stop(bench_server *server);

int bench_server_count(bench_server *server, bench_counts *counts);

/* Runs a program of this directory, and waits for its end; @arguments as for exec. */
int bench_run_program(char *const *arguments);

#endif
