/*
 * inject.c - the queue that all workers share
 *
 * See inject.h for who may call what, and for I1.
 */
#include "inject.h"

void coil__inject_init(coil__inject *q)
{
    pthread_mutex_init(&q->mutex, NULL);
    coil__list_init(&q->nodes);
    store_relaxed(&q->length, 0); /* [INJ-1] nobody else knows it yet */
}

void coil__inject_fini(coil__inject *q)
{
    coil_assert(coil__list_empty(&q->nodes));
    pthread_mutex_destroy(&q->mutex);
}

/* Under the mutex. [INJ-1] relaxed: see coil__inject_length. I1 */
static void set_length(coil__inject *q, size_t length)
{
    coil_debug_assert((length == 0) == coil__list_empty(&q->nodes));
    store_relaxed(&q->length, length);
}

void coil__inject_push(coil__inject *q, coil__node *n)
{
    pthread_mutex_lock(&q->mutex);
    coil__list_append(&q->nodes, n);
    set_length(q, coil__inject_length(q) + 1);
    pthread_mutex_unlock(&q->mutex);
}

void coil__inject_push_chain(coil__inject *q, coil__list *chain, size_t count)
{
    if (count == 0)
        return;
    pthread_mutex_lock(&q->mutex);
    coil__list_splice(&q->nodes, chain);
    set_length(q, coil__inject_length(q) + count);
    pthread_mutex_unlock(&q->mutex);
}

size_t coil__inject_pop(coil__inject *q, size_t workers, size_t limit, coil__list *chain)
{
    coil_debug_assert(workers > 0);
    if (coil__inject_length(q) == 0)
        return 0;
    pthread_mutex_lock(&q->mutex);
    size_t length = coil__inject_length(q), share = length / workers + 1;
    size_t n = share < length ? share : length;
    if (n > limit)
        n = limit;
    for (size_t i = 0; i < n; i++)
        coil__list_append(chain, coil__list_pop(&q->nodes));
    set_length(q, length - n);
    pthread_mutex_unlock(&q->mutex);
    return n;
}
