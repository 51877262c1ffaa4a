/*
 * exchange.c - one request and the head of its reply, on a connection; in the task that asked
 *
 * Everything that may wait has a limit: its own timeout, or what is left of the request's. Source: RFC 9112
 * 3, 6, 7; 9110 10.1.
 *
 * I1 what a program gives is checked for what would end a line before it is put into the buffer
 */
#include "client.h"

#include <stdio.h>

#include "text.h"

#define COPIED_BYTES_MAX ((size_t)32 * 1024)  /* of a body, behind the head */
#define PIECE_BYTES      4096                 /* of a source's */
#define LARGE_BYTES      ((size_t)256 * 1024) /* of a body in memory */
#define INTERIM_MAX      16                   /* 1xx replies before the final one */

/* --- time ----------------------------------------------------------------------------------------------- */

int coil__http_limited(int64_t deadline, int64_t timeout_ns, const char *what, int (*fn)(void *), void *arg)
{
    int64_t now = coil_loop_time(coil_get_running_loop());
    int64_t when = timeout_ns < deadline - now ? now + timeout_ns : deadline;
    coil_timeout *t;
    COIL_TRY(coil_timeout_at_new(when, &t));
    int rc = coil_timeout_enter(t);
    if (rc == 0)
        rc = coil_timeout_exit(t, fn(arg));
    bool expired = coil_timeout_expired(t);
    coil_error *error = coil_catch(rc);
    coil_timeout_free(t);
    if (rc != -ETIMEDOUT || !expired)
        return coil_raise_error(error);
    coil_error_release(error);
    return coil_raise(rc, "%s took too long", what);
}

/* --- receiving ------------------------------------------------------------------------------------------ */

struct reading {
    coil_http_reply *reply;
    void *buf;
    size_t cap, n;
};

static int read_stream(void *arg)
{
    struct reading *r = arg;
    return coil_stream_read(r->reply->stream, r->buf, r->cap, &r->n);
}

int coil__http_receive(coil__http_input *in, void *buf, size_t cap, size_t *n)
{
    coil_http_reply *r = coil_container_of(in, coil_http_reply, input);
    struct reading reading = {.reply = r, .buf = buf, .cap = cap};
    int64_t timeout_ns = r->listening ? COIL_FOREVER : r->session->options.read_timeout_ns;
    if (r->stream) {
        COIL_TRY(coil__http_limited(r->deadline, timeout_ns, "reading", read_stream, &reading));
        *n = reading.n;
    } else {
        size_t size = coil__http_buffer_size(&r->canned);
        *n = size < cap ? size : cap;
        if (*n > 0)
            memcpy(buf, coil__http_buffer_first(&r->canned), *n);
        coil__http_buffer_consume(&r->canned, *n);
    }
    r->answered = r->answered || *n > 0;
    return 0;
}

static int refused(int status)
{
    if (status == 431 || status == 414)
        return coil_raise(-EMSGSIZE, "the head of the reply is too large");
    return coil_raise(-EPROTO, "the head of the reply is not as it should be");
}

static int read_head(coil_http_reply *r, size_t *bytes)
{
    coil__http_head_start(&r->head);
    for (;;) {
        size_t n = coil__http_input_size(&r->input);
        if (n > 0) {
            int rc = coil__http_head_feed(&r->head, r->input.data + r->input.begin, n, bytes);
            if (rc > 0)
                return 0;
            if (rc < 0)
                return refused(-rc);
        }
        COIL_TRY(coil__http_input_fill(&r->input, &n));
        if (n == 0)
            return coil_raise(-ECONNRESET, "the connection ended before the reply");
    }
}

/* Interim replies are read over; 101 was never asked for. */
static int read_final_head(coil_http_reply *r, const char *method)
{
    for (int i = 0; i <= INTERIM_MAX; i++) {
        size_t bytes;
        char *base;
        COIL_TRY(read_head(r, &bytes));
        COIL_TRY(coil__http_input_keep_head(&r->input, bytes, &base));
        if (r->head.status == 101)
            break;
        if (r->head.status >= 200) {
            coil__http_head_terminate(&r->head, base);
            coil__http_head_frame_response(&r->head, strcmp(method, "HEAD") == 0);
            coil__http_body_start(&r->body, &r->head, r->session->options.body_bytes_max);
            r->base = base;
            return 0;
        }
        coil__http_input_drop_head(&r->input);
    }
    return coil_raise(-EPROTO, "an interim reply that nobody asked for");
}

/* --- sending -------------------------------------------------------------------------------------------- */

static int drain(void *stream)
{
    return coil_stream_drain(stream);
}

static int send_bytes(coil_http_reply *r, const void *data, size_t n)
{
    if (!r->stream)
        return coil__http_buffer_append(&r->canned, data, n); /* for the mock to look at */
    int rc = coil_stream_write(r->stream, data, n);
    if (rc == 0 && coil_stream_write_buffer_size(r->stream) > 0)
        rc = coil__http_limited(r->deadline, r->session->options.read_timeout_ns, "sending", drain, r->stream);
    r->broken = rc == -EPIPE || rc == -ECONNRESET;
    return rc;
}

static int flush(coil_http_reply *r)
{
    int rc = send_bytes(r, coil__http_buffer_first(&r->out), coil__http_buffer_size(&r->out));
    coil__http_buffer_clear(&r->out);
    return rc;
}

static int put_field(coil__http_buffer *b, const char *name, const char *value)
{
    static const char *const own[] = {"Content-Length", "Transfer-Encoding", "Connection", "Host", "Expect", "Upgrade",
                                      NULL};
    return coil__http_buffer_append_field(b, name, value, own, "client"); /* I1 */
}

static bool has_field(const coil_http_call *call, const char *name)
{
    for (size_t i = 0; i < call->header_count; i++)
        if (coil__http_same(call->headers[i].name, strlen(call->headers[i].name), name))
            return true;
    return false;
}

static int put_fields(coil__http_buffer *b, const coil_http_session *s, const coil_http_call *call)
{
    if (*s->user_agent && !has_field(call, "User-Agent"))
        COIL_TRY(put_field(b, "User-Agent", s->user_agent));
    if (!has_field(call, "Accept"))
        COIL_TRY(put_field(b, "Accept", "*/*"));
    if (call->content_type)
        COIL_TRY(put_field(b, "Content-Type", call->content_type));
    for (size_t i = 0; i < call->header_count; i++)
        COIL_TRY(put_field(b, call->headers[i].name, call->headers[i].value));
    return 0;
}

static int put_framing(coil__http_buffer *b, const coil_http_call *call)
{
    if (call->source && call->source_bytes < 0)
        return coil__http_buffer_appendf(b, "Transfer-Encoding: chunked\r\n\r\n");
    uint64_t n = call->source ? (uint64_t)call->source_bytes : call->body_bytes;
    if (n > 0 || call->source || coil__http_expects_body(call->method))
        COIL_TRY(coil__http_buffer_appendf(b, "Content-Length: %llu\r\n", (unsigned long long)n));
    return coil__http_buffer_append(b, "\r\n", 2);
}

static int put_head(coil_http_reply *r, const coil_http_call *call)
{
    coil__http_buffer *b = &r->out;
    coil__http_buffer_clear(b);
    if (!coil__http_is_token(call->method, strlen(call->method)) || strcmp(call->method, "CONNECT") == 0)
        return coil_raise(-EINVAL, "the method cannot be sent");
    COIL_TRY(
        coil__http_buffer_appendf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", call->method, r->url.target, r->url.authority));
    COIL_TRY(put_fields(b, r->session, call));
    return put_framing(b, call);
}

/* Pieces of a source, in chunks unless their number is known. */
static int send_source(coil_http_reply *r, const coil_http_call *call)
{
    bool chunked = call->source_bytes < 0;
    uint64_t left = chunked ? 0 : (uint64_t)call->source_bytes;
    char piece[PIECE_BYTES];
    for (;;) {
        size_t n = 0;
        COIL_TRY(call->source(call->source_arg, piece, sizeof piece, &n));
        if (n > sizeof piece || (!chunked && n > left))
            return coil_raise(-EINVAL, "the source of the body gave more than it may");
        if (n == 0)
            break;
        left -= chunked ? 0 : n;
        if (chunked)
            COIL_TRY(coil__http_buffer_appendf(&r->out, "%zx\r\n", n));
        COIL_TRY(coil__http_buffer_append(&r->out, piece, n));
        if (chunked)
            COIL_TRY(coil__http_buffer_append(&r->out, "\r\n", 2));
        COIL_TRY(flush(r));
    }
    if (left > 0)
        return coil_raise(-EINVAL, "the source of the body ended %llu bytes early", (unsigned long long)left);
    if (!chunked)
        return 0;
    COIL_TRY(coil__http_buffer_append(&r->out, "0\r\n\r\n", 5));
    return flush(r);
}

static int send_memory(coil_http_reply *r, const char *data, size_t n)
{
    for (size_t at = 0, piece; at < n; at += piece) {
        piece = n - at < LARGE_BYTES ? n - at : LARGE_BYTES;
        COIL_TRY(send_bytes(r, data + at, piece));
    }
    return 0;
}

static int send_body(coil_http_reply *r, const coil_http_call *call)
{
    return call->source ? send_source(r, call) : send_memory(r, call->body, call->body_bytes);
}

/* --- both at once --------------------------------------------------------------------------------------- */

/*
 * A server may answer before it has read the whole body, and close then: 413, 401. So one task sends the body, which alone
 * uses the out buffer until it has ended, and another reads the head of the reply, which alone uses the input. Neither
 * fails: what they would raise is kept here, since a group that ends its parent hides who else has cancelled that.
 * Source: RFC 9112 9.5.
 */
struct both {
    coil_http_reply *reply;
    const coil_http_call *call;
    coil_task *sender, *listener;
    bool sent, heard;                  /* to be read when the task has ended */
    coil_error *unsent, *deaf, *other; /* owned: why it was not sent, not heard, or neither */
};

/* What is to be raised at the end is kept; only cancellations go on now. */
static int keep_error(int rc, coil_error **error)
{
    if (rc >= 0 || rc == -ECANCELED || rc == COIL_EGENERATOREXIT)
        return rc;
    *error = coil_catch(rc);
    return 0;
}

static int send_in_task(void *arg, void **result)
{
    struct both *b = arg;
    int rc = send_body(b->reply, b->call);
    (void)result;
    b->sent = rc == 0;
    return keep_error(rc, &b->unsent);
}

static int listen_in_task(void *arg, void **result)
{
    struct both *b = arg;
    int rc = read_final_head(b->reply, b->call->method);
    (void)result;
    b->heard = rc == 0;
    return keep_error(rc, &b->deaf);
}

static int start_both(struct both *b, coil_group *group)
{
    COIL_TRY(coil_group_create_task(group, coil_coro_of(send_in_task, b), NULL, &b->sender));
    return coil_group_create_task(group, coil_coro_of(listen_in_task, b), NULL, &b->listener);
}

static bool is_refused(const struct both *b)
{
    return b->heard && b->reply->head.status >= 300;
}

/* Until nothing is to be expected of who has not ended. On a broken connection there may be a reply nevertheless. */
static int wait_for_both(struct both *b)
{
    coil_task *const tasks[] = {b->sender, b->listener};
    const coil_http_reply *r = b->reply;
    size_t done;
    COIL_TRY(coil_wait(tasks, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, NULL));
    if (coil_future_done(b->listener) && (!b->heard || is_refused(b)))
        return 0;
    COIL_TRY(coil_wait(&b->sender, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL));
    if (!b->sent && !r->broken)
        return 0;
    COIL_TRY(coil_wait(&b->listener, 1, r->session->options.read_timeout_ns, COIL_ALL_COMPLETED, &done));
    return done > 0 ? 0 : coil_raise(-ETIMEDOUT, "reading took too long");
}

/* Both have ended. A reply that was heard is worth more than why sending ended. */
static int settle(const struct both *b)
{
    coil_http_reply *r = b->reply;
    if (b->heard && (b->sent || r->broken || is_refused(b))) {
        r->head.keep_alive = r->head.keep_alive && b->sent;
        return 0;
    }
    coil_error *why = b->unsent ? b->unsent : b->deaf ? b->deaf : b->other;
    return why ? coil_raise_error(coil_error_retain(why)) : coil_raise(-ECANCELED, NULL); /* by what the program calls */
}

static int run_both(struct both *b, coil_group *group)
{
    COIL_TRY(coil_group_enter(group));
    int rc = start_both(b, group);
    if (rc == 0)
        rc = wait_for_both(b);
    rc = keep_error(rc, &b->other);
    if (b->sender)
        coil_future_cancel(b->sender, NULL);
    if (b->listener)
        coil_future_cancel(b->listener, NULL);
    COIL_TRY(coil_group_exit(group, rc));
    return settle(b);
}

static int exchange_both(coil_http_reply *r, const coil_http_call *call)
{
    struct both b = {.reply = r, .call = call};
    coil_group *group;
    COIL_TRY(coil_group_new(&group));
    r->listening = true;
    coil_error *error = coil_catch(run_both(&b, group));
    r->listening = false;
    coil_release(b.sender);
    coil_release(b.listener);
    coil_error_release(b.unsent);
    coil_error_release(b.deaf);
    coil_error_release(b.other);
    coil_group_free(group);
    return coil_raise_error(error);
}

int coil__http_exchange(coil_http_reply *r, const coil_http_call *call)
{
    bool copied = !call->source && call->body_bytes <= COPIED_BYTES_MAX;
    COIL_TRY(put_head(r, call));
    if (copied && call->body_bytes > 0)
        COIL_TRY(coil__http_buffer_append(&r->out, call->body, call->body_bytes));
    COIL_TRY(flush(r));
    if (!copied && r->stream)
        return exchange_both(r, call);
    if (!copied)
        COIL_TRY(send_body(r, call));
    if (!r->stream)
        COIL_TRY(coil__http_mock_answer(r->session->mock, call, r));
    return read_final_head(r, call->method);
}
