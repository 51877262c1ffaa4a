/*
 * on_uring.c - runs a program on the io_uring backend, or skips it
 *
 * on_uring PROGRAM ARGUMENT... opens a loop on io_uring; where the kernel refuses, it says why and ends with 77, which
 * ctest takes for "skipped". Else it becomes PROGRAM, with COIL_BACKEND=uring.
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SKIPPED = 77, BROKEN = 126 };

static int open_uring(void)
{
    coil_loop_options options = {.size = sizeof options, .backend = COIL_BACKEND_URING};
    coil_backend_info info = {.size = sizeof info};
    coil_loop *loop;

    int rc = coil_new_event_loop(&options, &loop);
    if (rc < 0)
        return rc;
    rc = coil_loop_backend_info(loop, &info);
    coil_loop_free(loop);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s PROGRAM ARGUMENT...\n", argv[0]);
        return BROKEN;
    }
    int rc = open_uring();
    if (rc < 0) {
        printf("skipped, no io_uring here: %s\n", coil_strerror(rc));
        return SKIPPED;
    }
    if (setenv("COIL_BACKEND", "uring", 1) != 0)
        return BROKEN;
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return BROKEN;
}
