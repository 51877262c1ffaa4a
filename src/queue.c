/*
 * queue.c - queues between tasks: first in first out, last in first out, least first
 *
 * Called on the loop's thread, and in a runtime on any worker's. put and get wait only while they cannot proceed; who
 * is woken and finds that somebody was faster queues up again at the end. The items lie in one growing array: a ring
 * for FIFO, a stack for LIFO, a binary heap for priorities. Source: asyncio.queues; heapq, comparison by comparison,
 * so that ties come out alike.
 *
 *   Call        finds, under the latch           does, before it leaves the latch
 *   put         room                             stores the item, wakes a getter
 *               none                             enlists among the putters; woken, looks again
 *   get         an item                          takes it, wakes a putter
 *               none                             enlists among the getters; woken, looks again
 *   either,     there is what it waited for      wakes the next of its kind: its own turn is not taken
 *   raising     nothing, or it was cancelled     nothing: whoever makes room or puts will find the others
 *   join        unfinished items                 enlists
 *   task_done   the last unfinished item         chooses all joiners, and resolves them without the latch
 *
 * Waking: pops waiters until one could be resolved.
 *
 * I1 capacity is 0 or a power of two; head is 0 unless the order is FIFO
 * I2 a comparison that fails changes nothing: comparisons come first, moves after them
 * I3 as long as getters are pending, there are no more items than getters that were resolved and have not gone on: so
 *    no item lies there while all getters sleep. The same holds for room and putters.
 * I4 an item is in the array or somebody's: only who has got it under the latch returns it
 * I5 a priority queue's comparisons run under the latch, since the heap must stay as it is: they may not use the queue
 */
#include "queue.h"

#include <string.h>

#include "base/alloc.h"
#include "base/latch.h"
#include "sync.h"

#define ITEMS_MIN 8
#define HEAP_DEPTH_MAX 64 /* of a heap that fits into memory */

typedef struct item_order {
    int (*store)(coil_queue *q, void *item); /* there is room in the array */
    int (*take)(coil_queue *q, void **item); /* there is an item */
} item_order;

struct coil_queue {
    const item_order *order;
    coil_queue_less *less; /* of a priority queue */
    void (*drop)(void *item);
    coil__latch latch;
    ssize_t items_max;
    void **items;
    size_t head, count, capacity; /* I1 */
    size_t unfinished;
    coil__waiters getters, putters;
    coil__waiters joiners;
};

/* --- the three orders ------------------------------------------------------------------------------------------ */

static int store_last(coil_queue *q, void *item)
{
    q->items[(q->head + q->count++) & (q->capacity - 1)] = item;
    return 0;
}

static int take_first(coil_queue *q, void **item)
{
    *item = q->items[q->head];
    q->head = (q->head + 1) & (q->capacity - 1);
    q->count--;
    return 0;
}

static int take_last(coil_queue *q, void **item)
{
    *item = q->items[--q->count];
    return 0;
}

/* heapq.heappush: looks for the place along the way to the root, then moves what is in the way down. */
static int store_sorted(coil_queue *q, void *item)
{
    size_t place = q->count;
    while (place > 0) {
        size_t parent = (place - 1) >> 1;
        int before = q->less(item, q->items[parent]);
        if (before < 0)
            return before; /* I2 */
        if (!before)
            break;
        place = parent;
    }
    for (size_t i = q->count++; i != place; i = (i - 1) >> 1)
        q->items[i] = q->items[(i - 1) >> 1];
    q->items[place] = item;
    return 0;
}

/* The way of the lesser children from the root to a leaf, in a heap of @n items; its length, or what less raised. */
static int least_way(const coil_queue *q, size_t n, size_t way[])
{
    int length = 0;
    size_t i = way[0] = 0;
    while (i < n >> 1) {
        i = 2 * i + 1;
        if (i + 1 < n) {
            int before = q->less(q->items[i], q->items[i + 1]);
            if (before < 0)
                return before;
            i += !before;
        }
        way[++length] = i;
    }
    return length;
}

/*
 * heapq.heappop: the last item replaces the root; the lesser children move up along a way to a leaf, and from there the
 * item is sifted down to its place, that is, back towards the root.
 */
static int take_least(coil_queue *q, void **item)
{
    size_t n = q->count - 1, way[HEAP_DEPTH_MAX];
    void *last = q->items[n];
    int place = n > 0 ? least_way(q, n, way) : 0;
    if (place < 0)
        return place; /* I2 */
    for (; place > 0; place--) {
        int before = q->less(last, q->items[way[place]]);
        if (before < 0)
            return before; /* I2 */
        if (!before)
            break;
    }
    *item = q->items[0];
    for (int i = 0; i < place; i++)
        q->items[way[i]] = q->items[way[i + 1]];
    if (n > 0)
        q->items[way[place]] = last;
    q->count = n;
    return 0;
}

static const item_order fifo = {store_last, take_first};
static const item_order lifo = {store_last, take_last};
static const item_order priority = {store_sorted, take_least};

/* Doubles the array as often as it takes. The part of a ring that had wrapped around follows the rest. */
static bool reserve(coil_queue *q, size_t n)
{
    size_t capacity = q->capacity ? q->capacity : ITEMS_MIN;
    while (capacity < n)
        capacity *= 2;
    if (capacity == q->capacity)
        return true;
    void **items = coil__realloc(q->items, capacity * sizeof *items);
    if (!items)
        return false;
    if (q->head + q->count > q->capacity)
        memcpy(items + q->capacity, items, (q->head + q->count - q->capacity) * sizeof *items);
    q->items = items;
    q->capacity = capacity;
    return true;
}

int coil__queue_reserve(coil_queue *q, size_t n)
{
    coil__guard guard = coil__guard_enter(&q->latch);
    bool done = reserve(q, n);
    coil__guard_leave(&guard);
    return done ? 0 : coil_raise(-ENOMEM, NULL);
}

/* --- making and freeing ---------------------------------------------------------------------------------------- */

static int queue_new(ssize_t items_max, const item_order *order, coil_queue_less *less, coil_queue **queue)
{
    coil_queue *q = coil__object_alloc(sizeof *q);
    if (!q)
        return coil_raise(-ENOMEM, NULL);
    *q = (coil_queue){.order = order, .less = less, .items_max = items_max};
    coil__waiters_init(&q->getters);
    coil__waiters_init(&q->putters);
    coil__waiters_init(&q->joiners);
    coil__latch_init(&q->latch);
    *queue = q;
    return 0;
}

int coil_queue_new(ssize_t items_max, coil_queue **queue)
{
    return queue_new(items_max, &fifo, NULL, queue);
}

int coil_lifo_queue_new(ssize_t items_max, coil_queue **queue)
{
    return queue_new(items_max, &lifo, NULL, queue);
}

int coil_priority_queue_new(ssize_t items_max, coil_queue_less *less, coil_queue **queue)
{
    coil_assert(less);
    return queue_new(items_max, &priority, less, queue);
}

void coil_queue_set_drop(coil_queue *queue, void (*drop)(void *item))
{
    coil_assert(queue);
    queue->drop = drop;
}

static void drop_item(coil_queue *q, void *item)
{
    if (q->drop)
        q->drop(item);
}

void coil_queue_free(coil_queue *queue)
{
    if (!queue)
        return;
    coil__waiters_fini(&queue->getters);
    coil__waiters_fini(&queue->putters);
    coil__waiters_fini(&queue->joiners);
    for (size_t i = 0; i < queue->count; i++)
        drop_item(queue, queue->items[(queue->head + i) & (queue->capacity - 1)]);
    coil__free(queue->items);
    coil__object_free(queue, sizeof *queue);
}

/* --- put and get ----------------------------------------------------------------------------------------------- */

static inline bool is_empty(const coil_queue *q)
{
    return q->count == 0;
}

static inline bool is_full(const coil_queue *q)
{
    return q->items_max > 0 && q->count >= (size_t)q->items_max;
}

/*
 * Resolves the first waiter that is not done, and takes all up to it out of the list; under the latch. Nobody runs on
 * a closed loop; the item that was put or taken stays put or taken then, so that this is no failure of the call.
 */
static void wake_next(coil__waiters *waiters)
{
    while (!coil__list_empty(&waiters->list)) {
        coil__waiter *first = coil__waiter_of_node(coil__list_pop(&waiters->list));
        int rc = coil__waiter_pending(first) ? coil__waiter_wake(first) : COIL_EINVALIDSTATE;
        if (rc == COIL_EINVALIDSTATE)
            continue;
        coil_error_release(coil_catch(rc));
        return;
    }
}

/* Waits for a turn. Whoever was given one and cannot take it passes it on (I3). */
static int wait_turn(coil_queue *q, coil__waiters *waiters, coil__guard *guard, bool (*blocked)(const coil_queue *))
{
    bool granted;
    int rc = coil__waiters_wait_granted(waiters, guard, &granted);
    if (rc < 0 && granted && !blocked(q))
        wake_next(waiters);
    return rc;
}

/*
 * Puts, if there is room. @guard holds the latch, and has left it on return. Who waits for its turn passes that on to
 * @next if it comes to nothing, since the room is still there; NULL: nobody.
 */
static int put_and_leave(coil_queue *q, void *item, coil__waiters *next, coil__guard *guard)
{
    bool memory = reserve(q, q->count + 1);
    int rc = memory ? q->order->store(q, item) : -ENOMEM;
    if (coil_likely(rc == 0)) {
        q->unfinished++;
        wake_next(&q->getters);
    } else if (next) {
        wake_next(next);
    }
    coil__guard_leave(guard);
    return memory ? rc : coil_raise(-ENOMEM, NULL);
}

/* Takes an item, of which there is one; the rest as above. */
static int get_and_leave(coil_queue *q, void **item, coil__waiters *next, coil__guard *guard)
{
    int rc = q->order->take(q, item);
    if (coil_likely(rc == 0))
        wake_next(&q->putters);
    else if (next)
        wake_next(next);
    coil__guard_leave(guard);
    return rc;
}

int coil_queue_put_nowait(coil_queue *queue, void *item)
{
    coil_assert(queue);
    coil__guard guard = coil__guard_enter(&queue->latch);
    if (coil_likely(!is_full(queue)))
        return put_and_leave(queue, item, NULL, &guard);
    coil__guard_leave(&guard);
    return coil_raise(COIL_EQUEUEFULL, NULL);
}

int coil_queue_get_nowait(coil_queue *queue, void **item)
{
    coil_assert(queue);
    coil_assert(item);
    coil__guard guard = coil__guard_enter(&queue->latch);
    if (coil_likely(!is_empty(queue)))
        return get_and_leave(queue, item, NULL, &guard);
    coil__guard_leave(&guard);
    return coil_raise(COIL_EQUEUEEMPTY, NULL);
}

int coil_queue_put(coil_queue *queue, void *item)
{
    coil_assert(queue);
    COIL_TRY(coil__task_may_go_on());
    int rc = 0;
    coil__guard guard = coil__guard_enter(&queue->latch);
    while (rc == 0 && is_full(queue))
        rc = wait_turn(queue, &queue->putters, &guard, is_full);
    if (rc == 0)
        return put_and_leave(queue, item, &queue->putters, &guard);
    coil__guard_leave(&guard);
    return rc;
}

int coil_queue_get(coil_queue *queue, void **item)
{
    coil_assert(queue);
    coil_assert(item);
    COIL_TRY(coil__task_may_go_on());
    int rc = 0;
    coil__guard guard = coil__guard_enter(&queue->latch);
    while (rc == 0 && is_empty(queue))
        rc = wait_turn(queue, &queue->getters, &guard, is_empty);
    if (rc == 0)
        return get_and_leave(queue, item, &queue->getters, &guard);
    coil__guard_leave(&guard);
    return rc;
}

int coil_queue_join(coil_queue *queue)
{
    coil_assert(queue);
    COIL_TRY(coil__task_may_go_on());
    coil__guard guard = coil__guard_enter(&queue->latch);
    int rc = queue->unfinished > 0 ? coil__waiters_wait(&queue->joiners, &guard) : 0;
    coil__guard_leave(&guard);
    return rc;
}

int coil_queue_task_done(coil_queue *queue)
{
    coil_assert(queue);
    int rc = 0;
    coil__guard guard = coil__guard_enter(&queue->latch);
    bool any = queue->unfinished > 0;
    queue->unfinished -= any;
    if (any && queue->unfinished == 0)
        rc = coil__waiters_wake(&queue->joiners, &guard, SIZE_MAX);
    else
        coil__guard_leave(&guard);
    coil_error_release(coil_catch(rc)); /* nobody runs on a closed loop: no failure of this call */
    return any ? 0 : coil_raise(-EINVAL, "task_done() called too many times");
}

/* Queries are const for the caller; the latch is taken. */
static coil_queue *latched(const coil_queue *queue)
{
    coil_assert(queue);
    return (coil_queue *)(uintptr_t)queue;
}

size_t coil_queue_qsize(const coil_queue *queue)
{
    coil_queue *q = latched(queue);
    COIL__GUARD(&q->latch);
    return q->count;
}

bool coil_queue_empty(const coil_queue *queue)
{
    coil_queue *q = latched(queue);
    COIL__GUARD(&q->latch);
    return is_empty(q);
}

bool coil_queue_full(const coil_queue *queue)
{
    coil_queue *q = latched(queue);
    COIL__GUARD(&q->latch);
    return is_full(q);
}

ssize_t coil_queue_maxsize(const coil_queue *queue)
{
    coil_assert(queue);
    return queue->items_max;
}

/* --- as coroutines --------------------------------------------------------------------------------------------- */

struct put_args {
    coil_queue *queue;
    void *item;
};

/* The item never got into the queue: it goes where the queue's other items go in the end. */
static void put_drop(void *arg)
{
    struct put_args *args = arg;
    drop_item(args->queue, args->item);
    coil__object_free(args, sizeof *args);
}

static int put_body(void *arg, void **result)
{
    (void)result;
    struct put_args *args = arg;
    int rc = coil_queue_put(args->queue, args->item);
    if (rc < 0)
        put_drop(args);
    else
        coil__object_free(args, sizeof *args);
    return rc;
}

/* What a put is that there was no memory for. */
static int put_failed(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return coil_raise(-ENOMEM, NULL);
}

coil_coro coil_queue_put_coro(coil_queue *queue, void *item)
{
    coil_assert(queue);
    struct put_args *args = coil__object_alloc(sizeof *args);
    if (!args) {
        drop_item(queue, item);
        return coil_coro_make(put_failed, NULL, NULL, 0, "coil_queue_put");
    }
    *args = (struct put_args){queue, item};
    return coil_coro_make(put_body, args, put_drop, 0, "coil_queue_put");
}

static int get_body(void *queue, void **result)
{
    return coil_queue_get(queue, result);
}

coil_coro coil_queue_get_coro(coil_queue *queue)
{
    return coil_coro_make(get_body, queue, NULL, 0, "coil_queue_get");
}

static int join_body(void *queue, void **result)
{
    (void)result;
    return coil_queue_join(queue);
}

coil_coro coil_queue_join_coro(coil_queue *queue)
{
    return coil_coro_make(join_body, queue, NULL, 0, "coil_queue_join");
}
