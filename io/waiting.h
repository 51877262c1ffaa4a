/*
 * waiting.h - lines of suspended calls in streams and servers
 *
 * A line belongs to an object with a latch, which guards it; all functions are called with that held. The node of a
 * call lies in its frame, and is taken out by it, whatever it was woken by.
 */
#ifndef COIL_IO_WAITING_H
#define COIL_IO_WAITING_H

#include <coil/error.h>

#include "../src/base/latch.h"
#include "../src/base/list.h"

/*
 * Waits at the end of @line. @guard holds @latch, gives it back while the task is suspended. 0, or the error
 * that it was woken with.
 */
COIL_SUSPENDS int coil__line_wait(coil__list *line, coil_loop *loop, coil__latch *latch, coil__guard *guard);

/* Wakes all: with @error (borrowed), or without. They leave the line when they run. */
void coil__line_wake(coil__list *line, coil_error *error);

#endif
