/*
 * one_loop.h - what tests of the event loop itself have in common: a loop on the virtual clock, and callbacks that note
 * a word
 */
#ifndef COIL_TEST_ONE_LOOP_H
#define COIL_TEST_ONE_LOOP_H

#include "coil_test.h"

static coil_loop *loop;

static int say(void *word)
{
    note("%s", (char *)word);
    return 0;
}

static inline void soon(const char *word)
{
    OK(coil_loop_call_soon(loop, say, (void *)(uintptr_t)word, NULL));
}

static int stop(void *arg)
{
    (void)arg;
    coil_loop_stop(loop);
    return 0;
}

/* Runs until a timer after all others stops it. */
static inline void run_for(int ms)
{
    OK(coil_loop_call_later(loop, COIL_MS(ms), stop, NULL, NULL));
    OK(coil_loop_run_forever(loop));
}

static inline void begin(void)
{
    trace[0] = '\0';
    loop = new_test_loop();
}

static inline void end(void)
{
    coil_loop_free(loop);
}

#endif
