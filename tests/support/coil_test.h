/*
 * coil_test.h - what tests of coil have in common
 *
 *     TEST(a_sentence) { ... }         a test
 *     TASK_TEST(a_sentence) { ... }    the same inside the main task of a loop of its own, run by coil_run_with() on a
 *                                      virtual clock, so that no real time passes. $COIL_BACKEND chooses the backend.
 *     ABORTS(a_sentence) { ... }       a test that an assertion ends; left out if $CK_FORK is no
 *     COIL_TEST_MAIN("topic")          at the end of the file
 *
 * Reports to the loop's exception handler are kept: a test says which it expects, any other one fails it.
 */
#ifndef COIL_TEST_H
#define COIL_TEST_H

#include <coil.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "main.h"

#define COIL_TEST_UNUSED __attribute__((unused))

#define TEST(name)                     \
    static void name##_body(void);     \
    START_TEST(name)                   \
    {                                  \
        name##_body();                 \
        no_more_reports();             \
    }                                  \
    END_TEST                           \
    COIL_TEST_REGISTER(name, 0)        \
    static void name##_body(void)

#define TASK_TEST(name)                \
    static void name##_task(void);     \
    TEST(name)                         \
    {                                  \
        run_as_task(name##_task);      \
    }                                  \
    static void name##_task(void)

#define ABORTS(name)                   \
    static void name##_body(void);     \
    START_TEST(name)                   \
    {                                  \
        name##_body();                 \
    }                                  \
    END_TEST                           \
    COIL_TEST_REGISTER(name, SIGABRT)  \
    static void name##_body(void)

/* The call succeeds. */
#define OK(call)                                                                                        \
    do {                                                                                                \
        int ok_rc = (call);                                                                             \
        ck_assert_msg(ok_rc >= 0, "%s raised %s, \"%s\"", #call, coil_error_name(ok_rc), caught(ok_rc)); \
    } while (0)

/* The call raises @code with exactly this message ("" for none). */
#define RAISES(raised_code, message, call)                                                              \
    do {                                                                                                \
        int raises_rc = (call);                                                                         \
        ck_assert_msg(raises_rc == (raised_code), "%s gave %d", #call, raises_rc);                      \
        ck_assert_str_eq(caught(raises_rc), message);                                                   \
    } while (0)

/* The message of the current error with the code @rc, which is detached. */
static inline const char *caught(int rc)
{
    static char message[256];
    coil_error *error = coil_catch(rc);
    snprintf(message, sizeof message, "%s", coil_error_message(error));
    coil_error_release(error);
    return message;
}

/* --- reports to the exception handler ---------------------------------------------------------------------------- */

typedef struct test_report {
    char message[128];
    int code;
    char detail[128];
} test_report;

static test_report reports[64];
static size_t report_count, reports_expected;

static inline int keep_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop;
    (void)arg;
    ck_assert_uint_lt(report_count, sizeof reports / sizeof *reports);
    test_report *r = &reports[report_count++];
    snprintf(r->message, sizeof r->message, "%s", context->message);
    r->code = coil_error_code(context->error);
    snprintf(r->detail, sizeof r->detail, "%s", coil_error_message(context->error));
    return 0;
}

/* The next report that was not expected yet has this message and this error. */
static COIL_TEST_UNUSED void expect_report(const char *message, int code, const char *detail)
{
    ck_assert_msg(reports_expected < report_count, "no report \"%s\"", message);
    const test_report *r = &reports[reports_expected++];
    ck_assert_str_eq(r->message, message);
    ck_assert_int_eq(r->code, code);
    ck_assert_str_eq(r->detail, detail);
}

static COIL_TEST_UNUSED void no_more_reports(void)
{
    size_t expected = reports_expected;
    ck_assert_msg(expected == report_count, "unexpected report \"%s\": %s (%d)", reports[expected].message,
                  reports[expected].detail, reports[expected].code);
    report_count = reports_expected = 0;
}

/* --- traces -------------------------------------------------------------------------------------------------------- */

static char trace[4096];

/* Appends a word to the trace. */
static COIL_TEST_UNUSED COIL_PRINTF(1, 2) void note(const char *format, ...)
{
    size_t length = strlen(trace);
    va_list args;
    va_start(args, format);
    if (length > 0 && length + 1 < sizeof trace)
        trace[length++] = ' ';
    vsnprintf(trace + length, sizeof trace - length, format, args);
    va_end(args);
}

/* The words noted since the last call are these. */
#define TRACE_IS(words)                \
    do {                               \
        ck_assert_str_eq(trace, words); \
        trace[0] = '\0';               \
    } while (0)

/* --- loops and tasks ------------------------------------------------------------------------------------------------- */

static coil_virtual_clock test_clock;

/* The options of a loop on the virtual clock, which starts again at 0, that keeps its reports. */
static inline coil_loop_options test_options(void)
{
    coil_virtual_clock_init(&test_clock);
    return (coil_loop_options){
        .size = sizeof(coil_loop_options),
        .clock = &test_clock.clock,
        .default_exception_handler = keep_report,
    };
}

static COIL_TEST_UNUSED coil_loop *new_test_loop(void)
{
    coil_loop_options options = test_options();
    coil_loop *loop;
    OK(coil_new_event_loop(&options, &loop));
    return loop;
}

struct test_body {
    void (*fn)(void);
};

static inline int run_test_body(void *arg, void **result)
{
    (void)result;
    ((struct test_body *)arg)->fn();
    return 0;
}

static inline void run_as_task(void (*fn)(void))
{
    struct test_body body = {fn};
    coil_loop_options options = test_options();
    trace[0] = '\0';
    OK(coil_run_with(&options, coil_coro_of(run_test_body, &body), NULL));
}

/* A task of the running loop. */
static COIL_TEST_UNUSED coil_task *spawn(coil_coro coro)
{
    coil_task *task;
    OK(coil_create_task(coro, &task));
    return task;
}

/* Lets everything that is ready run @n times. */
static COIL_TEST_UNUSED void turns(int n)
{
    for (int i = 0; i < n; i++)
        OK(coil_sleep(0));
}

/* A task that lets the others begin, and stops the loop. */
static COIL_TEST_UNUSED int stop_after_two_turns(void *arg, void **result)
{
    (void)arg, (void)result;
    turns(2);
    coil_loop_stop(coil_get_running_loop());
    return 0;
}

/* The time on the virtual clock in milliseconds. */
static COIL_TEST_UNUSED long now_ms(void)
{
    return (long)(test_clock.time_ns / 1000000);
}

#endif
