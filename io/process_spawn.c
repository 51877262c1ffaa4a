/*
 * process_spawn.c - starting a program: descriptors, the search in $PATH, clone, and what the child reports
 *
 * On any thread. The child shares this process's memory until it has executed the program (CLONE_VM | CLONE_VFORK),
 * so that nothing is copied, and this thread stands still meanwhile. Only a child that becomes somebody else (user,
 * group) gets a copy: its new owner must not reach this process's memory through it.
 *
 * I1 the child's report comes by memory if that is shared, else through a pipe that exec closes. Emulators and
 *    valgrind make a fork of such a clone: so a pipe is there until a child has been seen to share memory
 * I2 the pidfd comes with the process, so that it is that process's even if somebody else waits for it at once
 *
 * Source: subprocess.py and _posixsubprocess.c of CPython 3.11; clone(2), pidfd_open(2).
 */
#define _GNU_SOURCE /* clone, pipe2 */
#include "process_spawn.h"

#include <coil/errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process_child.h"

#include "../src/base/alloc.h"
#include "../src/base/atomic.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

enum { STACK_BYTES = 32 * 1024 };

extern char **environ;

/* The C library's clone() by its other name: ThreadSanitizer stands before the first, and takes all for forks. */
extern int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);

typedef struct spawn {
    coil__child child;
    coil__spawned *spawned;
    int theirs[3];     /* descriptors for the child that were opened for it; -1 without */
    int report;        /* this process's end; -1: none */
    char *paths;       /* owned */
    const char **argv; /* owned */
} spawn;

static _Atomic bool memory_is_shared; /* [SPAWN-1] relaxed: a child was seen to; I1 */

/* pidfd_open(2): a descriptor, or a negative errno. */
static int open_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

/* --- options ---------------------------------------------------------------------------------------------------- */

static int check_stdio(int to, bool is_stderr)
{
    return to < COIL_SUBPROCESS_DEVNULL || (to == COIL_SUBPROCESS_STDOUT && !is_stderr)
               ? coil_raise(-EINVAL, "%d is no descriptor", to)
               : 0;
}

static int check_options(const coil_process_options *o)
{
    coil_assert(o);
    if (o->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_process_options.size is %zu, not %zu", o->size, sizeof *o);
    if (!o->argv || !o->argv[0])
        return coil_raise(-EINVAL, "a program is needed");
    COIL_TRY(check_stdio(o->stdin_to, false));
    COIL_TRY(check_stdio(o->stdout_to, false));
    COIL_TRY(check_stdio(o->stderr_to, true));
    if (o->limit_bytes > SSIZE_MAX)
        return coil_raise(-EINVAL, "a limit of %zu bytes is too large", o->limit_bytes);
    for (size_t i = 0; i < o->pass_fd_count; i++)
        if (o->pass_fds[i] < 3)
            return coil_raise(-EINVAL, "descriptor %d cannot be passed on by pass_fds", o->pass_fds[i]);
    return 0;
}

static const char *path_variable(const coil_process_options *o)
{
    const char *value = o->env ? NULL : getenv("PATH");
    for (size_t i = 0; o->env && o->env[i]; i++)
        if (!strncmp(o->env[i], "PATH=", 5))
            value = o->env[i] + 5;
    return value ? value : "/bin:/usr/bin";
}

/* "directory/program", with its zero; returns what is behind it. */
static char *append_path(char *to, const char *directory, size_t n, const char *program)
{
    memcpy(to, directory, n);
    to += n;
    if (n > 0 && to[-1] != '/')
        *to++ = '/';
    return stpcpy(to, program) + 1;
}

/* What may be executed, in the order of $PATH: see coil__child. Gives; NULL without memory. */
static char *make_paths(const coil_process_options *o, const char *program)
{
    const char *path = strchr(program, '/') ? "" : path_variable(o);
    size_t places = 1;
    for (const char *at = path; *at; at++)
        places += *at == ':';
    char *paths = coil__malloc(strlen(path) + places * (strlen(program) + 2) + 1), *end = paths;
    if (!paths)
        return NULL;
    for (size_t i = 0; i < places; i++) {
        size_t n = strcspn(path, ":");
        end = append_path(end, path, n, program);
        path += n + 1;
    }
    *end = '\0';
    return paths;
}

/* sh -c argv[0] ...; without a shell the options' own. Gives; NULL without memory. */
static const char **make_argv(const coil_process_options *o, bool shell)
{
    size_t n = 0, more = shell ? 2 : 0;
    while (o->argv[n])
        n++;
    const char **argv = coil__malloc((n + more + 1) * sizeof *argv);
    if (!argv)
        return NULL;
    if (shell) {
        argv[0] = o->program ? o->program : "/bin/sh";
        argv[1] = "-c";
    }
    memcpy(argv + more, o->argv, (n + 1) * sizeof *argv);
    return argv;
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

static int open_pipe(spawn *s, int i)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int ours = i == 0 ? ends[1] : ends[0];
    s->theirs[i] = i == 0 ? ends[0] : ends[1];
    s->spawned->pipes[i] = ours;
    return fcntl(ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_stdio(spawn *s, int i, int to)
{
    int rc = 0;
    s->child.stdio[i] = to == COIL_SUBPROCESS_INHERIT ? COIL__CHILD_AS_IT_IS : to;
    if (to == COIL_SUBPROCESS_PIPE) {
        rc = open_pipe(s, i);
    } else if (to == COIL_SUBPROCESS_DEVNULL) {
        s->theirs[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        rc = s->theirs[i] < 0 ? -errno : 0;
    }
    if (s->theirs[i] >= 0)
        s->child.stdio[i] = s->theirs[i];
    return rc;
}

static int open_report(spawn *s)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    s->report = ends[0];
    s->child.report_fd = ends[1];
    return 0;
}

static bool becomes_another(const coil_process_options *o)
{
    return o->user || o->group || o->extra_groups;
}

static int open_all(spawn *s, const coil_process_options *o)
{
    COIL_TRY(open_stdio(s, 0, o->stdin_to));
    COIL_TRY(open_stdio(s, 1, o->stdout_to));
    COIL_TRY(open_stdio(s, 2, o->stderr_to));
    bool shared = load_relaxed(&memory_is_shared) && !becomes_another(o); /* [SPAWN-1] */
    return shared ? 0 : open_report(s);                                   /* I1 */
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_theirs(spawn *s)
{
    for (int i = 0; i < 3; i++)
        close_fd(&s->theirs[i]);
    close_fd(&s->child.report_fd);
}

static void close_ours(spawn *s)
{
    for (int i = 0; i < 3; i++)
        close_fd(&s->spawned->pipes[i]);
    close_fd(&s->report);
}

/* --- the process ------------------------------------------------------------------------------------------------ */

/* With all signals blocked, so that none of this process's handlers runs in the child. A pid or a negative errno. */
static int clone_with(coil__child *c, int flags, char *stack, int *pidfd)
{
    unsigned long all[2];
    memset(all, 0xff, sizeof all);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, c->mask, 8);
    int pid = __clone(coil__child_main, stack + STACK_BYTES, flags | SIGCHLD, c, pidfd);
    int rc = pid < 0 ? -errno : pid;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, c->mask, NULL, 8);
    return rc;
}

static int clone_child(spawn *s, int flags, int *pidfd)
{
    char *stack = coil__malloc(STACK_BYTES);
    if (!stack)
        return -ENOMEM;
    int pid = clone_with(&s->child, flags | CLONE_PIDFD, stack, pidfd); /* I2 */
    if (pid == -EINVAL)                                                 /* qemu does not know the flag */
        pid = clone_with(&s->child, flags, stack, pidfd);
    coil__free(stack);
    return pid;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* What the child reports; waits until it has executed its program, or failed. */
static coil__child_report hear(spawn *s)
{
    coil__child_report report = {0};
    if (s->child.here) {
        if (!load_relaxed(&memory_is_shared))       /* [SPAWN-1] */
            store_relaxed(&memory_is_shared, true); /* [SPAWN-1] */
        report.step = s->child.report.step;
        report.error = s->child.report.error;
        return report;
    }
    ssize_t n;
    while ((n = read(s->report, &report, sizeof report)) < 0 && errno == EINTR) {
    }
    if (n != sizeof report)
        report.error = 0; /* exec has closed the pipe */
    return report;
}

static int raise_report(const coil_process_options *o, const char *program, coil__child_report r)
{
    static const char *const whats[] = {
        [COIL__CHILD_STDIO] = "connecting the standard descriptors",
        [COIL__CHILD_SIGNALS] = "resetting the signals",
        [COIL__CHILD_SESSION] = "starting a session",
        [COIL__CHILD_GROUP] = "joining the process group",
        [COIL__CHILD_USER] = "changing to the user and groups",
        [COIL__CHILD_FDS] = "closing or passing on descriptors",
    };
    const char *why = coil_strerror(-r.error);
    if (r.step == COIL__CHILD_EXEC)
        return coil_raise(-r.error, "executing '%s': %s", program, why);
    if (r.step == COIL__CHILD_CWD)
        return coil_raise(-r.error, "changing to directory '%s': %s", o->cwd, why);
    return coil_raise(-r.error, "%s for '%s': %s", whats[r.step], program, why);
}

/* Without a pidfd the process would be out of reach: there must not be one. */
static int give_up(pid_t pid, int rc)
{
    kill(pid, SIGKILL);
    reap(pid);
    return coil_raise(rc, "a pidfd: %s", coil_strerror(rc));
}

static int start(spawn *s, const coil_process_options *o, const char *program)
{
    int pidfd = -1;
    int pid = clone_child(s, becomes_another(o) ? 0 : CLONE_VM | CLONE_VFORK, &pidfd);
    close_theirs(s); /* or the report would not end */
    if (pid < 0)
        return coil_raise(pid, "making a process for '%s': %s", program, coil_strerror(pid));
    coil__child_report report = hear(s);
    if (pidfd < 0 && report.error == 0)
        pidfd = open_pidfd(pid);
    if (pidfd < 0 && report.error == 0)
        return give_up(pid, pidfd);
    if (report.error != 0) {
        close_fd(&pidfd);
        reap(pid);
        return raise_report(o, program, report);
    }
    s->spawned->pid = pid;
    s->spawned->pidfd = pidfd;
    return 0;
}

static int prepare(spawn *s, const coil_process_options *o, const char *program, bool shell)
{
    s->paths = make_paths(o, program);
    s->argv = make_argv(o, shell);
    if (!s->paths || !s->argv)
        return coil_raise(-ENOMEM, NULL);
    s->child.options = o;
    s->child.paths = s->paths;
    s->child.argv = (char *const *)(uintptr_t)s->argv;
    s->child.env = o->env ? (char *const *)(uintptr_t)o->env : environ;
    int rc = open_all(s, o);
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

int coil__spawn(const coil_process_options *o, bool shell, coil__spawned *spawned)
{
    COIL_TRY(check_options(o));
    coil__spawned result = {.pidfd = -1, .pipes = {-1, -1, -1}};
    spawn s = {.spawned = &result, .theirs = {-1, -1, -1}, .report = -1, .child.report_fd = -1};
    const char *program = o->program ? o->program : shell ? "/bin/sh" : o->argv[0];
    if (!*program)
        return coil_raise(-ENOENT, "a program's name cannot be empty");
    int rc = prepare(&s, o, program, shell);
    if (rc == 0)
        rc = start(&s, o, program);
    close_theirs(&s);
    if (rc < 0)
        close_ours(&s);
    close_fd(&s.report);
    coil__free(s.paths);
    coil__free(s.argv);
    if (rc == 0)
        *spawned = result;
    return rc;
}
