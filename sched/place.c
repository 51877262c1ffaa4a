/*
 * place.c - where a runtime's tasks go when they can run, and what a worker does when none can
 *
 * Implements src/place.h for workers' loops. Called on the workers' threads, but for injected().
 *
 * A task that is made or woken stays with the worker that does it, and one other worker is told, if any sleeps and none searches;
 * but not of the one in `next`, which its worker takes as soon as the step ends. If that lasts, the watchdog tells. Of one that
 * is made others are told at a glance (coil__idle_wants_work), which may just miss a worker that goes to sleep at that moment;
 * when the step ends, announce() looks again, with the fence. So a step that makes many tasks pays for one fence.
 * (Telling only when the queue had been empty is not enough: a thief may have emptied it meanwhile, see tests/model.)
 *
 * I1 to I3: see worker.h
 */
#include "worker.h"

#include "../src/base/clock.h"
#include "../src/step.h"

void coil__runtime_wake_one(coil_runtime *rt)
{
    int worker = coil__idle_pick(&rt->idle);
    if (worker >= 0)
        coil__loop_notify(rt->loops[worker]);
}

/* --- tasks that can run ---------------------------------------------------------------------------------------------------- */

static void spawned(coil_loop *here, coil__task *t)
{
    coil__worker *w = coil__worker_of(here);
    if (coil_unlikely(!coil__deque_push(&w->fresh, &t->step.node))) {
        coil__worker_add(&w->overflows, 1);
        coil__inject_push(&w->runtime->inject, &t->step.node);
    }
    w->unannounced = !here->last; /* callbacks and the like follow each other without announce() */
    if (!w->unannounced || coil_unlikely(coil__idle_wants_work(&w->runtime->idle)))
        coil__runtime_wake_one(w->runtime);
}

/* A step has ended: tells others for certain of what it has made. */
static void announce(coil__worker *w)
{
    if (coil_likely(!w->unannounced))
        return;
    w->unannounced = false;
    if (coil__deque_length(&w->fresh) > 0)
        coil__runtime_wake_one(w->runtime);
}

/* Into `next`; what was there makes room. */
static void woken(coil_loop *here, coil__task *t)
{
    coil__worker *w = coil__worker_of(here);
    if (!load_relaxed(&w->next)) { /* only this worker puts something there */
        store_release(&w->next, t); /* [NEXT-1] release: publishes the task to thieves */
        return;
    }
    coil__task *before = exchange_acq_rel(&w->next, t); /* [NEXT-1] both: what was there is this worker's */
    if (!before)
        return;
    coil__worker_push_woken(w, before);
    coil__runtime_wake_one(w->runtime);
}

static void yielded(coil_loop *here, coil__task *t)
{
    coil__worker *w = coil__worker_of(here);
    coil__worker_push_woken(w, t);
    coil__runtime_wake_one(w->runtime);
}

static void injected(coil_loop *facade, coil__task *t)
{
    coil_runtime *rt = coil__worker_of(facade)->runtime;
    coil__inject_push(&rt->inject, &t->step.node);
    coil__runtime_wake_one(rt);
}

/* --- running them ------------------------------------------------------------------------------------------------------------ */

/* Time to look at the kernel, at the timers and at what others have posted. */
static bool quantum_over(coil__worker *w)
{
    coil_loop *loop = w->loop;
    if (coil__loop_posted(loop) || coil__loop_stopping(loop))
        return true;
    return w->tick % COIL_CLOCK_EVERY == 0 && coil__monotonic_ns() >= w->quantum_end;
}

static coil__task *begin(coil__worker *w, coil__task *t)
{
    if (t)
        coil__worker_add(&w->loop->handles_run, 1); /* [BEAT-1] */
    return t;
}

static coil__task *next(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    announce(w);
    if (quantum_over(w))
        return NULL;
    coil__task *t = coil__worker_take(w);
    if (!t && here->leaving && here->leaving_yields && coil__list_empty(&here->ready)) {
        t = here->leaving; /* there are no others to go first */
        here->leaving = NULL;
    }
    return begin(w, t);
}

static void run(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    announce(w);
    w->quantum_end = coil__monotonic_ns() + COIL_QUANTUM_NS;
    coil__task *t = coil__worker_take_neglected(w);
    do {
        t = begin(w, t ? t : coil__worker_take(w));
        if (!t)
            return;
        coil__loop_run_handle(here, &t->step);
        announce(w);
        t = NULL;
    } while (coil__list_empty(&here->ready) && !quantum_over(w));
}

static bool busy(coil_loop *here)
{
    const coil__worker *w = coil__worker_of(here);
    return coil__worker_has_tasks(w) || coil__inject_length(&w->runtime->inject) > 0;
}

/* --- nothing to run ------------------------------------------------------------------------------------------------------------ */

/* The search is over, with a task or without. The last to search passes the baton on if there is more to be found. */
static void end_search(coil__worker *w)
{
    w->searching = false;
    if (coil__idle_end_search(&w->runtime->idle) && coil__worker_sees_work(w))
        coil__runtime_wake_one(w->runtime);
}

/* Looks for a while, since going to sleep and being woken is dear; longer where that was worth it lately. */
static bool look_around(coil__worker *w)
{
    for (uint32_t i = 0; i <= w->spins; i++) {
        coil__task *t = coil__worker_steal(w);
        if (t) {
            store_release(&w->next, t); /* [NEXT-1] it is empty: this worker has nothing */
            w->spins = COIL_SPIN_MAX;
            return true;
        }
        if (coil__loop_posted(w->loop) || coil__loop_stopping(w->loop))
            break;
        for (int pause = 0; pause < 32; pause++)
            coil__cpu_relax();
    }
    w->spins = w->spins / 2 > COIL_SPIN_MIN ? w->spins / 2 : COIL_SPIN_MIN;
    return false;
}

/* With shared rings also for completions of workers that have begun nothing new meanwhile. */
static bool search(coil__worker *w)
{
    const coil_runtime *rt = w->runtime;
    uint64_t beats[COIL_WORKERS_MAX];
    if (rt->options.ring_mode != COIL_RING_SHARED)
        return look_around(w);
    for (unsigned i = 0; i < rt->count; i++)
        beats[i] = load_relaxed(&rt->loops[i]->handles_run); /* [BEAT-1] */
    return look_around(w) || coil__worker_rescue_others(w, beats);
}

/* Searches, if not too many do. True: there is something to do. */
static bool try_search(coil__worker *w)
{
    if (!w->searching)
        w->searching = coil__idle_begin_search(&w->runtime->idle);
    if (!w->searching || !search(w))
        return false;
    end_search(w);
    return true;
}

/* Asleep until something comes. Whoever picked this worker counts it as searching from then on. */
static void park(coil__worker *w)
{
    coil__idle *idle = &w->runtime->idle;
    bool last = coil__idle_park(idle, w->number, w->searching);
    w->searching = false;
    if (!last || !coil__worker_sees_work(w)) /* [IDLE-1] the look */
        coil__loop_sleep(w->loop);
    w->searching = !coil__idle_unpark_self(idle, w->number);
}

static void idle(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    coil__loop_poll(here);
    if (!coil__list_empty(&here->ready) || try_search(w))
        return;
    park(w);
    if (w->searching && !try_search(w))
        end_search(w);
}

/* --- a clock that is not the system's ----------------------------------------------------------------------------------------------- */

static int64_t first_deadline(const coil_runtime *rt)
{
    int64_t first = COIL_FOREVER;
    for (unsigned i = 0; i < rt->count; i++) {
        int64_t deadline = coil__loop_first_deadline(rt->loops[i]);
        first = deadline < first ? deadline : first;
    }
    return first;
}

/* [PARK-1] Whether each worker was seen asleep, and not about to get up; and how often they have got up until then. */
static bool each_sleeps(const coil_runtime *rt, uint64_t *rises)
{
    *rises = 0;
    if (!coil__idle_all_parked(&rt->idle) || coil__inject_length(&rt->inject) > 0)
        return false;
    for (unsigned i = 0; i < rt->count; i++) {
        coil_loop *loop = rt->loops[i];
        if (load_acquire(&loop->parked) == 0 || coil__loop_posted(loop) || coil__loop_stopping(loop) ||
            load_acquire(&loop->notified) != 0)
            return false;
        *rises += load_relaxed(&rt->workers[i].rises); /* [WS-1] exact: what came before PARK-1 */
    }
    return true;
}

/*
 * Whether all sleep. One look at each does not tell: one that was seen asleep may have been woken by one that slept when its
 * turn came. So all are looked at twice; who got up in between, and slept again, has counted it. Of two that go to sleep the
 * second sees the first's `parked`, and who gets up looks here again when it goes to sleep.
 */
static bool all_sleep(const coil_runtime *rt)
{
    uint64_t before, after;
    return each_sleeps(rt, &before) && each_sleeps(rt, &after) && before == after;
}

/* The time has moved: whoever has something due gets up. */
static void notify_due(coil_runtime *rt, const coil_loop *here)
{
    int64_t now = coil_loop_time(rt->facade);
    for (unsigned i = 0; i < rt->count; i++)
        if (rt->loops[i] != here && coil__loop_first_deadline(rt->loops[i]) <= now)
            coil__loop_notify(rt->loops[i]);
}

static bool quiet(coil_loop *here)
{
    coil_runtime *rt = coil__worker_of(here)->runtime;
    pthread_mutex_lock(&rt->clock_mutex);
    bool moved = all_sleep(rt) && here->clock->idle(here->clock, first_deadline(rt));
    if (moved) {
        store_release(&here->notified, 1); /* [INBOX-1] so that nobody moves the clock again before this worker has looked */
        notify_due(rt, here);
    }
    pthread_mutex_unlock(&rt->clock_mutex);
    return moved;
}

/* --- threads ----------------------------------------------------------------------------------------------------------------------- */

static void sleeps(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    coil__worker_add(&w->parks, 1);
    coil__watchdog_rest(&w->watched);
}

static void rises(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    coil__worker_add(&w->rises, 1);
    coil__watchdog_rise(&w->runtime->watchdog, &w->watched);
}

static void entered(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    coil__watchdog_enter(&w->runtime->watchdog, &w->watched);
}

/* What only this worker would find is left to the others, who may run while this one does not. */
static void left(coil_loop *here)
{
    coil__worker *w = coil__worker_of(here);
    coil__task *t = exchange_acquire(&w->next, NULL); /* [NEXT-1] */
    if (t)
        yielded(here, t);
    coil__watchdog_rest(&w->watched);
}

const struct coil__place coil__workers_place = {
    .spawned = spawned,
    .woken = woken,
    .yielded = yielded,
    .injected = injected,
    .next = next,
    .run = run,
    .busy = busy,
    .idle = idle,
    .quiet = quiet,
    .sleeps = sleeps,
    .rises = rises,
    .entered = entered,
    .left = left,
    .close = coil__runtime_end_workers,
};
