/*
 * backend.c - chooses between io_uring and epoll, and says which and why
 *
 * Called by the loop when it first runs. io_uring is taken where its set-up works. AUTO falls back to epoll
 * only on the errors that say "not here" (ENOSYS, EPERM, EINVAL); others, such as EMFILE or ENOMEM, are the
 * caller's to know. With COIL_LOG set in the environment the choice is one line on stderr.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coil/error.h>

#include "epoll.h"
#include "uring.h"

#include "../src/base/stack.h"

struct choice {
    enum coil_backend_kind kind;
    int ring_mode;
    const char *reason;
};

/* What $COIL_BACKEND asks for. 0, or -EINVAL for an unknown word. */
static int choice_of_environment(struct choice *c)
{
    const char *word = getenv("COIL_BACKEND");
    if (!word || !*word || !strcmp(word, "auto"))
        return 0;
    if (!strcmp(word, "uring") || !strcmp(word, "io_uring"))
        c->kind = COIL_BACKEND_URING;
    else if (!strcmp(word, "epoll"))
        c->kind = COIL_BACKEND_EPOLL;
    else
        return coil_raise(-EINVAL, "unknown COIL_BACKEND '%s' (uring, epoll, auto)", word);
    c->reason = "asked for by COIL_BACKEND";
    return 0;
}

/* Why io_uring is not to be had; NULL if @rc is an error of another sort. */
static const char *why_refused(int rc)
{
    switch (rc) {
    case -ENOSYS:
        return "io_uring refused: ENOSYS, not in this kernel (or emulator, or seccomp profile)";
    case -EPERM:
        return "io_uring refused: EPERM, forbidden by a seccomp profile or kernel.io_uring_disabled";
    case -EINVAL:
        return "io_uring refused: EINVAL, the kernel is older than 6.1";
    default:
        return NULL;
    }
}

static int open_auto(struct choice *c, int wake_fd, coil__backend **b)
{
    if (coil__under_valgrind()) { /* which loses wake-ups of threads that sleep in io_uring_enter */
        c->reason = "running under valgrind";
        return coil__epoll_open(c->ring_mode, wake_fd, b);
    }
    c->reason = "io_uring works here";
    int rc = coil__uring_open(c->ring_mode, wake_fd, b);
    const char *refused = rc < 0 ? why_refused(rc) : NULL;
    if (!refused)
        return rc;
    c->reason = refused;
    return coil__epoll_open(c->ring_mode, wake_fd, b);
}

static int open_choice(struct choice *c, int wake_fd, coil__backend **b)
{
    if (c->kind == COIL_BACKEND_AUTO)
        return open_auto(c, wake_fd, b);
    if (c->kind == COIL_BACKEND_EPOLL)
        return coil__epoll_open(c->ring_mode, wake_fd, b);
    int rc = coil__uring_open(c->ring_mode, wake_fd, b);
    const char *refused = rc < 0 ? why_refused(rc) : NULL;
    return refused ? coil_raise(rc, "%s", refused) : rc;
}

int coil__backend_open(enum coil_backend_kind kind, int ring_mode, int wake_fd, coil__backend **b)
{
    struct choice c = {.kind = kind, .ring_mode = ring_mode, .reason = "asked for by coil_loop_options"};
    if (kind == COIL_BACKEND_AUTO)
        COIL_TRY(choice_of_environment(&c));
    COIL_TRY(open_choice(&c, wake_fd, b));
    (*b)->reason = c.reason;
    if (getenv("COIL_LOG"))
        fprintf(stderr, "coil: backend %s: %s\n", (*b)->ops->name, c.reason);
    return 0;
}
