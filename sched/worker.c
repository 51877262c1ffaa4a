/*
 * worker.c - what a worker runs next: its own places, the shared queue, other workers' places
 *
 * Called on the worker's own thread. The order, and I1 to I3, are in worker.h.
 */
#include "worker.h"

void coil__worker_init(coil__worker *w, coil_runtime *rt, unsigned number)
{
    w->runtime = rt;
    w->number = number;
    w->loop = rt->loops[number];
    w->random = number * 2654435769u + 1;
    w->spins = COIL_SPIN_MAX;
    coil__runq_init(&w->woken);
    coil__deque_init(&w->fresh);
}

static uint32_t next_random(coil__worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 17;
    w->random ^= w->random << 5;
    return w->random;
}

/* --- own places -------------------------------------------------------------------------------------------------------- */

void coil__worker_push_woken(coil__worker *w, coil__task *t)
{
    coil__list older;
    while (coil_unlikely(!coil__runq_push(&w->woken, &t->step.node))) {
        coil__list_init(&older);
        if (!coil__runq_overflow(&w->woken, &older))
            continue;
        size_t n = COIL_RUNQ_CAPACITY / 2;
        coil__worker_add(&w->overflows, n);
        coil__inject_push_chain(&w->runtime->inject, &older, n);
    }
}

static coil__task *task_or_null(coil__node *n)
{
    return n ? coil__task_of_step(n) : NULL;
}

/* A share of the shared queue: the first is returned, the others go to `woken`. */
static coil__task *take_injected(coil__worker *w)
{
    coil__list chain;
    if (coil__inject_length(&w->runtime->inject) == 0)
        return NULL;
    coil__list_init(&chain);
    if (coil__inject_pop(&w->runtime->inject, w->runtime->count, COIL_RUNQ_CAPACITY / 2, &chain) == 0)
        return NULL;
    coil__task *first = coil__task_of_step(coil__list_pop(&chain));
    while (!coil__list_empty(&chain))
        coil__worker_push_woken(w, coil__task_of_step(coil__list_pop(&chain)));
    return first;
}

/* [NEXT-1] acquire: the task's memory as its waker left it, who may be another worker's thread by now. */
static coil__task *take_next(coil__worker *w)
{
    if (!load_relaxed(&w->next)) /* only this worker puts something there */
        return NULL;
    return exchange_acquire(&w->next, NULL);
}

static coil__task *take_next_in_turn(coil__worker *w)
{
    if (w->next_uses >= COIL_NEXT_MAX) {
        w->next_uses = 0;
        return NULL;
    }
    coil__task *t = take_next(w);
    w->next_uses = t ? w->next_uses + 1 : 0;
    return t;
}

coil__task *coil__worker_take_neglected(coil__worker *w)
{
    coil__task *t = take_injected(w);
    bool starved = !w->fresh_ran, turn = ++w->rounds % COIL_OLDEST_EVERY == 0;
    w->fresh_ran = false;
    return t || !(starved || turn) ? t : task_or_null(coil__deque_steal(&w->fresh));
}

static coil__task *take_fresh(coil__worker *w)
{
    coil__task *t = task_or_null(coil__deque_pop(&w->fresh));
    w->fresh_ran |= t != NULL;
    return t;
}

coil__task *coil__worker_take(coil__worker *w)
{
    w->tick++;
    coil__task *t = take_next_in_turn(w);
    if (!t)
        t = task_or_null(coil__runq_pop(&w->woken));
    if (!t)
        t = take_fresh(w);
    if (!t)
        t = take_next(w);
    return t ? t : take_injected(w);
}

/* --- others' places ------------------------------------------------------------------------------------------------------ */

/* Of `fresh` the older half: the largest parts of what is still to be done. */
static coil__task *steal_fresh(coil__worker *w, coil__worker *victim)
{
    size_t n = (coil__deque_length(&victim->fresh) + 1) / 2;
    coil__node *first = n > 0 ? coil__deque_steal(&victim->fresh) : NULL;
    if (!first)
        return NULL;
    coil__worker_add(&w->steals, 1);
    for (size_t i = 1; i < n && i < COIL_STEAL_MAX; i++) {
        coil__node *more = coil__deque_steal(&victim->fresh);
        if (!more)
            break;
        coil__worker_add(&w->steals, 1);
        if (!coil__deque_push(&w->fresh, more))
            coil__worker_push_woken(w, coil__task_of_step(more));
    }
    return coil__task_of_step(first);
}

static coil__task *steal_from(coil__worker *w, coil__worker *victim)
{
    coil__node *n = coil__runq_steal(&victim->woken, &w->woken);
    if (!n)
        return steal_fresh(w, victim);
    coil__worker_add(&w->steals, 1);
    return coil__task_of_step(n);
}

/* [NEXT-1] The last resort: the victim may be in a long step. */
static coil__task *steal_next(coil__worker *w, coil__worker *victim)
{
    coil__task *t = load_relaxed(&victim->next) ? exchange_acquire(&victim->next, NULL) : NULL;
    if (t)
        coil__worker_add(&w->steals, 1);
    return t;
}

coil__task *coil__worker_steal(coil__worker *w)
{
    coil_runtime *rt = w->runtime;
    coil__worker_add(&w->searches, 1);
    coil__task *t = take_injected(w);
    for (int pass = 0; pass < 2; pass++) {
        unsigned at = next_random(w) % rt->count;
        for (unsigned i = 0; i < rt->count && !t; i++, at = (at + 1) % rt->count) {
            coil__worker *victim = &rt->workers[at];
            if (victim != w)
                t = pass == 0 ? steal_from(w, victim) : steal_next(w, victim);
        }
    }
    return t;
}

/* --- completions of workers that compute -------------------------------------------------------------------------------- */

bool coil__worker_rescue_others(coil__worker *w, const uint64_t *beats)
{
    coil_runtime *rt = w->runtime;
    int taken = 0;
    for (unsigned i = 0; i < rt->count && taken == 0; i++) {
        coil_loop *other = rt->loops[i];
        if (other == w->loop || load_relaxed(&other->handles_run) != beats[i]) /* [BEAT-1] */
            continue;
        COIL__GUARD(&other->backend_latch);
        if (other->backend)
            taken = other->backend->ops->reap_for(other->backend, &w->loop->ready);
    }
    return taken > 0;
}

bool coil__worker_needs_rescue(coil__worker *w)
{
    COIL__GUARD(&w->loop->backend_latch);
    return w->loop->backend && w->loop->backend->ops->has_completed(w->loop->backend);
}

bool coil__worker_has_tasks(const coil__worker *w)
{
    /* [NEXT-1] relaxed: a hint; for the look before going to sleep [IDLE-1] has acquired what it must see. */
    return load_relaxed(&w->next) || coil__runq_length(&w->woken) > 0 || coil__deque_length(&w->fresh) > 0;
}

bool coil__worker_sees_work(const coil__worker *w)
{
    const coil_runtime *rt = w->runtime;
    for (unsigned i = 0; i < rt->count; i++)
        if (coil__worker_has_tasks(&rt->workers[i]))
            return true;
    return coil__inject_length(&rt->inject) > 0;
}
