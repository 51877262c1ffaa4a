/*
 * coil/runner.h - running a program: coil_run, coil_main, and runners that keep a loop between runs
 *
 * Ctrl-C: on the main thread, and if nothing else has been decided for SIGINT (SIG_DFL), a run takes it over for its
 * time, coil_runtime_run and coil_runtime_enter too. The first SIGINT cancels the run's task; when that has ended
 * with the cancellation, after its clean-up, the run raises COIL_EKEYBOARDINTERRUPT. A second one does not wait for
 * the task: the run ends when what computes just now suspends; the rest is cancelled when the runner is closed. A
 * third one ends the process, as does one outside a run. coil_loop_add_signal_handler() replaces all that. Source:
 * asyncio.runners.
 */
#ifndef COIL_RUNNER_H
#define COIL_RUNNER_H

#include <coil/loop.h>
COIL_BEGIN

/**
 * coil_run - run a coroutine on a new loop, then cancel what is left and close everything: asyncio.run
 * @coro:   takes, also on failure
 * @result: moved out: the caller owns it; may be NULL
 *
 * Errors: what it raised; COIL_EKEYBOARDINTERRUPT; COIL_EBUSY inside a running loop; -EINVAL if @coro has no
 * function; -ENOMEM.
 */
COIL_ANY_THREAD int coil_run(coil_coro coro, void **result);

/** coil_run_with - the same with options for the loop (borrowed). */
COIL_ANY_THREAD int coil_run_with(const coil_loop_options *options, coil_coro coro, void **result);

/**
 * coil_main - for main(): coil_run; prints an error to stderr; returns the exit status: 0, or 1 after an error
 *
 * After COIL_EKEYBOARDINTERRUPT it ends the process by SIGINT, as Python does, for the shell to see.
 */
COIL_ANY_THREAD int coil_main(coil_coro coro);

/* A loop for several runs, made by the first. The runs share one context. */
typedef struct coil_runner coil_runner;

/** coil_runner_new - @options: copied; NULL for the defaults. Gives. */
COIL_ANY_THREAD int coil_runner_new(const coil_loop_options *options, coil_runner **runner);

/** coil_runner_enter - make the loop now (asyncio's `with Runner()`). */
COIL_ON_LOOP int coil_runner_enter(coil_runner *runner);

/** coil_runner_run - as coil_run, keeping the loop. Errors: also COIL_ERUNTIME after close. */
COIL_ON_LOOP int coil_runner_run(coil_runner *runner, coil_coro coro, void **result);

/** coil_runner_get_loop - makes it if need be; borrowed. Errors: COIL_ERUNTIME after close. */
COIL_ON_LOOP int coil_runner_get_loop(coil_runner *runner, coil_loop **loop);

/** coil_runner_close - cancel all tasks and wait for them, then close the loop. A second close does nothing. */
COIL_ON_LOOP int coil_runner_close(coil_runner *runner);
COIL_ON_LOOP void coil_runner_free(coil_runner *runner); /* closes first; NULL is allowed */

COIL_END
#endif
