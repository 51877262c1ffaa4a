/*
 * test_stream.c - TCP connections as streams, on whichever backend $COIL_BACKEND names
 *
 * Every test ends with as many open descriptors as it began with.
 */
#include "net.h"

#include <pthread.h>

/* Hands its stream to the test and waits until that lets it go. */
typedef struct meeting {
    coil_stream *stream;
    coil_event *met, *over;
} meeting;

static int meet(coil_stream *stream, void *arg)
{
    meeting *m = arg;
    m->stream = stream;
    coil_event_set(m->met);
    return coil_event_wait(m->over);
}

/* A pair of streams connected to each other: a is the client's, b the server's. */
typedef struct pair {
    coil_stream *a, *b;
    coil_server *server;
    meeting meeting;
} pair;

static void open_pair_with(pair *p, const coil_server_options *options)
{
    OK(coil_event_new(&p->meeting.met));
    OK(coil_event_new(&p->meeting.over));
    p->server = listen_with(meet, &p->meeting, options);
    p->a = connect_to(p->server);
    OK(coil_event_wait(p->meeting.met));
    p->b = p->meeting.stream;
}

static void open_pair(pair *p)
{
    open_pair_with(p, NULL);
}

static void free_pair(pair *p)
{
    coil_stream_free(p->a);
    coil_stream_free(p->b);
    coil_event_set(p->meeting.over);
    finish_server(p->server);
    coil_event_free(p->meeting.met);
    coil_event_free(p->meeting.over);
}

/* --- reading and writing -------------------------------------------------------------------------------------- */

NET_TEST(what_is_written_comes_back_from_an_echo_server)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *stream = connect_to(server);
    char buf[16];
    for (int i = 0; i < 100; i++) {
        OK(coil_stream_write(stream, "hello", 5));
        OK(coil_stream_drain(stream));
        OK(coil_stream_readexactly(stream, buf, 5));
        ck_assert_mem_eq(buf, "hello", 5);
    }
    finish(stream);
    finish_server(server);
}


NET_TEST(lines_arrive_with_their_newlines_and_the_last_may_lack_it)
{
    pair p;
    open_pair(&p);
    writes(p.a, "one\ntwo\n\nthr");
    reads_line(p.b, "one\n");
    reads_line(p.b, "two\n");
    reads_line(p.b, "\n");
    writes(p.a, "ee");
    OK(coil_stream_write_eof(p.a));
    reads_line(p.b, "three");
    reads_line(p.b, "");
    ck_assert(coil_stream_at_eof(p.b));
    free_pair(&p);
}

NET_TEST(readuntil_finds_a_separator_that_arrives_in_two_pieces)
{
    pair p;
    const char *data;
    size_t n;
    open_pair(&p);
    writes(p.a, "head\r\n\r");
    coil_future *reader = spawn(coil_sleep_coro(0, NULL));
    OK(coil_join(reader, NULL));
    writes(p.a, "\nbody");
    OK(coil_stream_readuntil(p.b, "\r\n\r\n", 4, &data, &n));
    ck_assert_uint_eq(n, 8);
    ck_assert_mem_eq(data, "head\r\n\r\n", 8);
    char body[4];
    OK(coil_stream_readexactly(p.b, body, 4));
    ck_assert_mem_eq(body, "body", 4);
    RAISES(-EINVAL, "Separator should be at least one-byte string", coil_stream_readuntil(p.b, "", 0, &data, &n));
    free_pair(&p);
}

NET_TEST(a_line_beyond_the_limit_is_dropped_and_the_next_can_be_read)
{
    pair p;
    const char *line;
    size_t n;
    open_pair_with(&p, &(coil_server_options){.size = sizeof(coil_server_options), .limit_bytes = 8});
    writes(p.a, "0123456789\nshort\n");
    RAISES(-EINVAL, "Separator is found, but chunk is longer than limit", coil_stream_readline(p.b, &line, &n));
    reads_line(p.b, "short\n");
    free_pair(&p);
}

NET_TEST(readuntil_beyond_the_limit_keeps_the_data)
{
    pair p;
    const char *data;
    size_t n, consumed;
    char buf[16];
    open_pair_with(&p, &(coil_server_options){.size = sizeof(coil_server_options), .limit_bytes = 4});
    writes(p.a, "01234567");
    int rc = coil_stream_readuntil(p.b, ";", 1, &data, &n);
    ck_assert_int_eq(rc, COIL_ELIMITOVERRUN);
    coil_error *error = coil_catch(rc);
    ck_assert(coil_error_limit_overrun(error, &consumed));
    ck_assert_uint_eq(consumed, 8);
    coil_error_release(error);
    OK(coil_stream_readexactly(p.b, buf, 8));
    ck_assert_mem_eq(buf, "01234567", 8);
    free_pair(&p);
}

NET_TEST(readexactly_at_the_end_raises_what_there_was)
{
    pair p;
    char buf[8];
    const void *partial;
    size_t n;
    ssize_t expected;
    open_pair(&p);
    writes(p.a, "abc");
    OK(coil_stream_write_eof(p.a));
    int rc = coil_stream_readexactly(p.b, buf, 8);
    ck_assert_int_eq(rc, COIL_EINCOMPLETEREAD);
    coil_error *error = coil_catch(rc);
    ck_assert(coil_error_incomplete_read(error, &partial, &n, &expected));
    ck_assert_uint_eq(n, 3);
    ck_assert_mem_eq(partial, "abc", 3);
    ck_assert_int_eq(expected, 8);
    coil_error_release(error);
    ck_assert(coil_stream_at_eof(p.b));
    free_pair(&p);
}

NET_TEST(read_all_gives_everything_up_to_the_end)
{
    pair p;
    char *data;
    size_t n;
    open_pair(&p);
    writes(p.a, "abc");
    writes(p.a, "def");
    OK(coil_stream_write_eof(p.a));
    OK(coil_stream_read_all(p.b, &data, &n));
    ck_assert_uint_eq(n, 6);
    ck_assert_mem_eq(data, "abcdef", 6);
    free(data);
    OK(coil_stream_read_all(p.b, &data, &n));
    ck_assert_uint_eq(n, 0);
    free(data);
    free_pair(&p);
}

NET_TEST(sizes_of_zero_are_fine_and_negative_ones_are_refused)
{
    pair p;
    char buf[4];
    size_t n = 7;
    open_pair(&p);
    OK(coil_stream_read(p.a, buf, 0, &n));
    ck_assert_uint_eq(n, 0);
    OK(coil_stream_readexactly(p.a, buf, 0));
    OK(coil_stream_write(p.a, "", 0));
    RAISES(-EINVAL, "read size can not be less than zero", coil_stream_read(p.a, buf, (size_t)-1, &n));
    RAISES(-EINVAL, "readexactly size can not be less than zero", coil_stream_readexactly(p.a, buf, (size_t)-1));
    RAISES(-EINVAL, "write size can not be less than zero", coil_stream_write(p.a, buf, (size_t)-1));
    free_pair(&p);
}

NET_TEST(a_lent_line_stays_valid_while_more_arrives)
{
    pair p;
    const char *line;
    size_t n;
    static char much[20000];
    memset(much, 'x', sizeof much);
    open_pair(&p);
    writes(p.a, "lent\n");
    OK(coil_stream_readline(p.b, &line, &n));
    OK(coil_stream_write(p.a, much, sizeof much));
    writes(p.a, "\nend\n");
    writes(p.b, "go on\n");
    reads_line(p.a, "go on\n");
    turns(5);
    ck_assert_mem_eq(line, "lent\n", 5);
    OK(coil_stream_readline(p.b, &line, &n));
    ck_assert_uint_eq(n, sizeof much + 1);
    reads_line(p.b, "end\n");
    free_pair(&p);
}

NET_TEST(writef_prints_short_and_long_texts)
{
    pair p;
    char word[700];
    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    open_pair(&p);
    OK(coil_stream_writef(p.a, "%d %s\n", 42, "is short"));
    OK(coil_stream_writef(p.a, "%s\n", word));
    reads_line(p.b, "42 is short\n");
    const char *line;
    size_t n;
    OK(coil_stream_readline(p.b, &line, &n));
    ck_assert_uint_eq(n, 700);
    free_pair(&p);
}

/* --- one reader, cancelled reads ------------------------------------------------------------------------------ */

static int read_one(void *arg, void **result)
{
    char c;
    size_t n;
    (void)result;
    return coil_stream_read(arg, &c, 1, &n);
}

NET_TEST(a_second_reader_is_told_that_one_waits_already)
{
    pair p;
    char c;
    size_t n;
    open_pair(&p);
    coil_task *first = spawn(coil_coro_of(read_one, p.b));
    turns(1);
    RAISES(COIL_EBUSY, "read() called while another coroutine is already waiting for incoming data",
           coil_stream_read(p.b, &c, 1, &n));
    writes(p.a, "x");
    OK(coil_join(first, NULL));
    free_pair(&p);
}

/* The cancellation comes ever later: before the byte is sent, while it travels, when it has woken the reader. */
NET_TEST(a_cancelled_read_loses_nothing)
{
    pair p;
    char rest[16];
    size_t read = 0, cancelled = 0;
    open_pair(&p);
    for (int delay = 0; delay < 8; delay++) {
        coil_task *reader = spawn(coil_coro_of(read_one, p.b));
        turns(1);
        if (coil_future_done(reader)) { /* of the byte that the one before has left */
            OK(coil_join(reader, NULL));
            read++;
            reader = spawn(coil_coro_of(read_one, p.b));
            turns(1);
        }
        writes(p.a, "x");
        turns(delay);
        coil_task_cancel(reader, NULL);
        int rc = coil_join(reader, NULL);
        ck_assert(rc == 0 || rc == -ECANCELED);
        read += rc == 0;
        cancelled += rc != 0;
        turns(3);
    }
    ck_assert_uint_ge(cancelled, 2);
    OK(coil_stream_readexactly(p.b, rest, 8 - read));
    OK(coil_stream_write_eof(p.a));
    reads_line(p.b, "");
    free_pair(&p);
}

NET_TEST(a_read_can_time_out_and_be_made_again)
{
    pair p;
    open_pair(&p);
    RAISES(-ETIMEDOUT, "", coil_wait_for(coil_coro_of(read_one, p.b), COIL_MS(100), NULL));
    ck_assert_int_eq(now_ms(), 100);
    writes(p.a, "late\n");
    reads_line(p.b, "late\n");
    free_pair(&p);
}

/* --- flow control --------------------------------------------------------------------------------------------- */

static char block[256 * 1024];

/* Writes blocks until more than the high-water mark is buffered. */
static size_t fill(coil_stream *s)
{
    size_t total = 0;
    while (coil_stream_write_buffer_size(s) <= 64 * 1024) {
        OK(coil_stream_write(s, block, sizeof block));
        total += sizeof block;
        turns(1);
    }
    return total;
}

static int drain(void *arg, void **result)
{
    (void)result;
    return coil_stream_drain(arg);
}

static void reads_total(coil_stream *s, size_t total)
{
    static char buf[100000];
    while (total > 0) {
        size_t n;
        OK(coil_stream_read(s, buf, sizeof buf, &n));
        ck_assert_uint_gt(n, 0);
        ck_assert_uint_le(n, total);
        total -= n;
    }
}

NET_TEST(drain_waits_for_a_client_that_does_not_read)
{
    pair p;
    open_pair(&p);
    OK(coil_stream_drain(p.a));
    size_t total = fill(p.a);
    coil_task *waiting = spawn(coil_coro_of(drain, p.a));
    turns(10);
    ck_assert(!coil_future_done(waiting));
    reads_total(p.b, total);
    OK(coil_join(waiting, NULL));
    ck_assert_uint_le(coil_stream_write_buffer_size(p.a), 16 * 1024);
    free_pair(&p);
}

NET_TEST(a_cancelled_drain_leaves_the_other_waiters_alone)
{
    pair p;
    open_pair(&p);
    size_t total = fill(p.a);
    coil_task *first = spawn(coil_coro_of(drain, p.a)), *second = spawn(coil_coro_of(drain, p.a));
    turns(1);
    coil_task_cancel(first, NULL);
    RAISES(-ECANCELED, "", coil_join(first, NULL));
    ck_assert(!coil_future_done(second));
    reads_total(p.b, total);
    OK(coil_join(second, NULL));
    free_pair(&p);
}

NET_TEST(water_marks_can_be_set_and_are_checked)
{
    pair p;
    open_pair(&p);
    RAISES(-EINVAL, "high (10) must be >= low (11) must be >= 0", coil_stream_set_write_limits(p.a, 10, 11));
    size_t total = fill(p.a);
    coil_task *waiting = spawn(coil_coro_of(drain, p.a));
    turns(2);
    ck_assert(!coil_future_done(waiting));
    reads_total(p.b, total);
    OK(coil_join(waiting, NULL));
    OK(coil_stream_set_write_limits(p.a, 100 * sizeof block, 0));
    fill(p.a);
    OK(coil_stream_drain(p.a));
    free_pair(&p);
}

NET_TEST(everything_that_was_written_arrives_before_a_close)
{
    pair p;
    open_pair(&p);
    size_t total = fill(p.a);
    coil_stream_close(p.a);
    ck_assert(coil_stream_is_closing(p.a));
    coil_stream_close(p.a);
    reads_total(p.b, total);
    reads_line(p.b, "");
    OK(coil_stream_wait_closed(p.a));
    free_pair(&p);
}

/* --- the ends of connections ---------------------------------------------------------------------------------- */

NET_TEST(a_peer_that_has_stopped_writing_can_still_be_written_to)
{
    pair p;
    open_pair(&p);
    writes(p.a, "question");
    OK(coil_stream_write_eof(p.a));
    RAISES(COIL_ERUNTIME, "Cannot call write() after write_eof()", coil_stream_write(p.a, "x", 1));
    reads_line(p.b, "question");
    turns(3);
    writes(p.b, "answer\n");
    reads_line(p.a, "answer\n");
    free_pair(&p);
}

NET_TEST(the_sending_side_is_shut_down_after_what_is_buffered)
{
    pair p;
    open_pair(&p);
    size_t total = fill(p.a);
    OK(coil_stream_write_eof(p.a));
    reads_total(p.b, total);
    reads_line(p.b, "");
    free_pair(&p);
}

NET_TEST(an_abort_drops_what_is_buffered)
{
    pair p;
    open_pair(&p);
    fill(p.a);
    coil_stream_abort(p.a);
    ck_assert_uint_le(coil_stream_write_buffer_size(p.a), 256 * 1024);
    OK(coil_stream_wait_closed(p.a));
    ck_assert_uint_eq(coil_stream_write_buffer_size(p.a), 0);
    OK(coil_stream_write(p.a, "dropped", 7));
    RAISES(-ECONNRESET, "Connection lost", coil_stream_drain(p.a));
    free_pair(&p);
}

NET_TEST(a_reset_in_mid_write_reaches_the_reader_and_drain)
{
    pair p = {0};
    char c;
    size_t n;
    OK(coil_event_new(&p.meeting.met));
    OK(coil_event_new(&p.meeting.over));
    p.server = listen_with(meet, &p.meeting, NULL);
    int fd = plain_client(p.server);
    OK(coil_event_wait(p.meeting.met));
    p.b = p.meeting.stream;
    fill(p.b);
    coil_task *draining = spawn(coil_coro_of(drain, p.b));
    turns(1);
    reset_and_close(fd);
    ck_assert_int_eq(coil_stream_read(p.b, &c, 1, &n), -ECONNRESET);
    ck_assert_int_eq(coil_join(draining, NULL), -ECONNRESET);
    ck_assert_int_eq(coil_stream_wait_closed(p.b), -ECONNRESET);
    ck_assert_int_eq(coil_stream_drain(p.b), -ECONNRESET);
    OK(coil_stream_write(p.b, block, sizeof block));
    ck_assert(coil_stream_is_closing(p.b));
    ck_assert_uint_eq(coil_stream_write_buffer_size(p.b), 0);
    free_pair(&p);
}

NET_TEST(a_close_wakes_the_reader_with_the_end)
{
    pair p;
    open_pair(&p);
    coil_task *reader = spawn(coil_coro_of(read_one, p.b));
    turns(1);
    coil_stream_close(p.b);
    OK(coil_join(reader, NULL));
    ck_assert(coil_stream_at_eof(p.b));
    reads_line(p.a, "");
    free_pair(&p);
}

NET_TEST(a_stream_may_be_freed_while_the_kernel_still_works_for_it)
{
    pair p;
    open_pair(&p);
    fill(p.a);
    free_pair(&p);
}

/* --- connecting ----------------------------------------------------------------------------------------------- */

NET_TEST(a_refused_connection_raises_its_reason)
{
    char port[16], message[80];
    coil_stream *stream;
    int number;
    close(silent_listener(1, &number));
    snprintf(port, sizeof port, "%d", number);
    snprintf(message, sizeof message, "connecting to 127.0.0.1:%s: Connection refused", port);
    RAISES(-ECONNREFUSED, message, coil_open_connection("127.0.0.1", port, &stream));
}

struct target {
    const char *host, *port;
};

static int connect_only(void *arg, void **result)
{
    struct target *t = arg;
    coil_stream *stream;
    (void)result;
    COIL_TRY(coil_open_connection(t->host, t->port, &stream));
    coil_stream_free(stream);
    return 0;
}

NET_TEST(connecting_can_be_cancelled)
{
    char port[16];
    int number, listener = silent_listener(0, &number), fillers[8];
    struct sockaddr_in a = loopback(number);
    snprintf(port, sizeof port, "%d", number);
    for (size_t i = 0; i < 8; i++) { /* fills the backlog, so that connecting takes for ever */
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    struct target target = {"127.0.0.1", port};
    RAISES(-ETIMEDOUT, "", coil_wait_for(coil_coro_of(connect_only, &target), COIL_SECONDS(1), NULL));
    for (size_t i = 0; i < 8; i++)
        close(fillers[i]);
    close(listener);
    turns(3);
}

NET_TEST(a_name_is_resolved_in_the_background)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    char port[16];
    coil_stream *stream;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    OK(coil_open_connection("localhost", port, &stream));
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
    finish_server(server);
}

NET_TEST(resolving_can_be_cancelled)
{
    struct target target = {"localhost", "1"};
    coil_task *task = spawn(coil_coro_of(connect_only, &target));
    turns(1);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    struct target unknown = {"no.such.name.invalid", "1"};
    task = spawn(coil_coro_of(connect_only, &unknown));
    ck_assert_int_eq(coil_join(task, NULL), -EINVAL);
    OK(coil_wait_for(coil_sleep_coro(COIL_MS(1), NULL), COIL_FOREVER, NULL));
}

NET_TEST(a_bad_service_is_an_error_with_a_message)
{
    coil_stream *stream;
    int rc = coil_open_connection("127.0.0.1", "no-such-service", &stream);
    ck_assert_int_eq(rc, -EINVAL);
    ck_assert_str_ne(caught(rc), "");
}

NET_TEST(both_ends_know_their_addresses)
{
    pair p;
    char a[64], b[64], expected[64];
    open_pair(&p);
    snprintf(expected, sizeof expected, "127.0.0.1:%d", coil_server_port(p.server));
    ck_assert_uint_eq(coil_stream_peername(p.a, a, sizeof a), strlen(expected));
    ck_assert_str_eq(a, expected);
    coil_stream_sockname(p.b, b, sizeof b);
    ck_assert_str_eq(b, expected);
    coil_stream_sockname(p.a, a, sizeof a);
    coil_stream_peername(p.b, b, sizeof b);
    ck_assert_str_eq(a, b);
    ck_assert_uint_eq(coil_stream_peername(p.a, a, 4), strlen(expected));
    ck_assert_str_eq(a, "127");
    free_pair(&p);
}

/* --- outside tasks, and at the end of a loop ------------------------------------------------------------------ */

static coil_stream *left_open[2];
static coil_server *left_serving;

static int leave_open(coil_stream *stream, void *arg)
{
    (void)arg;
    left_open[1] = stream;
    return 0;
}

static void leave_things_open(void)
{
    left_serving = listen_with(leave_open, NULL, NULL);
    left_open[0] = connect_to(left_serving);
    while (!left_open[1])
        turns(1);
    fill(left_open[0]);
}

static int run_fn(void *arg, void **result)
{
    (void)result;
    (*(void (**)(void))arg)();
    return 0;
}

TEST(a_loop_may_be_closed_with_streams_and_servers_open)
{
    int before = open_descriptors();
    void (*fn)(void) = leave_things_open;
    coil_loop *loop = new_test_loop();
    OK(coil_loop_run_until_complete(loop, coil_coro_of(run_fn, &fn), NULL));
    OK(coil_loop_close(loop));
    OK(coil_stream_write(left_open[0], "x", 1));
    coil_stream_close(left_open[0]);
    coil_stream_free(left_open[0]);
    coil_stream_free(left_open[1]);
    coil_server_close(left_serving);
    coil_server_free(left_serving);
    coil_loop_free(loop);
    ck_assert_int_eq(open_descriptors(), before);
}

TEST(streams_and_servers_may_be_freed_between_runs)
{
    int before = open_descriptors();
    void (*fn)(void) = leave_things_open;
    coil_loop *loop = new_test_loop();
    OK(coil_loop_run_until_complete(loop, coil_coro_of(run_fn, &fn), NULL));
    coil_stream_free(left_open[0]);
    coil_stream_free(left_open[1]);
    coil_server_free(left_serving);
    coil_loop_free(loop);
    ck_assert_int_eq(open_descriptors(), before);
}

static pair deserted;

static void read_for_ever(void)
{
    char c;
    size_t n;
    open_pair(&deserted);
    coil_loop_stop(coil_get_running_loop());
    int rc = coil_stream_read(deserted.b, &c, 1, &n);
    note("read %s", coil_error_name(rc));
    coil_stream_free(deserted.a);
    coil_stream_free(deserted.b);
    coil_server_free(deserted.server);
}

TEST(a_task_that_reads_is_unwound_when_its_loop_is_freed)
{
    int before = open_descriptors();
    void (*fn)(void) = read_for_ever;
    coil_loop *loop = new_test_loop();
    coil_task *task;
    OK(coil_loop_create_task(loop, coil_coro_of(run_fn, &fn), NULL, &task));
    OK(coil_loop_run_forever(loop));
    coil_release(task);
    coil_loop_free(loop);
    TRACE_IS("read GeneratorExit");
    expect_report("Task was destroyed but it is pending!", 0, ""); /* the reader */
    expect_report("Task was destroyed but it is pending!", 0, ""); /* the connection's callback */
    coil_event_free(deserted.meeting.met);
    coil_event_free(deserted.meeting.over);
    ck_assert_int_eq(open_descriptors(), before);
}

TEST(streams_need_a_task)
{
    coil_stream *stream;
    RAISES(COIL_ENOLOOP, "no running event loop", coil_open_connection("127.0.0.1", "1", &stream));
    coil_stream_free(NULL);
}

/* A loop that is run on by another thread takes its streams along. */
static pair moving;

static void open_moving(void)
{
    open_pair(&moving);
}

static void use_moving(void)
{
    writes(moving.a, "across\n");
    reads_line(moving.b, "across\n");
    writes(moving.b, "threads\n");
    reads_line(moving.a, "threads\n");
    free_pair(&moving);
}

static void *run_in_thread(void *loop)
{
    void (*fn)(void) = use_moving;
    OK(coil_loop_run_until_complete(loop, coil_coro_of(run_fn, &fn), NULL));
    return NULL;
}

TEST(a_loop_with_open_streams_can_move_to_another_thread)
{
    int before = open_descriptors();
    void (*fn)(void) = open_moving;
    coil_loop *loop = new_test_loop();
    OK(coil_loop_run_until_complete(loop, coil_coro_of(run_fn, &fn), NULL));
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run_in_thread, loop), 0);
    pthread_join(thread, NULL);
    coil_loop_free(loop);
    ck_assert_int_eq(open_descriptors(), before);
}

static void *open_in_thread(void *loop)
{
    void (*fn)(void) = leave_things_open;
    OK(coil_loop_run_until_complete(loop, coil_coro_of(run_fn, &fn), NULL));
    return NULL;
}

TEST(a_loop_with_open_streams_can_be_closed_by_another_thread)
{
    int before = open_descriptors();
    coil_loop *loop = new_test_loop();
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, open_in_thread, loop), 0);
    pthread_join(thread, NULL);
    OK(coil_loop_close(loop));
    coil_stream_free(left_open[0]);
    coil_stream_free(left_open[1]);
    coil_server_free(left_serving);
    coil_loop_free(loop);
    ck_assert_int_eq(open_descriptors(), before);
}

COIL_TEST_MAIN("stream")
