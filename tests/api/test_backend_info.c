/*
 * test_backend_info.c - what coil_loop_backend_info() tells of the loops of coil_new_event_loop(): backend,
 * features, reasons
 */
#include "coil_test.h"

static coil_backend_info info;
static coil_loop *loop;

static void ask(void)
{
    info = (coil_backend_info){.size = sizeof info};
    OK(coil_loop_backend_info(loop, &info));
}

static const coil_backend_feature *feature(const char *name)
{
    for (size_t i = 0; i < info.feature_count; i++) {
        if (!strcmp(info.features[i].name, name))
            return &info.features[i];
    }
    return NULL;
}

TEST(every_feature_is_used_or_has_a_reason_why_not)
{
    loop = new_test_loop();
    ask();
    ck_assert_uint_ge(info.feature_count, 10);
    for (size_t i = 0; i < info.feature_count; i++) {
        const coil_backend_feature *f = &info.features[i];
        ck_assert_str_ne(f->name, "");
        ck_assert_ptr_eq(feature(f->name), f); /* no name twice */
        ck_assert_msg(f->used == !f->why, "%s: %s", f->name, f->why);
    }
    coil_loop_free(loop);
}

TEST(features_belong_to_the_backend_that_was_chosen)
{
    loop = new_test_loop();
    ask();
    bool ring = !strcmp(info.name, "io_uring");
    ck_assert_int_eq(feature("single_issuer")->used, ring);
    ck_assert_int_eq(feature("defer_taskrun")->used || feature("coop_taskrun")->used, ring);
    if (!ring)
        ck_assert_str_eq(feature("multishot_accept")->why, "the backend is epoll");
    coil_loop_free(loop);
}

static int asks(void *arg, void **result)
{
    (void)arg, (void)result;
    loop = coil_get_running_loop();
    ask();
    return 0;
}

TEST(a_running_loop_gives_the_same_answer)
{
    loop = new_test_loop();
    coil_loop *outside = loop;
    ask();
    coil_backend_info before = info;
    OK(coil_loop_run_until_complete(loop, coil_coro_of(asks, NULL), NULL));
    ck_assert_ptr_eq(loop, outside);
    ck_assert_str_eq(info.name, before.name);
    ck_assert_str_eq(info.reason, before.reason);
    ck_assert_str_eq(info.kernel, before.kernel);
    ck_assert_ptr_eq(info.features, before.features);
    coil_loop_free(loop);
}

COIL_TEST_MAIN("backend_info")
