/*
 * descriptors.h - how many descriptors the process has open, and which
 */
#ifndef COIL_TEST_DESCRIPTORS_H
#define COIL_TEST_DESCRIPTORS_H

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

/* With the one that counting takes: to be compared with another count only. */
static inline int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline void print_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));) {
        char link[256];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof link);
        if (n > 0)
            fprintf(stderr, "descriptor %s: %.*s\n", entry->d_name, (int)n, link);
    }
    closedir(dir);
}

#endif
