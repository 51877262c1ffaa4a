/*
 * test_runtime_watchdog.c - what holds a worker for too long is reported once, by name, with the place where it is
 *
 * What stalls goes on until the report is there, so that nothing depends on how fast the machine is.
 */
#define _GNU_SOURCE /* memfd_create */
#include <coil.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "threads.h"

enum { STALL_MS = 50 };

/* ThreadSanitizer keeps signals back while a thread is in a system call. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGNALS_WAIT_FOR_READ
#endif
#endif

/* Functions whose addresses can be recognised in a backtrace: the linker knows where the section begins and ends. */
#define STALLS __attribute__((noinline, section("stalls")))
extern char __start_stalls[], __stop_stalls[];

static coil_runtime_options options_for(unsigned workers)
{
    return (coil_runtime_options){
        .size = sizeof(coil_runtime_options), .workers = workers, .stall_ns = COIL_MS(STALL_MS)};
}

static int64_t now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- what was written to stderr --------------------------------------------------------------------------------- */

static int captured = -1, real_stderr;
static char text[16384];
static const char *awaited; /* the words of the report that what stalls goes on for */

/* On a busy machine there may be others: of a worker that was kept from its CPU. */
static void capture(const char *words)
{
    awaited = words;
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    captured = memfd_create("stderr", 0);
    ck_assert_int_ge(captured, 0);
    dup2(captured, STDERR_FILENO);
}

static bool written(void)
{
    static char so_far[sizeof text];
    ssize_t n = pread(captured, so_far, sizeof so_far - 1, 0);
    so_far[n > 0 ? n : 0] = '\0';
    return strstr(so_far, awaited) != NULL;
}

static void end_capture(void)
{
    fflush(stderr);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    ssize_t n = pread(captured, text, sizeof text - 1, 0);
    ck_assert_int_ge((int)n, 0);
    text[n] = '\0';
    close(captured);
}

static int count_of(const char *words)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
        n++;
    return n;
}

/* Whether an address "[0x...]" in the text lies in the section of the functions that stall. */
static bool place_is_told(void)
{
    for (const char *at = text; (at = strstr(at, "[0x")) != NULL; at++) {
        uintptr_t address = (uintptr_t)strtoull(at + 1, NULL, 16);
        if (address >= (uintptr_t)__start_stalls && address < (uintptr_t)__stop_stalls)
            return true;
    }
    return false;
}

/* --- stalls ----------------------------------------------------------------------------------------------------- */

/* Computes until it was reported, and as long again. */
STALLS static void compute(bool (*reported)(void))
{
    int64_t start = now(), end = start + COIL_SECONDS(20);
    while (!reported() && now() < end) {
    }
    end = now() + COIL_MS(3 * STALL_MS);
    while (now() < end) {
    }
}

static uint64_t stalls(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < coil_worker_count(); i++) {
        coil_worker_stats stats = {.size = sizeof stats};
        OK(coil_worker_get_stats(i, &stats));
        sum += stats.stalls;
    }
    return sum;
}

static int compute_body(void *arg, void **result)
{
    (void)arg, (void)result;
    compute(written);
    return 0;
}

/* On another worker than the main task, where there is one. */
static int run_cruncher(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task *task;
    coil_task_options o = {
        .size = sizeof o, .name = "cruncher", .migration = COIL_PINNED, .worker = coil_worker_count()};
    OK(coil_create_task_with(coil_coro_of(compute_body, NULL), &o, &task));
    OK(coil_join(task, NULL));
    ck_assert_uint_ge(stalls(), 1);
    return 0;
}

static void check_cruncher(unsigned workers)
{
    char held[64];
    coil_runtime_options o = options_for(workers);
    snprintf(held, sizeof held, "task 'cruncher' fn=compute_body has held worker %u for", workers - 1);
    capture(held);
    int rc = coil_runtime_run(&o, coil_coro_of(run_cruncher, NULL), NULL);
    end_capture();
    OK(rc);
    ck_assert_msg(count_of(held) == 1, "%s", text);
    ck_assert_msg(count_of("blocked") == 0, "%s", text);
    ck_assert_msg(place_is_told(), "%s", text);
}

TEST(a_task_that_computes_for_too_long_is_reported_once_by_name_and_place)
{
    check_cruncher(2);
}

TEST(the_only_worker_is_watched_as_well)
{
    check_cruncher(1);
}

TEST(an_unnamed_task_is_reported_by_its_number)
{
    coil_runtime_options o = options_for(1);
    capture("task 'Task-");
    int rc = coil_runtime_run(&o, coil_coro_of(compute_body, NULL), NULL);
    end_capture();
    OK(rc);
    ck_assert_msg(count_of("task 'Task-") == 1, "%s", text);
}

/* --- callbacks -------------------------------------------------------------------------------------------------- */

static int compute_in_callback(void *done)
{
    compute(written);
    return coil_future_set_result(done, NULL);
}

static int call_and_wait(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_future *done;
    OK(coil_create_future(&done));
    OK(coil_loop_call_soon(coil_get_running_loop(), compute_in_callback, done, NULL));
    return coil_join(done, NULL);
}

TEST(a_callback_that_computes_for_too_long_is_reported_as_one)
{
    coil_runtime_options o = options_for(2);
    capture("coil: a callback has held worker");
    int rc = coil_runtime_run(&o, coil_coro_of(call_and_wait, NULL), NULL);
    end_capture();
    OK(rc);
    ck_assert_msg(count_of("coil: a callback has held worker") == 1, "%s", text);
    ck_assert_msg(place_is_told(), "%s", text);
}

/* --- blocked ---------------------------------------------------------------------------------------------------- */

static int ends[2];

static void *write_when_reported(void *arg)
{
    (void)arg;
    while (!written())
        usleep(1000);
    ck_assert_int_eq((int)write(ends[1], "x", 1), 1);
    return NULL;
}

STALLS static ssize_t read_one(int fd)
{
    char c;
    ssize_t n = read(fd, &c, 1);
    __asm__ volatile("" : : : "memory"); /* no tail call: it is in the backtrace */
    return n;
}

static int block_body(void *arg, void **result)
{
    (void)arg, (void)result;
    ck_assert_int_eq((int)read_one(ends[0]), 1); /* the watchdog's signal does not end it early */
    return 0;
}

TEST(a_task_blocked_in_a_system_call_is_reported_as_blocked_and_goes_on)
{
    pthread_t thread;
    coil_runtime_options o = options_for(2);
    ck_assert_int_eq(pipe(ends), 0);
    capture("blocked in a system call");
    ck_assert_int_eq(pthread_create(&thread, NULL, write_when_reported, NULL), 0);
    int rc = coil_runtime_run(&o, coil_coro_of(block_body, NULL), NULL);
    pthread_join(thread, NULL);
    end_capture();
    OK(rc);
    ck_assert_msg(count_of("blocked in a system call") == 1, "%s", text);
#ifndef SIGNALS_WAIT_FOR_READ
    ck_assert_msg(count_of("fn=block_body has held worker") == 1, "%s", text);
    ck_assert_msg(place_is_told(), "%s", text);
#endif
    close(ends[0]);
    close(ends[1]);
}

/* --- no stalls -------------------------------------------------------------------------------------------------- */

static int suspend_often(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int64_t end = now() + COIL_MS(6 * STALL_MS); now() < end;)
        OK(coil_sleep(0));
    return 0;
}

/* But what was kept from its CPU for long. */
static void nothing_is_reported(void)
{
    ck_assert_msg(count_of("has held worker") == count_of("waiting for a CPU"), "%s", text);
}

TEST(a_task_that_suspends_often_is_not_reported)
{
    for (unsigned workers = 1; workers <= 2; workers++) {
        coil_runtime_options o = options_for(workers);
        capture("");
        int rc = coil_runtime_run(&o, coil_coro_of(suspend_often, NULL), NULL);
        end_capture();
        OK(rc);
        nothing_is_reported();
    }
}

static int sleep_long(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_sleep(COIL_MS(6 * STALL_MS));
}

TEST(a_worker_that_sleeps_is_not_reported)
{
    coil_runtime_options o = options_for(2);
    capture("");
    int rc = coil_runtime_run(&o, coil_coro_of(sleep_long, NULL), NULL);
    end_capture();
    OK(rc);
    nothing_is_reported();
}

/* --- options ---------------------------------------------------------------------------------------------------- */

static _Atomic int handled;
static char handled_what[256];
static coil_loop *handled_loop;
static int64_t handled_duration;

static void keep_stall(coil_loop *loop, const char *what, int64_t duration_ns, void *arg)
{
    ck_assert_ptr_eq(arg, handled_what);
    if (!strstr(what, "fn=compute_until_handled")) /* on a busy machine: something was kept from its CPU */
        return;
    handled_loop = loop;
    handled_duration = duration_ns;
    snprintf(handled_what, sizeof handled_what, "%s", what);
    atomic_fetch_add(&handled, 1);
}

static bool was_handled(void)
{
    return atomic_load(&handled) > 0;
}

static int compute_until_handled(void *arg, void **result)
{
    (void)arg;
    compute(was_handled);
    *result = coil_get_running_loop();
    return 0;
}

TEST(the_handler_of_the_options_gets_the_report_instead_of_stderr)
{
    coil_runtime_options o = options_for(2);
    o.loop = (coil_loop_options){
        .size = sizeof o.loop, .slow_callback_handler = keep_stall, .handler_arg = handled_what};
    void *loop = NULL;
    atomic_store(&handled, 0);
    capture("");
    int rc = coil_runtime_run(&o, coil_coro_of(compute_until_handled, NULL), &loop);
    end_capture();
    OK(rc);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(atomic_load(&handled), 1);
    ck_assert_ptr_eq(handled_loop, loop);
    ck_assert_int_ge(handled_duration, COIL_MS(STALL_MS));
}

TEST(the_environment_sets_how_long_is_too_long)
{
    coil_runtime_options o = options_for(1);
    o.stall_ns = COIL_FOREVER;
    setenv("COIL_STALL_MS", "50", 1);
    capture("fn=compute_body has held worker 0 for");
    int rc = coil_runtime_run(&o, coil_coro_of(compute_body, NULL), NULL);
    end_capture();
    unsetenv("COIL_STALL_MS");
    OK(rc);
    ck_assert_msg(count_of("fn=compute_body has held worker 0 for") == 1, "%s", text);
}

static int count_threads(void *arg, void **result)
{
    (void)result;
    *(size_t *)arg = live_threads();
    return 0;
}

static size_t threads_of(coil_runtime_options o)
{
    size_t n = 0;
    OK(coil_runtime_run(&o, coil_coro_of(count_threads, &n), NULL));
    return n;
}

TEST(nobody_watches_a_runtime_that_does_not_want_it_or_has_a_clock_of_its_own)
{
    unsetenv("COIL_RING_MODE"); /* where rings are shared it has more to do */
    coil_runtime_options o = options_for(2);
    begin_threads();
    size_t before = live_threads();
    ck_assert_uint_eq(threads_of(o), before + 2);
    o.stall_ns = COIL_FOREVER;
    ck_assert_uint_eq(threads_of(o), before + 1);
    o.stall_ns = COIL_MS(STALL_MS);
    o.loop = test_options();
    ck_assert_uint_eq(threads_of(o), before + 1);
    ck_assert_uint_eq(live_threads(), before);
}

static int handlers_installed(void)
{
    int n = 0;
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        struct sigaction action;
        if (sigaction(i, NULL, &action) == 0)
            n += (action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_DFL;
    }
    return n;
}

static int count_handlers(void *arg, void **result)
{
    (void)result;
    *(int *)arg = handlers_installed();
    return 0;
}

TEST(the_signal_is_given_back_at_the_end)
{
    int before = handlers_installed(), during = 0;
    coil_runtime_options o = options_for(2);
    OK(coil_runtime_run(&o, coil_coro_of(count_handlers, &during), NULL));
    ck_assert_int_eq(during, before + 1);
    ck_assert_int_eq(handlers_installed(), before);
}

static int compute_with_signals_blocked(void *arg, void **result)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = compute_body(arg, result);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

TEST(a_thread_that_blocks_all_signals_is_reported_without_a_name)
{
    coil_runtime_options o = options_for(1);
    capture("coil: something that takes no signal has held worker 0 for");
    int rc = coil_runtime_run(&o, coil_coro_of(compute_with_signals_blocked, NULL), NULL);
    end_capture();
    OK(rc);
    ck_assert_msg(count_of(awaited) == 1, "%s", text);
}

COIL_TEST_MAIN("runtime_watchdog")
