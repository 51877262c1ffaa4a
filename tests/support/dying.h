/*
 * dying.h - what is to end its process does so in a child, whose standard error is read
 */
#ifndef COIL_TEST_DYING_H
#define COIL_TEST_DYING_H

#include "coil_test.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char said[4096]; /* by the child, on standard error */

/* Runs @fn in a child; its wait status. */
static int status_of(void fn(void))
{
    int fds[2], status = 0;
    size_t length = 0;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        fn();
        _exit(0);
    }
    close(fds[1]);
    for (ssize_t n; length + 1 < sizeof said && (n = read(fds[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)n;
    said[length] = '\0';
    close(fds[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

#endif
