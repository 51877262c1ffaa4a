/* pipes.h - the two ends of a pipe; who includes it has defined _GNU_SOURCE, for pipe2() */
#ifndef COIL_TEST_PIPES_H
#define COIL_TEST_PIPES_H

#include <fcntl.h>
#include <unistd.h>

#include "coil_test.h"

typedef struct ends {
    int in, out;
} ends;

static ends open_pipe(void)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    return (ends){fds[0], fds[1]};
}

#endif
