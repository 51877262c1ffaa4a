/*
 * shortage.c - who waits for descriptors to be free again; see shortage.h
 *
 * Called from any thread, also with an object's latch held: the mutex is taken last, and nothing is called under it
 * that takes another. Source: asyncio's _accept_connection only tries again after a second; CPython 3.11.
 *
 * I1 `count` is the length of the list, so that nobody takes the mutex when nobody waits
 */
#include "shortage.h"

#include <pthread.h>

#include "../src/base/atomic.h"

static struct {
    pthread_mutex_t mutex;
    coil__list list;
    _Atomic unsigned count; /* I1. [SHORTAGE-1] relaxed: who misses the last close has a timer that tries again */
} waiting = {PTHREAD_MUTEX_INITIALIZER, {{&waiting.list.head, &waiting.list.head}}, 0};

void coil__shortage_init(coil__shortage *s, coil_loop *loop, const coil__handle_ops *ops)
{
    coil__node_init(&s->node);
    coil__handle_init(&s->handle, ops);
    s->loop = loop;
    s->called = false;
}

static void leave_list(coil__shortage *s)
{
    coil__node_unlink(&s->node);
    store_relaxed(&waiting.count, load_relaxed(&waiting.count) - 1); /* [SHORTAGE-1] */
}

void coil__shortage_wait(coil__shortage *s)
{
    pthread_mutex_lock(&waiting.mutex);
    coil__list_append(&waiting.list, &s->node);
    store_relaxed(&waiting.count, load_relaxed(&waiting.count) + 1); /* [SHORTAGE-1] */
    pthread_mutex_unlock(&waiting.mutex);
}

bool coil__shortage_leave(coil__shortage *s)
{
    pthread_mutex_lock(&waiting.mutex);
    if (coil__node_linked(&s->node))
        leave_list(s);
    bool called = s->called;
    pthread_mutex_unlock(&waiting.mutex);
    return called;
}

void coil__shortage_met(coil__shortage *s)
{
    pthread_mutex_lock(&waiting.mutex);
    s->called = false;
    pthread_mutex_unlock(&waiting.mutex);
}

static void call(coil__shortage *s)
{
    s->called = true;
    coil__loop_post(s->loop, &s->handle);
}

void coil__shortage_call(coil__shortage *s)
{
    pthread_mutex_lock(&waiting.mutex);
    call(s);
    pthread_mutex_unlock(&waiting.mutex);
}

void coil__shortage_ends(void)
{
    if (coil_likely(load_relaxed(&waiting.count) == 0)) /* [SHORTAGE-1] */
        return;
    pthread_mutex_lock(&waiting.mutex);
    while (!coil__list_empty(&waiting.list)) {
        coil__shortage *s = coil_container_of(coil__list_first(&waiting.list), coil__shortage, node);
        leave_list(s);
        call(s);
    }
    pthread_mutex_unlock(&waiting.mutex);
}
