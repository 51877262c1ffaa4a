/*
 * response.c - answers: the head, and bodies in one piece, of a known length, or in chunks; in the connection's task
 *
 * All of it goes through the connection's out buffer, but for large pieces of a body, so that head and body
 * leave in one write.
 * Source: RFC 9110 6.6 (Date), 8.6 (Content-Length), 15; RFC 9112 6, 7.
 *
 * I1 what a program gives is checked for what would end a line before it is put into the buffer
 */
#include "connection.h"

#include <stdarg.h>
#include <stdio.h>

#include "text.h"

#define COPIED_BYTES_MAX ((size_t)32 * 1024) /* of a body, into the out buffer */
#define BATCH_BYTES      ((size_t)64 * 1024) /* of answers that wait to be sent together */
#define FIXED_BYTES      320                 /* the most of a head but for names and values that vary */

#define PUT(buffer, literal) coil__http_buffer_put((buffer), "" literal, sizeof(literal) - 1)

static void put_text(coil__http_buffer *b, const char *text)
{
    coil__http_buffer_put(b, text, strlen(text));
}

static void put_number(coil__http_buffer *b, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    coil__http_buffer_put(b, digits + at, sizeof digits - at);
}

void coil__http_response_start(coil_http_response *r)
{
    r->state = COIL__HTTP_NEW;
    coil__http_buffer_clear(&r->fields);
}

/* --- the head ------------------------------------------------------------------------------------------- */

/* Formatted once a second for a connection; not by strftime, which knows the locale's names. */
static void put_date(coil__http_connection *c, coil__http_buffer *b)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;
    if (now != c->date_time && gmtime_r(&now, &tm)) {
        c->date_time = now;
        snprintf(c->date, sizeof c->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
                 tm.tm_mday % 100, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000, tm.tm_hour % 100,
                 tm.tm_min % 100, tm.tm_sec % 100);
    }
    coil__http_buffer_put_field(b, "Date", c->date);
}

static void put_status(coil__http_buffer *b, int status)
{
    if (status == 200) {
        PUT(b, "HTTP/1.1 200 OK\r\n");
        return;
    }
    PUT(b, "HTTP/1.1 ");
    put_number(b, (uint64_t)status);
    PUT(b, " ");
    put_text(b, coil__http_reason(status));
    PUT(b, "\r\n");
}

static bool without_body(int status)
{
    return status == 204 || status == 304;
}

/* How the body is framed; @length -1: unknown. */
static void put_framing(coil_http_response *r, coil__http_buffer *b, int status, int64_t length)
{
    coil__http_connection *c = r->connection;
    r->chunked = false;
    if (without_body(status)) {
        r->left = 0;
    } else if (length >= 0) {
        r->left = (uint64_t)length;
        PUT(b, "Content-Length: ");
        put_number(b, r->left);
        PUT(b, "\r\n");
    } else if (c->head.minor == 1) {
        r->chunked = true;
        PUT(b, "Transfer-Encoding: chunked\r\n");
    } else {
        c->keep = false;
        r->left = UINT64_MAX;
    }
}

static void put_persistence(const coil__http_connection *c, coil__http_buffer *b)
{
    if (!c->keep)
        PUT(b, "Connection: close\r\n");
    else if (c->head.minor == 0)
        PUT(b, "Connection: keep-alive\r\n");
}

/* Everything is checked; appends the head, with room for @more bytes behind it. */
static int put_head(coil_http_response *r, int status, const char *content_type, int64_t length, size_t more)
{
    coil__http_connection *c = r->connection;
    coil__http_buffer *b = &c->out;
    const char *name = c->server->server_name;
    size_t fields = coil__http_buffer_size(&r->fields);
    r->at = coil__http_buffer_size(b);
    COIL_TRY(coil__http_buffer_reserve(b, FIXED_BYTES + fields + (content_type ? strlen(content_type) : 0) +
                                              (name ? strlen(name) : 0) + more));
    put_status(b, status);
    put_date(c, b);
    if (name)
        coil__http_buffer_put_field(b, "Server", name);
    if (content_type)
        coil__http_buffer_put_field(b, "Content-Type", content_type);
    put_framing(r, b, status, length);
    put_persistence(c, b);
    if (fields > 0)
        coil__http_buffer_put(b, coil__http_buffer_first(&r->fields), fields);
    PUT(b, "\r\n");
    return 0;
}

static int check_new(const coil_http_response *r)
{
    return r->state == COIL__HTTP_NEW ? 0 : coil_raise(COIL_ERUNTIME, "this response has begun already");
}

static int begin(coil_http_response *r, int status, const char *content_type, int64_t length, size_t more)
{
    coil__http_connection *c = r->connection;
    COIL_TRY(check_new(r));
    if (status < 200 || status > 599)
        return coil_raise(-EINVAL, "%d is not a final status", status);
    if (content_type && !coil__http_is_value(content_type, strlen(content_type)))
        return coil_raise(-EINVAL, "the content type cannot be the value of a field");
    if (without_body(status) && length > 0)
        return coil_raise(-EINVAL, "a response with status %d has no body", status);
    if (!coil__http_request_skippable(&c->request) ||
        load_acquire(&c->server->closed)) /* [HTTP-2] also if it is late */
        c->keep = false;
    COIL_TRY(put_head(r, status, content_type, length, more));
    r->bodyless = without_body(status) || strcmp(c->head.method, "HEAD") == 0;
    r->state = COIL__HTTP_BEGUN;
    return 0;
}

int coil__http_response_refuse(coil_http_response *r, int status)
{
    coil__http_connection *c = r->connection;
    c->keep = false;
    c->linger = true;
    coil__http_response_start(r);
    r->state = COIL__HTTP_ENDED;
    return put_head(r, status, NULL, 0, 0);
}

int coil_http_response_add_header(coil_http_response *r, const char *name, const char *value)
{
    static const char *const own[] = {"Content-Length", "Transfer-Encoding", "Connection", "Date", NULL};
    COIL_TRY(check_new(r));
    return coil__http_buffer_append_field(&r->fields, name, value, own, "server"); /* I1 */
}

void coil_http_response_set_close(coil_http_response *r)
{
    r->connection->keep = false;
}

/* --- bodies --------------------------------------------------------------------------------------------- */

/* Nothing can follow a piece that was not sent. */
static int sent(coil_http_response *r, int rc)
{
    if (rc < 0) {
        r->state = COIL__HTTP_BROKEN;
        r->connection->keep = false;
    }
    return rc;
}

int coil_http_respond(coil_http_response *r, int status, const char *content_type, const void *body, size_t n)
{
    coil__http_connection *c = r->connection;
    bool copied = n <= COPIED_BYTES_MAX;
    if (n > INT64_MAX)
        return coil_raise(-EINVAL, "no body has so many bytes");
    COIL_TRY(begin(r, status, content_type, (int64_t)n, copied ? n : 0));
    r->state = COIL__HTTP_ENDED;
    if (!r->bodyless) {
        if (!copied)
            return sent(r, coil__http_flush_with(c, body, n, ""));
        coil__http_buffer_put(&c->out, body, n);
    }
    return coil__http_buffer_size(&c->out) < BATCH_BYTES ? 0 : sent(r, coil__http_flush(c));
}

int coil_http_respondf(coil_http_response *r, int status, const char *content_type, const char *format, ...)
{
    char small[512], *text = small;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args), rc = n < 0 ? coil_raise(-EINVAL, "a bad format") : 0;
    if (rc == 0 && (size_t)n >= sizeof small) {
        text = malloc((size_t)n + 1);
        rc = text ? 0 : coil_raise(-ENOMEM, NULL);
        if (text)
            vsnprintf(text, (size_t)n + 1, format, again);
    }
    va_end(again);
    va_end(args);
    if (rc == 0)
        rc = coil_http_respond(r, status, content_type, text, (size_t)n);
    if (text != small)
        free(text);
    return rc;
}

int coil_http_response_begin(coil_http_response *r, int status, const char *content_type, int64_t length)
{
    if (length < -1)
        return coil_raise(-EINVAL, "a length cannot be negative");
    return begin(r, status, content_type, length, 0);
}

static int check_begun(const coil_http_response *r)
{
    if (r->state == COIL__HTTP_BEGUN)
        return 0;
    return coil_raise(COIL_ERUNTIME,
                      r->state == COIL__HTTP_NEW ? "this response has not begun" : "this response is over");
}

/* Followed by @end. */
static int write_piece(coil_http_response *r, const void *data, size_t n, const char *end)
{
    coil__http_connection *c = r->connection;
    if (n > COPIED_BYTES_MAX)
        return coil__http_flush_with(c, data, n, end);
    COIL_TRY(coil__http_buffer_append(&c->out, data, n));
    return coil__http_buffer_append(&c->out, end, strlen(end));
}

static int write_chunk(coil_http_response *r, const void *data, size_t n)
{
    char line[24];
    int bytes = snprintf(line, sizeof line, "%zx\r\n", n);
    COIL_TRY(coil__http_buffer_append(&r->connection->out, line, (size_t)bytes));
    return write_piece(r, data, n, "\r\n");
}

int coil_http_response_write(coil_http_response *r, const void *data, size_t n)
{
    COIL_TRY(check_begun(r));
    if (!r->chunked && n > r->left)
        return coil_raise(-EINVAL, "%zu bytes more than the announced length", (size_t)(n - r->left));
    if (!r->chunked && r->left != UINT64_MAX)
        r->left -= n;
    if (n > 0 && !r->bodyless)
        COIL_TRY(sent(r, r->chunked ? write_chunk(r, data, n) : write_piece(r, data, n, "")));
    return sent(r, coil__http_flush(r->connection));
}

int coil_http_response_end(coil_http_response *r)
{
    COIL_TRY(check_begun(r));
    if (!r->chunked && !r->bodyless && r->left > 0 && r->left != UINT64_MAX)
        return coil_raise(-EINVAL, "%llu bytes less than the announced length", (unsigned long long)r->left);
    if (r->chunked && !r->bodyless)
        COIL_TRY(coil__http_buffer_append(&r->connection->out, "0\r\n\r\n", 5));
    r->state = COIL__HTTP_ENDED;
    return 0;
}
