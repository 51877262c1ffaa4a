/*
 * threads.c - the threads of the language: real ones, of which none runs but while a loop is idle
 *
 * The loop's thread gives the baton (`resume`, or starting the thread) and waits for `paused`; the scenario thread
 * gives it back when it pauses, joins something unfinished, or ends; meanwhile it is outstanding (clock.c). What
 * threads want from a loop goes through the library's calls for other threads.
 *
 * I1 the baton's semaphores order all accesses to the interpreter's data
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "builtins.h"
#include "format.h"
#include "program.h"
#include "world.h"

struct thread {
    struct outstanding outstanding;
    int64_t due;
    coil_thread_future *joining; /* eligible when this is done; NULL: when it is due */
    coil_loop *loop;
    const definition *function;
    arguments args;
    sem_t resume, paused;
    bool started;
};

static _Thread_local struct thread *self;

coil_loop *threads_loop(void)
{
    return self ? self->loop : NULL;
}

static void take_baton(sem_t *baton)
{
    while (sem_wait(baton) != 0)
        ;
}

static void *thread_body(void *arg)
{
    self = arg;
    value *out;
    int rc = call_function(self->function, &self->args, &out);
    if (rc < 0) {
        value *error = value_error(coil_catch(rc));
        struct text text = {0};
        text_printf(&text, "thread raised ");
        format_value(&text, error);
        world_log(text.bytes);
        free(text.bytes);
    }
    sem_post(&self->paused);
    return NULL;
}

static void start(struct thread *t)
{
    pthread_t id;
    t->started = true;
    if (pthread_create(&id, NULL, thread_body, t) != 0)
        die("cannot start a thread");
    pthread_detach(id);
}

/* When it may run, or -1 while it waits for something unfinished. */
static int64_t thread_due(const struct outstanding *o)
{
    const struct thread *t = (const struct thread *)o;
    if (!t->joining)
        return t->due;
    return coil_thread_future_done(t->joining) ? world_now : -1;
}

static void thread_go(struct outstanding *o)
{
    struct thread *t = (struct thread *)o;
    if (t->started)
        sem_post(&t->resume);
    else
        start(t);
    take_baton(&t->paused);
}

/* The scenario thread's side. */
static void wait_for_turn(void)
{
    outstanding_add(&self->outstanding);
    sem_post(&self->paused);
    take_baton(&self->resume);
}

/* --- builtins ---------------------------------------------------------------------------------------------------- */

static int start_thread(value *unused, const arguments *args, value **out)
{
    (void)unused, (void)out;
    struct thread *t = keep(sizeof *t);
    if (args->items[0]->type != VALUE_THREAD)
        die("start_thread needs the name of a thread");
    t->function = args->items[0]->as.call.function;
    t->args = (arguments){.n = args->n - 1, .items = args->items + 1};
    t->due = world_now;
    t->loop = world_loop();
    sem_init(&t->resume, 0, 0);
    sem_init(&t->paused, 0, 0);
    t->outstanding = (struct outstanding){.due = thread_due, .go = thread_go};
    outstanding_add(&t->outstanding);
    return 0;
}

static int pause_thread(value *unused, const arguments *args, value **out)
{
    (void)unused, (void)out;
    int64_t ticks = args->items[0]->as.number;
    self->joining = NULL;
    self->due = world_now + (ticks > 0 ? ticks : 0);
    wait_for_turn();
    return 0;
}

static int submit(value *unused, const arguments *args, value **out)
{
    (void)unused;
    coil_thread_future *future;
    int rc = coil_run_coroutine_threadsafe(value_coro(args->items[0]), self->loop, &future);
    if (rc < 0)
        return rc;
    *out = value_new(VALUE_THREAD_FUTURE);
    (*out)->as.thread_future = future;
    return 0;
}

static int join(value *unused, const arguments *args, value **out)
{
    (void)unused;
    if (args->items[0]->type != VALUE_THREAD_FUTURE)
        die("join needs a thread future");
    coil_thread_future *future = args->items[0]->as.thread_future;
    if (!coil_thread_future_done(future)) {
        self->joining = future;
        wait_for_turn();
    }
    void *result = NULL;
    int rc = coil_thread_future_wait(future, 0, &result);
    if (rc == 0)
        *out = value_unpack(result);
    return rc;
}

const native thread_builtins[] = {
    {"start_thread", start_thread, 1, SIZE_MAX, false},
    {"pause", pause_thread, 1, 1, false},
    {"submit", submit, 1, 1, false},
    {"join", join, 1, 1, false},
    {0},
};
