/*
 * bench_stall.c - W11: how long do other connections wait while some of them compute?
 *
 * Runs coil-echo-server --stall and, against it, coil-loadgen's open loop, both as processes of their own from this
 * program's directory: 256 connections, W11_RATE messages a second (40,000), of which 320 a second and worker ask for a
 * millisecond. The generator prints the results, once for each repetition; medians are perf/run.sh's business.
 * The server gets two workers unless --workers says otherwise.
 */
#include "bench_process.h"

#include <stdlib.h>

#define STALLS_PER_WORKER 320

static int generate(unsigned port, unsigned workers, uint64_t divide)
{
    char port_text[16], stalls[16], seconds[32];
    const char *rate = getenv("W11_RATE");
    snprintf(port_text, sizeof port_text, "%u", port);
    snprintf(stalls, sizeof stalls, "%u", workers * STALLS_PER_WORKER);
    snprintf(seconds, sizeof seconds, "%.3f", 5.0 / (double)divide);
    char *arguments[] = {
        "coil-loadgen", "--port", port_text, "--connections", "256", "--rate", rate ? (char *)rate : "40000",
        "--stalls", stalls, "--seconds", seconds, "--format", "lines", NULL};
    return bench_run_program(arguments);
}

static int run(const bench_options *options)
{
    bench_options o = *options;
    bench_server server;
    if (o.workers == 0)
        o.workers = 2;
    COIL_TRY(bench_server_start(&o, (char *const[]){"--stall", NULL}, &server));
    int rc = 0;
    for (unsigned i = 0; i < o.repetitions && rc == 0; i++)
        rc = generate(server.port, o.workers, o.divide);
    int ended = bench_server_stop(&server);
    return rc < 0 ? rc : ended;
}

const bench_workload bench_stall = {"stall", "W11: echo while some messages compute, by processes of their own", run};
