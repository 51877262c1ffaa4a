/*
 * test_mock.c - canned answers instead of a network; on a loop by coil_run_with(), either backend
 */
#include "http.h"

#include <limits.h>

static coil_http_session *mocked(coil_http_mock **mock)
{
    coil_http_session *session;
    coil_http_session_options options = {
        .size = sizeof options, .read_timeout_ns = COIL_SECONDS(5), .redirects_max = 2};
    OK(coil_http_session_new(&options, &session));
    OK(coil_http_mock_new(mock));
    coil_http_session_set_mock(session, *mock);
    return session;
}

static void end(coil_http_session *session, coil_http_mock *mock)
{
    coil_http_session_free(session);
    coil_http_mock_free(mock);
}

static void add(coil_http_mock *mock, coil_http_answer answer)
{
    answer.size = sizeof answer;
    OK(coil_http_mock_add(mock, &answer));
}

static int get(coil_http_session *session, const char *url, int *status, char **body)
{
    coil_http_reply *reply;
    size_t n;
    COIL_TRY(coil_http_get(session, url, &reply));
    *status = coil_http_reply_status(reply);
    int rc = coil_http_reply_read_all(reply, 1000, body, &n);
    coil_http_reply_free(reply);
    return rc;
}

static void gets(coil_http_session *session, const char *url, int expected_status, const char *expected)
{
    int status;
    char *body;
    OK(get(session, url, &status, &body));
    ck_assert_int_eq(status, expected_status);
    ck_assert_str_eq(body, expected);
    free(body);
}

static void fails(coil_http_session *session, const char *url, int code, const char *message)
{
    int status;
    char *body;
    RAISES(code, message, get(session, url, &status, &body));
}

NET_TEST(answers_are_given_as_often_as_registered_and_in_order)
{
    coil_http_mock *mock;
    coil_http_session *session = mocked(&mock);
    add(mock, (coil_http_answer){.url = "http://h/a", .body = "one", .times = 2});
    add(mock, (coil_http_answer){.url = "http://h/a", .status = 404, .body = "two"});
    add(mock, (coil_http_answer){.url = "http://h", .body = "always", .times = UINT_MAX});
    gets(session, "http://h/a", 200, "one");
    gets(session, "http://h/a#f", 200, "one");
    gets(session, "http://h/a", 404, "two");
    fails(session, "http://h/a", -ECONNREFUSED, "unexpected request: GET http://h/a");
    fails(session, "http://h/a?b", -ECONNREFUSED, "unexpected request: GET http://h/a?b");
    for (int i = 0; i < 5; i++)
        gets(session, "http://h/", 200, "always");
    ck_assert_uint_eq(coil_http_mock_calls(mock, "GET", "http://h/a"), 4);
    ck_assert_uint_eq(coil_http_mock_calls(mock, "POST", NULL), 0);
    ck_assert_uint_eq(coil_http_mock_calls(mock, NULL, NULL), 10);
    end(session, mock);
}

NET_TEST(what_was_sent_can_be_looked_at)
{
    coil_http_mock *mock;
    coil_http_session *session = mocked(&mock);
    coil_http_reply *reply;
    coil_http_header fields[] = {{"X-A", "b"}};
    size_t n;
    add(mock, (coil_http_answer){.method = "POST",
                                 .url = "http://h:8080/p",
                                 .status = 201,
                                 .content_type = "text/plain",
                                 .headers = fields,
                                 .header_count = 1});
    OK(coil_http_post(session, "http://h:8080/p", "text/x", "hello", 5, &reply));
    ck_assert_int_eq(coil_http_reply_status(reply), 201);
    ck_assert_str_eq(coil_http_reply_header(reply, "Content-Type"), "text/plain");
    ck_assert_str_eq(coil_http_reply_header(reply, "x-a"), "b");
    coil_http_reply_free(reply);
    const char *sent = coil_http_mock_sent(mock, &n);
    static const char expected[] = "POST /p HTTP/1.1\r\nHost: h:8080\r\nUser-Agent: coil/0.1.0\r\nAccept: */*\r\n"
                                   "Content-Type: text/x\r\nContent-Length: 5\r\n\r\nhello";
    ck_assert_uint_eq(n, sizeof expected - 1);
    ck_assert_mem_eq(sent, expected, n);
    end(session, mock);
}

NET_TEST(answers_may_be_late_or_fail)
{
    coil_http_mock *mock;
    coil_http_session *session = mocked(&mock);
    add(mock, (coil_http_answer){.url = "http://h/slow", .body = "x", .delay_ns = COIL_SECONDS(4)});
    add(mock, (coil_http_answer){.url = "http://h/slower", .body = "x", .delay_ns = COIL_SECONDS(6)});
    add(mock, (coil_http_answer){.url = "http://h/gone", .error = -ENETUNREACH, .delay_ns = COIL_SECONDS(1)});
    gets(session, "http://h/slow", 200, "x");
    ck_assert_int_eq(now_ms(), 4000);
    fails(session, "http://h/slower", -ETIMEDOUT, "reading took too long");
    ck_assert_int_eq(now_ms(), 9000);
    fails(session, "http://h/gone", -ENETUNREACH, "as the mock was told");
    ck_assert_int_eq(now_ms(), 10000);
    end(session, mock);
}

NET_TEST(answers_may_break_off)
{
    coil_http_mock *mock;
    coil_http_session *session = mocked(&mock);
    add(mock, (coil_http_answer){.url = "http://h/", .body = "hello", .drop = true, .drop_after = 2});
    add(mock, (coil_http_answer){.url = "http://h/", .body = "hello", .drop = true, .drop_after = 5});
    fails(session, "http://h/", -ECONNRESET, "the connection ended inside a message");
    fails(session, "http://h/", -ECONNRESET, "the connection ended inside a message");
    end(session, mock);
}

NET_TEST(answers_may_frame_themselves_be_it_wrongly)
{
    coil_http_mock *mock;
    coil_http_session *session = mocked(&mock);
    coil_http_header chunked[] = {{"Transfer-Encoding", "chunked"}},
                     both[] = {{"Transfer-Encoding", "chunked"}, {"Content-Length", "1"}};
    add(mock, (coil_http_answer){
                  .url = "http://h/", .body = "3\r\nabc\r\n0\r\n\r\n", .headers = chunked, .header_count = 1});
    add(mock, (coil_http_answer){
                  .url = "http://h/", .body = "x\r\nabc\r\n0\r\n\r\n", .headers = chunked, .header_count = 1});
    add(mock,
        (coil_http_answer){.url = "http://h/", .body = "3\r\nabc\r\n0\r\n\r\n", .headers = both, .header_count = 2});
    gets(session, "http://h/", 200, "abc");
    fails(session, "http://h/", -EPROTO, "a bad chunk size");
    fails(session, "http://h/", -EPROTO, "the head of the reply is not as it should be");
    end(session, mock);
}

NET_TEST(redirects_are_answered_as_well)
{
    coil_http_mock *mock;
    coil_http_session *session = mocked(&mock);
    coil_http_header location[] = {{"Location", "http://other/b"}};
    add(mock, (coil_http_answer){.url = "http://h/a", .status = 302, .headers = location, .header_count = 1});
    add(mock, (coil_http_answer){.url = "http://other/b", .body = "there"});
    gets(session, "http://h/a", 200, "there");
    ck_assert_uint_eq(coil_http_mock_calls(mock, NULL, NULL), 2);
    end(session, mock);
}

NET_TEST(answers_that_make_no_sense_are_refused)
{
    coil_http_mock *mock;
    OK(coil_http_mock_new(&mock));
    coil_http_answer answer = {.size = sizeof answer, .url = "h"};
    RAISES(-EINVAL, "the URL has no http scheme", coil_http_mock_add(mock, &answer));
    answer = (coil_http_answer){.size = sizeof answer, .url = "http://h/", .method = "A B"};
    RAISES(-EINVAL, "the method is no token", coil_http_mock_add(mock, &answer));
    answer = (coil_http_answer){.size = sizeof answer, .url = "http://h/", .status = 99};
    RAISES(-EINVAL, "the answer's error, delay or status makes no sense", coil_http_mock_add(mock, &answer));
    answer = (coil_http_answer){.size = sizeof answer, .url = "http://h/", .content_type = "a\nb"};
    RAISES(-EINVAL, "a field of the answer cannot be sent", coil_http_mock_add(mock, &answer));
    coil_http_mock_free(mock);
    coil_http_mock_free(NULL);
}

COIL_TEST_MAIN("http mock")
