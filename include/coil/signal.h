/*
 * coil/signal.h - Unix signals as callbacks of a loop
 *
 * The C signal handler only leaves a mark and wakes the loop; the callback runs on the loop's thread like any other,
 * and may do anything. Ctrl-C needs none of this: see coil/runner.h. Source: asyncio.unix_events.add_signal_handler.
 */
#ifndef COIL_SIGNAL_H
#define COIL_SIGNAL_H

#include <coil/loop.h>
COIL_BEGIN

/**
 * coil_loop_add_signal_handler - run @fn(@arg) on the loop whenever the process gets @signal
 * @signal: SIGTERM, ...
 * @fn:     runs in a copy of the current context; in a runtime on worker 0
 * @arg:    borrows until the handler is removed, or the loop is closed
 *
 * A loop has one handler for a signal: a second call replaces the first one's. Signals that arrive before the
 * callback runs run it once, as the kernel does with signals that are blocked. System calls that the signal
 * interrupts go on (SA_RESTART). May be called from any thread, while asyncio wants the main thread; a signal belongs
 * to one loop at a time.
 *
 * Errors: -EINVAL: "invalid signal number 0"; COIL_ERUNTIME: "sig 9 cannot be caught"; COIL_EBUSY: another loop
 * handles it; COIL_ELOOPCLOSED; -ENOMEM.
 */
COIL_ANY_THREAD int coil_loop_add_signal_handler(coil_loop *loop, int signal, coil_callback *fn, void *arg);

/**
 * coil_loop_remove_signal_handler - what the process did on @signal before, it does again; closing the loop does the
 * same
 *
 * Once it has returned the callback does not begin any more; it may still be running if that is on another thread.
 * 1, or 0 if there was no handler of this loop. Errors: -EINVAL: "invalid signal number 0".
 */
COIL_ANY_THREAD int coil_loop_remove_signal_handler(coil_loop *loop, int signal);

COIL_END
#endif
