/*
 * session.c - requests: a connection, an exchange on it, once more if it was stale, and redirects; in the
 * task that asks
 *
 * Source: RFC 9110 9.2.2 (idempotent methods), 15.4 (redirection); RFC 9112 9.3.1 (retrying); aiohttp's
 * client for what follows a redirect.
 */
#include "client.h"

#ifdef COIL_HTTP_CJSON
#include <cjson/cJSON.h>
#endif

#include "text.h"

/* --- requests ------------------------------------------------------------------------------------------- */

/* May be sent again if nobody knows whether it arrived. */
static bool may_repeat(const coil_http_call *call)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    for (size_t i = 0; !call->source && i < sizeof methods / sizeof *methods; i++)
        if (strcmp(call->method, methods[i]) == 0)
            return true;
    return false;
}

/*
 * Sends it once. *stale: on a kept connection that was closed before the first byte of a reply. Takes the URL on
 * success.
 */
static int try_once(coil_http_session *s, const coil_http_call *call, coil__http_url *url, bool fresh, int64_t deadline,
                    bool *stale, coil_http_reply **reply)
{
    coil_http_reply *r;
    *stale = false;
    COIL_TRY(coil__http_pool_take(s, url, fresh, deadline, &r));
    int rc = coil__http_exchange(r, call);
    if (rc >= 0) {
        *reply = r;
        return 0;
    }
    coil_error *error = coil_catch(rc);
    *stale = r->reused && !r->answered && (rc == -ECONNRESET || rc == -EPIPE);
    *url = r->url; /* back, for another try */
    r->url = (coil__http_url){0};
    coil__http_pool_give(r, false);
    return coil_raise_error(error);
}

static int send_call(coil_http_session *s, const coil_http_call *call, coil__http_url *url, int64_t deadline,
                     coil_http_reply **reply)
{
    bool stale;
    int rc = try_once(s, call, url, false, deadline, &stale, reply);
    if (rc >= 0 || !stale || !may_repeat(call))
        return rc;
    coil_error_release(coil_catch(rc));
    return try_once(s, call, url, true, deadline, &stale, reply);
}

/* --- redirects ------------------------------------------------------------------------------------------ */

/* After 303, and by custom after POST, what follows is a GET without a body. */
static bool becomes_get(const coil_http_call *call, int status)
{
    if (status == 303)
        return strcmp(call->method, "HEAD") != 0;
    return (status == 301 || status == 302) && strcmp(call->method, "POST") == 0;
}

/* The URL that a reply sends on to, or NULL: it is final. */
static const char *sent_on(const coil_http_reply *r, const coil_http_call *call)
{
    int status = r->head.status;
    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
        return NULL;
    if (call->source && !becomes_get(call, status)) /* a source cannot be read twice */
        return NULL;
    return coil_http_reply_header(r, "Location");
}

static void change_method(coil_http_call *call, int status)
{
    if (!becomes_get(call, status))
        return;
    call->method = "GET";
    call->body = NULL;
    call->body_bytes = 0;
    call->source = NULL;
    call->content_type = NULL;
}

static bool is_secret(const char *name)
{
    size_t n = strlen(name);
    return coil__http_same(name, n, "Authorization") || coil__http_same(name, n, "Cookie") ||
           coil__http_same(name, n, "Proxy-Authorization");
}

/* What was meant for one host is nothing for another. @kept: room for all fields. */
static void drop_secrets(coil_http_call *call, coil_http_header *kept)
{
    size_t n = 0;
    for (size_t i = 0; i < call->header_count; i++)
        if (!is_secret(call->headers[i].name))
            kept[n++] = call->headers[i];
    call->headers = kept;
    call->header_count = n;
}

/* @rc: what has failed before. Reads the rest of a small body away, so that the connection can be kept. */
static int finish(coil_http_reply *r, int rc)
{
    if (rc >= 0 && r->head.keep_alive)
        rc = coil__http_body_skip(&r->body, &r->input);
    coil_error *error = coil_catch(rc);
    coil_http_reply_free(r);
    return coil_raise_error(error);
}

static int follow(coil_http_session *s, coil_http_call *call, coil_http_header *kept, coil__http_url *url,
                  int64_t deadline, coil_http_reply **reply)
{
    for (unsigned n = 0;; n++) {
        coil_http_reply *r;
        COIL_TRY(send_call(s, call, url, deadline, &r));
        const char *location = s->options.redirects_max > 0 ? sent_on(r, call) : NULL;
        if (!location) {
            *reply = r;
            return 0;
        }
        int rc = n < s->options.redirects_max ? coil__http_url_resolve(&r->url, location, url)
                                              : coil_raise(-ELOOP, "more than %u redirects", s->options.redirects_max);
        if (rc >= 0) {
            change_method(call, r->head.status);
            if (strcmp(url->origin, r->url.origin) != 0)
                drop_secrets(call, kept);
        }
        COIL_TRY(finish(r, rc));
    }
}

static int check_call(const coil_http_call *given, coil_http_call *call)
{
    if (given->size != sizeof *call)
        return coil_raise(-EINVAL, "coil_http_call.size is %zu, not %zu", given->size, sizeof *call);
    *call = *given;
    call->method = call->method ? call->method : "GET";
    if (!call->url)
        return coil_raise(-EINVAL, "the URL is missing");
    if (call->source_bytes < -1 || call->total_timeout_ns < 0)
        return coil_raise(-EINVAL, "negative numbers make no sense in a call");
    return 0;
}

int coil_http_session_request(coil_http_session *s, const coil_http_call *given, coil_http_reply **reply)
{
    coil_http_call call;
    coil__http_url url;
    if (!coil_current_task())
        return coil_sleep(0); /* raises why nothing can be waited for here */
    COIL_TRY(check_call(given, &call));
    COIL_TRY(coil__http_url_parse(call.url, &url));
    int64_t now = coil_loop_time(coil_get_running_loop());
    int64_t timeout = call.total_timeout_ns ? call.total_timeout_ns : s->options.total_timeout_ns;
    coil_http_header *kept = call.header_count ? malloc(call.header_count * sizeof *kept) : NULL;
    int rc = call.header_count && !kept
                 ? coil_raise(-ENOMEM, NULL)
                 : follow(s, &call, kept, &url, timeout < COIL_FOREVER - now ? now + timeout : COIL_FOREVER, reply);
    coil_error *error = coil_catch(rc);
    free(kept);
    coil__http_url_fini(&url);
    return coil_raise_error(error);
}

int coil_http_get(coil_http_session *s, const char *url, coil_http_reply **reply)
{
    coil_http_call call = {.size = sizeof call, .url = url};
    return coil_http_session_request(s, &call, reply);
}

int coil_http_post(coil_http_session *s, const char *url, const char *content_type, const void *body, size_t n,
                   coil_http_reply **reply)
{
    coil_http_call call = {
        .size = sizeof call, .method = "POST", .url = url, .content_type = content_type, .body = body, .body_bytes = n};
    return coil_http_session_request(s, &call, reply);
}

/* --- replies -------------------------------------------------------------------------------------------- */

int coil_http_reply_status(const coil_http_reply *r)
{
    return r->head.status;
}

const char *coil_http_reply_header(const coil_http_reply *r, const char *name)
{
    const coil__http_field *f = coil__http_head_find(&r->head, r->base, name);
    return f ? r->base + f->value.at : NULL;
}

bool coil_http_reply_header_at(const coil_http_reply *r, size_t index, coil_http_header *header)
{
    if (index >= r->head.field_count)
        return false;
    header->name = r->base + r->head.fields[index].name.at;
    header->value = r->base + r->head.fields[index].value.at;
    return true;
}

const char *coil_http_reply_url(const coil_http_reply *r)
{
    return r->url.text;
}

int coil_http_reply_read(coil_http_reply *r, void *buf, size_t cap, size_t *n)
{
    return coil__http_body_read(&r->body, &r->input, buf, cap, n);
}

int coil_http_reply_read_all(coil_http_reply *r, size_t max, char **data, size_t *n)
{
    return coil__http_body_read_all(&r->body, &r->input, max, data, n);
}

int coil_http_reply_json(coil_http_reply *r, size_t max, struct cJSON **json)
{
#ifdef COIL_HTTP_CJSON
    char *text;
    size_t n;
    COIL_TRY(coil_http_reply_read_all(r, max, &text, &n));
    const char *end;
    struct cJSON *value = cJSON_ParseWithLengthOpts(text, n + 1, &end, true); /* with its zero: nothing may follow */
    bool whole = value && end == text + n;
    free(text);
    if (!whole) {
        cJSON_Delete(value);
        return coil_raise(-EBADMSG, "the body is not JSON");
    }
    *json = value;
    return 0;
#else
    (void)r, (void)max, (void)json;
    return coil_raise(-ENOTSUP, "coil-http was built without cJSON");
#endif
}

void coil_http_reply_free(coil_http_reply *r)
{
    if (!r)
        return;
    bool good = coil__http_body_over(&r->body) && r->head.keep_alive;
    coil__http_input_drop_head(&r->input);
    coil__http_pool_give(r, good && coil__http_input_size(&r->input) == 0);
}
