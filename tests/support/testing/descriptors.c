/*
 * descriptors.c - which descriptors are open, and what they are
 *
 * Source: proc(5), /proc/self/fd.
 */
#include "testing.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void read_link(coil__descriptor *d)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", d->fd);
    ssize_t n = readlink(path, d->link, sizeof d->link - 1);
    d->link[n > 0 ? n : 0] = '\0';
}

static int by_number(const void *a, const void *b)
{
    return ((const coil__descriptor *)a)->fd - ((const coil__descriptor *)b)->fd;
}

size_t coil__descriptors_list(coil__descriptor *list, size_t max)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && n < max;) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        list[n].fd = fd;
        read_link(&list[n++]);
    }
    closedir(dir);
    qsort(list, n, sizeof *list, by_number);
    return n;
}

static bool contains(const coil__descriptor *list, size_t n, const coil__descriptor *d)
{
    const coil__descriptor *found = n > 0 ? bsearch(d, list, n, sizeof *list, by_number) : NULL;
    return found && strcmp(found->link, d->link) == 0;
}

/* The address of an internet socket is of more use than the number of its inode. */
static void add_address(coil__text *text, const coil__descriptor *d)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } a = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof a;
    char host[INET6_ADDRSTRLEN] = "";
    if (strncmp(d->link, "socket:", 7) != 0 || getsockname(d->fd, &a.any, &size) < 0)
        return;
    if (a.any.sa_family == AF_INET)
        coil__text_add(text, " at %s:%d", inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host), ntohs(a.in.sin_port));
    else if (a.any.sa_family == AF_INET6)
        coil__text_add(text, " at [%s]:%d", inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host),
                       ntohs(a.in6.sin6_port));
}

void coil__descriptors_describe_new(coil__text *text, const coil__descriptor *before, size_t n, int wake_fd)
{
    static coil__descriptor now[COIL__DESCRIPTORS_MAX];
    size_t open = coil__descriptors_list(now, COIL__DESCRIPTORS_MAX);
    for (size_t i = 0; i < open; i++) {
        if (contains(before, n, &now[i]))
            continue;
        if (now[i].fd == wake_fd) {
            coil__text_add(text, "\n  the loop itself: a task, future or handle of it was not released");
            continue;
        }
        coil__text_add(text, "\n  descriptor %d: %s", now[i].fd, now[i].link);
        add_address(text, &now[i]);
    }
}
