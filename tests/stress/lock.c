/*
 * lock.c - locks on several workers: mutual exclusion, the order of arrival, nothing lost to cancellations
 *
 *   a storm: members acquire and release, and sometimes keep the lock over a suspension, while killers cancel them.
 *   What the lock guards is plain memory, so that ThreadSanitizer sees two holders as well.
 *
 *   a queue: members arrive one after the other at a lock that is held. They get it in that order, whatever others do
 *   that come later, and whoever of them is cancelled meanwhile.
 */
#include "crew.h"

enum { STORM_MEMBERS = 8, ACQUISITIONS = 60, QUEUE_MEMBERS = 16 };

static coil_lock *lock;
static crew storm, queue;

/* Guarded by the lock. */
static unsigned inside;
static uint64_t total;

static void hold(member *m)
{
    MUST(inside == 0);
    inside++;
    total++;
    if (stress_random(&m->random, 4) == 0)
        yield();
    MUST(inside == 1);
    inside--;
}

static void storm_member(member *m)
{
    for (unsigned n = 0; n < ACQUISITIONS;) {
        if (either(coil_lock_acquire(lock)) < 0)
            continue;
        hold(m);
        n++;
        stress_ok(coil_lock_release(lock));
    }
}

/* --- the order of arrival ---------------------------------------------------------------------------------------- */

static unsigned next_in_line; /* guarded by the lock */

static void queue_member(member *m)
{
    if (either(coil_lock_acquire(lock)) < 0)
        return;
    MUST(next_in_line <= m->index);
    next_in_line = m->index + 1;
    hold(m);
    stress_ok(coil_lock_release(lock));
}

static void latecomer(member *m)
{
    for (unsigned n = 0; n < 20;) {
        if (either(coil_lock_acquire(lock)) < 0)
            continue;
        MUST(next_in_line > 0); /* the first in the queue was not cancelled */
        hold(m);
        n++;
        stress_ok(coil_lock_release(lock));
    }
}

static int queue_body(void *arg, void **result)
{
    member *m = arg;
    (void)result;
    queue_member(m);
    return 0;
}

/* Members of the queue are spawned one by one: each is there before the next comes. */
static void line_up(uint64_t *random)
{
    queue.count = QUEUE_MEMBERS;
    for (unsigned i = 0; i < QUEUE_MEMBERS; i++) {
        queue.members[i] = new_member(&queue, i, random);
        queue.tasks[i] = spawn(coil_coro_of(queue_body, &queue.members[i]));
        while (waiting(&lock->waiters, &lock->latch) <= i)
            yield();
    }
}

static void check_order(uint64_t *random)
{
    next_in_line = 0;
    stress_ok(coil_lock_acquire(lock));
    line_up(random);
    for (unsigned n = stress_random(random, QUEUE_MEMBERS); n > 0; n--)
        coil_task_cancel(queue.tasks[1 + stress_random(random, QUEUE_MEMBERS - 1)], NULL); /* not the first one */
    crew_begin(&storm, latecomer, 4, true, random);
    stress_ok(coil_lock_release(lock));
    for (unsigned i = 0; i < QUEUE_MEMBERS; i++)
        join(queue.tasks[i]);
    crew_end(&storm);
}

static uint64_t one_round(uint64_t *random)
{
    stress_ok(coil_lock_new(&lock));
    total = 0;
    crew_begin(&storm, storm_member, STORM_MEMBERS, true, random);
    crew_end(&storm);
    MUST(!coil_lock_locked(lock));
    check_order(random);
    MUST(!coil_lock_locked(lock));
    coil_lock_free(lock);
    return total;
}

CREW_MAIN(one_round)
