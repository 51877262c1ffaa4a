/*
 * test_get_username.c - docs/examples/get_username.c without a network: TASK_TEST runs on a virtual clock, so
 * the timeout takes none
 */
#include <coil_http.h>

#if __has_include(<cjson/cJSON.h>)

#include "coil_test.h"

int get_username_main(int argc, char **argv);
#define main get_username_main
#include "../../docs/examples/get_username.c"
#undef main

#define URL "http://example.org/users/7"

/* What get_username() makes of this answer. */
static int ask(coil_http_answer answer, char **name)
{
    coil_http_mock *mock;
    coil_http_session *session;
    coil_http_session_options options = {.size = sizeof options, .total_timeout_ns = COIL_SECONDS(3)};
    answer.size = sizeof answer;
    answer.url = URL;
    OK(coil_http_mock_new(&mock));
    OK(coil_http_mock_add(mock, &answer));
    OK(coil_http_session_new(&options, &session));
    coil_http_session_set_mock(session, mock);
    int rc = get_username(session, "http://example.org", 7, name);
    ck_assert_uint_eq(coil_http_mock_calls(mock, "GET", URL), 1);
    coil_error *error = coil_catch(rc);
    coil_http_session_free(session);
    coil_http_mock_free(mock);
    return coil_raise_error(error);
}

TASK_TEST(the_name_is_in_the_profile)
{
    char *name;
    OK(ask((coil_http_answer){.body = "{\"id\": 7, \"name\": \"Ann\"}"}, &name));
    ck_assert_str_eq(name, "Ann");
    free(name);
}

TASK_TEST(a_user_that_is_not_there_is_an_error)
{
    char *name;
    RAISES(NO_SUCH_USER, "there is no such user", ask((coil_http_answer){.status = 404, .body = "{}"}, &name));
}

TASK_TEST(a_server_that_fails_is_an_error)
{
    char *name;
    RAISES(SERVER_FAILED, "the server answered 503", ask((coil_http_answer){.status = 503}, &name));
}

TASK_TEST(malformed_json_is_an_error)
{
    char *name;
    RAISES(BAD_PROFILE, "the profile is not JSON", ask((coil_http_answer){.body = "{\"name\": \"An"}, &name));
    RAISES(BAD_PROFILE, "the profile has no name", ask((coil_http_answer){.body = "{\"name\": 7}"}, &name));
    RAISES(BAD_PROFILE, "the profile has no name", ask((coil_http_answer){.body = "[]"}, &name));
}

TASK_TEST(a_server_that_takes_too_long_is_an_error)
{
    char *name;
    RAISES(-ETIMEDOUT, "reading took too long",
           ask((coil_http_answer){.body = "{}", .delay_ns = COIL_SECONDS(4)}, &name));
    ck_assert_int_eq(now_ms(), 3000);
}

TASK_TEST(a_connection_that_is_lost_in_the_body_is_an_error)
{
    char *name;
    RAISES(-ECONNRESET, "the connection ended inside a message",
           ask((coil_http_answer){.body = "{\"name\": \"Ann\"}", .drop = true, .drop_after = 9}, &name));
}

TASK_TEST(a_server_that_is_not_there_is_an_error)
{
    char *name;
    RAISES(-ECONNREFUSED, "as the mock was told", ask((coil_http_answer){.error = -ECONNREFUSED}, &name));
}

COIL_TEST_MAIN("get_username")

#else

int main(void)
{
    return 77; /* no JSON here */
}

#endif
