/*
 * world.c - the trace, the loops and the limits
 *
 * Called from whichever thread runs scenario code, and from the clock. The lines wait in stdio's buffer; every end of
 * the program flushes it.
 *
 * I1 a loop that was noted stays readable: `hold` keeps its memory, whoever frees it
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
size_t world_line;
coil_loop_options world_options;

static struct {
    size_t lines;
    struct loop_state loops[LOOPS_MAX];
    size_t loops_n;
    size_t destroyed;   /* tasks that were pending when their loop was freed */
    coil_loop *drivers; /* what new_loop made last; asyncio.run does not change this */
    pthread_t main_thread;
} world;

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
    fprintf(stderr, "SCENARIO-ERROR %s:%zu: ", world_path, world_line);
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

void world_note_loop(coil_loop *loop)
{
    if (find_loop(loop) < world.loops_n)
        return;
    if (world.loops_n == LOOPS_MAX)
        die("too many loops");
    coil_future *hold;
    if (coil_loop_create_future(loop, &hold) < 0)
        die("no memory for a future");
    world.loops[world.loops_n++] = (struct loop_state){
        .loop = loop, .hold = hold, .handler = &value_none, .debug_always = coil_loop_get_debug(loop)};
    coil_loop_set_slow_callback_duration(loop, 1); /* asyncio's 0.1, in ticks */
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

void world_new_loop(void)
{
    coil_loop *loop;
    if (coil_new_event_loop(&world_options, &loop) < 0)
        die("cannot make a loop");
    world_note_loop(loop);
    world.drivers = loop;
    coil_set_event_loop(loop);
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

size_t world_pending(void)
{
    size_t tasks = world.destroyed;
    for (size_t i = 0; i < world.loops_n; i++) {
        coil_loop_stats stats = {.size = sizeof stats};
        coil_loop_get_stats(world.loops[i].loop, &stats);
        tasks += stats.tasks;
    }
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
