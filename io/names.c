/*
 * names.c - host names to addresses, without blocking the loop
 *
 * getaddrinfo() of a name may take seconds, so it is a job for the loop's default executor. Its future is nobody's
 * to cancel: a callback of it resolves another one, which the task waits for. So a task that is cancelled leaves at
 * once, and a job that was submitted runs, although it may find that nobody wants to know any more.
 *
 * I1 refs: the task's, the job's, and the callback's, which runs or is discarded once the job's future exists
 * I2 the job writes what it has found before it ends; the task reads it after its future was resolved
 *
 * Source: asyncio.base_events.getaddrinfo.
 */
#include "sock.h"

#include <coil/errno.h>
#include <coil/executor.h>
#include <netdb.h>
#include <stdlib.h>

#include "../src/base/alloc.h"
#include "../src/base/atomic.h"
#include "../src/future.h"
#include "../src/sync.h"

typedef struct lookup {
    coil__handle handle; /* the callback */
    coil_future *future; /* what the task waits for; one reference is the task's, one the callback's */
    char *host, *port;   /* owned */
    struct addrinfo hints;
    struct addrinfo *list; /* owned, after success */
    int error;             /* getaddrinfo's */
    int error_code;        /* -errno with EAI_SYSTEM */
    _Atomic bool unwanted; /* [NAME-2] relaxed: a hint */
    _Atomic uint32_t refs; /* I1 */
} lookup;

static void release(lookup *l)
{
    if (fetch_sub_acq_rel(&l->refs, 1) != 1) /* [NAME-1] acq_rel: all use is over before the last one frees it */
        return;
    if (l->list)
        freeaddrinfo(l->list);
    coil__free(l->host);
    coil__free(l->port);
    coil__free(l);
}

/* The callback's part is over. */
static void leave(lookup *l)
{
    coil_release(l->future);
    release(l);
}

static void run_found(coil__handle *h)
{
    lookup *l = coil_container_of(h, lookup, handle);
    (void)coil__future_finish(l->future, NULL, NULL); /* not if it was cancelled */
    leave(l);
}

static void discard_found(coil__handle *h)
{
    leave(coil_container_of(h, lookup, handle));
}

static const coil__handle_ops found_ops = {run_found, discard_found, "getaddrinfo"};

/* The job. It never raises. */
static int look_up(void *arg, void **result)
{
    lookup *l = arg;
    (void)result;
    if (!load_relaxed(&l->unwanted)) { /* [NAME-2] */
        l->error = getaddrinfo(l->host, l->port, &l->hints, &l->list);
        l->error_code = l->error == EAI_SYSTEM ? -errno : 0;
    }
    release(l); /* I1 */
    return 0;
}

static lookup *new_lookup(coil_loop *loop, const char *host, const char *port, const struct addrinfo *hints)
{
    lookup *l = coil__calloc(sizeof *l);
    if (!l)
        return NULL;
    coil__handle_init(&l->handle, &found_ops);
    store_relaxed(&l->refs, 1); /* [NAME-1] not shared yet */
    l->hints = *hints;
    l->host = coil__strdup(host);
    l->port = port ? coil__strdup(port) : NULL;
    l->future = l->host && (!port || l->port) ? coil__future_new(loop) : NULL;
    if (l->future)
        return l;
    release(l);
    return NULL;
}

static int raise_lookup(const char *host, int error, int code)
{
    if (error == EAI_SYSTEM && code < 0)
        return coil_raise(code, "%s: %s", host, coil_strerror(code));
    if (error == EAI_MEMORY)
        return coil_raise(-ENOMEM, NULL);
    return coil_raise(-EINVAL, "%s: %s", host, gai_strerror(error));
}

/* Submits the job. The callback's and the job's references are theirs from then on. */
static int start_job(coil_loop *loop, lookup *l)
{
    coil_future *job;
    fetch_add_relaxed(&l->refs, 2); /* [NAME-1] relaxed: the caller has one */
    coil_retain(l->future);
    int rc = coil_loop_run_in_executor(loop, NULL, look_up, l, &job);
    if (rc < 0) {
        coil_release(l->future);
        store_relaxed(&l->refs, 1); /* [NAME-1] nobody else has come to know it */
        return rc;
    }
    rc = coil__future_add_handle(job, &l->handle);
    coil_release(job); /* the executor's part of coil has references as long as it needs it */
    return rc;
}

/* The task's part. */
static int await_lookup(lookup *l, const char *host, struct addrinfo **list)
{
    int rc = coil_await(l->future, NULL);
    if (rc < 0) {
        store_relaxed(&l->unwanted, true); /* [NAME-2] */
        return rc;
    }
    if (l->error)
        return raise_lookup(host, l->error, l->error_code);
    *list = l->list; /* I2 */
    l->list = NULL;
    return 0;
}

static int resolve_name(coil_loop *loop, const char *host, const char *port, const struct addrinfo *hints,
                        struct addrinfo **list)
{
    lookup *l = new_lookup(loop, host, port, hints);
    if (!l)
        return coil_raise(-ENOMEM, NULL);
    coil_future *future = l->future;
    int rc = start_job(loop, l);
    if (rc == 0)
        rc = await_lookup(l, host, list);
    coil_release(future);
    release(l);
    return rc;
}

/* getaddrinfo() takes a number of any size and keeps 16 bits of it. */
static int check_port(const char *port)
{
    char *end;
    errno = 0;
    long number = strtol(port, &end, 10);
    if (end == port || *end)
        return 0; /* a service's name */
    if (errno == ERANGE || number < 0 || number > 65535)
        return coil_raise(-EINVAL, "port %s is out of range (0 to 65535)", port);
    return 0;
}

int coil__resolve(coil_loop *loop, const char *host, const char *port, bool passive, struct addrinfo **list)
{
    COIL_TRY(coil__task_needed());
    COIL_TRY(check_port(port));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo numeric = hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    if (host && !*host)
        host = NULL;
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, port, &numeric, &found);
    int code = error == EAI_SYSTEM ? -errno : 0;
    if (error == EAI_NONAME && host)
        return resolve_name(loop, host, port, &hints, list);
    if (error)
        return raise_lookup(host ? host : "*", error, code);
    *list = found;
    return 0;
}
