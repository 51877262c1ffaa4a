/*
 * test_server.c - TCP servers, on whichever backend $COIL_BACKEND names
 */
#include "net.h"

#include <pthread.h>
#include <sys/resource.h>

/* --- serving -------------------------------------------------------------------------------------------------- */

static int one_client(void *arg, void **result)
{
    coil_stream *stream = connect_to(arg);
    (void)result;
    for (int i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "message %d\n", i);
        writes(stream, text);
        reads_line(stream, text);
    }
    finish(stream);
    return 0;
}

NET_TEST(sixty_four_clients_are_served_at_a_time)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_coro clients[64];
    for (size_t i = 0; i < 64; i++)
        clients[i] = coil_coro_of(one_client, server);
    OK(coil_gather_await(clients, 64, NULL));
    finish_server(server);
}

NET_TEST(a_server_tells_its_port_and_whether_it_serves)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    ck_assert_int_gt(coil_server_port(server), 0);
    ck_assert(coil_server_is_serving(server));
    ck_assert_uint_eq(coil_server_clients(server), 0);
    coil_server_close(server);
    coil_server_close(server);
    ck_assert(!coil_server_is_serving(server));
    ck_assert_int_eq(coil_server_port(server), -1);
    OK(coil_server_wait_closed(server));
    coil_server_free(server);
    coil_server_free(NULL);
}

NET_TEST(a_port_in_use_is_an_error_that_tells_the_address)
{
    char port[16], message[80];
    coil_server *server = listen_with(echo, NULL, NULL), *second;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    snprintf(message, sizeof message, "listening on 127.0.0.1:%s: Address already in use", port);
    RAISES(-EADDRINUSE, message, coil_start_server(echo, NULL, "127.0.0.1", port, NULL, &second));
    coil_server_close(server);
    OK(coil_start_server(echo, NULL, "127.0.0.1", port, NULL, &second)); /* free again at once */
    finish_server(second);
    finish_server(server);
}

NET_TEST(two_servers_can_share_a_port_if_they_say_so)
{
    char port[16];
    coil_server_options options = {.size = sizeof options, .reuse_port = true};
    coil_server *first = listen_with(echo, NULL, &options), *second;
    snprintf(port, sizeof port, "%d", coil_server_port(first));
    OK(coil_start_server(echo, NULL, "127.0.0.1", port, &options, &second));
    finish_server(first);
    finish_server(second);
}

NET_TEST(a_server_listens_on_all_addresses_of_all_families)
{
    coil_server *server;
    coil_stream *stream;
    char port[16];
    OK(coil_start_server(echo, NULL, NULL, "0", NULL, &server));
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    OK(coil_open_connection(NULL, port, &stream));
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
    finish_server(server);
}

NET_TEST(ipv6_is_served_where_the_machine_has_it)
{
    coil_server *server;
    coil_stream *stream;
    char port[16], name[80];
    int rc = coil_start_server(echo, NULL, "::1", "0", NULL, &server);
    if (rc < 0) {
        ck_assert(rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT);
        coil_error_release(coil_catch(rc));
        return;
    }
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    OK(coil_open_connection("::1", port, &stream));
    coil_stream_peername(stream, name, sizeof name);
    ck_assert_mem_eq(name, "[::1]:", 6);
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
    finish_server(server);
}

NET_TEST(bad_options_are_refused)
{
    coil_server *server;
    coil_server_options options = {.size = 1};
    char message[80];
    snprintf(message, sizeof message, "coil_server_options.size is 1, not %zu", sizeof options);
    RAISES(-EINVAL, message,
           coil_start_server(echo, NULL, "127.0.0.1", "0", &options, &server));
    options = (coil_server_options){.size = sizeof options, .backlog = -1};
    RAISES(-EINVAL, "a backlog of -1", coil_start_server(echo, NULL, "127.0.0.1", "0", &options, &server));
    options = (coil_server_options){.size = sizeof options, .limit_bytes = (size_t)-1};
    RAISES(-EINVAL, "Limit cannot be <= 0", coil_start_server(echo, NULL, "127.0.0.1", "0", &options, &server));
}

/* --- callbacks ------------------------------------------------------------------------------------------------ */

static int fails(coil_stream *stream, void *arg)
{
    (void)arg;
    coil_stream_free(stream);
    return coil_raise(COIL_EUSER(1), "on purpose");
}

NET_TEST(a_failing_callback_is_reported_and_serving_goes_on)
{
    coil_server *server = listen_with(fails, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        coil_stream *stream = connect_to(server);
        char c;
        size_t n = 1;
        int rc = coil_stream_read(stream, &c, 1, &n);
        ck_assert(rc == -ECONNRESET || (rc == 0 && n == 0));
        coil_error_release(coil_catch(rc));
        coil_stream_free(stream);
        expect_report("Unhandled exception in client_connected_cb", COIL_EUSER(1), "on purpose");
    }
    finish_server(server);
}

static coil_contextvar *color;

static int tell_color(coil_stream *stream, void *arg)
{
    void *value;
    (void)arg;
    OK(coil_contextvar_get(color, &value));
    writes(stream, value);
    finish(stream);
    return 0;
}

NET_TEST(callbacks_run_in_the_context_of_the_server)
{
    static char green[] = "green\n", red[] = "red\n";
    OK(coil_contextvar_new("color", NULL, &color));
    OK(coil_contextvar_set(color, green, NULL));
    coil_server *server = listen_with(tell_color, NULL, NULL);
    OK(coil_contextvar_set(color, red, NULL));
    for (int i = 0; i < 2; i++) {
        coil_stream *stream = connect_to(server);
        reads_line(stream, "green\n");
        finish(stream);
    }
    finish_server(server);
}

/* --- closing -------------------------------------------------------------------------------------------------- */

NET_TEST(closing_a_server_leaves_its_connections_open)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server), *late;
    char port[16];
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    writes(stream, "before\n");
    reads_line(stream, "before\n");
    coil_server_close(server);
    ck_assert_int_eq(coil_open_connection("127.0.0.1", port, &late), -ECONNREFUSED);
    writes(stream, "after\n");
    reads_line(stream, "after\n");
    ck_assert_uint_eq(coil_server_clients(server), 1);
    finish(stream);
    OK(coil_server_wait_closed(server));
    ck_assert_uint_eq(coil_server_clients(server), 0);
    coil_server_free(server);
}

static int wait_closed(void *arg, void **result)
{
    (void)result;
    OK(coil_server_wait_closed(arg));
    note("closed");
    return 0;
}

NET_TEST(wait_closed_waits_for_the_callbacks_of_all_connections)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server);
    writes(stream, "x\n");
    reads_line(stream, "x\n");
    coil_task *waiting = spawn(coil_coro_of(wait_closed, server));
    turns(5);
    coil_server_close(server);
    turns(5);
    note("free");
    coil_stream_free(stream);
    OK(coil_join(waiting, NULL));
    TRACE_IS("free closed");
    coil_server_free(server);
}

static int stubborn(coil_stream *stream, void *arg)
{
    char c;
    size_t n;
    (void)arg;
    int rc = coil_stream_read(stream, &c, 1, &n);
    coil_error *error = coil_catch(rc);
    note("%s", coil_error_name(rc));
    coil_stream_close(stream);
    coil_stream_free(stream);
    return coil_raise_error(error);
}

NET_TEST(clients_can_be_cancelled_when_their_time_is_over)
{
    coil_server *server = listen_with(stubborn, NULL, NULL);
    coil_stream *streams[3];
    for (size_t i = 0; i < 3; i++)
        streams[i] = connect_to(server);
    while (coil_server_clients(server) < 3)
        turns(1);
    turns(1);
    coil_server_close(server);
    coil_server_cancel_clients(server);
    OK(coil_server_wait_closed(server));
    TRACE_IS("CancelledError CancelledError CancelledError");
    for (size_t i = 0; i < 3; i++) {
        reads_line(streams[i], "");
        finish(streams[i]);
    }
    coil_server_free(server);
}

NET_TEST(a_client_cancelled_before_its_first_step_is_closed)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server);
    while (coil_server_clients(server) == 0)
        turns(1);
    coil_server_cancel_clients(server);
    char c;
    size_t n = 1;
    int rc = coil_stream_read(stream, &c, 1, &n);
    ck_assert(rc == -ECONNRESET || (rc == 0 && n == 0));
    coil_error_release(coil_catch(rc));
    coil_stream_free(stream);
    finish_server(server);
}

static int serve_forever(void *arg, void **result)
{
    (void)result;
    return coil_server_serve_forever(arg);
}

NET_TEST(serve_forever_ends_when_it_is_cancelled)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_task *serving = spawn(coil_coro_of(serve_forever, server));
    turns(2);
    RAISES(COIL_EBUSY, "server is already being awaited on serve_forever()", coil_server_serve_forever(server));
    coil_stream *stream = connect_to(server);
    writes(stream, "x\n");
    reads_line(stream, "x\n");
    finish(stream);
    coil_task_cancel(serving, NULL);
    RAISES(-ECANCELED, "", coil_join(serving, NULL));
    ck_assert(!coil_server_is_serving(server));
    RAISES(COIL_ERUNTIME, "server is closed", coil_server_serve_forever(server));
    finish_server(server);
}

NET_TEST(closing_the_server_ends_serve_forever)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_task *serving = spawn(coil_coro_of(serve_forever, server));
    turns(2);
    coil_server_close(server);
    RAISES(-ECANCELED, "", coil_join(serving, NULL));
    finish_server(server);
}

NET_TEST(a_server_may_be_freed_while_clients_are_active)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server);
    writes(stream, "x\n");
    reads_line(stream, "x\n");
    coil_server_free(server);
    writes(stream, "y\n");
    reads_line(stream, "y\n");
    finish(stream);
    turns(5);
}

/* --- limits --------------------------------------------------------------------------------------------------- */

/* Lets the process have no more descriptors than it has now. */
static struct rlimit limit_descriptors(int more)
{
    struct rlimit before, now;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    int fd = dup(0);
    now.rlim_cur = (rlim_t)(fd + more);
    close(fd);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

NET_TEST(accepting_pauses_without_descriptors_and_goes_on_when_there_are_some)
{
    struct rlimit before = limit_descriptors(3); /* first: io_uring accepts with the limit it was asked under */
    coil_server *server = listen_with(echo, NULL, NULL);
    int client = plain_client(server), second = plain_client(server);
    while (report_count == 0)
        OK(coil_sleep(COIL_MS(10)));
    expect_report("socket.accept() out of system resource", -EMFILE, "Too many open files");
    OK(coil_sleep(COIL_SECONDS(3))); /* virtual: it tries again, and does not report that again */
    ck_assert_uint_eq(coil_server_clients(server), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    coil_stream *third = connect_to(server);
    writes(third, "served\n");
    reads_line(third, "served\n");
    finish(third);
    close(client);
    close(second);
    finish_server(server);
}

NET_TEST(connecting_without_descriptors_is_an_error)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    char port[16];
    coil_stream *stream;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    struct rlimit before = limit_descriptors(0);
    ck_assert_int_eq(coil_open_connection("127.0.0.1", port, &stream), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    finish_server(server);
}

/* --- another thread ------------------------------------------------------------------------------------------- */

typedef struct service {
    coil_loop *loop;
    pthread_barrier_t ready;
    int port;
    coil_event *stop;
} service;

static int serve_until_told(void *arg, void **result)
{
    service *s = arg;
    (void)result;
    OK(coil_event_new(&s->stop));
    coil_server *server = listen_with(echo, NULL, NULL);
    s->port = coil_server_port(server);
    pthread_barrier_wait(&s->ready);
    int rc = coil_event_wait(s->stop);
    finish_server(server);
    coil_event_free(s->stop);
    return rc;
}

static void *run_service(void *arg)
{
    service *s = arg;
    OK(coil_loop_run_until_complete(s->loop, coil_coro_of(serve_until_told, s), NULL));
    return NULL;
}

static int set_event(void *event)
{
    coil_event_set(event);
    return 0;
}

TEST(a_server_in_a_second_thread_is_stopped_from_the_first)
{
    int descriptors = open_descriptors();
    service s;
    pthread_t thread;
    coil_loop_options options = {.size = sizeof options}; /* the real clock: it sleeps in the kernel */
    OK(coil_new_event_loop(&options, &s.loop));
    pthread_barrier_init(&s.ready, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_service, &s), 0);
    pthread_barrier_wait(&s.ready);

    struct sockaddr_in a = loopback(s.port);
    char buf[5];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(send(fd, "hello", 5, MSG_NOSIGNAL), 5);
        ck_assert_int_eq(recv(fd, buf, 5, MSG_WAITALL), 5);
    }
    close(fd);
    OK(coil_loop_call_soon_threadsafe(s.loop, set_event, s.stop, NULL));
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&s.ready);
    coil_loop_free(s.loop);
    ck_assert_int_eq(open_descriptors(), descriptors);
}

COIL_TEST_MAIN("server")
