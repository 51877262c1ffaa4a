/*
 * test_reader.c - stream readers fed by hand
 *
 * The rules are asyncio's; the scenarios of tests/conformance compare them with CPython's. Here is what C adds: memory.
 */
#include "coil_test.h"

#include "../../src/base/alloc.h"

static coil_stream_reader *new_reader(size_t limit)
{
    coil_stream_reader *r;
    OK(coil_stream_reader_new(coil_get_running_loop(), limit, &r));
    return r;
}

static void feed(coil_stream_reader *r, const char *text)
{
    OK(coil_stream_reader_feed_data(r, text, strlen(text)));
}

static void reads_line(coil_stream_reader *r, const char *text)
{
    const char *line;
    size_t n;
    OK(coil_stream_reader_readline(r, &line, &n));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_mem_eq(line, text, n);
}

static int read_line_into_trace(void *arg, void **result)
{
    const char *line;
    size_t n;
    (void)result;
    COIL_TRY(coil_stream_reader_readline(arg, &line, &n));
    note("%.*s", (int)n - 1, line);
    return 0;
}

TASK_TEST(a_limit_of_nothing_is_refused)
{
    coil_stream_reader *r;
    RAISES(-EINVAL, "Limit cannot be <= 0", coil_stream_reader_new(coil_get_running_loop(), 0, &r));
    RAISES(-EINVAL, "Limit cannot be <= 0", coil_stream_reader_new(coil_get_running_loop(), (size_t)-1, &r));
    coil_stream_reader_free(NULL);
}

TASK_TEST(data_wake_the_reader_one_iteration_later)
{
    coil_stream_reader *r = new_reader(100);
    coil_task *task = spawn(coil_coro_of(read_line_into_trace, r));
    turns(1);
    feed(r, "par");
    turns(2);
    feed(r, "tial\n");
    note("fed");
    turns(1);
    OK(coil_join(task, NULL));
    TRACE_IS("fed partial");
    coil_stream_reader_free(r);
}

TASK_TEST(a_read_that_finds_data_does_not_suspend)
{
    coil_stream_reader *r = new_reader(100);
    char buf[4];
    size_t n;
    feed(r, "abcdef");
    coil_task *other = spawn(coil_coro_of(read_line_into_trace, r));
    OK(coil_stream_reader_read(r, buf, sizeof buf, &n));
    ck_assert_uint_eq(n, 4);
    OK(coil_stream_reader_readexactly(r, buf, 2));
    ck_assert_mem_eq(buf, "ef", 2);
    ck_assert(!coil_future_done(other));
    feed(r, "line\n");
    OK(coil_join(other, NULL));
    TRACE_IS("line");
    coil_stream_reader_free(r);
}

TASK_TEST(a_long_separator_is_found_across_pieces)
{
    coil_stream_reader *r = new_reader(100);
    const char *data;
    size_t n;
    for (size_t cut = 1; cut < 7; cut++) {
        OK(coil_stream_reader_feed_data(r, "xxSEPAR", cut));
        OK(coil_stream_reader_feed_data(r, &"xxSEPAR"[cut], 7 - cut));
        OK(coil_stream_reader_readuntil(r, "SEPAR", 5, &data, &n));
        ck_assert_uint_eq(n, 7);
    }
    coil_stream_reader_free(r);
}

static void reads_until_any(coil_stream_reader *r, const char *a, const char *b, const char *text)
{
    struct iovec separators[] = {{(void *)(uintptr_t)a, strlen(a)}, {(void *)(uintptr_t)b, strlen(b)}};
    const char *data;
    size_t n;
    OK(coil_stream_reader_readuntil_any(r, separators, 2, &data, &n));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_mem_eq(data, text, n);
}

TASK_TEST(of_several_separators_the_one_that_ends_first_counts)
{
    coil_stream_reader *r = new_reader(100);
    feed(r, "line 1\nline 2\r");
    reads_until_any(r, "\r", "\n", "line 1\n");
    reads_until_any(r, "\r", "\n", "line 2\r");
    feed(r, "ABCD");
    reads_until_any(r, "CD", "BC", "ABC");
    feed(r, "X"); /* "DX" */
    reads_until_any(r, "a long one", "X", "DX");
    coil_stream_reader_free(r);
}

static int read_until_any_into_trace(void *arg, void **result)
{
    (void)result;
    reads_until_any(arg, "a long separator", "end", "xx a long separator");
    note("found");
    return 0;
}

TASK_TEST(a_long_one_of_several_separators_is_found_across_pieces)
{
    coil_stream_reader *r = new_reader(100);
    feed(r, "xx a long");
    coil_task *reading = spawn(coil_coro_of(read_until_any_into_trace, r));
    turns(2);
    feed(r, " separ");
    turns(2);
    feed(r, "ator end");
    OK(coil_join(reading, NULL));
    TRACE_IS("found");
    coil_stream_reader_free(r);
}

TASK_TEST(separators_that_make_no_sense_are_refused)
{
    coil_stream_reader *r = new_reader(100);
    struct iovec separators[] = {{(void *)(uintptr_t)"x", 1}, {NULL, 0}};
    const char *data;
    size_t n;
    RAISES(-EINVAL, "Separator should contain at least one element",
           coil_stream_reader_readuntil_any(r, separators, 0, &data, &n));
    RAISES(-EINVAL, "Separator should be at least one-byte string",
           coil_stream_reader_readuntil_any(r, separators, 2, &data, &n));
    coil_stream_reader_free(r);
}

TASK_TEST(lent_bytes_stay_until_the_next_reading_call)
{
    coil_stream_reader *r = new_reader(1000000);
    const char *first;
    size_t n;
    char much[3000];
    memset(much, 'm', sizeof much);
    feed(r, "first\n");
    OK(coil_stream_reader_readline(r, &first, &n));
    for (int i = 0; i < 100; i++) { /* makes the buffer move, more than once */
        OK(coil_stream_reader_feed_data(r, much, sizeof much));
        ck_assert_mem_eq(first, "first\n", 6);
    }
    feed(r, "\nlast\n");
    OK(coil_stream_reader_readline(r, &first, &n));
    ck_assert_uint_eq(n, 300001);
    reads_line(r, "last\n");
    coil_stream_reader_free(r);
}

TASK_TEST(a_buffer_that_is_read_as_fast_as_it_is_fed_stays_small)
{
    coil_stream_reader *r = new_reader(1000);
    char text[64];
    for (int i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "line %d\n", i);
        feed(r, text);
        feed(r, "x\n");
        reads_line(r, text);
        reads_line(r, "x\n");
    }
    coil_stream_reader_free(r);
}

TASK_TEST(an_exception_is_raised_by_all_reads)
{
    coil_stream_reader *r = new_reader(100);
    char buf[4];
    const char *line;
    char *all;
    size_t n;
    coil_task *task = spawn(coil_coro_of(read_line_into_trace, r));
    turns(1);
    coil_stream_reader_set_exception(r, coil_error_new(COIL_EUSER(3), "first"));
    RAISES(COIL_EUSER(3), "first", coil_join(task, NULL));
    coil_stream_reader_set_exception(r, coil_error_new(-EIO, "broken"));
    RAISES(-EIO, "broken", coil_stream_reader_read(r, buf, 4, &n));
    RAISES(-EIO, "broken", coil_stream_reader_read(r, buf, 0, &n));
    RAISES(-EIO, "broken", coil_stream_reader_readexactly(r, buf, 4));
    RAISES(-EIO, "broken", coil_stream_reader_readline(r, &line, &n));
    RAISES(-EIO, "broken", coil_stream_reader_read_all(r, &all, &n));
    coil_stream_reader_free(r);
}

TASK_TEST(running_out_of_memory_takes_nothing)
{
    coil_stream_reader *r = new_reader(100);
    coil__alloc_fail_at(1);
    int rc = coil_stream_reader_feed_data(r, "abc", 3);
    coil__alloc_fail_at(0);
    ck_assert_int_eq(rc, -ENOMEM);
    feed(r, "line\n");
    reads_line(r, "line\n");
    coil__alloc_fail_at(1);
    const char *line;
    size_t n;
    rc = coil_stream_reader_readline(r, &line, &n); /* no memory to wait */
    coil__alloc_fail_at(0);
    ck_assert_int_eq(rc, -ENOMEM);
    coil_error_release(coil_catch(rc));
    feed(r, "next\n");
    reads_line(r, "next\n");
    coil_stream_reader_free(r);
}

TEST(reading_needs_a_task)
{
    coil_loop *loop = new_test_loop();
    coil_stream_reader *r;
    const char *line;
    size_t n;
    OK(coil_stream_reader_new(loop, 100, &r));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_stream_reader_readline(r, &line, &n));
    coil_stream_reader_free(r);
    coil_loop_free(loop);
}

COIL_TEST_MAIN("reader")
