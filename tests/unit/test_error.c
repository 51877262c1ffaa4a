/*
 * test_error.c - errors as objects: codes, messages, payloads, groups, the current error
 */
#include "coil_test.h"

#include "base/alloc.h"

static int drops;

static void count_drop(void *payload)
{
    ck_assert_str_eq(payload, "payload");
    drops++;
}

TEST(error_raised_is_the_current_one_until_it_is_caught)
{
    int rc = coil_raise(COIL_EUSER(1), "number %d", 7);
    ck_assert_int_eq(rc, COIL_EUSER(1));
    coil_error *error = coil_catch(rc);
    ck_assert_int_eq(coil_error_code(error), COIL_EUSER(1));
    ck_assert_str_eq(coil_error_message(error), "number 7");
    coil_error *again = coil_catch(rc);
    ck_assert_int_eq(coil_error_code(again), COIL_EUSER(1));
    ck_assert_str_eq(coil_error_message(again), ""); /* it was detached */
    ck_assert_int_eq(coil_raise_error(error), COIL_EUSER(1));
    RAISES(COIL_EUSER(1), "number 7", rc);
    coil_error_release(again);
}

TEST(error_of_a_bare_code_has_no_message)
{
    coil_error *error = coil_catch(-ETIMEDOUT);
    ck_assert_int_eq(coil_error_code(error), -ETIMEDOUT);
    ck_assert_str_eq(coil_error_message(error), "");
    ck_assert_ptr_null(coil_error_payload(error));
    ck_assert_uint_eq(coil_error_suberrors(error, NULL), 0);
    ck_assert_ptr_eq(coil_error_retain(error), error);
    coil_error_release(error);
    coil_error_release(error);
}

TEST(error_with_another_code_is_not_taken_for_the_current_one)
{
    int rc = coil_raise(-EINVAL, "old");
    (void)rc;
    RAISES(-ETIMEDOUT, "", -ETIMEDOUT);
    RAISES(-EINVAL, "old", -EINVAL);
}

TEST(error_without_a_message_replaces_one_with_the_same_code)
{
    int rc = coil_raise(-EINVAL, "old");
    rc = coil_raise(-EINVAL, NULL);
    RAISES(-EINVAL, "", rc);
}

TEST(error_of_success_is_none)
{
    ck_assert_ptr_null(coil_catch(0));
    ck_assert_ptr_null(coil_catch(5));
    ck_assert_int_eq(coil_raise_error(NULL), 0);
    ck_assert_int_eq(coil_error_code(NULL), 0);
    ck_assert_str_eq(coil_error_message(NULL), "");
    ck_assert_ptr_null(coil_error_retain(NULL));
    coil_error_release(NULL);
}

TEST(error_message_may_be_long)
{
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    coil_error *error = coil_error_new(-EINVAL, "%s!", text);
    ck_assert_uint_eq(strlen(coil_error_message(error)), sizeof text);
    coil_error_release(error);
}

TEST(error_payload_is_dropped_at_the_last_release)
{
    drops = 0;
    coil_error *error = coil_error_new_payload(COIL_EUSER(2), (void *)"payload", count_drop, "with data");
    coil_error_retain(error);
    ck_assert_str_eq(coil_error_payload(error), "payload");
    coil_error_release(error);
    ck_assert_int_eq(drops, 0);
    coil_error_release(error);
    ck_assert_int_eq(drops, 1);
}

TEST(error_without_memory_is_its_code_and_drops_its_payload)
{
    drops = 0;
    coil__alloc_fail_at(1);
    coil_error *error = coil_error_new_payload(COIL_EUSER(2), (void *)"payload", count_drop, "lost");
    ck_assert_int_eq(drops, 1);
    ck_assert_int_eq(coil_error_code(error), COIL_EUSER(2));
    ck_assert_str_eq(coil_error_message(error), "");
    coil__alloc_fail_at(1);
    int rc = coil_raise(COIL_EUSER(3), "lost");
    coil__alloc_fail_at(0);
    RAISES(COIL_EUSER(3), "", rc);
}

TEST(error_group_shares_its_errors)
{
    coil_error *errors[] = {
        coil_error_new(COIL_EUSER(1), "one"),
        coil_error_new(-ETIMEDOUT, NULL),
    };
    coil_error *const *suberrors, *group = coil_error_new_group("several", errors, 2);
    coil_error_release(errors[0]);
    coil_error_release(errors[1]);
    ck_assert_int_eq(coil_error_code(group), COIL_EGROUP);
    ck_assert_str_eq(coil_error_message(group), "several");
    ck_assert_uint_eq(coil_error_suberrors(group, &suberrors), 2);
    ck_assert_str_eq(coil_error_message(suberrors[0]), "one");
    ck_assert_int_eq(coil_error_code(suberrors[1]), -ETIMEDOUT);
    coil_error_release(group);
}

TEST(error_group_without_memory_is_its_code)
{
    coil_error *one = coil_error_new(COIL_EUSER(1), "one");
    for (uint64_t n = 1; n <= 2; n++) {
        coil__alloc_fail_at(n);
        coil_error *group = coil_error_new_group("several", &one, 1);
        coil__alloc_fail_at(0);
        ck_assert_int_eq(coil_error_code(group), COIL_EGROUP);
        ck_assert_uint_eq(coil_error_suberrors(group, NULL), 0);
        coil_error_release(group);
    }
    coil_error_release(one);
}

TEST(error_of_one_kind_is_not_mistaken_for_another)
{
    const void *partial;
    size_t n;
    ssize_t expected;
    coil_error *error = coil_error_new(COIL_EINCOMPLETEREAD, "by hand");
    ck_assert(!coil_error_incomplete_read(error, &partial, &n, &expected));
    ck_assert(!coil_error_limit_overrun(error, &n));
    ck_assert(!coil_error_incomplete_read(NULL, &partial, &n, &expected));
    ck_assert(!coil_error_limit_overrun(NULL, &n));
    coil_error_release(error);
}

static void formats(int code, const char *message, const char *text)
{
    char buf[200];
    coil_error *error = message ? coil_error_new(code, "%s", message) : coil_error_new(code, NULL);
    size_t length = coil_error_format(error, buf, sizeof buf);
    ck_assert_str_eq(buf, text);
    ck_assert_uint_eq(length, strlen(text));
    ck_assert_uint_eq(coil_error_format(error, NULL, 0), length);
    coil_error_release(error);
}

TEST(error_is_shown_with_asyncios_names)
{
    formats(-EINVAL, "bad", "ValueError: bad");
    formats(-ECANCELED, "why", "CancelledError: why");
    formats(COIL_ERUNTIME, "x", "RuntimeError: x");
    formats(COIL_EBROKENBARRIER, "x", "BrokenBarrierError: x");
    ck_assert_str_eq(coil_error_name(-ETIMEDOUT), "TimeoutError");
    ck_assert_str_eq(coil_error_name(-ECONNRESET), "ConnectionResetError");
    ck_assert_str_eq(coil_error_name(-EPIPE), "BrokenPipeError");
    ck_assert_str_eq(coil_error_name(-ESRCH), "ProcessLookupError");
    ck_assert_str_eq(coil_error_name(-EAGAIN), "BlockingIOError");
    ck_assert_str_eq(coil_error_name(-EXDEV), "OSError");
    ck_assert_str_eq(coil_error_name(COIL_EQUEUEEMPTY), "QueueEmpty");
    ck_assert_str_eq(coil_error_name(COIL_ESTOPITERATION), "StopAsyncIteration");
}

TEST(error_codes_can_be_told_in_words)
{
    for (int code = COIL_ECLOSED; code <= COIL_ERUNTIME; code++)
        ck_assert_str_ne(coil_strerror(code), "");
    ck_assert_str_ne(coil_strerror(-ENOENT), "");
    ck_assert_ptr_nonnull(coil_strerror(COIL_EUSER(5)));
    ck_assert_ptr_nonnull(coil_strerror(0));
    ck_assert_ptr_nonnull(coil_strerror(INT32_MIN));
}

TEST(error_codes_of_runtime_errors_are_known)
{
    static const int runtime[] = {COIL_ERUNTIME, COIL_ENOLOOP, COIL_ELOOPCLOSED,
                                  COIL_EBUSY,    COIL_EWRONGLOOP, COIL_EBROKENBARRIER};
    for (size_t i = 0; i < sizeof runtime / sizeof *runtime; i++)
        ck_assert(coil_is_runtime_error(runtime[i]));
    ck_assert(!coil_is_runtime_error(COIL_EINVALIDSTATE));
    ck_assert(!coil_is_runtime_error(-EINVAL));
    ck_assert(!coil_is_runtime_error(0));
    ck_assert(!coil_is_runtime_error(COIL_EUSER(0)));
}

static int raises_and_waits(void *message, void **result)
{
    (void)result;
    int rc = coil_raise(COIL_EUSER(1), "%s", (char *)message);
    OK(coil_sleep(0));
    RAISES(COIL_EUSER(1), message, rc);
    return 0;
}

TASK_TEST(error_that_is_current_belongs_to_its_task)
{
    coil_task *a = spawn(coil_coro_of(raises_and_waits, "a")), *b = spawn(coil_coro_of(raises_and_waits, "b"));
    int rc = coil_raise(COIL_EUSER(1), "main");
    OK(coil_join(a, NULL));
    OK(coil_join(b, NULL));
    RAISES(COIL_EUSER(1), "main", rc);
}

COIL_TEST_MAIN("error")
