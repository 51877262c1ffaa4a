/*
 * handle.c - what call_soon, call_later and call_at return: a callback that can be cancelled
 *
 * A coil_handle has one reference of the loop, from the call until it ran, was discarded or left the heap, and one of the
 * caller, if that asked for it. Source: asyncio.events.Handle.
 *
 * I1 a handle in the heap or the ready queue holds the loop's reference
 */
#include "handle.h"

#include "base/alloc.h"
#include "base/atomic.h"
#include "context.h"
#include "error.h"
#include "timer.h"

struct coil_handle {
    coil__timer timer; /* armed for call_later and call_at only */
    coil_callback *fn;
    void *arg;
    coil_loop *loop; /* held (coil__loop_hold) for timers, since cancel needs it */
    _Atomic uint32_t refs;
    bool is_timer;
    _Atomic bool cancelled; /* [HANDLE-2] relaxed: who cancels while it begins to run elsewhere is too late either way */
};

/* [HANDLE-1] The caller's reference may go on another thread than the loop's (call_soon_threadsafe). acq_rel: all use is over. */
static void release(coil_handle *h)
{
    if (fetch_sub_acq_rel(&h->refs, 1) != 1)
        return;
    coil_context_release(h->timer.handle.context);
    if (h->is_timer)
        coil__loop_unhold(h->loop);
    coil__object_free(h, sizeof *h);
}

static void handle_run(coil__handle *base)
{
    coil_handle *h = coil_container_of(base, coil_handle, timer.handle);
    coil_loop *loop = h->loop;
    if (!load_relaxed(&h->cancelled)) { /* [HANDLE-2] */
        int rc = h->fn(h->arg);
        if (coil_unlikely(rc < 0))
            coil__loop_report_callback(loop, rc);
    }
    release(h); /* I1 */
}

static void handle_discard(coil__handle *base)
{
    release(coil_container_of(base, coil_handle, timer.handle)); /* I1 */
}

static const coil__handle_ops handle_ops = {handle_run, handle_discard, "callback"};

coil_callback *coil__handle_callback(const coil__handle *base)
{
    return base->ops == &handle_ops ? coil_container_of(base, const coil_handle, timer.handle)->fn : NULL;
}

static int make(coil_loop *loop, coil_context *context, coil_callback *fn, void *arg, bool shared, coil_handle **handle)
{
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    int rc = 0;
    coil_context *own = coil__context_for(context, &rc);
    COIL_TRY(rc);
    coil_handle *h = coil__object_alloc(sizeof *h);
    if (!h) {
        coil_context_release(own);
        return coil_raise(-ENOMEM, NULL);
    }
    coil__timer_init(&h->timer, &handle_ops);
    h->timer.handle.context = own;
    h->fn = fn;
    h->arg = arg;
    h->loop = loop;
    store_relaxed(&h->refs, shared ? 2 : 1); /* [HANDLE-1] not shared yet */
    h->is_timer = false;
    store_relaxed(&h->cancelled, false);
    *handle = h;
    return 0;
}

/* Debug mode: these calls belong to the thread that runs the loop. */
static int check_thread(const coil_loop *loop)
{
    if (coil_likely(!load_relaxed(&loop->debug)) || !coil_loop_is_running(loop) || coil__loop_is_here(loop)) /* [SET-1] */
        return 0;
    return coil_raise(COIL_ERUNTIME,
                      "Non-thread-safe operation invoked on an event loop other than the current one");
}

int coil_loop_call_soon_in(coil_loop *loop, coil_context *context, coil_callback *fn, void *arg, coil_handle **handle)
{
    coil_handle *h = NULL;
    COIL_TRY(check_thread(loop));
    COIL_TRY(make(loop, context, fn, arg, handle != NULL, &h));
    if (handle)
        *handle = h;
    coil__loop_ready(loop, &h->timer.handle);
    return 0;
}

int coil_loop_call_soon(coil_loop *loop, coil_callback *fn, void *arg, coil_handle **handle)
{
    return coil_loop_call_soon_in(loop, NULL, fn, arg, handle);
}

int coil_loop_call_soon_threadsafe_in(coil_loop *loop, coil_context *context, coil_callback *fn, void *arg,
                                      coil_handle **handle)
{
    coil_handle *h = NULL;
    COIL_TRY(make(loop, context, fn, arg, handle != NULL, &h));
    if (handle)
        *handle = h;
    if (coil__loop_is_here(loop))
        coil__loop_ready(loop, &h->timer.handle); /* its own thread: in line with call_soon */
    else
        coil__loop_post(loop, &h->timer.handle);
    return 0;
}

int coil_loop_call_soon_threadsafe(coil_loop *loop, coil_callback *fn, void *arg, coil_handle **handle)
{
    return coil_loop_call_soon_threadsafe_in(loop, NULL, fn, arg, handle);
}

int coil_loop_call_at_in(coil_loop *loop, coil_context *context, int64_t when_ns, coil_callback *fn, void *arg,
                         coil_handle **handle)
{
    coil_handle *h = NULL;
    COIL_TRY(check_thread(loop));
    COIL_TRY(make(loop, context, fn, arg, handle != NULL, &h));
    if (coil__timer_arm(loop, &h->timer, when_ns) < 0) {
        if (handle)
            release(h);
        release(h);
        return coil_raise(-ENOMEM, NULL);
    }
    h->is_timer = true;
    coil__loop_hold(loop);
    if (handle)
        *handle = h;
    return 0;
}

int coil_loop_call_at(coil_loop *loop, int64_t when_ns, coil_callback *fn, void *arg, coil_handle **handle)
{
    return coil_loop_call_at_in(loop, NULL, when_ns, fn, arg, handle);
}

int coil_loop_call_later_in(coil_loop *loop, coil_context *context, int64_t delay_ns, coil_callback *fn, void *arg,
                            coil_handle **handle)
{
    return coil_loop_call_at_in(loop, context, coil__deadline(loop, delay_ns), fn, arg, handle);
}

int coil_loop_call_later(coil_loop *loop, int64_t delay_ns, coil_callback *fn, void *arg, coil_handle **handle)
{
    return coil_loop_call_later_in(loop, NULL, delay_ns, fn, arg, handle);
}

void coil_handle_cancel(coil_handle *h)
{
    store_relaxed(&h->cancelled, true); /* [HANDLE-2] */
    if (h->is_timer && coil__timer_disarm(h->loop, &h->timer))
        release(h); /* I1 */
}

bool coil_handle_cancelled(const coil_handle *h)
{
    return load_relaxed(&h->cancelled); /* [HANDLE-2] */
}

int64_t coil_handle_when(const coil_handle *h)
{
    return h->is_timer ? h->timer.slot.when : -1;
}

void coil_handle_release(coil_handle *h)
{
    if (h)
        release(h);
}
