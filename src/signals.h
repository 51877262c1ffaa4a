/*
 * signals.h - what the loop core asks of io/signal.c
 *
 * A watch is what a signal is delivered to: the C handler posts its handle to the loop, unless it is posted already.
 */
#ifndef COIL_SIGNALS_H
#define COIL_SIGNALS_H

#include "base/atomic.h"
#include "handle.h"

typedef struct coil__signal_watch {
    coil__handle handle; /* runs on the loop, and begins with coil__signal_begin() */
    coil_loop *loop;
    int number;
    bool interrupts;           /* a runner's: the second signal stops the loop, the third is not handled */
    _Atomic bool posted;       /* [SIG-2] the handle is on its way: its memory must stay */
    _Atomic uint32_t arrivals; /* [SIG-3] relaxed: a count */
} coil__signal_watch;

void coil__signal_watch_init(coil__signal_watch *w, const coil__handle_ops *ops, coil_loop *loop, int number);

/* In the handle's run or discard: signals from now on post it again. */
void coil__signal_begin(coil__signal_watch *w);

/*
 * A runner's @w for SIGINT, from now until it is unwatched: if this is the main thread, and nobody else has decided
 * what SIGINT does. A program's own handler replaces it.
 */
void coil__interrupt_watch(coil__signal_watch *w);
void coil__interrupt_unwatch(coil__signal_watch *w);

/* Ends the process as SIGINT does. Returns if it is ignored. */
void coil__interrupt_die(void);

/* The loop is closed: removes its handlers. */
void coil__signals_close(coil_loop *loop);

#endif
