/*
 * connect.c - connecting to a host by name; see connect.h
 *
 * All addresses of the host, in order or in a staggered race: the first attempt starts at once, each other one when
 * the one before it has failed, or has been under way for the delay. The first to connect ends the others.
 *
 * Called in tasks, in a runtime on any worker. In a race each attempt is a task, which uses its own element of
 * `attempts` only; others read that when the task is done. Source: asyncio.base_events' create_connection,
 * _connect_sock and _interleave_addrinfos, asyncio.staggered, CPython 3.11.
 *
 * I1 no attempt is under way when a plan is freed: its task has ended, and its socket is the winner's or closed
 */
#include "connect.h"

#include <coil/combine.h>
#include <coil/errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../src/base/alloc.h"

typedef struct plan plan;

typedef struct attempt {
    const plan *plan;
    const struct addrinfo *target;
    coil_task *task;     /* of a race; owned */
    int fd;              /* owned; -1: none */
    size_t error_count;
    coil_error **errors; /* owned; room for one per local address, and one more */
} attempt;

struct plan {
    coil_loop *loop;
    struct addrinfo *targets, *locals; /* owned; locals NULL: the system chooses */
    size_t count;                      /* of attempts */
    attempt *attempts;                 /* owned */
    coil_future **running;             /* room for all tasks of a race; owned */
};

/* --- one address ------------------------------------------------------------------------------------------------ */

/* What only this attempt is at fault for; else it ends all. asyncio's OSError. */
static bool is_local(int code)
{
    return code < 0 && code > -4096 && code != -ECANCELED && code != -ENOMEM;
}

static void note_error(attempt *a, coil_error *error)
{
    a->errors[a->error_count++] = error;
}

static void bind_error(attempt *a, const coil_address *local, int code)
{
    char name[128], reason[128];
    coil_address_format(local, name, sizeof name);
    snprintf(reason, sizeof reason, "%s", coil_strerror(code));
    if (*reason >= 'A' && *reason <= 'Z')
        *reason = (char)(*reason - 'A' + 'a');
    note_error(a, coil_error_new(code, "error while attempting to bind on address %s: %s", name, reason));
}

/* Binds to the first local address that works. 0, or the code of the last error, which was noted. */
static int bind_local(attempt *a, int fd)
{
    int rc = -EADDRNOTAVAIL, family = a->target->ai_family;
    for (const struct addrinfo *l = a->plan->locals; l; l = l->ai_next) {
        if (l->ai_family != family)
            continue;
        if (bind(fd, l->ai_addr, l->ai_addrlen) == 0)
            return 0;
        rc = -errno;
        coil_address local = {0};
        (void)coil_address_of_sockaddr(l->ai_addr, l->ai_addrlen, &local);
        bind_error(a, &local, rc);
    }
    if (a->error_count == 0)
        note_error(a, coil_error_new(rc, "no matching local address with family=%s found",
                                     family == AF_INET6 ? "AF_INET6" : "AF_INET"));
    return rc;
}

/* 0 or a negative code; what is_local() was noted, anything else is raised. */
static int connect_socket(attempt *a, int fd)
{
    coil_address address;
    coil__call c;
    COIL_TRY(coil_address_of_sockaddr(a->target->ai_addr, a->target->ai_addrlen, &address));
    coil__call_init(&c, COIL__OP_CONNECT, fd);
    c.op.data = &address.any;
    c.op.bytes = address.bytes;
    c.op.once = false;
    int rc = coil__call_await(a->plan->loop, &c);
    if (rc == 0 && c.op.res < 0)
        rc = coil__sock_raise_for("connecting to", &address, c.op.res);
    if (is_local(rc))
        note_error(a, coil_catch(rc));
    return rc;
}

static int try_address(attempt *a)
{
    int fd = coil__sock_open(a->target->ai_family, SOCK_STREAM, a->target->ai_protocol);
    if (fd < 0) {
        note_error(a, coil_error_new(fd, "socket: %s", coil_strerror(fd)));
        return fd;
    }
    int rc = a->plan->locals ? bind_local(a, fd) : 0;
    if (rc == 0)
        rc = connect_socket(a, fd);
    if (rc < 0)
        coil__fd_close(a->plan->loop, fd);
    else
        a->fd = fd;
    return rc;
}

/* --- the race --------------------------------------------------------------------------------------------------- */

static int attempt_body(void *arg, void **result)
{
    int rc = try_address(arg);
    (void)result;
    return is_local(rc) ? 0 : rc; /* noted: the task did what it was for */
}

static int start_attempt(attempt *a)
{
    coil_task_options o = {.size = sizeof o, .name = "connection attempt"};
    return coil_loop_create_task(a->plan->loop, coil_coro_of(attempt_body, a), &o, &a->task);
}

static bool is_done(const attempt *a)
{
    return coil_future_done(a->task);
}

/* Waits until one more attempt of the first @started is done, for at most @timeout_ns. */
static int await_progress(plan *p, size_t started, int64_t timeout_ns)
{
    size_t n = 0;
    for (size_t i = 0; i < started; i++)
        if (!is_done(&p->attempts[i]))
            p->running[n++] = p->attempts[i].task;
    return n > 0 ? coil_wait(p->running, n, timeout_ns, COIL_FIRST_COMPLETED, NULL) : 0;
}

static attempt *find_winner(plan *p, size_t started)
{
    for (size_t i = 0; i < started; i++)
        if (is_done(&p->attempts[i]) && p->attempts[i].fd >= 0)
            return &p->attempts[i];
    return NULL;
}

/* What an attempt raised that is not its fault alone. */
static int find_failure(plan *p, size_t started)
{
    for (size_t i = 0; i < started; i++)
        if (is_done(&p->attempts[i]))
            COIL_TRY(coil_future_result(p->attempts[i].task, NULL));
    return 0;
}

static bool all_done(const plan *p, size_t started)
{
    for (size_t i = 0; i < started; i++)
        if (!is_done(&p->attempts[i]))
            return false;
    return true;
}

static int64_t add_ns(int64_t now, int64_t delay)
{
    int64_t when;
    return delay == COIL_FOREVER || __builtin_add_overflow(now, delay, &when) ? COIL_FOREVER : when;
}

/* Starts attempts as they are due. 0 when one has connected, or all have failed. */
static int run_race(plan *p, int64_t delay_ns, size_t *started)
{
    int64_t due = 0;
    for (;;) {
        bool before_failed = *started > 0 && is_done(&p->attempts[*started - 1]);
        int64_t now = coil_loop_time(p->loop);
        if (*started < p->count && (*started == 0 || before_failed || now >= due)) {
            COIL_TRY(start_attempt(&p->attempts[*started]));
            ++*started;
            due = add_ns(now, delay_ns);
        }
        int64_t left = *started == p->count || due == COIL_FOREVER ? COIL_FOREVER : due > now ? due - now : 0;
        COIL_TRY(await_progress(p, *started, left));
        COIL_TRY(find_failure(p, *started));
        if (find_winner(p, *started) || (*started == p->count && all_done(p, *started)))
            return 0;
    }
}

/*
 * Ends all attempts, and waits for that: I1. A cancellation meanwhile is raised afterwards. (When the loop is being
 * freed, the attempts, which are younger, have ended before.)
 */
static int end_race(plan *p, size_t started)
{
    int rc = 0;
    for (size_t i = 0; i < started; i++)
        coil_future_cancel(p->attempts[i].task, NULL);
    for (size_t i = 0; i < started; i++) {
        while (!is_done(&p->attempts[i]) && rc != COIL_EGENERATOREXIT) {
            coil_future *one[] = {p->attempts[i].task};
            int interrupted = coil_wait(one, 1, COIL_FOREVER, COIL_ALL_COMPLETED, NULL);
            if (interrupted < 0)
                rc = interrupted;
        }
    }
    return rc;
}

static void close_losers(plan *p, const attempt *winner)
{
    for (size_t i = 0; i < p->count; i++) {
        attempt *a = &p->attempts[i];
        if (a != winner && a->fd >= 0) {
            coil__fd_close(p->loop, a->fd);
            a->fd = -1;
        }
    }
}

/* *@winner: NULL: all have failed. */
static int race(plan *p, int64_t delay_ns, attempt **winner)
{
    size_t started = 0;
    int rc = run_race(p, delay_ns, &started);
    *winner = rc == 0 ? find_winner(p, started) : NULL;
    coil_error *error = coil_catch(rc);
    rc = end_race(p, started);
    close_losers(p, rc == 0 && !error ? *winner : NULL);
    if (error)
        coil_error_release(coil_catch(rc));
    return error ? coil_raise_error(error) : rc;
}

static int try_in_order(plan *p, attempt **winner)
{
    *winner = NULL;
    for (size_t i = 0; i < p->count && !*winner; i++) {
        int rc = try_address(&p->attempts[i]);
        if (rc == 0)
            *winner = &p->attempts[i];
        else if (!is_local(rc))
            return rc;
    }
    return 0;
}

/* --- errors ----------------------------------------------------------------------------------------------------- */

/* The next error of all attempts, in their order; NULL behind the last. */
static coil_error *next_error(const plan *p, size_t *attempt_index, size_t *index)
{
    while (*attempt_index < p->count && *index == p->attempts[*attempt_index].error_count) {
        ++*attempt_index;
        *index = 0;
    }
    return *attempt_index < p->count ? p->attempts[*attempt_index].errors[(*index)++] : NULL;
}

static bool all_alike(const plan *p)
{
    size_t i = 0, j = 0;
    const coil_error *first = next_error(p, &i, &j);
    for (const coil_error *e = first; e; e = next_error(p, &i, &j))
        if (coil_error_code(e) != coil_error_code(first) ||
            strcmp(coil_error_message(e), coil_error_message(first)) != 0)
            return false;
    return true;
}

/* All messages with commas between them; NULL without memory. */
static char *join_messages(const plan *p, int *code)
{
    size_t bytes = 1, i = 0, j = 0;
    for (const coil_error *e; (e = next_error(p, &i, &j));)
        bytes += strlen(coil_error_message(e)) + 2;
    char *text = coil__malloc(bytes), *end = text;
    i = j = 0;
    for (const coil_error *e; text && (e = next_error(p, &i, &j)); *code = coil_error_code(e))
        end += sprintf(end, "%s%s", end == text ? "" : ", ", coil_error_message(e));
    return text;
}

static int raise_combined(const plan *p)
{
    size_t i = 0, j = 0;
    int code = -ENOMEM;
    if (all_alike(p))
        return coil_raise_error(coil_error_retain(next_error(p, &i, &j)));
    char *text = join_messages(p, &code);
    int rc = text ? coil_raise(code, "Multiple exceptions: %s", text) : coil_raise(-ENOMEM, NULL);
    coil__free(text);
    return rc;
}

/* --- plans ------------------------------------------------------------------------------------------------------ */

/* The first address at or behind @a that has no attempt yet; of the family, if one is given. */
static const struct addrinfo *next_unplanned(const plan *p, size_t planned, const struct addrinfo *a, int family)
{
    for (; a; a = a->ai_next) {
        bool taken = family != AF_UNSPEC && a->ai_family != family;
        for (size_t i = 0; i < planned && !taken; i++)
            taken = p->attempts[i].target == a;
        if (!taken)
            return a;
    }
    return NULL;
}

static bool family_seen(const struct addrinfo *list, const struct addrinfo *end)
{
    for (; list != end; list = list->ai_next)
        if (list->ai_family == end->ai_family)
            return true;
    return false;
}

/*
 * Gives each attempt its address: @first - 1 of the first family, then one of each family in turn, families in the
 * order in which they come first. 0: as they come. Quadratic, since names have few addresses.
 */
static void order_targets(plan *p, size_t first)
{
    size_t n = 0;
    const struct addrinfo *a;
    int family = first > 0 ? p->targets->ai_family : AF_UNSPEC;
    size_t ahead = first > 0 ? first - 1 : p->count;
    while (n < ahead && (a = next_unplanned(p, n, p->targets, family)))
        p->attempts[n++].target = a;
    while (n < p->count) {
        for (const struct addrinfo *f = p->targets; f; f = f->ai_next) {
            if (!family_seen(p->targets, f) && (a = next_unplanned(p, n, p->targets, f->ai_family)))
                p->attempts[n++].target = a;
        }
    }
}

static int make_attempts(plan *p, size_t first)
{
    size_t errors = coil__addresses_count(p->locals) + 1;
    p->count = coil__addresses_count(p->targets);
    p->attempts = coil__calloc(p->count * sizeof *p->attempts);
    p->running = coil__calloc(p->count * sizeof(coil_future *));
    if (!p->attempts || !p->running)
        return coil_raise(-ENOMEM, NULL);
    for (size_t i = 0; i < p->count; i++) {
        attempt *a = &p->attempts[i];
        a->plan = p;
        a->fd = -1;
        a->errors = coil__calloc(errors * sizeof(coil_error *));
        if (!a->errors)
            return coil_raise(-ENOMEM, NULL);
    }
    order_targets(p, first);
    return 0;
}

static void free_attempt(attempt *a)
{
    for (size_t i = 0; i < a->error_count; i++)
        coil_error_release(a->errors[i]);
    coil__free(a->errors);
    coil_release(a->task);
}

static void free_plan(plan *p)
{
    for (size_t i = 0; p->attempts && i < p->count; i++)
        free_attempt(&p->attempts[i]);
    coil__free(p->attempts);
    coil__free(p->running);
    if (p->targets)
        freeaddrinfo(p->targets);
    if (p->locals)
        freeaddrinfo(p->locals);
}

static int run_plan(plan *p, const coil_connect_options *o, int *fd)
{
    bool eyeballs = o->happy_eyeballs_delay_ns > 0;
    attempt *winner;
    COIL_TRY(make_attempts(p, o->interleave > 0 ? (size_t)o->interleave : eyeballs && o->interleave == 0));
    COIL_TRY(eyeballs ? race(p, o->happy_eyeballs_delay_ns, &winner) : try_in_order(p, &winner));
    if (!winner)
        return raise_combined(p);
    int rc = coil_sock_set_options(winner->fd, &o->socket);
    if (rc < 0)
        coil__fd_close(p->loop, winner->fd);
    else
        *fd = winner->fd;
    return rc;
}

/* --- outside ---------------------------------------------------------------------------------------------------- */

int coil__connect_options(const coil_connect_options *options, coil_connect_options *o)
{
    *o = (coil_connect_options){.size = sizeof *o};
    if (options && options->size != sizeof *o)
        return coil_raise(-EINVAL, "coil_connect_options.size is %zu, not %zu", options->size, sizeof *o);
    if (options)
        *o = *options;
    if (o->family != AF_UNSPEC && o->family != AF_INET && o->family != AF_INET6)
        return coil_raise(-EINVAL, "unexpected address family");
    if (o->happy_eyeballs_delay_ns < 0)
        return coil_raise(-EINVAL, "a delay that is negative");
    if (o->limit_bytes > SSIZE_MAX)
        return coil_raise(-EINVAL, "Limit cannot be <= 0");
    if (o->limit_bytes == 0)
        o->limit_bytes = COIL_STREAM_LIMIT;
    return 0;
}

int coil__connect(coil_loop *loop, const char *host, const char *port, const coil_connect_options *o, int *fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = o->family};
    plan p = {.loop = loop};
    if (!host && !port)
        return coil_raise(-EINVAL, "host and port was not specified and no sock specified");
    COIL_TRY(coil__resolve(loop, host, port, &hints, &p.targets));
    int rc = 0;
    if (o->local_host || o->local_port)
        rc = coil__resolve(loop, o->local_host, o->local_port, &hints, &p.locals);
    if (rc == 0)
        rc = run_plan(&p, o, fd);
    free_plan(&p);
    return rc;
}

int coil__connect_unix(coil_loop *loop, const char *path, const coil_connect_options *o, int *fd)
{
    coil_address address;
    COIL_TRY(coil_address_of_path(path, &address));
    int s = coil__sock_open(AF_UNIX, SOCK_STREAM, 0);
    if (s < 0)
        return coil__sock_raise(s, "socket");
    int rc = coil__sock_connect(loop, s, &address);
    if (rc == 0)
        rc = coil_sock_set_options(s, &o->socket);
    if (rc < 0)
        coil__fd_close(loop, s);
    else
        *fd = s;
    return rc;
}

/* What a descriptor is, in a message. */
static const char *kind_of_socket(int type)
{
    static const char *const names[] = {"no socket", [SOCK_STREAM] = "SOCK_STREAM", [SOCK_DGRAM] = "SOCK_DGRAM",
                                        [SOCK_RAW] = "SOCK_RAW", [SOCK_SEQPACKET] = "SOCK_SEQPACKET"};
    bool known = type >= 0 && (size_t)type < sizeof names / sizeof *names && names[type];
    return known ? names[type] : "another kind of socket";
}

int coil__adopt_socket(int fd, int type, const char *what)
{
    int is = 0;
    socklen_t size = sizeof is;
    int rc = getsockopt(fd, SOL_SOCKET, SO_TYPE, &is, &size) < 0 ? -errno : 0;
    if (rc < 0 && rc != -ENOTSOCK)
        return coil__sock_raise(rc, what);
    if (is != type)
        return coil_raise(-EINVAL, "A %s was expected, got descriptor %d (%s)", what, fd, kind_of_socket(is));
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return coil__sock_raise(-errno, what);
    return 0;
}
