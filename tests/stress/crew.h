/*
 * crew.h - what the stress programs of locks, queues and the like have in common: members, and killers that cancel them
 *
 * A program runs rounds until its time is over. A round spawns members, which do what the program is about, and, once
 * all have begun, killers: they cancel random members from whatever worker they run on, at any moment: while these
 * run, wait, are woken, or are being stolen. Members take a cancellation as an answer and go on.
 *
 * Killers tire before the members are through, mostly: who was not woken stays asleep then, since no cancellation
 * helps it on. A round that takes longer than a minute ends the program.
 */
#ifndef COIL_STRESS_CREW_H
#define COIL_STRESS_CREW_H

#include "../support/stress.h"

#include <unistd.h>

#include "../../src/base/atomic.h"
#include "../../src/sync.h"

enum { KILLERS = 2, KILLS_MAX = 400, MEMBERS_MAX = 64, ROUND_SECONDS = 60 };

struct crew;
typedef struct member {
    struct crew *crew;
    unsigned index;
    uint64_t random;
} member;

typedef struct crew {
    void (*body)(member *m); /* what it calls may raise -ECANCELED at any time */
    unsigned count, killer_count;
    _Atomic unsigned begun;
    _Atomic unsigned left;   /* members that are not through */
    _Atomic bool truce;      /* nobody is to be cancelled any more */
    member members[MEMBERS_MAX], killers[KILLERS];
    coil_task *tasks[MEMBERS_MAX], *killer_tasks[KILLERS];
} crew;

/* 0, or -ECANCELED, which was to be expected. */
static inline int either(int rc)
{
    if (rc == -ECANCELED)
        return stress_caught(rc);
    stress_ok(rc);
    return 0;
}

/* Lets others run; a cancellation that comes meanwhile is forgotten. */
static inline void yield(void)
{
    (void)either(coil_sleep(0));
}

static inline coil_task *spawn(coil_coro coro)
{
    coil_task *task;
    stress_ok(coil_create_task(coro, &task));
    return task;
}

static inline int member_body(void *arg, void **result)
{
    member *m = arg;
    (void)result;
    fetch_add_relaxed(&m->crew->begun, 1); /* [CREW-2] */
    m->crew->body(m);
    fetch_sub_acq_rel(&m->crew->left, 1); /* [CREW-1] acq_rel: who sees 0 sees what the members have done */
    return 0;
}

static inline bool all_through(crew *c)
{
    return load_acquire(&c->left) == 0; /* [CREW-1] */
}

/* [CREW-2] relaxed: only when matters, not what else is seen then. */
static inline bool peaceful(crew *c)
{
    return all_through(c) || load_relaxed(&c->truce);
}

static inline int killer_body(void *arg, void **result)
{
    member *m = arg;
    crew *c = m->crew;
    (void)result;
    for (unsigned n = stress_random(&m->random, KILLS_MAX); n > 0 && !peaceful(c); n--) {
        coil_task_cancel(c->tasks[stress_random(&m->random, c->count)], NULL);
        for (unsigned pause = stress_random(&m->random, 4); pause > 0; pause--)
            yield();
    }
    return 0;
}

static inline member new_member(crew *c, unsigned index, uint64_t *random)
{
    uint64_t own = *random;
    (void)stress_random(random, 2);
    return (member){.crew = c, .index = index, .random = own ^ UINT64_C(0xd1342543de82ef95)};
}

static inline void begin_killing(crew *c, uint64_t *random)
{
    while (load_relaxed(&c->begun) < c->count) /* [CREW-2] */
        yield();
    c->killer_count = KILLERS;
    for (unsigned i = 0; i < c->killer_count; i++) {
        c->killers[i] = new_member(c, i, random);
        c->killer_tasks[i] = spawn(coil_coro_of(killer_body, &c->killers[i]));
    }
}

/* Spawns @count members, and the killers if @killed. */
static inline void crew_begin(crew *c, void (*body)(member *), unsigned count, bool killed, uint64_t *random)
{
    c->body = body;
    c->count = count;
    c->killer_count = 0;
    store_relaxed(&c->left, count);  /* [CREW-1] not shared yet */
    store_relaxed(&c->begun, 0);     /* [CREW-2] */
    store_relaxed(&c->truce, false); /* [CREW-2] */
    for (unsigned i = 0; i < count; i++) {
        c->members[i] = new_member(c, i, random);
        c->tasks[i] = spawn(coil_coro_of(member_body, &c->members[i]));
    }
    if (killed)
        begin_killing(c, random);
}

static inline void join(coil_task *task)
{
    (void)either(coil_join(task, NULL)); /* cancelled in its last step */
}

/* From here on nobody is cancelled. */
static inline void crew_end_killing(crew *c)
{
    store_relaxed(&c->truce, true); /* [CREW-2] */
    for (unsigned i = 0; i < c->killer_count; i++)
        join(c->killer_tasks[i]);
    c->killer_count = 0;
}

/* Waits for the members. */
static inline void crew_end(crew *c)
{
    for (unsigned i = 0; i < c->count; i++)
        (void)either(coil_await(c->tasks[i], NULL));
    crew_end_killing(c);
    for (unsigned i = 0; i < c->count; i++)
        coil_release(c->tasks[i]);
}

/* How many are in a list, under its object's latch. */
static inline unsigned waiting(const coil__waiters *w, coil__latch *latch)
{
    unsigned n = 0;
    COIL__GUARD(latch);
    for (const coil__node *node = w->list.head.next; node != &w->list.head; node = node->next)
        n++;
    return n;
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

static uint64_t (*crew_round)(uint64_t *random); /* how many operations it did */

static inline int run_rounds(void *arg, void **result)
{
    (void)arg;
    (void)result;
    uint64_t random = stress_random_state(0), operations = 0, rounds = 0;
    for (; rounds == 0 || stress_time_left(); rounds++) {
        alarm(ROUND_SECONDS);
        operations += crew_round(&random);
    }
    printf("%" PRIu64 " operations in %" PRIu64 " rounds\n", operations, rounds);
    return 0;
}

#define CREW_MAIN(round)                                          \
    int main(int argc, char **argv)                               \
    {                                                             \
        crew_round = round;                                       \
        return stress_main(argc, argv, run_rounds, NULL);         \
    }

#endif
