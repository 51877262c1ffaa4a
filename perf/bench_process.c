/*
 * bench_process.c - starts, asks and ends other programs of coil-bench's directory: see bench_process.h
 *
 * A server's standard output is a pipe to here: its first line is its port, each further one answers SIGUSR1.
 */
#define _GNU_SOURCE /* pipe2 */
#include "bench_process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define ARGUMENTS_MAX 24

/* @out: its standard output, or -1: ours. Its pid, or a negative code. */
static int start(char *const *arguments, int out)
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

int bench_run_program(char *const *arguments)
{
    int pid = start(arguments, -1);
    return pid < 0 ? pid : wait_for(pid, arguments[0]);
}

/* --- the server ---------------------------------------------------------------------------------------------- */

/* @arguments has room; @count is where numbers are put, 16 bytes. */
static void choose_arguments(const bench_options *options, char *const *more, char **arguments, char *count)
{
    size_t n = 0;
    arguments[n++] = "coil-echo-server";
    if (options->workers > 0) {
        snprintf(count, 16, "%u", options->workers);
        arguments[n++] = "--workers";
        arguments[n++] = count;
    }
    if (options->loop.backend != COIL_BACKEND_AUTO) {
        arguments[n++] = "--backend";
        arguments[n++] = options->loop.backend == COIL_BACKEND_URING ? "uring" : "epoll";
    }
    if (options->ring_mode != COIL_RING_DEFAULT) {
        arguments[n++] = "--ring";
        arguments[n++] = options->ring_mode == COIL_RING_DEFER ? "defer" : "shared";
    }
    while (*more && n + 1 < ARGUMENTS_MAX)
        arguments[n++] = *more++;
    arguments[n] = NULL;
}

static int read_port(bench_server *server)
{
    char line[LINE_MAX];
    bool told = fgets(line, sizeof line, server->output) &&
                sscanf(line, "listening on 127.0.0.1:%u", &server->port) == 1;
    return told ? 0 : coil_raise(COIL_EUSER(0), "the server did not tell its port");
}

int bench_server_start(const bench_options *options, char *const *more, bench_server *server)
{
    char *arguments[ARGUMENTS_MAX], count[16];
    int ends[2];
    choose_arguments(options, more, arguments, count);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return coil_raise(-errno, NULL);
    int pid = start(arguments, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return pid;
    }
    *server = (bench_server){.pid = pid, .output = fdopen(ends[0], "r")};
    if (!server->output)
        close(ends[0]);
    int rc = server->output ? read_port(server) : coil_raise(-ENOMEM, NULL);
    if (rc < 0)
        (void)bench_server_stop(server);
    return rc;
}

int bench_server_stop(bench_server *server)
{
    kill(server->pid, SIGTERM);
    int rc = wait_for(server->pid, "coil-echo-server");
    if (server->output)
        fclose(server->output);
    return rc;
}

int bench_server_count(bench_server *server, bench_counts *counts)
{
    kill(server->pid, SIGUSR1);
    char line[LINE_MAX];
    bool told = fgets(line, sizeof line, server->output) &&
                sscanf(line, "counts iterations=%" SCNu64 " waits=%" SCNu64 " tasks=%" SCNu64 " allocations=%" SCNd64,
                       &counts->iterations, &counts->waits, &counts->tasks, &counts->allocations) == 4;
    return told ? 0 : coil_raise(COIL_EUSER(0), "the server did not tell its counts");
}
