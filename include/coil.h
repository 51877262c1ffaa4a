/*
 * coil.h - asyncio's semantics for C, on io_uring
 *
 * The one header a program needs. The headers below are split by topic for reading:
 *
 *   coil/base.h       marks, time units, error codes            coil/error.h        errors as objects
 *   coil/coro.h       coroutine values, awaitables              coil/loop.h         event loop, handles, clocks
 *   coil/future.h     futures and their callbacks               coil/task.h         tasks, sleep
 *   coil/combine.h    gather, wait, wait_for, shield, ...       coil/group.h        task groups
 *   coil/timeout.h    timeout scopes                            coil/sync.h         lock, event, condition, ...
 *   coil/queue.h      FIFO, LIFO and priority queues            coil/context.h      context variables
 *   coil/thread.h     calls from other threads                  coil/runner.h       coil_run, coil_main, runner
 *   coil/agen.h       asynchronous generators                   coil/runtime.h      several workers that share tasks
 *   coil/executor.h   blocking work on other threads            coil/process_pool.h work for other processes
 *   coil/stream.h     connections as streams                    coil/connection.h   connections with options
 *   coil/server.h     servers of streams                        coil/protocol.h     transports, protocols, servers
 *   coil/socket.h     addresses, sock_* calls, names            coil/datagram.h     UDP, datagrams between Unix sockets
 *   coil/file.h       files, whole and at offsets               coil/pipe.h         pipes, stdin, terminals
 *   coil/process.h    subprocesses                              coil/signal.h       Unix signals as callbacks
 *   coil/watch.h      add_reader, add_writer
 *   coil/errno.h      errno after a move to another thread; not included here: docs/thread-local.md
 *
 * Components of their own: coil_http.h (docs/http.md), coil_testing.h (docs/testing.md).
 *
 * Conventions, stated once:
 *
 *   Names     asyncio's module functions keep their name (coil_create_task, coil_gather); its methods
 *             are coil_<class>_<method> (coil_task_cancel, coil_queue_put). Those of the loop that belong to the running
 *             one leave it out (coil_create_server, coil_sock_recv).
 *   Errors    A call that can fail returns int: 0, or a negative code, which is what it *raises*. Codes are
 *             negative errno values where one fits, else COIL_E...; coil/error.h tells how to get the
 *             message. Results come through the last parameters, untouched on failure but for those that are called
 *             reterr_... The C variable errno is never used to report.
 *   Contexts  Each prototype begins with who may call it:
 *               COIL_ANY_THREAD  any thread (not signal handlers, unless it says so);
 *               COIL_ON_LOOP     the thread of the loop that the object belongs to, or, while that loop
 *                                does not run, whichever single thread uses it; in a runtime any of its workers;
 *               COIL_IN_TASK     inside a task only: a callback gets COIL_ERUNTIME, code outside loops COIL_ENOLOOP.
 *             COIL_SUSPENDS says that other tasks may run during the call, and that ignoring the
 *             returned code would lose a cancellation. As in asyncio a call suspends only when it has to
 *             wait; one that finds its answer ready does not.
 *   Ownership borrows (for the call), borrows until (an event), takes (do not touch it again), gives (the
 *             caller must release it), shares (adds a reference), lends (give it back).
 *   Options   A struct that begins with its size (.size = sizeof options); what is zero has the default.
 *   Time      int64_t nanoseconds, monotonic. COIL_MS(5), COIL_SECONDS(0.5); COIL_FOREVER is "no limit".
 *   NULL      where an object is due is a programming error, and an assertion says so, unless the
 *             description allows it. An assertion prints coil's own line and condition, then calls abort(); which call
 *             of the program's it was, a debugger's backtrace tells.
 */
#ifndef COIL_H
#define COIL_H

#include <coil/base.h>
#include <coil/error.h>
#include <coil/coro.h>
#include <coil/loop.h>
#include <coil/future.h>
#include <coil/task.h>
#include <coil/combine.h>
#include <coil/timeout.h>
#include <coil/group.h>
#include <coil/sync.h>
#include <coil/queue.h>
#include <coil/context.h>
#include <coil/thread.h>
#include <coil/runner.h>
#include <coil/runtime.h>
#include <coil/agen.h>
#include <coil/executor.h>
#include <coil/process_pool.h>
#include <coil/socket.h>
#include <coil/file.h>
#include <coil/watch.h>
#include <coil/stream.h>
#include <coil/connection.h>
#include <coil/datagram.h>
#include <coil/server.h>
#include <coil/protocol.h>
#include <coil/pipe.h>
#include <coil/process.h>
#include <coil/signal.h>

#endif
