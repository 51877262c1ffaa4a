/*
 * parser.c - llhttp or http-parser behind one interface; see parser.h. On the task of a connection.
 *
 * I1 on_headers_complete says that an upgrade follows and no body: both parsers stop there, and read no body,
 *    nor the next
 *    message
 */
#include "parser.h"

#include "head.h"

static int on_target(coil__http_parser *p, const char *at, size_t n)
{
    return coil__http_head_target(p->data, at, n);
}

static int on_name(coil__http_parser *p, const char *at, size_t n)
{
    return coil__http_head_name(p->data, at, n);
}

static int on_value(coil__http_parser *p, const char *at, size_t n)
{
    return coil__http_head_value(p->data, at, n);
}

static int on_headers_complete(coil__http_parser *p)
{
    coil__http_head *head = p->data;
    head->done = true;
    return 2; /* I1 */
}

static const coil__http_parser_settings settings = {
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
};

#ifdef COIL_HTTP_LLHTTP

void coil__http_parser_start(coil__http_parser *p, enum coil__http_kind kind, struct coil__http_head *head)
{
    llhttp_init(p, kind == COIL__HTTP_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    p->data = head;
}

enum coil__http_fault coil__http_parser_feed(coil__http_parser *p, const char *data, size_t n, size_t *used)
{
    llhttp_errno_t error = llhttp_execute(p, data, n);
    const coil__http_head *head = p->data;
    *used = n;
    if (error == HPE_OK)
        return COIL__HTTP_FINE;
    *used = (size_t)(llhttp_get_error_pos(p) - data);
    if (error == HPE_PAUSED_UPGRADE && head->done)
        return COIL__HTTP_FINE;
    return error == HPE_INVALID_METHOD ? COIL__HTTP_BAD_METHOD : COIL__HTTP_BAD;
}

const char *coil__http_parser_method(const coil__http_parser *p)
{
    return llhttp_method_name((llhttp_method_t)p->method);
}

#else

void coil__http_parser_start(coil__http_parser *p, enum coil__http_kind kind, struct coil__http_head *head)
{
    http_parser_init(p, kind == COIL__HTTP_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE);
    p->data = head;
}

enum coil__http_fault coil__http_parser_feed(coil__http_parser *p, const char *data, size_t n, size_t *used)
{
    *used = http_parser_execute(p, &settings, data, n);
    switch (HTTP_PARSER_ERRNO(p)) {
    case HPE_OK:
        return COIL__HTTP_FINE;
    case HPE_INVALID_METHOD:
        return COIL__HTTP_BAD_METHOD;
    default:
        return COIL__HTTP_BAD;
    }
}

const char *coil__http_parser_method(const coil__http_parser *p)
{
    return http_method_str((enum http_method)p->method);
}

#endif
