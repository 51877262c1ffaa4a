/*
 * asleep.h - waiting until another process, or a thread, sleeps in the kernel
 *
 * Who sends a signal to a loop's process waits for that first: ThreadSanitizer keeps a signal that comes while a task runs
 * until that very task goes on, which may be never.
 */
#ifndef COIL_TEST_ASLEEP_H
#define COIL_TEST_ASLEEP_H

#include "coil_test.h"

#include <fcntl.h>
#include <unistd.h>

/* What proc(5) says of a process's first thread, or of any thread: R, S, ... */
static inline char state_of(pid_t id)
{
    char path[64], stat[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_gt(read(fd, stat, sizeof stat - 1), 0);
    close(fd);
    return strrchr(stat, ')')[2];
}

/* It may have slept for a moment on its way: so it is looked at again. What has ended does not wake up, either. */
static COIL_TEST_UNUSED void wait_until_asleep(pid_t id)
{
    for (int seen = 0; seen < 3; seen = strchr("SZ", state_of(id)) ? seen + 1 : 0)
        usleep(1000);
}

#endif
