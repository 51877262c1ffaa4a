/*
 * connection.c - serving one connection: request after request, until one side has had enough
 *
 * In the connection's task; connection.h has the invariants. Answers are gathered while there are further
 * requests in the buffer, and sent before the task waits for more: a batch of pipelined requests is answered
 * by one write.
 * Source: RFC 9112 9.3 (persistence), 9.6 (tear-down).
 */
#include "connection.h"

#include <errno.h>
#include <stdio.h>

#define LINGER_NS        COIL_SECONDS(2)
#define LINGER_BYTES_MAX ((size_t)1024 * 1024)
#define KEPT_BYTES       ((size_t)64 * 1024) /* of a buffer, between requests */
#define NAMED_BYTES_MAX  200                 /* of a target, in a report */

/* --- waiting -------------------------------------------------------------------------------------------- */

static int64_t later(int64_t now, int64_t timeout_ns)
{
    int64_t most = INT64_MAX >> 4;
    return timeout_ns < most - now ? now + timeout_ns : most;
}

static int64_t after(const coil__http_connection *c, int64_t timeout_ns)
{
    return later(coil_loop_time(c->loop), timeout_ns);
}

void coil__http_begin_wait(coil__http_connection *c, enum coil__http_waiting what, int64_t deadline)
{
    /* [HTTP-1] release, and [HTTP-2] before the load of `closed`. */
    store_seq_cst(&c->watch.word, coil__http_word(what, deadline));
}

bool coil__http_end_wait(coil__http_connection *c)
{
    uint64_t word = load_relaxed(&c->watch.word); /* [HTTP-1] relaxed: the swap decides */
    if (coil__http_word_what(word) < COIL__HTTP_FIRING &&
        cas_strong_seq_cst(&c->watch.word, &word, COIL__HTTP_BUSY)) /* [HTTP-1] */
        return true;
    pthread_mutex_lock(&c->server->lock); /* I2 */
    pthread_mutex_unlock(&c->server->lock);
    return false;
}

static bool server_closed(const coil__http_connection *c)
{
    return load_seq_cst(&c->server->closed); /* [HTTP-2] */
}

/* The watch was taken during a call that returned @rc. */
static int over(int rc)
{
    coil_error_release(coil_catch(rc));
    return rc == -ECANCELED || rc == COIL_EGENERATOREXIT ? rc : coil_raise(-ETIMEDOUT, "the client was too slow");
}

/* The client's time for its body runs while it is waited for, not while the handler is busy with what has come. */
static int receive_body(coil__http_connection *c, void *buf, size_t cap, size_t *n)
{
    if (coil_stream_read_buffer_size(c->stream) > 0) /* nothing is waited for */
        return coil_stream_read(c->stream, buf, cap, n);
    int64_t now = coil_loop_time(c->loop), left = c->body_left_ns, pause = c->server->options.body_timeout_ns;
    coil__http_begin_wait(c, COIL__HTTP_BODY, later(now, pause < left ? pause : left));
    int rc = coil_stream_read(c->stream, buf, cap, n);
    int64_t waited = coil_loop_time(c->loop) - now;
    c->body_left_ns = waited < left ? left - waited : 0;
    return coil__http_end_wait(c) ? rc : over(rc);
}

/* The input's read. A closed server waits for no further request. */
static int receive(coil__http_input *in, void *buf, size_t cap, size_t *n)
{
    coil__http_connection *c = coil_container_of(in, coil__http_connection, input);
    COIL_TRY(coil__http_flush(c)); /* I3 */
    if (c->waiting == COIL__HTTP_BODY)
        return receive_body(c, buf, cap, n);
    coil__http_begin_wait(c, c->waiting, c->deadline);
    if (c->waiting <= COIL__HTTP_IDLE && server_closed(c)) {
        if (!coil__http_end_wait(c))
            return over(0);
        if (c->waiting == COIL__HTTP_IDLE) {
            *n = 0;
            return 0;
        }
        coil__http_begin_wait(c, COIL__HTTP_FRESH, after(c, COIL__HTTP_GRACE_NS));
    }
    int rc = coil_stream_read(c->stream, buf, cap, n);
    return coil__http_end_wait(c) ? rc : over(rc);
}

static int drain(coil__http_connection *c)
{
    if (coil_stream_write_buffer_size(c->stream) == 0)
        return 0;
    coil__http_begin_wait(c, COIL__HTTP_WRITE, after(c, c->server->options.write_timeout_ns));
    int rc = coil_stream_drain(c->stream);
    return coil__http_end_wait(c) ? rc : over(rc);
}

/* The out buffer was given to the stream, which said @rc. */
static int flushed(coil__http_connection *c, int rc)
{
    coil__http_buffer_clear(&c->out);
    c->response.at = 0;
    return rc < 0 ? rc : drain(c);
}

int coil__http_flush(coil__http_connection *c)
{
    size_t n = coil__http_buffer_size(&c->out);
    if (n == 0)
        return 0;
    return flushed(c, coil_stream_write(c->stream, coil__http_buffer_first(&c->out), n));
}

int coil__http_flush_with(coil__http_connection *c, const void *data, size_t n, const char *end)
{
    const struct iovec pieces[] = {{coil__http_buffer_first(&c->out), coil__http_buffer_size(&c->out)},
                                   {(void *)(uintptr_t)data, n},
                                   {(void *)(uintptr_t)end, strlen(end)}};
    return flushed(c, coil_stream_writelines(c->stream, pieces, 3));
}

/* --- one request ---------------------------------------------------------------------------------------- */

static int refuse(coil__http_connection *c, int status)
{
    return coil__http_response_refuse(&c->response, status);
}

/* An empty line before a request is what some clients put behind the last one. */
static bool skip_empty_line(coil__http_connection *c)
{
    coil__http_input *in = &c->input;
    if (coil__http_input_size(in) < 2 || memcmp(in->data + in->begin, "\r\n", 2) != 0)
        return false;
    in->begin += 2;
    return true;
}

/* Nothing, or what may become an empty line. */
static bool no_head_yet(const coil__http_connection *c, bool skipped)
{
    size_t n = coil__http_input_size(&c->input);
    return n == 0 || (n == 1 && !skipped && c->input.data[c->input.begin] == '\r');
}

/*
 * Reads the next head: 1, and *bytes of the input are the head's; 0 if there is none, and the connection is
 * at its end.
 */
static int next_head(coil__http_connection *c, size_t *bytes)
{
    coil__http_head_start(&c->head);
    c->waiting = c->requests ? COIL__HTTP_IDLE : COIL__HTTP_FRESH;
    c->deadline = 0;
    for (bool begun = false, skipped = false;;) {
        if (!begun && !skipped)
            skipped = skip_empty_line(c);
        size_t n = coil__http_input_size(&c->input);
        if (begun || !no_head_yet(c, skipped)) {
            int rc = coil__http_head_feed(&c->head, c->input.data + c->input.begin, n, bytes);
            if (rc < 0)
                return refuse(c, -rc);
            if (rc > 0)
                return 1;
            if (!begun)
                c->deadline = after(c, c->server->options.header_timeout_ns);
            begun = true;
            c->waiting = COIL__HTTP_HEAD;
        } else if (c->deadline == 0) { /* once: neither blanks nor empty lines give more time */
            c->deadline =
                after(c, c->requests ? c->server->options.idle_timeout_ns : c->server->options.header_timeout_ns);
        }
        COIL_TRY(coil__http_input_fill(&c->input, &n));
        if (n == 0)
            return 0;
    }
}

/* Names the request, whose head has gone through the checks: no control characters are in it. */
static void report(const coil__http_connection *c, int rc)
{
    char message[NAMED_BYTES_MAX + 100];
    coil_error *error = coil_catch(rc);
    snprintf(message, sizeof message, "Unhandled exception in HTTP handler of %s %.*s",
             coil_http_request_method(&c->request), NAMED_BYTES_MAX, coil_http_request_target(&c->request));
    coil_exception_context context = {
        .message = message,
        .error = error,
        .future = coil_current_task(),
    };
    coil_loop_call_exception_handler(c->loop, &context);
    coil_error_release(error);
}

/*
 * Cancelled, or the client is gone: nothing to report, nobody to answer. A handler may have lost a connection
 * elsewhere, to another server: that is an error like any other.
 */
static bool is_end(const coil__http_connection *c, int rc)
{
    bool lost = c->response.state == COIL__HTTP_BROKEN || c->body.failed == rc;
    return rc == -ECANCELED || rc == COIL_EGENERATOREXIT || (lost && (rc == -ECONNRESET || rc == -EPIPE));
}

/* The unsent part of a response that is broken off; what was answered before it stays. */
static void drop_unsent(coil__http_connection *c)
{
    c->out.end = c->out.begin + c->response.at;
}

/* The handler has raised @rc: what the client hears. */
static int fail(coil__http_connection *c, int rc)
{
    int body = c->body.failed;
    bool silent = c->response.state != COIL__HTTP_NEW, over = is_end(c, rc);
    c->keep = false;
    c->response.state = COIL__HTTP_BROKEN;
    if (silent)
        drop_unsent(c);
    if (over)
        return rc;
    if (rc == -ETIMEDOUT && coil__http_word_what(load_acquire(&c->watch.word)) == COIL__HTTP_FIRED) /* [HTTP-1] */
        return rc; /* the sweeper has answered */
    if (body != rc || silent)
        report(c, rc);
    else
        coil_error_release(coil_catch(rc));
    if (silent)
        return coil_raise(-EPIPE, "a response was broken off");
    c->response.state = COIL__HTTP_NEW;
    return refuse(c, body != rc ? 500 : rc == -EMSGSIZE ? 413 : 400);
}

/* The handler has returned, and said what it had to say. */
static int complete(coil__http_connection *c, int rc)
{
    if (rc >= 0 && c->response.state == COIL__HTTP_NEW)
        rc = coil_raise(COIL_ERUNTIME, "the handler gave no response");
    if (rc >= 0 && c->response.state == COIL__HTTP_BEGUN)
        rc = coil_http_response_end(&c->response);
    if (rc < 0)
        return fail(c, rc);
    if (!c->keep && c->head.keep_alive && !server_closed(c))
        c->linger = true; /* the client may not have expected that */
    int whole = coil__http_body_over(&c->body) ? 1 : c->keep ? coil__http_request_skip(&c->request) : 0;
    c->keep = c->keep && whole > 0;
    c->linger |= whole == 0;
    return whole < 0 ? whole : 0;
}

static void forget_request(coil__http_connection *c)
{
    coil__http_input_drop_head(&c->input);
    coil__http_buffer_clear(&c->response.fields);
    if (c->out.cap > KEPT_BYTES && coil__http_buffer_size(&c->out) == 0)
        coil__http_buffer_fini(&c->out);
}

static bool may_go_on(const coil__http_connection *c)
{
    uint64_t most = c->server->options.requests_max;
    return c->head.keep_alive && (most == 0 || c->requests < most) && !server_closed(c);
}

static int handle_request(coil__http_connection *c, size_t head_bytes)
{
    const coil_http_server *s = c->server;
    char *base;
    COIL_TRY(coil__http_input_keep_head(&c->input, head_bytes, &base));
    coil__http_head_terminate(&c->head, base);
    coil__http_body_start(&c->body, &c->head, s->options.body_bytes_max);
    c->request.base = base;
    c->requests++;
    c->keep = may_go_on(c);
    c->waiting = COIL__HTTP_BODY;
    c->body_left_ns = s->options.body_total_timeout_ns;
    coil__http_response_start(&c->response);
    if (c->head.framing == COIL__HTTP_LENGTH && c->head.length > s->options.body_bytes_max)
        return refuse(c, 413);
    COIL_TRY(coil__http_request_start(&c->request));
    int rc = complete(c, s->handler(&c->request, &c->response, s->arg));
    forget_request(c);
    return rc;
}

static int serve(coil__http_connection *c)
{
    do {
        size_t head_bytes;
        int rc = next_head(c, &head_bytes);
        if (rc <= 0)
            return rc;
        COIL_TRY(handle_request(c, head_bytes));
    } while (c->keep);
    return 0;
}

/* --- the end -------------------------------------------------------------------------------------------- */

/* Closing with unread data would reset the connection, and the client could lose the answer: RFC 9112 9.6. */
static int read_away(coil__http_connection *c)
{
    char buf[4096];
    size_t n = 1;
    COIL_TRY(coil_stream_write_eof(c->stream));
    c->waiting = COIL__HTTP_LINGER;
    c->deadline = after(c, LINGER_NS);
    for (size_t sum = 0; n > 0 && sum < LINGER_BYTES_MAX; sum += n)
        COIL_TRY(receive(&c->input, buf, sizeof buf, &n));
    return 0;
}

/* Waits until all is sent, as long as a write may take. */
static int close_gently(coil__http_connection *c)
{
    coil_stream_close(c->stream);
    coil__http_begin_wait(c, COIL__HTTP_WRITE, after(c, c->server->options.write_timeout_ns));
    int rc = coil_stream_wait_closed(c->stream);
    return coil__http_end_wait(c) ? rc : over(rc);
}

/* The answers to earlier requests of the batch in which one failed; nobody waits for them to be taken. */
static void send_rest(coil__http_connection *c)
{
    int rc = coil_stream_write(c->stream, coil__http_buffer_first(&c->out), coil__http_buffer_size(&c->out));
    coil_error_release(coil_catch(rc));
}

/* @rc: how serving ended. Whatever is wrong with a connection is no failure of the server's. */
static int end(coil__http_connection *c, int rc)
{
    if (rc == 0)
        rc = coil__http_flush(c);
    else if (coil__http_buffer_size(&c->out) > 0)
        send_rest(c);
    if (rc == 0 && c->linger)
        rc = read_away(c);
    if (rc == 0 || rc == -ETIMEDOUT) { /* there may be an answer on its way, such as 408 */
        coil_error_release(coil_catch(rc));
        rc = close_gently(c);
    }
    if (rc == -ECANCELED || rc == COIL_EGENERATOREXIT || rc == -ENOMEM)
        return rc;
    coil_error_release(coil_catch(rc));
    return 0;
}

static void free_connection(coil__http_connection *c)
{
    coil__http_server_leave(c->server, c);
    coil_stream_free(c->stream);
    coil__http_server_release(c->server);
    coil__http_head_fini(&c->head);
    coil__http_input_fini(&c->input);
    coil__http_buffer_fini(&c->out);
    coil__http_buffer_fini(&c->request.copy);
    coil__http_buffer_fini(&c->response.fields);
    free(c);
}

static coil__http_connection *new_connection(coil_http_server *s, coil_stream *stream)
{
    const coil_http_server_options *o = &s->options;
    coil__http_connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->input.read = receive;
    c->server = s;
    c->stream = stream;
    c->loop = s->loop;
    c->request.connection = c->response.connection = c;
    coil__node_init(&c->watch.node);
    store_relaxed(&c->watch.word, COIL__HTTP_BUSY); /* [HTTP-1] relaxed: not shared yet */
    if (coil__http_head_init(&c->head, COIL__HTTP_REQUEST, o->target_bytes_max, o->header_bytes_max, o->headers_max) <
        0) {
        free(c);
        return NULL;
    }
    return c;
}

/* Too many connections: said in as few words as possible. */
static int turn_away(coil_stream *stream)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    int rc = coil_stream_write(stream, text, sizeof text - 1);
    coil_error_release(coil_catch(rc)); /* then it is only closed */
    coil_stream_close(stream);
    coil_stream_free(stream);
    return 0;
}

int coil__http_serve(coil_stream *stream, void *arg)
{
    coil_http_server *s = arg;
    coil__http_connection *c = new_connection(s, stream);
    if (!c) {
        coil_stream_free(stream);
        return coil_raise(-ENOMEM, NULL);
    }
    if (!coil__http_server_enter(s, c)) {
        coil__http_head_fini(&c->head);
        free(c);
        return turn_away(stream);
    }
    coil__http_server_retain(s);
    int rc = end(c, serve(c));
    coil_error *error = coil_catch(rc);
    free_connection(c);
    return coil_raise_error(error);
}
