/*
 * test_protocol_server.c - servers that make a protocol for each connection, on a loop of its own and on several workers
 */
#include "net.h"

#include <stdatomic.h>
#include <stdlib.h>

/* One connection: sends back what it receives, and counts. */
typedef struct session {
    size_t received;
} session;

static atomic_int made, lost, refused, aborted;

static int session_made(coil_transport *t, void *arg)
{
    (void)t;
    (void)arg;
    atomic_fetch_add(&made, 1);
    return 0;
}

static int session_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    ((session *)arg)->received += n;
    return coil_transport_write(t, data, n);
}

static void session_lost(coil_transport *t, coil_error *error, void *arg)
{
    (void)t;
    atomic_fetch_add(error ? &aborted : &lost, 1);
    free(arg);
}

static const coil_protocol session_protocol = {
    .connection_made = session_made,
    .data_received = session_data,
    .connection_lost = session_lost,
};

static int make_session(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    (void)factory_arg;
    *protocol = &session_protocol;
    *arg = calloc(1, sizeof(session));
    return 0;
}

static int make_nothing(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    (void)factory_arg;
    (void)protocol;
    (void)arg;
    atomic_fetch_add(&refused, 1);
    return coil_raise(-EPERM, "not today");
}

static void reset_counts(void)
{
    atomic_store(&made, 0);
    atomic_store(&lost, 0);
    atomic_store(&refused, 0);
    atomic_store(&aborted, 0);
}

static coil_server *serving(coil_protocol_factory *factory)
{
    coil_server *server;
    reset_counts();
    OK(coil_create_server(factory, NULL, "127.0.0.1", "0", NULL, &server));
    return server;
}

/* Sends lines, and reads each back. */
static int talk(void *arg, void **result)
{
    coil_stream *s = connect_to(arg);
    (void)result;
    for (int i = 0; i < 50; i++) {
        char line[32];
        snprintf(line, sizeof line, "line %d\n", i);
        writes(s, line);
        reads_line(s, line);
    }
    finish(s);
    return 0;
}

static void talk_from(coil_server *server, int clients)
{
    coil_task *tasks[64];
    for (int i = 0; i < clients; i++)
        tasks[i] = spawn(coil_coro_of(talk, server));
    for (int i = 0; i < clients; i++)
        OK(coil_join(tasks[i], NULL));
}

NET_TEST(each_connection_gets_a_protocol_that_hears_of_its_end)
{
    coil_server *server = serving(make_session);
    talk_from(server, 20);
    finish_server(server); /* waits for them */
    ck_assert_int_eq(atomic_load(&made), 20);
    ck_assert_int_eq(atomic_load(&lost), 20);
}

/* One that stops reading when it has begun, as every second one does. */
static int shy_made(coil_transport *t, void *arg)
{
    if (atomic_load(&made) % 2)
        coil_transport_pause_reading(t);
    return session_made(t, arg);
}

static const coil_protocol shy_protocol = {
    .connection_made = shy_made,
    .data_received = session_data,
    .connection_lost = session_lost,
};

static int make_shy(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    (void)factory_arg;
    *protocol = &shy_protocol;
    *arg = calloc(1, sizeof(session));
    return 0;
}

enum { LEFT = 6 };

static int left_to_the_end[LEFT];

/* Its clients are plain sockets, which stay when it returns. */
static int leave_connected(void *arg, void **result)
{
    coil_server *server = serving(make_shy);
    (void)arg;
    (void)result;
    for (int i = 0; i < LEFT; i++)
        left_to_the_end[i] = plain_client(server);
    while (atomic_load(&made) < LEFT)
        OK(coil_sleep(COIL_MS(1)));
    coil_server_free(server);
    return 0;
}

static void check_left(int before)
{
    char byte;
    ck_assert_int_eq(atomic_load(&lost), LEFT);
    for (int i = 0; i < LEFT; i++) {
        ck_assert_int_eq(read(left_to_the_end[i], &byte, 1), 0);
        close(left_to_the_end[i]);
    }
    ck_assert_int_eq(open_descriptors(), before);
}

TEST(connections_that_are_left_end_with_their_loop)
{
    int before = open_descriptors();
    OK(coil_run(coil_coro_of(leave_connected, NULL), NULL));
    check_left(before);
}

TEST(connections_that_are_left_end_with_their_runtime)
{
    int before = open_descriptors();
    coil_runtime_options o = {.size = sizeof o, .workers = 4};
    OK(coil_runtime_run(&o, coil_coro_of(leave_connected, NULL), NULL));
    check_left(before);
}

static void gone_before(coil_transport *t, coil_error *error, void *arg)
{
    ck_assert_ptr_null(t);
    session_lost(t, error, arg);
}

/* Stops the loop that it is called in, so that what it has made does not begin. */
static int make_too_late(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    static const coil_protocol late = {
        .connection_made = session_made, .data_received = session_data, .connection_lost = gone_before};
    coil_loop_stop(coil_get_running_loop());
    int rc = make_session(factory_arg, protocol, arg);
    *protocol = &late;
    return rc;
}

static int serve_too_late(void *arg, void **result)
{
    (void)arg;
    *result = serving(make_too_late);
    return 0;
}

TEST(a_connection_that_did_not_begin_before_its_loop_was_closed_hears_of_its_end)
{
    int before = open_descriptors();
    coil_loop *loop;
    void *server;
    OK(coil_new_event_loop(NULL, &loop));
    OK(coil_loop_run_until_complete(loop, coil_coro_of(serve_too_late, NULL), &server));
    int client = plain_client(server);
    OK(coil_loop_run_forever(loop));
    coil_server_free(server);
    coil_loop_free(loop);
    ck_assert_int_eq(atomic_load(&made), 0);
    ck_assert_int_eq(atomic_load(&lost), 1);
    close(client);
    ck_assert_int_eq(open_descriptors(), before);
}

NET_TEST(a_unix_server_makes_protocols_too)
{
    coil_server *server;
    coil_stream *s;
    reset_counts();
    OK(coil_create_unix_server(make_session, NULL, abstract_name(), NULL, &server));
    OK(coil_open_unix_connection(abstract_name(), NULL, &s));
    writes(s, "hello\n");
    reads_line(s, "hello\n");
    ck_assert_uint_eq(coil_server_clients(server), 1);
    finish(s);
    finish_server(server);
    ck_assert_int_eq(atomic_load(&lost), 1);
}

NET_TEST(a_factory_that_fails_is_reported_and_the_connection_closed)
{
    coil_server *server = serving(make_nothing);
    coil_stream *s = connect_to(server);
    reads_line(s, "");
    expect_report("A connection could not be served", -EPERM, "not today");
    ck_assert_int_eq(atomic_load(&refused), 1);
    finish(s);
    finish_server(server);
}

NET_TEST(cancelling_the_clients_aborts_their_connections)
{
    coil_server *server = serving(make_session);
    coil_stream *streams[5];
    for (int i = 0; i < 5; i++) {
        streams[i] = connect_to(server);
        writes(streams[i], "here\n");
        reads_line(streams[i], "here\n");
    }
    coil_server_close(server);
    coil_server_cancel_clients(server);
    OK(coil_server_wait_closed(server));
    ck_assert_int_eq(atomic_load(&lost), 5);
    for (int i = 0; i < 5; i++) {
        char c;
        size_t n = 1;
        coil_error_release(coil_catch(coil_stream_read(streams[i], &c, 1, &n)));
        coil_stream_free(streams[i]);
    }
    coil_server_free(server);
}

static coil_server *cancelled_server;

static int make_and_cancel(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    coil_server_cancel_clients(cancelled_server);
    return make_session(factory_arg, protocol, arg);
}

NET_TEST(a_factory_that_cancels_the_clients_cancels_its_own_too)
{
    cancelled_server = serving(make_and_cancel);
    coil_stream *s = connect_to(cancelled_server);
    reads_line(s, "");
    ck_assert_int_eq(atomic_load(&lost), 1);
    finish(s);
    finish_server(cancelled_server);
}

NET_TEST(a_drained_server_lets_its_protocols_end_until_the_deadline)
{
    coil_server *server = serving(make_session);
    coil_stream *s = connect_to(server);
    writes(s, "here\n");
    reads_line(s, "here\n");
    ck_assert_int_eq(coil_server_drain(server, COIL_SECONDS(5)), 1);
    ck_assert_int_eq(atomic_load(&lost), 1);
    coil_stream_free(s);
    coil_server_free(server);
}

static int on_workers(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_server *server = serving(make_session);
    for (int round = 0; round < 5; round++)
        talk_from(server, 40);
    finish_server(server);
    ck_assert_int_eq(atomic_load(&made), 200);
    ck_assert_int_eq(atomic_load(&lost) + atomic_load(&aborted), 200);
    return 0;
}

TEST(several_workers_share_the_protocols)
{
    coil_runtime_options options = {.size = sizeof options, .workers = 4};
    int before = open_descriptors();
    OK(coil_runtime_run(&options, coil_coro_of(on_workers, NULL), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

/* --- cancelled while they begin ---------------------------------------------------------------------------------- */

static atomic_int factories;

static int make_counted(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    atomic_fetch_add(&factories, 1);
    return make_session(factory_arg, protocol, arg);
}

static int cancel_often(void *server, void **result)
{
    (void)result;
    for (int i = 0; i < 2000; i++) {
        coil_server_cancel_clients(server);
        OK(coil_sleep(0));
    }
    return 0;
}

static int knock(void *server, void **result)
{
    (void)result;
    for (int i = 0; i < 100; i++) {
        coil_stream_free(connect_to(server));
        OK(coil_sleep(0));
    }
    return 0;
}

static int cancelled_on_workers(void *arg, void **result)
{
    (void)arg;
    (void)result;
    coil_task *tasks[6];
    coil_server *server = serving(make_counted);
    atomic_store(&factories, 0);
    for (int i = 0; i < 6; i++)
        tasks[i] = spawn(coil_coro_of(i % 2 ? cancel_often : knock, server));
    for (int i = 0; i < 6; i++)
        OK(coil_join(tasks[i], NULL));
    ck_assert_int_ge(coil_server_drain(server, 0), 0);
    coil_server_free(server);
    ck_assert_int_eq(atomic_load(&lost) + atomic_load(&aborted), atomic_load(&factories));
    ck_assert_int_eq(atomic_load(&made), atomic_load(&factories));
    return 0;
}

TEST(each_protocol_hears_of_its_end_also_if_it_is_cancelled_while_it_begins)
{
    coil_runtime_options options = {.size = sizeof options, .workers = 4};
    int before = open_descriptors();
    OK(coil_runtime_run(&options, coil_coro_of(cancelled_on_workers, NULL), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

COIL_TEST_MAIN("protocol_server")
