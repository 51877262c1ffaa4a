/*
 * clock.c - virtual time, and what happens when no callback is ready
 *
 * The clock of all loops. idle() is called by the loop that is running, on its thread, when it would sleep; with
 * several workers, by one of them when all would. Then one outstanding job or thread runs until it ends, pauses or
 * blocks, or a waiting shutdown of an executor ends, or the time jumps to the next timer.
 *
 * I1 `first` lists jobs and threads in the order in which they became outstanding; guarded by world_lock()
 * I2 only idle() and the builtin busy() move the time
 *
 * Source: the section "Time, jobs and threads" of the scenario language.
 */
#include <inttypes.h>
#include <stdio.h>

#include "world.h"

_Atomic int64_t world_now;

static struct outstanding *first; /* I1 */

static int64_t clock_now(coil_clock *clock)
{
    (void)clock;
    return world_now;
}

static _Noreturn void deadlock(void)
{
    char text[64];
    snprintf(text, sizeof text, "[%" PRId64 "] - DEADLOCK pending=%zu", world_now, world_pending());
    world_raw(text);
    world_finish();
}

void outstanding_add(struct outstanding *o)
{
    o->next = NULL;
    world_lock();
    struct outstanding **end = &first;
    while (*end)
        end = &(*end)->next;
    *end = o;
    world_unlock();
}

/* The one with the smallest due time, the first of equals. */
static struct outstanding **first_due(int64_t *when)
{
    struct outstanding **found = NULL;
    for (struct outstanding **o = &first; *o; o = &(*o)->next) {
        int64_t due = (*o)->due(*o);
        if (due >= 0 && (!found || due < *when)) {
            found = o;
            *when = due;
        }
    }
    return found;
}

/* Takes the first out of the list if it is due by @deadline, and moves the time there; else NULL. */
static struct outstanding *take_due(int64_t deadline)
{
    int64_t when = 0;
    struct outstanding *o = NULL;
    world_lock();
    struct outstanding **link = first_due(&when);
    if (link && when <= deadline) {
        o = *link;
        *link = o->next;
        if (when > world_now)
            world_now = when;
    }
    world_unlock();
    return o;
}

/* False if none is due by then. */
static bool run_one(int64_t deadline)
{
    struct outstanding *o = take_due(deadline);
    if (o)
        o->go(o);
    return o != NULL;
}

static bool clock_idle(coil_clock *clock, int64_t deadline)
{
    (void)clock;
    world_check_limit();
    if (world_wake_end() || run_one(deadline) || jobs_open_gate())
        return true;
    if (deadline == COIL_FOREVER)
        deadlock();
    if (deadline > world_now)
        world_now = deadline;
    return true;
}

coil_clock world_clock = {.now = clock_now, .idle = clock_idle};
