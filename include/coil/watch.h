/*
 * coil/watch.h - callbacks when a descriptor is ready: asyncio's loop.add_reader and add_writer
 *
 * For libraries that do their own reading and writing; what coil does itself is shorter with streams or the sock_* calls. Source:
 * asyncio.selector_events of CPython 3.11.
 */
#ifndef COIL_WATCH_H
#define COIL_WATCH_H

#include <coil/loop.h>
COIL_BEGIN

/**
 * coil_loop_add_reader - call @fn(@arg) in every iteration in which @fd can be read, or has ended or failed
 * @fd:  a socket, pipe or terminal: what can be polled. To be removed before it is closed
 * @arg: borrows until the reader is removed, or the loop is closed
 *
 * Takes the place of the reader that @fd had. The callback runs in a copy of the current context, on the worker that called this
 * (with COIL_RING_SHARED another one may stand in for it); it may remove the reader. Errors: COIL_ELOOPCLOSED, -EBADF, -EPERM for a regular file, -ENOMEM.
 */
COIL_ON_LOOP int coil_loop_add_reader(coil_loop *loop, int fd, coil_callback *fn, void *arg);

/** coil_loop_remove_reader - false if it had none. From then on it is not called any more. */
COIL_ON_LOOP bool coil_loop_remove_reader(coil_loop *loop, int fd);

/** coil_loop_add_writer - the same when it can be written to. */
COIL_ON_LOOP int coil_loop_add_writer(coil_loop *loop, int fd, coil_callback *fn, void *arg);
COIL_ON_LOOP bool coil_loop_remove_writer(coil_loop *loop, int fd);

COIL_END
#endif
