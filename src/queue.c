/*
 * queue.c - queues between tasks: first in first out, last in first out, least first
 *
 * Called on the loop's thread. put and get wait only while they cannot proceed; who is woken and finds that
 * somebody was faster queues up again at the end. The items lie in one growing array: a ring for FIFO, a stack for
 * LIFO, a binary heap for priorities. Source: asyncio.queues; heapq, comparison by comparison, so that ties come out
 * alike.
 *
 * I1 capacity is 0 or a power of two; head is 0 unless the order is FIFO
 * I2 a comparison that fails changes nothing: comparisons come first, moves after them
 */
#include "queue.h"

#include <string.h>

#include "base/alloc.h"
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
    void **items;
    size_t head, count, capacity; /* I1 */
    ssize_t items_max;
    size_t unfinished;
    coil__waiters getters, putters;
    coil_event finished;
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
int coil__queue_reserve(coil_queue *q, size_t n)
{
    size_t capacity = q->capacity ? q->capacity : ITEMS_MIN;
    while (capacity < n)
        capacity *= 2;
    if (capacity == q->capacity)
        return 0;
    void **items = coil__realloc(q->items, capacity * sizeof *items);
    if (!items)
        return coil_raise(-ENOMEM, NULL);
    if (q->head + q->count > q->capacity)
        memcpy(items + q->capacity, items, (q->head + q->count - q->capacity) * sizeof *items);
    q->items = items;
    q->capacity = capacity;
    return 0;
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
    coil__event_init(&q->finished);
    coil_event_set(&q->finished);
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
    coil__waiters_fini(&queue->finished.waiters);
    for (size_t i = 0; i < queue->count; i++)
        drop_item(queue, queue->items[(queue->head + i) & (queue->capacity - 1)]);
    coil__free(queue->items);
    coil__object_free(queue, sizeof *queue);
}

/* --- put and get ----------------------------------------------------------------------------------------------- */

/*
 * Resolves the first waiter that is not done, and takes all up to it out of the list. Nobody runs on a closed loop; the
 * item that was put or taken stays put or taken then, so that this is no failure of the call.
 */
static void wake_next(coil__waiters *waiters)
{
    while (!coil__list_empty(&waiters->list)) {
        coil__waiter *first = coil__waiter_of_node(coil__list_pop(&waiters->list));
        if (coil__waiter_pending(first)) {
            coil_error_release(coil_catch(coil__waiter_wake(first)));
            return;
        }
    }
}

/* Waits for a turn. Whoever was given one and cannot take it passes it on. */
static int wait_turn(coil_queue *q, coil__waiters *waiters, bool (*blocked)(const coil_queue *))
{
    bool granted;
    int rc = coil__waiters_wait(waiters, &granted);
    if (rc < 0 && granted && !blocked(q))
        wake_next(waiters);
    return rc;
}

int coil_queue_put_nowait(coil_queue *queue, void *item)
{
    if (coil_queue_full(queue))
        return coil_raise(COIL_EQUEUEFULL, NULL);
    COIL_TRY(coil__queue_reserve(queue, queue->count + 1));
    COIL_TRY(queue->order->store(queue, item));
    queue->unfinished++;
    coil_event_clear(&queue->finished);
    wake_next(&queue->getters);
    return 0;
}

int coil_queue_get_nowait(coil_queue *queue, void **item)
{
    coil_assert(item);
    if (coil_queue_empty(queue))
        return coil_raise(COIL_EQUEUEEMPTY, NULL);
    COIL_TRY(queue->order->take(queue, item));
    wake_next(&queue->putters);
    return 0;
}

int coil_queue_put(coil_queue *queue, void *item)
{
    COIL_TRY(coil__task_needed());
    while (coil_queue_full(queue))
        COIL_TRY(wait_turn(queue, &queue->putters, coil_queue_full));
    int rc = coil_queue_put_nowait(queue, item);
    if (rc < 0)
        wake_next(&queue->putters); /* the room is still there, for the next in line */
    return rc;
}

int coil_queue_get(coil_queue *queue, void **item)
{
    COIL_TRY(coil__task_needed());
    while (coil_queue_empty(queue))
        COIL_TRY(wait_turn(queue, &queue->getters, coil_queue_empty));
    int rc = coil_queue_get_nowait(queue, item);
    if (rc < 0)
        wake_next(&queue->getters); /* the item is still there, for the next in line */
    return rc;
}

int coil_queue_join(coil_queue *queue)
{
    coil_assert(queue);
    COIL_TRY(coil__task_needed());
    return queue->unfinished > 0 ? coil_event_wait(&queue->finished) : 0;
}

int coil_queue_task_done(coil_queue *queue)
{
    coil_assert(queue);
    if (queue->unfinished == 0)
        return coil_raise(-EINVAL, "task_done() called too many times");
    if (--queue->unfinished == 0)
        coil_event_set(&queue->finished);
    return 0;
}

size_t coil_queue_qsize(const coil_queue *queue)
{
    coil_assert(queue);
    return queue->count;
}

bool coil_queue_empty(const coil_queue *queue)
{
    return coil_queue_qsize(queue) == 0;
}

bool coil_queue_full(const coil_queue *queue)
{
    coil_assert(queue);
    return queue->items_max > 0 && queue->count >= (size_t)queue->items_max;
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
