/*
 * protocol.c - transports that call a program's protocol; see coil/protocol.h
 *
 * On the loop's thread; in a runtime on any worker. A coil__transport calls its owner with its latch held; a program's functions
 * are called without, since they may do anything to the transport. The transport's own invariants allow for that: a
 * receive that is being delivered stays `receiving`, and what is called is looked at anew afterwards.
 *
 * I1 transport.calling: the program's functions that are under way. connection_lost waits until there are none, and is
 *    the last
 * I2 pause_writing and resume_writing are called one at a time, by one loop (tell_writing) that ends when the program knows
 *    how things stand; who finds it at work leaves it to it
 * I3 nothing is called before connection_made. If the connection was lost before its turn came, the program never hears
 *    of it; but a server's protocol, which somebody has to free, hears of both when the turn comes; or, if the loop is
 *    closed before, of the end alone, without a transport
 * I4 a server's transport, which no program owns, ends with its loop at the latest; its protocol hears of it
 *
 * Source: asyncio.selector_events._SelectorSocketTransport of CPython 3.11.
 */
#include "protocol.h"

#include <fcntl.h>
#include <unistd.h>

#include "connect.h"
#include "pipe.h"
#include "sock.h"

#include "../src/base/alloc.h"
#include "../src/context.h"
#include "../src/ending.h"
#include "../src/future.h"
#include "../src/sync.h"

struct coil_transport {
    coil__transport transport;
    const coil_protocol *protocol;
    void *arg;
    coil_context *context; /* that it was made in; owned */
    coil__handle begin;    /* calls connection_made */
    coil_future *made;     /* owned; NULL: nobody waits */
    coil__transport_gone *gone;
    void *owner;
    coil_address peer, self;
    coil_error *lost_error; /* while connection_lost has to wait; owned */
    bool made_connection;   /* I3 */
    bool lost_waits;        /* I1 */
    bool telling, told;     /* I2; what the program was told last */
    bool paused;            /* what it has still to be told */
    bool orphaned;          /* goes by itself */
    coil__ending ending;    /* I4 */
    bool write_only;        /* a pipe to be written to */
};

static coil_transport *outer(coil__transport *t)
{
    return coil_container_of(t, coil_transport, transport);
}

/* --- calling out ------------------------------------------------------------------------------------------------- */

/* What is put aside while a program's function runs. */
typedef struct outside {
    coil__latch *latch; /* NULL: it was not locked, on a loop of its own */
    coil_context *context;
} outside;

/* Held before, not after. */
static outside step_out(coil_transport *t)
{
    coil__latch *latch = &t->transport.latch;
    coil__current_state *current = coil__current();
    /* [LATCH-2] relaxed: this thread holds it, or it is not locked at all since nobody shares the transport */
    outside o = {load_relaxed(&latch->held) ? latch : NULL, current->context};
    t->transport.calling++;
    current->context = coil_context_retain(t->context);
    coil__guard_leave(&(coil__guard){o.latch});
    return o;
}

static void call_lost(coil_transport *t);

static void step_in(coil_transport *t, const outside *o)
{
    coil__current_state *current = coil__current();
    coil_context_release(current->context);
    current->context = o->context;
    if (o->latch)
        (void)coil__guard_enter(o->latch); /* whoever has the guard gives it back */
    if (--t->transport.calling == 0 && t->lost_waits)
        call_lost(t);
}

static __attribute__((cold)) void report(coil_transport *t, const char *message, int rc)
{
    coil_error *e = coil_catch(rc);
    coil_loop_call_exception_handler(t->transport.loop, &(coil_exception_context){.message = message, .error = e});
    coil_error_release(e);
}

/* A program's function has returned @rc: an error is reported as @message. Held after. Gives @rc, of which nothing is raised. */
static int come_back(coil_transport *t, const outside *o, int rc, const char *message)
{
    if (coil_unlikely(rc < 0))
        report(t, message, rc);
    step_in(t, o);
    return rc;
}

/* --- what the transport tells. Held ------------------------------------------------------------------------------ */

static int get_buffer(coil__transport *inner, char **buf, size_t *n)
{
    coil_transport *t = outer(inner);
    void *place = NULL;
    size_t room = 0;
    outside o = step_out(t);
    int rc = t->protocol->get_buffer(t, &place, &room, t->arg);
    if (rc == 0 && room == 0)
        rc = coil_raise(-EINVAL, "get_buffer() returned an empty buffer");
    *buf = place;
    *n = room;
    return come_back(t, &o, rc, "Fatal error: protocol.get_buffer() call failed.");
}

static int buffer_updated(coil__transport *inner, const char *data, size_t n)
{
    coil_transport *t = outer(inner);
    (void)data;
    outside o = step_out(t);
    int rc = t->protocol->buffer_updated(t, n, t->arg);
    return come_back(t, &o, rc, "Fatal error: protocol.buffer_updated() call failed.");
}

static int data_received(coil__transport *inner, const char *data, size_t n)
{
    coil_transport *t = outer(inner);
    outside o = step_out(t);
    int rc = t->protocol->data_received(t, data, n, t->arg);
    return come_back(t, &o, rc, "Fatal error: protocol.data_received() call failed.");
}

static bool eof_received(coil__transport *inner)
{
    coil_transport *t = outer(inner);
    if (!t->protocol->eof_received)
        return false;
    outside o = step_out(t);
    bool stays = t->protocol->eof_received(t, t->arg);
    step_in(t, &o);
    return stays && !inner->read_only; /* of a pipe nothing is left then */
}

/* I2 */
static void tell_writing(coil_transport *t)
{
    if (t->telling)
        return;
    t->telling = true;
    while (t->told != t->paused && !t->transport.lost) { /* I1 */
        t->told = t->paused;
        void (*tell)(coil_transport *, void *) = t->told ? t->protocol->pause_writing : t->protocol->resume_writing;
        if (!tell)
            continue;
        outside o = step_out(t);
        tell(t, t->arg);
        step_in(t, &o);
    }
    t->telling = false;
}

static void pause_writing(coil__transport *inner)
{
    outer(inner)->paused = true;
    tell_writing(outer(inner));
}

static void resume_writing(coil__transport *inner)
{
    outer(inner)->paused = false;
    tell_writing(outer(inner));
}

/* I1. Held, and nothing is being called. */
static void call_lost(coil_transport *t)
{
    coil_error *error = t->lost_error;
    t->lost_error = NULL;
    t->lost_waits = false;
    if (t->made_connection && t->protocol->connection_lost) { /* I3 */
        outside o = step_out(t);
        t->protocol->connection_lost(t, error, t->arg);
        step_in(t, &o);
    }
    coil_error_release(error);
    if (t->orphaned)
        t->transport.abandoned = true; /* who has called goes on to look whether all is over */
}

static void connection_lost(coil__transport *inner, coil_error *error)
{
    coil_transport *t = outer(inner);
    t->lost_error = coil_error_retain(error);
    t->lost_waits = true;
    if (t->transport.calling == 0 && (t->made_connection || !t->orphaned)) /* I3 */
        call_lost(t);
}

static void release(coil__transport *inner)
{
    coil_transport *t = outer(inner);
    coil__transport_gone *gone = t->gone;
    void *owner = t->owner;
    coil__ending_leave(&t->ending, inner->loop);
    coil_context_release(t->context);
    coil_release(t->made);
    if (gone)
        gone(owner); /* who may have looked at it to the last */
    coil__free(t);
}

static const coil__protocol plain = {
    .data_received = data_received,
    .eof_received = eof_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
    .release = release,
};

static const coil__protocol buffered = {
    .get_buffer = get_buffer,
    .data_received = buffer_updated,
    .eof_received = eof_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
    .release = release,
};

/* --- making ------------------------------------------------------------------------------------------------------ */

static void call_made(coil_transport *t)
{
    COIL__GUARD(&t->transport.latch);
    if (t->transport.lost && !t->lost_waits) /* I3: by another worker, where the creation was cancelled */
        return;
    t->made_connection = true;
    outside o = step_out(t);
    (void)come_back(t, &o, t->protocol->connection_made(t, t->arg), "Exception in callback");
}

static void run_begin(coil__handle *h)
{
    coil_transport *t = coil_container_of(h, coil_transport, begin);
    coil_future *made = t->made;
    t->made = NULL;
    call_made(t);
    coil__transport_start(&t->transport);
    if (made)
        (void)coil__future_finish(made, NULL, NULL);
    coil_release(made);
}

/* I3: it will not be made; a server's protocol hears of that. */
static void call_refused(coil_transport *t)
{
    COIL__GUARD(&t->transport.latch);
    outside o = step_out(t);
    if (t->protocol->connection_lost)
        t->protocol->connection_lost(NULL, NULL, t->arg);
    step_in(t, &o);
}

/* The loop is closed: nothing was made. */
static void discard_begin(coil__handle *h)
{
    coil_transport *t = coil_container_of(h, coil_transport, begin);
    if (t->orphaned) {
        call_refused(t);
        coil__transport_abandon(&t->transport);
    }
    coil_error_release(t->lost_error);
    t->lost_error = NULL;
    coil__transport_start(&t->transport);
}

static const coil__handle_ops begin_ops = {run_begin, discard_begin, "transport: connection made"};

static void end_with_loop(coil__ending *e)
{
    coil__transport_abandon(&coil_container_of(e, coil_transport, ending)->transport);
}

static int check(const coil_protocol *p, bool receives)
{
    coil_assert(p);
    bool one_way = !p->data_received != !p->get_buffer;
    if (!receives)
        return p->connection_made ? 0 : coil_raise(-EINVAL, "a protocol has connection_made");
    if (!p->connection_made || !one_way || (p->get_buffer && !p->buffer_updated))
        return coil_raise(-EINVAL, "a protocol has connection_made, and data_received or get_buffer with buffer_updated");
    return 0;
}

/* The descriptor that there is. */
static int descriptor_of(const coil__wire *wire)
{
    return wire->in >= 0 ? wire->in : wire->out;
}

static coil_transport *new_transport(coil_loop *loop, const coil_protocol *protocol, void *arg, const coil__wire *wire)
{
    int rc = 0;
    coil_transport *t = coil__calloc(sizeof *t);
    if (!t)
        return NULL;
    t->context = coil__context_copy_current(&rc);
    if (rc < 0) {
        coil__free(t);
        return NULL;
    }
    t->protocol = protocol;
    t->arg = arg;
    coil__handle_init(&t->begin, &begin_ops);
    coil__ending_init(&t->ending, end_with_loop);
    coil__sock_names(descriptor_of(wire), &t->self, &t->peer);
    coil__transport_init(&t->transport, protocol->get_buffer ? &buffered : &plain, loop, wire);
    t->write_only = wire->in < 0;
    t->transport.reading_paused = t->write_only && !coil__pipe_tells(wire->out); /* it is never watched */
    return t;
}

int coil__protocol_open(coil_loop *loop, const coil_protocol *protocol, void *arg, const coil__wire *wire,
                        coil__transport_gone *gone, void *owner, coil_future *made, coil_transport **transport)
{
    int rc = check(protocol, wire->in >= 0);
    coil_transport *t = rc == 0 ? new_transport(loop, protocol, arg, wire) : NULL;
    if (!t) {
        close(descriptor_of(wire));
        return rc < 0 ? rc : coil_raise(-ENOMEM, NULL);
    }
    t->gone = gone;
    t->owner = owner;
    t->orphaned = gone != NULL;
    t->made = made ? coil_retain(made) : NULL;
    coil__transport_hold(&t->transport);
    if (t->orphaned)
        coil__ending_join(&t->ending, loop); /* I4 */
    *transport = t;
    coil__loop_ready(loop, &t->begin);
    return 0;
}

/* Waits for connection_made. Takes the descriptor. */
static int open_and_wait(coil_loop *loop, const coil_protocol *protocol, void *arg, const coil__wire *wire,
                         coil_transport **transport)
{
    coil_transport *t = NULL;
    coil_future *made = coil__future_new(loop);
    if (!made) {
        close(descriptor_of(wire));
        return coil_raise(-ENOMEM, NULL);
    }
    int rc = coil__protocol_open(loop, protocol, arg, wire, NULL, NULL, made, &t);
    if (rc == 0) {
        rc = coil_await(made, NULL);
        if (rc < 0)
            coil_transport_free(t);
        else
            *transport = t;
    }
    coil_release(made);
    return rc;
}

/* Takes a connected socket. */
static int open_on_socket(coil_loop *loop, const coil_protocol *protocol, void *arg, int fd, coil_transport **transport)
{
    return open_and_wait(loop, protocol, arg, &(coil__wire){.in = fd, .out = fd, .socket = true}, transport);
}

int coil_create_connection(const coil_protocol *protocol, void *arg, const char *host, const char *port,
                           const coil_connect_options *options, coil_transport **transport)
{
    coil_connect_options o;
    int fd;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(check(protocol, true));
    COIL_TRY(coil__connect_options(options, &o));
    coil_loop *loop = coil__running_loop();
    COIL_TRY(coil__connect(loop, host, port, &o, &fd));
    return open_on_socket(loop, protocol, arg, fd, transport);
}

int coil_create_unix_connection(const coil_protocol *protocol, void *arg, const char *path,
                                const coil_connect_options *options, coil_transport **transport)
{
    coil_connect_options o;
    int fd;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(check(protocol, true));
    COIL_TRY(coil__connect_options(options, &o));
    coil_loop *loop = coil__running_loop();
    COIL_TRY(coil__connect_unix(loop, path, &o, &fd));
    return open_on_socket(loop, protocol, arg, fd, transport);
}

static int prepare_accepted(const coil_protocol *protocol, int fd, const coil_connect_options *options)
{
    coil_connect_options o;
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(check(protocol, true));
    COIL_TRY(coil__connect_options(options, &o));
    COIL_TRY(coil__adopt_socket(fd, SOCK_STREAM, "Stream Socket"));
    return coil_sock_set_options(fd, &o.socket);
}

int coil_connect_accepted_socket(const coil_protocol *protocol, void *arg, int fd, const coil_connect_options *options,
                                 coil_transport **transport)
{
    int rc = prepare_accepted(protocol, fd, options);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return open_on_socket(coil__running_loop(), protocol, arg, fd, transport);
}

static int prepare_pipe(const coil_protocol *protocol, int fd, int flags)
{
    COIL_TRY(coil__task_may_wait());
    COIL_TRY(check(protocol, flags == O_RDONLY));
    return coil__pipe_prepare(fd, flags);
}

int coil_create_read_pipe_transport(const coil_protocol *protocol, void *arg, int fd, coil_transport **transport)
{
    int rc = prepare_pipe(protocol, fd, O_RDONLY);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return open_and_wait(coil__running_loop(), protocol, arg, &(coil__wire){.in = fd, .out = -1}, transport);
}

int coil_create_write_pipe_transport(const coil_protocol *protocol, void *arg, int fd, coil_transport **transport)
{
    int rc = prepare_pipe(protocol, fd, O_WRONLY);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    coil__sigpipe_ignore();
    return open_and_wait(coil__running_loop(), protocol, arg, &(coil__wire){.in = -1, .out = fd}, transport);
}

void coil__protocol_kill(coil_transport *t)
{
    coil__transport_kill(&t->transport);
}

/* --- what programs ask for --------------------------------------------------------------------------------------- */

int coil_transport_write(coil_transport *t, const void *data, size_t n)
{
    coil_assert(t);
    return coil__transport_write(&t->transport, data, n);
}

int coil_transport_writelines(coil_transport *t, const struct iovec *pieces, size_t count)
{
    coil_assert(t);
    return coil__transport_writelines(&t->transport, pieces, count);
}

/* From now on writing is an error, unless it was closed before. */
static void refuse_more(coil_transport *t)
{
    COIL__GUARD(&t->transport.latch);
    t->transport.eof_written |= !t->transport.closing;
}

int coil_transport_write_eof(coil_transport *t)
{
    coil_assert(t);
    if (!t->write_only)
        return coil__transport_write_eof(&t->transport);
    refuse_more(t);
    coil__transport_close(&t->transport); /* of a closed loop it may be gone after that */
    return 0;
}

/* Whether the program may hold it back. Held. */
static bool receives(const coil_transport *t)
{
    return !t->transport.closing && !t->write_only;
}

void coil_transport_pause_reading(coil_transport *t)
{
    coil_assert(t);
    COIL__GUARD(&t->transport.latch);
    if (!t->transport.reading_paused && receives(t))
        coil__transport_pause_reading(&t->transport);
}

void coil_transport_resume_reading(coil_transport *t)
{
    coil_assert(t);
    COIL__GUARD(&t->transport.latch);
    if (t->transport.reading_paused && receives(t))
        coil__transport_resume_reading(&t->transport);
}

/* A const transport's latch. */
static coil__latch *latch_of(const coil_transport *t)
{
    coil_assert(t);
    return &((coil_transport *)(uintptr_t)t)->transport.latch;
}

bool coil_transport_is_reading(const coil_transport *t)
{
    COIL__GUARD(latch_of(t));
    return receives(t) && !t->transport.reading_paused;
}

int coil_transport_set_write_buffer_limits(coil_transport *t, size_t high, size_t low)
{
    coil_assert(t);
    return coil__transport_set_limits(&t->transport, high, low ? low : high / 4);
}

void coil_transport_get_write_buffer_limits(const coil_transport *t, size_t *high, size_t *low)
{
    COIL__GUARD(latch_of(t));
    *high = t->transport.high;
    *low = t->transport.low;
}

size_t coil_transport_get_write_buffer_size(const coil_transport *t)
{
    COIL__GUARD(latch_of(t));
    return coil__transport_buffered(&t->transport);
}

void coil_transport_close(coil_transport *t)
{
    coil_assert(t);
    coil__transport_close(&t->transport);
}

void coil_transport_abort(coil_transport *t)
{
    coil_assert(t);
    coil__transport_abort(&t->transport);
}

bool coil_transport_is_closing(const coil_transport *t)
{
    COIL__GUARD(latch_of(t));
    return t->transport.closing;
}

void coil_transport_peername(const coil_transport *t, coil_address *address)
{
    coil_assert(t);
    *address = t->peer;
}

void coil_transport_sockname(const coil_transport *t, coil_address *address)
{
    coil_assert(t);
    *address = t->self;
}

void coil_transport_free(coil_transport *t)
{
    if (t)
        coil__transport_abandon(&t->transport);
}
