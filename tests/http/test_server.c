/*
 * test_server.c - coil_http_server: what a client hears, byte by byte
 *
 * On a loop of its own by coil_run_with(), on whichever backend $COIL_BACKEND names; the last tests on a runtime.
 */
#include "http.h"

#define OK_HEAD(length) "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " length "\r\n"
#define GET(path)       "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define LAST_GET(path)  "GET " path " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

/* --- requests and responses ----------------------------------------------------------------------------- */

NET_TEST(a_request_is_answered)
{
    coil_http_server *server = start(tell, NULL, NULL);
    ck_assert_str_eq(answer_to_text(server, GET("/a?b")), OK_HEAD("9") "\r\nGET /a?b ");
    stop(server);
}

NET_TEST(a_connection_serves_one_request_after_the_other)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server);
    for (int i = 0; i < 3; i++) {
        writes(stream, GET("/"));
        ck_assert_str_eq(hear_head(stream), OK_HEAD("6") "\r\n");
        hears(stream, "GET / ");
    }
    finish(stream);
    stop(server);
}

NET_TEST(pipelined_requests_are_answered_in_order)
{
    coil_http_server *server = start(tell, NULL, NULL);
    const char *heard =
        answer_to_text(server, GET("/1") "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                                         "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                                         "2\r\nde\r\n1;ext=\"x\"\r\nf\r\n0\r\nTrailer: x\r\n\r\n" LAST_GET("/4"));
    ck_assert_str_eq(heard, OK_HEAD("7") "\r\nGET /1 " OK_HEAD("11") "\r\nPOST /2 abc" OK_HEAD(
                                "11") "\r\nPOST /3 def" OK_HEAD("7") "Connection: close\r\n\r\nGET /4 ");
    stop(server);
}

static int count_writes(coil_http_request *request, coil_http_response *response, void *arg)
{
    ++*(int *)arg;
    return tell(request, response, NULL);
}

NET_TEST(a_request_may_come_byte_by_byte)
{
    static const char text[] = "\r\nPOST /x HTTP/1.1\r\nHost: h\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "3\r\nabc\r\n0\r\n\r\n" LAST_GET("/");
    int requests = 0;
    coil_http_server *server = start(count_writes, &requests, NULL);
    coil_stream *stream = dial(server);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        OK(coil_stream_write(stream, text + i, 1));
        turns(3);
    }
    ck_assert_str_eq(hear_all(stream),
                     OK_HEAD("11") "\r\nPOST /x abc" OK_HEAD("6") "Connection: close\r\n\r\nGET / ");
    ck_assert_int_eq(requests, 2);
    stop(server);
}

NET_TEST(head_is_answered_without_the_body)
{
    coil_http_server *server = start(tell, NULL, NULL);
    ck_assert_str_eq(answer_to_text(server, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" LAST_GET("/")),
                     OK_HEAD("7") "\r\n" OK_HEAD("6") "Connection: close\r\n\r\nGET / ");
    stop(server);
}

NET_TEST(http_1_0_is_closed_unless_it_asks_for_more)
{
    coil_http_server *server = start(tell, NULL, NULL);
    ck_assert_str_eq(
        answer_to_text(server, "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"),
        OK_HEAD("7") "Connection: keep-alive\r\n\r\nGET /1 " OK_HEAD("7") "Connection: close\r\n\r\nGET /2 ");
    stop(server);
}

static int tell_parts(coil_http_request *request, coil_http_response *response, void *arg)
{
    coil_http_header header = {NULL, NULL};
    char peer[64];
    (void)arg;
    ck_assert(coil_http_request_header_at(request, 1, &header));
    ck_assert(!coil_http_request_header_at(request, 2, &header));
    ck_assert_uint_gt(coil_http_request_peername(request, peer, sizeof peer), 10);
    ck_assert_ptr_null(coil_http_request_header(request, "x-"));
    ck_assert(!coil_http_request_has_body(request));
    ck_assert_int_eq(coil_http_request_length(request), 0);
    return coil_http_respondf(response, 200, NULL, "%s|%s|%s|1.%d|%s=%s=%s", coil_http_request_target(request),
                              coil_http_request_path(request), coil_http_request_query(request),
                              coil_http_request_minor_version(request), header.name, header.value,
                              coil_http_request_header(request, "X-ONE"));
}

NET_TEST(a_handler_sees_target_path_query_and_fields)
{
    static const char *const cases[][2] = {
        {"/", "/|/||"},
        {"/a/b?c=d?e", "/a/b?c=d?e|/a/b|c=d?e|"},
        {"http://other", "http://other|/||"},
        {"http://other?q", "http://other?q|/|q|"},
        {"http://other/p?q", "http://other/p?q|/p|q|"},
    };
    coil_http_server *server = start(tell_parts, NULL, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[256], expected[256];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\nx-One: \t a b \t\r\n\r\n", cases[i][0]);
        snprintf(expected, sizeof expected, "%s1.1|x-One=a b=a b", cases[i][1]);
        ck_assert_str_eq(strstr(answer_to_text(server, request), "\r\n\r\n") + 4, expected);
    }
    stop(server);
}

/* --- streaming ------------------------------------------------------------------------------------------ */

static int stream_out(coil_http_request *request, coil_http_response *response, void *arg)
{
    int64_t length = strcmp(coil_http_request_path(request), "/length") == 0 ? 8 : -1;
    (void)arg;
    COIL_TRY(coil_http_response_add_header(response, "X-Kind", "stream"));
    COIL_TRY(coil_http_response_begin(response, 201, "text/plain", length));
    COIL_TRY(coil_http_response_write(response, "abc", 3));
    COIL_TRY(coil_sleep(COIL_MS(1)));
    COIL_TRY(coil_http_response_write(response, "", 0));
    return coil_http_response_write(response, "defgh", 5);
}

NET_TEST(a_response_may_be_sent_in_chunks)
{
    coil_http_server *server = start(stream_out, NULL, NULL);
    ck_assert_str_eq(
        answer_to_text(server, GET("/")),
        "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nX-Kind: stream\r\n\r\n"
        "3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n");
    ck_assert_str_eq(
        answer_to_text(server, GET("/length")),
        "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 8\r\nX-Kind: stream\r\n\r\nabcdefgh");
    ck_assert_str_eq(
        answer_to_text(server, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nConnection: close\r\nX-Kind: stream\r\n\r\nabcdefgh");
    ck_assert_str_eq(
        answer_to_text(server, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"),
        "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nX-Kind: stream\r\n\r\n");
    stop(server);
}

enum { LARGE = 3 * 1000 * 1000 };

/* Sends the body back while it comes in. */
static int echo_body(coil_http_request *request, coil_http_response *response, void *arg)
{
    char buf[10000];
    size_t n;
    (void)arg;
    COIL_TRY(coil_http_response_begin(response, 200, NULL, coil_http_request_length(request)));
    for (;;) {
        COIL_TRY(coil_http_request_read(request, buf, sizeof buf, &n));
        if (n == 0)
            return 0;
        COIL_TRY(coil_http_response_write(response, buf, n));
    }
}

static char large_byte(size_t i)
{
    return (char)(i * 2654435761u >> 16);
}

struct large_body {
    size_t at;
};

static int large_source(void *arg, void *buf, size_t cap, size_t *n)
{
    struct large_body *b = arg;
    size_t left = LARGE - b->at;
    *n = left < cap ? left : cap;
    for (size_t i = 0; i < *n; i++)
        ((char *)buf)[i] = large_byte(b->at + i);
    b->at += *n;
    return 0;
}

static void echo_large(int64_t source_bytes)
{
    coil_http_server_options options = {.size = sizeof options, .body_bytes_max = COIL_HTTP_UNLIMITED};
    coil_http_server *server = start(echo_body, NULL, &options);
    coil_http_session *session;
    coil_http_reply *reply;
    struct large_body body = {0};
    coil_http_call call = {.size = sizeof call,
                           .method = "POST",
                           .url = url_of(server, "/"),
                           .source = large_source,
                           .source_arg = &body,
                           .source_bytes = source_bytes};
    OK(coil_http_session_new(NULL, &session));
    OK(coil_http_session_request(session, &call, &reply));
    char buf[7777];
    size_t n, sum = 0;
    do {
        OK(coil_http_reply_read(reply, buf, sizeof buf, &n));
        bool same = true; /* an assertion for each byte would take its time */
        for (size_t i = 0; i < n; i++)
            same = same && buf[i] == large_byte(sum + i);
        ck_assert(same);
        sum += n;
    } while (n > 0);
    ck_assert_uint_eq(sum, LARGE);
    coil_http_reply_free(reply);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(large_bodies_stream_through_in_chunks)
{
    echo_large(-1);
}

NET_TEST(large_bodies_stream_through_by_length)
{
    echo_large(LARGE);
}

static int respond_large(coil_http_request *request, coil_http_response *response, void *arg)
{
    char *text = malloc(100000);
    (void)request;
    (void)arg;
    memset(text, 'x', 100000);
    int rc = coil_http_respond(response, 200, NULL, text, 100000);
    free(text);
    return rc;
}

NET_TEST(a_large_response_is_sent_at_once)
{
    coil_http_server *server = start(respond_large, NULL, NULL);
    const char *heard = answer_to_text(server, GET("/1") LAST_GET("/2"));
    ck_assert_uint_eq(strlen(heard), 2 * (strlen("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") + 100000) +
                                         strlen("Connection: close\r\n"));
    stop(server);
}

/* --- what a handler may say ----------------------------------------------------------------------------- */

static int say_wrong_things(coil_http_request *request, coil_http_response *r, void *arg)
{
    (void)request;
    (void)arg;
    RAISES(-EINVAL, "a field's name must be a token", coil_http_response_add_header(r, "a b", "c"));
    RAISES(-EINVAL, "a field's name must be a token", coil_http_response_add_header(r, "", "c"));
    RAISES(-EINVAL, "the value of A has characters that no field can have",
           coil_http_response_add_header(r, "A", "b\r\nSet-Cookie: c"));
    RAISES(-EINVAL, "the value of A has characters that no field can have",
           coil_http_response_add_header(r, "A", "b\n"));
    RAISES(-EINVAL, "the value of A has characters that no field can have",
           coil_http_response_add_header(r, "A", " b"));
    RAISES(-EINVAL, "content-length is set by the server itself",
           coil_http_response_add_header(r, "content-length", "1"));
    RAISES(-EINVAL, "the content type cannot be the value of a field", coil_http_respond(r, 200, "a\nb", "", 0));
    RAISES(-EINVAL, "199 is not a final status", coil_http_respond(r, 199, NULL, "", 0));
    RAISES(-EINVAL, "a response with status 204 has no body", coil_http_respond(r, 204, NULL, "x", 1));
    RAISES(COIL_ERUNTIME, "this response has not begun", coil_http_response_write(r, "x", 1));
    OK(coil_http_response_begin(r, 200, NULL, 2));
    RAISES(COIL_ERUNTIME, "this response has begun already", coil_http_respond(r, 200, NULL, "", 0));
    RAISES(COIL_ERUNTIME, "this response has begun already", coil_http_response_add_header(r, "A", "b"));
    RAISES(-EINVAL, "1 bytes more than the announced length", coil_http_response_write(r, "abc", 3));
    RAISES(-EINVAL, "2 bytes less than the announced length", coil_http_response_end(r));
    OK(coil_http_response_write(r, "ab", 2));
    OK(coil_http_response_end(r));
    RAISES(COIL_ERUNTIME, "this response is over", coil_http_response_end(r));
    return 0;
}

NET_TEST(what_no_response_can_be_is_an_error)
{
    coil_http_server *server = start(say_wrong_things, NULL, NULL);
    ck_assert_str_eq(answer_to_text(server, GET("/")), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab");
    stop(server);
}

static int answer_204(coil_http_request *request, coil_http_response *response, void *arg)
{
    (void)request;
    (void)arg;
    coil_http_response_set_close(response);
    return coil_http_respond(response, 204, NULL, NULL, 0);
}

NET_TEST(an_answer_without_content_has_no_length_and_may_close)
{
    coil_http_server_options options = {.size = sizeof options, .server_name = "test/1"};
    coil_http_server *server = start(answer_204, NULL, &options);
    ck_assert_str_eq(answer_to(server, GET("/"), strlen(GET("/"))),
                     "HTTP/1.1 204 No Content\r\nServer: test/1\r\nConnection: close\r\n\r\n");
    stop(server);
}

static int fail_at(coil_http_request *request, coil_http_response *response, void *arg)
{
    const char *path = coil_http_request_path(request);
    (void)arg;
    if (strcmp(path, "/nothing") == 0)
        return 0;
    if (strcmp(path, "/late") == 0) {
        COIL_TRY(coil_http_response_begin(response, 200, NULL, -1));
        COIL_TRY(coil_http_response_write(response, "abc", 3));
    }
    return coil_raise(COIL_EUSER(1), "oh");
}

NET_TEST(a_handler_that_fails_is_reported_and_its_client_told)
{
    coil_http_server *server = start(fail_at, NULL, NULL);
    ck_assert_str_eq(answer_to(server, GET("/"), strlen(GET("/"))),
                     "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    expect_report("Unhandled exception in HTTP handler of GET /", COIL_EUSER(1), "oh");
    ck_assert_str_eq(answer_to(server, GET("/nothing"), strlen(GET("/nothing"))),
                     "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    expect_report("Unhandled exception in HTTP handler of GET /nothing", COIL_ERUNTIME, "the handler gave no response");
    coil_stream *stream = dial(server);
    writes(stream, GET("/late"));
    hear_head(stream);
    char *rest;
    size_t n;
    int rc = coil_stream_read_all(stream, &rest, &n);
    if (rc == 0) { /* the end of the connection, but not of the chunks */
        ck_assert_str_eq(rest, "3\r\nabc\r\n");
        free(rest);
    } else {
        RAISES(-ECONNRESET, "", rc);
    }
    coil_stream_free(stream);
    expect_report("Unhandled exception in HTTP handler of GET /late", COIL_EUSER(1), "oh");
    stop(server);
}

static int keep_length(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    *(size_t *)arg = strlen(context->message);
    return 0;
}

/* The target as the client wrote it, and as much of it as a line in a log can bear. */
NET_TEST(the_report_of_a_handler_names_the_request)
{
    coil_http_server *server = start(fail_at, NULL, NULL);
    static const char text[] = "PUT /a%20b?c=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    answer_to(server, text, sizeof text - 1);
    expect_report("Unhandled exception in HTTP handler of PUT /a%20b?c=d", COIL_EUSER(1), "oh");
    static char many[3000];
    size_t length = 0;
    int n = snprintf(many, sizeof many, "GET /%02000d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 0);
    coil_loop_set_exception_handler(coil_get_running_loop(), keep_length, &length);
    answer_to(server, many, (size_t)n);
    coil_loop_set_exception_handler(coil_get_running_loop(), NULL, NULL);
    ck_assert_uint_eq(length, strlen("Unhandled exception in HTTP handler of GET ") + 200);
    stop(server);
}

/* --- Expect --------------------------------------------------------------------------------------------- */

#define EXPECT_HEAD "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

NET_TEST(a_client_that_waits_is_asked_to_continue)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server);
    writes(stream, EXPECT_HEAD);
    hears(stream, "HTTP/1.1 100 Continue\r\n\r\n");
    writes(stream, "abc");
    ck_assert_str_eq(hear_head(stream), OK_HEAD("10") "\r\n");
    hears(stream, "POST / abc");
    writes(stream, EXPECT_HEAD "def"); /* it does not wait */
    ck_assert_str_eq(hear_head(stream), OK_HEAD("10") "\r\n");
    hears(stream, "POST / def");
    finish(stream);
    stop(server);
}

static int decline(coil_http_request *request, coil_http_response *response, void *arg)
{
    (void)request;
    (void)arg;
    return coil_http_respond(response, 403, NULL, NULL, 0);
}

NET_TEST(a_client_that_waits_may_be_declined)
{
    coil_http_server *server = start(decline, NULL, NULL);
    ck_assert_str_eq(answer_to(server, EXPECT_HEAD, strlen(EXPECT_HEAD)),
                     "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stop(server);
}

NET_TEST(a_body_that_nobody_read_is_dropped)
{
    coil_http_server *server = start(decline, NULL, NULL);
    ck_assert_str_eq(
        answer_to_text(server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                               "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                               "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\nab"),
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stop(server);
}

/* --- time ----------------------------------------------------------------------------------------------- */

static coil_http_server_options quick(void)
{
    return (coil_http_server_options){
        .size = sizeof(coil_http_server_options),
        .header_timeout_ns = COIL_SECONDS(4),
        .idle_timeout_ns = COIL_SECONDS(8),
        .body_timeout_ns = COIL_SECONDS(6),
        .write_timeout_ns = COIL_SECONDS(5),
    };
}

static const char timed_out[] = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

NET_TEST(a_head_that_does_not_end_is_given_up)
{
    coil_http_server_options options = quick();
    coil_http_server *server = start(tell, NULL, &options);
    ck_assert_str_eq(answer_to(server, "GET / HT", 8), timed_out);
    ck_assert_int_ge(now_ms(), 4000);
    ck_assert_int_le(now_ms(), 6000);
    stop(server);
}

NET_TEST(a_body_that_does_not_come_is_given_up)
{
    coil_http_server_options options = quick();
    coil_http_server *server = start(tell, NULL, &options);
    static const char text[] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab";
    ck_assert_str_eq(answer_to(server, text, sizeof text - 1), timed_out);
    ck_assert_int_ge(now_ms(), 6000);
    ck_assert_int_le(now_ms(), 8000);
    stop(server);
}

NET_TEST(a_server_that_is_closed_leaves_no_task)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server);
    writes(stream, GET("/"));
    hear_head(stream);
    coil_http_server_close(server); /* which ends the connection */
    finish(stream);
    OK(coil_http_server_wait_closed(server));
    nobody_else_is_left();
    coil_http_server_free(server);
    server = start(tell, NULL, NULL);
    finish(dial(server));
    turns(20); /* its connection has ended before the server is closed */
    coil_http_server_free(server);
    nobody_else_is_left();
}

NET_TEST(an_idle_connection_is_closed)
{
    coil_http_server_options options = quick();
    coil_http_server *server = start(tell, NULL, &options);
    ck_assert_str_eq(answer_to(server, "", 0), "");
    ck_assert_int_ge(now_ms(), 4000);
    long before = now_ms();
    ck_assert_str_eq(answer_to(server, GET("/"), strlen(GET("/"))), OK_HEAD("6") "\r\nGET / ");
    ck_assert_int_ge(now_ms() - before, 8000);
    ck_assert_int_le(now_ms() - before, 10000);
    stop(server);
}

static int write_for_ever(coil_http_request *request, coil_http_response *response, void *arg)
{
    static char piece[100000];
    (void)request;
    COIL_TRY(coil_http_response_begin(response, 200, NULL, -1));
    int rc;
    while ((rc = coil_http_response_write(response, piece, sizeof piece)) == 0) {
    }
    *(int *)arg = rc;
    return rc;
}

NET_TEST(a_client_that_takes_nothing_is_given_up)
{
    coil_http_server_options options = quick();
    int rc = 0;
    coil_http_server *server = start(write_for_ever, &rc, &options);
    struct sockaddr_in a = loopback(coil_http_server_port(server));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(write(fd, GET("/"), strlen(GET("/"))), (ssize_t)strlen(GET("/")));
    while (rc == 0)
        OK(coil_sleep(COIL_MS(100)));
    ck_assert_int_eq(rc, -ETIMEDOUT);
    close(fd);
    stop(server);
}

/* --- numbers -------------------------------------------------------------------------------------------- */

NET_TEST(a_connection_serves_as_many_requests_as_it_may)
{
    coil_http_server_options options = {.size = sizeof options, .requests_max = 2};
    coil_http_server *server = start(tell, NULL, &options);
    ck_assert_str_eq(answer_to(server, GET("/1") GET("/2") GET("/3"), 3 * strlen(GET("/1"))),
                     OK_HEAD("7") "\r\nGET /1 " OK_HEAD("7") "Connection: close\r\n\r\nGET /2 ");
    stop(server);
}

NET_TEST(too_many_connections_are_turned_away)
{
    coil_http_server_options options = {.size = sizeof options, .connections_max = 1};
    coil_http_server *server = start(tell, NULL, &options);
    coil_stream *first = dial(server);
    writes(first, GET("/"));
    hear_head(first);
    hears(first, "GET / ");
    ck_assert_uint_eq(coil_http_server_connections(server), 1);
    ck_assert_str_eq(answer_to(server, "", 0),
                     "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    finish(first);
    while (coil_http_server_connections(server) > 0)
        turns(1);
    ck_assert_str_eq(answer_to_text(server, GET("/")), OK_HEAD("6") "\r\nGET / ");
    stop(server);
}

NET_TEST(options_that_make_no_sense_are_refused)
{
    coil_http_server *server;
    coil_http_server_options options = {.size = sizeof options, .header_bytes_max = 1 << 20};
    RAISES(-EINVAL, "header_bytes_max can be at most 65536",
           coil_http_start_server(tell, NULL, "127.0.0.1", "0", &options, &server));
    options = (coil_http_server_options){.size = sizeof options, .idle_timeout_ns = -1};
    RAISES(-EINVAL, "a timeout cannot be negative",
           coil_http_start_server(tell, NULL, "127.0.0.1", "0", &options, &server));
    options = (coil_http_server_options){.size = sizeof options, .server_name = "a\nb"};
    RAISES(-EINVAL, "server_name cannot be the value of a field",
           coil_http_start_server(tell, NULL, "127.0.0.1", "0", &options, &server));
    options = (coil_http_server_options){.size = sizeof options + 8};
    char message[80];
    snprintf(message, sizeof message, "coil_http_server_options.size is %zu, not %zu", sizeof options + 8, sizeof options);
    RAISES(-EINVAL, message, coil_http_start_server(tell, NULL, "127.0.0.1", "0", &options, &server));
}

/* --- draining ------------------------------------------------------------------------------------------- */

struct slow {
    coil_event *begun, *go_on;
    int rc;
};

static int answer_later(coil_http_request *request, coil_http_response *response, void *arg)
{
    struct slow *s = arg;
    if (strcmp(coil_http_request_path(request), "/slow") != 0)
        return tell(request, response, NULL);
    coil_event_set(s->begun);
    s->rc = coil_event_wait(s->go_on);
    return s->rc < 0 ? s->rc : coil_http_respond(response, 200, NULL, "late", 4);
}

static int drain_body(void *server, void **result)
{
    (void)result;
    return coil_http_server_drain(server, COIL_SECONDS(10));
}

static void new_slow(struct slow *s)
{
    OK(coil_event_new(&s->begun));
    OK(coil_event_new(&s->go_on));
}

static void free_slow(struct slow *s)
{
    coil_event_free(s->begun);
    coil_event_free(s->go_on);
}

NET_TEST(draining_closes_idle_connections_and_lets_requests_finish)
{
    struct slow slow = {0};
    new_slow(&slow);
    coil_http_server *server = start(answer_later, &slow, NULL);
    coil_stream *idle = dial(server), *busy = dial(server);
    writes(idle, GET("/"));
    hear_head(idle);
    hears(idle, "GET / ");
    writes(busy, GET("/slow"));
    OK(coil_event_wait(slow.begun));
    coil_task *draining = spawn(coil_coro_of(drain_body, server));
    ck_assert_str_eq(hear_all(idle), "");
    ck_assert_int_eq(coil_http_server_port(server), -1);
    ck_assert(!coil_future_done(draining));
    coil_event_set(slow.go_on);
    ck_assert_str_eq(hear_all(busy), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
    OK(coil_join(draining, NULL));
    coil_http_server_free(server);
    free_slow(&slow);
}

NET_TEST(draining_cancels_what_takes_too_long)
{
    struct slow slow = {0};
    new_slow(&slow);
    coil_http_server *server = start(answer_later, &slow, NULL);
    coil_stream *busy = dial(server);
    writes(busy, GET("/slow"));
    OK(coil_event_wait(slow.begun));
    long before = now_ms();
    RAISES(-ETIMEDOUT, "", coil_http_server_drain(server, COIL_SECONDS(3)));
    ck_assert_int_ge(now_ms() - before, 3000);
    ck_assert_int_eq(slow.rc, -ECANCELED);
    ck_assert_uint_eq(coil_http_server_connections(server), 0);
    coil_http_server_free(server);
    coil_stream_free(busy);
    free_slow(&slow);
}

NET_TEST(a_client_that_has_just_connected_is_still_served_while_draining)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server), *silent = dial(server);
    while (coil_http_server_connections(server) < 2)
        turns(1);
    turns(3);
    writes(stream, GET("/"));
    coil_http_server_close(server);
    ck_assert_str_eq(hear_all(stream), OK_HEAD("6") "Connection: close\r\n\r\nGET / ");
    OK(coil_http_server_wait_closed(server));
    finish(silent);
    coil_http_server_free(server);
}

NET_TEST(a_server_may_be_freed_while_connections_are_open)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server);
    writes(stream, GET("/"));
    coil_http_server_free(server);
    ck_assert_str_eq(hear_all(stream), OK_HEAD("6") "Connection: close\r\n\r\nGET / ");
    coil_http_server_free(NULL);
}

/* The reaper and the connections end with the loop. */
NET_TEST(a_server_may_be_freed_at_the_end_of_a_run)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *streams[4];
    for (size_t i = 0; i < 4; i++) {
        streams[i] = dial(server);
        writes(streams[i], "GET / HT");
        turns((int)i);
    }
    coil_http_server_free(server);
    for (size_t i = 0; i < 4; i++)
        coil_stream_free(streams[i]);
}

NET_TEST(serving_for_ever_ends_by_cancelling)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server);
    writes(stream, GET("/"));
    hear_head(stream);
    hears(stream, "GET / ");
    RAISES(-ECANCELED, "", (coil_future_cancel(coil_current_task(), NULL), coil_http_server_serve_forever(server)));
    coil_task_uncancel(coil_current_task());
    ck_assert_str_eq(hear_all(stream), "");
    stop(server);
}

/* --- several workers ------------------------------------------------------------------------------------ */

enum { CLIENTS = 16, REQUESTS = 100, WORKERS = 4 };

static int ask_often(void *arg, void **result)
{
    coil_stream *stream = dial(arg);
    (void)result;
    for (int i = 0; i < REQUESTS; i++) {
        writes(stream, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nyz" GET("/"));
        for (int k = 0; k < 2; k++) {
            const char *data;
            size_t n;
            char body[16];
            OK(coil_stream_readuntil(stream, "\r\n\r\n", 4, &data, &n));
            OK(coil_stream_readexactly(stream, body, k == 0 ? 10 : 6));
            ck_assert_int_eq(memcmp(body, k == 0 ? "POST /x yz" : "GET / ", k == 0 ? 10 : 6), 0);
        }
    }
    finish(stream);
    return 0;
}

static void serve_on_workers(void)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_coro clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = coil_coro_of(ask_often, server);
    OK(coil_gather_await(clients, CLIENTS, NULL));
    coil_stream *idle = dial(server);
    writes(idle, GET("/"));
    hear_head(idle);
    hears(idle, "GET / ");
    stop(server);
    finish(idle);
}

/*
 * Times out all the time, while requests come in: the sweeper and the connections' tasks on different workers. A second
 * request races with the timeout: it is answered or not, but never by halves.
 */
static void sweep_on_workers(void)
{
    static const char once[] = OK_HEAD("6") "\r\nGET / ", twice[] = OK_HEAD("6") "\r\nGET / " OK_HEAD("6") "\r\nGET / ";
    coil_http_server_options options = {.size = sizeof options, .idle_timeout_ns = COIL_MS(4)};
    coil_http_server *server = start(tell, NULL, &options);
    for (int i = 0; i < 20; i++) {
        coil_stream *streams[8];
        for (size_t k = 0; k < 8; k++) {
            streams[k] = dial(server);
            writes(streams[k], GET("/"));
        }
        OK(coil_sleep(COIL_MS(4)));
        for (size_t k = 0; k < 8; k++) {
            char *data;
            size_t n;
            writes(streams[k], GET("/"));
            int rc = coil_stream_read_all(streams[k], &data, &n);
            if (rc == 0) {
                cut_dates(data);
                ck_assert_msg(strcmp(data, once) == 0 || strcmp(data, twice) == 0, "heard %s", data);
                free(data);
            } else {
                ck_assert(rc == -ECONNRESET || rc == -EPIPE); /* the second one met a closed socket */
                caught(rc);
            }
            coil_stream_free(streams[k]);
        }
    }
    stop(server);
}

static void run_on_workers(void (*fn)(void))
{
    struct test_body body = {fn};
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = WORKERS,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
}

TEST(a_server_serves_on_all_workers)
{
    run_on_workers(serve_on_workers);
}

TEST(connections_are_given_up_on_all_workers)
{
    run_on_workers(sweep_on_workers);
}

COIL_TEST_MAIN("http server")
