/*
 * server.c - coil_http_server: listening through a coil_server, the list of connections, the sweeper, and the end
 *
 * On any worker of the loop. The lock guards the list and what stands next to it in the struct; it is held for short
 * stretches only, never over a suspension. Source: RFC 9112 9 (connections); connection.h has the watches' protocol.
 *
 * I1 the sweeper is a task that exists while there are connections; it ends by itself at a tick without any, and is
 *    cancelled when a closed server's last one has ended; server->sweeper is set while that may be done
 * I2 a server has a reference of its user, one of each connection, one of the sweeper; the user's goes on to
 *    the reaper, which waits for connections that have been accepted but do not run yet
 */
#include "connection.h"

#include <stdio.h>

#include "text.h"

#define SWEEP_BATCH    512 /* watches looked at before others may run */
#define TICK_MIN       COIL_MS(1)
#define TICK_MAX       COIL_SECONDS(1)
#define HEAD_BYTES_MAX ((size_t)64 * 1024) /* http-parser ends at 80 KiB */

/* [HTTP-3] acq_rel: whoever takes the last one sees what the others did. Pairs with itself. */
void coil__http_server_retain(coil_http_server *s)
{
    fetch_add_relaxed(&s->refs, 1); /* [HTTP-3] relaxed: the caller has a reference */
}

void coil__http_server_release(coil_http_server *s)
{
    if (fetch_sub_acq_rel(&s->refs, 1) != 1) /* [HTTP-3] */
        return;
    coil_server_free(s->tcp);
    pthread_mutex_destroy(&s->lock);
    free(s->server_name);
    free(s);
}

/* --- watches -------------------------------------------------------------------------------------------- */

static coil__http_connection *connection_of(coil__node *n)
{
    return coil_container_of(n, coil__http_connection, watch.node);
}

/* The client is too slow. It is told, if it has begun a request and nothing was answered to that. */
static void say_timeout(coil__http_connection *c)
{
    char text[128];
    int n = snprintf(text, sizeof text, "HTTP/1.1 408 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                     coil__http_reason(408));
    (void)coil_stream_write(c->stream, text, (size_t)n); /* without memory it is not told */
}

/*
 * Takes a watch that was seen with @word, and ends the connection's wait. Under the lock: I2 of connection.h.
 * [HTTP-1] acquire: what the task wrote before it waited (the response's state); release by FIRED: the task
 * sees the stream closed.
 */
static void fire(coil__http_connection *c, uint64_t word)
{
    enum coil__http_waiting what = coil__http_word_what(word);
    if (!cas_strong_seq_cst(&c->watch.word, &word, COIL__HTTP_FIRING)) /* [HTTP-1] */
        return;                                                        /* it goes on */
    if (what == COIL__HTTP_HEAD || (what == COIL__HTTP_BODY && c->response.state == COIL__HTTP_NEW))
        say_timeout(c);
    if (what == COIL__HTTP_WRITE || what == COIL__HTTP_LINGER)
        coil_stream_abort(c->stream);
    else
        coil_stream_close(c->stream);
    store_release(&c->watch.word, COIL__HTTP_FIRED); /* [HTTP-1] */
}

static void look_at(coil__node *n, int64_t now)
{
    coil__http_connection *c = connection_of(n);
    uint64_t word = load_acquire(&c->watch.word); /* [HTTP-1] */
    enum coil__http_waiting what = coil__http_word_what(word);
    if (what != COIL__HTTP_BUSY && what < COIL__HTTP_FIRING && coil__http_word_deadline(word) <= now)
        fire(c, word);
}

/* Looks at a batch behind @at, which is moved to its end; false at the end of the list. */
static bool sweep_some(coil_http_server *s, coil__node *at, int64_t now)
{
    pthread_mutex_lock(&s->lock);
    coil__node *n = coil__node_linked(at) ? at->next : coil__list_first(&s->watches);
    coil__node_unlink(at);
    for (int i = 0; i < SWEEP_BATCH && n != &s->watches.head; i++, n = n->next)
        look_at(n, now);
    bool more = n != &s->watches.head;
    if (more) {
        at->next = n;
        at->prev = n->prev;
        n->prev->next = at;
        n->prev = at;
    }
    pthread_mutex_unlock(&s->lock);
    return more;
}

/* The place in the list is a connection that is busy for ever. */
static int sweep(coil_http_server *s)
{
    coil__http_connection place = {.watch.word = COIL__HTTP_BUSY};
    coil__node *at = &place.watch.node;
    int64_t now = coil_loop_time(s->loop);
    int rc = 0;
    coil__node_init(at);
    while (rc == 0 && sweep_some(s, at, now))
        rc = coil_sleep(0);
    pthread_mutex_lock(&s->lock);
    coil__node_unlink(at);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* The sweeper's first step: is there anything to do? */
static bool begin_sweeping(coil_http_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->sweeping = s->connections > 0;
    s->sweeper = s->sweeping ? coil_current_task() : NULL; /* I1 */
    bool begins = s->sweeping;
    pthread_mutex_unlock(&s->lock);
    return begins;
}

/* After a tick. False: it ends, or was stopped; then another one may exist already. */
static bool goes_on(coil_http_server *s, bool over)
{
    pthread_mutex_lock(&s->lock);
    bool mine = s->sweeper == coil_current_task();
    bool ends = over || s->connections == 0;
    if (mine && ends) {
        s->sweeper = NULL; /* I1 */
        s->sweeping = false;
    }
    pthread_mutex_unlock(&s->lock);
    return mine && !ends;
}

static int sweeper(void *arg, void **result)
{
    coil_http_server *s = arg;
    int rc = 0;
    (void)result;
    if (begin_sweeping(s))
        do {
            rc = coil_sleep(s->tick_ns);
            if (rc == 0)
                rc = sweep(s);
        } while (goes_on(s, rc < 0));
    coil__http_server_release(s); /* I2 */
    return rc;
}

/* It has not begun. */
static void drop_sweeper(void *arg)
{
    coil_http_server *s = arg;
    pthread_mutex_lock(&s->lock);
    s->sweeping = false;
    pthread_mutex_unlock(&s->lock);
    coil__http_server_release(s);
}

/* Under the lock: nobody waits any more. A connection that still comes starts another one. */
static void stop_sweeper(coil_http_server *s)
{
    if (!s->sweeper || s->connections > 0)
        return;
    coil_task_cancel(s->sweeper, NULL);
    s->sweeper = NULL; /* I1 */
    s->sweeping = false;
}

bool coil__http_server_enter(coil_http_server *s, coil__http_connection *c)
{
    pthread_mutex_lock(&s->lock);
    bool room = s->options.connections_max == 0 || s->connections < s->options.connections_max;
    bool start = room && !s->sweeping;
    if (room) {
        coil__list_append(&s->watches, &c->watch.node);
        s->connections++;
        s->sweeping = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (!start)
        return room;
    coil__http_server_retain(s);
    int rc = coil_create_task(coil_coro_owning(sweeper, s, drop_sweeper), NULL);
    if (rc == 0)
        return true;
    coil_error_release(coil_catch(rc));
    coil__http_server_leave(s, c); /* without memory for its timeouts there is no connection */
    return false;
}

void coil__http_server_leave(coil_http_server *s, coil__http_connection *c)
{
    pthread_mutex_lock(&s->lock);
    coil__node_unlink(&c->watch.node);
    s->connections--;
    if (load_relaxed(&s->closed)) /* [HTTP-2] ordered by the lock, which the one who closes takes after it */
        stop_sweeper(s);
    pthread_mutex_unlock(&s->lock);
}

/* --- starting ------------------------------------------------------------------------------------------- */

static int64_t timeout_or(int64_t timeout_ns, int64_t default_ns)
{
    return timeout_ns ? timeout_ns : default_ns;
}

static void fill_in(coil_http_server_options *o)
{
    o->backlog = o->backlog ? o->backlog : 1024;
    o->target_bytes_max = o->target_bytes_max ? o->target_bytes_max : 8 * 1024;
    o->header_bytes_max = o->header_bytes_max ? o->header_bytes_max : 16 * 1024;
    o->headers_max = o->headers_max ? o->headers_max : 100;
    o->body_bytes_max = o->body_bytes_max ? o->body_bytes_max : 1024 * 1024;
    o->header_timeout_ns = timeout_or(o->header_timeout_ns, COIL_SECONDS(10));
    o->idle_timeout_ns = timeout_or(o->idle_timeout_ns, COIL_SECONDS(60));
    o->body_timeout_ns = timeout_or(o->body_timeout_ns, COIL_SECONDS(30));
    o->body_total_timeout_ns = timeout_or(o->body_total_timeout_ns, COIL_SECONDS(300));
    o->write_timeout_ns = timeout_or(o->write_timeout_ns, COIL_SECONDS(30));
}

static int64_t tick_of(const coil_http_server_options *o)
{
    int64_t least = o->header_timeout_ns;
    least = o->idle_timeout_ns < least ? o->idle_timeout_ns : least;
    least = o->body_timeout_ns < least ? o->body_timeout_ns : least;
    least = o->body_total_timeout_ns < least ? o->body_total_timeout_ns : least;
    least = o->write_timeout_ns < least ? o->write_timeout_ns : least;
    least /= 4;
    return least < TICK_MIN ? TICK_MIN : least > TICK_MAX ? TICK_MAX : least;
}

static int check(const coil_http_server_options *o)
{
    if (o->header_bytes_max > HEAD_BYTES_MAX)
        return coil_raise(-EINVAL, "header_bytes_max can be at most %zu", HEAD_BYTES_MAX);
    if (o->headers_max > HEAD_BYTES_MAX)
        return coil_raise(-EINVAL, "headers_max can be at most %zu", HEAD_BYTES_MAX);
    if (o->header_timeout_ns < 0 || o->idle_timeout_ns < 0 || o->body_timeout_ns < 0 || o->body_total_timeout_ns < 0 ||
        o->write_timeout_ns < 0)
        return coil_raise(-EINVAL, "a timeout cannot be negative");
    if (o->server_name && (!*o->server_name || !coil__http_is_value(o->server_name, strlen(o->server_name))))
        return coil_raise(-EINVAL, "server_name cannot be the value of a field");
    return 0;
}

static int copy_options(coil_http_server_options *o, const coil_http_server_options *given)
{
    *o = (coil_http_server_options){.size = sizeof *o};
    if (given && given->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_http_server_options.size is %zu, not %zu", given->size, sizeof *o);
    if (given)
        *o = *given;
    COIL_TRY(check(o));
    fill_in(o);
    return 0;
}

static coil_http_server *new_server(const coil_http_server_options *o)
{
    coil_http_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->options = *o;
    s->server_name = o->server_name ? strdup(o->server_name) : NULL;
    if (o->server_name && !s->server_name) {
        free(s);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    coil__list_init(&s->watches);
    s->tick_ns = tick_of(o);
    store_relaxed(&s->refs, 1); /* [HTTP-3] relaxed: not shared yet */
    return s;
}

int coil_http_start_server(coil_http_handler *handler, void *arg, const char *host, const char *port,
                           const coil_http_server_options *options, coil_http_server **server)
{
    coil_http_server_options o;
    COIL_TRY(copy_options(&o, options));
    coil_http_server *s = new_server(&o);
    if (!s)
        return coil_raise(-ENOMEM, NULL);
    s->handler = handler;
    s->arg = arg;
    s->loop = coil_get_running_loop();
    coil_server_options tcp = {
        .size = sizeof tcp, .backlog = o.backlog, .reuse_port = o.reuse_port, .stack_bytes = o.stack_bytes};
    int rc = coil_start_server(coil__http_serve, s, host, port, &tcp, &s->tcp);
    if (rc < 0) {
        coil__http_server_release(s);
        return rc;
    }
    *server = s;
    return 0;
}

int coil_http_server_port(const coil_http_server *s)
{
    return coil_server_port(s->tcp);
}

size_t coil_http_server_connections(const coil_http_server *s)
{
    return coil_server_clients(s->tcp);
}

/* --- the end -------------------------------------------------------------------------------------------- */

/*
 * Ends the waiting for further requests; first ones get a moment more.
 * [HTTP-2] seq_cst, as a task's store of what it waits for and its load of `closed`: one of the two sees the other.
 */
static void close_idle(coil_http_server *s)
{
    uint64_t soon = coil__http_word(COIL__HTTP_FRESH, coil_loop_time(s->loop) + COIL__HTTP_GRACE_NS);
    pthread_mutex_lock(&s->lock);
    for (coil__node *n = coil__list_first(&s->watches); n != &s->watches.head; n = n->next) {
        coil__http_connection *c = connection_of(n);
        uint64_t word = load_seq_cst(&c->watch.word); /* [HTTP-2] */
        enum coil__http_waiting what = coil__http_word_what(word);
        if (what == COIL__HTTP_IDLE)
            fire(c, word);
        else if (what == COIL__HTTP_FRESH && word > soon)
            (void)cas_strong_seq_cst(&c->watch.word, &word, soon); /* [HTTP-2] else it has begun */
    }
    stop_sweeper(s);
    pthread_mutex_unlock(&s->lock);
}

void coil_http_server_close(coil_http_server *s)
{
    store_seq_cst(&s->closed, true); /* [HTTP-2] */
    coil_server_close(s->tcp);
    close_idle(s);
}

int coil_http_server_wait_closed(coil_http_server *s)
{
    COIL_TRY(coil_server_wait_closed(s->tcp));
    pthread_mutex_lock(&s->lock);
    s->rests = true;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int wait_closed(void *arg, void **result)
{
    (void)result;
    return coil_http_server_wait_closed(arg);
}

int coil_http_server_drain(coil_http_server *s, int64_t deadline_ns)
{
    coil_http_server_close(s);
    int rc = coil_wait_for(coil_coro_of(wait_closed, s), deadline_ns, NULL);
    if (rc != -ETIMEDOUT)
        return rc;
    coil_error *error = coil_catch(rc);
    coil_server_cancel_clients(s->tcp);
    rc = coil_http_server_wait_closed(s);
    if (rc == 0)
        return coil_raise_error(error);
    coil_error_release(error);
    return rc;
}

int coil_http_server_serve_forever(coil_http_server *s)
{
    int rc = coil_server_serve_forever(s->tcp);
    coil_error *error = coil_catch(rc);
    if (rc == -ECANCELED)
        coil_http_server_close(s);
    return coil_raise_error(error);
}

static void release_user(void *arg)
{
    coil__http_server_release(arg);
}

/*
 * Cancelled with all tasks at the end of a run it still waits for the connections, which are cancelled as well: one
 * that has just begun has no reference yet.
 */
static int reaper(void *arg, void **result)
{
    int rc;
    (void)result;
    while ((rc = coil_http_server_wait_closed(arg)) == -ECANCELED)
        coil_error_release(coil_catch(rc));
    coil_error *error = coil_catch(rc);
    release_user(arg);
    return coil_raise_error(error);
}

void coil_http_server_free(coil_http_server *s)
{
    if (!s)
        return;
    coil_http_server_close(s);
    pthread_mutex_lock(&s->lock);
    bool rests = s->rests;
    pthread_mutex_unlock(&s->lock);
    if (rests) {
        release_user(s);
        return;
    }
    int rc = coil_loop_create_task(s->loop, coil_coro_owning(reaper, s, release_user), NULL, NULL); /* I2 */
    coil_error_release(coil_catch(rc)); /* a loop that is closed runs no connections any more */
}
