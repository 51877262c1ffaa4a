/*
 * model_inbox.c - every interleaving of a loop that goes to sleep and threads that post to it, or notify it
 * (src/loop.c)
 *
 * This is the loop's own source, running its iterations; only the eventfd and the wait in the kernel are the
 * explorer's. A worker sleeps in the same way, and is notified by whoever has picked it (sched/idle.h); its queue is
 * the injection queue.
 */
#include <sys/types.h>
#include <unistd.h>

static ssize_t write_to_eventfd(int fd, const void *bytes, size_t size);
#define write write_to_eventfd
#include "src/loop.c"
#undef write

#include "items.h"
#include "sched/idle.h"
#include "sched/inject.h"

static coil_loop model_loop;
static coil__idle idle_workers;
static coil__inject injected;
static model_event wake_ups; /* the eventfd */
static bool loop_ended;
static struct posted {
    coil__handle handle;
    item *item;
} posted[ITEMS];

/* --- what the loop sees of the world ---------------------------------------------------------------------------- */

static ssize_t write_to_eventfd(int fd, const void *bytes, size_t size)
{
    (void)fd, (void)bytes;
    model_signal(&wake_ups);
    return (ssize_t)size;
}

static int wait_in_kernel(coil__backend *b, int64_t timeout_ns, coil__list *ready)
{
    (void)b, (void)ready;
    if (timeout_ns == 0)
        model_poll(&wake_ups);
    else
        model_sleep(&wake_ups);
    return 0;
}

static void run_posted(coil__handle *h)
{
    take(&coil_container_of(h, struct posted, handle)->item->node);
}

static const coil__handle_ops posted_ops = {.run = run_posted, .what = "posted"};
static const coil__backend_ops backend_ops = {.name = "model", .wait = wait_in_kernel};

static void setup(void)
{
    static coil__backend backend = {.ops = &backend_ops};
    static coil__current_state current;
    model_name(model_loop.inbox);
    model_name(model_loop.parked);
    model_name(model_loop.stopping);
    model_name(model_loop.notified);
    model_name(coil__parallel);
    model_name(idle_workers.state);
    model_name(idle_workers.mutex);
    model_name(injected.length);
    model_name(injected.mutex);
    model_name(wake_ups);
    items_reset();
    memset(&model_loop, 0, sizeof model_loop);
    coil__list_init(&model_loop.ready);
    coil__list_init(&model_loop.fresh);
    model_loop.clock = &monotonic;
    model_loop.backend = &backend;
    model_loop.current = &current;
    model_loop.facade = &model_loop;
    wake_ups.count = 0;
    coil__idle_init(&idle_workers, 1);
    coil__inject_init(&injected);
    loop_ended = false;
    for (int i = 0; i < ITEMS; i++) {
        coil__handle_init(&posted[i].handle, &posted_ops);
        posted[i].item = &items[i];
    }
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void run_loop(void)
{
    do
        coil__loop_run_once(&model_loop);
    while (!coil__loop_stopping(&model_loop));
    loop_ended = true;
}

static void post(int i)
{
    store_relaxed(&items[i].content, 1);
    coil__loop_post(&model_loop, &posted[i].handle);
}

static void post_two(void)
{
    post(0);
    post(1);
}

static void post_first(void)
{
    post(0);
}

static void post_second(void)
{
    post(1);
}

static void stop(void)
{
    coil_loop_stop(&model_loop);
}

static void run_injected_and_posted(void)
{
    coil__list chain;
    coil__list_init(&chain);
    coil__inject_pop(&injected, 1, ITEMS, &chain);
    take_all(&chain);
    if (coil__loop_posted(&model_loop))
        coil__loop_take_inbox(&model_loop);
    while (!coil__list_empty(&model_loop.ready))
        run_posted(coil__handle_of_node(coil__list_pop(&model_loop.ready)));
}

static void run_worker(void)
{
    for (bool searching = false;;) {
        run_injected_and_posted();
        if (!coil__idle_park(&idle_workers, 0, searching) || coil__inject_length(&injected) == 0)
            coil__loop_sleep(&model_loop);
        searching = !coil__idle_unpark_self(&idle_workers, 0);
    }
}

static void submit(int i)
{
    store_relaxed(&items[i].content, 1);
    coil__inject_push(&injected, &items[i].node);
    if (coil__idle_pick(&idle_workers) == 0)
        coil__loop_notify(&model_loop);
}

static void submit_two(void)
{
    submit(0);
    submit(1);
}

static void submit_first(void)
{
    submit(0);
}

static void both_have_run(void)
{
    made = 2;
    each_item_was_taken();
}

static void loop_has_ended(void)
{
    model_assert(loop_ended);
}

static const model one_poster = {
    .name = "a loop, and a thread that posts twice",
    .setup = setup,
    .thread = {run_loop, post_two},
    .check = both_have_run,
    .memory = MODEL_WEAK,
};

TEST(inbox_runs_all_that_is_posted_to_a_loop_that_goes_to_sleep)
{
    holds(one_poster);
}

TEST(inbox_takes_from_several_threads)
{
    holds((model){
        .name = "a loop, and two threads that post",
        .setup = setup,
        .thread = {run_loop, post_first, post_second},
        .check = both_have_run,
        .memory = MODEL_WEAK,
    });
}

TEST(a_stop_ends_a_loop_that_goes_to_sleep)
{
    holds((model){
        .name = "a loop, a poster, and a stop",
        .setup = setup,
        .thread = {run_loop, post_first, stop},
        .check = loop_has_ended,
        .memory = MODEL_WEAK,
    });
}

static const model one_submitter = {
    .name = "a worker, and a thread that submits twice",
    .setup = setup,
    .thread = {run_worker, submit_two},
    .check = both_have_run,
    .memory = MODEL_WEAK,
};

TEST(a_worker_that_is_notified_gets_up)
{
    holds(one_submitter);
}

TEST(a_worker_that_is_posted_to_meanwhile_is_notified_as_well)
{
    holds((model){
        .name = "a worker, a submitter, and a poster",
        .setup = setup,
        .thread = {run_worker, submit_first, post_second},
        .check = both_have_run,
        .memory = MODEL_WEAK,
    });
}

TEST(a_worker_without_the_order_of_parked_is_not_notified) /* [PARK-1] [PARK-2] */
{
    finds(weaken(one_submitter, &model_loop.parked, MODEL_RMWS));
}

TEST(inbox_without_the_order_of_parked_loses_wake_ups) /* [PARK-1] [PARK-2] */
{
    finds(weaken(one_poster, &model_loop.parked, MODEL_RMWS));
}

TEST(inbox_without_its_release_hands_over_unfinished_handles) /* [INBOX-1] */
{
    finds(weaken(one_poster, &model_loop.inbox, MODEL_RMWS));
}

COIL_TEST_MAIN("inbox")
