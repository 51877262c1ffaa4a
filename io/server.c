/*
 * server.c - coil_server: listening sockets, and a task for each connection
 *
 * On the loop's thread; in a runtime on any worker: accepting on the one that started it, which hands the connections to
 * all workers in turn, since a connection's operations stay where it begins; clients' tasks run wherever they run. The latch guards the server, its listeners and its clients; functions that say "held" are called with it
 * held.
 * Source: asyncio.base_events.Server, create_server and selector_events' accepting, CPython 3.11.
 *
 * I1 a listener's descriptor is closed when the server is closed, no accept is in flight (the handle has run), and
 *    its timer is neither armed nor about to run
 * I2 a server is freed when coil_server_free() was called, all listeners' descriptors are closed, and no arrival and no
 *    client is left; by who makes the last of these true, after the latch
 * I3 a client exists from the accept until its callback has returned, or its task was dropped without running; its
 *    memory until the task was made, too (`starting`): it may have run to its end on another worker by then
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
#include "../src/sync.h"
#include "../src/timer.h"

#define BACKLOG_DEFAULT 100
#define ACCEPT_RETRY_NS COIL_SECONDS(1) /* asyncio's ACCEPT_RETRY_DELAY */

typedef struct listener {
    struct coil__op accept;
    coil__timer retry; /* armed while accepting is paused for want of resources */
    coil_server *server;
    int fd;            /* owned; -1: closed (I1) */
    bool accepting;    /* the operation was submitted, and its handle has not run */
    bool retrying;     /* the timer was armed, and its handle has not run */
} listener;

typedef struct client {
    coil__node node; /* in the server's list */
    coil_server *server;
    coil_stream *stream; /* the callback's */
    coil_task *task;     /* owned; NULL while it is being made */
    uint64_t cancelled;  /* the last round of cancelling that it was in */
    bool starting, over; /* I3 */
} client;

/* An accepted connection on its way to the worker where it begins. */
typedef struct arrival {
    coil__handle handle;
    coil_server *server;
    int fd; /* owned */
} arrival;

struct coil_server {
    coil_loop *loop; /* held */
    coil__latch latch;
    coil_client_connected *callback;
    void *arg;
    coil_server_options options;
    coil_context *context; /* that coil_start_server() was called in; owned */
    coil__list clients;
    size_t client_count, arrival_count;
    unsigned next_worker;       /* to be given a connection */
    uint64_t rounds;            /* of cancelling all clients */
    coil__list closing;         /* wait_closed */
    coil_future *serving;       /* serve_forever's; borrowed from its frame */
    size_t open_listeners;      /* whose descriptors are open */
    bool closed, freed, told;   /* told: the exception handler knows that resources have run out */
    size_t listener_count;
    listener listeners[];
};

/* --- the end -------------------------------------------------------------------------------------------------- */

/* Held. */
static bool at_rest(const coil_server *s)
{
    return s->closed && s->open_listeners == 0 && s->arrival_count == 0 && s->client_count == 0;
}

/*
 * Gives the latch back after something has ended, and tells those who wait for the end of all. @s may be
 * freed: I2.
 */
static void leave(coil_server *s, const coil__guard *guard)
{
    bool rests = at_rest(s), over = rests && s->freed;
    if (rests)
        coil__line_wake(&s->closing, NULL);
    coil__guard_leave(guard);
    if (!over)
        return;
    coil_loop *loop = s->loop;
    coil_context_release(s->context);
    coil__free(s);
    coil__loop_unhold(loop);
}

/* Held. */
static void close_listener(listener *l)
{
    if (l->fd < 0 || l->accepting || l->retrying) /* I1 */
        return;
    coil__fd_close(l->server->loop, l->fd);
    l->fd = -1;
    l->server->open_listeners--;
}

static bool is_closed(coil_server *s)
{
    COIL__GUARD(&s->latch);
    return s->closed;
}

/* --- clients -------------------------------------------------------------------------------------------------- */

static void free_client(client *c)
{
    coil_server *s = c->server;
    coil__guard guard = coil__guard_enter(&s->latch);
    coil_task *task = c->task;
    c->over = true;
    coil__node_unlink(&c->node);
    s->client_count--;
    if (!c->starting) /* I3 */
        coil__free(c);
    leave(s, &guard);
    coil_release(task);
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
        report(s, "Unhandled exception in client_connected_cb", e, coil_current_task());
        coil_error_release(e);
        rc = 0;
    }
    free_client(c);
    return rc < 0 ? rc : 0;
}

static client *new_client(coil_server *s, coil_stream *stream)
{
    client *c = coil__malloc(sizeof *c);
    if (!c)
        return NULL;
    COIL__GUARD(&s->latch);
    *c = (client){.server = s, .stream = stream, .cancelled = s->rounds, .starting = true};
    coil__list_append(&s->clients, &c->node);
    s->client_count++;
    return c;
}

/*
 * The client has its task, or none was made and it is over: I3. @s is accepting, and stays. Takes the
 * reference to @task.
 */
static void end_start(coil_server *s, client *c, coil_task *task)
{
    coil__guard guard = coil__guard_enter(&s->latch);
    bool over = c->over, cancel = !over && c->cancelled != s->rounds;
    c->starting = false;
    if (!over)
        c->task = task;
    if (cancel) {
        c->cancelled = s->rounds;
        coil_retain(task);
    }
    coil__guard_leave(&guard);
    if (over)
        coil__free(c);
    if (cancel)
        coil_future_cancel(task, NULL);
    if (over || cancel)
        coil_release(task);
}

static int start_client(coil_server *s, coil_stream *stream)
{
    client *c = new_client(s, stream);
    if (!c) {
        coil_stream_free(stream);
        return coil_raise(-ENOMEM, NULL);
    }
    coil_task_options o = {.size = sizeof o, .stack_bytes = s->options.stack_bytes};
    coil_task *task = NULL;
    coil_coro coro = coil_coro_make(run_client, c, drop_client, 0, "client_connected_cb");
    int rc = coil_loop_create_task(s->loop, coro, &o, &task); /* on failure it has dropped the client */
    end_start(s, c, task);
    return rc;
}

/* Takes an accepted descriptor. */
static void serve(coil_server *s, int fd)
{
    coil_stream *stream;
    int rc = coil__stream_new(s->loop, fd, s->options.limit_bytes, &stream);
    if (rc == 0)
        rc = start_client(s, stream);
    if (rc < 0) {
        coil_error *e = coil_catch(rc);
        report(s, "A connection could not be served", e, NULL);
        coil_error_release(e);
    }
}

/* --- arrivals ------------------------------------------------------------------------------------------------- */

static void end_arrival(arrival *a)
{
    coil_server *s = a->server;
    coil__object_free(a, sizeof *a);
    coil__guard guard = coil__guard_enter(&s->latch);
    s->arrival_count--;
    leave(s, &guard);
}

static void run_arrival(coil__handle *h)
{
    arrival *a = coil_container_of(h, arrival, handle);
    if (is_closed(a->server))
        close(a->fd);
    else
        serve(a->server, a->fd);
    end_arrival(a);
}

static void discard_arrival(coil__handle *h)
{
    arrival *a = coil_container_of(h, arrival, handle);
    coil_context_release(h->context);
    close(a->fd);
    end_arrival(a);
}

static const coil__handle_ops arrival_ops = {run_arrival, discard_arrival, "server: connection"};

/* Takes an accepted descriptor to the next worker in turn; false without memory. */
static bool send_to_next_worker(coil_server *s, int fd)
{
    arrival *a = coil__object_alloc(sizeof *a);
    if (!a)
        return false;
    coil__handle_init(&a->handle, &arrival_ops);
    a->handle.context = coil_context_retain(s->context);
    a->server = s;
    a->fd = fd;
    coil__guard guard = coil__guard_enter(&s->latch);
    s->arrival_count++;
    coil_loop *next = s->loop->members[s->next_worker++ % s->loop->member_count];
    coil__guard_leave(&guard);
    coil__loop_post(next, &a->handle);
    return true;
}

/* Takes an accepted descriptor. */
static void welcome(coil_server *s, int fd)
{
    if (is_closed(s))
        close(fd);
    else if (!s->loop->parallel || !send_to_next_worker(s, fd))
        serve(s, fd);
}

/* --- accepting ------------------------------------------------------------------------------------------------ */

/* Held. */
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

/* Whether the exception handler does not know that resources have run out, or have come back; it does from now on. */
static bool is_news(coil_server *s, bool shortage)
{
    COIL__GUARD(&s->latch);
    bool news = s->told != shortage;
    s->told = shortage;
    return news;
}

/* Once until accepting succeeds again. */
static void report_shortage(coil_server *s, int code)
{
    if (!is_news(s, true))
        return;
    coil_error *e = coil_error_new(code, "%s", coil_strerror(code));
    report(s, "socket.accept() out of system resource", e, NULL);
    coil_error_release(e);
}

/* Serves what was accepted and whoever else has come meanwhile, up to the backlog. Returns why there is no more. */
static int serve_burst(listener *l)
{
    coil_server *s = l->server;
    int res = l->accept.res;
    for (int n = 0; res >= 0; n++) {
        (void)is_news(s, false);
        welcome(s, res);
        res = n < s->options.backlog && !is_closed(s) ? coil__op_try(&l->accept) : -EAGAIN;
    }
    if (!is_transient(res) && !is_closed(s))
        report_shortage(s, res);
    return res;
}

/* Asks for the next connection; after an error later, since asking at once would be busy. Held. */
static void accept_again(listener *l, int why)
{
    coil_loop *loop = l->server->loop;
    l->retrying = !is_transient(why) &&
                  coil__timer_arm(loop, &l->retry, coil_loop_time(loop) + ACCEPT_RETRY_NS) == 0;
    if (!l->retrying)
        arm_accept(l); /* without memory for a timer: better busy than deaf */
}

static void run_accept(coil__handle *h)
{
    listener *l = coil_container_of(h, listener, accept.handle);
    coil_server *s = l->server;
    int why = serve_burst(l); /* I1, I2: whatever an exception handler does to the server meanwhile, it stays */
    coil__guard guard = coil__guard_enter(&s->latch);
    l->accepting = false;
    if (s->closed)
        close_listener(l);
    else
        accept_again(l, why);
    leave(s, &guard);
}

static void discard_accept(coil__handle *h)
{
    listener *l = coil_container_of(h, listener, accept.handle);
    coil_server *s = l->server;
    coil_context_release(h->context);
    h->context = NULL;
    if (l->accept.res >= 0)
        close(l->accept.res);
    coil__guard guard = coil__guard_enter(&s->latch);
    l->accepting = false;
    if (s->closed)
        close_listener(l);
    leave(s, &guard);
}

static const coil__handle_ops accept_ops = {run_accept, discard_accept, "server: accept"};

/* The timer has fired, or its loop is closed: then closing the server closes the descriptor. */
static void end_retry(listener *l, bool again)
{
    coil_server *s = l->server;
    coil__guard guard = coil__guard_enter(&s->latch);
    l->retrying = false;
    if (s->closed)
        close_listener(l);
    else if (again)
        arm_accept(l);
    leave(s, &guard);
}

static void run_retry(coil__handle *h)
{
    end_retry(coil_container_of(h, listener, retry.handle), true);
}

static void discard_retry(coil__handle *h)
{
    end_retry(coil_container_of(h, listener, retry.handle), false);
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
    coil__list_init(&s->closing);
    coil__loop_hold(loop);
    return s;
}

static void start_accepting(coil_server *s)
{
    COIL__GUARD(&s->latch);
    for (size_t i = 0; i < s->listener_count; i++)
        arm_accept(&s->listeners[i]);
}

static int start(coil_server *s, const struct addrinfo *list)
{
    int rc = 0;
    s->context = coil__context_copy_current(&rc);
    COIL_TRY(rc);
    COIL_TRY(open_listeners(s, list));
    start_accepting(s);
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

/* A const server's latch. */
static coil__latch *latch_of(const coil_server *s)
{
    return &((coil_server *)(uintptr_t)s)->latch;
}

int coil_server_port(const coil_server *s)
{
    coil__address a;
    socklen_t size = sizeof a;
    COIL__GUARD(latch_of(s));
    if (s->closed || s->listener_count == 0 || getsockname(s->listeners[0].fd, &a.any, &size) < 0)
        return -1;
    return ntohs(a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port);
}

bool coil_server_is_serving(const coil_server *s)
{
    COIL__GUARD(latch_of(s));
    return !s->closed;
}

/* Held. */
static void close_listeners(coil_server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        listener *l = &s->listeners[i];
        (void)shutdown(l->fd, SHUT_RDWR); /* nobody can connect any more, although the kernel still has it */
        if (l->retrying && coil__timer_disarm(s->loop, &l->retry))
            l->retrying = false;
        if (l->accepting)
            coil__op_cancel(s->loop, &l->accept);
        close_listener(l);
    }
}

/* Held. */
static void close_server(coil_server *s)
{
    if (s->closed)
        return;
    s->closed = true;
    close_listeners(s);
    if (s->serving)
        coil_future_cancel(s->serving, NULL);
}

void coil_server_close(coil_server *s)
{
    coil__guard guard = coil__guard_enter(&s->latch);
    close_server(s);
    leave(s, &guard);
}

/* Becomes the one who serves for ever. 0 or what to raise. */
static int begin_serving(coil_server *s, coil_future *serving)
{
    COIL__GUARD(&s->latch);
    if (s->serving)
        return COIL_EBUSY;
    if (s->closed)
        return COIL_ERUNTIME;
    s->serving = serving;
    return 0;
}

static void end_serving(coil_server *s)
{
    coil__guard guard = coil__guard_enter(&s->latch);
    s->serving = NULL;
    close_server(s);
    leave(s, &guard);
}

int coil_server_serve_forever(coil_server *s)
{
    COIL_TRY(coil__task_needed());
    coil_future *serving = coil__future_new(s->loop);
    if (!serving)
        return coil_raise(-ENOMEM, NULL);
    int rc = begin_serving(s, serving);
    if (rc < 0) {
        coil_release(serving);
        return coil_raise(rc, "%s", rc == COIL_EBUSY ? "server is already being awaited on serve_forever()"
                                                     : "server is closed");
    }
    rc = coil_await(serving, NULL);
    coil_error *e = coil_catch(rc);
    end_serving(s);
    coil_release(serving);
    return coil_raise_error(e);
}

int coil_server_wait_closed(coil_server *s)
{
    int rc = 0;
    COIL_TRY(coil__task_needed());
    coil__guard guard = coil__guard_enter(&s->latch);
    while (rc == 0 && !at_rest(s))
        rc = coil__line_wait(&s->closing, s->loop, &s->latch, &guard);
    coil__guard_leave(&guard);
    return rc;
}

static uint64_t begin_round(coil_server *s)
{
    COIL__GUARD(&s->latch);
    return ++s->rounds;
}

/*
 * The task of the first client that this round has not reached, with a reference. A client that is starting
 * hears of it then.
 */
static bool next_to_cancel(coil_server *s, uint64_t round, coil_task **task)
{
    COIL__GUARD(&s->latch);
    coil__list_foreach_safe(&s->clients, n, next) {
        client *c = coil_container_of(n, client, node);
        if (c->starting || c->cancelled >= round)
            continue;
        c->cancelled = round;
        coil__node_unlink(n);
        coil__list_append(&s->clients, n); /* behind those that are still to come */
        *task = coil_retain(c->task);
        return true;
    }
    return false;
}

void coil_server_cancel_clients(coil_server *s)
{
    uint64_t round = begin_round(s);
    coil_task *task;
    while (next_to_cancel(s, round, &task)) {
        coil_future_cancel(task, NULL);
        coil_release(task);
    }
}

size_t coil_server_clients(const coil_server *s)
{
    COIL__GUARD(latch_of(s));
    return s->client_count;
}

void coil_server_free(coil_server *s)
{
    if (!s)
        return;
    coil__guard guard = coil__guard_enter(&s->latch);
    coil_assert(!s->serving);
    coil_assert(coil__list_empty(&s->closing));
    s->freed = true;
    close_server(s);
    leave(s, &guard);
}
