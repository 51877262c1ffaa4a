/*
 * barrier.c - barriers on several workers: generations are whole
 *
 *   generations: as many members as the barrier has parties go through it again and again. In each generation every
 *   index is given once, and nobody is in the next one before all have come to this one.
 *
 *   disorder: members come and go while killers cancel them, and the barrier is reset and aborted. Afterwards nobody is
 *   inside, and the same barrier does its work again.
 */
#include "crew.h"

#include <string.h>

enum { PARTIES = 6, GENERATIONS = 60, VISITS = 40 };

static coil_barrier *barrier;
static crew parties;
static _Atomic unsigned indexes[GENERATIONS]; /* that were given, a bit each */
static unsigned arrivals[GENERATIONS][PARTIES]; /* plain memory: each its party's, until the barrier lets it through */

static void go_through(member *m)
{
    for (unsigned g = 0; g < GENERATIONS; g++) {
        size_t index;
        arrivals[g][m->index] = 1;
        stress_ok(coil_barrier_wait(barrier, &index));
        MUST(index < PARTIES);
        for (unsigned i = 0; i < PARTIES; i++)
            MUST(arrivals[g][i] == 1);
        unsigned bit = 1u << index;
        MUST((fetch_add_relaxed(&indexes[g], bit) & bit) == 0); /* [BAR-1] relaxed: only distinct bits */
    }
}

static void check_generations(uint64_t *random)
{
    memset(arrivals, 0, sizeof arrivals);
    for (unsigned g = 0; g < GENERATIONS; g++)
        store_relaxed(&indexes[g], 0); /* [BAR-1] */
    crew_begin(&parties, go_through, PARTIES, false, random);
    crew_end(&parties);
    for (unsigned g = 0; g < GENERATIONS; g++)
        MUST(load_relaxed(&indexes[g]) == (1u << PARTIES) - 1); /* [BAR-1] */
}

static void come_and_go(member *m)
{
    (void)m;
    for (unsigned n = 0; n < VISITS; n++) {
        int rc = coil_barrier_wait(barrier, NULL);
        (void)(rc == COIL_EBROKENBARRIER ? stress_caught(rc) : either(rc));
        MUST(coil_barrier_n_waiting(barrier) <= PARTIES);
    }
}

static void check_disorder(uint64_t *random)
{
    crew_begin(&parties, come_and_go, PARTIES + 2, true, random);
    while (!all_through(&parties)) {
        for (unsigned pause = stress_random(random, 64); pause > 0; pause--)
            yield();
        stress_ok(stress_random(random, 4) > 0 ? coil_barrier_reset(barrier) : coil_barrier_abort(barrier));
    }
    crew_end(&parties);
    stress_ok(coil_barrier_reset(barrier));
    MUST(coil_barrier_n_waiting(barrier) == 0 && !coil_barrier_broken(barrier));
}

static uint64_t one_round(uint64_t *random)
{
    stress_ok(coil_barrier_new(PARTIES, &barrier));
    check_generations(random);
    check_disorder(random);
    check_generations(random);
    coil_barrier_free(barrier);
    return PARTIES * (2 * GENERATIONS + VISITS);
}

CREW_MAIN(one_round)
