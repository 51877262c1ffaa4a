/*
 * get_username.c - a function that asks an HTTP server, and how it can be tested without one: get_username URL ID
 *
 * asyncio, with aiohttp: async with session.get(f'{url}/users/{id}') as response: return (await
 * response.json())['name']
 *
 * The tests are in tests/http/test_get_username.c: the session they give has canned answers (aiohttp: aioresponses).
 */
#include <cjson/cJSON.h>
#include <coil_http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_SUCH_USER = COIL_EUSER(0), BAD_PROFILE = COIL_EUSER(1), SERVER_FAILED = COIL_EUSER(2) };

static int name_of(const cJSON *profile, char **name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(profile, "name");
    if (!cJSON_IsString(value))
        return coil_raise(BAD_PROFILE, "the profile has no name");
    *name = strdup(value->valuestring);
    return *name ? 0 : -ENOMEM;
}

static int read_name(coil_http_reply *reply, char **name)
{
    cJSON *profile;
    int status = coil_http_reply_status(reply);
    if (status == 404)
        return coil_raise(NO_SUCH_USER, "there is no such user");
    if (status != 200)
        return coil_raise(SERVER_FAILED, "the server answered %d", status);
    int rc = coil_http_reply_json(reply, 64 * 1024, &profile);
    if (rc == -EBADMSG)
        return coil_raise(BAD_PROFILE, "the profile is not JSON");
    COIL_TRY(rc);
    rc = name_of(profile, name);
    cJSON_Delete(profile);
    return rc;
}

/* Gives the name of user @id, to be freed. */
static int get_username(coil_http_session *session, const char *url, long id, char **name)
{
    char text[512];
    coil_http_reply *reply;
    snprintf(text, sizeof text, "%s/users/%ld", url, id);
    COIL_TRY(coil_http_get(session, text, &reply));
    int rc = read_name(reply, name);
    coil_http_reply_free(reply);
    return rc;
}

static int async_main(void *arg, void **result)
{
    char **words = arg, *name;
    coil_http_session *session;
    (void)result;
    COIL_TRY(coil_http_session_new(NULL, &session));
    int rc = get_username(session, words[1], atol(words[2]), &name);
    coil_http_session_free(session);
    COIL_TRY(rc);
    printf("%s\n", name);
    free(name);
    return 0;
}

static bool is_number(const char *text)
{
    char *end;
    (void)strtol(text, &end, 10);
    return end != text && !*end;
}

int main(int argc, char **argv)
{
    if (argc != 3 || !is_number(argv[2])) {
        fprintf(stderr, "usage: get_username URL ID\n");
        return 2;
    }
    return coil_main(coil_coro_of(async_main, argv));
}
