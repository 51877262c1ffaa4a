/*
 * process_child.c - a new process, until it executes its program
 *
 * It runs on a stack of its own in its parent's memory, as after vfork(): the thread that has made it stands still
 * meanwhile, all others go on. (Where the parent's memory is only copied, the same code does.)
 *
 * I1 nothing but system calls, by syscall() alone, and writes to its coil__child: no locks, no errno of
 *    others
 * I2 all signals are blocked until none of the parent's handlers is left
 *
 * Source: _posixsubprocess.c of CPython 3.11; vfork(2), clone(2), close_range(2).
 */
#define _GNU_SOURCE
#include "process_child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* Sanitizers' own state is the parent's: they must not see what happens here. */
#if defined(__has_attribute) && __has_attribute(disable_sanitizer_instrumentation)
#define IN_CHILD __attribute__((disable_sanitizer_instrumentation, noinline))
#else
#define IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined"), noinline))
#endif

enum { SIGNALS = 64, SIGNAL_SET_BYTES = 8 }; /* of the kernel */

/* As the system call: -1 and errno. errno is the parent thread's, which does not look at it (I1). */
#define call(...) syscall(__VA_ARGS__)

/* --- standard descriptors --------------------------------------------------------------------------------------- */

/* Out of the way of 0, 1, 2, to which others are about to be moved. */
IN_CHILD static int lift(int *fd, int place)
{
    if (*fd < 0 || *fd > 2 || *fd == place)
        return 0;
    *fd = (int)call(SYS_fcntl, *fd, F_DUPFD_CLOEXEC, 3);
    return *fd < 0 ? -1 : 0;
}

IN_CHILD static long move(int fd, int place)
{
    return fd == place ? call(SYS_fcntl, fd, F_SETFD, 0) : call(SYS_dup3, fd, place, 0);
}

IN_CHILD static long set_stdio(coil__child *c)
{
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = c->stdio[i];
        if (lift(&fds[i], i) < 0)
            return -1;
    }
    if (lift(&c->report_fd, -1) < 0)
        return -1;
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0 && move(fds[i], i) < 0)
            return -1;
    return fds[2] == COIL_SUBPROCESS_STDOUT ? call(SYS_dup3, 1, 2, 0) : 0;
}

/* --- signals ---------------------------------------------------------------------------------------------------- */

/* The kernel's struct begins with the handler; all zeros is SIG_DFL. */
IN_CHILD static long set_default(int number, bool always)
{
    unsigned long action[16] = {0}, none[16] = {0};
    if (call(SYS_rt_sigaction, number, NULL, action, SIGNAL_SET_BYTES) < 0)
        return 0; /* there is no such signal */
    bool handled = action[0] != (unsigned long)SIG_DFL && action[0] != (unsigned long)SIG_IGN;
    return handled || always ? call(SYS_rt_sigaction, number, none, NULL, SIGNAL_SET_BYTES) : 0;
}

IN_CHILD static long set_signals(coil__child *c)
{
    bool keep = c->options->keep_signals;
    unsigned long none[2] = {0};
    for (int number = 1; number <= SIGNALS; number++)
        if (set_default(number, !keep && (number == SIGPIPE || number == SIGXFSZ)) < 0)
            return -1;
    return call(SYS_rt_sigprocmask, SIG_SETMASK, keep ? c->mask : none, NULL, SIGNAL_SET_BYTES); /* I2 */
}

/* --- who it is -------------------------------------------------------------------------------------------------- */

IN_CHILD static long set_cwd(coil__child *c)
{
    if (c->options->umask)
        call(SYS_umask, *c->options->umask);
    return c->options->cwd ? call(SYS_chdir, c->options->cwd) : 0;
}

IN_CHILD static long set_session(coil__child *c)
{
    return c->options->start_new_session ? call(SYS_setsid) : 0;
}

IN_CHILD static long set_group(coil__child *c)
{
    pid_t group = c->options->process_group;
    return group ? call(SYS_setpgid, 0, group < 0 ? 0 : group) : 0;
}

IN_CHILD static long set_user(coil__child *c)
{
    const coil_process_options *o = c->options;
    if (o->extra_groups && call(SYS_setgroups, o->extra_group_count, o->extra_groups) < 0)
        return -1;
    if (o->group && call(SYS_setresgid, *o->group, *o->group, *o->group) < 0)
        return -1;
    return o->user ? call(SYS_setresuid, *o->user, *o->user, *o->user) : 0;
}

/* --- other descriptors ------------------------------------------------------------------------------------------ */

struct entry { /* linux_dirent64 */
    uint64_t inode;
    int64_t next;
    unsigned short bytes;
    unsigned char type;
    char name[];
};

IN_CHILD static void mark_entry(const struct entry *e)
{
    int fd = 0;
    for (const char *digit = e->name; *digit; digit++) {
        if (*digit < '0' || *digit > '9')
            return;
        fd = fd * 10 + (*digit - '0');
    }
    if (fd > 2)
        call(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/* For kernels before 5.11. */
IN_CHILD static long mark_each(void)
{
    _Alignas(struct entry) char list[1024];
    long directory = call(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;
    if (directory < 0)
        return -1;
    while ((n = call(SYS_getdents64, directory, list, sizeof list)) > 0)
        for (long at = 0; at < n; at += ((const struct entry *)(list + at))->bytes)
            mark_entry((const struct entry *)(list + at));
    return n;
}

/* They go with exec, so that the report still finds its way until then. */
IN_CHILD static long set_fds(coil__child *c)
{
    const coil_process_options *o = c->options;
    if (!o->keep_fds && call(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0 && mark_each() < 0)
        return -1;
    for (size_t i = 0; i < o->pass_fd_count; i++)
        if (call(SYS_fcntl, o->pass_fds[i], F_SETFD, 0) < 0)
            return -1;
    return 0;
}

/* --- the program ------------------------------------------------------------------------------------------------ */

/* The first error that says more than that a directory does not have it. */
IN_CHILD static long execute(coil__child *c)
{
    int telling = 0;
    for (const char *path = c->paths; *path;) {
        call(SYS_execve, path, c->argv, c->env);
        if (errno != ENOENT && errno != ENOTDIR && telling == 0)
            telling = errno;
        while (*path++) {
        }
    }
    if (telling != 0)
        errno = telling;
    return -1;
}

static long (*const steps[])(coil__child *) = {
    [COIL__CHILD_STDIO] = set_stdio,     [COIL__CHILD_CWD] = set_cwd,     [COIL__CHILD_SIGNALS] = set_signals,
    [COIL__CHILD_SESSION] = set_session, [COIL__CHILD_GROUP] = set_group, [COIL__CHILD_USER] = set_user,
    [COIL__CHILD_FDS] = set_fds,         [COIL__CHILD_EXEC] = execute,
};

IN_CHILD int coil__child_main(void *child)
{
    coil__child *c = child;
    coil__child_report report = {0};
    c->here = true;
    while (steps[report.step](c) >= 0)
        report.step++;
    report.error = errno;
    c->report.step = report.step;
    c->report.error = report.error;
    if (c->report_fd >= 0)
        call(SYS_write, c->report_fd, &report, sizeof report);
    for (;;)
        call(SYS_exit_group, 127);
}
