/*
 * queue.c - queues on several workers: nothing is lost, nothing comes twice, whoever is cancelled when
 *
 * Producers put numbered items, consumers get them, by all the ways there are, through a queue of random kind and
 * size, while killers cancel both. A cancelled put has put nothing, a cancelled get has taken nothing: both are tried
 * again, so that an item which was put or taken all the same is seen twice or never. Of a first-in-first-out queue
 * one consumer gets one producer's items in their order. join() returns when all was done, not before. Then the
 * consumers, who wait, are sent home, by items that say so or by cancellation, and the queue is freed.
 *
 * Handing over: some of those who wait go home when they are cancelled, and there are just as many items, or as much
 * room, as the others need. They get it, although it may have woken one who went home.
 *
 * At last several tasks fill a priority queue at the same time, and what comes out is sorted.
 */
#include "crew.h"

#include <string.h>

enum { PRODUCERS = 5, CONSUMERS = 5, ITEMS = 120, WAITERS = 16, SORTED = 100 };

typedef struct item {
    unsigned producer, number; /* plain memory: ThreadSanitizer sees if it is handed over without synchronisation */
    uint64_t rank;
    _Atomic unsigned taken;
} item;

static coil_queue *queue;
static bool first_in_first_out;
static item items[PRODUCERS][ITEMS], last_item;
static item sorted[PRODUCERS][SORTED / PRODUCERS];
static crew producers, consumers;
static _Atomic unsigned done;
static _Atomic bool going_home;

static int by_rank(const void *a, const void *b)
{
    return ((const item *)a)->rank < ((const item *)b)->rank;
}

static int put_somehow(member *m, void *what)
{
    if (stress_random(&m->random, 4) > 0)
        return either(coil_queue_put(queue, what));
    int rc = coil_queue_put_nowait(queue, what);
    if (rc != COIL_EQUEUEFULL)
        return either(rc);
    stress_caught(rc);
    yield();
    return -EAGAIN;
}

static void produce(member *m)
{
    for (unsigned n = 0; n < ITEMS;) {
        item *it = &items[m->index][n];
        it->producer = m->index;
        it->number = n;
        it->rank = stress_random(&m->random, 1000);
        if (put_somehow(m, it) == 0)
            n++;
    }
}

static int get_somehow(member *m, void **what)
{
    if (stress_random(&m->random, 4) > 0)
        return either(coil_queue_get(queue, what));
    int rc = coil_queue_get_nowait(queue, what);
    if (rc != COIL_EQUEUEEMPTY)
        return either(rc);
    stress_caught(rc);
    yield();
    return -EAGAIN;
}

static void take(item *it, unsigned seen[PRODUCERS])
{
    MUST(fetch_add_relaxed(&it->taken, 1) == 0); /* [QUEUE-1] relaxed: only whether it is the first */
    MUST(!first_in_first_out || it->number >= seen[it->producer]);
    seen[it->producer] = it->number + 1;
    fetch_add_acq_rel(&done, 1); /* [QUEUE-2] acq_rel: who sees them all sees what was done with them */
    stress_ok(coil_queue_task_done(queue));
}

/* Until it gets the last item, or is cancelled when all are sent home. */
static void consume(member *m)
{
    unsigned seen[PRODUCERS] = {0};
    void *what = NULL;
    for (;;) {
        int rc = get_somehow(m, &what);
        if (rc == -ECANCELED && load_relaxed(&going_home)) /* [QUEUE-3] */
            return;
        if (rc == 0 && what == &last_item)
            break;
        if (rc == 0)
            take(what, seen);
    }
    stress_ok(coil_queue_task_done(queue));
}

static void new_queue(uint64_t *random)
{
    static const ssize_t sizes[] = {1, 2, 7, 64, 0};
    ssize_t size = sizes[stress_random(random, 5)];
    unsigned kind = stress_random(random, 4);
    first_in_first_out = kind < 2;
    if (kind < 2)
        stress_ok(coil_queue_new(size, &queue));
    else if (kind == 2)
        stress_ok(coil_lifo_queue_new(size, &queue));
    else
        stress_ok(coil_priority_queue_new(size, by_rank, &queue));
}

static void send_home(uint64_t *random)
{
    bool by_items = stress_random(random, 2) == 0;
    store_relaxed(&going_home, !by_items); /* [QUEUE-3] */
    for (unsigned i = 0; i < CONSUMERS; i++) {
        if (by_items)
            stress_ok(coil_queue_put(queue, &last_item));
        while (!by_items && !coil_future_done(consumers.tasks[i])) {
            coil_task_cancel(consumers.tasks[i], NULL);
            yield();
        }
    }
}

static void check_storm(uint64_t *random)
{
    new_queue(random);
    memset(items, 0, sizeof items);
    store_relaxed(&done, 0);           /* [QUEUE-2] */
    store_relaxed(&going_home, false); /* [QUEUE-3] relaxed: only when matters */
    crew_begin(&consumers, consume, CONSUMERS, true, random);
    crew_begin(&producers, produce, PRODUCERS, true, random);
    crew_end(&producers);
    stress_ok(coil_queue_join(queue));
    MUST(load_acquire(&done) == PRODUCERS * ITEMS); /* [QUEUE-2] each once: see take() */
    MUST(coil_queue_empty(queue));
    crew_end_killing(&consumers);
    send_home(random);
    crew_end(&consumers);
    coil_queue_free(queue);
}

/* --- handing over ------------------------------------------------------------------------------------------------ */

static bool goes_home(const member *m)
{
    return m->index % 2 == 0;
}

/* Who gets something, but was to go home, gives it back. */
static void get_one(member *m)
{
    void *what;
    if (either(coil_queue_get(queue, &what)) == 0 && goes_home(m))
        stress_ok(coil_queue_put_nowait(queue, what));
}

static void put_one(member *m)
{
    void *what;
    if (either(coil_queue_put(queue, &last_item)) == 0 && goes_home(m))
        stress_ok(coil_queue_get_nowait(queue, &what));
}

static void give_items(member *m)
{
    (void)m;
    for (unsigned n = 0; n < WAITERS / 2; n++)
        stress_ok(coil_queue_put_nowait(queue, &last_item));
}

static void give_room(member *m)
{
    void *what;
    (void)m;
    for (unsigned n = 0; n < WAITERS / 2; n++)
        stress_ok(coil_queue_get_nowait(queue, &what));
}

static void send_some_home(member *m)
{
    (void)m;
    for (unsigned i = 0; i < WAITERS; i++)
        if (goes_home(&consumers.members[i]))
            coil_task_cancel(consumers.tasks[i], NULL);
}

/* @wait: what the members do. @give: what helps half of them. */
static void hand_over(void (*wait)(member *), void (*give)(member *), uint64_t *random)
{
    crew givers, cancellers;
    crew_begin(&consumers, wait, WAITERS, false, random);
    while (load_relaxed(&consumers.begun) < WAITERS) /* [CREW-2] */
        yield();
    bool first = stress_random(random, 2) == 0;
    crew_begin(&givers, first ? give : send_some_home, 1, false, random);
    crew_begin(&cancellers, first ? send_some_home : give, 1, false, random);
    crew_end(&givers);
    crew_end(&cancellers);
    crew_end(&consumers);
}

static void check_hand_over(uint64_t *random)
{
    stress_ok(coil_queue_new(WAITERS / 2, &queue));
    hand_over(get_one, give_items, random);
    MUST(coil_queue_empty(queue));
    give_items(NULL);
    hand_over(put_one, give_room, random);
    MUST(coil_queue_full(queue));
    coil_queue_free(queue);
}

/* --- the order --------------------------------------------------------------------------------------------------- */

static void fill(member *m)
{
    for (unsigned n = 0; n < SORTED / PRODUCERS; n++) {
        sorted[m->index][n].rank = stress_random(&m->random, 1000);
        stress_ok(coil_queue_put(queue, &sorted[m->index][n]));
    }
}

static void check_order(uint64_t *random)
{
    stress_ok(coil_priority_queue_new(0, by_rank, &queue));
    crew_begin(&producers, fill, PRODUCERS, false, random);
    crew_end(&producers);
    MUST(coil_queue_qsize(queue) == SORTED);
    uint64_t least = 0;
    for (unsigned n = 0; n < SORTED; n++) {
        void *next;
        stress_ok(coil_queue_get_nowait(queue, &next));
        MUST(((item *)next)->rank >= least);
        least = ((item *)next)->rank;
    }
    coil_queue_free(queue);
}

static uint64_t one_round(uint64_t *random)
{
    check_storm(random);
    check_hand_over(random);
    check_order(random);
    return PRODUCERS * ITEMS + WAITERS + SORTED;
}

CREW_MAIN(one_round)
