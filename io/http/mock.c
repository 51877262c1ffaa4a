/*
 * mock.c - canned answers: what a session says to a server that is not there
 *
 * In the tasks of one worker. An answer is put together as a server would send it, and then read as any
 * reply; so the parser, the framing and the timeouts are those of real connections. Source: aioresponses.
 */
#include "client.h"

#include <limits.h>
#include <stdio.h>

#include "text.h"

typedef struct answer {
    struct answer *next;
    char *method; /* owned */
    coil__http_url url;
    unsigned times; /* left */
    int64_t delay_ns;
    int error;
    coil__http_buffer fields; /* the head without its status line */
    coil__http_buffer body;
    int status;
    size_t sent_bytes; /* of the body */
} answer;

typedef struct asked {
    struct asked *next;
    char *method, *url; /* owned */
} asked;

struct coil_http_mock {
    answer *answers, **last_answer;
    asked *asked, **last_asked;
    coil__http_buffer sent; /* by the last request */
};

int coil_http_mock_new(coil_http_mock **mock)
{
    coil_http_mock *m = calloc(1, sizeof *m);
    if (!m)
        return coil_raise(-ENOMEM, NULL);
    m->last_answer = &m->answers;
    m->last_asked = &m->asked;
    *mock = m;
    return 0;
}

static void free_answer(answer *a)
{
    free(a->method);
    coil__http_url_fini(&a->url);
    coil__http_buffer_fini(&a->fields);
    coil__http_buffer_fini(&a->body);
    free(a);
}

static void free_asked(asked *a)
{
    free(a->method);
    free(a->url);
    free(a);
}

void coil_http_mock_free(coil_http_mock *m)
{
    if (!m)
        return;
    for (answer *a = m->answers, *next; a; a = next) {
        next = a->next;
        free_answer(a);
    }
    for (asked *a = m->asked, *next; a; a = next) {
        next = a->next;
        free_asked(a);
    }
    coil__http_buffer_fini(&m->sent);
    free(m);
}

/* --- registering ---------------------------------------------------------------------------------------- */

static int put_field(coil__http_buffer *b, const char *name, const char *value)
{
    if (!coil__http_is_token(name, strlen(name)) || !coil__http_is_value(value, strlen(value)))
        return coil_raise(-EINVAL, "a field of the answer cannot be sent");
    return coil__http_buffer_appendf(b, "%s: %s\r\n", name, value);
}

/* An answer may frame itself, be it wrongly: that is what some tests are about. */
static bool frames_itself(const coil_http_answer *given)
{
    for (size_t i = 0; i < given->header_count; i++) {
        const char *name = given->headers[i].name;
        if (coil__http_same(name, strlen(name), "Content-Length") ||
            coil__http_same(name, strlen(name), "Transfer-Encoding"))
            return true;
    }
    return given->status == 204 || given->status == 304;
}

static int fill(answer *a, const coil_http_answer *given)
{
    const char *method = given->method ? given->method : "GET";
    size_t n = given->body && given->body_bytes == 0 ? strlen(given->body) : given->body_bytes;
    if (!coil__http_is_token(method, strlen(method)))
        return coil_raise(-EINVAL, "the method is no token");
    if (given->error > 0 || given->delay_ns < 0 || (given->status && (given->status < 200 || given->status > 999)))
        return coil_raise(-EINVAL, "the answer's error, delay or status makes no sense");
    COIL_TRY(coil__http_url_parse(given->url, &a->url));
    a->method = strdup(method);
    if (!a->method)
        return coil_raise(-ENOMEM, NULL);
    a->times = given->times ? given->times : 1;
    a->delay_ns = given->delay_ns;
    a->error = given->error;
    a->status = given->status ? given->status : 200;
    a->sent_bytes = given->drop && given->drop_after < n ? given->drop_after : n;
    COIL_TRY(coil__http_buffer_append(&a->body, given->body, n));
    COIL_TRY(put_field(&a->fields, "Content-Type", given->content_type ? given->content_type : "application/json"));
    for (size_t i = 0; i < given->header_count; i++)
        COIL_TRY(put_field(&a->fields, given->headers[i].name, given->headers[i].value));
    if (!frames_itself(given)) /* with one byte more than there are, if it is to be dropped behind the last */
        COIL_TRY(coil__http_buffer_appendf(&a->fields, "Content-Length: %zu\r\n",
                                           n + (given->drop && given->drop_after >= n ? 1 : 0)));
    return coil__http_buffer_append(&a->fields, "\r\n", 2);
}

int coil_http_mock_add(coil_http_mock *m, const coil_http_answer *given)
{
    if (given->size != sizeof *given)
        return coil_raise(-EINVAL, "coil_http_answer.size is %zu, not %zu", given->size, sizeof *given);
    answer *a = calloc(1, sizeof *a);
    int rc = a ? fill(a, given) : coil_raise(-ENOMEM, NULL);
    if (rc < 0) {
        if (a)
            free_answer(a);
        return rc;
    }
    *m->last_answer = a;
    m->last_answer = &a->next;
    return 0;
}

/* --- answering ------------------------------------------------------------------------------------------ */

static int note(coil_http_mock *m, const char *method, const char *url)
{
    asked *a = calloc(1, sizeof *a);
    if (!a)
        return coil_raise(-ENOMEM, NULL);
    a->method = strdup(method);
    a->url = strdup(url);
    if (!a->method || !a->url) {
        free_asked(a);
        return coil_raise(-ENOMEM, NULL);
    }
    *m->last_asked = a;
    m->last_asked = &a->next;
    return 0;
}

static answer *find(coil_http_mock *m, const char *method, const char *url)
{
    for (answer *a = m->answers; a; a = a->next)
        if (a->times > 0 && strcmp(a->method, method) == 0 && strcmp(a->url.text, url) == 0)
            return a;
    return NULL;
}

static int wait_for(void *delay_ns)
{
    return coil_sleep(*(int64_t *)delay_ns);
}

/* The answer's bytes, for the reply to read. */
static int send_answer(const answer *a, bool to_head, coil__http_buffer *b)
{
    coil__http_buffer_clear(b);
    COIL_TRY(coil__http_buffer_appendf(b, "HTTP/1.1 %d %s\r\n", a->status, coil__http_reason(a->status)));
    COIL_TRY(coil__http_buffer_append(b, coil__http_buffer_first(&a->fields), coil__http_buffer_size(&a->fields)));
    return to_head ? 0 : coil__http_buffer_append(b, a->body.data, a->sent_bytes);
}

/* The answer itself may be gone when its delay is over, but not the mock. */
static int give(answer *a, const coil_http_call *call, coil_http_reply *r)
{
    const coil_http_session_options *o = &r->session->options;
    int error = a->error;
    int64_t delay_ns = a->delay_ns;
    a->times -= a->times < UINT_MAX;
    COIL_TRY(send_answer(a, strcmp(call->method, "HEAD") == 0, &r->canned));
    if (delay_ns > 0)
        COIL_TRY(coil__http_limited(r->deadline, error ? o->connect_timeout_ns : o->read_timeout_ns,
                                    error ? "connecting" : "reading", wait_for, &delay_ns));
    return error ? coil_raise(error, "as the mock was told") : 0;
}

int coil__http_mock_answer(coil_http_mock *m, const coil_http_call *call, coil_http_reply *r)
{
    coil__http_buffer before = m->sent;
    m->sent = r->canned;
    r->canned = before;
    COIL_TRY(note(m, call->method, r->url.text));
    answer *a = find(m, call->method, r->url.text);
    if (!a)
        return coil_raise(-ECONNREFUSED, "unexpected request: %s %s", call->method, r->url.text);
    return give(a, call, r);
}

size_t coil_http_mock_calls(const coil_http_mock *m, const char *method, const char *url)
{
    size_t n = 0;
    for (const asked *a = m->asked; a; a = a->next)
        n += (!method || strcmp(a->method, method) == 0) && (!url || strcmp(a->url, url) == 0);
    return n;
}

const char *coil_http_mock_sent(const coil_http_mock *m, size_t *n)
{
    *n = coil__http_buffer_size(&m->sent);
    return *n > 0 ? coil__http_buffer_first(&m->sent) : "";
}
