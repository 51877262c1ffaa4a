/*
 * test_runtime_streams.c - connections that several workers use: each task is pinned to a worker of its own
 */
#include "net.h"
#include "workers.h"

#include <stdatomic.h>

enum { WORKERS = 4 };

/* The main task is pinned to worker 0. */
#define PINNED_TEST(name)             \
    static void name##_pinned(void);  \
    WORKERS_TEST(WORKERS, name)       \
    {                                 \
        coil_pin();                   \
        name##_pinned();              \
        coil_unpin();                 \
    }                                 \
    static void name##_pinned(void)

/*
 * --- a connection: its two ends, and the task that serves one of them
 * --------------------------------------------------
 */

typedef struct ends {
    coil_server *server;
    coil_stream *client, *served;
    coil_event *accepted, *over;
} ends;

/* Lends its stream to the test until that says that it is over. */
static int lend_stream(coil_stream *stream, void *arg)
{
    ends *e = arg;
    e->served = stream;
    coil_event_set(e->accepted);
    OK(coil_event_wait(e->over));
    coil_stream_close(stream);
    coil_stream_free(stream);
    return 0;
}

static int connect_body(void *arg, void **result)
{
    ends *e = arg;
    (void)result;
    e->client = connect_to(e->server);
    return 0;
}

/* The client's end was opened on worker 1, and is read ahead there. */
static void open_ends(ends *e)
{
    OK(coil_event_new(&e->accepted));
    OK(coil_event_new(&e->over));
    e->server = listen_with(lend_stream, e, NULL);
    do_on_worker(1, connect_body, e);
    OK(coil_event_wait(e->accepted));
}

static void close_ends(ends *e)
{
    coil_event_set(e->over);
    finish_server(e->server);
    coil_event_free(e->accepted);
    coil_event_free(e->over);
}

static int nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

/* What was given to that worker before has come to where it waits: a worker begins its tasks in their order. */
static void until_begun(unsigned number)
{
    do_on_worker(number, nothing, NULL);
}

static int free_client(void *arg, void **result)
{
    (void)result;
    coil_stream_free(((ends *)arg)->client);
    return 0;
}

static int read_hello(void *arg, void **result)
{
    (void)result;
    reads_line(((ends *)arg)->client, "hello\n");
    return 0;
}

static int write_hello(void *arg, void **result)
{
    (void)result;
    writes(((ends *)arg)->client, "hello\n");
    return 0;
}

PINNED_TEST(a_stream_is_read_and_written_where_a_task_happens_to_run)
{
    ends e;
    open_ends(&e);
    writes(e.served, "hello\n");
    do_on_worker(2, read_hello, &e);
    do_on_worker(3, write_hello, &e);
    reads_line(e.served, "hello\n");
    do_on_worker(2, free_client, &e);
    close_ends(&e);
}

PINNED_TEST(a_reader_is_woken_on_its_worker_by_data_that_come_to_another)
{
    ends e;
    open_ends(&e);
    coil_task *reader = on_worker(2, read_hello, &e);
    until_begun(2);
    writes(e.served, "hello\n");
    OK(coil_join(reader, NULL));
    do_on_worker(3, free_client, &e);
    close_ends(&e);
}

/*
 * --- closing
 * ------------------------------------------------------------------------------------------------------------
 */

static int close_client(void *arg, void **result)
{
    (void)result;
    coil_stream_close(((ends *)arg)->client);
    return 0;
}

static int abort_client(void *arg, void **result)
{
    (void)result;
    coil_stream_abort(((ends *)arg)->client);
    return 0;
}

static uint64_t parks_of(unsigned number)
{
    coil_worker_stats stats = {.size = sizeof stats};
    OK(coil_worker_get_stats(number, &stats));
    return stats.parks;
}

/* The receive in flight is worker 1's, which sleeps; the peer sees the end only if that lets go of it. */
static void ends_by(coil_coro_fn *how)
{
    ends e;
    char c;
    size_t n;
    open_ends(&e);
    uint64_t before = parks_of(1);
    until_begun(1);
    while (parks_of(1) == before)
        OK(coil_sleep(COIL_US(100)));
    do_on_worker(3, how, &e);
    OK(coil_stream_read(e.served, &c, 1, &n));
    ck_assert_uint_eq(n, 0);
    OK(coil_stream_wait_closed(e.client));
    coil_stream_free(e.client);
    close_ends(&e);
}

PINNED_TEST(a_stream_can_be_closed_from_another_worker)
{
    ends_by(close_client);
}

PINNED_TEST(a_stream_can_be_aborted_from_another_worker)
{
    ends_by(abort_client);
}

static int read_to_the_end(void *arg, void **result)
{
    ends *e = arg;
    char c;
    size_t n;
    (void)result;
    OK(coil_stream_read(e->client, &c, 1, &n));
    ck_assert_uint_eq(n, 0);
    return 0;
}

PINNED_TEST(a_reader_learns_that_the_stream_was_closed_on_another_worker)
{
    ends e;
    open_ends(&e);
    coil_task *reader = on_worker(2, read_to_the_end, &e);
    until_begun(2);
    do_on_worker(3, close_client, &e);
    OK(coil_join(reader, NULL));
    do_on_worker(1, free_client, &e);
    close_ends(&e);
}

/* What is buffered when a stream is closed is still sent, by the worker that has begun to. */
enum { MUCH = 4 * 1024 * 1024 };

static int write_much(void *arg, void **result)
{
    static char much[MUCH];
    (void)result;
    OK(coil_stream_write(((ends *)arg)->client, much, sizeof much));
    return 0;
}

PINNED_TEST(closing_on_another_worker_loses_no_byte_that_was_written)
{
    ends e;
    char *all;
    size_t n;
    open_ends(&e);
    do_on_worker(2, write_much, &e);
    do_on_worker(3, close_client, &e);
    OK(coil_stream_read_all(e.served, &all, &n));
    ck_assert_uint_eq(n, MUCH);
    free(all);
    do_on_worker(1, free_client, &e);
    close_ends(&e);
}

/*
 * --- the one reader
 * ------------------------------------------------------------------------------------------------------
 */

static int read_too(void *arg, void **result)
{
    char c;
    size_t n;
    (void)result;
    RAISES(COIL_EBUSY, "read() called while another coroutine is already waiting for incoming data",
           coil_stream_read(((ends *)arg)->client, &c, 1, &n));
    return 0;
}

PINNED_TEST(a_second_reader_is_refused_whatever_its_worker)
{
    ends e;
    open_ends(&e);
    coil_task *reader = on_worker(2, read_hello, &e);
    until_begun(2);
    do_on_worker(3, read_too, &e);
    writes(e.served, "hello\n");
    OK(coil_join(reader, NULL));
    do_on_worker(1, free_client, &e);
    close_ends(&e);
}

static int read_fed(void *arg, void **result)
{
    const char *line;
    size_t n;
    (void)result;
    OK(coil_stream_reader_readline(arg, &line, &n));
    ck_assert_uint_eq(n, 6);
    ck_assert_mem_eq(line, "hello\n", n);
    return 0;
}

PINNED_TEST(a_reader_by_itself_is_fed_from_another_worker)
{
    coil_stream_reader *r;
    OK(coil_stream_reader_new(coil_get_running_loop(), COIL_STREAM_LIMIT, &r));
    coil_task *reader = on_worker(1, read_fed, r);
    OK(coil_stream_reader_feed_data(r, "hel", 3));
    until_begun(1);
    OK(coil_stream_reader_feed_data(r, "lo\n", 3));
    OK(coil_join(reader, NULL));
    coil_stream_reader_free(r);
}

/*
 * --- descriptors
 * ---------------------------------------------------------------------------------------------------------
 */

/*
 * A number that one worker watches, and another closes, comes back as another file: with every worker
 * watching in turn.
 */
PINNED_TEST(a_descriptors_number_can_be_used_again_by_another_worker)
{
    for (unsigned i = 0; i < 20; i++) {
        ends e;
        open_ends(&e);
        coil_task *reader = on_worker(i % WORKERS, read_hello, &e);
        OK(coil_sleep(0));
        writes(e.served, "hello\n");
        OK(coil_join(reader, NULL));
        do_on_worker((i + 1) % WORKERS, free_client, &e);
        close_ends(&e);
    }
}

/*
 * --- servers
 * -------------------------------------------------------------------------------------------------------------
 */

static int close_server(void *arg, void **result)
{
    (void)result;
    coil_server_close(((ends *)arg)->server);
    return 0;
}

static int serve_for_ever(void *arg, void **result)
{
    (void)result;
    return coil_server_serve_forever(((ends *)arg)->server);
}

PINNED_TEST(a_server_can_be_closed_from_another_worker)
{
    ends e = {.server = listen_with(echo, NULL, NULL)};
    coil_task *serving = on_worker(2, serve_for_ever, &e);
    until_begun(2);
    do_on_worker(3, close_server, &e);
    ck_assert_int_eq(coil_join(serving, NULL), -ECANCELED);
    caught(-ECANCELED);
    OK(coil_server_wait_closed(e.server));
    coil_server_free(e.server);
}

static int wait_for_ever(coil_stream *stream, void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    int rc = coil_sleep(COIL_SECONDS(1000));
    coil_stream_free(stream);
    return rc;
}

static int cancel_clients(void *arg, void **result)
{
    (void)result;
    coil_server_cancel_clients(((ends *)arg)->server);
    return 0;
}

PINNED_TEST(clients_can_be_cancelled_from_another_worker)
{
    atomic_int serving = 0;
    ends e = {.server = listen_with(wait_for_ever, &serving, NULL)};
    coil_stream *clients[8];
    for (int i = 0; i < 8; i++)
        clients[i] = connect_to(e.server);
    while (atomic_load(&serving) < 8)
        OK(coil_sleep(COIL_MS(1)));
    do_on_worker(3, cancel_clients, &e);
    for (int i = 0; i < 8; i++)
        finish(clients[i]);
    finish_server(e.server);
}

/*
 * --- names
 * ---------------------------------------------------------------------------------------------------------------
 */

static int connect_by_name(void *arg, void **result)
{
    char port[16];
    coil_stream *stream;
    (void)result;
    snprintf(port, sizeof port, "%d", coil_server_port(((ends *)arg)->server));
    OK(coil_open_connection("localhost", port, &stream));
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
    return 0;
}

PINNED_TEST(every_worker_can_look_up_names)
{
    ends e = {.server = listen_with(echo, NULL, NULL)};
    coil_task *tasks[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++)
        tasks[i] = on_worker(i, connect_by_name, &e);
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(tasks[i], NULL));
    finish_server(e.server);
}

COIL_TEST_MAIN("runtime_streams")
