/*
 * refuse.c - runs a program to which the kernel refuses io_uring
 *
 * refuse ERROR PROGRAM ARGUMENT... becomes PROGRAM under a filter that makes io_uring_setup(2) fail with ERROR, one of
 * EPERM, ENOSYS, EINVAL, ENOMEM. Ends with 77 where the kernel has no filters.
 */
#include <stdio.h>
#include <unistd.h>

#include "seccomp.h"

enum { SKIPPED = 77, BROKEN = 126 };

static int number_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"EPERM", EPERM}, {"ENOSYS", ENOSYS}, {"EINVAL", EINVAL}, {"ENOMEM", ENOMEM}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (!strcmp(errors[i].name, name))
            return errors[i].number;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int error = argc > 2 ? number_of(argv[1]) : 0;
    if (error == 0) {
        fprintf(stderr, "usage: %s EPERM|ENOSYS|EINVAL|ENOMEM PROGRAM ARGUMENT...\n", argv[0]);
        return BROKEN;
    }
    if (forbid(SYS_io_uring_setup, error) < 0) {
        perror("skipped, no seccomp filters here");
        return SKIPPED;
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return BROKEN;
}
