/*
 * test_server_options.c - servers: draining, their sockets, all interfaces with one, a socket per worker, short of
 * descriptors
 */
#include "net.h"

#include <sys/resource.h>

/* --- draining --------------------------------------------------------------------------------------------------- */

NET_TEST(draining_waits_for_those_who_end_in_time)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server);
    writes(stream, "x\n");
    reads_line(stream, "x\n");
    coil_stream_free(stream);
    ck_assert_int_eq(coil_server_drain(server, COIL_FOREVER), 0);
    ck_assert_uint_eq(coil_server_clients(server), 0);
    ck_assert_int_eq(coil_server_drain(server, 0), 0); /* again */
    coil_server_free(server);
}

NET_TEST(draining_cancels_those_who_are_left)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *streams[3];
    char c;
    size_t n;
    for (int i = 0; i < 3; i++) {
        streams[i] = connect_to(server);
        writes(streams[i], "x\n");
        reads_line(streams[i], "x\n");
    }
    ck_assert_int_eq(coil_server_drain(server, COIL_MS(50)), 3);
    ck_assert_int_ge(now_ms(), 50);
    ck_assert(!coil_server_is_serving(server));
    for (int i = 0; i < 3; i++) {
        OK(coil_stream_read(streams[i], &c, 1, &n));
        ck_assert_uint_eq(n, 0);
        finish(streams[i]);
    }
    coil_server_free(server);
}

static int drain_body(void *arg, void **result)
{
    (void)result;
    return coil_server_drain(arg, COIL_FOREVER);
}

NET_TEST(draining_can_be_cancelled)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server);
    writes(stream, "x\n");
    reads_line(stream, "x\n");
    coil_task *task = spawn(coil_coro_of(drain_body, server));
    turns(3);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    writes(stream, "y\n"); /* nobody was cancelled */
    reads_line(stream, "y\n");
    finish(stream);
    finish_server(server);
}

/* --- sockets ---------------------------------------------------------------------------------------------------- */

NET_TEST(a_server_tells_its_sockets)
{
    int fds[4] = {-1, -1, -1, -1};
    coil_server *server = listen_with(echo, NULL, NULL);
    ck_assert_uint_eq(coil_server_sockets(server, NULL, 0), 1);
    ck_assert_uint_eq(coil_server_sockets(server, fds, 4), 1);
    ck_assert_int_eq(socket_option(fds[0], SOL_SOCKET, SO_ACCEPTCONN), 1);
    ck_assert_int_eq(fds[1], -1);
    coil_server_close(server);
    ck_assert_uint_eq(coil_server_sockets(server, fds, 4), 0);
    finish_server(server);
}

NET_TEST(one_socket_serves_both_families_if_it_is_to)
{
    coil_server_options o = {.size = sizeof o, .dual_stack = true};
    coil_server *server;
    int fd;
    OK(coil_start_server(echo, NULL, NULL, "0", &o, &server));
    ck_assert_uint_eq(coil_server_sockets(server, &fd, 1), 1);
    coil_stream *stream = connect_to(server); /* 127.0.0.1 */
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
    finish_server(server);
}

NET_TEST(a_server_listens_on_the_family_that_it_is_told)
{
    coil_server_options o = {.size = sizeof o, .family = AF_INET};
    coil_server *server;
    coil_address a;
    int fd;
    OK(coil_start_server(echo, NULL, NULL, "0", &o, &server));
    ck_assert_uint_eq(coil_server_sockets(server, &fd, 1), 1);
    OK(coil_address_of_socket(fd, &a));
    ck_assert_int_eq(a.any.sa_family, AF_INET);
    finish_server(server);
    o.family = AF_UNIX;
    RAISES(-EINVAL, "unexpected address family", coil_start_server(echo, NULL, NULL, "0", &o, &server));
}

/* --- a socket per worker ---------------------------------------------------------------------------------------- */

static int one_client(void *arg, void **result)
{
    coil_stream *stream = connect_to(arg);
    (void)result;
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
    return 0;
}

static void serve_on_all_workers(void)
{
    enum { CLIENTS = 60 };
    coil_server_options o = {.size = sizeof o, .per_worker = true};
    coil_coro clients[CLIENTS];
    int fds[8];
    coil_server *server = listen_with(echo, NULL, &o);
    ck_assert_uint_eq(coil_server_sockets(server, fds, 8), coil_worker_count());
    for (unsigned i = 0; i < coil_worker_count(); i++) {
        coil_address a;
        OK(coil_address_of_socket(fds[i], &a));
        ck_assert_int_eq(coil_address_port(&a), coil_server_port(server));
    }
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = coil_coro_of(one_client, server);
    OK(coil_gather_await(clients, CLIENTS, NULL));
    ck_assert_int_eq(coil_server_drain(server, COIL_FOREVER), 0);
    coil_server_free(server);
}

static void run_with_workers(unsigned workers)
{
    struct test_body body = {serve_on_all_workers};
    int before = open_descriptors();
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = workers,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

TEST(each_worker_has_a_socket_if_it_is_to)
{
    run_with_workers(4);
    run_with_workers(1);
}

NET_TEST(a_loop_of_its_own_is_one_worker)
{
    serve_on_all_workers();
}

/* --- short of descriptors --------------------------------------------------------------------------------------- */

static int64_t no_time_passes(coil_clock *clock)
{
    (void)clock;
    return 0;
}

/* So that what goes on does so because a connection was closed, not because of a timer. */
static coil_clock stopped = {.now = no_time_passes};

static void is_echoed(int client)
{
    char c;
    ck_assert_int_eq(send(client, "x", 1, MSG_NOSIGNAL), 1);
    while (recv(client, &c, 1, MSG_DONTWAIT) != 1)
        turns(1);
}

/* A limit under which @n more descriptors can be opened. */
static rlim_t limit_with_room_for(int n)
{
    int fds[8], last = -1;
    for (int i = 0; i < n; i++)
        last = fds[i] = dup(0);
    for (int i = 0; i < n; i++)
        close(fds[i]);
    return (rlim_t)last + 1;
}

static bool on_a_given_socket; /* which is accepted from in another way */

static coil_server *echo_server(void)
{
    int port;
    coil_server *server;
    if (!on_a_given_socket)
        return listen_with(echo, NULL, NULL);
    OK(coil_start_server_on(echo, NULL, silent_listener(8, &port), NULL, &server));
    return server;
}

static void wait_for_a_connection_to_close(void)
{
    struct rlimit before, now;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = limit_with_room_for(5); /* first: io_uring accepts with the limit it was asked under */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    coil_server *server = echo_server();
    coil_stream *first = connect_to(server);
    writes(first, "first\n");
    reads_line(first, "first\n");
    int second = plain_client(server), third = plain_client(server);
    while (report_count == 0)
        turns(1);
    expect_report("socket.accept() out of system resource", -EMFILE, "Too many open files");
    ck_assert_uint_eq(coil_server_clients(server), 1);
    coil_stream_free(first); /* both of its descriptors will be free */
    is_echoed(second);
    is_echoed(third);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(second);
    close(third);
    finish_server(server);
}

static void run_short_of_descriptors(bool given)
{
    struct test_body body = {wait_for_a_connection_to_close};
    on_a_given_socket = given;
    coil_loop_options o = {.size = sizeof o, .clock = &stopped, .default_exception_handler = keep_report};
    int descriptors = open_descriptors();
    OK(coil_run_with(&o, coil_coro_of(run_test_body, &body), NULL));
    ck_assert_int_eq(open_descriptors(), descriptors);
}

TEST(accepting_goes_on_as_soon_as_a_connection_closes)
{
    run_short_of_descriptors(false);
}

TEST(so_it_does_from_a_socket_of_the_program_s_own)
{
    run_short_of_descriptors(true);
}

/* --- beginning and ending at the same time ----------------------------------------------------------------------- */

static int begin_and_end(void *arg, void **result)
{
    coil_server_options o = {.size = sizeof o, .per_worker = true};
    (void)arg;
    (void)result;
    for (int i = 0; i < 300; i++)
        coil_server_free(listen_with(echo, NULL, &o));
    return 0;
}

static int begin_and_end_often(void *arg, void **result)
{
    coil_task *tasks[4];
    (void)arg;
    (void)result;
    for (int i = 0; i < 4; i++)
        tasks[i] = spawn(coil_coro_of(begin_and_end, NULL));
    for (int i = 0; i < 4; i++)
        OK(coil_join(tasks[i], NULL));
    return 0;
}

TEST(a_server_may_end_while_its_workers_begin_to_listen)
{
    coil_runtime_options options = {.size = sizeof options, .workers = 4};
    int before = open_descriptors();
    OK(coil_runtime_run(&options, coil_coro_of(begin_and_end_often, NULL), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

COIL_TEST_MAIN("server_options")
