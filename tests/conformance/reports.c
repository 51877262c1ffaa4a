/*
 * reports.c - what reaches exception handlers, and the reports that asyncio makes when it collects garbage
 *
 * The library's own "never retrieved" reports do not count: nothing is destroyed in a scenario; drop() makes them.
 *
 * I1 registry holds each future once, in the order in which it was first returned; a dropped one leaves a NULL.
 *    world_lock() guards it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"
#include "eval.h"
#include "format.h"
#include "world.h"

/* --- handlers ---------------------------------------------------------------------------------------------------- */

/* Our own reports are known by their address. */
static const char never_retrieved[] = "Future exception was never retrieved";
static const char task_never_retrieved[] = "Task exception was never retrieved";

static const char *canonical_message(const char *message)
{
    static const char *const prefixes[] = {"Exception in callback",
                                           "an error occurred during closing of asynchronous generator"};
    if (!message || !message[0])
        return "Unhandled exception in event loop";
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(message, prefixes[i], strlen(prefixes[i])) == 0)
            return prefixes[i];
    if (strstr(message, "has errored out but its parent"))
        return "Task has errored out but its parent task is already completed";
    return message;
}

static bool about_garbage(const char *message)
{
    static const char never[] = "exception was never retrieved";
    size_t n = message ? strlen(message) : 0;
    if (n == 0)
        return false;
    if (strcmp(message, "Task was destroyed but it is pending!") == 0) {
        world_note_destroyed();
        return true;
    }
    return message != never_retrieved && message != task_never_retrieved && n >= sizeof never - 1 &&
           strcmp(message + n - (sizeof never - 1), never) == 0;
}

int world_default_handler(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    if (about_garbage(context->message))
        return 0;
    struct text text = {0};
    text_printf(&text, "! ");
    format_item(&text, value_string(canonical_message(context->message), strlen(canonical_message(context->message))));
    if (context->error) {
        text_printf(&text, ": ");
        format_value(&text, value_error(coil_error_retain(context->error)));
    }
    world_log(text.bytes);
    free(text.bytes);
    return 0;
}

static int scenario_handler(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    if (about_garbage(context->message))
        return 0;
    const char *message = canonical_message(context->message);
    value *items[2] = {value_string(message, strlen(message)), &value_none};
    if (context->error)
        items[1] = value_error(coil_error_retain(context->error));
    arguments args = {.n = 2, .items = items};
    value *out;
    return call_value(arg, &args, &out);
}

void world_slow_handler(coil_loop *loop, const char *what, int64_t duration, void *arg)
{
    (void)what, (void)arg;
    char text[64];
    if (!world_debugs(loop))
        return;
    snprintf(text, sizeof text, "slow callback %lld", (long long)duration);
    world_log_as("-", text);
}

void world_set_exception_handler(value *handler)
{
    world_state_of(world_loop())->handler = handler;
    if (handler->type == VALUE_NONE)
        coil_loop_set_exception_handler(world_loop(), NULL, NULL);
    else
        coil_loop_set_exception_handler(world_loop(), scenario_handler, handler);
}

value *world_exception_handler(void)
{
    void *handler = NULL;
    return coil_loop_get_exception_handler(world_loop(), &handler) ? handler : &value_none;
}

/* --- the registry of futures that the scenario got --------------------------------------------------------------- */

static struct {
    coil_future **futures; /* I1 */
    size_t n, size;
    size_t *slots; /* open addressing: index + 1 into futures, by address */
    size_t slots_n;
} registry;

static size_t *registry_slot(const coil_future *future)
{
    size_t mask = registry.slots_n - 1;
    size_t i = ((uintptr_t)future >> 4) * (size_t)0x9E3779B97F4A7C15u & mask;
    while (registry.slots[i] && registry.futures[registry.slots[i] - 1] != future)
        i = (i + 1) & mask;
    return &registry.slots[i];
}

static void *registry_room(size_t bytes)
{
    void *room = calloc(1, bytes);
    if (!room)
        die("out of memory");
    return room;
}

/* Dropped futures are forgotten here, so that one that is returned again comes last. */
static void registry_grow(void)
{
    size_t kept = 0;
    registry.size = registry.size ? 2 * registry.size : 1024;
    registry.slots_n = 2 * registry.size;
    coil_future **futures = registry_room(registry.size * sizeof *futures);
    free(registry.slots);
    registry.slots = registry_room(registry.slots_n * sizeof *registry.slots);
    for (size_t i = 0; i < registry.n; i++)
        if (registry.futures[i])
            futures[kept++] = registry.futures[i];
    free(registry.futures);
    registry.futures = futures;
    registry.n = kept;
    for (size_t i = 0; i < kept; i++)
        *registry_slot(futures[i]) = i + 1;
}

static void registry_add(coil_future *future)
{
    if (registry.n == registry.size)
        registry_grow();
    size_t *slot = registry_slot(future);
    if (*slot)
        return;
    registry.futures[registry.n++] = coil_retain(future);
    *slot = registry.n;
}

void world_register(coil_future *future)
{
    world_lock();
    registry_add(future);
    world_unlock();
}

value *world_registered(coil_future *future)
{
    world_register(future);
    return value_future(future);
}

/*
 * A loop that was freed, as asyncio.run and runners do, has forgotten its handlers, since what they point to could be
 * gone. In Python it has not, and here nothing is ever gone.
 */
static void call_handler(coil_loop *loop, const coil_exception_context *context)
{
    value *handler = world_state_of(loop)->handler;
    if (!coil_loop_is_closed(loop)) {
        coil_loop_call_exception_handler(loop, context);
    } else if (handler->type == VALUE_NONE) {
        world_default_handler(loop, context, NULL);
    } else {
        coil_error *error = coil_catch(scenario_handler(loop, context, handler));
        coil_exception_context failed = {.message = "Unhandled error in exception handler", .error = error};
        if (error)
            world_default_handler(loop, &failed, NULL);
        coil_error_release(error);
    }
}

static void report_unretrieved(coil_future *future)
{
    if (!coil_future_exception_unretrieved(future))
        return;
    coil_exception_context context = {.future = future, .message = never_retrieved};
    if (coil_future_is_task(future))
        context.message = task_never_retrieved;
    if (coil_future_exception(future, &context.error) < 0)
        die("an unretrieved exception that is none");
    call_handler(coil_future_loop(future), &context);
    coil_error_release(context.error);
}

void world_drop(coil_future *future)
{
    world_lock();
    if (registry.n) {
        size_t *slot = registry_slot(future);
        if (*slot)
            registry.futures[*slot - 1] = NULL;
    }
    world_unlock();
    report_unretrieved(future);
}

void world_drop_all(void)
{
    for (size_t i = 0; i < registry.n; i++)
        if (registry.futures[i])
            report_unretrieved(registry.futures[i]);
}
