/*
 * mover.h - a coroutine that moves between two threads, for tests of what is kept per thread
 *
 * on_two_threads(body) runs body() as a coroutine of its own, first on the calling thread. Each hop() in it suspends it,
 * and it goes on on another thread: new ones and the calling one in turn. A test may be told before each resumption on
 * which thread it will be: arrive(home) runs there, on the thread's own stack.
 *
 * I1 one thread at a time runs; creating and joining threads orders them
 */
#ifndef COIL_TEST_MOVER_H
#define COIL_TEST_MOVER_H

#include "base/coro.h"

#include <pthread.h>
#include <stdbool.h>

static struct {
    coil__coro thread, traveller;
    void (*body)(void);
    void (*arrive)(bool home);
    bool over;
} mover;

/* Inline on purpose: what is around it has to cope with the switch itself. */
static inline __attribute__((always_inline)) void hop(void)
{
    coil__coro_switch(&mover.traveller, &mover.thread);
}

static inline void travel(void *arg)
{
    (void)arg;
    mover.body();
    mover.over = true;
    coil__coro_leave(&mover.traveller, &mover.thread);
}

static inline void resume_here(bool home)
{
    coil__coro_init_thread(&mover.thread);
    if (mover.arrive)
        mover.arrive(home);
    coil__coro_switch(&mover.thread, &mover.traveller);
}

static inline void *resume_abroad(void *unused)
{
    (void)unused;
    resume_here(false);
    return NULL;
}

/* False without memory or threads. */
static inline bool on_two_threads(void (*body)(void), void (*arrive)(bool home))
{
    coil__stack *stack = coil__stack_alloc(COIL_STACK_BYTES_DEFAULT, NULL);
    if (!stack)
        return false;
    mover.body = body;
    mover.arrive = arrive;
    mover.over = false;
    coil__coro_init(&mover.traveller, stack, false, travel, NULL);
    for (bool home = true; !mover.over; home = !home) {
        pthread_t thread;
        if (home)
            resume_here(true);
        else if (pthread_create(&thread, NULL, resume_abroad, NULL) != 0 || pthread_join(thread, NULL) != 0)
            return false;
    }
    coil__stack_free(stack);
    return true;
}

#endif
