/*
 * test_hostile.c - peers that misuse what the protocol allows, or stop in the middle: servers and sessions bear it
 *
 * On a loop with a virtual clock by coil_run_with(), on either backend; the last tests on a runtime. What is
 * malformed is test_malformed.c's business; here the bytes are valid, but come late, twice, or not at all.
 */
#include "http.h"

#include <stdatomic.h>

#define OK_HEAD(length) "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " length "\r\n"
#define GET(path)       "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK_TWO          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"

static coil_http_session *new_session(const coil_http_session_options *options)
{
    coil_http_session *session;
    OK(coil_http_session_new(options, &session));
    return session;
}

static void expect_body(coil_http_reply *reply, const char *text)
{
    char *data;
    size_t n;
    OK(coil_http_reply_read_all(reply, 4096, &data, &n));
    ck_assert_str_eq(data, text);
    free(data);
    coil_http_reply_free(reply);
}

static void expect_get(coil_http_session *session, const char *url, const char *text)
{
    coil_http_reply *reply;
    OK(coil_http_get(session, url, &reply));
    expect_body(reply, text);
}

/* --- time ----------------------------------------------------------------------------------------------- */

/* One line end a second, until the server has had enough: it answers, or closes. Gives after how many. */
static int say_line_ends(coil_stream *stream)
{
    int n = 0;
    while (n < 60 && !coil_stream_at_eof(stream) && coil_stream_read_buffer_size(stream) == 0) {
        writes(stream, "\r\n");
        OK(coil_sleep(COIL_SECONDS(1)));
        n++;
    }
    return n;
}

NET_TEST(empty_lines_do_not_keep_a_connection)
{
    coil_http_server_options options = {
        .size = sizeof options, .header_timeout_ns = COIL_SECONDS(4), .idle_timeout_ns = COIL_SECONDS(8)};
    coil_http_server *server = start(tell, NULL, &options);
    coil_stream *fresh = dial(server);
    ck_assert_int_le(say_line_ends(fresh), 7);
    coil_stream_free(fresh);
    coil_stream *used = dial(server);
    writes(used, GET("/"));
    ck_assert_str_eq(hear_head(used), OK_HEAD("6") "\r\n");
    hears(used, "GET / ");
    ck_assert_int_le(say_line_ends(used), 11);
    coil_stream_free(used);
    stop(server);
}

/* --- handlers that fail --------------------------------------------------------------------------------- */

static int fail_with(coil_http_request *request, coil_http_response *response, void *arg)
{
    if (strcmp(coil_http_request_path(request), "/fine") == 0)
        return tell(request, response, NULL);
    if (strcmp(coil_http_request_path(request), "/begun") == 0)
        COIL_TRY(coil_http_response_begin(response, 200, NULL, 5));
    return coil_raise(*(int *)arg, "a server behind this one");
}

/* A handler that asks elsewhere may hear of connections that were lost there; its own client is still there. */
NET_TEST(a_connection_that_a_handler_lost_elsewhere_is_reported_and_answered)
{
    static const int codes[] = {-ECONNRESET, -EPIPE, -ETIMEDOUT, -EPROTO, -EMSGSIZE};
    int code;
    coil_http_server *server = start(fail_with, &code, NULL);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        code = codes[i];
        ck_assert_str_eq(answer_to(server, GET("/"), strlen(GET("/"))),
                         "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        expect_report("Unhandled exception in HTTP handler of GET /", code, "a server behind this one");
        coil_stream *stream = dial(server);
        writes(stream, GET("/begun"));
        hear_all(stream);
        expect_report("Unhandled exception in HTTP handler of GET /begun", code, "a server behind this one");
    }
    stop(server);
}

/* What was answered before in the same batch is not lost with a response that is broken off. */
NET_TEST(a_response_that_breaks_off_takes_no_earlier_one_with_it)
{
    int code = COIL_EUSER(1);
    coil_http_server *server = start(fail_with, &code, NULL);
    coil_stream *stream = dial(server);
    writes(stream, GET("/fine") GET("/begun") GET("/never"));
    ck_assert_str_eq(hear_head(stream), OK_HEAD("10") "\r\n");
    hears(stream, "GET /fine ");
    coil_stream_free(stream);
    expect_report("Unhandled exception in HTTP handler of GET /begun", code, "a server behind this one");
    stop(server);
}

static int answer_then_wait(coil_http_request *request, coil_http_response *response, void *arg)
{
    if (strcmp(coil_http_request_path(request), "/slow") == 0)
        COIL_TRY(coil_sleep(COIL_SECONDS(1000)));
    return tell(request, response, arg);
}

NET_TEST(draining_sends_what_was_answered_before_a_handler_that_is_cancelled)
{
    coil_http_server *server = start(answer_then_wait, NULL, NULL);
    coil_stream *stream = dial(server);
    writes(stream, GET("/fine") GET("/slow"));
    OK(coil_sleep(COIL_SECONDS(1)));
    RAISES(-ETIMEDOUT, "", coil_http_server_drain(server, COIL_SECONDS(1)));
    coil_http_server_free(server);
    ck_assert_str_eq(hear_head(stream), OK_HEAD("10") "\r\n");
    hears(stream, "GET /fine ");
    coil_stream_free(stream);
}

/* --- replies that nobody asked for ---------------------------------------------------------------------- */

struct extra {
    const char *answer, *behind;
    int connections;
    coil_server *server;
};

/* Answers, and says something more when that has been read. */
static int say_more(coil_stream *stream, void *arg)
{
    struct extra *e = arg;
    const char *head;
    size_t n;
    int rc;
    e->connections++;
    while ((rc = coil_stream_readuntil(stream, "\r\n\r\n", 4, &head, &n)) == 0) {
        writes(stream, e->answer);
        OK(coil_sleep(COIL_SECONDS(1)));
        writes(stream, e->behind);
    }
    caught(rc);
    finish(stream);
    return 0;
}

static const char *extra_url(const struct extra *e)
{
    static char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", coil_server_port(e->server));
    return url;
}

/* Else it would be taken for the reply to the next request, and so on for ever. */
NET_TEST(a_kept_connection_on_which_something_came_serves_no_request)
{
    struct extra e = {.answer = OK_TWO "hi", .behind = OK_TWO "no"};
    e.server = listen_with(say_more, &e, NULL);
    coil_http_session *session = new_session(NULL);
    for (int i = 1; i <= 3; i++) {
        expect_get(session, extra_url(&e), "hi");
        OK(coil_sleep(COIL_SECONDS(2)));
        ck_assert_int_eq(e.connections, i);
    }
    coil_http_session_free(session);
    finish_server(e.server);
}

static int flood(coil_stream *stream, void *arg)
{
    const char *head;
    size_t n;
    int rc = coil_stream_readuntil(stream, "\r\n\r\n", 4, &head, &n);
    (void)arg;
    while (rc == 0 && (rc = coil_stream_write(stream, "HTTP/1.1 102 Processing\r\n\r\n", 27)) == 0)
        rc = coil_stream_drain(stream);
    caught(rc);
    coil_stream_free(stream);
    return 0;
}

NET_TEST(interim_replies_without_end_are_an_error)
{
    coil_server *server = listen_with(flood, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", coil_server_port(server));
    RAISES(-EPROTO, "an interim reply that nobody asked for", coil_http_get(session, url, &reply));
    coil_http_session_free(session);
    finish_server(server);
}

/* --- replies that come early, or not whole -------------------------------------------------------------- */

static int decline(coil_http_request *request, coil_http_response *response, void *arg)
{
    (void)request;
    (void)arg;
    return coil_http_respond(response, 403, "text/plain", "no", 2);
}

static int give_much(void *arg, void *buf, size_t cap, size_t *n)
{
    size_t *left = arg;
    *n = cap < *left ? cap : *left;
    memset(buf, 'x', *n);
    *left -= *n;
    return 0;
}

/* The server reads away a part of the body only; what it said before is heard nevertheless. */
NET_TEST(a_reply_that_comes_before_the_body_is_sent_is_heard)
{
    enum { BODY_BYTES = 64 * 1024 * 1024 };
    coil_http_server *server = start(decline, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    char *body = calloc(1, BODY_BYTES);
    OK(coil_http_post(session, url_of(server, "/"), NULL, body, BODY_BYTES, &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 413);
    expect_body(reply, "");
    size_t left = BODY_BYTES;
    coil_http_call call = {.size = sizeof call,
                           .method = "PUT",
                           .url = url_of(server, "/"),
                           .source = give_much,
                           .source_arg = &left,
                           .source_bytes = -1};
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 403);
    expect_body(reply, "no");
    ck_assert_uint_eq(coil_http_session_idle(session), 0);
    free(body);
    coil_http_session_free(session);
    stop(server);
}

struct cut {
    const char *text;
    size_t bytes;
};

static int say_a_part(coil_stream *stream, void *arg)
{
    const struct cut *cut = arg;
    const char *head;
    size_t n;
    OK(coil_stream_readuntil(stream, "\r\n\r\n", 4, &head, &n));
    OK(coil_stream_write(stream, cut->text, cut->bytes));
    finish(stream);
    return 0;
}

static int read_reply(coil_http_session *session, const char *url)
{
    coil_http_reply *reply;
    char *data;
    size_t n;
    COIL_TRY(coil_http_get(session, url, &reply));
    int rc = coil_http_reply_read_all(reply, 100, &data, &n);
    if (rc == 0) {
        ck_assert_str_eq(data, "abcde");
        free(data);
    }
    coil_http_reply_free(reply);
    return rc;
}

NET_TEST(a_reply_that_ends_too_early_is_an_error_wherever_it_does)
{
    static const char *const texts[] = {
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "2;x=y\r\nab\r\n3\r\ncde\r\n0\r\nTrailer: x\r\n\r\n",
    };
    struct cut cut;
    coil_server *server = listen_with(say_a_part, &cut, NULL);
    coil_http_session *session = new_session(NULL);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", coil_server_port(server));
    for (size_t i = 0; i < 2; i++) {
        for (size_t n = 0; n < strlen(texts[i]); n++) {
            cut = (struct cut){texts[i], n};
            int rc = read_reply(session, url);
            ck_assert_msg(rc == -ECONNRESET, "%zu bytes of %zu: %d", n, i, rc);
            caught(rc);
            ck_assert_uint_eq(coil_http_session_idle(session), 0);
        }
        cut.bytes = strlen(texts[i]);
        OK(read_reply(session, url));
    }
    coil_http_session_free(session);
    finish_server(server);
}

/* --- redirects ------------------------------------------------------------------------------------------ */

static int redirect(coil_http_request *request, coil_http_response *response, void *arg)
{
    const char *path = coil_http_request_path(request);
    (void)arg;
    if (path[1] != '3')
        return tell(request, response, NULL);
    COIL_TRY(coil_http_response_add_header(response, "Location", coil_http_request_query(request)));
    return coil_http_respond(response, atoi(path + 1), NULL, "moved", 5);
}

static int to_fragment(coil_http_request *request, coil_http_response *response, void *arg)
{
    if (strcmp(coil_http_request_path(request), "/first") != 0)
        return tell(request, response, arg);
    COIL_TRY(coil_http_response_add_header(response, "Location", "/a/b#/../../c?d"));
    return coil_http_respond(response, 302, NULL, "", 0);
}

NET_TEST(a_fragment_is_no_part_of_the_path_that_a_redirect_leads_to)
{
    coil_http_server *server = start(to_fragment, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .redirects_max = 1};
    coil_http_session *session = new_session(&options);
    expect_get(session, url_of(server, "/first"), "GET /a/b ");
    coil_http_session_free(session);
    stop(server);
}

/* A source is at its end after the first request: what would follow is a request with an empty body. */
NET_TEST(a_redirect_is_not_followed_with_a_source_that_was_read)
{
    static const struct {
        const char *method, *path;
        int status;
        const char *body;
    } cases[] = {
        {"PUT", "/301?/a", 301, "moved"},    {"PUT", "/302?/a", 302, "moved"},  {"PUT", "/303?/a", 200, "GET /a "},
        {"POST", "/301?/a", 200, "GET /a "}, {"POST", "/307?/a", 307, "moved"}, {"PATCH", "/302?/a", 302, "moved"},
    };
    coil_http_server *server = start(redirect, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .redirects_max = 1};
    coil_http_session *session = new_session(&options);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t left = 10;
        coil_http_reply *reply;
        coil_http_call call = {.size = sizeof call,
                               .method = cases[i].method,
                               .url = url_of(server, cases[i].path),
                               .source = give_much,
                               .source_arg = &left,
                               .source_bytes = -1};
        OK(coil_http_session_request(session, &call, &reply));
        ck_assert_msg(coil_http_reply_status(reply) == cases[i].status, "%zu: %d", i, coil_http_reply_status(reply));
        expect_body(reply, cases[i].body);
    }
    coil_http_session_free(session);
    stop(server);
}

/* A redirect, of whose body the rest never comes. */
static int redirect_half(coil_stream *stream, void *arg)
{
    const char *head;
    size_t n;
    (void)arg;
    OK(coil_stream_readuntil(stream, "\r\n\r\n", 4, &head, &n));
    writes(stream, "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 10\r\n\r\nhalf");
    int rc = coil_stream_readuntil(stream, "\r\n\r\n", 4, &head, &n);
    coil_error_release(coil_catch(rc));
    finish(stream);
    return 0;
}

static int get_for_ever(void *url, void **result)
{
    coil_http_reply *reply;
    coil_http_session_options options = {.size = sizeof options, .redirects_max = 3};
    coil_http_session *session = new_session(&options);
    (void)result;
    int rc = coil_http_get(session, url, &reply);
    coil_error *error = coil_catch(rc);
    coil_http_session_free(session);
    return coil_raise_error(error);
}

NET_TEST(who_is_cancelled_while_the_rest_of_a_redirect_is_read_away_does_not_go_on)
{
    char url[64];
    coil_server *server = listen_with(redirect_half, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/a", coil_server_port(server));
    coil_task *task = spawn(coil_coro_of(get_for_ever, url));
    OK(coil_sleep(COIL_SECONDS(1)));
    ck_assert(coil_task_cancel(task, NULL));
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    finish_server(server);
}

/* --- bodies that take their time ------------------------------------------------------------------------ */

static const coil_http_server_options drip_options = {
    .size = sizeof drip_options,
    .header_timeout_ns = COIL_SECONDS(4), /* the sweeper looks once a second */
    .body_timeout_ns = COIL_SECONDS(6),
    .body_total_timeout_ns = COIL_SECONDS(12),
};

/* Each byte is in time. */
NET_TEST(a_body_that_drips_is_given_up)
{
    coil_http_server *server = start(tell, NULL, &drip_options);
    coil_stream *stream = dial(server);
    writes(stream, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    OK(coil_sleep(COIL_MS(500))); /* between the sweeper's looks: closing on a byte that was not read resets */
    for (int i = 0; i < 20 && !coil_stream_at_eof(stream) && coil_stream_read_buffer_size(stream) == 0; i++) {
        writes(stream, "x");
        OK(coil_sleep(COIL_SECONDS(1)));
    }
    ck_assert_str_eq(hear_all(stream),
                     "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    ck_assert_int_ge(now_ms(), 12000);
    ck_assert_int_le(now_ms(), 14000);
    stop(server);
}

static int read_slowly(coil_http_request *request, coil_http_response *response, void *arg)
{
    char byte;
    (void)arg;
    for (size_t n = 1; n > 0;) {
        OK(coil_http_request_read(request, &byte, 1, &n));
        OK(coil_sleep(COIL_SECONDS(5)));
    }
    return coil_http_respond(response, 200, NULL, "done", 4);
}

NET_TEST(a_handler_may_take_longer_for_a_body_than_its_client)
{
    coil_http_server *server = start(read_slowly, NULL, &drip_options);
    coil_stream *stream = dial(server);
    writes(stream, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    for (int i = 0; i < 4; i++) {
        writes(stream, "1\r\nx\r\n");
        OK(coil_sleep(COIL_SECONDS(7)));
    }
    writes(stream, "0\r\n\r\n");
    ck_assert_str_eq(hear_all(stream), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone");
    stop(server);
}

/* --- several workers ------------------------------------------------------------------------------------ */

enum { TASKS = 8, ROUNDS = 12, WORKERS = 4, UPLOAD_BYTES = 512 * 1024 };

struct shared {
    coil_http_server *server;
    coil_http_session *session;
    const char *body;
};

/* Takes every second body, and refuses the others unread. */
static int take_or_refuse(coil_http_request *request, coil_http_response *response, void *arg)
{
    return (strcmp(coil_http_request_path(request), "/take") == 0 ? tell : decline)(request, response, arg);
}

typedef struct uploader {
    const struct shared *shared;
    bool goes_on; /* until it is cancelled */
    atomic_int rounds;
    coil_task *task;
} uploader;

static int upload(void *arg, void **result)
{
    uploader *u = arg;
    const struct shared *s = u->shared;
    char url[64];
    (void)result;
    for (int i = 0; u->goes_on || i < ROUNDS; i++) {
        bool take = i % 2 == 0;
        coil_http_reply *reply;
        snprintf(url, sizeof url, "http://127.0.0.1:%d/%s", coil_http_server_port(s->server), take ? "take" : "no");
        COIL_TRY(coil_http_post(s->session, url, NULL, s->body, UPLOAD_BYTES, &reply));
        ck_assert_int_eq(coil_http_reply_status(reply), take ? 200 : 403);
        ck_assert(u->goes_on || coil_task_cancelling(coil_current_task()) == 0);
        coil_http_reply_free(reply);
        atomic_fetch_add(&u->rounds, 1);
    }
    return 0;
}

/* Every second one is cancelled on the way: neither that nor a connection nor a place among the few is lost. */
static void upload_on_workers(void)
{
    coil_http_session_options options = {.size = sizeof options, .connections_max = 3};
    char *body = calloc(1, UPLOAD_BYTES);
    struct shared s = {start(take_or_refuse, NULL, NULL), new_session(&options), body};
    uploader all[TASKS];
    for (size_t i = 0; i < TASKS; i++) {
        all[i] = (uploader){.shared = &s, .goes_on = i % 2 == 0};
        OK(coil_create_task(coil_coro_of(upload, &all[i]), &all[i].task));
    }
    for (size_t i = 0; i < TASKS; i += 2) {
        while (atomic_load(&all[i].rounds) == 0)
            OK(coil_sleep(COIL_US(300 * (i + 1))));
        coil_future_cancel(all[i].task, NULL);
    }
    for (size_t i = 0; i < TASKS; i++) {
        int rc = coil_join(all[i].task, NULL);
        ck_assert_int_eq(rc, all[i].goes_on ? -ECANCELED : 0);
        caught(rc);
    }
    coil_http_session_free(s.session);
    stop(s.server);
    free(body);
}

TEST(uploads_are_refused_and_cancelled_on_all_workers)
{
    struct test_body body = {upload_on_workers};
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = WORKERS,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
}

COIL_TEST_MAIN("http hostile")
