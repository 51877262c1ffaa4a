/*
 * testing.h - what the component coil-testing (include/coil_testing.h) asks of the library
 *
 * The functions are exported, since the component is a library of its own, but no public header declares them:
 * programs do not call them. Nothing here costs anything while nobody asks for it. Called on the loop's thread;
 * implemented in testing.c and io/fault.c. Allocations are made to fail by base/alloc.h.
 */
#ifndef COIL_TESTING_INTERNAL_H
#define COIL_TESTING_INTERNAL_H

#include <coil/stream.h>

/* Told of each task that is made on the loop while that is in debug mode. */
typedef void coil__task_watch(coil_task *task, void *arg);
COIL_API void coil__testing_watch_tasks(coil_loop *loop, coil__task_watch *watch, void *arg);

typedef struct coil__armed_timer {
    int64_t when_ns;
    const char *what;  /* static */
    coil_callback *fn; /* of call_later and call_at; NULL: a timer of the library's own */
} coil__armed_timer;

/* The timers that @loop has armed, at most @max of them, in no order. Returns how many there are. */
COIL_API size_t coil__testing_timers(coil_loop *loop, coil__armed_timer *timers, size_t max);

/* The loop's wake-up descriptor: it is open for as long as something points to the loop. */
COIL_API int coil__testing_wake_fd(const coil_loop *loop);

/* See coil_testing_stream_pair(). */
COIL_API int coil__testing_stream_pair(coil_loop *loop, size_t capacity, coil_stream **a, coil_stream **b);

/* See coil_testing_fail_operation(). */
COIL_API int coil__testing_fail_operation(coil_loop *loop, uint64_t n, int code);
COIL_API uint64_t coil__testing_operations_left(const coil_loop *loop);

#endif
