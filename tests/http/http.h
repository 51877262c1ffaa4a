/*
 * http.h - what tests of coil-http have in common: servers, plain connections to them, and what goes over these
 *
 * A test speaks bytes to a server, and compares bytes; the Date field, which is of today, is cut out before.
 */
#ifndef COIL_TEST_HTTP_H
#define COIL_TEST_HTTP_H

#include <coil_http.h>

#include "net.h"

static COIL_TEST_UNUSED coil_http_server *start(coil_http_handler *handler, void *arg,
                                                const coil_http_server_options *options)
{
    coil_http_server *server;
    OK(coil_http_start_server(handler, arg, "127.0.0.1", "0", options, &server));
    return server;
}

static COIL_TEST_UNUSED void stop(coil_http_server *server)
{
    OK(coil_http_server_drain(server, COIL_SECONDS(10)));
    coil_http_server_free(server);
}

/* No task but the test's is left once the others had their turns. */
static COIL_TEST_UNUSED void nobody_else_is_left(void)
{
    coil_task **tasks;
    size_t n;
    turns(5);
    OK(coil_all_tasks(coil_get_running_loop(), &tasks, &n));
    coil_tasks_free(tasks, n);
    ck_assert_uint_eq(n, 1);
}

static COIL_TEST_UNUSED coil_stream *dial(const coil_http_server *server)
{
    char port[16];
    coil_stream *stream;
    snprintf(port, sizeof port, "%d", coil_http_server_port(server));
    OK(coil_open_connection("127.0.0.1", port, &stream));
    return stream;
}

/* "http://127.0.0.1:PORT" and a path; valid until the next call but seven. */
static COIL_TEST_UNUSED const char *url_of(const coil_http_server *server, const char *path)
{
    static char urls[8][256];
    static unsigned next;
    char *url = urls[next++ % 8];
    snprintf(url, sizeof urls[0], "http://127.0.0.1:%d%s", coil_http_server_port(server), path);
    return url;
}

static COIL_TEST_UNUSED void cut_dates(char *text)
{
    for (char *date; (date = strstr(text, "Date: ")) != NULL;) {
        const char *end = strstr(date, "GMT\r\n");
        ck_assert_ptr_nonnull(end);
        ck_assert_int_eq(end - date, 32);
        memmove(date, end + 5, strlen(end + 5) + 1);
    }
}

/* Everything that comes until the server closes the connection, which is closed here as well. */
static COIL_TEST_UNUSED const char *hear_all(coil_stream *stream)
{
    static char heard[256 * 1024];
    char *data;
    size_t n;
    OK(coil_stream_read_all(stream, &data, &n));
    ck_assert_uint_lt(n, sizeof heard);
    memcpy(heard, data, n + 1);
    free(data);
    finish(stream);
    cut_dates(heard);
    return heard;
}

/* What a connection hears that says just this. */
static COIL_TEST_UNUSED const char *answer_to(const coil_http_server *server, const char *request, size_t n)
{
    coil_stream *stream = dial(server);
    OK(coil_stream_write(stream, request, n));
    return hear_all(stream);
}

/* The same for a string, after which nothing comes. */
static COIL_TEST_UNUSED const char *answer_to_text(const coil_http_server *server, const char *request)
{
    coil_stream *stream = dial(server);
    writes(stream, request);
    OK(coil_stream_write_eof(stream));
    return hear_all(stream);
}

/* Reads exactly this. */
static COIL_TEST_UNUSED void hears(coil_stream *stream, const char *text)
{
    char heard[4096];
    size_t n = strlen(text);
    ck_assert_uint_lt(n, sizeof heard);
    OK(coil_stream_readexactly(stream, heard, n));
    heard[n] = '\0';
    ck_assert_str_eq(heard, text);
}

/* Reads a whole head, without its date. */
static COIL_TEST_UNUSED const char *hear_head(coil_stream *stream)
{
    static char heard[4096];
    const char *data;
    size_t n;
    OK(coil_stream_readuntil(stream, "\r\n\r\n", 4, &data, &n));
    ck_assert_uint_lt(n, sizeof heard);
    memcpy(heard, data, n);
    heard[n] = '\0';
    if (strstr(heard, "Date: "))
        cut_dates(heard);
    return heard;
}

/* Method, target and body are the answer. */
static COIL_TEST_UNUSED int tell(coil_http_request *request, coil_http_response *response, void *arg)
{
    char *body;
    size_t n;
    (void)arg;
    COIL_TRY(coil_http_request_read_all(request, 1 << 20, &body, &n));
    int rc = coil_http_respondf(response, 200, "text/plain", "%s %s %.*s", coil_http_request_method(request),
                                coil_http_request_target(request), (int)n, body);
    free(body);
    return rc;
}

#endif
