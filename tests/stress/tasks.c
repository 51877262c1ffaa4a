/*
 * tasks.c - trees of tasks that do everything that tasks can do, while others cancel them from everywhere
 *
 * Gardeners grow trees: tasks that yield, sleep, compute, wait for futures that other workers and another thread
 * complete, pin themselves, schedule callbacks and timers, join their children and other, younger tasks, and leave
 * tasks behind. Hunters, which are tasks of all workers and a thread of no runtime, cancel any of them at any
 * moment. A season ends with some of the tasks left, which the runtime has to end; then comes the next one, on a new
 * runtime.
 *
 * I1 every task's body runs once, or it is dropped once: cancelled before its first step
 * I2 who awaits a task, and is cancelled, goes on when that task is done, not before
 * I3 a task that neither awaits others nor is awaited meets no more cancellations than it was sent, until the
 *    runtime cancels what is left
 * I4 a task that was cancelled successfully has met it, or is cancelled, or never ran
 * I5 the runtime gets to an end: else somebody was not woken, and the alarm goes off
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../support/stress.h"

enum { GARDENERS = 24, HUNTERS = 4, SLOTS = 64, DEPTH = 4 };

typedef struct node {
    _Atomic int refs;          /* of the task, of who made it, of a slot */
    _Atomic int ended, dropped; /* I1 */
    _Atomic int sent, met, hit; /* cancellations: asked for, met, told to have had an effect */
    _Atomic bool tied;          /* it awaits, or is awaited: cancellations pass on */
    bool swallows;              /* cancellations, and goes on */
    int depth;
    uint64_t serial, random;
} node;

/* Tasks that may be cancelled or awaited by anybody. */
typedef struct slot {
    pthread_mutex_t mutex;
    coil_task *task;
    node *node;
} slot;

static slot slots[SLOTS];
static _Atomic uint64_t serials, made, ended, dropped, cancelled;
static double season_end;

static bool season_over(void)
{
    return stress_now() >= season_end;
}

/* --- nodes ------------------------------------------------------------------------------------------------------ */

static node *node_new(int depth, uint64_t *random)
{
    node *n = calloc(1, sizeof *n);
    MUST(n);
    atomic_store(&n->refs, 2);
    n->depth = depth;
    n->serial = atomic_fetch_add(&serials, 1);
    n->random = stress_random_state((uint64_t)stress_random(random, 1u << 31) << 20 | n->serial);
    atomic_fetch_add(&made, 1);
    return n;
}

static void node_release(node *n)
{
    if (!n || atomic_fetch_sub(&n->refs, 1) != 1)
        return;
    MUST(atomic_load(&n->ended) + atomic_load(&n->dropped) == 1);                             /* I1 */
    MUST(atomic_load(&n->tied) || season_over() || atomic_load(&n->met) <= atomic_load(&n->sent)); /* I3 */
    free(n);
}

static void drop_node(void *arg)
{
    node *n = arg;
    atomic_fetch_add(&n->dropped, 1);
    atomic_fetch_add(&dropped, 1);
    node_release(n);
}

/* --- slots ------------------------------------------------------------------------------------------------------ */

static void slot_exchange(slot *s, coil_task **task, node **n)
{
    pthread_mutex_lock(&s->mutex);
    coil_task *t = s->task;
    node *m = s->node;
    s->task = *task;
    s->node = *n;
    pthread_mutex_unlock(&s->mutex);
    *task = t;
    *n = m;
}

static void slot_clear(slot *s)
{
    coil_task *task = NULL;
    node *n = NULL;
    slot_exchange(s, &task, &n);
    coil_release(task);
    node_release(n);
}

/* The running task becomes one that anybody may find. */
static void enlist(node *n)
{
    coil_task *task = coil_retain(coil_current_task());
    node *m = n;
    atomic_fetch_add(&n->refs, 1);
    slot_exchange(&slots[stress_random(&n->random, SLOTS)], &task, &m);
    coil_release(task);
    node_release(m);
}

/* With references. */
static coil_task *find(uint64_t *random, node **n)
{
    slot *s = &slots[stress_random(random, SLOTS)];
    pthread_mutex_lock(&s->mutex);
    coil_task *task = s->task ? coil_retain(s->task) : NULL;
    *n = s->node;
    if (*n)
        atomic_fetch_add(&(*n)->refs, 1);
    pthread_mutex_unlock(&s->mutex);
    return task;
}

static void hunt(uint64_t *random)
{
    node *n;
    coil_task *task = find(random, &n);
    if (!task)
        return;
    atomic_fetch_add(&n->sent, 1);
    if (coil_task_cancel(task, stress_random(random, 2) ? "hunted" : NULL)) {
        atomic_store(&n->hit, 1);
        atomic_fetch_add(&cancelled, 1);
    }
    node_release(n);
    coil_release(task);
}

/* --- futures for others to complete ----------------------------------------------------------------------------- */

enum { BOXES = 16 };

static struct {
    pthread_mutex_t mutex;
    coil_future *future;
} boxes[BOXES];

static coil_future *box_exchange(uint32_t box, coil_future *f)
{
    pthread_mutex_lock(&boxes[box].mutex);
    coil_future *before = boxes[box].future;
    boxes[box].future = f;
    pthread_mutex_unlock(&boxes[box].mutex);
    return before;
}

/* Whoever waited for it may have given up. */
static void complete(coil_future *f)
{
    if (!f)
        return;
    int rc = stress_caught(coil_future_set_result(f, NULL));
    MUST(rc == 0 || rc == COIL_EINVALIDSTATE);
    coil_release(f);
}

static void complete_box(uint32_t box)
{
    complete(box_exchange(box, NULL));
}

static int complete_all(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < BOXES; i++)
        complete_box(i);
    return 0;
}

static int complete_callback(void *future)
{
    complete(future);
    return 0;
}

/* --- what tasks do ---------------------------------------------------------------------------------------------- */

static int body(void *arg, void **result);

static coil_task *plant(node *n, uint64_t *random)
{
    coil_task *task;
    coil_task_options o = {.size = sizeof o, .migration = (enum coil_migration)stress_random(random, 3)};
    if (o.migration == COIL_PINNED && stress_random(random, 2))
        o.worker = 1 + stress_random(random, coil_worker_count());
    stress_ok(coil_create_task_with(coil_coro_owning(body, n, drop_node), &o, &task));
    return task;
}

/* Awaits a task, whose references are taken. */
static int join(coil_task *task, node *n)
{
    int rc = coil_await(task, NULL);
    MUST(rc == 0 || rc == -ECANCELED);
    MUST(coil_future_done(task)); /* I2 */
    MUST(atomic_load(&n->ended) + atomic_load(&n->dropped) == 1);
    if (atomic_load(&n->hit)) /* I4 */
        MUST(atomic_load(&n->met) > 0 || atomic_load(&n->dropped) || coil_future_cancelled(task));
    coil_release(task);
    node_release(n);
    return rc;
}

static int join_children(node *n)
{
    coil_task *tasks[3];
    node *children[3];
    uint32_t count = 1 + stress_random(&n->random, 3);
    int rc = 0;
    if (n->depth == 0 || season_over())
        return coil_sleep(0);
    atomic_store(&n->tied, true);
    for (uint32_t i = 0; i < count; i++) {
        children[i] = node_new(n->depth - 1, &n->random);
        atomic_store(&children[i]->tied, true);
        tasks[i] = plant(children[i], &n->random);
    }
    for (uint32_t i = 0; i < count; i++) {
        int one = join(tasks[i], children[i]);
        rc = rc == 0 ? one : rc < 0 && one < 0 ? stress_caught(one) : rc;
    }
    return rc;
}

static int leave_child(node *n)
{
    node *child = node_new(0, &n->random);
    child->swallows = stress_random(&n->random, 2);
    coil_detach(plant(child, &n->random));
    node_release(child);
    return 0;
}

/* A task that is younger, so that nobody waits in a circle. It may meet a cancellation that was sent to this one. */
static int join_other(node *n)
{
    node *other;
    coil_task *task = find(&n->random, &other);
    if (!task)
        return 0;
    if (other->serial <= n->serial || other->swallows) {
        node_release(other);
        coil_release(task);
        return 0;
    }
    atomic_store(&n->tied, true);
    atomic_store(&other->tied, true);
    return join(task, other);
}

static int wait_for_future(node *n, int way)
{
    coil_future *f;
    stress_ok(coil_create_future(&f));
    coil_retain(f);
    if (way == 0)
        complete(box_exchange(stress_random(&n->random, BOXES), f));
    else if (way == 1)
        stress_ok(coil_loop_call_soon(coil_get_running_loop(), complete_callback, f, NULL));
    else
        stress_ok(coil_loop_call_later(coil_get_running_loop(), stress_random(&n->random, 50000), complete_callback, f,
                                       NULL));
    int rc = coil_await(f, NULL);
    MUST(coil_future_done(f));
    coil_release(f);
    return rc;
}

static int must_not_run(void *arg)
{
    (void)arg;
    MUST(arg == NULL); /* a cancelled timer has run */
    return 0;
}

static int cancel_timer(node *n)
{
    coil_handle *h;
    stress_ok(coil_loop_call_later(coil_get_running_loop(), COIL_SECONDS(1000), must_not_run, n, &h));
    int rc = coil_sleep(0); /* to another worker, perhaps */
    coil_handle_cancel(h);
    coil_handle_release(h);
    return rc;
}

static int stay_pinned(node *n)
{
    coil_pin();
    unsigned here = coil_worker_number();
    int rc = stress_random(&n->random, 2) ? coil_sleep(0) : wait_for_future(n, 1);
    MUST(coil_worker_number() == here);
    coil_unpin();
    return rc;
}

static int act(node *n)
{
    switch (stress_random(&n->random, 13)) {
    case 0:
        return join_children(n);
    case 1:
        return leave_child(n);
    case 2:
        return join_other(n);
    case 3:
        return stay_pinned(n);
    case 4:
        return cancel_timer(n);
    case 5:
    case 6:
    case 7:
        return wait_for_future(n, (int)stress_random(&n->random, 3));
    case 8:
        complete_box(stress_random(&n->random, BOXES));
        return 0;
    case 9:
        stress_spin(stress_random(&n->random, 3000));
        return 0;
    case 10:
        return coil_sleep(stress_random(&n->random, 100000));
    default:
        return coil_sleep(0);
    }
}

static int body(void *arg, void **result)
{
    node *n = arg;
    int rc = 0;
    (void)result;
    if (stress_random(&n->random, 2))
        enlist(n);
    for (uint32_t i = stress_random(&n->random, 12); i > 0 && rc == 0; i--) {
        rc = act(n);
        MUST(rc == 0 || rc == -ECANCELED);
        if (rc < 0)
            atomic_fetch_add(&n->met, 1);
        if (rc < 0 && n->swallows && !season_over())
            rc = stress_caught(rc) * 0;
    }
    atomic_fetch_add(&n->ended, 1);
    atomic_fetch_add(&ended, 1);
    node_release(n);
    return rc;
}

/* --- a season --------------------------------------------------------------------------------------------------- */

static int garden(void *arg, void **result)
{
    uint64_t random = stress_random_state((uint64_t)(uintptr_t)arg);
    (void)result;
    while (!season_over()) {
        node *n = node_new((int)stress_random(&random, DEPTH + 1), &random);
        atomic_store(&n->tied, true); /* the runtime cancels it at the end, without asking */
        stress_caught(join(plant(n, &random), n));
    }
    return 0;
}

static int hunt_often(void *arg, void **result)
{
    uint64_t random = stress_random_state((uint64_t)(uintptr_t)arg);
    (void)result;
    while (!season_over()) {
        hunt(&random);
        complete_all(NULL);
        COIL_TRY(stress_random(&random, 2) ? coil_sleep(0) : coil_sleep(stress_random(&random, 200000)));
    }
    return 0;
}

/* A thread of no runtime. */
static void *roam(void *loop)
{
    uint64_t random = stress_random_state(1000);
    while (!season_over()) {
        if (stress_options.workers > 1)
            hunt(&random);
        stress_ok(coil_loop_call_soon_threadsafe(loop, complete_all, NULL, NULL));
        if (stress_random(&random, 4) == 0)
            usleep(stress_random(&random, 300));
    }
    return NULL;
}

static uint64_t alive(void)
{
    return atomic_load(&made) - atomic_load(&ended) - atomic_load(&dropped);
}

/* What is left may be waiting for futures that nobody else completes any more. */
static int wait_for_the_last(void)
{
    while (alive() > 0) {
        complete_all(NULL);
        COIL_TRY(coil_sleep(COIL_US(100)));
    }
    return 0;
}

static int season(void *tidy, void **result)
{
    coil_task *tasks[GARDENERS + HUNTERS];
    pthread_t thread;
    (void)result;
    MUST(pthread_create(&thread, NULL, roam, coil_get_running_loop()) == 0);
    for (uintptr_t i = 0; i < GARDENERS + HUNTERS; i++) {
        uint64_t number = atomic_fetch_add(&serials, 1);
        coil_coro_fn *fn = i < GARDENERS ? garden : hunt_often;
        coil_task_options o = {.size = sizeof o};
        if (fn == hunt_often) {
            o.migration = COIL_PINNED;
            o.worker = 1 + (unsigned)i % coil_worker_count();
        }
        stress_ok(coil_create_task_with(coil_coro_of(fn, (void *)(uintptr_t)number), &o, &tasks[i]));
    }
    for (int i = GARDENERS; i < GARDENERS + HUNTERS; i++)
        COIL_TRY(coil_join(tasks[i], NULL));
    pthread_join(thread, NULL);
    if (tidy)
        COIL_TRY(wait_for_the_last());
    for (int i = 0; i < GARDENERS; i++) {
        if (tidy)
            COIL_TRY(coil_join(tasks[i], NULL));
        else
            coil_detach(tasks[i]);
    }
    for (int i = 0; i < SLOTS; i++)
        slot_clear(&slots[i]);
    return 0;
}

/* --- main ------------------------------------------------------------------------------------------------------- */

static void on_alarm(int signal)
{
    static const char text[] = "tasks: nothing moves any more: a wake-up was lost\n";
    (void)signal;
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    abort();
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    signal(SIGALRM, on_alarm);
    for (int i = 0; i < SLOTS; i++)
        pthread_mutex_init(&slots[i].mutex, NULL);
    for (int i = 0; i < BOXES; i++)
        pthread_mutex_init(&boxes[i].mutex, NULL);
    int seasons = 0;
    for (; stress_time_left(); seasons++) {
        season_end = stress_now() + 0.3;
        alarm(120);
        stress_run(season, (void *)(uintptr_t)(seasons % 2));
        for (uint32_t i = 0; i < BOXES; i++)
            coil_release(box_exchange(i, NULL));
        for (int i = 0; i < SLOTS; i++)
            slot_clear(&slots[i]);
        MUST(alive() == 0); /* I1, I5 */
    }
    printf("%d seasons, %" PRIu64 " tasks, %" PRIu64 " cancellations, %" PRIu64 " before the first step\n", seasons,
           atomic_load(&made), atomic_load(&cancelled), atomic_load(&dropped));
    return 0;
}
