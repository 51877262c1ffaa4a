/*
 * event.c - events on several workers: set wakes all who wait, once, and nobody who comes later
 *
 *   a pulse: once all members wait, others set and clear the event at the same time, while some members are being
 *   cancelled. That wakes all the rest.
 *
 *   an open door: members come while the event is being set, and killers cancel them. All get through.
 *
 *   the last one out: who was woken frees the event, while the setter may still be inside coil_event_set().
 */
#include "crew.h"

enum { MEMBERS = 32, SETTERS = 3, PULSES = 3, HANDSHAKES = 100 };

static coil_event *event;
static crew waiters;

static _Atomic unsigned returned;

static void wait_once(member *m)
{
    (void)m;
    (void)either(coil_event_wait(event));
    fetch_add_relaxed(&returned, 1); /* [EVENT-1] relaxed: a count, looked at until it is right */
}

static void pulse(member *m)
{
    (void)m;
    for (unsigned n = 0; n < PULSES; n++) {
        coil_event_set(event);
        coil_event_clear(event);
    }
}

static void check_pulse(uint64_t *random)
{
    crew setters;
    store_relaxed(&returned, 0); /* [EVENT-1] */
    crew_begin(&waiters, wait_once, MEMBERS, false, random);
    while (waiting(&event->waiters, &event->latch) < MEMBERS)
        yield();
    crew_begin(&setters, pulse, SETTERS, false, random);
    for (unsigned n = stress_random(random, MEMBERS); n > 0; n--)
        coil_task_cancel(waiters.tasks[stress_random(random, MEMBERS)], NULL);
    crew_end(&waiters); /* all, although nobody sets it any more */
    crew_end(&setters);
    MUST(load_relaxed(&returned) == MEMBERS);
    MUST(!coil_event_is_set(event));
}

static void go_through(member *m)
{
    for (unsigned pause = stress_random(&m->random, 8); pause > 0; pause--)
        yield();
    while (either(coil_event_wait(event)) < 0) {
    }
    MUST(coil_event_is_set(event));
}

static void check_door(uint64_t *random)
{
    crew_begin(&waiters, go_through, MEMBERS, true, random);
    for (unsigned pause = stress_random(random, 8); pause > 0; pause--)
        yield();
    coil_event_set(event);
    crew_end(&waiters);
    coil_event_clear(event);
}

static int set_it(void *arg, void **result)
{
    (void)result;
    coil_event_set(arg);
    return 0;
}

static void check_last_out(void)
{
    for (unsigned i = 0; i < HANDSHAKES; i++) {
        coil_event *done;
        stress_ok(coil_event_new(&done));
        coil_task *setter = spawn(coil_coro_of(set_it, done));
        stress_ok(coil_event_wait(done));
        coil_event_free(done);
        join(setter);
    }
}

static uint64_t one_round(uint64_t *random)
{
    stress_ok(coil_event_new(&event));
    check_pulse(random);
    check_door(random);
    coil_event_free(event);
    check_last_out();
    return 2 * MEMBERS + HANDSHAKES;
}

CREW_MAIN(one_round)
