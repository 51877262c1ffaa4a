/*
 * raw_epoll.c - the program raw-epoll-echo: the physical limit for W9 on epoll, with nothing of coil's
 *
 * One recv and one send a message, into and out of one buffer for all connections. Only what the peer does not take at
 * once is copied, to memory of the connection's own, which then waits for writability instead of readability.
 * Threads, listeners and arguments are limit.c's; a worker has an epoll instance of its own.
 *
 * I1 rests[fd].data is NULL unless the connection waits for writability; a descriptor belongs to one worker
 */
#define _GNU_SOURCE /* accept4 */
#include "limit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define BUFFER_BYTES 65536
#define DESCRIPTORS_MAX 65536

static struct rest {
    char *data; /* I1; owned */
    size_t at, size;
} rests[DESCRIPTORS_MAX];

static void watch(int epoll, int fd, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        close(fd);
}

static void accept_one(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    limit_no_delay(fd);
    if (fd < DESCRIPTORS_MAX)
        watch(epoll, fd, EPOLL_CTL_ADD, EPOLLIN);
    else
        close(fd);
}

static void end(int fd)
{
    free(rests[fd].data);
    rests[fd].data = NULL;
    close(fd);
}

/* What @fd takes at once; -1: the connection is gone, and closed. */
static ssize_t send_some(int fd, const char *data, size_t n)
{
    ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
    if (sent >= 0 || errno == EAGAIN)
        return sent > 0 ? sent : 0;
    end(fd);
    return -1;
}

static void keep_rest(int epoll, int fd, const char *data, size_t n)
{
    char *copy = malloc(n);
    if (!copy) {
        end(fd);
        return;
    }
    memcpy(copy, data, n);
    rests[fd] = (struct rest){.data = copy, .size = n};
    watch(epoll, fd, EPOLL_CTL_MOD, EPOLLOUT);
}

static void send_rest(int epoll, int fd)
{
    struct rest *rest = &rests[fd];
    ssize_t sent = send_some(fd, rest->data + rest->at, rest->size - rest->at);
    if (sent < 0)
        return;
    rest->at += (size_t)sent;
    if (rest->at < rest->size)
        return;
    free(rest->data);
    rest->data = NULL;
    watch(epoll, fd, EPOLL_CTL_MOD, EPOLLIN);
}

static void echo(int epoll, int fd, char *buffer)
{
    ssize_t n = recv(fd, buffer, BUFFER_BYTES, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            end(fd);
        return;
    }
    ssize_t sent = send_some(fd, buffer, (size_t)n);
    if (sent >= 0 && sent < n)
        keep_rest(epoll, fd, buffer + sent, (size_t)(n - sent));
}

static void handle(int epoll, int listener, int fd, char *buffer)
{
    if (fd == listener)
        accept_one(epoll, listener);
    else if (rests[fd].data)
        send_rest(epoll, fd);
    else
        echo(epoll, fd, buffer);
}

static void serve(int listener)
{
    char buffer[BUFFER_BYTES];
    struct epoll_event events[EVENTS_MAX];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) {
        limit_complain("epoll_create1", errno);
        return;
    }
    watch(epoll, listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++)
            handle(epoll, listener, events[i].data.fd, buffer);
    }
}

int main(int argc, char **argv)
{
    return limit_main(argc, argv, "raw-epoll", serve);
}
