/*
 * process_jobs.h - what the tests of process pools share: jobs that run in the workers, and gates for them
 *
 * Jobs and tests meet at pipes, which a job opens through /proc/<the test's process>/fd, so that nothing depends on
 * time. The suite's main() calls register_jobs() and coil_process_init(), as any program's would.
 */
#ifndef COIL_TEST_PROCESS_JOBS_H
#define COIL_TEST_PROCESS_JOBS_H

#include "jobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- jobs: what runs in workers ---------------------------------------------------------------------------------- */

static int echo(const void *data, size_t n, coil_process_output *output)
{
    return coil_process_output_write(output, data, n);
}

static int twice(const void *data, size_t n, coil_process_output *output)
{
    COIL_TRY(coil_process_output_write(output, data, n));
    return coil_process_output_write(output, data, n);
}

static int no_luck(const void *data, size_t n, coil_process_output *output)
{
    COIL_TRY(coil_process_output_write(output, "lost", 4));
    return coil_raise(COIL_EUSER(1), "no luck with %.*s", (int)n, (const char *)data);
}

static int bare_code(const void *data, size_t n, coil_process_output *output)
{
    (void)data, (void)n, (void)output;
    return -ENOTTY;
}

static int die(const void *data, size_t n, coil_process_output *output)
{
    (void)n, (void)output;
    signal(SIGSEGV, SIG_DFL); /* without a sanitizer's report */
    return raise(*(const int *)data);
}

static int leave(const void *data, size_t n, coil_process_output *output)
{
    (void)output;
    if (n > 0)
        _exit(*(const unsigned char *)data);
    return 0;
}

static int stay(const void *data, size_t n, coil_process_output *output)
{
    (void)data, (void)n, (void)output;
    while (pause() < 0) {
    }
    return 0;
}

static int close_everything(const void *data, size_t n, coil_process_output *output)
{
    for (int fd = 0; fd < 100; fd++)
        close(fd);
    return stay(data, n, output);
}

/* Leaves a process behind that has the worker's socket. */
static int fork_and_die(const void *data, size_t n, coil_process_output *output)
{
    char byte;
    int killed = SIGKILL;
    (void)data, (void)n;
    if (fork() == 0)
        _exit(read(3, &byte, 1) == 0); /* until the pool closes it */
    return die(&killed, sizeof killed, output);
}

static int talk_nonsense(const void *data, size_t n, coil_process_output *output)
{
    char nonsense[100] = "nonsense";
    return write(3, nonsense, sizeof nonsense) < 0 ? -errno : stay(data, n, output);
}

typedef struct ids {
    pid_t worker, server;
} ids;

static int tell_ids(const void *data, size_t n, coil_process_output *output)
{
    (void)data, (void)n;
    const ids own = {getpid(), getppid()};
    return coil_process_output_write(output, &own, sizeof own);
}

/* A gate for one job: it says who it is at the one pipe, and waits for a byte at the other. */
typedef struct gate {
    pid_t owner;
    int running[2], open[2];
} gate;

static int open_of(const gate *g, int fd, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)g->owner, fd);
    return open(path, flags);
}

static int wait_at(const void *data, size_t n, coil_process_output *output)
{
    gate g;
    char byte;
    const ids own = {getpid(), getppid()};
    (void)n;
    memcpy(&g, data, sizeof g);
    int running = open_of(&g, g.running[1], O_WRONLY), opened = open_of(&g, g.open[0], O_RDONLY);
    bool passed = write(running, &own, sizeof own) == (ssize_t)sizeof own && read(opened, &byte, 1) == 1;
    close(running);
    close(opened);
    return passed ? coil_process_output_write(output, &own, sizeof own) : coil_raise(-errno, "at the gate");
}

typedef struct surroundings {
    int descriptors, blocked, handled;
    bool interrupts_ignored, marked;
} surroundings;

static int count_fds(void)
{
    int count = -1; /* the directory's own */
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

/* Signals that a sanitizer reports are its own business. */
static bool is_reported(int s)
{
    return s == SIGSEGV || s == SIGBUS || s == SIGFPE || s == SIGABRT || s == SIGILL || s == SIGTRAP;
}

static int look_around(const void *data, size_t n, coil_process_output *output)
{
    (void)data, (void)n;
    sigset_t blocked;
    struct sigaction action;
    surroundings s = {.descriptors = count_fds(), .interrupts_ignored = signal(SIGINT, SIG_IGN) == SIG_IGN,
                      .marked = getenv("COIL_FORK_SERVER") != NULL};
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < 32; i++) {
        s.blocked += sigismember(&blocked, i);
        s.handled += i != SIGINT && !is_reported(i) && sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
    }
    return coil_process_output_write(output, &s, sizeof s);
}

/* --- the suite --------------------------------------------------------------------------------------------------- */

static void register_jobs(void)
{
    coil_process_register("echo", echo);
    coil_process_register("twice", twice);
    coil_process_register("no_luck", no_luck);
    coil_process_register("bare_code", bare_code);
    coil_process_register("die", die);
    coil_process_register("leave", leave);
    coil_process_register("stay", stay);
    coil_process_register("close_everything", close_everything);
    coil_process_register("fork_and_die", fork_and_die);
    coil_process_register("talk_nonsense", talk_nonsense);
    coil_process_register("tell_ids", tell_ids);
    coil_process_register("wait_at", wait_at);
    coil_process_register("look_around", look_around);
}

/* --- what the tests share ---------------------------------------------------------------------------------------- */

static COIL_TEST_UNUSED coil_process_call call_of(const char *name, const void *data, size_t n)
{
    return (coil_process_call){
        .size = sizeof(coil_process_call), .name = name, .data = (void *)(uintptr_t)data, .n = n};
}

static COIL_TEST_UNUSED coil_executor *new_pool(unsigned workers_max, unsigned jobs_max)
{
    coil_executor *pool;
    coil_process_pool_options options = {.size = sizeof options, .workers_max = workers_max, .jobs_max = jobs_max};
    OK(coil_process_pool_new(&options, &pool));
    return pool;
}

static COIL_TEST_UNUSED coil_future *submit(coil_executor *pool, const char *name, const void *data, size_t n)
{
    coil_future *future;
    coil_process_call call = call_of(name, data, n);
    OK(coil_loop_run_in_process(this_loop(), pool, &call, &future));
    return future;
}

/* The future has these bytes. */
static COIL_TEST_UNUSED void gives(coil_future *future, const void *data, size_t n)
{
    void *value;
    OK(coil_await(future, &value));
    coil_process_result *result = value;
    ck_assert_uint_eq(result->n, n);
    ck_assert_int_eq(memcmp(result->data, data, n), 0);
    coil_release(future);
}

static COIL_TEST_UNUSED int run(coil_executor *pool, const char *name, const void *data, size_t n)
{
    coil_process_call call = call_of(name, data, n);
    return coil_to_process(pool, &call, NULL);
}

static COIL_TEST_UNUSED ids ask_ids(coil_executor *pool)
{
    coil_process_result *result;
    coil_process_call call = call_of("tell_ids", NULL, 0);
    OK(coil_to_process(pool, &call, &result));
    ck_assert_uint_eq(result->n, sizeof(ids));
    ids own = *(ids *)result->data;
    coil_process_result_free(result);
    return own;
}

static COIL_TEST_UNUSED void gate_init(gate *g)
{
    *g = (gate){.owner = getpid()};
    ck_assert_int_eq(pipe2(g->running, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(g->open, O_CLOEXEC), 0);
}

static COIL_TEST_UNUSED void gate_fini(gate *g)
{
    for (int i = 0; i < 2; i++) {
        close(g->running[i]);
        close(g->open[i]);
    }
}

/* Waits until a job is at the gate; says who it is. */
static COIL_TEST_UNUSED ids arrives(const gate *g)
{
    ids who = {0};
    ck_assert_int_eq(read(g->running[0], &who, sizeof who), sizeof who);
    return who;
}

static COIL_TEST_UNUSED void let_one_pass(const gate *g)
{
    ck_assert_int_eq(write(g->open[1], "", 1), 1);
}

/* A job that waits at the gate. */
static COIL_TEST_UNUSED coil_future *occupy(coil_executor *pool, const gate *g)
{
    return submit(pool, "wait_at", g, sizeof *g);
}

/* The error is dealt with. */
static COIL_TEST_UNUSED int code_of(int rc)
{
    coil_error_release(coil_catch(rc));
    return rc;
}

static COIL_TEST_UNUSED char *pattern(size_t n)
{
    char *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 31 + i / 4093);
    return bytes;
}

/* The status of this program when it does @what. */
static COIL_TEST_UNUSED int status_of(const char *what)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test", what, NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* A task that submits one job after the other, and waits for room. */
typedef struct producer {
    coil_executor *pool;
    int submitted;
    coil_future *futures[4];
} producer;

static COIL_TEST_UNUSED int produce(void *arg, void **result)
{
    producer *p = arg;
    (void)result;
    for (int i = 0; i < 4; i++) {
        coil_process_call call = call_of("echo", &i, sizeof i);
        COIL_TRY(coil_process_submit(p->pool, &call, &p->futures[i]));
        p->submitted++;
    }
    return 0;
}

#endif
