/*
 * world.c - the trace, the loops and the limits
 *
 * Called from whichever thread runs scenario code, and from the clock. The lines wait in stdio's buffer; every end of
 * the program flushes it.
 *
 * I1 a loop that was noted stays readable: `hold` keeps its memory, whoever frees it
 * I2 loops[] and loops_n change under `mutex`; an entry does not move
 */
#include "world.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "format.h"

#define ITERATIONS_MAX 20000
#define LINES_MAX 4000
#define LOOPS_MAX 1024

const char *world_path = "?";
coil_loop_options world_options;
bool world_exact;
unsigned world_workers;
bool world_dawdles;

static struct {
    pthread_mutex_t mutex;
    _Atomic size_t lines;
    struct loop_state loops[LOOPS_MAX]; /* I2 */
    _Atomic size_t loops_n;
    _Atomic size_t destroyed; /* tasks that were pending when their loop was freed */
    coil_loop *drivers;       /* what new_loop made last; asyncio.run does not change this */
    coil_runtime *runtime;    /* whose loop that is; NULL: it is a plain one */
    coil_future *_Atomic end; /* which waits for all to sleep */
    pthread_t main_thread;
} world = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local size_t line_here;

/* Now and then, for 1 us up to 1 ms: as long as it takes another thread to do something, or to be woken before it. */
static void nap(void)
{
    static _Thread_local uint32_t random;
    if (random == 0)
        random = (uint32_t)getpid() * 2654435769u ^ (uint32_t)(uintptr_t)&random;
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    if (random % 4 == 0)
        usleep(1u << random / 4 % 11);
}

/* Not inlined: after a suspension, in the same function, its caller may be on another thread. */
__attribute__((noinline)) void world_at_line(size_t number)
{
    line_here = number;
    if (world_dawdles)
        nap();
}

void world_lock(void)
{
    pthread_mutex_lock(&world.mutex);
}

void world_unlock(void)
{
    pthread_mutex_unlock(&world.mutex);
}

void world_init(void)
{
    world.main_thread = pthread_self();
    world_options = (coil_loop_options){
        .size = sizeof world_options,
        .clock = &world_clock,
        .stack_bytes = (size_t)512 * 1024, /* the evaluator has a frame for every statement that encloses another */
        .default_exception_handler = world_default_handler,
        .slow_callback_handler = world_slow_handler,
    };
    jobs_init();
}

/* --- ends -------------------------------------------------------------------------------------------------------- */

_Noreturn void world_finish(void)
{
    fflush(stdout);
    _exit(0);
}

_Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "SCENARIO-ERROR %s:%zu: ", world_path, line_here);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    fflush(stderr);
    _exit(2);
}

static _Noreturn void step_limit(void)
{
    puts("STEP-LIMIT");
    world_finish();
}

/* --- the trace --------------------------------------------------------------------------------------------------- */

void world_raw(const char *text)
{
    world_check_limit();
    if (world.lines++ >= LINES_MAX)
        step_limit();
    puts(text);
}

void world_log_as(const char *who, const char *text)
{
    struct text line = {0};
    text_printf(&line, "[%" PRId64 "] %s %s", world_now, who, text);
    world_raw(line.bytes);
    free(line.bytes);
}

void world_log(const char *text)
{
    const char *who = "-";
    if (coil_get_running_loop()) {
        coil_task *task = coil_current_task();
        if (task)
            who = coil_task_get_name(task);
    } else if (!pthread_equal(pthread_self(), world.main_thread)) {
        who = "thread";
    }
    world_log_as(who, text);
}

/* --- loops ------------------------------------------------------------------------------------------------------- */

/* Its index, or loops_n if it is new. */
static size_t find_loop(const coil_loop *loop)
{
    size_t i = 0;
    while (i < world.loops_n && world.loops[i].loop != loop)
        i++;
    return i;
}

static void add_loop(coil_loop *loop)
{
    if (world.loops_n == LOOPS_MAX)
        die("too many loops");
    coil_future *hold;
    if (coil_loop_create_future(loop, &hold) < 0)
        die("no memory for a future");
    world.loops[world.loops_n] = (struct loop_state){
        .loop = loop, .hold = hold, .handler = &value_none, .debug_always = coil_loop_get_debug(loop)};
    coil_loop_set_slow_callback_duration(loop, 1); /* asyncio's 0.1, in ticks */
    world.loops_n++;
}

void world_note_loop(coil_loop *loop)
{
    if (find_loop(loop) < world.loops_n)
        return;
    world_lock();
    if (find_loop(loop) == world.loops_n)
        add_loop(loop);
    world_unlock();
}

struct loop_state *world_state_of(coil_loop *loop)
{
    world_note_loop(loop);
    return &world.loops[find_loop(loop)];
}

static uint64_t handles_run(const coil_loop *loop)
{
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(loop, &stats);
    return stats.handles;
}

void world_set_debug(coil_loop *loop, bool debug)
{
    struct loop_state *state = world_state_of(loop);
    if (state->debug_set_in != handles_run(loop))
        state->debug_before = state->debug;
    state->debug = debug;
    state->debug_set_in = handles_run(loop);
    coil_loop_set_debug(loop, debug || state->debug_always);
}

bool world_debugs(coil_loop *loop)
{
    const struct loop_state *state = world_state_of(loop);
    return state->debug_set_in == handles_run(loop) ? state->debug_before : state->debug;
}

coil_runtime_options world_runtime_options(void)
{
    return (coil_runtime_options){.size = sizeof(coil_runtime_options),
                                  .workers = world_exact ? 1 : world_workers,
                                  .exact = world_exact,
                                  .stall_ns = COIL_FOREVER,
                                  .loop = world_options};
}

int world_new_runtime(coil_runtime **runtime)
{
    coil_runtime_options options = world_runtime_options();
    COIL_TRY(coil_runtime_new(&options, runtime));
    world_note_loop(coil_runtime_loop(*runtime));
    return 0;
}

void world_new_loop(void)
{
    coil_loop *loop;
    int rc = world_on_runtime() ? world_new_runtime(&world.runtime) : coil_new_event_loop(&world_options, &loop);
    if (rc < 0)
        die("cannot make a loop");
    if (world_on_runtime())
        loop = coil_runtime_loop(world.runtime);
    world_note_loop(loop);
    world.drivers = loop;
    coil_set_event_loop(loop);
}

/* --- running main ------------------------------------------------------------------------------------------------ */

static int await_end(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_future *end;
    COIL_TRY(coil_loop_create_future(coil_get_running_loop(), &end));
    world.end = end;
    return coil_await(end, NULL);
}

static int end_now(void *end)
{
    return coil_future_set_result(end, NULL);
}

bool world_wake_end(void)
{
    coil_future *end = world.end;
    if (!end)
        return false;
    world.end = NULL;
    if (coil_loop_call_soon_threadsafe(coil_future_loop(end), end_now, end, NULL) < 0)
        die("cannot end the scenario");
    return true;
}

/* When main has ended, other workers may still have to run what could run before: one loop has done that by then. */
int world_run_main(coil_coro coro, void **result)
{
    if (!world.runtime)
        return coil_loop_run_until_complete(world.drivers, coro, result);
    int rc = coil_runtime_enter(world.runtime, coro, result);
    if (world_workers == 0)
        return rc;
    coil_error *error = coil_catch(rc);
    if (coil_runtime_enter(world.runtime, coil_coro_of(await_end, NULL), NULL) < 0)
        die("cannot wait for the other workers");
    return coil_raise_error(error);
}

coil_loop *world_loop(void)
{
    coil_loop *loop = threads_loop();
    if (!loop)
        loop = coil_get_running_loop();
    return loop ? loop : world.drivers;
}

void world_check_limit(void)
{
    if (world_workers > 0)
        return;
    coil_loop *running = coil_get_running_loop();
    if (running)
        world_note_loop(running);
    uint64_t iterations = 0;
    for (size_t i = 0; i < world.loops_n; i++) {
        coil_loop_stats stats = {.size = sizeof stats};
        coil_loop_get_stats(world.loops[i].loop, &stats);
        iterations += stats.iterations;
    }
    if (iterations > ITERATIONS_MAX)
        step_limit();
}

static size_t pending_of(coil_loop *loop)
{
    coil_task **tasks;
    size_t n;
    if (coil_all_tasks(loop, &tasks, &n) < 0)
        die("no memory for the tasks");
    coil_tasks_free(tasks, n);
    return n;
}

size_t world_pending(void)
{
    size_t tasks = world.destroyed;
    for (size_t i = 0; i < world.loops_n; i++)
        tasks += pending_of(world.loops[i].loop);
    return tasks;
}

bool world_abandoned(int rc)
{
    if (rc != COIL_EGENERATOREXIT)
        return false;
    coil_loop *loop = coil_get_running_loop();
    return loop && coil_loop_is_closed(loop); /* nobody can close a loop that really runs */
}

void world_note_destroyed(void)
{
    world.destroyed++;
}
