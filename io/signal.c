/*
 * signal.c - Unix signals: from the C handler, on whichever thread, to a callback on the loop
 *
 * There is one slot for each signal. The C handler, which may interrupt anything on any thread, finds the slot's
 * watch and posts its handle, which takes no lock (coil__loop_post). All else happens under `mutex`, on any thread.
 *
 * who changes a slot's watch                     C handler
 * store the new watch                            [SIG-1] RMW inside + 1
 * [SIG-1] RMW inside + 0, until it is 0          load the watch, use it
 * the old watch, and its loop, may go            [SIG-1] RMW inside - 1
 *
 * Both first RMWs (acq_rel) hit one word. The handler's first: the other side waits for it. The other's first: the
 * handler sees the new watch.
 *
 * I1 a slot with a watch has our handler installed, unless the program has put another one over it since
 * I2 a watch whose handle is posted stays in memory until that has run or was discarded
 *
 * Source: asyncio.unix_events of CPython 3.11, signal-safety(7).
 */
#define _GNU_SOURCE /* gettid */
#include "../src/signals.h"

#include <coil/errno.h>
#include <coil/signal.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "disposition.h"
#include "terminal.h"

#include "../src/base/alloc.h"
#include "../src/context.h"
#include "../src/error.h"
#include "../src/loop.h"

struct slot {
    _Atomic(coil__signal_watch *) watch; /* borrowed */
    _Atomic uint32_t inside;             /* handlers that run */
    struct sigaction before;             /* what was done on the signal before */
};

static struct slot slots[_NSIG];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the watches of all slots, and what they point to */

/* --- the C handler ---------------------------------------------------------------------------------------------- */

/* The second Ctrl-C does not wait for the main task, the third for nothing. */
static void interrupt_again(coil__signal_watch *w)
{
    (void)sigaction(w->number, &slots[w->number].before, NULL);
    coil_loop_stop(w->loop);
}

static void arrive(coil__signal_watch *w)
{
    uint32_t before = fetch_add_relaxed(&w->arrivals, 1); /* [SIG-3] */
    if (w->interrupts && before > 0)
        interrupt_again(w);
    /* [SIG-2] acq_rel: the callback, by coil__signal_begin(), sees what was there before the signal that causes it */
    if (!exchange_acq_rel(&w->posted, true))
        coil__loop_post(w->loop, &w->handle);
}

static void on_signal(int number)
{
    int saved = errno;
    struct slot *s = &slots[number];
    fetch_add_acq_rel(&s->inside, 1);                /* [SIG-1] */
    coil__signal_watch *w = load_acquire(&s->watch); /* [SIG-1] acquire: what it points to */
    if (w)
        arrive(w);
    fetch_sub_acq_rel(&s->inside, 1); /* [SIG-1] */
    errno = saved;
}

/* --- slots, under the mutex ------------------------------------------------------------------------------------- */

static coil__signal_watch *watch_of(int number)
{
    return load_acquire(&slots[number].watch); /* [SIG-1] under the mutex */
}

/* Nobody uses the watch before any more when this returns. */
static void set_watch(struct slot *s, coil__signal_watch *w)
{
    store_release(&s->watch, w);                  /* [SIG-1] release: the watch's contents */
    while (fetch_add_acq_rel(&s->inside, 0) != 0) /* [SIG-1] */
        sched_yield();
}

static bool is_ours(int number)
{
    return coil__signal_does(number, on_signal);
}

static int install(coil__signal_watch *w)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    struct slot *s = &slots[w->number];
    bool first = !watch_of(w->number);
    sigemptyset(&action.sa_mask);
    if (first && sigaction(w->number, NULL, &s->before) < 0)
        return -errno;
    set_watch(s, w); /* before the handler, which needs it */
    if (is_ours(w->number) || sigaction(w->number, &action, NULL) == 0)
        return 0;
    int rc = -errno;
    set_watch(s, NULL);
    return rc;
}

static void uninstall(int number)
{
    if (is_ours(number)) /* I1 */
        (void)sigaction(number, &slots[number].before, NULL);
    set_watch(&slots[number], NULL);
}

void coil__signal_watch_init(coil__signal_watch *w, const coil__handle_ops *ops, coil_loop *loop, int number)
{
    *w = (coil__signal_watch){.loop = loop, .number = number};
    coil__handle_init(&w->handle, ops);
}

void coil__signal_begin(coil__signal_watch *w)
{
    (void)exchange_acq_rel(&w->posted, false); /* [SIG-2] acquire: what was before the signals that this run answers */
}

/* --- handlers of programs --------------------------------------------------------------------------------------- */

struct handler {
    coil__signal_watch watch;
    coil_callback *fn;
    void *arg;
    coil_context *context; /* a reference */
    bool removed;          /* freed when it is not posted any more */
};

static void free_handler(struct handler *h)
{
    coil_context_release(h->context);
    coil__free(h);
}

static struct handler *handler_of(coil__handle *h)
{
    return coil_container_of(h, struct handler, watch.handle);
}

static void run_handler(coil__handle *handle)
{
    struct handler *h = handler_of(handle);
    pthread_mutex_lock(&mutex);
    coil__signal_begin(&h->watch);
    struct handler now = {.fn = h->fn, .arg = h->arg, .removed = h->removed};
    coil_loop *loop = h->watch.loop; /* the handler may be removed while it runs */
    if (!now.removed)
        coil__current()->context = coil_context_retain(h->context); /* whoever runs handles releases it */
    pthread_mutex_unlock(&mutex);
    if (now.removed) {
        free_handler(h);
        return;
    }
    int rc = now.fn(now.arg);
    if (rc < 0)
        coil__loop_report_callback(loop, rc);
}

/* The loop is closed, so that the handler has been removed. */
static void discard_handler(coil__handle *handle)
{
    free_handler(handler_of(handle));
}

static const coil__handle_ops handler_ops = {run_handler, discard_handler, "signal handler"};

/* The handler of @loop for the signal; NULL without one. Under the mutex. */
static struct handler *handler_for(const coil_loop *loop, int number)
{
    coil__signal_watch *w = watch_of(number);
    return w && !w->interrupts && w->loop == loop ? handler_of(&w->handle) : NULL;
}

/* Under the mutex. Returns what is to be freed after it. */
static struct handler *remove_handler(struct handler *h)
{
    uninstall(h->watch.number);
    h->removed = true;
    return load_acquire(&h->watch.posted) ? NULL : h; /* [SIG-2] acquire; I2: else its run or discard frees it */
}

static int check_number(int number)
{
    sigset_t all;
    sigfillset(&all); /* without those that the C library keeps for itself */
    if (number <= 0 || number >= _NSIG || sigismember(&all, number) != 1)
        return coil_raise(-EINVAL, "invalid signal number %d", number);
    return 0;
}

static int new_handler(coil_loop *loop, int number, struct handler **handler)
{
    int rc = 0;
    struct handler *h = coil__calloc(sizeof *h);
    if (!h)
        return coil_raise(-ENOMEM, NULL);
    h->context = coil__context_for(NULL, &rc);
    if (rc < 0) {
        coil__free(h);
        return rc;
    }
    coil__signal_watch_init(&h->watch, &handler_ops, loop, number);
    *handler = h;
    return 0;
}

/* The place of @h in the loop: that of the handler before, or a new one. Under the mutex; codes are not raised. */
static int place_handler(struct handler *h, struct handler **unused)
{
    coil__signal_watch *w = watch_of(h->watch.number);
    struct handler *old = handler_for(h->watch.loop, h->watch.number);
    if (coil__loop_closed(h->watch.loop))
        return COIL_ELOOPCLOSED;
    if (w && !w->interrupts && !old)
        return COIL_EBUSY;
    if (!old) {
        *unused = NULL;
        return install(&h->watch);
    }
    coil_context *context = old->context;
    old->fn = h->fn;
    old->arg = h->arg;
    old->context = h->context;
    h->context = context;
    return is_ours(h->watch.number) ? 0 : install(&old->watch); /* I1: over the program's own, as asyncio does */
}

static int raise_refusal(int rc, int number)
{
    switch (rc) {
    case 0:
        return 0;
    case COIL_ELOOPCLOSED:
        return coil_raise(rc, "Event loop is closed");
    case COIL_EBUSY:
        return coil_raise(rc, "sig %d is handled by another event loop", number);
    default:
        return coil_raise(COIL_ERUNTIME, "sig %d cannot be caught", number);
    }
}

int coil_loop_add_signal_handler(coil_loop *loop, int signal, coil_callback *fn, void *arg)
{
    struct handler *h = NULL;
    COIL_TRY(check_number(signal));
    COIL_TRY(new_handler(loop, signal, &h));
    h->fn = fn;
    h->arg = arg;
    struct handler *unused = h;
    pthread_mutex_lock(&mutex);
    int rc = place_handler(h, &unused);
    pthread_mutex_unlock(&mutex);
    if (rc < 0)
        unused = h;
    if (unused)
        free_handler(unused);
    return raise_refusal(rc, signal);
}

/* Whether there was one. */
static bool remove_from(const coil_loop *loop, int number)
{
    pthread_mutex_lock(&mutex);
    struct handler *h = handler_for(loop, number), *unused = h ? remove_handler(h) : NULL;
    pthread_mutex_unlock(&mutex);
    if (unused)
        free_handler(unused);
    return h != NULL;
}

int coil_loop_remove_signal_handler(coil_loop *loop, int signal)
{
    COIL_TRY(check_number(signal));
    return remove_from(loop, signal);
}

void coil__signals_close(coil_loop *loop)
{
    for (int number = 1; number < _NSIG; number++)
        (void)remove_from(loop, number);
}

/* --- SIGINT of runners ------------------------------------------------------------------------------------------ */

static bool is_default(const struct sigaction *a)
{
    return !(a->sa_flags & SA_SIGINFO) && (a->sa_handler == SIG_DFL || a->sa_handler == coil__terminal_rescue);
}

void coil__interrupt_watch(coil__signal_watch *w)
{
    struct sigaction now;
    w->interrupts = true;
    store_relaxed(&w->arrivals, 0); /* [SIG-3] nobody else knows it yet */
    if (gettid() != getpid())
        return;
    pthread_mutex_lock(&mutex);
    if (!watch_of(SIGINT) && sigaction(SIGINT, NULL, &now) == 0 && is_default(&now))
        (void)install(w); /* cannot fail, and Ctrl-C would then do what it does without coil */
    pthread_mutex_unlock(&mutex);
}

void coil__interrupt_unwatch(coil__signal_watch *w)
{
    pthread_mutex_lock(&mutex);
    if (watch_of(SIGINT) == w)
        uninstall(SIGINT);
    pthread_mutex_unlock(&mutex);
}

void coil__interrupt_die(void)
{
    (void)signal(SIGINT, SIG_DFL);
    (void)raise(SIGINT);
}
