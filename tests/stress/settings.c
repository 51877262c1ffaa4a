/*
 * settings.c - small things that several workers use at the same time, and that no other program is about
 *
 * Each round takes one of them:
 *
 *   handlers    the exception handler is exchanged while others report: it is called with its own argument
 *   positions   a file tells its position while another task reads from there
 *   joins       a task that several join: its result goes to one of them
 *   pauses      a datagram endpoint whose writer is on another worker than it: it is not left paused
 *   helpers     communicate() of a process that somebody else reads from: it fails at once, not when the process ends
 *   starts      a server whose start is cancelled while clients connect: none is served after it has failed
 *   stand-ins   a server that is freed while others collect what completes for its worker
 *
 * and then, from outside of the runtime, tasks that watch descriptors and ask for the backend before worker 0 runs, and
 * between its runs.
 */
#define _GNU_SOURCE /* pipe2, memfd_create */
#include "../support/stress.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUND_MS = 60, REPORTERS = 4, JOINERS = 3, FILE_BYTES = 4096, LATE_MS = 700, ALARM_SECONDS = 60 };

static atomic_bool over; /* the round */

static coil_task *spawn(coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    stress_ok(coil_create_task(coil_coro_of(fn, arg), &task));
    return task;
}

/* On the worker with that number. */
static coil_task *spawn_on(unsigned number, coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = number + 1};
    stress_ok(coil_create_task_with(coil_coro_of(fn, arg), &o, &task));
    return task;
}

static void yield(void)
{
    stress_ok(coil_sleep(0));
}

static bool round_goes_on(double end)
{
    return stress_now() < end;
}

/* --- handlers ---------------------------------------------------------------------------------------------------- */

static int first, second;

static int first_handler(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context;
    MUST(arg == &first);
    return 0;
}

static int second_handler(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context;
    MUST(arg == &second);
    return 0;
}

static int failing_callback(void *arg)
{
    (void)arg;
    return coil_raise(-EIO, "for the handler");
}

static int reporter(void *loop, void **result)
{
    (void)result;
    while (!atomic_load(&over)) {
        stress_ok(coil_loop_call_soon(loop, failing_callback, NULL, NULL));
        yield();
    }
    yield(); /* the last callback runs before this goes on */
    return 0;
}

static void handlers(double end)
{
    coil_loop *loop = coil_get_running_loop();
    coil_task *reporters[REPORTERS];
    coil_loop_set_exception_handler(loop, first_handler, &first);
    for (int i = 0; i < REPORTERS; i++)
        reporters[i] = spawn(reporter, loop);
    while (round_goes_on(end)) {
        coil_loop_set_exception_handler(loop, second_handler, &second);
        yield();
        coil_loop_set_exception_handler(loop, first_handler, &first);
        yield();
    }
    atomic_store(&over, true);
    for (int i = 0; i < REPORTERS; i++)
        stress_join(reporters[i]);
}

/* --- positions --------------------------------------------------------------------------------------------------- */

static int teller(void *file, void **result)
{
    (void)result;
    while (!atomic_load(&over)) {
        int64_t at = coil_file_tell(file);
        MUST(at >= 0 && at <= FILE_BYTES);
        yield();
    }
    return 0;
}

static void positions(double end)
{
    coil_file *file;
    char buf[100];
    int fd = memfd_create("positions", MFD_CLOEXEC);
    MUST(fd >= 0 && ftruncate(fd, FILE_BYTES) == 0);
    stress_ok(coil_file_from_fd(fd, &file));
    coil_task *task = spawn(teller, file);
    while (round_goes_on(end)) {
        size_t n;
        stress_ok(coil_file_read(file, buf, sizeof buf, &n));
        if (n == 0)
            stress_ok(coil_file_seek(file, 0));
    }
    atomic_store(&over, true);
    stress_join(task);
    stress_ok(coil_file_close(file));
}

/* --- joins ------------------------------------------------------------------------------------------------------- */

static int producer(void *arg, void **result)
{
    (void)arg;
    coil_task_set_result_drop(coil_current_task(), free);
    yield();
    *result = malloc(1);
    return 0;
}

static int joiner(void *task, void **result)
{
    void *value = NULL;
    stress_ok(coil_join(task, &value));
    free(value);
    *result = (void *)(uintptr_t)(value != NULL);
    return 0;
}

static void joins(double end)
{
    while (round_goes_on(end)) {
        uintptr_t got = 0;
        coil_task *task = spawn(producer, NULL), *joiners[JOINERS];
        for (int i = 0; i < JOINERS; i++)
            joiners[i] = spawn(joiner, coil_retain(task));
        coil_release(task);
        for (int i = 0; i < JOINERS; i++) {
            void *one;
            stress_ok(coil_join(joiners[i], &one));
            got += (uintptr_t)one;
        }
        MUST(got == 1);
    }
}

/* --- pauses ------------------------------------------------------------------------------------------------------ */

static atomic_bool paused;

static void pause_writing(coil_datagram_transport *transport, void *arg)
{
    (void)transport, (void)arg;
    atomic_store(&paused, true);
}

static void resume_writing(coil_datagram_transport *transport, void *arg)
{
    (void)transport, (void)arg;
    atomic_store(&paused, false);
}

static const coil_datagram_protocol pausing = {.pause_writing = pause_writing, .resume_writing = resume_writing};

static int datagram_writer(void *transport, void **result)
{
    (void)result;
    while (!atomic_load(&over)) {
        double since = stress_now();
        while (atomic_load(&paused)) {
            MUST(stress_now() - since < ALARM_SECONDS / 2);
            stress_ok(coil_sleep(COIL_US(50)));
        }
        stress_ok(coil_datagram_transport_sendto(transport, "data", 4, NULL));
    }
    return 0;
}

static void pauses(double end)
{
    int fds[2];
    char buf[16];
    coil_datagram_transport *transport;
    MUST(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    coil_pin();
    unsigned home = coil_worker_number();
    stress_ok(coil_create_datagram_endpoint_on(&pausing, NULL, fds[0], &transport));
    stress_ok(coil_datagram_transport_set_write_limits(transport, 0, 0));
    coil_task *task = spawn_on((home + 1) % coil_worker_count(), datagram_writer, transport);
    while (round_goes_on(end) || atomic_load(&paused)) {
        while (recv(fds[1], buf, sizeof buf, 0) >= 0) {
        }
        yield();
    }
    atomic_store(&over, true);
    while (!coil_future_done(task)) { /* it may be paused once more */
        while (recv(fds[1], buf, sizeof buf, 0) >= 0) {
        }
        yield();
    }
    stress_join(task);
    coil_unpin();
    coil_datagram_transport_free(transport);
    close(fds[1]);
}

/* --- helpers ----------------------------------------------------------------------------------------------------- */

static int other_reader(void *stream, void **result)
{
    char buf[16];
    size_t n;
    (void)result;
    (void)stress_caught(coil_stream_read(stream, buf, sizeof buf, &n));
    return 0;
}

static void helpers(double end)
{
    const char *const argv[] = {"sleep", "1", NULL};
    coil_process_options o = {
        .size = sizeof o, .argv = argv, .stdout_to = COIL_SUBPROCESS_PIPE, .stderr_to = COIL_SUBPROCESS_PIPE};
    unsigned refused = 0;
    while (round_goes_on(end) || refused == 0) { /* it is what the round is there for */
        coil_process *p;
        coil_process_data out, err;
        stress_ok(coil_create_subprocess_exec(&o, &p));
        coil_task *reader = spawn(other_reader, coil_process_stdout(p));
        stress_ok(coil_sleep(COIL_MS(1)));
        double since = stress_now();
        int rc = stress_caught(coil_process_communicate(p, NULL, 0, &out, &err));
        MUST(rc == COIL_EBUSY || rc == 0); /* 0: the other one did not get that far, and read at the end */
        MUST(rc == 0 || stress_now() - since < LATE_MS / 1000.0);
        refused += rc == COIL_EBUSY;
        if (rc == 0) {
            free(out.data);
            free(err.data);
        }
        coil_task_cancel(reader, NULL);
        (void)stress_caught(coil_join(reader, NULL));
        (void)stress_caught(coil_process_kill(p));
        stress_ok(coil_process_wait(p, NULL));
        coil_process_free(p);
    }
}

/* --- starts ------------------------------------------------------------------------------------------------------ */

typedef struct service {
    char port[8];
    atomic_bool up;
} service;

static int serve_while_up(coil_stream *stream, void *arg)
{
    service *s = arg;
    MUST(atomic_load(&s->up));
    stress_spin(1000);
    MUST(atomic_load(&s->up));
    coil_stream_free(stream);
    return 0;
}

/* Its argument goes with the server, also with one that was not started. */
static int starter(void *port, void **result)
{
    coil_server *server;
    (void)result;
    service *s = calloc(1, sizeof *s);
    strcpy(s->port, port);
    atomic_store(&s->up, true);
    int rc = stress_caught(coil_start_server(serve_while_up, s, "127.0.0.1", s->port, NULL, &server));
    if (rc == 0) {
        coil_server_close(server);
        while (stress_caught(coil_server_wait_closed(server)) == -ECANCELED) {
        }
        coil_server_free(server);
    }
    MUST(rc == 0 || rc == -ECANCELED);
    atomic_store(&s->up, false);
    free(s);
    return 0;
}

static int visitor(void *port, void **result)
{
    (void)result;
    while (!atomic_load(&over)) {
        coil_stream *stream;
        if (stress_caught(coil_open_connection("127.0.0.1", port, &stream)) < 0)
            continue;
        coil_stream_abort(stream);
        coil_stream_free(stream);
    }
    return 0;
}

static void choose_port(char port[8])
{
    coil_server *server;
    stress_ok(coil_start_server(serve_while_up, NULL, "127.0.0.1", "0", NULL, &server));
    snprintf(port, 8, "%d", coil_server_port(server));
    coil_server_close(server);
    stress_ok(coil_server_wait_closed(server));
    coil_server_free(server);
}

static void starts(double end)
{
    char port[8];
    uint64_t random = stress_random_state(1);
    choose_port(port);
    coil_task *visitors[2] = {spawn(visitor, port), spawn(visitor, port)};
    while (round_goes_on(end)) {
        coil_task *task = spawn(starter, port);
        yield();
        stress_spin(stress_random(&random, 30000));
        coil_task_cancel(task, NULL);
        (void)stress_caught(coil_join(task, NULL));
    }
    atomic_store(&over, true);
    stress_join(visitors[0]);
    stress_join(visitors[1]);
}

/* --- stand-ins --------------------------------------------------------------------------------------------------- */

static int announce(coil_stream *stream, void *event)
{
    coil_stream_free(stream);
    coil_event_set(event);
    return 0;
}

typedef struct announced {
    coil_event *event;
    coil_server *server;
} announced;

static int start_announcing(void *arg, void **result)
{
    announced *a = arg;
    (void)result;
    return coil_start_server(announce, a->event, "127.0.0.1", "0", NULL, &a->server);
}

static void stand_ins(double end)
{
    while (round_goes_on(end)) {
        char port[8];
        announced a;
        coil_stream *stream;
        stress_ok(coil_event_new(&a.event));
        stress_join(spawn_on(coil_worker_count() - 1, start_announcing, &a));
        snprintf(port, sizeof port, "%d", coil_server_port(a.server));
        stress_ok(coil_open_connection("127.0.0.1", port, &stream));
        stress_ok(coil_event_wait(a.event));
        coil_server_free(a.server);
        coil_stream_free(stream);
        stress_ok(coil_sleep(COIL_US(200)));
        coil_event_free(a.event);
    }
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

static int rounds(void *arg, void **result)
{
    static void (*const all[])(double end) = {handlers, positions, joins, pauses, helpers, starts, stand_ins};
    enum { ALL = sizeof all / sizeof *all };
    double end = *(double *)arg;
    (void)result;
    for (size_t i = 0; i < ALL || stress_now() < end; i++) {
        alarm(ALARM_SECONDS);
        atomic_store(&over, false);
        all[i % ALL](stress_now() + ROUND_MS / 1000.0);
    }
    return 0;
}

/* --- from outside ------------------------------------------------------------------------------------------------ */

static int ask_for_backend(void *loop, void **result)
{
    coil_backend_info info = {.size = sizeof info};
    (void)result;
    stress_ok(coil_loop_backend_info(loop, &info));
    return 0;
}

typedef struct watched {
    int ends[2];
    atomic_uint called;
} watched;

static int take_byte(void *arg)
{
    watched *w = arg;
    char byte;
    if (read(w->ends[0], &byte, 1) == 1)
        atomic_fetch_add(&w->called, 1);
    return 0;
}

/* On another worker than 0, which may not run meanwhile. */
static int watcher(void *loop, void **result)
{
    watched w = {.called = 0};
    (void)result;
    MUST(pipe2(w.ends, O_NONBLOCK | O_CLOEXEC) == 0);
    while (!atomic_load(&over)) {
        unsigned before = atomic_load(&w.called);
        stress_ok(coil_loop_add_reader(loop, w.ends[0], take_byte, &w));
        MUST(write(w.ends[1], "x", 1) == 1);
        while (atomic_load(&w.called) == before)
            yield();
        MUST(coil_loop_remove_reader(loop, w.ends[0]));
        stress_ok(coil_sleep(COIL_US(50)));
    }
    close(w.ends[0]);
    close(w.ends[1]);
    return 0;
}

static int start_watcher(void *loop, void **result)
{
    *result = spawn_on(1, watcher, loop);
    return 0;
}

static int join_both(void *tasks, void **result)
{
    (void)result;
    stress_join(((coil_task **)tasks)[0]);
    stress_join(((coil_task **)tasks)[1]);
    return 0;
}

static int pause_a_little(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_sleep(COIL_US(200));
}

static void run_now_and_then(double end)
{
    coil_runtime *runtime;
    coil_task *tasks[2];
    void *started;
    atomic_store(&over, false);
    stress_ok(coil_runtime_new(&stress_options, &runtime));
    coil_loop *loop = coil_runtime_loop(runtime);
    stress_ok(coil_loop_create_task(loop, coil_coro_of(ask_for_backend, loop), NULL, &tasks[0]));
    stress_ok(coil_runtime_enter(runtime, coil_coro_of(start_watcher, loop), &started));
    tasks[1] = started;
    while (round_goes_on(end)) {
        usleep(200);
        stress_ok(coil_runtime_enter(runtime, coil_coro_of(pause_a_little, NULL), NULL));
    }
    atomic_store(&over, true);
    stress_ok(coil_runtime_enter(runtime, coil_coro_of(join_both, tasks), NULL));
    coil_runtime_free(runtime);
}

/* A third of the time each: rings of either kind, and from outside. */
int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    MUST(stress_options.workers > 1);
    double start = stress_now(), third = (stress_end - start) / 3;
    for (int i = 0; i < 2; i++) {
        double end = start + (i + 1) * third;
        stress_options.ring_mode = i == 0 ? COIL_RING_DEFER : COIL_RING_SHARED;
        stress_run(rounds, &end);
    }
    stress_options.ring_mode = COIL_RING_DEFAULT;
    do
        run_now_and_then(stress_now() + ROUND_MS / 1000.0);
    while (stress_time_left());
    return 0;
}
