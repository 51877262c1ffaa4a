/*
 * names.c - host names to addresses and back, without blocking the loop
 *
 * getaddrinfo() of a name may take seconds, and so may getnameinfo(); so each is a job for the loop's default
 * executor. Its future is nobody's to cancel: a callback of it resolves another one, which the task waits for. So a
 * task that is cancelled leaves at once, and a job that was submitted runs, although it may find that nobody wants to
 * know any more.
 *
 * I1 refs: the task's, the job's, and the callback's, which runs or is discarded once the job's future exists
 * I2 the job writes what it has found before it ends; the task reads it after its future was resolved
 *
 * Source: asyncio.base_events' getaddrinfo and getnameinfo.
 */
#include "sock.h"

#include <coil/errno.h>
#include <coil/executor.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/alloc.h"
#include "../src/base/atomic.h"
#include "../src/future.h"
#include "../src/sync.h"

typedef struct lookup {
    coil__handle handle; /* the callback */
    coil_future *future; /* what the task waits for; one reference is the task's, one the callback's */
    int (*call)(struct lookup *);
    int error;             /* the call's */
    int error_code;        /* -errno with EAI_SYSTEM */
    _Atomic bool unwanted; /* [NAME-2] relaxed: a hint */
    _Atomic uint32_t refs; /* I1 */
    union {
        struct {
            char *host, *service; /* owned */
            struct addrinfo hints;
            struct addrinfo *list; /* owned, after success */
        } forward;
        struct {
            coil_address address;
            int flags;
            char *host, *service; /* owned */
            size_t host_size, service_size;
        } back;
    };
} lookup;

static int call_getaddrinfo(lookup *l)
{
    return getaddrinfo(l->forward.host, l->forward.service, &l->forward.hints, &l->forward.list);
}

static int call_getnameinfo(lookup *l)
{
    const coil_address *a = &l->back.address;
    return getnameinfo(&a->any, a->bytes, l->back.host, (socklen_t)l->back.host_size, l->back.service,
                       (socklen_t)l->back.service_size, l->back.flags);
}

static void free_lookup(lookup *l)
{
    bool forward = l->call == call_getaddrinfo;
    if (forward && l->forward.list)
        freeaddrinfo(l->forward.list);
    coil__free(forward ? l->forward.host : l->back.host);
    coil__free(forward ? l->forward.service : l->back.service);
    coil__free(l);
}

static void release(lookup *l)
{
    if (fetch_sub_acq_rel(&l->refs, 1) == 1) /* [NAME-1] acq_rel: all use is over before the last one frees it */
        free_lookup(l);
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

static const coil__handle_ops found_ops = {run_found, discard_found, "look-up of a name"};

/* The job. It never raises. */
static int look_up(void *arg, void **result)
{
    lookup *l = arg;
    (void)result;
    if (!load_relaxed(&l->unwanted)) { /* [NAME-2] */
        l->error = l->call(l);
        l->error_code = l->error == EAI_SYSTEM ? -errno : 0;
    }
    release(l); /* I1 */
    return 0;
}

static lookup *new_lookup(int (*call)(lookup *))
{
    lookup *l = coil__calloc(sizeof *l);
    if (!l)
        return NULL;
    coil__handle_init(&l->handle, &found_ops);
    store_relaxed(&l->refs, 1); /* [NAME-1] not shared yet */
    l->call = call;
    return l;
}

/* @host and @service: what was looked up; each may be NULL. */
static int raise_lookup(const char *host, const char *service, int error, int code)
{
    if (error == EAI_SERVICE && service)
        return coil_raise(-EINVAL, "port %s is neither a number nor a service of this type of socket", service);
    if (!host)
        host = "*";
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

/* The task's part: has the job done, and waits for it. Errors name @host or @service. */
static int look_up_name(coil_loop *loop, lookup *l, const char *host, const char *service)
{
    l->future = coil__future_new(loop);
    if (!l->future)
        return coil_raise(-ENOMEM, NULL);
    int rc = start_job(loop, l);
    if (rc == 0) {
        rc = coil_await(l->future, NULL);
        if (rc < 0)
            store_relaxed(&l->unwanted, true); /* [NAME-2] */
        else if (l->error)
            rc = raise_lookup(host, service, l->error, l->error_code);
    }
    coil_release(l->future);
    return rc;
}

static int copy_names(lookup *l, const char *host, const char *service)
{
    l->forward.host = host ? coil__strdup(host) : NULL;
    l->forward.service = service ? coil__strdup(service) : NULL;
    return (host && !l->forward.host) || (service && !l->forward.service) ? coil_raise(-ENOMEM, NULL) : 0;
}

static int resolve_name(coil_loop *loop, const char *host, const char *service, const struct addrinfo *hints,
                        struct addrinfo **list)
{
    lookup *l = new_lookup(call_getaddrinfo);
    if (!l)
        return coil_raise(-ENOMEM, NULL);
    l->forward.hints = *hints;
    int rc = copy_names(l, host, service);
    if (rc == 0)
        rc = look_up_name(loop, l, host, service);
    if (rc == 0) {
        *list = l->forward.list; /* I2 */
        l->forward.list = NULL;
    }
    release(l);
    return rc;
}

/* getaddrinfo() keeps 16 bits of a number of any size; and where it must be one, the host gets the blame for others. */
static int check_port(const char *port, int flags)
{
    char *end;
    errno = 0;
    long number = strtol(port, &end, 10);
    if (*end && (flags & AI_NUMERICSERV))
        return coil_raise(-EINVAL, "port %s is not a number", port);
    if (end == port || *end)
        return 0; /* a service's name */
    if (errno == ERANGE || number < 0 || number > 65535)
        return coil_raise(-EINVAL, "port %s is out of range (0 to 65535)", port);
    return 0;
}

int coil__resolve(coil_loop *loop, const char *host, const char *port, const struct addrinfo *hints,
                  struct addrinfo **list)
{
    COIL_TRY(coil__task_may_wait());
    if (port)
        COIL_TRY(check_port(port, hints->ai_flags));
    struct addrinfo numeric = *hints, *found = NULL;
    numeric.ai_flags |= AI_NUMERICHOST;
    if (host && !*host)
        host = NULL;
    int error = getaddrinfo(host, port, &numeric, &found);
    int code = error == EAI_SYSTEM ? -errno : 0;
    if (error == EAI_NONAME && host && !(hints->ai_flags & AI_NUMERICHOST))
        return resolve_name(loop, host, port, hints, list);
    if (error)
        return raise_lookup(host, port, error, code);
    *list = found;
    return 0;
}

size_t coil__addresses_count(const struct addrinfo *list)
{
    size_t n = 0;
    for (; list; list = list->ai_next)
        n++;
    return n;
}

int coil_loop_getaddrinfo(coil_loop *loop, const char *host, const char *service, const struct addrinfo *hints,
                          struct addrinfo **list)
{
    static const struct addrinfo none = {.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG}; /* what NULL means there */
    return coil__resolve(loop, host, service, hints ? hints : &none, list);
}

/* --- back to names ---------------------------------------------------------------------------------------------- */

static int new_buffers(lookup *l, size_t host_size, size_t service_size)
{
    l->back.host_size = host_size;
    l->back.service_size = service_size;
    l->back.host = host_size ? coil__calloc(host_size) : NULL;
    l->back.service = service_size ? coil__calloc(service_size) : NULL;
    return (host_size && !l->back.host) || (service_size && !l->back.service) ? coil_raise(-ENOMEM, NULL) : 0;
}

int coil_loop_getnameinfo(coil_loop *loop, const coil_address *address, char *host, size_t host_size, char *service,
                          size_t service_size, int flags)
{
    COIL_TRY(coil__task_may_wait());
    lookup *l = new_lookup(call_getnameinfo);
    if (!l)
        return coil_raise(-ENOMEM, NULL);
    l->back.address = *address;
    l->back.flags = flags;
    int rc = new_buffers(l, host_size, service_size);
    if (rc == 0)
        rc = look_up_name(loop, l, "getnameinfo", NULL);
    if (rc == 0 && host_size)
        memcpy(host, l->back.host, host_size); /* I2 */
    if (rc == 0 && service_size)
        memcpy(service, l->back.service, service_size);
    release(l);
    return rc;
}
