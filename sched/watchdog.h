/*
 * watchdog.h - says which task or callback holds its worker for too long, and where
 *
 * A thread of a runtime that looks every quarter of options.stall_ns, but at most every 10 ms, at what each worker
 * has run so far. With shared rings it looks every 250 us, and sends another worker to the help of one that keeps
 * computing while the kernel has completed something for it. A worker that is awake and has begun nothing new for
 * stall_ns is reported, once for each stall, with a backtrace that the worker itself makes in a signal handler. The
 * report goes to stderr, or to the loop's slow_callback_handler, which is called on the watchdog's thread. The
 * signal is a real-time one that nobody uses; it interrupts system calls as any signal with SA_RESTART does: read()
 * goes on, but sleep() and poll() end early.
 *
 *   worker                                                 watchdog
 *
 *   before it sleeps: [WD-1] resting = true                going to sleep: [WD-2] asleep = true
 *   it has got up:    [WD-1] resting = false               [WD-1] look at all `resting`: one is awake: stay up
 *                     [WD-2] asleep is true: ring          all rest: wait for the bell
 *
 * All four are sequentially consistent: of `resting = false` and `asleep = true` one is first, and the other thread's
 * look after its own store sees it. So a runtime whose workers all sleep has no thread that ever wakes up, and a worker
 * that gets up pays one load while the watchdog is awake.
 *
 * How a sample is made, one at a time; `ask` [WD-4] goes from
 *
 *   COIL_ASK_NOTHING   to  2 * (worker's number + 1)   the watchdog, which then sends the signal
 *   2 * (number + 1)   to  that + 1                    the handler, on that worker: the sample is its own now
 *                      to  COIL_ASK_NOTHING            the watchdog has run out of patience
 *   that + 1           to  COIL_ASK_ANSWERED           the handler, which then rings
 *   COIL_ASK_ANSWERED  to  COIL_ASK_NOTHING            the watchdog has read the sample
 *
 * A worker that it finds in the same step as at its last look does not keep what waits there: another one is woken.
 *
 * I1 sample is the handler's while ask is odd and above 1, else the watchdog's
 * I2 the fields of coil__watched after cpu_clock are the watchdog's
 * I3 a signal goes to a thread of this process by its number: one that has ended gets none, any other one ignores it
 * I4 the handler stays installed while a signal that was sent has not arrived: without it, it would end the process
 */
#ifndef COIL_SCHED_WATCHDOG_H
#define COIL_SCHED_WATCHDOG_H

#include <coil/loop.h>
#include <pthread.h>
#include <semaphore.h>

#include "../src/base/atomic.h"

struct coil_runtime;

enum { COIL_STALL_FRAMES = 64, COIL_STALL_NAME = 64 };
enum { COIL_ASK_NOTHING = 0, COIL_ASK_ANSWERED = 1 };

/* What a worker's handler finds that it does. */
typedef struct coil__sample {
    bool gone;                 /* what was to be reported has just ended */
    bool task;                 /* it is one; else a callback */
    char name[COIL_STALL_NAME]; /* "": the task is known by its number */
    uint64_t number;
    const char *fn_name;       /* static; NULL: unknown */
    void *frames[COIL_STALL_FRAMES];
    int frame_count;
} coil__sample;

typedef struct coil__watchdog {
    struct coil_runtime *runtime;
    bool started;
    pthread_t thread;
    int signal;              /* 0: there is none left, reports have no backtrace */
    sem_t bell;
    _Atomic bool asleep;     /* [WD-2] */
    _Atomic bool stopping;   /* [WD-5] */
    int64_t looked;          /* when it last looked at the workers */
    _Atomic uint32_t ask;    /* [WD-4] */
    uint64_t asked_beat;     /* what was begun last when it was asked; published by ask */
    coil__sample sample;     /* I1 */
} coil__watchdog;

/* Of each worker. */
typedef struct coil__watched {
    _Atomic bool resting;           /* [WD-1] its loop does not run, or sleeps */
    _Atomic int thread, cpu_clock;  /* [WD-3] who it is; stored before it is first seen awake */
    uint64_t beat;                  /* I2: what it had begun at `since` */
    int64_t since, cpu_since;
    bool known, reported;
} coil__watched;

/* Before the workers start. 0, or -EAGAIN if its thread cannot be started. Does nothing if the options want none. */
int coil__watchdog_start(struct coil_runtime *rt);

/* Returns when its thread has ended. */
void coil__watchdog_stop(struct coil_runtime *rt);

/* The calling thread begins to run a worker's loop. */
void coil__watchdog_enter(coil__watchdog *dog, coil__watched *w);

void coil__watchdog_ring(coil__watchdog *dog);

/* A worker is about to sleep, or does not run its loop any more. */
static inline void coil__watchdog_rest(coil__watched *w)
{
    store_seq_cst(&w->resting, true); /* [WD-1] */
}

/* It has got up. */
static inline void coil__watchdog_rise(coil__watchdog *dog, coil__watched *w)
{
    store_seq_cst(&w->resting, false); /* [WD-1] a watchdog that falls asleep later sees it; one that did is rung */
    if (load_seq_cst(&dog->asleep))
        coil__watchdog_ring(dog);
}

#endif
