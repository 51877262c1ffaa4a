/*
 * coil_testing.h - for tests of programs that use coil: a fresh loop for each, leaks, a virtual clock, streams, faults
 *
 * An optional component with Check (https://libcheck.github.io/check/): pkg-config coil-testing, or coil::testing in
 * CMake. docs/testing.md shows how it is used. The functions are for the thread that runs the test.
 *
 *     COIL_TEST(a_consumer_gets_what_was_put)         // instead of START_TEST: the body is a task on a loop of its own
 *     {
 *         coil_queue *queue;
 *         void *item;
 *         ck_assert_coil_ok(coil_queue_new(1, &queue));
 *         ck_assert_coil_ok(coil_queue_put(queue, "tea"));
 *         ck_assert_coil_ok(coil_queue_get(queue, &item));
 *         ck_assert_str_eq(item, "tea");
 *         coil_queue_free(queue);
 *     }
 *     END_COIL_TEST
 *     ...
 *     tcase_add_test(tcase, a_consumer_gets_what_was_put);
 */
#ifndef COIL_TESTING_H
#define COIL_TESTING_H

#include <check.h>
#include <coil.h>
COIL_BEGIN

/* --- a loop for each test ------------------------------------------------------------------------------------- */

/*
 * COIL_TEST(name) - a test for Check whose body runs as a task of a new loop, which is in debug mode, as those of
 * IsolatedAsyncioTestCase are. When the body has returned, the loop goes on for as long as something is ready; then
 * the test fails if it has left behind
 *
 *   tasks that are not done         their name and function, and where they were made
 *   timers that are armed           what they would call, and when
 *   descriptors                     those that were not open before: their number, and what they are
 *   errors that nobody looked at    what the exception handler was told, if the test has not set one of its own
 *
 * COIL_TEST_VIRTUAL(name) - the same on a virtual clock, which starts at 0 and jumps whenever the loop would sleep.
 *
 * In a loop test (tcase_add_loop_test) the body finds Check's counter in _i.
 */
#define COIL_TEST(name) COIL_TEST_ON_(name, false)
#define COIL_TEST_VIRTUAL(name) COIL_TEST_ON_(name, true)
#define END_COIL_TEST

#define COIL_TEST_ON_(name, virtual_clock)                                           \
    static void name##_in_task(int _i);                                              \
    START_TEST(name)                                                                 \
    {                                                                                \
        const char *left = coil_testing_run_test(name##_in_task, _i, virtual_clock); \
        if (left)                                                                    \
            ck_abort_msg("%s", left);                                                \
    }                                                                                \
    END_TEST                                                                         \
    static void name##_in_task(int _i CK_ATTRIBUTE_UNUSED)

/**
 * coil_testing_run_test - what COIL_TEST does: coil_testing_begin, @body as a task, coil_testing_end
 *
 * Between coil_testing_begin() and _end(), as in a test with the fixture below, it uses the loop that is there,
 * whatever its clock. Returns what coil_testing_end() returns.
 */
COIL_ANY_THREAD const char *coil_testing_run_test(void (*body)(int), int i, bool virtual_clock);

/**
 * coil_testing_begin - make the test's loop, also what coil_get_event_loop() returns
 * @options: borrows; NULL: the defaults, but in debug mode. Without a handler errors are kept for coil_testing_end().
 *
 * Errors: COIL_EBUSY if there is one already; those of coil_new_event_loop.
 */
COIL_ANY_THREAD int coil_testing_begin(const coil_loop_options *options);

/** coil_testing_loop - that loop, borrowed until coil_testing_end(); NULL without one. */
COIL_ANY_THREAD coil_loop *coil_testing_loop(void);

/**
 * coil_testing_end - close the loop; what was left behind, in words, valid until the next call; NULL: nothing was
 *
 * Tasks that are left are unwound, not cancelled: a test that fails does not hang. Else asynchronous generators and the
 * default executor are shut down as by coil_run().
 */
COIL_ANY_THREAD const char *coil_testing_end(void);

/*
 * For tests that run the loop themselves, a checked fixture of Check:
 *
 *     tcase_add_checked_fixture(tcase, coil_testing_setup, coil_testing_teardown);
 */
static inline void coil_testing_setup(void)
{
    int rc = coil_testing_begin(NULL);
    if (rc < 0)
        ck_abort_msg("no event loop: %s", coil_strerror(rc));
}

static inline void coil_testing_teardown(void)
{
    const char *left = coil_testing_end();
    if (left)
        ck_abort_msg("%s", left);
}

/* --- assertions ------------------------------------------------------------------------------------------------- */

/* The call succeeds; else the test fails with the error's name and message. */
#define ck_assert_coil_ok(call)                                                                 \
    do {                                                                                        \
        int coil_testing_rc_ = (call);                                                          \
        if (coil_testing_rc_ < 0)                                                               \
            ck_abort_msg("%s raised %s", #call, coil_testing_describe(coil_testing_rc_));       \
    } while (0)

/* The call raises @code; the error is used up. */
#define ck_assert_coil_raises(call, code)                                                       \
    do {                                                                                        \
        int coil_testing_rc_ = (call);                                                          \
        if (coil_testing_rc_ != (code))                                                         \
            ck_abort_msg("%s %s%s, not %s", #call, coil_testing_rc_ < 0 ? "raised " : "returned ", \
                         coil_testing_describe(coil_testing_rc_), coil_error_name(code));       \
        coil_error_release(coil_catch(coil_testing_rc_));                                       \
    } while (0)

/** coil_testing_describe - what a call returned in words, using up its error; valid until the next call. */
COIL_ANY_THREAD const char *coil_testing_describe(int rc);

/* --- streams in memory ------------------------------------------------------------------------------------------ */

/**
 * coil_testing_stream_pair - two streams that are connected to each other, without the kernel
 * @capacity_bytes: of the wire, each way: what is written and neither read nor buffered by the streams. 0: 64 KiB;
 *                  with 1 the reader gets its bytes one by one
 * @a, @b:          give; coil_stream_close() each, then coil_stream_free() it
 *
 * They behave as the two ends of a TCP connection, with the same buffers, water marks, end of stream and errors, but
 * take no time on a virtual clock, have no descriptors and no addresses. Writing to an end that was closed is -EPIPE.
 * Errors: -ENOMEM, COIL_ELOOPCLOSED.
 */
COIL_ON_LOOP int coil_testing_stream_pair(coil_loop *loop, size_t capacity_bytes, coil_stream **a, coil_stream **b);

/* --- faults ----------------------------------------------------------------------------------------------------- */

/**
 * coil_testing_fail_allocation - let the library's @n-th next allocation on this thread fail: 1 is the next, 0 none
 *
 * Objects that come from a cache count as well. The call that needed the memory raises -ENOMEM.
 */
COIL_ANY_THREAD void coil_testing_fail_allocation(uint64_t n);

/** coil_testing_allocations_left - how many there are to go; 0 if it has failed, or none is to. */
COIL_ANY_THREAD uint64_t coil_testing_allocations_left(void);

/**
 * coil_testing_fail_operation - let the @n-th next request that @loop gives to the kernel fail: 1 is the next, 0 none
 * @loop: of a runtime: the requests of the worker that calls
 * @code: a negative errno that the request results in, without the kernel having seen it
 *
 * A request is an accept, connect, receive, send, read, write, wait for readiness, or an operation on a file. Bytes
 * that a stream sends at once are one as well, and so is each reading and writing of a stream in memory. Errors:
 * -EINVAL if @code is not negative, or is -EAGAIN; COIL_ELOOPCLOSED; those of opening the backend, if the loop has not
 * run yet.
 */
COIL_ON_LOOP int coil_testing_fail_operation(coil_loop *loop, uint64_t n, int code);
COIL_ON_LOOP uint64_t coil_testing_operations_left(const coil_loop *loop); /* as coil_testing_allocations_left */

COIL_END
#endif
