/*
 * bench_stall.c - W11: how long do other connections wait while some of them compute?
 *
 * Runs coil-echo-server --stall and, against it, coil-loadgen's open loop, both as processes of their own from this
 * program's directory: 256 connections, W11_RATE messages a second (40,000), of which 320 a second and worker ask for a
 * millisecond. The generator prints the results, once for each repetition; medians are perf/run.sh's business.
 * The server gets two workers unless --workers says otherwise.
 */
#define _GNU_SOURCE /* pipe2 */
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define STALLS_PER_WORKER 320
#define ARGUMENTS_MAX 24

/* --- processes ----------------------------------------------------------------------------------------------- */

/* Starts a program from this one's directory; @out: its standard output, or -1: ours. Its pid, or a negative code. */
static int start(char **arguments, int out)
{
    char path[PATH_MAX + NAME_MAX];
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return coil_raise(-errno, NULL);
    self[n] = '\0';
    snprintf(path, sizeof path, "%s/%s", dirname(self), arguments[0]);
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    int rc = posix_spawn(&pid, path, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc == 0 ? pid : coil_raise(-rc, "cannot start %s", path);
}

static int wait_for(pid_t pid, const char *what)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return coil_raise(-errno, NULL);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return coil_raise(COIL_EUSER(0), "%s failed", what);
    return 0;
}

/* --- the server ---------------------------------------------------------------------------------------------- */

static int read_port(int from, unsigned *port)
{
    FILE *f = fdopen(from, "r");
    if (!f)
        return coil_raise(-errno, NULL);
    bool told = fscanf(f, "listening on 127.0.0.1:%u", port) == 1;
    fclose(f);
    return told ? 0 : coil_raise(COIL_EUSER(0), "the server did not tell its port");
}

static int start_server(const bench_options *options, unsigned workers, unsigned *port)
{
    char count[16];
    char *arguments[ARGUMENTS_MAX] = {"coil-echo-server", "--stall", "--workers", count};
    int ends[2], n = 4;
    snprintf(count, sizeof count, "%u", workers);
    if (options->loop.backend != COIL_BACKEND_AUTO) {
        arguments[n++] = "--backend";
        arguments[n++] = options->loop.backend == COIL_BACKEND_URING ? "uring" : "epoll";
    }
    if (options->ring_mode != COIL_RING_DEFAULT) {
        arguments[n++] = "--ring";
        arguments[n++] = options->ring_mode == COIL_RING_DEFER ? "defer" : "shared";
    }
    if (pipe2(ends, O_CLOEXEC) < 0)
        return coil_raise(-errno, NULL);
    int pid = start(arguments, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return pid;
    }
    int rc = read_port(ends[0], port);
    if (rc == 0)
        return pid;
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return rc;
}

/* --- the generator ------------------------------------------------------------------------------------------- */

static int generate(unsigned port, unsigned workers, uint64_t divide)
{
    char port_text[16], stalls[16], seconds[32];
    const char *rate = getenv("W11_RATE");
    snprintf(port_text, sizeof port_text, "%u", port);
    snprintf(stalls, sizeof stalls, "%u", workers * STALLS_PER_WORKER);
    snprintf(seconds, sizeof seconds, "%.3f", 5.0 / (double)divide);
    char *arguments[ARGUMENTS_MAX] = {
        "coil-loadgen", "--port", port_text, "--connections", "256", "--rate", rate ? (char *)rate : "40000",
        "--stalls", stalls, "--seconds", seconds, "--format", "lines"};
    int pid = start(arguments, -1);
    return pid < 0 ? pid : wait_for(pid, "coil-loadgen");
}

static int run(const bench_options *options)
{
    unsigned workers = options->workers > 0 ? options->workers : 2, port;
    int server = start_server(options, workers, &port);
    if (server < 0)
        return server;
    int rc = 0;
    for (unsigned i = 0; i < options->repetitions && rc == 0; i++)
        rc = generate(port, workers, options->divide);
    kill(server, SIGTERM);
    int ended = wait_for(server, "coil-echo-server");
    return rc < 0 ? rc : ended;
}

const bench_workload bench_stall = {"stall", "W11: echo while some messages compute, by processes of their own", run};
