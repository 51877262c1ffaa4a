/*
 * limit.c - arguments, listeners and threads of the servers in this directory: see limit.h
 *
 * limit_main() runs on the main thread, and makes all listeners before any worker starts: a connection that is made
 * when the port has been announced is divided among all of them.
 * Source: socket(7), SO_REUSEPORT.
 */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "limit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define WORKERS_MAX 64

typedef struct limit_worker {
    limit_serve *serve;
    int listener;
} limit_worker;

void limit_complain(const char *what, int code)
{
    fprintf(stderr, "%s: %s\n", what, strerror(code));
}

void limit_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* *port: 0 for a free one, which it becomes. The listener, or -1. */
static int listen_on(uint16_t *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&address, length) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return -1;
    *port = ntohs(address.sin_port);
    return fd;
}

static void *run_worker(void *arg)
{
    const limit_worker *worker = arg;
    worker->serve(worker->listener);
    exit(1); /* it serves for ever, or something is wrong that it has told */
}

/* Does not return if all is well. */
static int run_workers(const char *name, limit_serve *serve, unsigned count)
{
    static limit_worker workers[WORKERS_MAX];
    uint16_t port = 0;
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (limit_worker){.serve = serve, .listener = listen_on(&port)};
        if (workers[i].listener < 0) {
            limit_complain("cannot listen", errno);
            return 1;
        }
    }
    printf("listening on 127.0.0.1:%u backend=%s\n", (unsigned)port, name);
    fflush(stdout);
    for (unsigned i = 1; i < count; i++) {
        pthread_t thread;
        int code = pthread_create(&thread, NULL, run_worker, &workers[i]);
        if (code != 0) {
            limit_complain("cannot start a thread", code);
            return 1;
        }
    }
    run_worker(&workers[0]);
    return 1;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage(FILE *out, const char *name)
{
    fprintf(out, "usage: %s-echo [--workers N] (a free port on 127.0.0.1, which it prints)\n", name);
    return out == stdout ? 0 : 2;
}

int limit_main(int argc, char **argv, const char *name, limit_serve *serve)
{
    unsigned long workers = 1;
    char *end = NULL;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, name);
    if (argc == 3 && strcmp(argv[1], "--workers") == 0)
        workers = strtoul(argv[2], &end, 10);
    else if (argc != 1)
        return usage(stderr, name);
    if (workers == 0 || workers > WORKERS_MAX || (end && *end != '\0'))
        return usage(stderr, name);
    raise_descriptor_limit();
    return run_workers(name, serve, (unsigned)workers);
}
