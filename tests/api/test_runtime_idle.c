/*
 * test_runtime_idle.c - a runtime in which nothing happens costs nothing: no thread wakes up, or uses the processor
 *
 * $COIL_IDLE_MS is how long that is watched; the long run of the tests takes ten seconds.
 */
#include <coil.h>
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads.h"

enum { WORKERS = 4, THREADS_MAX = 64, SETTLE_MS = 600 };

/* --- what the threads of this process have done so far ---------------------------------------------------------- */

typedef struct thread_use {
    long id, state;     /* 'S': sleeps */
    long long switches; /* voluntary_ctxt_switches */
    long long ticks;    /* utime + stime */
    long long ns;       /* on a CPU; 0 where the kernel does not say */
} thread_use;

typedef struct use {
    size_t n;
    thread_use of[THREADS_MAX];
} use;

static bool read_text(long id, const char *name, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/%s", id, name);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(buf, 1, size - 1, f) : 0;
    buf[n] = '\0';
    if (f)
        fclose(f);
    return n > 0;
}

static bool read_use(long id, thread_use *u)
{
    char text[4096];
    *u = (thread_use){.id = id};
    if (!read_text(id, "status", text, sizeof text))
        return false;
    const char *at = strstr(text, "\nvoluntary_ctxt_switches:");
    ck_assert_ptr_nonnull(at);
    u->switches = strtoll(at + strlen("\nvoluntary_ctxt_switches:"), NULL, 10);
    if (!thread_lives(id, text, sizeof text))
        return false;
    long long utime, stime;
    ck_assert_int_eq(sscanf(text, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &utime, &stime), 2);
    u->state = text[0];
    u->ticks = utime + stime;
    if (read_text(id, "schedstat", text, sizeof text))
        u->ns = strtoll(text, NULL, 10);
    return true;
}

static use strangers; /* threads that were there before: a sanitizer has one, which begins with the first thread */

static bool stranger(long id)
{
    for (size_t i = 0; i < strangers.n; i++)
        if (strangers.of[i].id == id)
            return true;
    return false;
}

/* Of all threads but the calling one and strangers. */
static void take(use *u)
{
    long self = syscall(SYS_gettid);
    u->n = 0;
    DIR *dir = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        long id = strtol(e->d_name, NULL, 10);
        if (id <= 0 || id == self || stranger(id))
            continue;
        ck_assert_uint_lt(u->n, THREADS_MAX);
        u->n += read_use(id, &u->of[u->n]);
    }
    closedir(dir);
}

static bool same(const use *a, const use *b)
{
    return a->n == b->n && memcmp(a->of, b->of, a->n * sizeof *a->of) == 0;
}

static void know_strangers(void)
{
    static use found;
    begin_threads();
    take(&found);
    strangers = found;
}

/* One that waits for a CPU does nothing, either. */
static bool all_sleep(const use *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->of[i].state != 'S')
            return false;
    return true;
}

/* Waits until nothing moves any more. */
static void settle(use *u)
{
    use before;
    take(u);
    do {
        before = *u;
        usleep(SETTLE_MS * 1000);
        take(u);
    } while (!same(&before, u) || !all_sleep(u));
}

/* --- watching it ------------------------------------------------------------------------------------------------ */

typedef struct scene {
    coil_loop *loop;
    coil_future *over;
    size_t at_least; /* threads that there are */
    bool quiet;
} scene;

static int end_scene(void *arg)
{
    return coil_future_set_result(((scene *)arg)->over, NULL);
}

/* Once nothing moves, nothing must move for long. What the test is about is time: there is nothing else to wait for. */
static void *watch(void *arg)
{
    scene *s = arg;
    use before, after;
    const char *ms = getenv("COIL_IDLE_MS");
    settle(&before);
    usleep((useconds_t)(ms ? atoi(ms) : 1500) * 1000);
    take(&after);
    s->quiet = same(&before, &after);
    for (size_t i = 0; i < before.n && i < after.n && !s->quiet; i++)
        printf("thread %ld: %lld -> %lld voluntary switches, %lld -> %lld ns\n", before.of[i].id, before.of[i].switches,
               after.of[i].switches, before.of[i].ns, after.of[i].ns);
    ck_assert_uint_ge(after.n, s->at_least);
    OK(coil_loop_call_soon_threadsafe(s->loop, end_scene, s, NULL));
    return NULL;
}

static int visit(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_sleep(COIL_MS(1));
}

static int wait_for_nothing(void *future, void **result)
{
    return coil_await(future, result);
}

/* Every worker has work, then a task that waits for ever, and no more work. */
static int fall_idle(void *arg, void **result)
{
    (void)result;
    scene *s = arg;
    coil_task *tasks[WORKERS];
    pthread_t thread;
    OK(coil_create_future(&s->over));
    s->loop = coil_get_running_loop();
    for (unsigned i = 0; i < WORKERS; i++) {
        coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = i % coil_worker_count() + 1};
        OK(coil_create_task_with(coil_coro_of(visit, NULL), &o, &tasks[i]));
    }
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(tasks[i], NULL));
    for (unsigned i = 0; i < WORKERS; i++) {
        coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = i % coil_worker_count() + 1};
        OK(coil_create_task_with(coil_coro_of(wait_for_nothing, s->over), &o, &tasks[i]));
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, watch, s), 0);
    OK(coil_await(s->over, NULL));
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(tasks[i], NULL));
    coil_release(s->over);
    return 0;
}

TEST(no_thread_of_an_idle_runtime_wakes_up)
{
    know_strangers();
    coil_runtime_options o = {.size = sizeof o, .workers = WORKERS};
    scene s = {.at_least = WORKERS + 1}; /* with the watchdog */
    OK(coil_runtime_run(&o, coil_coro_of(fall_idle, &s), NULL));
    ck_assert(s.quiet);
}

TEST(nor_does_one_of_a_runtime_with_one_worker)
{
    know_strangers();
    coil_runtime_options o = {.size = sizeof o, .workers = 1};
    scene s = {.at_least = 2};
    OK(coil_runtime_run(&o, coil_coro_of(fall_idle, &s), NULL));
    ck_assert(s.quiet);
}

/* --- a runtime between its runs --------------------------------------------------------------------------------- */

static int nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

TEST(the_workers_sleep_between_the_runs_of_a_runtime)
{
    coil_runtime *rt;
    coil_runtime_options o = {.size = sizeof o, .workers = WORKERS};
    use idle;
    know_strangers();
    OK(coil_runtime_new(&o, &rt));
    OK(coil_runtime_enter(rt, coil_coro_of(nothing, NULL), NULL));
    settle(&idle); /* or it takes for ever */
    ck_assert_uint_ge(idle.n, WORKERS);
    coil_runtime_free(rt);
}

/* --- counts ----------------------------------------------------------------------------------------------------- */

static uint64_t parks(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < coil_worker_count(); i++) {
        coil_worker_stats stats = {.size = sizeof stats};
        OK(coil_worker_get_stats(i, &stats));
        sum += stats.parks;
    }
    return sum;
}

static int count_parks(void *arg, void **result)
{
    (void)arg, (void)result;
    uint64_t before = parks();
    OK(coil_sleep(COIL_MS(1)));
    ck_assert_uint_gt(parks(), before);
    return 0;
}

TEST(going_to_sleep_is_counted)
{
    for (unsigned workers = 1; workers <= WORKERS; workers *= 2) {
        coil_runtime_options o = {.size = sizeof o, .workers = workers};
        OK(coil_runtime_run(&o, coil_coro_of(count_parks, NULL), NULL));
    }
}

COIL_TEST_MAIN("runtime_idle")
