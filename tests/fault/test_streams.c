/*
 * test_streams.c - a connection and its server without memory, at every point where they ask for it
 *
 * The n-th allocation fails, for n = 1, 2, 3, ... until the program passes without a failure. It may fail with -ENOMEM, or
 * lose its connection when it was the other end that had no memory; it neither hangs nor crashes, and under a sanitizer
 * leaks nothing. Descriptors are counted here.
 */
#include "net.h"

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

TEST(a_connection_without_memory_fails_in_good_order)
{
    coil_loop_options options = {.size = sizeof options, .default_exception_handler = ignore_report};
    int before = open_descriptors(), failures = 0;
    bool pending = false;
    for (uint64_t n = 1; !pending; n++) {
        ck_assert_uint_lt(n, ALLOCATIONS_MAX);
        coil__alloc_fail_at(n);
        int rc = coil_run_with(&options, coil_coro_of(serve_and_visit, NULL), NULL);
        pending = failure_is_pending();
        coil_error_release(coil_catch(rc));
        failures += rc == -ENOMEM;
        ck_assert_msg(rc == 0 || rc == -ENOMEM || rc == -ECONNRESET || rc == -EPIPE, "%s", coil_error_name(rc));
        ck_assert_msg(rc == 0 || !pending, "%s without a reason", coil_error_name(rc));
        ck_assert_int_eq(open_descriptors(), before);
    }
    ck_assert_int_gt(failures, 10);
}

COIL_TEST_MAIN("streams")
