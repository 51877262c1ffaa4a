/*
 * condition.c - conditions on several workers: notify wakes as many as it says, and nothing is missed
 *
 *   counting: a number of members wait; each notify lets exactly so many go, until none is left.
 *
 *   a race: members wait and are cancelled while others notify. No more return than were notified.
 *
 *   a market: members take what others bring, waiting with a predicate. Who brings one thing notifies one, so that a
 *   notification between a release and a wait, were it missed, would leave somebody waiting for ever.
 *
 * What the lock guards is plain memory, so that ThreadSanitizer sees it if it is not held.
 */
#include "crew.h"

enum { MEMBERS = 24, GOODS = 400, TRADERS = 8 };

static coil_condition *condition;
static crew members, notifiers;

/* Guarded by the lock. */
static unsigned inside, notified, woken, goods, taken;

static void enter(void)
{
    MUST(inside++ == 0);
}

static void leave(void)
{
    MUST(--inside == 0);
}

/* Acquires the lock, whatever comes. */
static void acquire(void)
{
    while (either(coil_condition_acquire(condition)) < 0) {
    }
    enter();
}

static void release(void)
{
    leave();
    stress_ok(coil_condition_release(condition));
}

static void wait_once(member *m)
{
    (void)m;
    acquire();
    leave();
    int rc = either(coil_condition_wait(condition));
    enter();
    woken += rc == 0;
    MUST(woken <= notified);
    release();
}

static unsigned woken_so_far(void)
{
    acquire();
    unsigned n = woken;
    release();
    return n;
}

static void notify(unsigned n)
{
    acquire();
    notified += n;
    stress_ok(coil_condition_notify(condition, n));
    release();
}

static void begin_waiting(uint64_t *random)
{
    notified = woken = 0;
    crew_begin(&members, wait_once, MEMBERS, false, random);
    while (waiting(&condition->waiters, &condition->latch) < MEMBERS)
        yield();
}

static void check_counts(uint64_t *random)
{
    begin_waiting(random);
    for (unsigned left = MEMBERS; left > 0;) {
        unsigned n = 1 + stress_random(random, left);
        notify(n);
        left -= n;
        while (woken_so_far() < MEMBERS - left)
            yield();
        MUST(waiting(&condition->waiters, &condition->latch) == left);
    }
    crew_end(&members);
}

static void notify_some(member *m)
{
    for (unsigned n = 0; n < 4; n++)
        notify(1 + stress_random(&m->random, 3));
}

/* Cancelling from here and notifying from elsewhere meet at the same waiters. */
static void check_race(uint64_t *random)
{
    begin_waiting(random);
    crew_begin(&notifiers, notify_some, 2, false, random);
    for (unsigned n = 0; n < MEMBERS / 2; n++) {
        coil_task_cancel(members.tasks[stress_random(random, MEMBERS)], NULL);
        if (stress_random(random, 2) == 0)
            yield();
    }
    crew_end(&notifiers);
    MUST(woken_so_far() <= notified);
    notify(MEMBERS);
    crew_end(&members);
}

static int any_goods(void *arg)
{
    (void)arg;
    return goods > 0 || taken == GOODS;
}

static void take_goods(void)
{
    for (bool over = false; !over;) {
        acquire();
        leave();
        stress_ok(coil_condition_wait_for(condition, any_goods, NULL));
        enter();
        taken += goods > 0;
        goods -= goods > 0;
        over = taken == GOODS;
        if (over)
            stress_ok(coil_condition_notify_all(condition));
        release();
    }
}

static void bring_goods(member *m)
{
    for (unsigned n = 0; n < GOODS / (TRADERS / 2); n++) {
        acquire();
        goods++;
        stress_ok(coil_condition_notify(condition, 1));
        release();
        if (stress_random(&m->random, 8) == 0)
            yield();
    }
}

static void trade(member *m)
{
    if (m->index % 2 == 0)
        take_goods();
    else
        bring_goods(m);
}

static uint64_t one_round(uint64_t *random)
{
    stress_ok(coil_condition_new(NULL, &condition));
    check_counts(random);
    check_race(random);
    goods = taken = 0;
    crew_begin(&members, trade, TRADERS, false, random);
    crew_end(&members);
    MUST(taken == GOODS && goods == 0);
    MUST(!coil_condition_locked(condition));
    coil_condition_free(condition);
    return 2 * MEMBERS + GOODS;
}

CREW_MAIN(one_round)
