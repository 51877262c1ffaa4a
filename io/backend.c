/*
 * backend.c - chooses between io_uring and epoll, and says which and why
 *
 * Called by the loop when it first runs, on its thread. io_uring is taken where its set-up works. AUTO falls
 * back to epoll only on the errors that say "not here" (ENOSYS, EPERM, EINVAL); others, such as EMFILE or
 * ENOMEM, are the caller's to know, and get a message that says what can be done. With COIL_LOG=1 in the
 * environment the choice is one line on stderr.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <coil/error.h>

#include "epoll.h"
#include "features.h"
#include "kernels.h"
#include "uring.h"

#include "../src/base/stack.h"

struct choice {
    enum coil_backend_kind kind; /* in the end not AUTO */
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

/* --- io_uring refused --------------------------------------------------------------------------------------------- */

/* kernel.io_uring_disabled: '0', '1', '2'; '0' also where the kernel is too old to have it (6.6). */
static char disabled_by_sysctl(void)
{
    char value = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return value;
    if (read(fd, &value, 1) != 1)
        value = '0';
    close(fd);
    return value;
}

static const char *why_forbidden(void)
{
    switch (disabled_by_sysctl()) {
    case '1':
        return "io_uring refused: EPERM, kernel.io_uring_disabled is 1, "
               "and this process is not in kernel.io_uring_group";
    case '2':
        return "io_uring refused: EPERM, kernel.io_uring_disabled is 2";
    default:
        break;
    }
    if (prctl(PR_GET_SECCOMP) != 0) /* an error: the filter forbids that too */
        return "io_uring refused: EPERM, forbidden by a seccomp profile, as of a container";
    return "io_uring refused: EPERM, forbidden by a security module";
}

/* Why io_uring is not to be had; NULL if @rc is an error of another sort. */
static const char *why_refused(int rc)
{
    const char *flaw;
    switch (rc) {
    case -ENOSYS:
#ifndef COIL_URING
        return "coil was built without io_uring (COIL_URING=OFF)";
#endif
        return "io_uring refused: ENOSYS, not in this kernel (or emulator, or seccomp profile)";
    case -EPERM:
        return why_forbidden();
    case -EINVAL:
        flaw = coil__kernel_flaw_of(COIL__FEATURE(defer_taskrun), NULL);
        return flaw ? flaw : "io_uring refused: EINVAL, no DEFER_TASKRUN: the kernel is older than 6.1";
    default:
        return NULL;
    }
}

/* --- io_uring not refused, but failing ---------------------------------------------------------------------------- */

/* The soft limit, for people. */
static const char *limit_format(int resource, unsigned long unit, const char *name, char text[32])
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        snprintf(text, 32, "unlimited");
    else
        snprintf(text, 32, "%lu%s", (unsigned long)limit.rlim_cur / unit, name);
    return text;
}

static int raise_failure(int rc)
{
    char limit[32];
    switch (rc) {
    case -ENOMEM:
        return coil_raise(rc,
                          "no memory for an io_uring: a ring takes 140 KiB, which from Linux 6.14 on count as locked "
                          "memory; the limit for all of a user's processes is %s (ulimit -l): raise it, or set "
                          "COIL_BACKEND=epoll",
                          limit_format(RLIMIT_MEMLOCK, 1024, " KiB", limit));
    case -EMFILE:
        return coil_raise(rc, "no descriptor for an io_uring: the limit is %s (ulimit -n): raise it",
                          limit_format(RLIMIT_NOFILE, 1, "", limit));
    default:
        return coil_raise(rc, "io_uring cannot be set up: %s; COIL_BACKEND=epoll does without", coil_strerror(rc));
    }
}

/* --- choosing ----------------------------------------------------------------------------------------------------- */

/* Opens a ring. @refused: why it is not to be had, NULL if that is not so. */
static int open_uring(const struct choice *c, int wake_fd, coil__backend **b, const char **refused)
{
    int rc = coil__uring_open(c->ring_mode, wake_fd, b);
    *refused = rc < 0 ? why_refused(rc) : NULL;
    return rc < 0 && !*refused ? raise_failure(rc) : rc;
}

static int open_auto(struct choice *c, int wake_fd, coil__backend **b)
{
    const char *refused;
    if (coil__under_valgrind()) { /* which loses wake-ups of threads that sleep in io_uring_enter */
        c->kind = COIL_BACKEND_EPOLL;
        c->reason = "running under valgrind";
        return coil__epoll_open(c->ring_mode, wake_fd, b);
    }
    c->kind = COIL_BACKEND_URING;
    c->reason = "io_uring works here";
    int rc = open_uring(c, wake_fd, b, &refused);
    if (!refused)
        return rc;
    c->kind = COIL_BACKEND_EPOLL;
    c->reason = refused;
    return coil__epoll_open(c->ring_mode, wake_fd, b);
}

static int open_choice(struct choice *c, int wake_fd, coil__backend **b)
{
    const char *refused;
    if (c->kind == COIL_BACKEND_AUTO)
        return open_auto(c, wake_fd, b);
    if (c->kind == COIL_BACKEND_EPOLL)
        return coil__epoll_open(c->ring_mode, wake_fd, b);
    int rc = open_uring(c, wake_fd, b, &refused);
    return refused ? coil_raise(rc, "%s", refused) : rc;
}

/* --- saying so ---------------------------------------------------------------------------------------------------- */

static void append_features(char *line, size_t size, const coil__backend *b, bool used)
{
    const char *comma = used ? "; with " : "; without ";
    for (size_t i = 0; i < COIL__BACKEND_FEATURES; i++) {
        size_t length = strlen(line);
        if (b->features[i].used != used)
            continue;
        snprintf(line + length, size - length, "%s%s", comma, b->features[i].name);
        comma = ", ";
    }
}

/* One line, written at once: several workers may have something to say. */
static void log_choice(const coil__backend *b, bool on_ring)
{
    char line[512];
    struct utsname kernel;
    const char *word = getenv("COIL_LOG");
    if (!word || !*word || !strcmp(word, "0"))
        return;
    const char *release = uname(&kernel) == 0 ? kernel.release : "of unknown release";
    snprintf(line, sizeof line, "coil: backend %s: %s; kernel %s", b->ops->name, b->reason, release);
    if (on_ring) {
        append_features(line, sizeof line, b, true);
        append_features(line, sizeof line, b, false);
    }
    fprintf(stderr, "%s\n", line);
}

int coil__backend_open(enum coil_backend_kind kind, int ring_mode, int wake_fd, coil__backend **b)
{
    struct choice c = {.kind = kind, .ring_mode = ring_mode, .reason = "asked for by coil_loop_options"};
    if (kind == COIL_BACKEND_AUTO)
        COIL_TRY(choice_of_environment(&c));
    COIL_TRY(open_choice(&c, wake_fd, b));
    const coil__features *can = NULL; /* stays so without a ring */
    if (c.kind == COIL_BACKEND_URING)
        (void)coil__features_probe(&can); /* cannot fail: the ring was set up with what it found */
    (*b)->reason = c.reason;
    coil__features_report(*b, can);
    log_choice(*b, can != NULL);
    return 0;
}
