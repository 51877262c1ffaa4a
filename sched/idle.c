/*
 * idle.c - which workers search, which are parked, and whom to wake
 *
 * See idle.h for who may call what, the protocol, I1 and I2.
 */
#include "idle.h"

static const uint32_t SEARCHING = 1, PARKED = 1u << 16;
_Static_assert(COIL_WORKERS_MAX < 1u << 16, "both counts fit");

static inline uint32_t searching_in(uint32_t state)
{
    return state % PARKED;
}

static inline uint32_t parked_in(uint32_t state)
{
    return state / PARKED;
}

void coil__idle_init(coil__idle *idle, unsigned workers)
{
    coil_assert(workers >= 1 && workers <= COIL_WORKERS_MAX);
    store_relaxed(&idle->state, 0); /* [IDLE-4] nobody else knows it yet */
    idle->workers = workers;
    pthread_mutex_init(&idle->mutex, NULL);
    coil__list_init(&idle->parked);
    for (unsigned w = 0; w < workers; w++)
        coil__node_init(&idle->sleepers[w]);
}

void coil__idle_fini(coil__idle *idle)
{
    pthread_mutex_destroy(&idle->mutex);
}

bool coil__idle_begin_search(coil__idle *idle)
{
    uint32_t state = load_relaxed(&idle->state); /* [IDLE-4] relaxed: the compare-and-swap checks it */
    do {
        if (2 * searching_in(state) >= idle->workers)
            return false;
        /* [IDLE-3] acq_rel: a submitter that was before, and saw nobody to wake, has pushed what this search finds. */
    } while (!cas_weak_acq_rel(&idle->state, &state, state + SEARCHING));
    return true;
}

bool coil__idle_end_search(coil__idle *idle)
{
    /* [IDLE-3] acq_rel: the push of a submitter that relied on this searcher (IDLE-2) is handed on to whom it wakes. */
    uint32_t before = fetch_sub_acq_rel(&idle->state, SEARCHING);
    coil_debug_assert(searching_in(before) > 0);
    fence_seq_cst(); /* [IDLE-1] before the caller looks at the queues */
    return searching_in(before) == 1;
}

bool coil__idle_park(coil__idle *idle, unsigned worker, bool searching)
{
    uint32_t gives_up = searching ? SEARCHING : 0;
    pthread_mutex_lock(&idle->mutex);
    coil_debug_assert(!coil__node_linked(&idle->sleepers[worker])); /* I2 */
    coil__list_prepend(&idle->parked, &idle->sleepers[worker]);
    uint32_t before = fetch_add_acq_rel(&idle->state, PARKED - gives_up); /* [IDLE-1] I1 */
    pthread_mutex_unlock(&idle->mutex);
    fence_seq_cst(); /* [IDLE-1] before the caller looks at the queues */
    coil_debug_assert(searching_in(before) >= gives_up);
    coil_debug_assert(parked_in(before) < idle->workers);
    return searching_in(before) == gives_up;
}

bool coil__idle_unpark_self(coil__idle *idle, unsigned worker)
{
    pthread_mutex_lock(&idle->mutex);
    bool still = coil__node_linked(&idle->sleepers[worker]); /* I2 */
    if (still) {
        coil__node_unlink(&idle->sleepers[worker]);
        fetch_sub_acq_rel(&idle->state, PARKED); /* [IDLE-3] I1 */
    }
    pthread_mutex_unlock(&idle->mutex);
    return still;
}

/* Under the mutex. */
static unsigned take_sleeper(coil__idle *idle)
{
    coil__node *sleeper = coil__list_pop(&idle->parked);
    uint32_t before = fetch_add_acq_rel(&idle->state, SEARCHING - PARKED); /* [IDLE-3] I1 */
    coil_debug_assert(parked_in(before) > 0);
    return (unsigned)(sleeper - idle->sleepers);
}

int coil__idle_pick(coil__idle *idle)
{
    fence_seq_cst(); /* [IDLE-2] after the caller's push */
    uint32_t state = load_relaxed(&idle->state); /* relaxed: the fence orders it */
    if (searching_in(state) > 0 || parked_in(state) == 0)
        return -1;
    int worker = -1;
    pthread_mutex_lock(&idle->mutex);
    /* [IDLE-4] relaxed: of `parked` the mutex lets nothing slip (I1). A searcher seen here ends its search by an RMW
     * that is later than IDLE-2, which is all that the protocol asks of it. */
    if (searching_in(load_relaxed(&idle->state)) == 0 && !coil__list_empty(&idle->parked))
        worker = (int)take_sleeper(idle);
    pthread_mutex_unlock(&idle->mutex);
    return worker;
}

bool coil__idle_all_parked(const coil__idle *idle)
{
    /* [IDLE-3] acquire: what the workers did before they parked; pairs with their [IDLE-1]. */
    return parked_in(load_acquire(&idle->state)) == idle->workers;
}
