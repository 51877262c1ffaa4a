/*
 * fixture.c - a loop for each test, and what the test left behind in it
 *
 * There is one test at a time in a process, as with Check: its state is `test`. On the thread that runs the test.
 * Source: unittest.IsolatedAsyncioTestCase of CPython 3.11, for the loop in debug mode.
 *
 * I1 test.loop is NULL outside begin and end, and everything else is meaningless then
 * I2 origins.slots is a hash table of the addresses of tasks; a task that was freed is overwritten by the next one at
 *    its address
 */
#include "testing.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS_MAX = 64, TIMERS_MAX = 64, ORIGINS_MAX = 16 };

struct made {
    const coil_task *task; /* NULL: the slot is free */
    coil__origin origin;
};

static struct {
    struct made *slots; /* owned; I2 */
    size_t capacity, count; /* a power of two; at most half of it is used */
} origins;

static struct {
    coil_loop *loop; /* I1 */
    coil_virtual_clock clock;
    coil__text reports; /* of the exception handler */
    coil__descriptor before[COIL__DESCRIPTORS_MAX];
    size_t before_count;
    int wake_fd;
} test;

static coil__text left;

void coil__text_add(coil__text *text, const char *format, ...)
{
    va_list args;
    size_t room = sizeof text->bytes - text->length;
    va_start(args, format);
    int n = vsnprintf(text->bytes + text->length, room, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < room)
        text->length += (size_t)n;
    else if (n > 0)
        text->length = sizeof text->bytes - 1;
    if (text->length == sizeof text->bytes - 1)
        memcpy(text->bytes + text->length - 3, "...", 3);
}

static void clear(coil__text *text)
{
    text->length = 0;
    text->bytes[0] = '\0';
}

const char *coil_testing_describe(int rc)
{
    static char text[512];
    coil_error *error = coil_catch(rc);
    if (error)
        coil_error_format(error, text, sizeof text);
    else
        snprintf(text, sizeof text, "%d", rc);
    coil_error_release(error);
    return text;
}

/* --- where tasks were made ---------------------------------------------------------------------------------------- */

/* The slot of @task, or the free one where it belongs. */
static struct made *find_slot(struct made *slots, size_t capacity, const coil_task *task)
{
    size_t i = ((uintptr_t)task >> 4) * 0x9e3779b1u & (capacity - 1);
    while (slots[i].task && slots[i].task != task)
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

static bool grow(void)
{
    size_t capacity = origins.capacity ? 2 * origins.capacity : 64;
    struct made *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < origins.capacity; i++)
        if (origins.slots[i].task)
            *find_slot(slots, capacity, origins.slots[i].task) = origins.slots[i];
    free(origins.slots);
    origins.slots = slots;
    origins.capacity = capacity;
    return true;
}

/* Without memory it is not known where the task was made. */
static void note_task(coil_task *task, void *arg)
{
    (void)arg;
    if (origins.count >= origins.capacity / 2 && !grow())
        return;
    struct made *slot = find_slot(origins.slots, origins.capacity, task);
    origins.count += slot->task == NULL;
    slot->task = task;
    coil__origin_take(&slot->origin);
}

static void forget_tasks(void)
{
    free(origins.slots);
    origins.slots = NULL;
    origins.capacity = origins.count = 0;
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

static int keep_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    char text[400] = "";
    (void)loop;
    (void)arg;
    coil__text_add(&test.reports, "\n  %s", context->message);
    if (context->error) {
        coil_error_format(context->error, text, sizeof text);
        coil__text_add(&test.reports, ": %s", text);
    }
    if (context->future) {
        coil_future_repr(context->future, text, sizeof text);
        coil__text_add(&test.reports, "\n    %s", text);
    }
    return 0;
}

int coil_testing_begin(const coil_loop_options *options)
{
    coil_loop_options o = {.size = sizeof o, .debug = true};
    if (test.loop)
        return coil_raise(COIL_EBUSY, "the test has a loop already");
    if (options)
        o = *options;
    if (!o.default_exception_handler)
        o.default_exception_handler = keep_report;
    test.before_count = coil__descriptors_list(test.before, COIL__DESCRIPTORS_MAX);
    COIL_TRY(coil_new_event_loop(&o, &test.loop));
    test.wake_fd = coil__testing_wake_fd(test.loop);
    clear(&test.reports);
    coil__testing_watch_tasks(test.loop, note_task, NULL);
    coil_set_event_loop(test.loop);
    return 0;
}

coil_loop *coil_testing_loop(void)
{
    return test.loop;
}

/* --- what is left ------------------------------------------------------------------------------------------------- */

static size_t count_tasks(void)
{
    coil_loop_stats stats = {.size = sizeof stats};
    coil_loop_get_stats(test.loop, &stats);
    return stats.tasks;
}

/* What can end without waiting does so: tasks that were cancelled, streams that were closed. */
static int settle(void *arg, void **result)
{
    (void)arg;
    (void)result;
    for (int i = 0; i < TURNS_MAX; i++)
        COIL_TRY(coil_sleep(0));
    return 0;
}

static void describe_task(coil_task *task, bool with_origin)
{
    char repr[256], where[256] = "";
    struct made *slot = origins.capacity ? find_slot(origins.slots, origins.capacity, task) : NULL;
    if (slot && slot->task && with_origin)
        coil__origin_describe(&slot->origin, where, sizeof where);
    coil_future_repr(task, repr, sizeof repr);
    coil__text_add(&left, "\n  task %s%s%s", repr, *where ? ", made by " : "", where);
}

static void describe_tasks(void)
{
    coil_task **tasks;
    size_t n;
    if (count_tasks() == 0)
        return;
    int rc = coil_all_tasks(test.loop, &tasks, &n);
    if (rc < 0) {
        coil__text_add(&left, "\n  tasks: %s", coil_testing_describe(rc));
        return;
    }
    for (size_t i = 0; i < n && left.length < sizeof left.bytes - 1; i++)
        describe_task(tasks[i], i < ORIGINS_MAX); /* it takes a while to find them out */
    coil_tasks_free(tasks, n);
}

static void describe_timers(void)
{
    coil__armed_timer timers[TIMERS_MAX];
    size_t n = coil__testing_timers(test.loop, timers, TIMERS_MAX);
    int64_t now = coil_loop_time(test.loop);
    for (size_t i = 0; i < n && i < TIMERS_MAX; i++) {
        char where[256] = "";
        if (timers[i].fn)
            coil__address_describe((const void *)timers[i].fn, where, sizeof where);
        coil__text_add(&left, "\n  timer: %s%s%s, due in %.3f s", timers[i].what, *where ? " " : "", where,
                       (double)(timers[i].when_ns - now) / 1e9);
    }
    if (n > TIMERS_MAX)
        coil__text_add(&left, "\n  and %zu more timers", n - TIMERS_MAX);
}

static int shut_down_asyncgens(void *loop, void **result)
{
    (void)result;
    return coil_loop_shutdown_asyncgens(loop);
}

static int shut_down_executor(void *loop, void **result)
{
    (void)result;
    return coil_loop_shutdown_default_executor(loop);
}

/* What coil_run() ends with. The handler is the test's own no more: what it points to may be gone. */
static void shut_down(void)
{
    coil_loop_set_exception_handler(test.loop, NULL, NULL);
    coil_error_release(
        coil_catch(coil_loop_run_until_complete(test.loop, coil_coro_of(shut_down_asyncgens, test.loop), NULL)));
    coil_error_release(
        coil_catch(coil_loop_run_until_complete(test.loop, coil_coro_of(shut_down_executor, test.loop), NULL)));
}

static int ignore_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)context;
    (void)arg;
    return 0;
}

const char *coil_testing_end(void)
{
    if (!test.loop)
        return NULL;
    clear(&left);
    coil__text_add(&left, "left by the test");
    size_t heading = left.length;
    if (!coil_loop_is_closed(test.loop)) {
        coil_error_release(coil_catch(coil_loop_run_until_complete(test.loop, coil_coro_of(settle, NULL), NULL)));
        describe_tasks();
        describe_timers();
        if (left.length == heading)
            shut_down();
        else
            coil_loop_set_exception_handler(test.loop, ignore_report, NULL); /* "Task was destroyed": that was said */
    }
    coil_loop_free(test.loop);
    test.loop = NULL;
    forget_tasks();
    coil__text_add(&left, "%s", test.reports.bytes);
    coil__descriptors_describe_new(&left, test.before, test.before_count, test.wake_fd);
    return left.length > heading ? left.bytes : NULL;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

struct body {
    void (*fn)(int);
    int i;
};

static int run_body(void *arg, void **result)
{
    const struct body *body = arg;
    (void)result;
    body->fn(body->i);
    return 0;
}

const char *coil_testing_run_test(void (*body)(int), int i, bool virtual_clock)
{
    struct body b = {body, i};
    coil_loop_options options = {.size = sizeof options, .debug = true};
    bool own = !test.loop;
    int rc = 0;
    coil_virtual_clock_init(&test.clock);
    if (virtual_clock)
        options.clock = &test.clock.clock;
    if (own)
        rc = coil_testing_begin(&options);
    if (rc == 0)
        rc = coil_loop_run_until_complete(test.loop, coil_coro_of(run_body, &b), NULL);
    const char *said = own ? coil_testing_end() : NULL;
    if (rc == 0)
        return said;
    clear(&left);
    coil__text_add(&left, "the test's loop does not run: %s", coil_testing_describe(rc));
    return left.bytes;
}
