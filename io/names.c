/*
 * names.c - host names to addresses, without blocking the loop
 *
 * getaddrinfo() of a name may take seconds, so a thread of its own makes the call and posts a handle to the
 * loop. The task waits on a future meanwhile.
 *
 * Who frees a lookup, decided under its lock:
 *
 *   the task gave up   the thread has posted   freed by
 *   no                 (must have)             the task, after the handle has run or was discarded
 *   yes                no                      the thread, which then never touches the loop again
 *   yes                yes                     the handle
 *
 * I1 the thread posts only while the task has not given up, so that the loop, which the task's future holds, is there
 */
#include "sock.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/alloc.h"
#include "../src/future.h"
#include "../src/loop.h"
#include "../src/sync.h"

typedef struct lookup {
    coil__handle handle;
    coil_loop *loop;
    coil_future *future; /* owned by the task */
    char *host, *port;   /* owned */
    struct addrinfo hints;
    struct addrinfo *list; /* owned, after success */
    int error;             /* getaddrinfo's */
    int error_code;        /* -errno with EAI_SYSTEM */
    bool delivered;        /* the handle has run or was discarded */
    pthread_mutex_t lock;
    bool posted, abandoned; /* under the lock */
} lookup;

static void free_lookup(lookup *l)
{
    if (l->list)
        freeaddrinfo(l->list);
    pthread_mutex_destroy(&l->lock);
    coil__free(l->host);
    coil__free(l->port);
    coil__free(l);
}

/* True if the task still waits for the lookup. */
static bool deliver(lookup *l)
{
    pthread_mutex_lock(&l->lock); /* the thread has unlocked it after posting, or is about to */
    bool abandoned = l->abandoned;
    pthread_mutex_unlock(&l->lock);
    l->delivered = true;
    if (abandoned)
        free_lookup(l);
    return !abandoned;
}

static void run_lookup(coil__handle *h)
{
    lookup *l = coil_container_of(h, lookup, handle);
    if (deliver(l) && l->future->state == COIL__PENDING)
        (void)coil__future_finish(l->future, NULL, NULL);
}

static void discard_lookup(coil__handle *h)
{
    (void)deliver(coil_container_of(h, lookup, handle));
}

static const coil__handle_ops lookup_ops = {run_lookup, discard_lookup, "getaddrinfo"};

static void *lookup_thread(void *arg)
{
    lookup *l = arg;
    l->error = getaddrinfo(l->host, l->port, &l->hints, &l->list);
    l->error_code = l->error == EAI_SYSTEM ? -errno : 0;
    pthread_mutex_lock(&l->lock);
    bool abandoned = l->abandoned;
    if (!abandoned) {
        l->posted = true;
        coil__loop_post(l->loop, &l->handle); /* I1 */
    }
    pthread_mutex_unlock(&l->lock);
    if (abandoned)
        free_lookup(l);
    return NULL;
}

/* A detached thread that takes no signals: they are for the program's own. */
static int start_thread(lookup *l)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, lookup_thread, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static lookup *new_lookup(coil_loop *loop, const char *host, const char *port, const struct addrinfo *hints)
{
    lookup *l = coil__calloc(sizeof *l);
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    coil__handle_init(&l->handle, &lookup_ops);
    l->loop = loop;
    l->hints = *hints;
    l->host = coil__strdup(host);
    l->port = port ? coil__strdup(port) : NULL;
    if (!l->host || (port && !l->port)) {
        free_lookup(l);
        return NULL;
    }
    return l;
}

/* The task's part after it has waited: frees @l, or leaves it to the thread or the handle. */
static void give_up(lookup *l)
{
    pthread_mutex_lock(&l->lock);
    l->abandoned = true;
    pthread_mutex_unlock(&l->lock); /* from here on @l may be freed */
}

static int raise_lookup(const char *host, int error, int code)
{
    if (error == EAI_SYSTEM && code < 0)
        return coil_raise(code, "%s: %s", host, coil_strerror(code));
    if (error == EAI_MEMORY)
        return coil_raise(-ENOMEM, NULL);
    return coil_raise(-EINVAL, "%s: %s", host, gai_strerror(error));
}

static int await_lookup(lookup *l, const char *host, struct addrinfo **list)
{
    coil_future *future = l->future;
    int rc = coil_await(future, NULL);
    if (!l->delivered) {
        give_up(l);
        coil_release(future);
        return rc;
    }
    if (rc == 0 && l->error)
        rc = raise_lookup(host, l->error, l->error_code);
    if (rc == 0) {
        *list = l->list;
        l->list = NULL;
    }
    free_lookup(l);
    coil_release(future);
    return rc;
}

static int resolve_name(coil_loop *loop, const char *host, const char *port, const struct addrinfo *hints,
                        struct addrinfo **list)
{
    lookup *l = new_lookup(loop, host, port, hints);
    coil_future *future = l ? coil__future_new(loop) : NULL;
    int rc = future ? 0 : -ENOMEM;
    if (future) {
        l->future = future;
        rc = start_thread(l);
    }
    if (rc == 0)
        return await_lookup(l, host, list);
    if (l)
        free_lookup(l);
    if (future)
        coil_release(future);
    return coil_raise(rc, "%s: no thread to resolve it: %s", host, coil_strerror(rc));
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
