/*
 * server_clients.c - the connections of a server: a task for each that is a stream, a protocol's functions for the others
 *
 * Called by server.c and from within clients' tasks; in a runtime on any worker. Invariants are in server.h.
 * Source: asyncio.base_events.Server, asyncio.streams.StreamReaderProtocol, CPython 3.11.
 */
#include "server.h"

#include <unistd.h>

#include "protocol.h"

#include "../src/base/alloc.h"

/* --- streams -------------------------------------------------------------------------------------------------- */

static void free_client(coil__client *c)
{
    coil_server *s = c->server;
    coil__guard guard = coil__guard_enter(&s->latch);
    coil_task *task = c->task;
    c->over = true;
    coil__node_unlink(&c->node);
    s->client_count--;
    if (!c->starting) /* I3 */
        coil__free(c);
    coil__server_leave(s, &guard);
    coil_release(task);
}

/* The task never ran: the stream was never the callback's. */
static void drop_client(void *arg)
{
    coil__client *c = arg;
    coil_stream_free(c->stream);
    free_client(c);
}

void coil__server_report(coil_server *s, const char *message, coil_error *error, coil_future *future)
{
    coil_exception_context context = {.message = message, .error = error, .future = future};
    coil_loop_call_exception_handler(s->loop, &context);
}

static int run_client(void *arg, void **result)
{
    (void)result;
    coil__client *c = arg;
    coil_server *s = c->server;
    int rc = s->callback(c->stream, s->arg);
    if (rc < 0 && rc != -ECANCELED && rc != COIL_EGENERATOREXIT) {
        coil_error *e = coil_catch(rc);
        coil__server_report(s, "Unhandled exception in client_connected_cb", e, coil_current_task());
        coil_error_release(e);
        rc = 0;
    }
    free_client(c);
    return rc < 0 ? rc : 0;
}

static coil__client *new_client(coil_server *s, coil_stream *stream)
{
    coil__client *c = coil__malloc(sizeof *c);
    if (!c)
        return NULL;
    COIL__GUARD(&s->latch);
    uint64_t round = s->closed ? 0 : s->rounds; /* it was let in before, and may have missed the round that followed */
    *c = (coil__client){.server = s, .stream = stream, .cancelled = round, .starting = true};
    coil__list_append(&s->clients, &c->node);
    s->client_count++;
    return c;
}

/*
 * The client has its task, or none was made and it is over: I3. @s is accepting, and stays. Takes the
 * reference to @task.
 */
static void end_start(coil_server *s, coil__client *c, coil_task *task)
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
    coil__client *c = new_client(s, stream);
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

/* --- protocols ------------------------------------------------------------------------------------------------ */

static void transport_gone(void *owner)
{
    free_client(owner);
}

/* The connection will not be: its protocol hears of it in place of connection_made. */
static void refuse_protocol(const coil_protocol *protocol, void *arg, int rc)
{
    coil_error *e = coil_catch(rc);
    if (protocol->connection_lost)
        protocol->connection_lost(NULL, e, arg);
    (void)coil_raise_error(e);
}

/* The client has its transport, or there is none and it is over: I3. What was cancelled meanwhile is aborted now. */
static void end_protocol_start(coil_server *s, coil__client *c)
{
    COIL__GUARD(&s->latch);
    c->starting = false; /* its functions run in the next iteration */
    if (!c->transport || c->cancelled == s->rounds)
        return;
    c->cancelled = s->rounds;
    coil__protocol_kill(c->transport);
}

/* Takes the descriptor. */
static int start_protocol(coil_server *s, int fd)
{
    const coil_protocol *protocol = NULL;
    void *arg = NULL;
    coil__wire wire = {.in = fd, .out = fd, .socket = true};
    coil__client *c = new_client(s, NULL);
    int rc = c ? s->factory(s->arg, &protocol, &arg) : coil_raise(-ENOMEM, NULL);
    if (rc < 0) {
        close(fd);
    } else {
        rc = coil__protocol_open(s->loop, protocol, arg, &wire, transport_gone, c, NULL, &c->transport);
        if (rc < 0)
            refuse_protocol(protocol, arg, rc);
    }
    if (c)
        end_protocol_start(s, c);
    if (c && rc < 0)
        free_client(c);
    return rc;
}

/* --- both ----------------------------------------------------------------------------------------------------- */

/* Takes the descriptor. */
static int start_stream(coil_server *s, int fd)
{
    coil_stream *stream;
    coil__wire wire = {.in = fd, .out = fd, .socket = true};
    COIL_TRY(coil__stream_open(s->loop, &wire, s->options.limit_bytes, &stream));
    return start_client(s, stream);
}

/* Takes the descriptor. */
static int start_any(coil_server *s, int fd)
{
    int rc = s->unix_sockets ? coil_sock_set_options(fd, &s->options.socket) : 0;
    if (rc == 0)
        return s->factory ? start_protocol(s, fd) : start_stream(s, fd);
    close(fd);
    return rc;
}

void coil__server_serve(coil_server *s, int fd)
{
    int rc = start_any(s, fd);
    if (rc < 0) {
        coil_error *e = coil_catch(rc);
        coil__server_report(s, "A connection could not be served", e, NULL);
        coil_error_release(e);
    }
}

/* --- cancelling ----------------------------------------------------------------------------------------------- */

static uint64_t begin_round(coil_server *s)
{
    COIL__GUARD(&s->latch);
    return ++s->rounds;
}

/*
 * The first client that this round has not reached: aborts it, or gives its task. A client that is starting hears of the round
 * then.
 */
static bool reach_next(coil_server *s, uint64_t round, coil_task **task)
{
    COIL__GUARD(&s->latch);
    coil__list_foreach_safe(&s->clients, n, next) {
        coil__client *c = coil_container_of(n, coil__client, node);
        if (c->starting || c->cancelled >= round)
            continue;
        c->cancelled = round;
        coil__node_unlink(n);
        coil__list_append(&s->clients, n); /* behind those that are still to come */
        if (c->transport)
            coil__protocol_kill(c->transport);
        *task = c->task ? coil_retain(c->task) : NULL;
        return true;
    }
    return false;
}

int coil__server_cancel_clients(coil_server *s)
{
    uint64_t round = begin_round(s);
    coil_task *task;
    int count = 0;
    for (; reach_next(s, round, &task); count++) {
        if (task)
            coil_future_cancel(task, NULL);
        coil_release(task);
    }
    return count;
}
