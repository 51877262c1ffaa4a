/*
 * test_testing_pair.c - the test kit's streams in memory, which keep the rules of those on sockets
 */
#include <coil_testing.h>

#include "net.h"

#define PAIR_TEST(name)                                   \
    static void name##_with(coil_stream *a, coil_stream *b); \
    COIL_TEST_VIRTUAL(name)                               \
    {                                                     \
        coil_stream *a, *b;                               \
        OK(coil_testing_stream_pair(coil_get_running_loop(), CAPACITY, &a, &b)); \
        name##_with(a, b);                                \
    }                                                     \
    END_COIL_TEST                                         \
    COIL_TEST_REGISTER(name, 0)                           \
    static void name##_with(coil_stream *a, coil_stream *b)

enum { CAPACITY = 1000, MUCH = 300000 };

static size_t reads(coil_stream *s, char *buf, size_t size)
{
    size_t n;
    OK(coil_stream_read(s, buf, size, &n));
    return n;
}

PAIR_TEST(what_one_writes_the_other_reads_both_ways)
{
    writes(a, "there\n");
    writes(b, "and back\n");
    reads_line(b, "there\n");
    reads_line(a, "and back\n");
    finish(a);
    finish(b);
    ck_assert_int_eq(coil_loop_time(coil_get_running_loop()), 0);
}

PAIR_TEST(a_reader_waits_for_what_comes_later)
{
    coil_task *writer;
    OK(coil_create_task(coil_sleep_coro(COIL_SECONDS(10), NULL), &writer));
    char buf[8];
    size_t n;
    ck_assert_coil_raises(coil_timeout_run(COIL_SECONDS(1), coil_await_coro(writer), NULL), -ETIMEDOUT);
    coil_release(writer);
    writes(a, "tea");
    OK(coil_stream_read(b, buf, sizeof buf, &n));
    ck_assert_uint_eq(n, 3);
    finish(a);
    finish(b);
}

PAIR_TEST(the_end_comes_after_what_was_written)
{
    char buf[8];
    writes(a, "last");
    OK(coil_stream_write_eof(a));
    ck_assert_uint_eq(reads(b, buf, sizeof buf), 4);
    ck_assert_uint_eq(reads(b, buf, sizeof buf), 0);
    ck_assert(coil_stream_at_eof(b));
    writes(b, "still\n"); /* the other way is open */
    reads_line(a, "still\n");
    RAISES(COIL_ERUNTIME, "Cannot call write() after write_eof()", coil_stream_write(a, "x", 1));
    finish(a);
    finish(b);
}

static int read_much(void *arg, void **result)
{
    coil_stream *s = arg;
    char *data;
    size_t n;
    (void)result;
    COIL_TRY(coil_stream_read_all(s, &data, &n));
    for (size_t i = 0; i < n; i++)
        if (data[i] != (char)(i * 7 / 5))
            n = 0;
    free(data);
    return n == MUCH ? 0 : coil_raise(COIL_ERUNTIME, "%zu bytes came", n);
}

PAIR_TEST(much_passes_a_narrow_wire_in_order)
{
    coil_task *reader;
    static char much[MUCH];
    for (size_t i = 0; i < sizeof much; i++)
        much[i] = (char)(i * 7 / 5);
    OK(coil_create_task(coil_coro_of(read_much, b), &reader));
    OK(coil_stream_write(a, much, 100));
    OK(coil_stream_write(a, much + 100, sizeof much - 100));
    ck_assert_uint_gt(coil_stream_write_buffer_size(a), 200000);
    OK(coil_stream_drain(a));
    ck_assert_uint_le(coil_stream_write_buffer_size(a), 16384);
    OK(coil_stream_write_eof(a));
    OK(coil_join(reader, NULL));
    finish(a);
    finish(b);
}

PAIR_TEST(drain_waits_while_nobody_reads)
{
    static char much[MUCH];
    OK(coil_stream_write(a, much, sizeof much)); /* b reads ahead up to twice its limit */
    coil_stream_set_write_limits(a, 100, 0);
    coil_timeout *t;
    OK(coil_timeout_new(COIL_SECONDS(3600), &t));
    OK(coil_timeout_enter(t));
    RAISES(-ETIMEDOUT, "", coil_timeout_exit(t, coil_stream_drain(a)));
    coil_timeout_free(t);
    coil_stream_abort(a);
    OK(coil_stream_wait_closed(a));
    coil_stream_free(a);
    coil_stream_free(b);
}

PAIR_TEST(closing_sends_what_is_buffered)
{
    static char much[MUCH];
    char *data;
    size_t n;
    OK(coil_stream_write(a, much, sizeof much));
    coil_stream_close(a);
    OK(coil_stream_read_all(b, &data, &n));
    ck_assert_uint_eq(n, sizeof much);
    free(data);
    OK(coil_stream_wait_closed(a));
    coil_stream_free(a);
    finish(b);
}

PAIR_TEST(writing_to_a_closed_end_breaks_the_connection)
{
    finish(b);
    writes(a, "x");
    RAISES(-ECONNRESET, "Connection lost", coil_stream_drain(a));
    RAISES(-EPIPE, "", coil_stream_wait_closed(a));
    coil_stream_free(a);
}

PAIR_TEST(a_writer_that_waits_hears_that_the_other_end_has_closed)
{
    static char much[MUCH];
    OK(coil_stream_write(a, much, sizeof much));
    finish(b);
    RAISES(-EPIPE, "", coil_stream_drain(a));
    coil_stream_free(a);
}

PAIR_TEST(a_cancelled_read_loses_nothing)
{
    char buf[8];
    coil_timeout *t;
    size_t n;
    OK(coil_timeout_new(COIL_SECONDS(1), &t));
    OK(coil_timeout_enter(t));
    RAISES(-ETIMEDOUT, "", coil_timeout_exit(t, coil_stream_read(b, buf, sizeof buf, &n)));
    coil_timeout_free(t);
    writes(a, "kept");
    ck_assert_uint_eq(reads(b, buf, sizeof buf), 4);
    finish(a);
    finish(b);
}

PAIR_TEST(streams_are_freed_without_being_closed)
{
    writes(a, "nobody reads that");
    coil_stream_free(a);
    coil_stream_free(b);
}

COIL_TEST_VIRTUAL(a_wire_of_one_byte_delivers_bytes_one_by_one)
{
    coil_stream *a, *b;
    char buf[8];
    OK(coil_testing_stream_pair(coil_get_running_loop(), 1, &a, &b));
    writes(a, "tea");
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(reads(b, buf, sizeof buf), 1);
        ck_assert_int_eq(buf[0], "tea"[i]);
    }
    finish(a);
    finish(b);
}
END_COIL_TEST
COIL_TEST_REGISTER(a_wire_of_one_byte_delivers_bytes_one_by_one, 0)

PAIR_TEST(a_write_can_be_made_to_fail)
{
    OK(coil_testing_fail_operation(coil_get_running_loop(), 1, -ECONNRESET));
    writes(a, "tea");
    RAISES(-ECONNRESET, "Connection lost", coil_stream_drain(a));
    coil_stream_free(a);
    finish(b);
}

PAIR_TEST(a_read_can_be_made_to_fail)
{
    char buf[8];
    size_t n;
    OK(coil_testing_fail_operation(coil_get_running_loop(), 2, -ECONNRESET));
    writes(a, "tea");
    RAISES(-ECONNRESET, "", coil_stream_read(b, buf, sizeof buf, &n));
    coil_stream_free(b);
    finish(a);
}

TEST(streams_may_be_freed_after_their_loop)
{
    coil_stream *a, *b;
    coil_loop *loop = new_test_loop();
    OK(coil_testing_stream_pair(loop, 0, &a, &b));
    OK(coil_loop_run_until_complete(loop, coil_sleep_coro(0, NULL), NULL));
    OK(coil_loop_close(loop));
    coil_stream *c, *d;
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_testing_stream_pair(loop, 0, &c, &d));
    coil_loop_free(loop);
    coil_stream_free(a);
    coil_stream_free(b);
}

enum { PAIRS = 8 };

static int write_much(void *arg, void **result)
{
    coil_stream *s = arg;
    (void)result;
    for (size_t i = 0; i < MUCH;) {
        char piece[999];
        size_t n = 0;
        while (n < sizeof piece && i < MUCH) {
            piece[n++] = (char)(i * 7 / 5);
            i++;
        }
        COIL_TRY(coil_stream_write(s, piece, n));
        COIL_TRY(coil_stream_drain(s));
    }
    return coil_stream_write_eof(s);
}

static int use_all_workers(void *arg, void **result)
{
    coil_stream *ends[2 * PAIRS];
    coil_coro all[4 * PAIRS];
    (void)arg;
    (void)result;
    for (int i = 0; i < PAIRS; i++)
        COIL_TRY(coil_testing_stream_pair(coil_get_running_loop(), CAPACITY, &ends[2 * i], &ends[2 * i + 1]));
    for (int i = 0; i < 2 * PAIRS; i++) {
        all[2 * i] = coil_coro_of(write_much, ends[i]);
        all[2 * i + 1] = coil_coro_of(read_much, ends[i]);
    }
    COIL_TRY(coil_gather_await(all, 4 * PAIRS, NULL));
    for (int i = 0; i < 2 * PAIRS; i++) {
        coil_stream_close(ends[i]);
        coil_stream_free(ends[i]);
    }
    return 0;
}

TEST(the_ends_may_be_used_on_several_workers)
{
    coil_runtime_options options = {.size = sizeof options, .workers = 4};
    OK(coil_runtime_run(&options, coil_coro_of(use_all_workers, NULL), NULL));
}

COIL_TEST_MAIN("testing_pair")
