/*
 * head.c - heads of messages: limits while they arrive, and coil's own checks when they are over
 *
 * On the task of a connection. The checks repeat what a strict parser does, on purpose: parsers differ in
 * what they let pass, and the two have to agree about every line. Source: RFC 9112 2.2 (line ends), 3
 * (request line), 5 (fields), 6 (framing), 11.2.
 */
#include "head.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

int coil__http_head_init(coil__http_head *h, enum coil__http_kind kind, size_t target_max, size_t bytes_max,
                         size_t field_max)
{
    *h = (coil__http_head){.kind = kind, .target_max = target_max, .bytes_max = bytes_max, .field_max = field_max};
    h->fields = malloc(field_max * sizeof *h->fields);
    if (!h->fields)
        return coil_raise(-ENOMEM, NULL);
    coil__http_head_start(h);
    return 0;
}

void coil__http_head_fini(coil__http_head *h)
{
    free(h->fields);
    h->fields = NULL;
}

void coil__http_head_start(coil__http_head *h)
{
    coil__http_parser_start(&h->parser, h->kind, h);
    h->fed = h->field_count = 0;
    h->target = (coil__http_span){0, 0};
    h->in_value = h->done = false;
    h->refused = 0;
}

/* --- what the parser tells ------------------------------------------------------------------------------ */

static void extend(const coil__http_head *h, coil__http_span *span, const char *at, size_t n)
{
    if (span->bytes == 0)
        span->at = (uint32_t)(at - h->base);
    span->bytes += (uint32_t)n;
}

int coil__http_head_target(coil__http_head *h, const char *at, size_t n)
{
    extend(h, &h->target, at, n);
    if (h->target.bytes > h->target_max)
        h->refused = 414;
    return h->refused;
}

int coil__http_head_name(coil__http_head *h, const char *at, size_t n)
{
    if (h->field_count == 0 || h->in_value) {
        if (h->field_count == h->field_max)
            return h->refused = 431;
        h->fields[h->field_count++] = (coil__http_field){{0, 0}, {0, 0}};
        h->in_value = false;
    }
    extend(h, &h->fields[h->field_count - 1].name, at, n);
    return 0;
}

int coil__http_head_value(coil__http_head *h, const char *at, size_t n)
{
    if (h->field_count == 0)
        return 400; /* no parser does that */
    h->in_value = true;
    extend(h, &h->fields[h->field_count - 1].value, at, n);
    return 0;
}

/* --- the lines ------------------------------------------------------------------------------------------ */

/* "HTTP/1.1": gives the numbers, if it has that form. */
static bool parse_version(const char *at, const char *end, int *major, int *minor)
{
    if (end - at != 8 || memcmp(at, "HTTP/", 5) != 0 || at[6] != '.' || at[5] < '0' || at[5] > '9' || at[7] < '0' ||
        at[7] > '9')
        return false;
    *major = at[5] - '0';
    *minor = at[7] - '0';
    return true;
}

/* Later minor versions are understood as 1.1. */
static int check_version(coil__http_head *h, const char *at, const char *end)
{
    int major, minor;
    if (!parse_version(at, end, &major, &minor))
        return -400;
    h->minor = minor > 0;
    return major == 1 ? 0 : -505;
}

/* "http://host[:port]" and more: with a host, and nobody's name. */
static bool is_absolute(const char *target, size_t n)
{
    size_t bytes = 7;
    if (n < bytes || !coil__http_same(target, bytes, "http://"))
        return false;
    while (bytes < n && target[bytes] != '/' && target[bytes] != '?')
        bytes++;
    return bytes > 7 && target[7] != ':' && coil__http_is_host(target + 7, bytes - 7);
}

static int check_target(const coil__http_head *h, const char *target, size_t n)
{
    if (!coil__http_is_target(target, n) || memchr(target, '#', n))
        return -400;
    if (strcmp(h->method, "CONNECT") == 0)
        return -501;
    if (target[0] == '/' || is_absolute(target, n))
        return 0;
    return n == 1 && target[0] == '*' && strcmp(h->method, "OPTIONS") == 0 ? 0 : -400;
}

/* The request line without its end: exactly the three words that the parser has seen, with a space between them. */
static int check_request_line(coil__http_head *h, const char *base, const char *end)
{
    h->method = coil__http_parser_method(&h->parser);
    size_t method_bytes = strlen(h->method);
    const char *target = base + method_bytes + 1, *version = target + h->target.bytes + 1;
    if (h->target.at != method_bytes + 1 || version >= end || memcmp(base, h->method, method_bytes) != 0 ||
        base[method_bytes] != ' ' || version[-1] != ' ')
        return -400;
    int rc = check_version(h, version, end);
    return rc < 0 ? rc : check_target(h, target, h->target.bytes);
}

/* "HTTP/1.1 200 phrase" */
static int check_status_line(coil__http_head *h, const char *base, const char *end)
{
    uint64_t status;
    if (end - base < 12 || base[8] != ' ' || !coil__http_decimal(base + 9, 3, &status) || status < 100)
        return -400;
    if (end - base > 12 && base[12] != ' ')
        return -400;
    for (const char *at = base + 12; at < end; at++)
        if ((unsigned char)*at < ' ' && *at != '\t')
            return -400;
    h->status = (int)status;
    return check_version(h, base, base + 8);
}

/* A line without its end holds this field and nothing else. The value is trimmed: the parsers do not all do that. */
static int check_field(coil__http_field *f, const char *base, const char *line, const char *end)
{
    const char *colon = line + f->name.bytes;
    if (base + f->name.at != line || colon >= end || *colon != ':' || !coil__http_is_token(line, f->name.bytes))
        return -400; /* also folded lines, and blanks around the name */
    const char *first = colon + 1, *last = end;
    coil__http_trim(&first, &last);
    if (first < last && (f->value.bytes == 0 || base + f->value.at != first))
        return -400;
    if (f->value.bytes > 0 && base + f->value.at + f->value.bytes > end)
        return -400; /* it goes on in the next line; where an empty one lies differs between parsers */
    f->value.at = (uint32_t)(first - base);
    f->value.bytes = (uint32_t)(last - first);
    return coil__http_is_value(first, f->value.bytes) ? 0 : -400;
}

/* The end of the line at @at without its CR LF; NULL if that is not how it ends. */
static const char *line_end(const char *at, const char *end)
{
    const char *lf = memchr(at, '\n', (size_t)(end - at));
    return lf && lf > at && lf[-1] == '\r' ? lf - 1 : NULL;
}

static int check_lines(coil__http_head *h, const char *base, size_t n)
{
    const char *end = base + n, *stop = line_end(base, end);
    if (!stop)
        return -400;
    int rc = h->kind == COIL__HTTP_REQUEST ? check_request_line(h, base, stop) : check_status_line(h, base, stop);
    for (size_t i = 0; rc == 0 && i < h->field_count; i++) {
        const char *line = stop + 2;
        stop = line_end(line, end);
        rc = stop ? check_field(&h->fields[i], base, line, stop) : -400;
    }
    if (rc < 0)
        return rc;
    return end - stop == 4 && memcmp(stop, "\r\n\r\n", 4) == 0 ? 0 : -400;
}

/* --- what the fields mean ------------------------------------------------------------------------------- */

typedef struct meaning {
    unsigned hosts, lengths, codings, expectations;
    bool chunked, chunked_last, close, keep_alive, expects_continue, bad_host;
    uint64_t length;
    bool bad_length;
} meaning;

static void note_coding(meaning *m, const char *value, size_t n)
{
    m->codings++;
    m->chunked = coil__http_same(value, n, "chunked");
    const char *last = value + n;
    while (last > value && last[-1] != ',' && !coil__http_is_blank(last[-1]))
        last--;
    m->chunked_last = coil__http_same(last, (size_t)(value + n - last), "chunked");
}

static void note_field(meaning *m, const char *name, size_t name_bytes, const char *value, size_t n)
{
    switch (name_bytes) {
    case 4:
        if (coil__http_same(name, 4, "host")) {
            m->hosts++;
            m->bad_host = m->bad_host || !coil__http_is_host(value, n);
        }
        break;
    case 6:
        if (coil__http_same(name, 6, "expect")) {
            m->expectations++;
            m->expects_continue = coil__http_same(value, n, "100-continue");
        }
        break;
    case 10:
        if (coil__http_same(name, 10, "connection")) {
            m->close = m->close || coil__http_list_has(value, n, "close");
            m->keep_alive = m->keep_alive || coil__http_list_has(value, n, "keep-alive");
        }
        break;
    case 14:
        if (coil__http_same(name, 14, "content-length")) {
            m->lengths++;
            m->bad_length = m->bad_length || !coil__http_decimal(value, n, &m->length);
        }
        break;
    case 17:
        if (coil__http_same(name, 17, "transfer-encoding"))
            note_coding(m, value, n);
        break;
    default:
        break;
    }
}

/* Both ways of telling the length, one of them twice, or a coding that HTTP/1.0 does not have: all are attacks. */
static int check_framing(coil__http_head *h, const meaning *m)
{
    if (m->lengths > 1 || m->codings > 1 || (m->lengths && m->codings) || m->bad_length)
        return -400;
    if (m->codings && (h->minor == 0 || !m->chunked_last))
        return -400;
    if (m->codings && !m->chunked)
        return -501;
    h->has_length = m->lengths > 0;
    h->length = m->length;
    h->framing = m->codings ? COIL__HTTP_CHUNKED : m->lengths && m->length > 0 ? COIL__HTTP_LENGTH : COIL__HTTP_EMPTY;
    h->keep_alive = !m->close && (h->minor == 1 || m->keep_alive);
    return 0;
}

static int check_request(coil__http_head *h, const meaning *m)
{
    if (m->hosts > 1 || m->bad_host || (m->hosts == 0 && h->minor == 1))
        return -400;
    if (h->minor == 0 && !h->has_length && coil__http_expects_body(h->method))
        return -411; /* its end would be that of the connection */
    if (h->minor == 1 && m->expectations > 0 && !(m->expectations == 1 && m->expects_continue))
        return -417;
    h->expects_continue = h->minor == 1 && m->expects_continue;
    return 0;
}

static int check_meaning(coil__http_head *h, const char *base)
{
    meaning m = {0};
    for (size_t i = 0; i < h->field_count; i++) {
        const coil__http_field *f = &h->fields[i];
        note_field(&m, base + f->name.at, f->name.bytes, base + f->value.at, f->value.bytes);
    }
    int rc = check_framing(h, &m);
    return rc < 0 || h->kind == COIL__HTTP_RESPONSE ? rc : check_request(h, &m);
}

/* --- feeding -------------------------------------------------------------------------------------------- */

/*
 * What the parser did not like. The parsers name it differently, so only the first line's bytes decide: another
 * major version is 505, a method that is a token but not known 501, all else 400.
 */
static int refuse(const coil__http_head *h, enum coil__http_fault fault, const char *base, size_t n)
{
    const char *end = line_end(base, base + n), *space = memchr(base, ' ', n);
    int major, minor;
    if (h->refused)
        return -h->refused;
    if (end && end - base > 8 && parse_version(end - 8, end, &major, &minor) && major != 1)
        return -505;
    if (fault == COIL__HTTP_BAD_METHOD && space && coil__http_is_token(base, (size_t)(space - base)))
        return -501;
    return -400;
}

int coil__http_head_feed(coil__http_head *h, char *base, size_t n, size_t *bytes)
{
    size_t used, all = n < h->bytes_max ? n : h->bytes_max;
    h->base = base;
    enum coil__http_fault fault = coil__http_parser_feed(&h->parser, base + h->fed, all - h->fed, &used);
    if (fault != COIL__HTTP_FINE || h->refused)
        return refuse(h, fault, base, n);
    h->fed += used;
    if (!h->done) {
        if (n < h->bytes_max)
            return 0;
        return memchr(base, '\n', n) ? -431 : -414;
    }
    int rc = check_lines(h, base, h->fed);
    if (rc == 0)
        rc = check_meaning(h, base);
    if (rc < 0)
        return rc;
    *bytes = h->fed;
    return 1;
}

void coil__http_head_terminate(coil__http_head *h, char *base)
{
    if (h->kind == COIL__HTTP_REQUEST)
        base[h->target.at + h->target.bytes] = '\0';
    for (size_t i = 0; i < h->field_count; i++) {
        base[h->fields[i].name.at + h->fields[i].name.bytes] = '\0';
        base[h->fields[i].value.at + h->fields[i].value.bytes] = '\0';
    }
}

const coil__http_field *coil__http_head_find(const coil__http_head *h, const char *base, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < h->field_count; i++) {
        const coil__http_field *f = &h->fields[i];
        if (f->name.bytes == n && coil__http_same(base + f->name.at, n, name))
            return f;
    }
    return NULL;
}

void coil__http_head_frame_response(coil__http_head *h, bool to_head)
{
    if (to_head || h->status < 200 || h->status == 204 || h->status == 304)
        h->framing = COIL__HTTP_EMPTY;
    else if (h->framing == COIL__HTTP_EMPTY && !h->has_length)
        h->framing = COIL__HTTP_UNTIL_CLOSE;
    if (h->framing == COIL__HTTP_UNTIL_CLOSE)
        h->keep_alive = false;
}
