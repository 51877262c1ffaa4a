/*
 * test_streams.c - a connection and its server without memory, at every point where they ask for it
 *
 * The n-th allocation fails, for n = 1, 2, 3, ... until the program passes without a failure. It may fail with -ENOMEM, or
 * lose its connection when it was the other end that had no memory; it neither hangs nor crashes, and under a sanitizer
 * leaks nothing. Descriptors are counted here.
 */
#define _GNU_SOURCE /* pipe2 */
#include "net.h"

#include <fcntl.h>

#include "../../src/base/alloc.h"

enum { ALLOCATIONS_MAX = 2000 };

static int say_and_hear(coil_stream *stream)
{
    const char *line;
    size_t n;
    for (int i = 0; i < 3; i++) {
        COIL_TRY(coil_stream_writef(stream, "%0600d\n", i));
        COIL_TRY(coil_stream_drain(stream));
        COIL_TRY(coil_stream_readline(stream, &line, &n));
        if (n != 601)
            return -ECONNRESET;
    }
    return 0;
}

static int visit(coil_server *server)
{
    char port[16];
    coil_stream *stream;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    COIL_TRY(coil_open_connection("127.0.0.1", port, &stream));
    int rc = say_and_hear(stream);
    coil_stream_close(stream);
    coil_stream_free(stream);
    return rc;
}

static int serve_and_visit(void *arg, void **result)
{
    coil_server *server;
    (void)arg;
    (void)result;
    COIL_TRY(coil_start_server(echo, NULL, "127.0.0.1", "0", NULL, &server));
    int rc = visit(server);
    coil_server_free(server);
    return rc;
}

/* --- protocols: a server on a socket of the program's own, and a pipe ---------------------------------------------- */

static int begin(coil_transport *t, void *arg)
{
    (void)t;
    (void)arg;
    return 0;
}

static int send_back(coil_transport *t, const void *data, size_t n, void *arg)
{
    (void)arg;
    return coil_transport_write(t, data, n);
}

static int make_echo(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    static const coil_protocol echoing = {.connection_made = begin, .data_received = send_back};
    *protocol = &echoing;
    *arg = factory_arg;
    return 0;
}

static int serve_given_and_visit(void *arg, void **result)
{
    int port;
    coil_server *server;
    (void)arg;
    (void)result;
    COIL_TRY(coil_create_server_on(make_echo, NULL, silent_listener(8, &port), NULL, &server));
    coil_error *error = coil_catch(visit(server));
    int drained = coil_server_drain(server, 0);
    if (drained < 0) { /* the next one has memory */
        coil_error_release(error);
        error = coil_catch(drained);
        ck_assert_int_ge(coil_server_drain(server, 0), 0);
    }
    coil_server_free(server);
    return coil_raise_error(error);
}

/* Both ends of a pipe: what came, and how many ends are open. */
typedef struct flow {
    size_t got;
    int open;
} flow;

static int flow_begins(coil_transport *t, void *arg)
{
    (void)t;
    ((flow *)arg)->open++;
    return 0;
}

static int flow_goes_on(coil_transport *t, const void *data, size_t n, void *arg)
{
    (void)t;
    (void)data;
    ((flow *)arg)->got += n;
    return 0;
}

static void flow_ends(coil_transport *t, coil_error *error, void *arg)
{
    (void)t;
    (void)error;
    ((flow *)arg)->open--;
}

static const coil_protocol flowing = {
    .connection_made = flow_begins,
    .data_received = flow_goes_on,
    .connection_lost = flow_ends,
};

static int until_closed(const flow *f)
{
    while (f->open > 0)
        COIL_TRY(coil_sleep(0));
    return 0;
}

static int flow_through(flow *f, const int *ends)
{
    static const char data[200 * 1000];
    coil_transport *in, *out;
    int rc = coil_create_read_pipe_transport(&flowing, f, ends[0], &in);
    if (rc < 0) {
        close(ends[1]);
        return rc;
    }
    rc = coil_create_write_pipe_transport(&flowing, f, ends[1], &out);
    if (rc == 0) {
        rc = coil_transport_write(out, data, sizeof data);
        coil_transport_close(out);
        if (rc == 0)
            rc = until_closed(f);
        coil_transport_free(out);
    }
    coil_transport_free(in);
    return rc;
}

static flow pipe_flow; /* outlives a failure to wait for its end */

static int write_and_read_a_pipe(void *arg, void **result)
{
    int ends[2];
    (void)arg;
    (void)result;
    pipe_flow = (flow){0};
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    COIL_TRY(flow_through(&pipe_flow, ends));
    return pipe_flow.got == 200 * 1000 ? 0 : -ECONNRESET; /* the reader had no memory */
}

/* --- without memory ------------------------------------------------------------------------------------------------- */

static int ignore_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)context;
    (void)arg;
    return 0;
}

/* Whether the failure is still to come: then it comes now. */
static bool failure_is_pending(void)
{
    bool pending = false;
    for (int i = 0; i < ALLOCATIONS_MAX && !pending; i++) {
        void *p = coil__malloc(1);
        pending = !p;
        coil__free(p);
    }
    coil__alloc_fail_at(0);
    return pending;
}

static void fails_in_good_order(coil_coro_fn *program)
{
    coil_loop_options options = {.size = sizeof options, .default_exception_handler = ignore_report};
    int before = open_descriptors(), failures = 0;
    bool pending = false;
    for (uint64_t n = 1; !pending; n++) {
        ck_assert_uint_lt(n, ALLOCATIONS_MAX);
        coil__alloc_fail_at(n);
        int rc = coil_run_with(&options, coil_coro_of(program, NULL), NULL);
        pending = failure_is_pending();
        coil_error_release(coil_catch(rc));
        failures += rc == -ENOMEM;
        ck_assert_msg(rc == 0 || rc == -ENOMEM || rc == -ECONNRESET || rc == -EPIPE, "%s", coil_error_name(rc));
        ck_assert_msg(rc == 0 || !pending, "%s without a reason", coil_error_name(rc));
        ck_assert_int_eq(open_descriptors(), before);
    }
    ck_assert_int_gt(failures, 10);
}

static void dgram_fails(coil_datagram_transport *t, coil_error *error, void *arg)
{
    (void)t;
    (void)error;
    ++*(int *)arg;
}

/* A loop's buffer for receiving is made when it is first used: here when the endpoint has gone. */
NET_TEST(a_freed_endpoint_does_not_hear_that_there_is_no_memory_to_receive)
{
    static const coil_datagram_protocol protocol = {.error_received = dgram_fails};
    int ends[2], errors = 0;
    coil_datagram_transport *t;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(coil_create_datagram_endpoint_on(&protocol, &errors, ends[0], &t));
    OK(coil_sleep(COIL_MS(1)));
    coil_datagram_transport_free(t);
    for (int i = 0; i < 6; i++) {
        coil__alloc_fail_at(1);
        OK(coil_sleep(0));
    }
    coil__alloc_fail_at(0);
    close(ends[1]);
    ck_assert_int_eq(errors, 0);
}

TEST(a_connection_without_memory_fails_in_good_order)
{
    fails_in_good_order(serve_and_visit);
}

TEST(so_does_a_server_of_protocols_on_a_given_socket)
{
    fails_in_good_order(serve_given_and_visit);
}

TEST(so_do_protocols_on_a_pipe)
{
    fails_in_good_order(write_and_read_a_pipe);
    ck_assert_int_eq(pipe_flow.open, 0);
}

COIL_TEST_MAIN("streams")
