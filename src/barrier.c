/*
 * barrier.c - a barrier: tasks wait until a number of them have come, and go on together
 *
 * Called on the loop's thread, and in a runtime on any worker's. Source: asyncio.locks.Barrier.
 *
 *   From       Event                                To
 *   FILLING    the last party arrives               DRAINING
 *   FILLING    reset while tasks are inside         RESETTING
 *   DRAINING   the last task leaves                 FILLING
 *   DRAINING   reset while tasks are inside         RESETTING
 *   RESETTING  the last task leaves                 FILLING
 *   any        abort                                BROKEN
 *   any        reset while nobody is inside         FILLING
 *   BROKEN     reset while tasks are inside         RESETTING
 *
 * I1 count and state change only while their task holds the condition's lock, and so do decisions that rest on them: a
 *    generation is whole whatever worker its parties run on. The queries look at them without the lock.
 * I2 who waits inside is counted until it holds the lock again; so cancelled or not it leaves once, and the last one
 *    to leave opens the barrier
 */
#include "sync.h"

#include "base/alloc.h"
#include "base/atomic.h"

enum barrier_state { FILLING, DRAINING, RESETTING, BROKEN };

struct coil_barrier {
    coil_condition condition;
    size_t parties;
    _Atomic size_t count; /* of tasks inside; I1 */
    _Atomic(enum barrier_state) state; /* I1 */
};

/* [BARRIER-1] relaxed: the lock orders all but the queries, whose answer may be old when it arrives anyway. */
static enum barrier_state state_of(const coil_barrier *b)
{
    return load_relaxed(&b->state);
}

static void set_state(coil_barrier *b, enum barrier_state state)
{
    store_relaxed(&b->state, state); /* [BARRIER-1] */
}

static size_t count_of(const coil_barrier *b)
{
    return load_relaxed(&b->count); /* [BARRIER-1] */
}

/* Returns what it was before. */
static size_t add_to_count(coil_barrier *b, int n)
{
    size_t before = count_of(b);
    store_relaxed(&b->count, before + (size_t)n); /* [BARRIER-1] */
    return before;
}

int coil_barrier_new(long parties, coil_barrier **barrier)
{
    if (parties < 1)
        return coil_raise(-EINVAL, "parties must be > 0");
    coil_barrier *b = coil__object_alloc(sizeof *b);
    if (!b)
        return coil_raise(-ENOMEM, NULL);
    coil__condition_init(&b->condition, NULL);
    b->parties = (size_t)parties;
    store_relaxed(&b->count, 0); /* [BARRIER-1] */
    set_state(b, FILLING);
    *barrier = b;
    return 0;
}

void coil_barrier_free(coil_barrier *barrier)
{
    if (!barrier)
        return;
    coil__waiters_fini(&barrier->condition.waiters);
    coil__waiters_fini(&barrier->condition.own.waiters);
    coil__object_free(barrier, sizeof *barrier);
}

static int may_enter(void *arg)
{
    const coil_barrier *b = arg;
    enum barrier_state state = state_of(b);
    return state != DRAINING && state != RESETTING;
}

static int may_leave(void *arg)
{
    const coil_barrier *b = arg;
    return state_of(b) != FILLING;
}

/* What a task does between its arrival and its departure: lets all go if it is the last, else waits for that. */
static int meet(coil_barrier *b, bool last)
{
    if (last) {
        set_state(b, DRAINING);
        return coil_condition_notify_all(&b->condition);
    }
    COIL_TRY(coil_condition_wait_for(&b->condition, may_leave, b));
    if (state_of(b) == BROKEN || state_of(b) == RESETTING)
        return coil_raise(COIL_EBROKENBARRIER, "Abort or reset of barrier");
    return 0;
}

static int depart(coil_barrier *b)
{
    if (add_to_count(b, -1) > 1)
        return 0;
    if (state_of(b) == RESETTING || state_of(b) == DRAINING)
        set_state(b, FILLING);
    return coil_condition_notify_all(&b->condition);
}

static int wait_locked(coil_barrier *b, size_t *index)
{
    COIL_TRY(coil_condition_wait_for(&b->condition, may_enter, b));
    if (state_of(b) == BROKEN)
        return coil_raise(COIL_EBROKENBARRIER, "Barrier aborted");
    size_t i = add_to_count(b, 1);
    int rc = meet(b, i + 1 == b->parties);
    if (rc == COIL_EGENERATOREXIT) {
        add_to_count(b, -1); /* the loop is being freed: the lock is not ours, and there is nobody to tell */
        return rc;
    }
    COIL_TRY(depart(b));
    if (rc == 0 && index)
        *index = i;
    return rc;
}

/* Releases the lock at the end of a call that comes to @rc, which goes on unless the release fails. */
static int unlock(coil_barrier *b, int rc)
{
    if (rc == COIL_EGENERATOREXIT)
        return rc;
    COIL_TRY(coil_condition_release(&b->condition));
    return rc;
}

int coil_barrier_wait(coil_barrier *barrier, size_t *index)
{
    coil_assert(barrier);
    COIL_TRY(coil_condition_acquire(&barrier->condition));
    return unlock(barrier, wait_locked(barrier, index));
}

int coil_barrier_reset(coil_barrier *barrier)
{
    coil_assert(barrier);
    COIL_TRY(coil_condition_acquire(&barrier->condition));
    set_state(barrier, count_of(barrier) > 0 ? RESETTING : FILLING);
    return unlock(barrier, coil_condition_notify_all(&barrier->condition));
}

int coil_barrier_abort(coil_barrier *barrier)
{
    coil_assert(barrier);
    COIL_TRY(coil_condition_acquire(&barrier->condition));
    set_state(barrier, BROKEN);
    return unlock(barrier, coil_condition_notify_all(&barrier->condition));
}

size_t coil_barrier_parties(const coil_barrier *barrier)
{
    coil_assert(barrier);
    return barrier->parties;
}

size_t coil_barrier_n_waiting(const coil_barrier *barrier)
{
    coil_assert(barrier);
    return state_of(barrier) == FILLING ? count_of(barrier) : 0;
}

bool coil_barrier_broken(const coil_barrier *barrier)
{
    coil_assert(barrier);
    return state_of(barrier) == BROKEN;
}

static int wait_body(void *barrier, void **result)
{
    size_t index = 0;
    COIL_TRY(coil_barrier_wait(barrier, &index));
    *result = (void *)index;
    return 0;
}

coil_coro coil_barrier_wait_coro(coil_barrier *barrier)
{
    return coil_coro_make(wait_body, barrier, NULL, 0, "coil_barrier_wait");
}
