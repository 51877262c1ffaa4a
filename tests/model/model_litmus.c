/*
 * model_litmus.c - does the explorer find what it must, and nothing else? (explorer.h)
 *
 * The litmus tests of memory models: what may be seen with each order, in each kind of memory. And a mutex, a latch,
 * an event.
 */
#include "base/latch.h"

#include "model_test.h"

static _Atomic int x, y;
static int seen[2];
static pthread_mutex_t mutex;
static coil__latch latch;
static int counter;
static model_event event;

static void setup(void)
{
    model_name(x);
    model_name(y);
    model_name(mutex);
    model_name(event);
    store_relaxed(&x, 0);
    store_relaxed(&y, 0);
    seen[0] = seen[1] = -1;
    counter = 0;
    pthread_mutex_init(&mutex, NULL);
    event.count = 0;
}

/* --- store buffering: both threads store, then read what the other stores --------------------------------------- */

static void both_missed(void)
{
    model_assert(seen[0] + seen[1] > 0);
}

static void release_x_read_y(void)
{
    store_release(&x, 1);
    seen[0] = load_acquire(&y);
}

static void release_y_read_x(void)
{
    store_release(&y, 1);
    seen[1] = load_acquire(&x);
}

static void seq_cst_x_read_y(void)
{
    store_seq_cst(&x, 1);
    seen[0] = load_seq_cst(&y);
}

static void seq_cst_y_read_x(void)
{
    store_seq_cst(&y, 1);
    seen[1] = load_seq_cst(&x);
}

static void exchange_x_read_y(void)
{
    exchange_seq_cst(&x, 1);
    seen[0] = load_seq_cst(&y);
}

static const model store_buffering = {
    .name = "SB, release and acquire",
    .setup = setup,
    .thread = {release_x_read_y, release_y_read_x},
    .check = both_missed,
    .memory = MODEL_TSO,
};
static const model store_buffering_seq_cst = {
    .name = "SB, seq_cst",
    .setup = setup,
    .thread = {seq_cst_x_read_y, seq_cst_y_read_x},
    .check = both_missed,
    .memory = MODEL_WEAK,
};

TEST(sb_with_release_stores_misses_in_store_buffers)
{
    finds(store_buffering);
}

TEST(sb_with_release_stores_holds_without_store_buffers)
{
    model m = store_buffering;
    m.memory = MODEL_SC;
    holds(m);
}

TEST(sb_with_seq_cst_stores_holds)
{
    holds(store_buffering_seq_cst);
}

TEST(sb_with_one_release_store_misses)
{
    model m = store_buffering_seq_cst;
    m.thread[1] = release_y_read_x;
    finds(m);
}

TEST(sb_with_an_exchange_holds)
{
    model m = store_buffering_seq_cst;
    m.thread[0] = exchange_x_read_y;
    holds(m);
}

TEST(sb_with_a_weakened_exchange_misses)
{
    model m = store_buffering_seq_cst;
    m.thread[0] = exchange_x_read_y;
    m.weakened[0].p = &x;
    m.weakened[0].mutation = MODEL_RMWS;
    finds(m);
}

/* --- message passing: y says that x is there -------------------------------------------------------------------- */

static void x_then_relaxed_y(void)
{
    store_relaxed(&x, 1);
    store_relaxed(&y, 1);
}

static void x_then_release_y(void)
{
    store_relaxed(&x, 1);
    store_release(&y, 1);
}

static void x_then_exchange_y(void)
{
    store_relaxed(&x, 1);
    exchange_acq_rel(&y, 1);
}

static void x_then_acquire_y(void)
{
    store_relaxed(&x, 1);
    exchange_acquire(&y, 1);
}

static void expect_message(void)
{
    if (load_acquire(&y) == 1)
        model_assert(load_relaxed(&x) == 1);
}

static const model message_passing = {
    .name = "MP, release and acquire",
    .setup = setup,
    .thread = {x_then_release_y, expect_message},
    .memory = MODEL_WEAK,
};
static const model message_passing_relaxed = {
    .name = "MP, relaxed",
    .setup = setup,
    .thread = {x_then_relaxed_y, expect_message},
    .memory = MODEL_WEAK,
};

TEST(mp_with_a_relaxed_store_misses)
{
    finds(message_passing_relaxed);
}

TEST(mp_with_a_relaxed_store_holds_in_buffers_that_keep_the_order)
{
    model m = message_passing_relaxed;
    m.memory = MODEL_TSO;
    holds(m);
}

TEST(mp_with_a_release_store_holds)
{
    holds(message_passing);
}

TEST(mp_with_a_weakened_release_store_misses)
{
    model m = message_passing;
    m.weakened[0].p = &y;
    m.weakened[0].mutation = MODEL_STORES;
    finds(m);
}

TEST(mp_with_an_exchange_holds)
{
    model m = message_passing;
    m.name = "MP, exchange";
    m.thread[0] = x_then_exchange_y;
    holds(m);
}

TEST(mp_with_an_exchange_that_only_acquires_misses)
{
    model m = message_passing;
    m.name = "MP, acquiring exchange";
    m.thread[0] = x_then_acquire_y;
    finds(m);
}

/* --- coherence: stores to one location stay in order ------------------------------------------------------------ */

static void count_to_two(void)
{
    store_relaxed(&x, 1);
    store_relaxed(&x, 2);
    seen[0] = load_relaxed(&x);
}

static void read_twice(void)
{
    int first = load_relaxed(&x), second = load_relaxed(&x);
    model_assert(first <= second);
}

static void own_store_seen(void)
{
    model_assert(seen[0] == 2);
    model_assert(load_relaxed(&x) == 2);
}

TEST(stores_to_one_location_stay_in_order)
{
    holds((model){
        .name = "coherence",
        .setup = setup,
        .thread = {count_to_two, read_twice, read_twice},
        .check = own_store_seen,
        .memory = MODEL_WEAK,
    });
}

/* --- read-modify-writes, mutexes, events ------------------------------------------------------------------------ */

static void add_by_cas(void)
{
    int value = load_relaxed(&x);
    while (!cas_weak_release(&x, &value, value + 1)) {
    }
}

static void add_by_load_and_store(void)
{
    store_relaxed(&x, load_relaxed(&x) + 1);
}

static void three_added(void)
{
    model_assert(load_relaxed(&x) == 3);
}

TEST(compare_and_swap_loses_no_addition)
{
    holds((model){
        .name = "CAS",
        .setup = setup,
        .thread = {add_by_cas, add_by_cas, add_by_cas},
        .check = three_added,
        .memory = MODEL_WEAK,
    });
}

TEST(a_load_and_a_store_lose_an_addition)
{
    finds((model){
        .name = "no CAS",
        .setup = setup,
        .thread = {add_by_cas, add_by_cas, add_by_load_and_store},
        .check = three_added,
        .memory = MODEL_SC,
    });
}

static void add_under_mutex(void)
{
    pthread_mutex_lock(&mutex);
    int value = counter;
    store_relaxed(&x, value); /* a step, at which another thread could go on */
    counter = load_relaxed(&x) + 1;
    pthread_mutex_unlock(&mutex);
}

static void three_counted(void)
{
    model_assert(counter == 3);
    model_assert(load_relaxed(&x) == 2);
}

static const model under_mutex = {
    .name = "mutex",
    .setup = setup,
    .thread = {add_under_mutex, add_under_mutex, add_under_mutex},
    .check = three_counted,
    .memory = MODEL_WEAK,
};

TEST(a_mutex_excludes)
{
    holds(under_mutex);
}

TEST(without_its_mutex_an_addition_is_lost)
{
    model m = under_mutex;
    m.weakened[0].p = &mutex;
    m.weakened[0].mutation = MODEL_MUTEX;
    finds(m);
}

static void lock_for_ever(void)
{
    pthread_mutex_lock(&mutex);
}

TEST(who_waits_for_a_mutex_for_ever_is_found)
{
    finds((model){
        .name = "a mutex never unlocked",
        .setup = setup,
        .thread = {lock_for_ever, add_under_mutex},
        .memory = MODEL_WEAK,
    });
}

/* --- latches, counts, memory that was freed --------------------------------------------------------------------- */

static void add_under_latch(void)
{
    COIL__GUARD(&latch);
    int value = counter;
    store_relaxed(&x, value);
    counter = load_relaxed(&x) + 1;
}

static void latched(void)
{
    setup();
    store_relaxed(&coil__parallel, 1);
    coil__latch_init(&latch);
    model_latch(latch);
}

static void add_to_x_under_latch(void)
{
    COIL__GUARD(&latch);
    store_relaxed(&x, load_relaxed(&x) + 1);
}

static const model under_latch = {
    .name = "latch",
    .setup = latched,
    .thread = {add_under_latch, add_under_latch, add_under_latch},
    .check = three_counted,
    .memory = MODEL_WEAK,
};

TEST(a_latch_excludes)
{
    holds(under_latch);
}

TEST(without_its_latch_an_addition_is_lost)
{
    model m = under_latch;
    m.weakened[0].p = &latch;
    m.weakened[0].mutation = MODEL_MUTEX;
    finds(m);
}

TEST(a_latch_without_its_release_loses_an_addition) /* [LATCH-1] */
{
    model m = under_latch;
    m.check = three_added;
    m.weakened[0].p = &latch;
    m.weakened[0].mutation = MODEL_STORES;
    for (int i = 0; i < 3; i++)
        m.thread[i] = add_to_x_under_latch;
    finds(m);
}

/* Memory that is given back with the last reference. */
static void counted(void)
{
    setup();
    store_relaxed(&x, 2);
    model_count(x);
}

static void use_and_drop(void)
{
    store_relaxed(&y, 1);
    if (fetch_sub_acq_rel(&x, 1) == 1)
        model_free(&y, sizeof y);
}

static void drop_and_use(void)
{
    if (fetch_sub_acq_rel(&x, 1) == 1)
        model_free(&y, sizeof y);
    else
        store_relaxed(&y, 1);
}

static const model with_references = {
    .name = "references",
    .setup = counted,
    .thread = {use_and_drop, use_and_drop},
    .memory = MODEL_WEAK,
};

TEST(memory_is_freed_with_the_last_reference)
{
    holds(with_references);
}

TEST(memory_used_without_a_reference_is_found)
{
    model m = with_references;
    m.thread[1] = drop_and_use;
    finds(m);
}

static void sleep_for_message(void)
{
    model_sleep(&event);
    seen[0] = load_relaxed(&x);
}

static void send_message(void)
{
    store_relaxed(&x, 1);
    model_signal(&event);
}

static void message_arrived(void)
{
    model_assert(seen[0] == 1);
}

TEST(an_event_wakes_and_publishes)
{
    holds((model){
        .name = "event",
        .setup = setup,
        .thread = {sleep_for_message, send_message},
        .check = message_arrived,
        .memory = MODEL_WEAK,
    });
}

/* --- the number of interleavings is what it should be ----------------------------------------------------------- */

static void three_steps(void)
{
    for (int i = 0; i < 3; i++)
        store_relaxed(&x, 0);
}

TEST(states_are_explored_once)
{
    model m = {.name = "2 threads, 3 stores each", .setup = setup, .thread = {three_steps, three_steps}};
    /* A grid of 4 by 4 states, of which those on its far edges leave no choice; each of its 9 inner edges but those
     * of the first path ends a run. */
    model_result result = model_explore(&m, false);
    ck_assert_uint_eq(result.states, 9);
    ck_assert_uint_eq(result.interleavings, 10);
}

static void three_loads(void)
{
    for (int i = 0; i < 3; i++)
        seen[0] = load_relaxed(&x);
}

static void three_other_stores(void)
{
    for (int i = 0; i < 3; i++)
        store_relaxed(&y, i);
}

TEST(what_is_not_shared_is_no_choice)
{
    model m = {.name = "2 threads, 3 loads each, 3 stores", .setup = setup, .memory = MODEL_WEAK,
               .thread = {three_loads, three_loads, three_other_stores}};
    model_result result = model_explore(&m, false);
    ck_assert_uint_eq(result.states, 0);
    ck_assert_uint_eq(result.interleavings, 1);
}

COIL_TEST_MAIN("litmus")
