/*
 * world.h - what all of a scenario shares: the trace, the loops, the clock, the limits, and reports
 *
 * May be called on any thread that runs scenario code, and on several at a time.
 *
 * The clock (clock.c) is shared by all loops; 1 tick is 1 ns of coil time. The trace ends the program in its four ways:
 * normally, DEADLOCK, STEP-LIMIT, and, outside the language, die().
 */
#ifndef SCENARIO_WORLD_H
#define SCENARIO_WORLD_H

#include "value.h"

/* --- ends -------------------------------------------------------------------------------------------------------- */

_Noreturn void die(const char *format, ...) COIL_PRINTF(1, 2); /* a malformed scenario: exit status 2 */
_Noreturn void world_finish(void);                             /* flushes the trace; exit status 0 */

extern const char *world_path; /* of the scenario, for messages */
void world_at_line(size_t line); /* this thread reads or runs that line; likewise */

/* Held for a few instructions, never while anything of the scenario or of the library's users runs. */
void world_lock(void);
void world_unlock(void);

/* --- the trace --------------------------------------------------------------------------------------------------- */

/* Both end the program with STEP-LIMIT where the limits say so. No error may be current: they look at the loop. */
void world_raw(const char *text);
void world_log(const char *text); /* with the time and who is running */
void world_log_as(const char *who, const char *text);

/* --- loops ------------------------------------------------------------------------------------------------------- */

extern coil_loop_options world_options; /* for every loop: our clock, handlers, large stacks */

/* What runs the scenario's loops: plain ones of the library, or a runtime. */
extern bool world_exact;       /* a runtime of one worker that keeps asyncio's order */
extern unsigned world_workers; /* > 0: a runtime of so many */

extern bool world_dawdles;     /* threads take naps between statements, so that others get in between */

static inline bool world_on_runtime(void)
{
    return world_exact || world_workers > 0;
}

int world_new_runtime(coil_runtime **runtime); /* its loop is noted */
coil_runtime_options world_runtime_options(void);

struct loop_state {
    coil_loop *loop;
    coil_future *hold;     /* keeps the loop readable */
    _Atomic(value *) handler; /* what set_exception_handler was given last; None: the default one */
    /* Debug mode as the scenario sets it, for callbacks that begin later. $COIL_DEBUG keeps the library's on. */
    bool debug, debug_before;
    uint64_t debug_set_in; /* which of the loop's handles set it; it still runs in the mode before */
    bool debug_always;
    bool executor_settled; /* its default executor is ours, or it was shut down without one */
};

void world_init(void);
void world_new_loop(void);
int world_run_main(coil_coro coro, void **result); /* on the loop that world_new_loop made */

/* Called by the clock when all sleep: whether the end of the scenario waited for that, and gets up now. */
bool world_wake_end(void);
coil_loop *world_loop(void);           /* the running loop, else the thread's or the driver's current one */
void world_note_loop(coil_loop *loop); /* a loop that exists from now on: its iterations and tasks count */
struct loop_state *world_state_of(coil_loop *loop); /* notes it */
void world_set_debug(coil_loop *loop, bool debug);
bool world_debugs(coil_loop *loop); /* the callback that has just run */
/* STEP-LIMIT after iteration 20000 of all loops together; not where several workers count their own. */
void world_check_limit(void);
size_t world_pending(void);            /* tasks of all loops that are not done */

/*
 * A loop is freed with pending tasks when asyncio.run failed to end them. In Python those tasks just stay; coil unwinds
 * their bodies, which must not leave a trace, and they count as pending.
 */
bool world_abandoned(int rc); /* whether rc ends such a body; no other code is looked at */
void world_note_destroyed(void); /* one more such task */

/* --- reports ----------------------------------------------------------------------------------------------------- */

coil_exception_handler world_default_handler;
coil_slow_callback_handler world_slow_handler;
void world_register(coil_future *future);
value *world_registered(coil_future *future); /* takes a reference; the value, registered for the final drop */
void world_drop(coil_future *future);
void world_drop_all(void);
void world_set_exception_handler(value *handler);
value *world_exception_handler(void);

/* --- clock.c ----------------------------------------------------------------------------------------------------- */

extern coil_clock world_clock;
extern _Atomic int64_t world_now;

/* What runs only while a loop is idle: the first part of a job or thread. */
struct outstanding {
    struct outstanding *next;
    int64_t (*due)(const struct outstanding *o); /* -1: not to be chosen now */
    void (*go)(struct outstanding *o);           /* runs it until it ends, pauses or blocks */
};

void outstanding_add(struct outstanding *o);

/* --- threads.c and jobs.c ---------------------------------------------------------------------------------------- */

coil_loop *threads_loop(void); /* in a scenario thread: the loop that it belongs to; else NULL */

void jobs_init(void);
bool jobs_open_gate(void); /* if a shutdown waits and no job is outstanding: ends it, and returns true */

#endif
