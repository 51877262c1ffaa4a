/*
 * idle.h - which workers search, which are parked, and whom to wake
 *
 * A worker runs tasks; without any it searches other workers' queues; if it finds none there, it parks. At most half of the
 * workers search at a time. Whoever leaves work behind for others wakes one parked worker, unless somebody searches already:
 * a searcher that finds work, and was the last to search, wakes the next. So workers come one by one, as long as there is
 * work to be found, and a submitter pays a fence and a load of a word that rarely changes.
 *
 *   state       entered by                                     left by
 *   running     coil__idle_end_search, coil__idle_unpark_self  begin_search, park
 *   searching   begin_search; coil__idle_pick, by a waker      end_search, park
 *   parked      coil__idle_park                                unpark_self; pick, by a waker
 *
 * The protocol, which loses no wake-up:
 *
 *   worker going idle, or ending its search             submitter, any thread
 *
 *   [IDLE-1] RMW state: parked + 1, no longer searching    push
 *   fence                                                  fence
 *   nobody searches now: look at every queue;              [IDLE-2] load state
 *     there is work: unpark_self, and go for it            searching == 0 and parked > 0: wake one
 *   sleep
 *
 * Of the two fences (seq_cst) one is first. The submitter's first: the look sees the push. The worker's first: the submitter's
 * load sees that it has parked, or ended its search. Who ends a search, was the last [IDLE-3], and has found nothing looks
 * like one who parks; who has found something wakes another anyway if there is more.
 *
 * I1 the upper half of state, parked, is the length of `parked`; both change together, under the mutex
 * I2 a worker is in `parked` iff it is parked; sleepers[w] is in no other list
 */
#ifndef COIL_SCHED_IDLE_H
#define COIL_SCHED_IDLE_H

#include <pthread.h>
#include <stdalign.h>

#include "../src/base/atomic.h"
#include "../src/base/list.h"

#define COIL_WORKERS_MAX 256

typedef struct coil__idle {
    alignas(64) _Atomic uint32_t state; /* searching | parked << 16 */
    unsigned workers;                   /* how many there are */
    alignas(64) pthread_mutex_t mutex;
    coil__list parked;                     /* under the mutex; the last to park is first: its caches are warm */
    coil__node sleepers[COIL_WORKERS_MAX]; /* I2; by number of the worker */
} coil__idle;

/* All of @workers are running. */
void coil__idle_init(coil__idle *idle, unsigned workers);
void coil__idle_fini(coil__idle *idle);

/* A running worker wants to search. False: enough others do; it parks instead. */
bool coil__idle_begin_search(coil__idle *idle);

/* A searching worker has found work. True: nobody searches any more, and the caller wakes another (coil__idle_pick). */
bool coil__idle_end_search(coil__idle *idle);

/*
 * @worker is about to sleep. @searching: it gives up its search, else it was running. True: nobody searches any more,
 * and it must look at every queue before it sleeps; if it finds work, it calls coil__idle_unpark_self.
 */
bool coil__idle_park(coil__idle *idle, unsigned worker, bool searching);

/*
 * @worker, which has parked, does not sleep, or was woken by whatever. True: it is running. False: somebody has
 * picked it: it is searching, and if it has not been woken by that yet, it will be.
 */
bool coil__idle_unpark_self(coil__idle *idle, unsigned worker);

/*
 * Any thread, after it has pushed work that others can take: a parked worker, which is searching from now on, for the
 * caller to wake; -1: nobody has to be woken.
 */
int coil__idle_pick(coil__idle *idle);

/*
 * Any thread: whether coil__idle_pick would pick somebody. A glance, without the fence: it may be wrong for a moment, so who
 * relies on it calls coil__idle_pick soon.
 */
static inline bool coil__idle_wants_work(const coil__idle *idle)
{
    uint32_t state = load_relaxed(&idle->state); /* [IDLE-2] relaxed: a hint */
    return state >= 1u << 16 && (uint16_t)state == 0;
}

/* Whether all workers were parked a moment ago. */
bool coil__idle_all_parked(const coil__idle *idle);

#endif
