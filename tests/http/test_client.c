/*
 * test_client.c - sessions: requests, kept connections, timeouts, redirects; on a loop by coil_run_with(),
 * either backend
 *
 * Against coil-http's own server, or a plain one that says what it is told to, since a client has to bear
 * more than that.
 */
#include "http.h"

#if __has_include(<cjson/cJSON.h>)
#include <cjson/cJSON.h>
#define WITH_JSON 1
#else
#define WITH_JSON 0
#endif

/* --- servers -------------------------------------------------------------------------------------------- */

/* A server that reads a head and answers with the bytes of a script, one connection after the other. */
struct script {
    const char *const *answers; /* for one request each, NULL at the end of a connection, two of them at the end */
    size_t connections, requests;
    char last[4096]; /* what was asked last: the head */
    coil_server *server;
};

static int play(coil_stream *stream, void *arg)
{
    struct script *s = arg;
    const char *head;
    size_t n;
    s->connections++;
    while (*s->answers) {
        int rc = coil_stream_readuntil(stream, "\r\n\r\n", 4, &head, &n);
        if (rc < 0) {
            caught(rc);
            break;
        }
        ck_assert_uint_lt(n, sizeof s->last);
        memcpy(s->last, head, n);
        s->last[n] = '\0';
        s->requests++;
        writes(stream, *s->answers++);
    }
    if (!*s->answers && s->answers[1])
        s->answers++;
    finish(stream);
    return 0;
}

static void start_script(struct script *s, const char *const *answers)
{
    *s = (struct script){.answers = answers};
    s->server = listen_with(play, s, NULL);
}

static const char *script_url(const struct script *s, const char *path)
{
    static char url[256];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", coil_server_port(s->server), path);
    return url;
}

static coil_http_session *new_session(const coil_http_session_options *options)
{
    coil_http_session *session;
    OK(coil_http_session_new(options, &session));
    return session;
}

static const char *body_of(coil_http_reply *reply)
{
    static char body[64 * 1024];
    char *data;
    size_t n;
    OK(coil_http_reply_read_all(reply, sizeof body - 1, &data, &n));
    memcpy(body, data, n + 1);
    free(data);
    return body;
}

static const char *get(coil_http_session *session, const char *url)
{
    coil_http_reply *reply;
    OK(coil_http_get(session, url, &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 200);
    const char *body = body_of(reply);
    coil_http_reply_free(reply);
    return body;
}

static int get_fails(coil_http_session *session, const char *url)
{
    coil_http_reply *reply;
    return coil_http_get(session, url, &reply);
}

/* --- requests ------------------------------------------------------------------------------------------- */

NET_TEST(a_session_gets_and_posts)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    ck_assert_str_eq(get(session, url_of(server, "/a?b=c#fragment")), "GET /a?b=c ");
    OK(coil_http_post(session, url_of(server, ""), "text/plain", "hello", 5, &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 200);
    ck_assert_str_eq(coil_http_reply_header(reply, "content-TYPE"), "text/plain");
    ck_assert_ptr_null(coil_http_reply_header(reply, "X"));
    ck_assert_str_eq(coil_http_reply_url(reply), url_of(server, "/"));
    coil_http_header header = {NULL, NULL};
    ck_assert(coil_http_reply_header_at(reply, 0, &header));
    ck_assert_str_eq(header.name, "Date");
    ck_assert(!coil_http_reply_header_at(reply, 99, &header));
    ck_assert_str_eq(body_of(reply), "POST / hello");
    coil_http_reply_free(reply);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_request_says_what_it_should_and_no_more)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 None\r\n\r\n",
                                          NULL, NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session_options options = {.size = sizeof options, .user_agent = "me"};
    coil_http_session *session = new_session(&options);
    char expected[256];
    ck_assert_str_eq(get(session, script_url(&script, "/x?y")), "");
    snprintf(expected, sizeof expected,
             "GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: me\r\nAccept: */*\r\n\r\n",
             coil_server_port(script.server));
    ck_assert_str_eq(script.last, expected);
    coil_http_header headers[] = {{"accept", "text/html"}, {"User-Agent", "you"}, {"X-A", "b"}};
    coil_http_call call = {
        .size = sizeof call, .method = "PUT", .url = script_url(&script, "/"), .headers = headers, .header_count = 3};
    coil_http_reply *reply;
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 204);
    ck_assert_str_eq(body_of(reply), "");
    coil_http_reply_free(reply);
    snprintf(expected, sizeof expected,
             "PUT / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\naccept: text/html\r\nUser-Agent: you\r\nX-A: b\r\n"
             "Content-Length: 0\r\n\r\n",
             coil_server_port(script.server));
    ck_assert_str_eq(script.last, expected);
    coil_http_session_free(session);
    finish_server(script.server);
}

NET_TEST(what_no_request_can_be_is_an_error)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    coil_http_header headers[] = {{"X", "a\r\nY: b"}};
    coil_http_call call = {.size = sizeof call, .url = url_of(server, "/"), .headers = headers, .header_count = 1};
    RAISES(-EINVAL, "the value of X has characters that no field can have",
           coil_http_session_request(session, &call, &reply));
    headers[0] = (coil_http_header){"X:", "a"};
    RAISES(-EINVAL, "a field's name must be a token", coil_http_session_request(session, &call, &reply));
    headers[0] = (coil_http_header){"transfer-encoding", "chunked"};
    RAISES(-EINVAL, "transfer-encoding is set by the client itself",
           coil_http_session_request(session, &call, &reply));
    call = (coil_http_call){.size = sizeof call, .url = url_of(server, "/"), .method = "GET /\r\n"};
    RAISES(-EINVAL, "the method cannot be sent", coil_http_session_request(session, &call, &reply));
    call = (coil_http_call){.size = sizeof call};
    RAISES(-EINVAL, "the URL is missing", coil_http_session_request(session, &call, &reply));
    RAISES(-EPROTONOSUPPORT, "https is not supported", coil_http_get(session, "https://h/", &reply));
    RAISES(-EINVAL, "the URL has no http scheme", coil_http_get(session, "/", &reply));
    RAISES(-EINVAL, "the URL has a bad host", coil_http_get(session, "http:///", &reply));
    RAISES(-EINVAL, "the URL has a bad host", coil_http_get(session, "http://a b/", &reply));
    RAISES(-EINVAL, "the URL has a bad host", coil_http_get(session, "http://[::1/", &reply));
    RAISES(-EINVAL, "the URL has a bad port", coil_http_get(session, "http://h:/", &reply));
    RAISES(-EINVAL, "the URL has a bad port", coil_http_get(session, "http://h:65536/", &reply));
    RAISES(-EINVAL, "the URL has a user's name, which is not supported",
           coil_http_get(session, "http://a:b@h/", &reply));
    RAISES(-EINVAL, "the URL has characters that have to be percent-encoded",
           coil_http_get(session, "http://h/a b", &reply));
    RAISES(-EINVAL, "the URL has characters that have to be percent-encoded",
           coil_http_get(session, "http://h/ HTTP/1.1\r\nX: y", &reply));
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_connection_that_is_refused_is_an_error)
{
    coil_http_server *server = start(tell, NULL, NULL);
    char url[256];
    snprintf(url, sizeof url, "%s", url_of(server, "/"));
    stop(server);
    coil_http_session *session = new_session(NULL);
    ck_assert_int_eq(get_fails(session, url), -ECONNREFUSED);
    caught(-ECONNREFUSED);
    coil_http_session_free(session);
}

static int give_pieces(void *arg, void *buf, size_t cap, size_t *n)
{
    static const char *const pieces[] = {"ab", "c", "defg"};
    size_t *next = arg;
    ck_assert_uint_ge(cap, 16);
    OK(coil_sleep(COIL_MS(1)));
    *n = *next < 3 ? strlen(pieces[*next]) : 0;
    if (*n > 0)
        memcpy(buf, pieces[*next], *n);
    ++*next;
    return 0;
}

NET_TEST(a_body_may_come_from_a_source)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    size_t at = 0;
    coil_http_call call = {.size = sizeof call,
                           .method = "POST",
                           .url = url_of(server, "/"),
                           .source = give_pieces,
                           .source_arg = &at,
                           .source_bytes = -1};
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_str_eq(body_of(reply), "POST / abcdefg");
    coil_http_reply_free(reply);
    at = 0;
    call.source_bytes = 7;
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_str_eq(body_of(reply), "POST / abcdefg");
    coil_http_reply_free(reply);
    ck_assert_uint_eq(coil_http_session_idle(session), 1);
    at = 0;
    call.source_bytes = 8;
    RAISES(-EINVAL, "the source of the body ended 1 bytes early", coil_http_session_request(session, &call, &reply));
    at = 0;
    call.source_bytes = 6;
    RAISES(-EINVAL, "the source of the body gave more than it may",
           coil_http_session_request(session, &call, &reply));
    ck_assert_uint_eq(coil_http_session_idle(session), 0);
    coil_http_session_free(session);
    stop(server);
}

/* --- replies -------------------------------------------------------------------------------------------- */

NET_TEST(replies_are_framed_in_every_way)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
        "3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n\r\nabc",
        NULL,
        NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session *session = new_session(NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(get(session, script_url(&script, "/")), "abc");
    ck_assert_uint_eq(script.connections, 1);
    ck_assert_uint_eq(coil_http_session_idle(session), 0);
    coil_http_session_free(session);
    finish_server(script.server);
}

NET_TEST(a_reply_to_head_has_no_body)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
                                          "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL, NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    coil_http_call call = {.size = sizeof call, .method = "HEAD", .url = script_url(&script, "/")};
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_str_eq(coil_http_reply_header(reply, "Content-Length"), "3");
    ck_assert_str_eq(body_of(reply), "");
    coil_http_reply_free(reply);
    OK(coil_http_get(session, script_url(&script, "/"), &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 304);
    coil_http_reply_free(reply);
    ck_assert_str_eq(get(session, script_url(&script, "/")), "");
    ck_assert_uint_eq(script.connections, 1);
    coil_http_session_free(session);
    finish_server(script.server);
}

NET_TEST(malformed_replies_are_errors)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        NULL,
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        NULL,
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        NULL,
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        NULL,
        "HTTP/2.0 200 OK\r\n\r\n",
        NULL,
        "HTTP/1.1 20 OK\r\n\r\n",
        NULL,
        "SSH-2.0-OpenSSH\r\n\r\n",
        NULL,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        NULL,
        NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session *session = new_session(NULL);
    for (int i = 0; i < 8; i++) {
        ck_assert_msg(get_fails(session, script_url(&script, "/")) == -EPROTO, "%d", i);
        caught(-EPROTO);
    }
    coil_http_session_free(session);
    finish_server(script.server);
}

NET_TEST(a_reply_that_is_too_large_is_an_error)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nabcdefghijk",
        NULL,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nabcdefghijk\r\n0\r\n\r\n",
        NULL,
        "HTTP/1.1 200 OK\r\n\r\nabcdefghijk",
        NULL,
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdefghij",
        NULL,
        "HTTP/1.1 200 OK\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        NULL,
        NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session_options options = {.size = sizeof options, .body_bytes_max = 10, .header_bytes_max = 100};
    coil_http_session *session = new_session(&options);
    coil_http_reply *reply;
    char *data;
    size_t n;
    for (int i = 0; i < 3; i++) {
        OK(coil_http_get(session, script_url(&script, "/"), &reply));
        RAISES(-EMSGSIZE, "the body is larger than 10 bytes", coil_http_reply_read_all(reply, 100, &data, &n));
        RAISES(-EMSGSIZE, "reading this body has failed before", coil_http_reply_read_all(reply, 100, &data, &n));
        coil_http_reply_free(reply);
    }
    OK(coil_http_get(session, script_url(&script, "/"), &reply));
    RAISES(-EMSGSIZE, "the body is larger than 9 bytes", coil_http_reply_read_all(reply, 9, &data, &n));
    coil_http_reply_free(reply);
    RAISES(-EMSGSIZE, "the head of the reply is too large", get_fails(session, script_url(&script, "/")));
    coil_http_session_free(session);
    finish_server(script.server);
}

NET_TEST(a_connection_that_ends_in_a_body_is_an_error)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", NULL,
                                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", NULL,
                                          NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    char buf[16];
    size_t n;
    for (int i = 0; i < 2; i++) {
        OK(coil_http_get(session, script_url(&script, "/"), &reply));
        OK(coil_http_reply_read(reply, buf, sizeof buf, &n));
        ck_assert_uint_eq(n, 3);
        RAISES(-ECONNRESET, "the connection ended inside a message",
               coil_http_reply_read(reply, buf, sizeof buf, &n));
        coil_http_reply_free(reply);
    }
    ck_assert_uint_eq(coil_http_session_idle(session), 0);
    coil_http_session_free(session);
    finish_server(script.server);
}

#if WITH_JSON
NET_TEST(a_reply_may_be_json)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"a\": [1,2]}",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\"",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{} x",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                                          NULL,
                                          NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    cJSON *json;
    OK(coil_http_get(session, script_url(&script, "/"), &reply));
    OK(coil_http_reply_json(reply, 100, &json));
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "a")), 2);
    cJSON_Delete(json);
    coil_http_reply_free(reply);
    for (int i = 0; i < 3; i++) {
        OK(coil_http_get(session, script_url(&script, "/"), &reply));
        RAISES(-EBADMSG, "the body is not JSON", coil_http_reply_json(reply, 100, &json));
        coil_http_reply_free(reply);
    }
    ck_assert_uint_eq(script.connections, 1);
    coil_http_session_free(session);
    finish_server(script.server);
}
#endif

/* --- kept connections ----------------------------------------------------------------------------------- */

NET_TEST(a_connection_is_kept_for_the_next_request)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    for (int i = 0; i < 5; i++) {
        get(session, url_of(server, "/"));
        ck_assert_uint_eq(coil_http_server_connections(server), 1);
        ck_assert_uint_eq(coil_http_session_idle(session), 1);
    }
    coil_http_reply *unread;
    OK(coil_http_get(session, url_of(server, "/"), &unread)); /* nobody reads its body */
    coil_http_reply_free(unread);
    ck_assert_uint_eq(coil_http_session_idle(session), 0);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(as_many_connections_are_kept_as_may_be)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .idle_max = 2};
    coil_http_session *session = new_session(&options);
    coil_http_reply *replies[3];
    for (int i = 0; i < 3; i++)
        OK(coil_http_get(session, url_of(server, "/"), &replies[i]));
    for (int i = 0; i < 3; i++) {
        body_of(replies[i]);
        coil_http_reply_free(replies[i]);
    }
    ck_assert_uint_eq(coil_http_session_idle(session), 2);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_session_that_is_freed_leaves_no_task)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    get(session, url_of(server, "/"));
    turns(2);
    stop(server);
    ck_assert_uint_eq(coil_http_session_idle(session), 1);
    coil_http_session_free(session);
    nobody_else_is_left();
    session = new_session(NULL); /* and now at once */
    server = start(tell, NULL, NULL);
    get(session, url_of(server, "/"));
    coil_http_session_free(session);
    stop(server);
    nobody_else_is_left();
}

/* Tasks that were made without a name count on in theirs. */
static int tasks_made(void)
{
    coil_task *task = spawn(coil_sleep_coro(0, NULL));
    int number = atoi(strchr(coil_task_get_name(task), '-') + 1);
    OK(coil_join(task, NULL));
    return number;
}

NET_TEST(one_request_after_the_other_needs_one_task_for_what_is_kept)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    int before = tasks_made();
    for (int i = 0; i < 20; i++)
        get(session, url_of(server, "/"));
    ck_assert_int_le(tasks_made() - before, 5); /* the server has some, too */
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_connection_is_not_kept_for_ever)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .idle_timeout_ns = COIL_SECONDS(2)};
    coil_http_session *session = new_session(&options);
    get(session, url_of(server, "/"));
    ck_assert_uint_eq(coil_http_session_idle(session), 1);
    OK(coil_sleep(COIL_SECONDS(4)));
    ck_assert_uint_eq(coil_http_session_idle(session), 0);
    get(session, url_of(server, "/"));
    ck_assert_uint_eq(coil_http_session_idle(session), 1);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_request_waits_for_one_of_few_connections)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_http_session_options options = {
        .size = sizeof options, .connections_max = 1, .total_timeout_ns = COIL_SECONDS(5)};
    coil_http_session *session = new_session(&options);
    coil_http_reply *first;
    OK(coil_http_get(session, url_of(server, "/"), &first));
    RAISES(-ETIMEDOUT, "waiting for a connection took too long", get_fails(session, url_of(server, "/")));
    body_of(first);
    coil_http_reply_free(first);
    get(session, url_of(server, "/"));
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_request_on_a_stale_connection_is_sent_once_more)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    static const char *const answers[] = {ok, "", NULL, ok, "", NULL, "", NULL, NULL};
    struct script script;
    start_script(&script, answers);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    ck_assert_str_eq(get(session, script_url(&script, "/1")), "hi");
    ck_assert_str_eq(get(session, script_url(&script, "/2")), "hi"); /* the first try got no answer */
    ck_assert_uint_eq(script.connections, 2);
    ck_assert_uint_eq(script.requests, 3);
    RAISES(-ECONNRESET, "the connection ended before the reply", /* it may have had an effect */
           coil_http_post(session, script_url(&script, "/3"), NULL, "x", 1, &reply));
    ck_assert_uint_eq(script.connections, 2);
    RAISES(-ECONNRESET, "the connection ended before the reply",
           get_fails(session, script_url(&script, "/4"))); /* a new one */
    ck_assert_uint_eq(script.connections, 3);
    coil_http_session_free(session);
    finish_server(script.server);
}

/* --- time ----------------------------------------------------------------------------------------------- */

NET_TEST(a_reply_that_does_not_come_is_given_up)
{
    static const char *const answers[] = {"",   NULL, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", NULL, "",
                                          NULL, NULL};
    struct script script;
    coil_event *never;
    OK(coil_event_new(&never));
    start_script(&script, answers);
    int port, fd = silent_listener(8, &port);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    coil_http_session_options options = {
        .size = sizeof options, .read_timeout_ns = COIL_SECONDS(3), .total_timeout_ns = COIL_SECONDS(20)};
    coil_http_session *session = new_session(&options);
    RAISES(-ETIMEDOUT, "reading took too long", get_fails(session, url));
    ck_assert_int_eq(now_ms(), 3000);
    coil_http_call call = {.size = sizeof call, .url = url, .total_timeout_ns = COIL_SECONDS(1)};
    coil_http_reply *reply;
    RAISES(-ETIMEDOUT, "reading took too long", coil_http_session_request(session, &call, &reply));
    ck_assert_int_eq(now_ms(), 4000);
    coil_http_session_free(session);
    close(fd);
    coil_event_free(never);
    finish_server(script.server);
}

static int drip(coil_http_request *request, coil_http_response *response, void *arg)
{
    (void)request;
    (void)arg;
    COIL_TRY(coil_http_response_begin(response, 200, NULL, -1));
    for (int i = 0; i < 10; i++) {
        COIL_TRY(coil_http_response_write(response, "x", 1));
        COIL_TRY(coil_sleep(COIL_SECONDS(1)));
    }
    return 0;
}

NET_TEST(the_whole_request_has_a_limit)
{
    coil_http_server *server = start(drip, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .total_timeout_ns = COIL_SECONDS(3) + COIL_MS(500)};
    coil_http_session *session = new_session(&options);
    coil_http_reply *reply;
    char *data;
    size_t n;
    OK(coil_http_get(session, url_of(server, "/"), &reply));
    RAISES(-ETIMEDOUT, "reading took too long", coil_http_reply_read_all(reply, 100, &data, &n));
    ck_assert_int_eq(now_ms(), 3500);
    coil_http_reply_free(reply);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(a_request_can_be_cancelled)
{
    int port, fd = silent_listener(8, &port);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    coil_http_session *session = new_session(NULL);
    coil_timeout *t;
    OK(coil_timeout_new(COIL_SECONDS(1), &t));
    OK(coil_timeout_enter(t));
    int rc = get_fails(session, url);
    ck_assert_int_eq(rc, -ECANCELED);
    RAISES(-ETIMEDOUT, "", coil_timeout_exit(t, rc));
    coil_timeout_free(t);
    coil_http_session_free(session);
    close(fd);
}

/* --- redirects ------------------------------------------------------------------------------------------ */

static int redirect(coil_http_request *request, coil_http_response *response, void *arg)
{
    const char *path = coil_http_request_path(request), *to = coil_http_request_query(request);
    if (path[1] != '3')
        return tell(request, response, arg);
    COIL_TRY(coil_http_response_add_header(response, "Location", to));
    return coil_http_respond(response, atoi(path + 1), NULL, "moved", 5);
}

NET_TEST(redirects_are_replies_unless_they_are_followed)
{
    coil_http_server *server = start(redirect, NULL, NULL);
    coil_http_session *session = new_session(NULL);
    coil_http_reply *reply;
    OK(coil_http_get(session, url_of(server, "/302?/a"), &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 302);
    ck_assert_str_eq(coil_http_reply_header(reply, "Location"), "/a");
    coil_http_reply_free(reply);
    coil_http_session_free(session);
    stop(server);
}

NET_TEST(redirects_are_followed_as_far_as_allowed)
{
    static const struct {
        const char *method, *path, *body;
    } cases[] = {
        {"GET", "/301?/a?b", "GET /a?b "},
        {"GET", "/302?b", "GET /b "},
        {"GET", "/302?./b?c=/./", "GET /b?c=/./ "},
        {"POST", "/301?/a", "GET /a "},
        {"POST", "/302?/a", "GET /a "},
        {"POST", "/303?/a", "GET /a "},
        {"POST", "/307?/a", "POST /a hello"},
        {"POST", "/308?/a", "POST /a hello"},
        {"PUT", "/302?/a", "PUT /a hello"},
        {"PUT", "/303?/a", "GET /a "},
        {"GET", "/301?/302?/303?/a", "GET /a "},
        {"GET", "/301?/b/../c/./d/.", "GET /c/d/ "},
    };
    coil_http_server *server = start(redirect, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .redirects_max = 3};
    coil_http_session *session = new_session(&options);
    coil_http_reply *reply;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        coil_http_call call = {.size = sizeof call,
                               .method = cases[i].method,
                               .url = url_of(server, cases[i].path),
                               .body = "hello",
                               .body_bytes = strcmp(cases[i].method, "GET") == 0 ? 0 : 5};
        OK(coil_http_session_request(session, &call, &reply));
        ck_assert_str_eq(body_of(reply), cases[i].body);
        coil_http_reply_free(reply);
    }
    ck_assert_uint_eq(coil_http_server_connections(server), 1);
    RAISES(-ELOOP, "more than 3 redirects", get_fails(session, url_of(server, "/301?/301?/301?/301?/a")));
    RAISES(-EPROTONOSUPPORT, "https is not supported", get_fails(session, url_of(server, "/301?https://h/")));
    RAISES(-EINVAL, "the URL has no http scheme", get_fails(session, url_of(server, "/301?gopher://h/")));
    coil_http_session_free(session);
    stop(server);
}

static int show_secret(coil_http_request *request, coil_http_response *response, void *arg)
{
    const char *secret = coil_http_request_header(request, "Authorization"),
               *other = coil_http_request_header(request, "X");
    (void)arg;
    return coil_http_respondf(response, 200, NULL, "%s %s", secret ? secret : "nothing", other);
}

NET_TEST(secrets_are_not_sent_on_to_other_hosts)
{
    coil_http_server *first = start(redirect, NULL, NULL), *second = start(show_secret, NULL, NULL);
    coil_http_session_options options = {.size = sizeof options, .redirects_max = 1};
    coil_http_session *session = new_session(&options);
    coil_http_header headers[] = {{"authorization", "Basic x"}, {"X", "y"}};
    char path[128];
    snprintf(path, sizeof path, "/302?%s", url_of(second, "/"));
    coil_http_call call = {.size = sizeof call, .url = url_of(first, path), .headers = headers, .header_count = 2};
    coil_http_reply *reply;
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_str_eq(body_of(reply), "nothing y");
    ck_assert_str_eq(coil_http_reply_url(reply), url_of(second, "/"));
    coil_http_reply_free(reply);
    call.url = url_of(second, "/");
    OK(coil_http_session_request(session, &call, &reply));
    ck_assert_str_eq(body_of(reply), "Basic x y");
    coil_http_reply_free(reply);
    coil_http_session_free(session);
    stop(first);
    stop(second);
}

/* --- several workers ------------------------------------------------------------------------------------ */

enum { TASKS = 12, REQUESTS = 60, WORKERS = 4 };

struct shared {
    coil_http_server *server;
    coil_http_session *session;
};

static int ask_often(void *arg, void **result)
{
    struct shared *s = arg;
    coil_http_reply *reply;
    char url[64], *data;
    size_t n;
    (void)result;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", coil_http_server_port(s->server));
    for (int i = 0; i < REQUESTS; i++) {
        OK(coil_http_post(s->session, url, NULL, "abc", 3, &reply));
        OK(coil_http_reply_read_all(reply, 100, &data, &n));
        ck_assert_str_eq(data, "POST / abc");
        free(data);
        coil_http_reply_free(reply);
    }
    return 0;
}

static void share_a_session(void)
{
    coil_http_session_options options = {.size = sizeof options, .connections_max = 6, .idle_max = 3};
    struct shared s = {start(tell, NULL, NULL), new_session(&options)};
    coil_coro tasks[TASKS];
    for (size_t i = 0; i < TASKS; i++)
        tasks[i] = coil_coro_of(ask_often, &s);
    OK(coil_gather_await(tasks, TASKS, NULL));
    ck_assert_uint_le(coil_http_session_idle(s.session), 3);
    coil_http_session_free(s.session);
    stop(s.server);
}

TEST(tasks_on_all_workers_share_a_session)
{
    struct test_body body = {share_a_session};
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = WORKERS,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
}

TEST(outside_a_task_a_request_is_an_error)
{
    coil_http_session *session;
    coil_http_reply *reply;
    OK(coil_http_session_new(NULL, &session));
    ck_assert_int_eq(coil_http_get(session, "http://127.0.0.1:1/", &reply), COIL_ENOLOOP);
    coil_error_release(coil_catch(COIL_ENOLOOP));
    coil_http_session_free(session);
}

TASK_TEST(options_whose_size_was_forgotten_are_refused)
{
    coil_http_session *session;
    coil_http_reply *reply;
    coil_http_server *server;
    coil_http_mock *mock;
    ck_assert_int_eq(coil_http_session_new(&(coil_http_session_options){.user_agent = "x"}, &session), -EINVAL);
    ck_assert_int_eq(coil_http_start_server(NULL, NULL, "127.0.0.1", "0", &(coil_http_server_options){.backlog = 1}, &server),
                     -EINVAL);
    OK(coil_http_session_new(NULL, &session));
    ck_assert_int_eq(coil_http_session_request(session, &(coil_http_call){.url = "http://a/"}, &reply), -EINVAL);
    OK(coil_http_mock_new(&mock));
    ck_assert_int_eq(coil_http_mock_add(mock, &(coil_http_answer){.url = "http://a/"}), -EINVAL);
    coil_http_mock_free(mock);
    coil_http_session_free(session);
}

COIL_TEST_MAIN("http client")
