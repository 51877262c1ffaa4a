/*
 * process.c - subprocesses: their pipes, their end, communicate
 *
 * On the loop's thread; in a runtime on any worker: the latch guards all that changes. Each process has one operation
 * that waits for its pidfd, from its start to its end, whether anybody waits for it or not.
 *
 * I1 two references: the program's, and the watch's until the operation's handle has run or was discarded
 * I2 pidfd is -1 from when the process was reaped: before that its pid is no other's, so signals go through it
 * I3 who has not been reaped when the loop is closed is an orphan: its pidfd goes to a list, which is looked through
 *    whenever a process is started or a loop closed with processes
 * I4 the helpers of communicate() have a reference each, and end before it, but for when the loop is freed under it.
 *    Then the last of them frees the pipes
 *
 * Source: asyncio.base_subprocess, asyncio.subprocess and subprocess.py of CPython 3.11; pidfd_open(2), waitid(2).
 */
#define _GNU_SOURCE
#include "process_spawn.h"

#include <coil/combine.h>
#include <coil/errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "op.h"
#include "pipe.h"
#include "sock.h"
#include "waiting.h"

#include "../src/base/alloc.h"
#include "../src/base/refs.h"
#include "../src/sync.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

enum { UNKNOWN = 255, READ_BYTES = 64 * 1024 };

/* What communicate() has read so far of one pipe. */
typedef struct collected {
    char *data; /* of the C library; owned until it is given away */
    size_t n, cap;
    bool ended;
} collected;

struct coil_process {
    struct coil__op watch;
    coil_loop *loop;
    coil__latch latch;
    coil__refs refs; /* I1 */
    pid_t pid;
    int pidfd;             /* I2; owned */
    coil_stream *pipes[3]; /* owned */
    bool ended, given_up;  /* given_up: the loop was closed before it ended */
    int returncode;        /* once it has ended */
    coil__list waiters;
    /* Of communicate(), one at a time: */
    collected collected[3];              /* of 1 and 2 */
    bool communicating, fed, stdin_done; /* fed: there was input */
    bool failing;                        /* one helper has: the others are cancelled, also those still to start */
    coil_task *helpers[3];               /* references; NULL without */
    unsigned helping;                    /* helpers that have not ended; I4 */
    bool freed;                          /* by the program */
};

/* --- orphans ---------------------------------------------------------------------------------------------------- */

static pthread_mutex_t orphans_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    int *pidfds; /* owned, with what it holds */
    size_t n, cap;
} orphans;

/* waitid() for one that has ended: 0 and its return code, -EAGAIN while it runs, or another errno. */
static int take_status(int pidfd, int *returncode)
{
    siginfo_t info = {0};
    int rc;
    while ((rc = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG)) < 0 && errno == EINTR) {
    }
    if (rc < 0)
        return -errno;
    if (info.si_pid == 0)
        return -EAGAIN;
    *returncode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 0;
}

static void reap_orphans(void)
{
    int status;
    pthread_mutex_lock(&orphans_mutex);
    for (size_t i = 0; i < orphans.n;) {
        if (take_status(orphans.pidfds[i], &status) == -EAGAIN) {
            i++;
            continue;
        }
        close(orphans.pidfds[i]);
        orphans.pidfds[i] = orphans.pidfds[--orphans.n];
    }
    if (orphans.n == 0) {
        coil__free(orphans.pidfds);
        orphans.pidfds = NULL;
        orphans.cap = 0;
    }
    pthread_mutex_unlock(&orphans_mutex);
}

/* Takes @pidfd. Without memory the process stays as a zombie when it has ended. */
static void add_orphan(int pidfd)
{
    pthread_mutex_lock(&orphans_mutex);
    if (orphans.n == orphans.cap) {
        size_t cap = orphans.cap ? 2 * orphans.cap : 8;
        int *grown = coil__realloc(orphans.pidfds, cap * sizeof *grown);
        if (grown) {
            orphans.pidfds = grown;
            orphans.cap = cap;
        }
    }
    if (orphans.n < orphans.cap)
        orphans.pidfds[orphans.n++] = pidfd;
    else
        close(pidfd);
    pthread_mutex_unlock(&orphans_mutex);
    reap_orphans();
}

/* --- the end ---------------------------------------------------------------------------------------------------- */

static void release(coil_process *p)
{
    if (!coil__refs_drop(&p->refs))
        return;
    for (int i = 0; i < 3; i++)
        free(p->collected[i].data);
    coil_loop *loop = p->loop;
    coil__free(p);
    coil__loop_unhold(loop);
}

/* asyncio's warning. */
static void report_unknown(coil_process *p)
{
    char message[96];
    snprintf(message, sizeof message, "Unknown child process pid %d, will report returncode 255", (int)p->pid);
    coil_exception_context context = {.message = message};
    coil_loop_call_exception_handler(p->loop, &context);
}

/* The pidfd, which is the caller's to close; everybody hears of the end. */
static int settle(coil_process *p, int returncode)
{
    COIL__GUARD(&p->latch);
    int pidfd = p->pidfd;
    p->pidfd = -1; /* I2 */
    p->returncode = returncode;
    p->ended = true;
    coil__line_wake(&p->waiters, NULL);
    return pidfd;
}

static coil_process *process_of(coil__handle *h)
{
    return coil_container_of(h, coil_process, watch.handle);
}

static void run_watch(coil__handle *h)
{
    coil_process *p = process_of(h);
    int returncode = UNKNOWN, rc = take_status(p->pidfd, &returncode);
    if (rc == -EAGAIN) {
        coil__op_submit(p->loop, &p->watch);
        return;
    }
    if (rc < 0)
        report_unknown(p);
    coil__fd_close(p->loop, settle(p, returncode));
    release(p); /* I1 */
}

/* The loop is closed: I3. */
static void discard_watch(coil__handle *h)
{
    coil_process *p = process_of(h);
    coil__guard guard = coil__guard_enter(&p->latch);
    int pidfd = p->pidfd;
    p->pidfd = -1;
    p->given_up = true;
    coil__guard_leave(&guard);
    add_orphan(pidfd);
    release(p); /* I1 */
}

static const coil__handle_ops watch_ops = {run_watch, discard_watch, "subprocess"};

/* --- starting --------------------------------------------------------------------------------------------------- */

static coil_process *new_process(coil_loop *loop)
{
    coil_process *p = coil__calloc(sizeof *p);
    if (!p)
        return NULL;
    p->loop = loop;
    p->pidfd = -1;
    coil__latch_init(&p->latch);
    coil__refs_init(&p->refs, 1);
    coil__list_init(&p->waiters);
    coil__loop_hold(loop);
    return p;
}

/* From now on its end is seen. */
static void watch(coil_process *p, const coil__spawned *spawned)
{
    p->pid = spawned->pid;
    p->pidfd = spawned->pidfd;
    coil__refs_take(&p->refs); /* I1 */
    coil__op_init(&p->watch, COIL__OP_POLL, p->pidfd, &watch_ops);
    p->watch.events = POLLIN;
    p->watch.wait_first = true;
    coil__op_submit(p->loop, &p->watch);
}

/* Takes the descriptors, also on failure. */
static int connect_pipes(coil_process *p, const coil__spawned *spawned, size_t limit_bytes)
{
    int rc = 0;
    for (int i = 0; i < 3; i++) {
        int fd = spawned->pipes[i];
        if (fd >= 0 && rc < 0)
            close(fd);
        else if (fd >= 0)
            rc = i == 0 ? coil__pipe_writer(p->loop, fd, &p->pipes[i])
                        : coil__pipe_reader(p->loop, fd, limit_bytes, &p->pipes[i]);
    }
    return rc;
}

static int create(const coil_process_options *options, bool shell, coil_process **process)
{
    coil__spawned spawned;
    COIL_TRY(coil__task_may_wait());
    coil_loop *loop = coil_get_running_loop();
    reap_orphans();
    coil_process *p = new_process(loop);
    if (!p)
        return coil_raise(-ENOMEM, NULL);
    int rc = coil__spawn(options, shell, &spawned);
    if (rc == 0) {
        watch(p, &spawned);
        rc = connect_pipes(p, &spawned, options->limit_bytes);
        if (rc < 0)
            (void)coil_process_kill(p); /* nobody will hear of it */
    }
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        coil_process_free(p);
        return coil_raise_error(error);
    }
    *process = p;
    return 0;
}

int coil_create_subprocess_exec(const coil_process_options *options, coil_process **process)
{
    return create(options, false, process);
}

int coil_create_subprocess_shell(const coil_process_options *options, coil_process **process)
{
    return create(options, true, process);
}

static void free_pipes(coil_process *p)
{
    for (int i = 0; i < 3; i++)
        coil_stream_free(p->pipes[i]);
}

void coil_process_free(coil_process *p)
{
    if (!p)
        return;
    coil__guard guard = coil__guard_enter(&p->latch);
    coil_assert(coil__list_empty(&p->waiters));
    coil_assert(!p->communicating);
    p->freed = true;
    bool unused = p->helping == 0;
    coil__guard_leave(&guard);
    if (unused)
        free_pipes(p);
    release(p);
}

/* --- asking, signals -------------------------------------------------------------------------------------------- */

coil_stream *coil_process_stdin(const coil_process *p)
{
    coil_assert(p);
    return p->pipes[0];
}

coil_stream *coil_process_stdout(const coil_process *p)
{
    coil_assert(p);
    return p->pipes[1];
}

coil_stream *coil_process_stderr(const coil_process *p)
{
    coil_assert(p);
    return p->pipes[2];
}

pid_t coil_process_pid(const coil_process *p)
{
    coil_assert(p);
    return p->pid;
}

bool coil_process_returncode(const coil_process *p, int *returncode)
{
    coil_assert(p);
    COIL__GUARD(&((coil_process *)(uintptr_t)p)->latch);
    if (p->ended)
        *returncode = p->returncode;
    return p->ended;
}

/* Under the latch, so that the pidfd stays what it is: I2. */
static int send_signal(coil_process *p, int signal)
{
    COIL__GUARD(&p->latch);
    if (p->pidfd < 0)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int coil_process_send_signal(coil_process *p, int signal)
{
    coil_assert(p);
    int rc = send_signal(p, signal);
    return rc < 0 ? coil_raise(rc, NULL) : 0;
}

int coil_process_terminate(coil_process *p)
{
    return coil_process_send_signal(p, SIGTERM);
}

int coil_process_kill(coil_process *p)
{
    return coil_process_send_signal(p, SIGKILL);
}

int coil_process_wait(coil_process *p, int *returncode)
{
    coil_assert(p);
    COIL_TRY(coil__task_may_go_on());
    coil__guard guard = coil__guard_enter(&p->latch);
    int rc = 0;
    if (!p->ended && !p->given_up)
        rc = coil__line_wait(&p->waiters, p->loop, &p->latch, &guard);
    bool ended = p->ended;
    int code = p->returncode;
    coil__guard_leave(&guard);
    COIL_TRY(rc);
    if (!ended)
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (returncode)
        *returncode = code;
    return 0;
}

/* --- communicate ------------------------------------------------------------------------------------------------ */

static bool is_broken(int rc)
{
    return rc == -EPIPE || rc == -ECONNRESET;
}

/* The helper with that number has ended. */
static void end_help(coil_process *p)
{
    coil__guard guard = coil__guard_enter(&p->latch);
    bool last = --p->helping == 0 && p->freed;
    coil__guard_leave(&guard);
    if (last)
        free_pipes(p); /* I4 */
    release(p);
}

static void drop_help(void *p)
{
    end_help(p);
}

/* One helper has failed: without it the process might wait for ever, and so would the others. */
static void cancel_helpers(coil_process *p)
{
    coil_task *helpers[3];
    coil__guard guard = coil__guard_enter(&p->latch);
    p->failing = true;
    for (int i = 0; i < 3; i++)
        helpers[i] = p->helpers[i] ? coil_retain(p->helpers[i]) : NULL;
    coil__guard_leave(&guard);
    for (int i = 0; i < 3; i++) {
        if (helpers[i])
            coil_future_cancel(helpers[i], NULL);
        coil_release(helpers[i]);
    }
}

/* What was written goes out, as far as the process takes it; then its stdin ends. */
static int feed(coil_process *p)
{
    int rc = coil_stream_drain(p->pipes[0]);
    if (is_broken(rc))
        coil_error_release(coil_catch(rc));
    else
        COIL_TRY(rc);
    coil_stream_close(p->pipes[0]);
    p->stdin_done = true;
    return 0;
}

static int make_room(collected *c)
{
    if (c->cap - c->n > READ_BYTES / 4)
        return 0;
    size_t cap = c->cap + (c->cap > READ_BYTES ? c->cap / 2 : READ_BYTES);
    char *grown = realloc(c->data, cap + 1); /* the caller frees it with free() */
    if (!grown)
        return coil_raise(-ENOMEM, NULL);
    c->data = grown;
    c->cap = cap;
    return 0;
}

/* Reads to the end; what it has got stays there, whatever happens. */
static int collect(coil_stream *s, collected *c)
{
    while (!c->ended) {
        size_t n;
        COIL_TRY(make_room(c));
        COIL_TRY(coil_stream_read(s, c->data + c->n, c->cap - c->n, &n));
        c->n += n;
        c->ended = n == 0;
    }
    coil_stream_close(s);
    return 0;
}

static int help(coil_process *p, int i)
{
    int rc = i == 0 ? feed(p) : collect(p->pipes[i], &p->collected[i]);
    if (rc < 0 && rc != -ECANCELED && rc != COIL_EGENERATOREXIT) {
        coil_error *error = coil_catch(rc);
        cancel_helpers(p);
        (void)coil_raise_error(error);
    }
    end_help(p);
    return rc;
}

static int help_stdin(void *p, void **result)
{
    (void)result;
    return help(p, 0);
}

static int help_stdout(void *p, void **result)
{
    (void)result;
    return help(p, 1);
}

static int help_stderr(void *p, void **result)
{
    (void)result;
    return help(p, 2);
}

/* Input is taken once. */
static int take_input(coil_process *p, const void *input, size_t n)
{
    if (!input)
        return 0;
    if (!p->pipes[0])
        return coil_raise(-EINVAL, "input needs a stdin that is a pipe");
    if (p->fed)
        return coil_raise(-EINVAL, "Cannot send input after starting communication");
    int rc = coil_stream_write(p->pipes[0], input, n);
    if (is_broken(rc))
        coil_error_release(coil_catch(rc));
    else
        COIL_TRY(rc);
    p->fed = true;
    return 0;
}

static bool is_needed(const coil_process *p, int i)
{
    return i == 0 ? p->fed && !p->stdin_done : p->pipes[i] && !p->collected[i].ended;
}

static int start_helper(coil_process *p, int i)
{
    static coil_coro_fn *const bodies[] = {help_stdin, help_stdout, help_stderr};
    coil_task *task;
    coil__guard guard = coil__guard_enter(&p->latch);
    p->helping++;
    coil__refs_take(&p->refs); /* I4 */
    coil__guard_leave(&guard);
    COIL_TRY(coil_create_task(coil_coro_make(bodies[i], p, drop_help, 0, "communicate"), &task));
    guard = coil__guard_enter(&p->latch);
    p->helpers[i] = task;
    bool failing = p->failing; /* another one has, on its worker */
    coil__guard_leave(&guard);
    if (failing)
        coil_future_cancel(task, NULL);
    return 0;
}

/* The first error that is not only the consequence of another. */
static int first_error(coil_future *all)
{
    size_t n;
    const coil_outcome *outcomes = coil_gather_outcomes(all, &n);
    const coil_outcome *first = NULL;
    for (size_t i = 0; outcomes && i < n; i++)
        if (outcomes[i].code < 0 && (!first || first->code == -ECANCELED))
            first = &outcomes[i];
    return first ? coil_raise_error(coil_error_retain(first->error)) : 0;
}

/* Until all helpers have ended: who is cancelled cancels them, and waits all the same. */
static int await_helpers(coil_process *p)
{
    coil_awaitable helpers[3];
    size_t n = 0;
    coil_future *all;
    for (int i = 0; i < 3; i++)
        if (p->helpers[i])
            helpers[n++] = coil_awaitable_of_future(p->helpers[i]);
    if (n == 0)
        return 0;
    COIL_TRY(coil_gather(helpers, n, true, &all));
    int rc = coil_await(all, NULL);
    if (rc == 0)
        rc = first_error(all);
    coil_release(all);
    return rc;
}

static void release_helpers(coil_process *p)
{
    for (int i = 0; i < 3; i++) {
        coil__guard guard = coil__guard_enter(&p->latch);
        coil_task *helper = p->helpers[i];
        p->helpers[i] = NULL;
        coil__guard_leave(&guard);
        coil_release(helper);
    }
}

static int transfer(coil_process *p)
{
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++)
        if (is_needed(p, i))
            rc = start_helper(p, i);
    if (rc < 0) {
        coil_error *error = coil_catch(rc);
        cancel_helpers(p);
        coil_error_release(coil_catch(await_helpers(p)));
        rc = coil_raise_error(error);
    } else {
        rc = await_helpers(p);
    }
    release_helpers(p);
    return rc;
}

static void give(collected *c, coil_process_data *to)
{
    if (!to)
        return;
    *to = (coil_process_data){c->data, c->n};
    if (c->data)
        c->data[c->n] = '\0';
    *c = (collected){.ended = c->ended};
}

/* One at a time. */
static bool begin(coil_process *p)
{
    COIL__GUARD(&p->latch);
    bool first = !p->communicating;
    p->communicating = true;
    if (first)
        p->failing = false;
    return first;
}

static void finish(coil_process *p)
{
    COIL__GUARD(&p->latch);
    p->communicating = false;
}

int coil_process_communicate(coil_process *p, const void *input, size_t n, coil_process_data *out,
                             coil_process_data *err)
{
    coil_assert(p);
    COIL_TRY(coil__task_may_wait());
    if (!begin(p))
        return coil_raise(COIL_EBUSY, "communicate() called while another coroutine is already communicating");
    int rc = take_input(p, input, n);
    if (rc == 0)
        rc = transfer(p);
    if (rc == 0)
        rc = coil_process_wait(p, NULL);
    if (rc == 0) {
        give(&p->collected[1], out);
        give(&p->collected[2], err);
    }
    finish(p);
    return rc;
}
