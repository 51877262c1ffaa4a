/*
 * request.c - what a handler learns about its request, and the body; in the connection's task
 */
#include "connection.h"

#include "text.h"

static const char *string_at(const coil_http_request *r, coil__http_span span)
{
    return r->base + span.at;
}

/* The path is a string of its own where a query follows it: otherwise the target's end is its end. */
static int split_target(coil_http_request *r, const char *path)
{
    const char *mark = strchr(path, '?');
    r->path = path;
    r->query = "";
    if (!mark && *path != '\0')
        return 0;
    coil__http_buffer_clear(&r->copy);
    if (mark != path)
        COIL_TRY(coil__http_buffer_append(&r->copy, path, mark ? (size_t)(mark - path) : 0));
    if (coil__http_buffer_size(&r->copy) == 0) /* "http://host" and "http://host?query" */
        COIL_TRY(coil__http_buffer_append(&r->copy, "/", 1));
    COIL_TRY(coil__http_buffer_append(&r->copy, "", 1));
    r->path = r->copy.data;
    r->query = mark ? mark + 1 : "";
    return 0;
}

int coil__http_request_start(coil_http_request *r)
{
    const coil__http_head *h = &r->connection->head;
    const char *target = string_at(r, h->target);
    r->asked_to_continue = !h->expects_continue;
    if (*target == '/' || *target == '*')
        return split_target(r, target);
    const char *authority = target + strlen("http://");
    return split_target(r, authority + strcspn(authority, "/?"));
}

const char *coil_http_request_method(const coil_http_request *r)
{
    return r->connection->head.method;
}

const char *coil_http_request_target(const coil_http_request *r)
{
    return string_at(r, r->connection->head.target);
}

const char *coil_http_request_path(const coil_http_request *r)
{
    return r->path;
}

const char *coil_http_request_query(const coil_http_request *r)
{
    return r->query;
}

int coil_http_request_minor_version(const coil_http_request *r)
{
    return r->connection->head.minor;
}

const char *coil_http_request_header(const coil_http_request *r, const char *name)
{
    const coil__http_field *f = coil__http_head_find(&r->connection->head, r->base, name);
    return f ? string_at(r, f->value) : NULL;
}

bool coil_http_request_header_at(const coil_http_request *r, size_t index, coil_http_header *header)
{
    const coil__http_head *h = &r->connection->head;
    if (index >= h->field_count)
        return false;
    header->name = string_at(r, h->fields[index].name);
    header->value = string_at(r, h->fields[index].value);
    return true;
}

bool coil_http_request_has_body(const coil_http_request *r)
{
    return r->connection->head.has_length || r->connection->head.framing == COIL__HTTP_CHUNKED;
}

int64_t coil_http_request_length(const coil_http_request *r)
{
    const coil__http_head *h = &r->connection->head;
    return h->framing == COIL__HTTP_CHUNKED ? -1 : (int64_t)h->length;
}

size_t coil_http_request_peername(const coil_http_request *r, char *buf, size_t size)
{
    return coil_stream_peername(r->connection->stream, buf, size);
}

/* --- body ----------------------------------------------------------------------------------------------- */

/* The client waits to be asked, unless the body is on its way already. */
static int ask_to_continue(coil_http_request *r)
{
    coil__http_connection *c = r->connection;
    if (r->asked_to_continue || coil__http_body_over(&c->body) || c->response.state != COIL__HTTP_NEW)
        return 0;
    r->asked_to_continue = true;
    if (coil__http_input_size(&c->input) > 0)
        return 0;
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    return coil__http_buffer_append(&c->out, text, sizeof text - 1); /* sent before the read waits */
}

int coil_http_request_read(coil_http_request *r, void *buf, size_t cap, size_t *n)
{
    COIL_TRY(ask_to_continue(r));
    return coil__http_body_read(&r->connection->body, &r->connection->input, buf, cap, n);
}

int coil_http_request_read_all(coil_http_request *r, size_t max, char **data, size_t *n)
{
    coil__http_body *b = &r->connection->body;
    COIL_TRY(ask_to_continue(r));
    int rc = coil__http_body_read_all(b, &r->connection->input, max, data, n);
    if (rc == -EMSGSIZE)
        b->failed = rc; /* also if it is the handler's limit: the client is told that */
    return rc;
}

bool coil__http_request_skippable(const coil_http_request *r)
{
    const coil__http_body *b = &r->connection->body;
    if (coil__http_body_over(b))
        return true;
    return r->asked_to_continue && !b->failed && (b->framing == COIL__HTTP_CHUNKED || b->left <= COIL__HTTP_SKIP_MAX);
}

int coil__http_request_skip(coil_http_request *r)
{
    coil__http_connection *c = r->connection;
    return coil__http_request_skippable(r) ? coil__http_body_skip(&c->body, &c->input) : 0;
}
