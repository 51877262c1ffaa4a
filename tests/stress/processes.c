/*
 * processes.c - stress: processes started, talked to, killed, cancelled and left by tasks on all workers, under signals
 *
 *     stress_processes [SECONDS [WORKERS [SEED]]]
 *
 * Checked: what went through a process is what comes out of it; statuses are those that were asked for; a cancelled
 * communicate() goes on without a loss; each burst of signals runs its handler; no descriptor and no child is left.
 */
#include "../support/stress.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/base/atomic.h"

enum { TASKS = 24, CHUNK = 100000, ROUND_SECONDS = 120 };

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static _Atomic uint64_t processes, handled; /* [STRESS-2] relaxed: counts */

static coil_process *start(const char *const *argv, bool with_stderr)
{
    coil_process *p;
    coil_process_options options = {.size = sizeof options,
                                    .argv = argv,
                                    .stdin_to = COIL_SUBPROCESS_PIPE,
                                    .stdout_to = COIL_SUBPROCESS_PIPE,
                                    .stderr_to = with_stderr ? COIL_SUBPROCESS_PIPE : COIL_SUBPROCESS_STDOUT};
    stress_ok(coil_create_subprocess_exec(&options, &p));
    fetch_add_relaxed(&processes, 1); /* [STRESS-2] */
    return p;
}

static int wait_for(coil_process *p)
{
    int code;
    stress_ok(coil_process_wait(p, &code));
    return code;
}

/* --- communicating ----------------------------------------------------------------------------------------------- */

typedef struct talk {
    coil_process *process;
    const char *input;
    size_t n;
    coil_process_data out;
} talk;

static int communicate(void *arg, void **result)
{
    talk *t = arg;
    (void)result;
    int rc = coil_process_communicate(t->process, t->input, t->n, &t->out, NULL);
    t->input = NULL;
    return rc;
}

static void talk_to_cat(uint64_t *random)
{
    size_t n = stress_random(random, CHUNK);
    char *bytes = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(stress_random(random, 256));
    talk t = {.process = start(ARGV("cat"), stress_random(random, 2)), .input = bytes, .n = n};
    stress_ok(communicate(&t, NULL));
    MUST(t.out.n == n && memcmp(t.out.data, bytes, n) == 0);
    MUST(wait_for(t.process) == 0);
    free(bytes);
    free(t.out.data);
    coil_process_free(t.process);
}

/* With timeouts, after which it goes on. */
static void talk_in_pieces(uint64_t *random)
{
    coil_process *p = start(ARGV("sh", "-c", "cat; sleep 0.01; echo end"), true);
    talk t = {.process = p, .input = "begin\n", .n = 6};
    int rc;
    do { /* the first may be cancelled before it has begun, and then leaves the input to the next; the last as it returns */
        rc = stress_caught(coil_wait_for(coil_coro_of(communicate, &t), COIL_US(stress_random(random, 20000)), NULL));
        MUST(rc == 0 || rc == -ETIMEDOUT);
    } while (rc < 0 && !t.out.data);
    MUST(strcmp(t.out.data, "begin\nend\n") == 0);
    free(t.out.data);
    coil_process_free(p);
}

/* --- waiting and killing ----------------------------------------------------------------------------------------- */

static int wait_task(void *process, void **result)
{
    (void)result;
    return coil_process_wait(process, NULL);
}

static void wait_and_kill(uint64_t *random)
{
    coil_process *p = start(ARGV("sleep", "100"), false);
    coil_task *waiting[4];
    for (int i = 0; i < 4; i++)
        stress_ok(coil_create_task(coil_coro_of(wait_task, p), &waiting[i]));
    for (unsigned n = stress_random(random, 4); n > 0; n--)
        stress_ok(coil_sleep(0));
    unsigned victim = stress_random(random, 4);
    bool hard = stress_random(random, 2);
    coil_task_cancel(waiting[victim], NULL);
    stress_ok(hard ? coil_process_kill(p) : coil_process_terminate(p));
    for (unsigned i = 0; i < 4; i++) {
        int rc = stress_caught(coil_join(waiting[i], NULL));
        MUST(rc == 0 || (i == victim && rc == -ECANCELED));
    }
    MUST(wait_for(p) == (hard ? -SIGKILL : -SIGTERM));
    MUST(stress_caught(coil_process_kill(p)) == -ESRCH);
    coil_process_free(p);
}

static void leave_it(uint64_t *random)
{
    coil_process *p = start(ARGV("sh", "-c", "read x; exit $x"), false);
    if (stress_random(random, 2))
        stress_ok(coil_stream_writef(coil_process_stdin(p), "%u\n", stress_random(random, 100)));
    coil_process_free(p); /* its stdin ends */
}

static void fail_to_start(uint64_t *random)
{
    coil_process *p;
    bool no_program = stress_random(random, 2);
    coil_process_options options = {.size = sizeof options,
                                    .argv = ARGV(no_program ? "no-such-program" : "true"),
                                    .cwd = no_program ? NULL : "/no/such/directory",
                                    .stdin_to = COIL_SUBPROCESS_PIPE};
    MUST(stress_caught(coil_create_subprocess_exec(&options, &p)) == -ENOENT);
}

static int worker(void *arg, void **result)
{
    static void (*const kinds[])(uint64_t *) = {talk_to_cat, talk_in_pieces, wait_and_kill, leave_it, fail_to_start};
    uint64_t random = stress_random_state(*(unsigned *)arg) ^ load_relaxed(&processes); /* [STRESS-2] */
    (void)result;
    for (int i = 0; i < 4; i++)
        kinds[stress_random(&random, 5)](&random);
    return 0;
}

/* --- signals ------------------------------------------------------------------------------------------------------ */

static int count(void *arg)
{
    (void)arg;
    fetch_add_relaxed(&handled, 1); /* [STRESS-2] */
    return 0;
}

/* Adds a handler, sends, waits until it has run, removes it: all on whichever worker. */
static int signaller(void *arg, void **result)
{
    _Atomic bool *over = arg;
    coil_loop *loop = coil_get_running_loop();
    (void)result;
    while (!load_relaxed(over)) {                 /* [STRESS-1] relaxed: a flag that comes when it comes */
        uint64_t before = load_relaxed(&handled); /* [STRESS-2] */
        stress_ok(coil_loop_add_signal_handler(loop, SIGUSR1, count, NULL));
        for (int i = 0; i < 10; i++)
            kill(getpid(), SIGUSR1);
        while (load_relaxed(&handled) == before) /* [STRESS-2] */
            stress_ok(coil_sleep(COIL_US(100)));
        MUST(coil_loop_remove_signal_handler(loop, SIGUSR1) == 1);
        stress_ok(coil_sleep(COIL_MS(1)));
    }
    return 0;
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

static void run_round(void)
{
    static unsigned numbers[TASKS];
    coil_task *tasks[TASKS];
    for (unsigned i = 0; i < TASKS; i++) {
        numbers[i] = i;
        stress_ok(coil_create_task(coil_coro_of(worker, &numbers[i]), &tasks[i]));
    }
    for (unsigned i = 0; i < TASKS; i++)
        stress_ok(coil_join(tasks[i], NULL));
}

/* Those that were left end by themselves; the loop takes them away. Or the alarm comes. */
static void wait_until_all_are_gone(int before)
{
    while (waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0 || open_descriptors() > before)
        stress_ok(coil_sleep(COIL_MS(1)));
}

static int run(void *arg, void **result)
{
    unsigned rounds = 0;
    _Atomic bool over = false;
    coil_task *signalling;
    (void)arg, (void)result;
    signal(SIGUSR1, SIG_IGN); /* one that comes between two handlers */
    run_round();
    stress_ok(coil_sleep(COIL_MS(300)));
    int before = open_descriptors();
    stress_ok(coil_create_task(coil_coro_of(signaller, &over), &signalling));
    for (; rounds == 0 || stress_time_left(); rounds++) {
        alarm(ROUND_SECONDS);
        run_round();
        wait_until_all_are_gone(before);
    }
    store_relaxed(&over, true); /* [STRESS-1] */
    stress_ok(coil_join(signalling, NULL));
    printf("%u rounds, %" PRIu64 " processes, %" PRIu64 " times handled\n", rounds, load_relaxed(&processes),
           load_relaxed(&handled)); /* [STRESS-2] */
    return 0;
}

int main(int argc, char **argv)
{
    return stress_main(argc, argv, run, NULL);
}
