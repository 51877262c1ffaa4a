/*
 * test_runtime_moves.c - the bugs that runtimes with stealing have had, a test for each, named after it
 *
 * Two of them cannot be written here:
 *
 *   victim queue's lock against the task's lock   the run queues have no locks; the shared queue's mutex is held over a
 *                                                 few instructions that take no other; no task has a lock that is held
 *                                                 while it is put into a queue
 *   a buffer returned to a foreign ring           no ring provides buffers: each operation brings its own
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "io/op.h"
#include "net.h"
#include "workers.h"

static void spin(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        __asm__ volatile("" : : "r"(i) : "memory");
}

static int catch_cancelled(int rc)
{
    ck_assert(rc == 0 || rc == -ECANCELED);
    coil_error_release(coil_catch(rc));
    return rc;
}

/* --- a future that one worker completes, and what another does to who waits for it ------------------------------ */

enum { ROUNDS = 400, WAITERS = 8 };

typedef struct race {
    coil_future *future;
    coil_task *waiter;
    _Atomic int running, steps, ready;
    unsigned number;
} race;

/* Only one worker at a time is in the task; it goes on once. */
static int wait_in_race(void *arg, void **result)
{
    race *r = arg;
    (void)result;
    ck_assert_int_eq(fetch_add_acq_rel(&r->running, 1), 0);
    fetch_sub_acq_rel(&r->running, 1);
    fetch_add_acq_rel(&r->ready, 1);
    int rc = coil_await(r->future, NULL);
    ck_assert_int_eq(fetch_add_acq_rel(&r->running, 1), 0);
    fetch_add_acq_rel(&r->steps, 1);
    spin(100);
    fetch_sub_acq_rel(&r->running, 1);
    return rc;
}

static int complete(void *arg, void **result)
{
    race *r = arg;
    (void)result;
    spin(37 * r->number % 500);
    int rc = coil_future_set_result(r->future, NULL);
    ck_assert(rc == 0 || rc == COIL_EINVALIDSTATE);
    coil_error_release(coil_catch(rc));
    return 0;
}

static int cancel_waiter(void *arg, void **result)
{
    race *r = arg;
    (void)result;
    spin(53 * r->number % 500);
    coil_task_cancel(r->waiter, NULL);
    return 0;
}

static void start_race(race *r, unsigned number)
{
    *r = (race){.number = number};
    OK(coil_create_future(&r->future));
    r->waiter = spawn(coil_coro_of(wait_in_race, r));
}

static void end_race(race *r)
{
    bool started = load_acquire(&r->ready) != 0;
    int rc = catch_cancelled(coil_join(r->waiter, NULL));
    ck_assert(rc == 0 || coil_future_cancelled(r->future) || coil_future_done(r->future) || !started);
    ck_assert_int_eq(load_acquire(&r->steps), load_acquire(&r->ready));
    coil_release(r->future);
}

/* The waker may be there before the waiter has left its stack. */
WORKERS_TEST(4, steal_of_a_task_still_in_a_wait_list)
{
    race races[WAITERS];
    coil_task *wakers[WAITERS];
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < WAITERS; k++) {
            start_race(&races[k], i + k);
            wakers[k] = on_worker(k % 4, complete, &races[k]);
        }
        for (unsigned k = 0; k < WAITERS; k++) {
            OK(coil_join(wakers[k], NULL));
            end_race(&races[k]);
            ck_assert_int_eq(load_acquire(&races[k].steps), 1);
        }
    }
}

WORKERS_TEST(4, task_resumed_on_two_workers_after_cancel_and_completion)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        race races[WAITERS];
        coil_task *others[2 * WAITERS];
        for (unsigned k = 0; k < WAITERS; k++) {
            start_race(&races[k], i + k);
            others[2 * k] = on_worker(k % 4, complete, &races[k]);
            others[2 * k + 1] = on_worker((k + 1) % 4, cancel_waiter, &races[k]);
        }
        for (unsigned k = 0; k < 2 * WAITERS; k++)
            OK(coil_join(others[k], NULL));
        for (unsigned k = 0; k < WAITERS; k++)
            end_race(&races[k]);
    }
}

/* --- beginning and end ------------------------------------------------------------------------------------------ */

static _Atomic int visits;

static int visit(void *arg, void **result)
{
    (void)arg, (void)result;
    OK(coil_sleep(0));
    fetch_add_acq_rel(&visits, 1);
    return 0;
}

static int spawn_visitors(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task *tasks[64];
    for (int i = 0; i < 64; i++)
        tasks[i] = spawn(coil_coro_of(visit, NULL));
    for (int i = 0; i < 64; i++)
        OK(coil_join(tasks[i], NULL));
    return 0;
}

/* Thieves are there, and find work, as soon as they are. */
TEST(worker_published_before_it_can_run_tasks)
{
    coil_runtime_options o = {.size = sizeof o, .workers = 8};
    store_relaxed(&visits, 0);
    for (int i = 0; i < 50; i++)
        OK(coil_runtime_run(&o, coil_coro_of(spawn_visitors, NULL), NULL));
    ck_assert_int_eq(load_acquire(&visits), 50 * 64);
}

static int let_thieves_park(void *arg, void **result)
{
    (void)arg, (void)result;
    for (unsigned i = 0; i < coil_worker_count(); i++) {
        coil_worker_stats stats = {.size = sizeof stats};
        do
            OK(coil_sleep(COIL_US(200)));
        while (coil_worker_get_stats(i, &stats) == 0 && stats.parks == 0);
    }
    return 0;
}

TEST(shutdown_with_parked_thieves)
{
    coil_runtime_options o = {.size = sizeof o, .workers = 8};
    for (int i = 0; i < 20; i++)
        OK(coil_runtime_run(&o, coil_coro_of(let_thieves_park, NULL), NULL));
}

static coil_server *served[4];

static int wait_for_line(void *arg, void **result)
{
    const char *line;
    size_t n;
    (void)result;
    coil_stream *s = connect_to(arg);
    writes(s, "hello\n");
    reads_line(s, "hello\n"); /* the server has accepted it */
    fetch_add_acq_rel(&visits, 1);
    int rc = coil_stream_readline(s, &line, &n); /* which never comes: it is cancelled, or its peer is */
    ck_assert(rc == 0 || rc == -ECANCELED);
    coil_error *e = coil_catch(rc);
    coil_stream_close(s);
    coil_stream_free(s);
    return coil_raise_error(e);
}

static int serve_here(void *arg, void **result)
{
    (void)result;
    *(coil_server **)arg = listen_with(echo, NULL, NULL);
    return 0;
}

/* Listens and reads on all workers, and leaves it at that. */
static int leave_operations(void *arg, void **result)
{
    (void)arg, (void)result;
    store_relaxed(&visits, 0);
    for (unsigned i = 0; i < 4; i++)
        do_on_worker(i, serve_here, &served[i]);
    for (unsigned i = 0; i < 16; i++)
        coil_detach(on_worker(i / 4, wait_for_line, served[i % 4]));
    while (load_acquire(&visits) < 16)
        OK(coil_sleep(0));
    for (unsigned i = 0; i < 4; i++)
        coil_server_close(served[i]); /* but not its clients */
    return 0;
}

TEST(thread_exit_with_operations_in_flight)
{
    int before = open_descriptors();
    for (int i = 0; i < 5; i++) {
        coil_runtime *rt;
        coil_runtime_options o = {.size = sizeof o, .workers = 4};
        OK(coil_runtime_new(&o, &rt));
        OK(coil_runtime_enter(rt, coil_coro_of(leave_operations, NULL), NULL));
        OK(coil_runtime_close(rt));
        for (unsigned k = 0; k < 4; k++)
            coil_server_free(served[k]);
        coil_runtime_free(rt);
        ck_assert_int_eq(open_descriptors(), before);
    }
}

/* --- what belongs to a thread ----------------------------------------------------------------------------------- */

static pthread_t threads[4];

static int note_thread(void *arg, void **result)
{
    (void)result;
    threads[(uintptr_t)arg] = pthread_self();
    return 0;
}

static int check_worker(void *arg)
{
    ck_assert_uint_eq(coil_worker_number(), (unsigned)(uintptr_t)arg); /* armed there, runs there */
    fetch_add_acq_rel(&visits, 1);
    return 0;
}

static int wander(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 200; i++) {
        unsigned here = coil_worker_number();
        ck_assert(pthread_equal(pthread_self(), threads[here]));
        OK(coil_loop_call_soon(coil_get_running_loop(), check_worker, (void *)(uintptr_t)here, NULL));
        OK(coil_loop_call_later(coil_get_running_loop(), 1000, check_worker, (void *)(uintptr_t)here, NULL));
        OK(coil_sleep(i % 16 == 0 ? COIL_US(50) : 0));
    }
    return 0;
}

WORKERS_TEST(4, stale_thread_local_pointer_after_a_switch)
{
    coil_task *tasks[16];
    store_relaxed(&visits, 0);
    for (unsigned i = 0; i < 4; i++)
        do_on_worker(i, note_thread, (void *)(uintptr_t)i);
    for (int i = 0; i < 16; i++)
        tasks[i] = spawn(coil_coro_of(wander, NULL));
    for (int i = 0; i < 16; i++)
        OK(coil_join(tasks[i], NULL));
    while (load_acquire(&visits) < 16 * 200 * 2)
        OK(coil_sleep(COIL_MS(1)));
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static int close_server(void *arg, void **result)
{
    (void)result;
    finish_server(arg);
    return 0;
}

/* Accepting is cancelled by another worker than the one whose ring accepts. */
WORKERS_TEST(4, cancel_to_the_wrong_ring_of_accept)
{
    for (unsigned i = 0; i < 16; i++) {
        coil_server *server;
        do_on_worker(i % 4, serve_here, &server);
        do_on_worker(i / 4, close_server, server);
    }
}

static int connect_here(void *arg, void **result)
{
    (void)result;
    void **pair = arg;
    pair[1] = connect_to(pair[0]);
    return 0;
}

static int finish_stream(void *arg, void **result)
{
    (void)result;
    finish(arg);
    return 0;
}

/* A stream reads ahead on the ring where it was opened. */
WORKERS_TEST(4, cancel_to_the_wrong_ring_of_receive)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    for (unsigned i = 0; i < 16; i++) {
        void *pair[2] = {server, NULL};
        do_on_worker(i % 4, connect_here, pair);
        writes(pair[1], "hello\n");
        reads_line(pair[1], "hello\n");
        do_on_worker(i / 4, finish_stream, pair[1]);
    }
    finish_server(server);
}

static int connect_in_vain(void *arg, void **result)
{
    char port[16];
    coil_stream *s;
    (void)result;
    snprintf(port, sizeof port, "%d", *(int *)arg);
    fetch_add_acq_rel(&visits, 1);
    COIL_TRY(coil_open_connection("127.0.0.1", port, &s));
    coil_stream_close(s); /* the backlog had room */
    int rc = coil_stream_wait_closed(s);
    coil_stream_free(s);
    return rc;
}

static int cancel_from_here(void *arg, void **result)
{
    (void)result;
    coil_task_cancel(arg, NULL);
    return 0;
}

WORKERS_TEST(4, cancel_to_the_wrong_ring_of_connect)
{
    int port, listener = silent_listener(0, &port);
    for (unsigned i = 0; i < 16; i++) {
        store_relaxed(&visits, 0);
        coil_task *task = on_worker(i % 4, connect_in_vain, &port);
        while (load_acquire(&visits) == 0)
            OK(coil_sleep(0));
        do_on_worker(i / 4, cancel_from_here, task);
        catch_cancelled(coil_join(task, NULL));
    }
    close(listener);
}

/* More completions than the ring has places for, while the worker computes and its tasks are stolen. */
enum { BURST = 6000 };

typedef struct reading {
    struct coil__op op;
    char byte;
} reading;

static _Atomic int readings_ended;
static int pair_of_sockets[2];

static void reading_ended(coil__handle *h)
{
    const reading *r = coil_container_of(h, reading, op.handle);
    ck_assert_int_eq(r->op.res, 1);
    ck_assert_int_eq(r->byte, 'b');
    fetch_add_acq_rel(&readings_ended, 1);
}

static const coil__handle_ops reading_ops = {reading_ended, reading_ended, "reading"};

static void *write_burst(void *arg)
{
    char text[100];
    memset(text, 'b', sizeof text);
    for (size_t i = 0; i < BURST / sizeof text; i++)
        ck_assert_int_eq((int)write(pair_of_sockets[1], text, sizeof text), (int)sizeof text);
    sem_post(arg);
    return NULL;
}

static int read_burst(void *arg, void **result)
{
    reading *readings = calloc(BURST, sizeof *readings);
    coil_loop *loop = coil_get_running_loop();
    pthread_t thread;
    sem_t written;
    (void)arg, (void)result;
    for (int i = 0; i < BURST; i++) {
        reading *r = &readings[i];
        coil__op_init(&r->op, COIL__OP_RECV, pair_of_sockets[0], &reading_ops);
        r->op.wait_first = true;
        r->op.data = &r->byte;
        r->op.bytes = 1;
        coil__op_submit(loop, &r->op);
    }
    OK(coil_sleep(COIL_MS(1))); /* all are with the kernel */
    sem_init(&written, 0, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, write_burst, &written), 0);
    for (int i = 0; i < 256; i++)
        OK(coil_create_task(coil_coro_of(visit, NULL), NULL));
    while (sem_trywait(&written) != 0) { /* computes */
    }
    while (load_acquire(&readings_ended) < BURST)
        OK(coil_sleep(COIL_US(100)));
    pthread_join(thread, NULL);
    sem_destroy(&written);
    free(readings);
    return 0;
}

WORKERS_TEST(4, completion_queue_overflow_under_stealing)
{
    store_relaxed(&readings_ended, 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair_of_sockets), 0);
    int flags = fcntl(pair_of_sockets[1], F_GETFL);
    ck_assert_int_eq(fcntl(pair_of_sockets[1], F_SETFL, flags & ~O_NONBLOCK), 0);
    do_on_worker(1, read_burst, NULL);
    ck_assert_int_eq(load_acquire(&readings_ended), BURST);
    close(pair_of_sockets[0]);
    close(pair_of_sockets[1]);
}

/* --- sleeping and waking ---------------------------------------------------------------------------------------- */

enum { PINGS = 20000 };

typedef struct table {
    coil_loop *loop;
    coil_event *over;
    sem_t answered;
} table;

static int answer(void *arg)
{
    sem_post(&((table *)arg)->answered);
    return 0;
}

static int tell_over(void *arg)
{
    coil_event_set(((table *)arg)->over);
    return 0;
}

/* Each call comes a little earlier or later in the way of a worker to its sleep. */
static void *ping(void *arg)
{
    table *t = arg;
    for (unsigned i = 0; i < PINGS; i++) {
        OK(coil_loop_call_soon_threadsafe(t->loop, answer, t, NULL));
        while (sem_wait(&t->answered) != 0) {
        }
        spin(i * 7919 % 4096);
    }
    OK(coil_loop_call_soon_threadsafe(t->loop, tell_over, t, NULL));
    return NULL;
}

static void wake_up_in_time(void)
{
    table t = {.loop = coil_get_running_loop()};
    pthread_t thread;
    sem_init(&t.answered, 0, 0);
    OK(coil_event_new(&t.over));
    ck_assert_int_eq(pthread_create(&thread, NULL, ping, &t), 0);
    OK(coil_event_wait(t.over));
    pthread_join(thread, NULL);
    coil_event_free(t.over);
    sem_destroy(&t.answered);
}

/* See also tests/model. Here a lost one is a test that takes for ever. */
TEST(wake_lost_between_empty_check_and_park)
{
    run_on_workers(1, wake_up_in_time);
    run_on_workers(4, wake_up_in_time);
}

static int answer_task(void *arg, void **result)
{
    (void)result;
    sem_post(&((table *)arg)->answered);
    return 0;
}

static void *ping_by_task(void *arg)
{
    table *t = arg;
    for (unsigned i = 0; i < PINGS / 4; i++) {
        OK(coil_run_coroutine_threadsafe(coil_coro_of(answer_task, t), t->loop, NULL));
        while (sem_wait(&t->answered) != 0) {
        }
        spin(i * 7919 % 4096);
    }
    OK(coil_loop_call_soon_threadsafe(t->loop, tell_over, t, NULL));
    return NULL;
}

static void wake_up_for_tasks(void)
{
    table t = {.loop = coil_get_running_loop()};
    pthread_t thread;
    sem_init(&t.answered, 0, 0);
    OK(coil_event_new(&t.over));
    ck_assert_int_eq(pthread_create(&thread, NULL, ping_by_task, &t), 0);
    OK(coil_event_wait(t.over));
    pthread_join(thread, NULL);
    coil_event_free(t.over);
    sem_destroy(&t.answered);
}

TEST(wake_lost_between_empty_check_and_park_of_a_task)
{
    run_on_workers(1, wake_up_for_tasks);
    run_on_workers(4, wake_up_for_tasks);
}

/* --- timers ----------------------------------------------------------------------------------------------------- */

typedef struct sleeper {
    coil_task *task;
    int64_t delay;
    unsigned number;
} sleeper;

static int sleep_a_little(void *arg, void **result)
{
    const sleeper *s = arg;
    (void)result;
    return coil_sleep(s->delay);
}

static int cancel_at_the_time(void *arg, void **result)
{
    const sleeper *s = arg;
    (void)result;
    int64_t from = coil_loop_time(coil_get_running_loop()), wait = s->delay + (int64_t)s->number % 7 * 2000;
    while (coil_loop_time(coil_get_running_loop()) - from < wait) {
    }
    coil_task_cancel(s->task, NULL);
    return 0;
}

/* It goes off on the worker where it was armed, while another cancels the sleep, and the task goes on on a third. */
WORKERS_TEST(4, timer_fired_while_the_task_migrates)
{
    sleeper sleepers[8];
    coil_task *others[8];
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned k = 0; k < 8; k++) {
            sleepers[k] = (sleeper){.delay = COIL_US(1 + (i + k) % 20), .number = i + k};
            sleepers[k].task = spawn(coil_coro_of(sleep_a_little, &sleepers[k]));
            others[k] = on_worker(k % 4, cancel_at_the_time, &sleepers[k]);
        }
        for (unsigned k = 0; k < 8; k++) {
            OK(coil_join(others[k], NULL));
            catch_cancelled(coil_join(sleepers[k].task, NULL));
        }
    }
}

COIL_TEST_MAIN("runtime_moves")
