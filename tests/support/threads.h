/*
 * threads.h - how many threads the process has
 *
 * Who has joined a thread may find it in /proc for a moment longer. Such a one is on its way out, and is not counted.
 */
#ifndef COIL_TEST_THREADS_H
#define COIL_TEST_THREADS_H

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coil_test.h"

/* What proc(5) says of a thread after its name, "S 1 2 ..."; false: it has gone, or is about to. */
static inline bool thread_lives(long id, char *stat, size_t size)
{
    enum { PF_EXITING = 4 };
    char path[64];
    unsigned flags = 0;
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", id);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(stat, 1, size - 1, f) : 0;
    if (f)
        fclose(f);
    stat[n] = '\0';
    const char *after = strrchr(stat, ')'); /* of the name, which may have any character in it */
    if (!after)
        return false;
    memmove(stat, after + 2, strlen(after + 2) + 1);
    ck_assert_int_eq(sscanf(stat, "%*c %*d %*d %*d %*d %*d %u", &flags), 1);
    return !(flags & PF_EXITING);
}

static COIL_TEST_UNUSED size_t live_threads(void)
{
    char stat[1024];
    size_t n = 0;
    DIR *dir = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        long id = strtol(e->d_name, NULL, 10);
        n += id > 0 && thread_lives(id, stat, sizeof stat);
    }
    closedir(dir);
    return n;
}

static inline void *end_at_once(void *arg)
{
    return arg;
}

/* A sanitizer begins a thread of its own with the first one. */
static COIL_TEST_UNUSED void begin_threads(void)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, end_at_once, NULL), 0);
    pthread_join(thread, NULL);
}

#endif
