/*
 * server.c - coil_server: listening sockets, and a task for each connection
 *
 * All on the loop's thread. Source: asyncio.base_events.Server, create_server and selector_events' accepting,
 * CPython 3.11.
 *
 * I1 a listener's descriptor is closed when the server is closed and no accept is in flight (the handle has run)
 * I2 a server is freed when coil_server_free() was called, all listeners' descriptors are closed, and no client is
 *    left
 * I3 a client exists from the accept until its callback has returned, or its task was dropped without running
 */
#include <coil/server.h>

#include <arpa/inet.h>
#include <limits.h>
#include <netdb.h>
#include <unistd.h>

#include "op.h"
#include "stream.h"

#include "../src/base/alloc.h"
#include "../src/context.h"
#include "../src/timer.h"

#define BACKLOG_DEFAULT 100
#define ACCEPT_RETRY_NS COIL_SECONDS(1) /* asyncio's ACCEPT_RETRY_DELAY */

typedef struct listener {
    struct coil__op accept;
    coil__timer retry; /* armed while accepting is paused for want of resources */
    coil_server *server;
    int fd;            /* owned; -1: closed (I1) */
    bool accepting;    /* the operation was submitted, and its handle has not run */
} listener;

typedef struct client {
    coil__node node; /* in the server's list */
    coil_server *server;
    coil_stream *stream; /* the callback's */
    coil_task *task;     /* owned */
} client;

struct coil_server {
    coil_loop *loop; /* held */
    coil_client_connected *callback;
    void *arg;
    coil_server_options options;
    coil_context *context; /* that coil_start_server() was called in; owned */
    coil__list clients;
    size_t client_count;
    coil__waiters closing;      /* wait_closed */
    coil_future *serving;       /* serve_forever's; borrowed from its frame */
    size_t open_listeners;      /* whose descriptors are open */
    bool closed, freed, told;   /* told: the exception handler knows that resources have run out */
    size_t listener_count;
    listener listeners[];
};

/* --- the end -------------------------------------------------------------------------------------------------- */

static bool at_rest(const coil_server *s)
{
    return s->closed && s->open_listeners == 0 && s->client_count == 0;
}

/* Something has ended: tells those who wait for the end of all. @s may be freed. */
static void settle(coil_server *s)
{
    if (!at_rest(s))
        return;
    for (coil__node *n = s->closing.list.head.next; n != &s->closing.list.head; n = n->next)
        if (coil__waiter_pending(coil__waiter_of_node(n)))
            (void)coil__waiter_wake(coil__waiter_of_node(n));
    if (!s->freed)
        return;
    coil_loop *loop = s->loop;
    coil_context_release(s->context);
    coil__free(s);
    coil__loop_unhold(loop);
}

/* --- clients -------------------------------------------------------------------------------------------------- */

static void free_client(client *c)
{
    coil_server *s = c->server;
    coil__node_unlink(&c->node);
    s->client_count--;
    coil_release(c->task);
    coil__free(c);
    settle(s);
}

/* The task never ran: the stream was never the callback's. */
static void drop_client(void *arg)
{
    client *c = arg;
    coil_stream_free(c->stream);
    free_client(c);
}

static void report(coil_server *s, const char *message, coil_error *error, coil_future *future)
{
    coil_exception_context context = {.message = message, .error = error, .future = future};
    coil_loop_call_exception_handler(s->loop, &context);
}

static int run_client(void *arg, void **result)
{
    (void)result;
    client *c = arg;
    coil_server *s = c->server;
    int rc = s->callback(c->stream, s->arg);
    if (rc < 0 && rc != -ECANCELED && rc != COIL_EGENERATOREXIT) {
        coil_error *e = coil_catch(rc);
        report(s, "Unhandled exception in client_connected_cb", e, c->task);
        coil_error_release(e);
        rc = 0;
    }
    free_client(c);
    return rc < 0 ? rc : 0;
}

static int start_client(coil_server *s, coil_stream *stream)
{
    client *c = coil__malloc(sizeof *c);
    if (!c) {
        coil_stream_free(stream);
        return coil_raise(-ENOMEM, NULL);
    }
    *c = (client){.server = s, .stream = stream};
    coil__list_append(&s->clients, &c->node);
    s->client_count++;
    coil_task_options o = {.size = sizeof o, .stack_bytes = s->options.stack_bytes};
    coil_task *task = NULL;
    coil_coro coro = coil_coro_make(run_client, c, drop_client, 0, "client_connected_cb");
    COIL_TRY(coil_loop_create_task(s->loop, coro, &o, &task)); /* on failure it has dropped the client */
    c->task = task;
    return 0;
}

/* Takes an accepted descriptor. */
static void serve(coil_server *s, int fd)
{
    coil_stream *stream;
    s->told = false;
    int rc = coil__stream_new(s->loop, fd, s->options.limit_bytes, &stream);
    if (rc == 0)
        rc = start_client(s, stream);
    if (rc < 0) {
        coil_error *e = coil_catch(rc);
        report(s, "A connection could not be served", e, NULL);
        coil_error_release(e);
    }
}

/* --- accepting ------------------------------------------------------------------------------------------------ */

static void close_listener(listener *l)
{
    if (l->fd < 0 || l->accepting) /* I1 */
        return;
    coil__fd_close(l->server->loop, l->fd);
    l->fd = -1;
    l->server->open_listeners--;
}

static void arm_accept(listener *l)
{
    if (l->server->closed || coil__loop_closed(l->server->loop))
        return;
    l->accepting = true;
    l->accept.handle.context = coil_context_retain(l->server->context);
    coil__op_submit(l->server->loop, &l->accept);
}

static bool is_transient(int code)
{
    return code == -EAGAIN || code == -EINTR || code == -ECONNABORTED || code == COIL_ECLOSED;
}

/* Once until accepting succeeds again. */
static void report_shortage(coil_server *s, int code)
{
    if (!s->told) {
        coil_error *e = coil_error_new(code, "%s", coil_strerror(code));
        report(s, "socket.accept() out of system resource", e, NULL);
        coil_error_release(e);
    }
    s->told = true;
}

/* Serves what was accepted and whoever else has come meanwhile, up to the backlog. Returns why there is no more. */
static int serve_burst(listener *l)
{
    coil_server *s = l->server;
    int res = l->accept.res;
    for (int n = 0; res >= 0; n++) {
        if (s->closed)
            close(res);
        else
            serve(s, res);
        res = n < s->options.backlog && !s->closed ? coil__op_try(&l->accept) : -EAGAIN;
    }
    if (!s->closed && !is_transient(res))
        report_shortage(s, res);
    return res;
}

/* Asks for the next connection; after an error later, since asking at once would be busy. */
static void accept_again(listener *l, int why)
{
    coil_loop *loop = l->server->loop;
    if (is_transient(why) || coil__timer_arm(loop, &l->retry, coil_loop_time(loop) + ACCEPT_RETRY_NS) < 0)
        arm_accept(l); /* without memory for a timer: better busy than deaf */
}

static void run_accept(coil__handle *h)
{
    listener *l = coil_container_of(h, listener, accept.handle);
    int why = serve_burst(l); /* I1, I2: whatever an exception handler does to the server meanwhile, it stays */
    l->accepting = false;
    if (!l->server->closed) {
        accept_again(l, why);
        return;
    }
    close_listener(l);
    settle(l->server);
}

static void discard_accept(coil__handle *h)
{
    listener *l = coil_container_of(h, listener, accept.handle);
    coil_context_release(h->context);
    h->context = NULL;
    l->accepting = false;
    if (l->accept.res >= 0)
        close(l->accept.res);
    if (l->server->closed) {
        close_listener(l);
        settle(l->server);
    }
}

static const coil__handle_ops accept_ops = {run_accept, discard_accept, "server: accept"};

static void run_retry(coil__handle *h)
{
    arm_accept(coil_container_of(h, listener, retry.handle));
}

static void discard_retry(coil__handle *h)
{
    (void)h; /* the loop is closed; closing the server closes the descriptor */
}

static const coil__handle_ops retry_ops = {run_retry, discard_retry, "server: accept again"};

/* --- starting ------------------------------------------------------------------------------------------------- */

static void init_listener(listener *l, coil_server *s, int fd)
{
    l->server = s;
    l->fd = fd;
    coil__op_init(&l->accept, COIL__OP_ACCEPT, fd, &accept_ops);
    coil__timer_init(&l->retry, &retry_ops);
    s->open_listeners++;
    s->listener_count++;
}

/* Listens on every address of @list whose family this machine has. */
static int open_listeners(coil_server *s, const struct addrinfo *list)
{
    int rc = coil_raise(-EINVAL, "no address to listen on");
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        int fd;
        rc = coil__listen(a, s->options.backlog, s->options.reuse_port, &fd);
        if (rc == -EAFNOSUPPORT || rc == -EPROTONOSUPPORT)
            continue;
        COIL_TRY(rc);
        init_listener(&s->listeners[s->listener_count], s, fd);
    }
    return s->listener_count > 0 ? 0 : rc;
}

static int check_options(const coil_server_options *options, coil_server_options *o)
{
    *o = (coil_server_options){.size = sizeof *o};
    if (options && options->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_server_options.size is %zu, not %zu", options->size, sizeof *o);
    if (options)
        *o = *options;
    if (o->backlog < 0)
        return coil_raise(-EINVAL, "a backlog of %d", o->backlog);
    if (o->limit_bytes > SSIZE_MAX)
        return coil_raise(-EINVAL, "Limit cannot be <= 0");
    if (o->backlog == 0)
        o->backlog = BACKLOG_DEFAULT;
    if (o->limit_bytes == 0)
        o->limit_bytes = COIL_STREAM_LIMIT;
    return 0;
}

static coil_server *new_server(coil_loop *loop, const struct addrinfo *list)
{
    size_t n = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        n++;
    coil_server *s = coil__calloc(sizeof *s + n * sizeof(listener));
    if (!s)
        return NULL;
    s->loop = loop;
    coil__list_init(&s->clients);
    coil__waiters_init(&s->closing);
    coil__loop_hold(loop);
    return s;
}

static int start(coil_server *s, const struct addrinfo *list)
{
    int rc = 0;
    s->context = coil__context_copy_current(&rc);
    COIL_TRY(rc);
    COIL_TRY(open_listeners(s, list));
    for (size_t i = 0; i < s->listener_count; i++)
        arm_accept(&s->listeners[i]);
    return coil_sleep(0); /* as in asyncio: accepting has begun when this returns */
}

int coil_start_server(coil_client_connected *callback, void *arg, const char *host, const char *port,
                      const coil_server_options *options, coil_server **server)
{
    coil_server_options o;
    struct addrinfo *list;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(check_options(options, &o));
    coil_loop *loop = coil_get_running_loop();
    COIL_TRY(coil__resolve(loop, host, port, true, &list));
    coil_server *s = new_server(loop, list);
    int rc = s ? 0 : coil_raise(-ENOMEM, NULL);
    if (s) {
        s->callback = callback;
        s->arg = arg;
        s->options = o;
        rc = start(s, list);
    }
    freeaddrinfo(list);
    if (rc < 0)
        coil_server_free(s);
    else
        *server = s;
    return rc;
}

/* --- what programs ask for ------------------------------------------------------------------------------------ */

int coil_server_port(const coil_server *s)
{
    coil__address a;
    socklen_t size = sizeof a;
    if (s->closed || s->listener_count == 0 || getsockname(s->listeners[0].fd, &a.any, &size) < 0)
        return -1;
    return ntohs(a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port);
}

bool coil_server_is_serving(const coil_server *s)
{
    return !s->closed;
}

void coil_server_close(coil_server *s)
{
    if (s->closed)
        return;
    s->closed = true;
    for (size_t i = 0; i < s->listener_count; i++) {
        listener *l = &s->listeners[i];
        (void)shutdown(l->fd, SHUT_RDWR); /* nobody can connect any more, although the kernel still has it */
        coil__timer_disarm(s->loop, &l->retry);
        coil__op_cancel(s->loop, &l->accept);
        close_listener(l);
    }
    if (s->serving)
        coil_future_cancel(s->serving, NULL);
    settle(s);
}

int coil_server_serve_forever(coil_server *s)
{
    COIL_TRY(coil__task_needed());
    if (s->serving)
        return coil_raise(COIL_EBUSY, "server is already being awaited on serve_forever()");
    if (s->closed)
        return coil_raise(COIL_ERUNTIME, "server is closed");
    coil_future *serving = coil__future_new(s->loop);
    if (!serving)
        return coil_raise(-ENOMEM, NULL);
    s->serving = serving;
    int rc = coil_await(serving, NULL);
    s->serving = NULL;
    coil_error *e = coil_catch(rc);
    coil_release(serving);
    coil_server_close(s);
    return coil_raise_error(e);
}

int coil_server_wait_closed(coil_server *s)
{
    COIL_TRY(coil__task_needed());
    while (!at_rest(s))
        COIL_TRY(coil__waiters_wait(&s->closing, NULL));
    return 0;
}

void coil_server_cancel_clients(coil_server *s)
{
    coil__list_foreach_safe(&s->clients, n, next)
        coil_future_cancel(coil_container_of(n, client, node)->task, NULL);
}

size_t coil_server_clients(const coil_server *s)
{
    return s->client_count;
}

void coil_server_free(coil_server *s)
{
    if (!s)
        return;
    coil_assert(!s->serving);
    coil__waiters_fini(&s->closing);
    s->freed = true;
    if (s->closed)
        settle(s);
    else
        coil_server_close(s);
}
