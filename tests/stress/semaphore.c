/*
 * semaphore.c - semaphores on several workers: never more holders than units, and no unit is lost or made
 *
 * Members acquire and release while killers cancel them: before they were given a unit, between that and their next
 * step, and while they have one. Afterwards all units must be there, no matter who was cancelled when, and a bounded
 * semaphore takes back no more.
 *
 * At last units come back while as many members arrive, who keep them: each gets one, so that no unit lies idle while
 * somebody waits.
 */
#include "crew.h"

enum { MEMBERS = 12, RELEASERS = 2, ACQUISITIONS = 50, UNITS_MAX = 5 };

static coil_semaphore *semaphore;
static unsigned units;
static crew users;
static _Atomic unsigned inside;
static _Atomic uint64_t acquired;

static void use(member *m)
{
    for (unsigned n = 0; n < ACQUISITIONS;) {
        if (either(coil_semaphore_acquire(semaphore)) < 0)
            continue;
        MUST(fetch_add_relaxed(&inside, 1) < units); /* [SEM-1] relaxed: only the number matters */
        fetch_add_relaxed(&acquired, 1);             /* [SEM-1] */
        if (stress_random(&m->random, 4) == 0)
            yield();
        n++;
        MUST(fetch_sub_acq_rel(&inside, 1) > 0); /* [SEM-1] */
        stress_ok(coil_semaphore_release(semaphore));
    }
}

/* Takes all units without waiting, and gives them back. */
static void check_units(bool bounded)
{
    for (unsigned i = 0; i < units; i++) {
        MUST(!coil_semaphore_locked(semaphore));
        stress_ok(coil_semaphore_acquire(semaphore));
    }
    MUST(coil_semaphore_locked(semaphore));
    for (unsigned i = 0; i < units; i++)
        stress_ok(coil_semaphore_release(semaphore));
    if (bounded)
        MUST(stress_caught(coil_semaphore_release(semaphore)) == -EINVAL);
}

static void keep_one(member *m)
{
    for (unsigned pause = stress_random(&m->random, 4); pause > 0; pause--)
        yield();
    stress_ok(coil_semaphore_acquire(semaphore));
}

static void bring_back(member *m)
{
    for (unsigned n = 0; n < MEMBERS / RELEASERS; n++) {
        stress_ok(coil_semaphore_release(semaphore));
        if (stress_random(&m->random, 2) == 0)
            yield();
    }
}

static void check_idle_units(uint64_t *random)
{
    crew releasers;
    stress_ok(coil_semaphore_new(0, &semaphore));
    crew_begin(&users, keep_one, MEMBERS, false, random);
    crew_begin(&releasers, bring_back, RELEASERS, false, random);
    crew_end(&releasers);
    crew_end(&users);
    MUST(coil_semaphore_locked(semaphore));
    coil_semaphore_free(semaphore);
}

static uint64_t one_round(uint64_t *random)
{
    units = 1 + stress_random(random, UNITS_MAX);
    bool bounded = stress_random(random, 2) == 0;
    if (bounded)
        stress_ok(coil_bounded_semaphore_new((long)units, &semaphore));
    else
        stress_ok(coil_semaphore_new((long)units, &semaphore));
    store_relaxed(&acquired, 0); /* [SEM-1] */
    crew_begin(&users, use, MEMBERS, true, random);
    crew_end(&users);
    MUST(load_relaxed(&inside) == 0); /* [SEM-1] */
    check_units(bounded);
    coil_semaphore_free(semaphore);
    check_idle_units(random);
    return load_relaxed(&acquired) + MEMBERS; /* [SEM-1] */
}

CREW_MAIN(one_round)
