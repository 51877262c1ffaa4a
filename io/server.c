/*
 * server.c - coil_server: listening sockets; see server.h
 *
 * On the loop's thread; in a runtime on any worker. A listener accepts on its home: the worker that started the
 * server, which hands the connections to all workers in turn, since a connection's operations stay where it begins;
 * or, where each worker has a listener of its own, that worker, which keeps them. Clients' tasks run wherever they
 * run.
 * Source: asyncio.base_events.Server, create_server and selector_events' accepting, CPython 3.11.
 */
#include "server.h"

#include <coil/timeout.h>
#include <poll.h>
#include <unistd.h>

#include "listen.h"
#include "waiting.h"

#include "../src/base/alloc.h"
#include "../src/context.h"
#include "../src/sync.h"

#define ACCEPT_RETRY_NS COIL_SECONDS(1) /* asyncio's ACCEPT_RETRY_DELAY */

/* An accepted connection on its way to the worker where it begins. */
typedef struct arrival {
    coil__handle handle;
    coil_server *server;
    int fd; /* owned */
} arrival;

/* --- the end -------------------------------------------------------------------------------------------------- */

/* Held. */
static bool at_rest(const coil_server *s)
{
    return s->closed && s->open_listeners == 0 && s->arrival_count == 0 && s->client_count == 0;
}

void coil__server_leave(coil_server *s, const coil__guard *guard)
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

/* That the handle runs in next: each run takes it. */
static void set_context(coil__listener *l)
{
    if (!l->accept.handle.context)
        l->accept.handle.context = coil_context_retain(l->server->context);
}

static void drop_context(coil__listener *l)
{
    coil_context_release(l->accept.handle.context);
    l->accept.handle.context = NULL;
}

/* Held. */
static void close_listener(coil__listener *l)
{
    if (l->fd < 0 || l->accepting || l->retrying || coil__shortage_leave(&l->shortage)) /* I1 */
        return;
    drop_context(l);
    while (l->accepted.first < l->accepted.count) /* of a loop that was closed before they were served */
        close(l->accepted.fds[l->accepted.first++]);
    coil__free(l->accepted.fds);
    coil__fd_close(l->server->loop, l->fd);
    l->fd = -1;
    l->server->open_listeners--;
}

static bool is_closed(coil_server *s)
{
    COIL__GUARD(&s->latch);
    return s->closed;
}

/* --- arrivals ------------------------------------------------------------------------------------------------- */

static void end_arrival(arrival *a)
{
    coil_server *s = a->server;
    coil__object_free(a, sizeof *a);
    coil__guard guard = coil__guard_enter(&s->latch);
    s->arrival_count--;
    coil__server_leave(s, &guard);
}

static void run_arrival(coil__handle *h)
{
    arrival *a = coil_container_of(h, arrival, handle);
    if (is_closed(a->server))
        close(a->fd);
    else
        coil__server_serve(a->server, a->fd);
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
    else if (!s->hands_on || !send_to_next_worker(s, fd))
        coil__server_serve(s, fd);
}

/* --- accepting ------------------------------------------------------------------------------------------------ */

/*
 * How to accept. From a socket that others may have too only when somebody is there, and not by a request in the
 * kernel: until that is cancelled it would take connections from the others, and, what is worse, it alone would be
 * woken by one that it does not take any more.
 */
static enum coil__op_kind way_to_accept(const coil__listener *l)
{
    if (l->server->given)
        return COIL__OP_POLL;
    bool many = coil__here(l->server->loop)->backend->accepts_many && !l->one_by_one;
    return many ? COIL__OP_ACCEPT_MANY : COIL__OP_ACCEPT;
}

/* Held. */
static void arm_accept(coil__listener *l)
{
    if (l->server->closed || coil__loop_closed(l->server->loop))
        return;
    l->accepting = true;
    l->accept.kind = (uint8_t)way_to_accept(l);
    l->accept.events = POLLIN;
    l->accept.wait_first = l->server->given;
    l->accept.data = &l->accepted;
    set_context(l);
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

/* Once until nobody waits to be accepted. */
static void report_shortage(coil_server *s, int code)
{
    if (!is_news(s, true))
        return;
    coil_error *e = coil_error_new(code, "%s", coil_strerror(code));
    coil__server_report(s, "socket.accept() out of system resource", e, NULL);
    coil_error_release(e);
}

/* The result of an operation that accepts; one that has waited for readiness accepts now, and is of that kind from then on. */
static int first_accepted(coil__listener *l)
{
    if (l->accept.kind != COIL__OP_POLL || l->accept.res < 0)
        return l->accept.res;
    l->accept.kind = COIL__OP_ACCEPT;
    return is_closed(l->server) ? -EAGAIN : coil__op_try(&l->accept);
}

/* Serves what was accepted and whoever else has come meanwhile, up to the backlog. Returns why there is no more. */
static int serve_burst(coil__listener *l)
{
    coil_server *s = l->server;
    int res = first_accepted(l);
    for (int n = 0; res >= 0; n++) {
        welcome(s, res);
        res = n < s->options.backlog && !is_closed(s) ? coil__op_try(&l->accept) : -EAGAIN;
    }
    return res;
}

/*
 * Serves all that were accepted. -EAGAIN: accepting goes on, and a worker that stands in for this one may be at it by
 * now, may even have ended it: @l is not touched any more. Else why it does not go on.
 */
static int serve_many(coil__listener *l)
{
    int fd;
    set_context(l); /* for that call */
    while ((fd = coil__op_take_accepted(&l->accept)) >= 0) {
        (void)is_news(l->server, false);
        welcome(l->server, fd);
    }
    return fd;
}

static bool is_shortage(int code)
{
    return code == -EMFILE || code == -ENFILE;
}

/* Serves who has come. Returns why there is no more; *over: the operation has completed. */
static int serve_all(coil__listener *l, bool *over)
{
    bool many = l->accept.kind == COIL__OP_ACCEPT_MANY;
    int why = many ? serve_many(l) : serve_burst(l);
    *over = !many || why != -EAGAIN;
    if (!*over)
        return why;
    l->one_by_one = is_shortage(why);
    if (many && l->one_by_one)
        return -EINTR; /* the kernel wants a descriptor before anybody knocks: then it is asked for each */
    if (is_transient(why))
        (void)is_news(l->server, false);
    else if (!is_closed(l->server))
        report_shortage(l->server, why);
    return why;
}

/* Asks for the next connection; after an error later, since asking at once would be busy. Held. */
static void accept_again(coil__listener *l, int why)
{
    coil_loop *loop = l->server->loop;
    l->retrying = !is_transient(why) &&
                  coil__timer_arm(loop, &l->retry, coil_loop_time(loop) + ACCEPT_RETRY_NS) == 0;
    if (!l->retrying)
        arm_accept(l); /* without memory for a timer: better busy than deaf */
    else if (is_shortage(why))
        coil__shortage_wait(&l->shortage);
}

static void run_accept(coil__handle *h)
{
    coil__listener *l = coil_container_of(h, coil__listener, accept.handle);
    coil_server *s = l->server;
    bool over;
    int why = serve_all(l, &over); /* I1, I2: whatever an exception handler does to the server meanwhile, it stays */
    if (!over)
        return;
    coil__guard guard = coil__guard_enter(&s->latch);
    l->accepting = false;
    if (s->closed)
        close_listener(l);
    else
        accept_again(l, why);
    coil__server_leave(s, &guard);
}

static void discard_accept(coil__handle *h)
{
    coil__listener *l = coil_container_of(h, coil__listener, accept.handle);
    coil_server *s = l->server;
    drop_context(l);
    if (l->accept.kind == COIL__OP_ACCEPT && l->accept.res >= 0)
        close(l->accept.res);
    coil__guard guard = coil__guard_enter(&s->latch);
    l->accepting = l->accept.kind == COIL__OP_ACCEPT_MANY && coil__op_rest(&l->accept); /* roused while in flight: I1 */
    if (s->closed)
        close_listener(l);
    coil__server_leave(s, &guard);
}

static const coil__handle_ops accept_ops = {run_accept, discard_accept, "server: accept"};

/* The timer has fired, or its loop is closed: then closing the server closes the descriptor. */
static void end_retry(coil__listener *l, bool again)
{
    coil_server *s = l->server;
    coil__guard guard = coil__guard_enter(&s->latch);
    l->retrying = false;
    bool called = coil__shortage_leave(&l->shortage); /* which does the same, or closes the descriptor */
    if (s->closed)
        close_listener(l);
    else if (again && !called)
        arm_accept(l);
    coil__server_leave(s, &guard);
}

static void run_retry(coil__handle *h)
{
    end_retry(coil_container_of(h, coil__listener, retry.handle), true);
}

static void discard_retry(coil__handle *h)
{
    end_retry(coil_container_of(h, coil__listener, retry.handle), false);
}

static const coil__handle_ops retry_ops = {run_retry, discard_retry, "server: accept again"};

/* Called, at home; with the timer's handle about to run that does it. */
static void run_called(coil__handle *h)
{
    coil__listener *l = coil_container_of(h, coil__listener, shortage.handle);
    coil_server *s = l->server;
    coil__guard guard = coil__guard_enter(&s->latch);
    coil__shortage_met(&l->shortage); /* held: else who closes the server meanwhile would free it, I1 */
    if (l->retrying && coil__timer_disarm(s->loop, &l->retry))
        l->retrying = false;
    if (s->closed)
        close_listener(l);
    else if (!l->retrying && !l->accepting)
        arm_accept(l);
    coil__server_leave(s, &guard);
}

static void discard_called(coil__handle *h)
{
    coil__listener *l = coil_container_of(h, coil__listener, shortage.handle);
    coil_server *s = l->server;
    coil__guard guard = coil__guard_enter(&s->latch);
    coil__shortage_met(&l->shortage);
    if (s->closed)
        close_listener(l);
    coil__server_leave(s, &guard);
}

static const coil__handle_ops called_ops = {run_called, discard_called, "server: accept"};

/* --- starting ------------------------------------------------------------------------------------------------- */

static void init_listener(coil__listener *l, coil_server *s, int fd, coil_loop *home)
{
    l->server = s;
    l->fd = fd;
    l->home = home;
    coil__op_init(&l->accept, COIL__OP_ACCEPT, fd, &accept_ops);
    coil__timer_init(&l->retry, &retry_ops);
    coil__shortage_init(&l->shortage, home, &called_ops);
    s->open_listeners++;
    s->listener_count++;
}

/* The worker of the i-th socket: they are in the workers' order for each address, if each worker has one. */
static coil_loop *home_of(const coil_server *s, size_t i)
{
    return s->options.per_worker ? s->loop->members[i % s->loop->member_count] : coil__here(s->loop);
}

/* Takes the sockets, also on failure; @sockets is empty afterwards. */
static coil_server *new_server(coil_loop *loop, const coil_server_options *o, coil__sockets *sockets)
{
    coil_server *s = coil__calloc(sizeof *s + sockets->count * sizeof(coil__listener));
    if (!s) {
        coil__sockets_close(sockets);
        return NULL;
    }
    s->loop = loop;
    s->options = *o;
    s->options.per_worker = o->per_worker && loop->parallel && sockets->count % loop->member_count == 0;
    s->hands_on = loop->parallel && !s->options.per_worker;
    s->unix_sockets = sockets->unix_sockets;
    s->given = sockets->given;
    coil__list_init(&s->clients);
    coil__list_init(&s->closing);
    coil__loop_hold(loop);
    for (size_t i = 0; i < sockets->count; i++)
        init_listener(&s->listeners[i], s, sockets->fds[i], home_of(s, i));
    coil__sockets_free(sockets);
    return s;
}

static void start_accepting(coil_server *s)
{
    coil_loop *here = coil__here(s->loop);
    COIL__GUARD(&s->latch);
    for (size_t i = 0; i < s->listener_count; i++) {
        coil__listener *l = &s->listeners[i];
        if (l->home == here)
            arm_accept(l);
        else
            coil__shortage_call(&l->shortage);
    }
}

static int start(coil_server *s)
{
    int rc = 0;
    s->context = coil__context_copy_current(&rc);
    COIL_TRY(rc);
    start_accepting(s);
    return coil_sleep(0); /* as in asyncio: accepting has begun when this returns */
}

/*
 * It was not started after all. Other workers may have begun to serve clients: waits for the end of these, cancelled,
 * so that nothing of the program's is called any more. (On a loop of its own there are none yet.)
 */
static void end_unstarted(coil_server *s)
{
    int rc = s->loop->parallel ? -ECANCELED : 0;
    coil_server_close(s);
    if (rc < 0)
        (void)coil__server_cancel_clients(s);
    while (rc == -ECANCELED) {
        rc = coil_server_wait_closed(s);
        coil_error_release(coil_catch(rc));
    }
    coil_server_free(s);
}

/* What becomes of a connection: one of the two functions. */
typedef struct service {
    coil_client_connected *callback;
    coil_protocol_factory *factory;
    void *arg;
} service;

/* Takes the sockets, also on failure. */
static int start_on(const service *what, const coil_server_options *o, coil__sockets *sockets, coil_server **server)
{
    coil_assert(what->callback || what->factory);
    coil_server *s = new_server(coil__running_loop(), o, sockets);
    if (!s)
        return coil_raise(-ENOMEM, NULL);
    s->callback = what->callback;
    s->factory = what->factory;
    s->arg = what->arg;
    int rc = start(s);
    if (rc == 0) {
        *server = s;
        return 0;
    }
    coil_error *error = coil_catch(rc);
    end_unstarted(s);
    return coil_raise_error(error);
}

static int start_tcp(const service *what, const char *host, const char *port, const coil_server_options *options,
                     coil_server **server)
{
    coil_server_options o;
    coil__sockets sockets;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(coil__server_options(options, &o));
    coil_loop *loop = coil__running_loop();
    size_t copies = o.per_worker && loop->parallel ? loop->member_count : 1;
    COIL_TRY(coil__listen_tcp(loop, host, port, &o, copies, &sockets));
    return start_on(what, &o, &sockets, server);
}

static int start_unix(const service *what, const char *path, const coil_server_options *options, coil_server **server)
{
    coil_server_options o;
    coil__sockets sockets;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(coil__server_options(options, &o));
    o.per_worker = false; /* they have no SO_REUSEPORT */
    COIL_TRY(coil__listen_unix(coil__running_loop(), path, &o, &sockets));
    return start_on(what, &o, &sockets, server);
}

/* Takes @fd, also on failure. */
static int start_given(const service *what, int fd, const coil_server_options *options, coil_server **server)
{
    coil_server_options o;
    coil__sockets sockets;
    int rc = coil__task_may_wait();
    if (rc == 0)
        rc = coil__server_options(options, &o);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    o.per_worker = false; /* there is one socket */
    COIL_TRY(coil__listen_on(fd, &o, &sockets));
    return start_on(what, &o, &sockets, server);
}

int coil_start_server(coil_client_connected *callback, void *arg, const char *host, const char *port,
                      const coil_server_options *options, coil_server **server)
{
    return start_tcp(&(service){.callback = callback, .arg = arg}, host, port, options, server);
}

int coil_create_server(coil_protocol_factory *factory, void *factory_arg, const char *host, const char *port,
                       const coil_server_options *options, coil_server **server)
{
    return start_tcp(&(service){.factory = factory, .arg = factory_arg}, host, port, options, server);
}

int coil_start_unix_server(coil_client_connected *callback, void *arg, const char *path,
                           const coil_server_options *options, coil_server **server)
{
    return start_unix(&(service){.callback = callback, .arg = arg}, path, options, server);
}

int coil_create_unix_server(coil_protocol_factory *factory, void *factory_arg, const char *path,
                            const coil_server_options *options, coil_server **server)
{
    return start_unix(&(service){.factory = factory, .arg = factory_arg}, path, options, server);
}

int coil_start_server_on(coil_client_connected *callback, void *arg, int fd, const coil_server_options *options,
                         coil_server **server)
{
    return start_given(&(service){.callback = callback, .arg = arg}, fd, options, server);
}

int coil_create_server_on(coil_protocol_factory *factory, void *factory_arg, int fd, const coil_server_options *options,
                          coil_server **server)
{
    return start_given(&(service){.factory = factory, .arg = factory_arg}, fd, options, server);
}

/* --- what programs ask for ------------------------------------------------------------------------------------ */

/* A const server's latch. */
static coil__latch *latch_of(const coil_server *s)
{
    coil_assert(s);
    return &((coil_server *)(uintptr_t)s)->latch;
}

int coil_server_port(const coil_server *s)
{
    coil_address a = {0};
    socklen_t size = sizeof a.storage;
    COIL__GUARD(latch_of(s));
    if (s->closed || s->listener_count == 0 || getsockname(s->listeners[0].fd, &a.any, &size) < 0)
        return -1;
    return coil_address_port(&a);
}

size_t coil_server_sockets(const coil_server *s, int *fds, size_t max)
{
    COIL__GUARD(latch_of(s));
    if (s->closed)
        return 0;
    for (size_t i = 0; i < s->listener_count && i < max; i++)
        fds[i] = s->listeners[i].fd;
    return s->listener_count;
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
        coil__listener *l = &s->listeners[i];
        if (!s->given)
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
    coil_assert(s);
    coil__guard guard = coil__guard_enter(&s->latch);
    close_server(s);
    coil__server_leave(s, &guard);
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
    coil__server_leave(s, &guard);
}

int coil_server_serve_forever(coil_server *s)
{
    coil_assert(s);
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
    coil_assert(s);
    int rc = 0;
    COIL_TRY(coil__task_needed());
    coil__guard guard = coil__guard_enter(&s->latch);
    while (rc == 0 && !at_rest(s))
        rc = coil__line_wait(&s->closing, s->loop, &s->latch, &guard);
    coil__guard_leave(&guard);
    return rc;
}

/* Whether all has ended within the time. */
static int wait_within(coil_server *s, int64_t timeout_ns)
{
    coil_timeout *timeout;
    COIL_TRY(coil_timeout_new(timeout_ns, &timeout));
    int rc = coil_timeout_enter(timeout);
    if (rc == 0)
        rc = coil_timeout_exit(timeout, coil_server_wait_closed(s));
    coil_timeout_free(timeout);
    return rc;
}

void coil_server_cancel_clients(coil_server *s)
{
    coil_assert(s);
    (void)coil__server_cancel_clients(s);
}

int coil_server_drain(coil_server *s, int64_t timeout_ns)
{
    coil_assert(s);
    COIL_TRY(coil__task_may_wait());
    coil_server_close(s);
    int rc = wait_within(s, timeout_ns);
    if (rc != -ETIMEDOUT)
        return rc;
    coil_error_release(coil_catch(rc));
    int cancelled = coil__server_cancel_clients(s);
    COIL_TRY(coil_server_wait_closed(s));
    return cancelled;
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
    coil__server_leave(s, &guard);
}
