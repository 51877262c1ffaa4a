/*
 * objects.c - the builtins that make queues, locks, scopes, readers, context variables, and partial callables
 */
#include "builtins.h"
#include "world.h"

static long long_argument(const arguments *args, long fallback)
{
    return (long)int_argument(args, 0, NULL, fallback);
}

/* --- queues ------------------------------------------------------------------------------------------------------ */

static int less(const void *a, const void *b)
{
    return value_compare(a, b) < 0;
}

static int queue(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_QUEUE);
    return coil_queue_new(long_argument(args, 0), &(*out)->as.queue);
}

static int lifo_queue(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_QUEUE);
    return coil_lifo_queue_new(long_argument(args, 0), &(*out)->as.queue);
}

static int priority_queue(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_QUEUE);
    return coil_priority_queue_new(long_argument(args, 0), less, &(*out)->as.queue);
}

/* --- locks ------------------------------------------------------------------------------------------------------- */

static int lock(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_new(VALUE_LOCK);
    return coil_lock_new(&(*out)->as.lock);
}

static int event(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_new(VALUE_EVENT);
    return coil_event_new(&(*out)->as.event);
}

static int condition(value *self, const arguments *args, value **out)
{
    (void)self;
    const value *shared = argument(args, 0, "lock");
    coil_lock *its = NULL;
    if (shared && shared->type == VALUE_LOCK)
        its = shared->as.lock;
    else if (shared && shared->type != VALUE_NONE)
        die("a lock is needed");
    *out = value_new(VALUE_CONDITION);
    return coil_condition_new(its, &(*out)->as.condition);
}

static int semaphore(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_SEMAPHORE);
    return coil_semaphore_new(long_argument(args, 1), &(*out)->as.semaphore);
}

static int bounded_semaphore(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_SEMAPHORE);
    return coil_bounded_semaphore_new(long_argument(args, 1), &(*out)->as.semaphore);
}

static int barrier(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_BARRIER);
    return coil_barrier_new(long_argument(args, 0), &(*out)->as.barrier);
}

/* --- scopes ------------------------------------------------------------------------------------------------------ */

static int group(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_new(VALUE_GROUP);
    return coil_group_new(&(*out)->as.group);
}

static int timeout(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_TIMEOUT);
    return coil_timeout_new(ticks_argument(args, 0, NULL), &(*out)->as.timeout);
}

static int timeout_at(value *self, const arguments *args, value **out)
{
    (void)self;
    *out = value_new(VALUE_TIMEOUT);
    return coil_timeout_at_new(ticks_argument(args, 0, NULL), &(*out)->as.timeout);
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

static int stream_reader(value *self, const arguments *args, value **out)
{
    (void)self;
    int64_t limit = int_argument(args, 0, "limit", (int64_t)COIL_STREAM_LIMIT);
    *out = value_new(VALUE_READER);
    return coil_stream_reader_new(world_loop(), limit > 0 ? (size_t)limit : 0, &(*out)->as.reader);
}

static int context_var(value *self, const arguments *args, value **out)
{
    (void)self;
    if (args->items[0]->type != VALUE_STRING)
        die("a context variable needs a name");
    *out = value_new(VALUE_VAR);
    COIL_TRY(coil_contextvar_new(args->items[0]->as.text, NULL, &(*out)->as.context_var.var));
    coil_contextvar_set_default((*out)->as.context_var.var, args->items[1]);
    return 0;
}

static int copy_context(value *self, const arguments *args, value **out)
{
    (void)self, (void)args;
    *out = value_new(VALUE_CONTEXT);
    return coil_copy_context(&(*out)->as.context);
}

static int partial(value *self, const arguments *args, value **out)
{
    (void)self;
    arguments first = {.n = args->n - 1, .items = args->items + 1};
    *out = value_call(VALUE_PARTIAL, args->items[0], NULL, NULL, &first);
    return 0;
}

const native object_builtins[] = {
    {"Queue", queue, 0, 1, false},
    {"LifoQueue", lifo_queue, 0, 1, false},
    {"PriorityQueue", priority_queue, 0, 1, false},
    {"Lock", lock, 0, 0, false},
    {"Event", event, 0, 0, false},
    {"Condition", condition, 0, 1, false},
    {"Semaphore", semaphore, 0, 1, false},
    {"BoundedSemaphore", bounded_semaphore, 0, 1, false},
    {"Barrier", barrier, 1, 1, false},
    {"TaskGroup", group, 0, 0, false},
    {"timeout", timeout, 1, 1, false},
    {"timeout_at", timeout_at, 1, 1, false},
    {"StreamReader", stream_reader, 0, 1, false},
    {"ContextVar", context_var, 2, 2, false},
    {"copy_context", copy_context, 0, 0, false},
    {"partial", partial, 1, SIZE_MAX, false},
    {0},
};
