/*
 * test_protocol_pipe.c - protocols on pipes, fifos, sockets and terminals, on a loop of its own and on several workers
 *
 * The other end is a plain descriptor. What a protocol is told is noted as a word.
 */
#define _GNU_SOURCE /* pipe2 */
#include "net.h"
#include "pipes.h"
#include "recorder.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <termios.h>

static const coil_protocol reading = {
    .connection_made = connection_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
};

static const coil_protocol writing = {
    .connection_made = connection_made,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
};

static coil_transport *reads(recorder *r, int fd)
{
    coil_transport *t;
    OK(coil_event_new(&r->lost));
    OK(coil_create_read_pipe_transport(&reading, r, fd, &t));
    TRACE_IS("made");
    return t;
}

static coil_transport *writes_to(recorder *r, int fd)
{
    coil_transport *t;
    OK(coil_event_new(&r->lost));
    OK(coil_create_write_pipe_transport(&writing, r, fd, &t));
    TRACE_IS("made");
    return t;
}

static void put(int fd, const char *text)
{
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Reads @n bytes, or to the end, without holding up the loop. Returns how many there were. */
static size_t take(int fd, char *buf, size_t n)
{
    size_t got = 0;
    while (got < n) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 0) == 0) {
            OK(coil_sleep(COIL_MS(1)));
            continue;
        }
        ssize_t some = read(fd, buf + got, n - got);
        if (some <= 0)
            break;
        got += (size_t)some;
    }
    return got;
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

NET_TEST(a_protocol_reads_a_pipe_to_its_end)
{
    recorder r = {0};
    ends e = open_pipe();
    coil_transport *t = reads(&r, e.in);
    ck_assert(coil_transport_is_reading(t));
    put(e.out, "hello");
    until_size(&r, 5);
    close(e.out);
    until_lost(&r);
    TRACE_IS("data:hello eof lost");
    ck_assert_int_eq(r.code, 0);
    ck_assert(coil_transport_is_closing(t));
    coil_transport_free(t);
}

NET_TEST(what_was_in_the_pipe_before_comes_before_its_end)
{
    recorder r = {0};
    ends e = open_pipe();
    coil_transport *t;
    put(e.out, "early");
    close(e.out);
    OK(coil_event_new(&r.lost));
    OK(coil_create_read_pipe_transport(&reading, &r, e.in, &t));
    until_lost(&r);
    TRACE_IS("made data:early eof lost");
    coil_transport_free(t);
}

NET_TEST(the_end_of_a_pipe_closes_it_whatever_the_protocol_says)
{
    recorder r = {.keeps_open = true};
    ends e = open_pipe();
    coil_transport *t = reads(&r, e.in);
    close(e.out);
    until_lost(&r);
    TRACE_IS("eof lost");
    coil_transport_free(t);
}

NET_TEST(a_protocol_holds_a_pipe_back)
{
    recorder r = {.pauses_at_data = true};
    ends e = open_pipe();
    coil_transport *t = reads(&r, e.in);
    put(e.out, "one");
    until_size(&r, 3);
    ck_assert(!coil_transport_is_reading(t));
    put(e.out, "two");
    turns(5);
    TRACE_IS("data:one");
    coil_transport_resume_reading(t);
    until_size(&r, 6);
    TRACE_IS("data:two");
    coil_transport_close(t);
    until_lost(&r);
    TRACE_IS("lost");
    coil_transport_free(t);
    close(e.out);
}

static char place[8];

static int get_buffer(coil_transport *t, void **buf, size_t *n, void *arg)
{
    (void)t;
    (void)arg;
    *buf = place;
    *n = sizeof place;
    return 0;
}

static int buffer_updated(coil_transport *t, size_t n, void *arg)
{
    return data_received(t, place, n, arg);
}

NET_TEST(a_pipe_is_read_into_the_protocol_s_own_buffer)
{
    static const coil_protocol buffering = {
        .connection_made = connection_made,
        .get_buffer = get_buffer,
        .buffer_updated = buffer_updated,
        .connection_lost = connection_lost,
    };
    recorder r = {0};
    ends e = open_pipe();
    coil_transport *t;
    put(e.out, "one and more");
    OK(coil_event_new(&r.lost));
    OK(coil_create_read_pipe_transport(&buffering, &r, e.in, &t));
    until_size(&r, 12);
    close(e.out);
    until_lost(&r);
    TRACE_IS("made data:one and  data:more lost");
    coil_transport_free(t);
}

NET_TEST(a_pipe_that_is_read_cannot_be_written_to)
{
    recorder r = {0};
    ends e = open_pipe();
    coil_address a;
    coil_transport *t = reads(&r, e.in);
    RAISES(-EINVAL, "the stream is for reading only", coil_transport_write(t, "x", 1));
    OK(coil_transport_write_eof(t)); /* there is nothing to end */
    ck_assert(coil_transport_is_reading(t));
    coil_transport_peername(t, &a);
    ck_assert_uint_eq(a.bytes, 0);
    coil_transport_free(t);
    until_lost(&r);
    close(e.out);
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

enum { MUCH = 300 * 1000 };

NET_TEST(a_protocol_is_held_back_while_a_pipe_is_full_and_close_sends_the_rest)
{
    recorder r = {0};
    ends e = open_pipe();
    char *sent = malloc(MUCH), *got = malloc(MUCH + 1);
    coil_transport *t = writes_to(&r, e.out);
    for (size_t i = 0; i < MUCH; i++)
        sent[i] = (char)(i * 7 % 251);
    ck_assert(!coil_transport_is_reading(t));
    OK(coil_transport_write(t, sent, MUCH));
    TRACE_IS("pause");
    ck_assert_uint_gt(coil_transport_get_write_buffer_size(t), 0);
    coil_transport_close(t);
    ck_assert(coil_transport_is_closing(t));
    ck_assert_uint_eq(take(e.in, got, MUCH + 1), MUCH);
    ck_assert_mem_eq(sent, got, MUCH);
    until_lost(&r);
    TRACE_IS("resume lost");
    ck_assert_int_eq(r.code, 0);
    coil_transport_free(t);
    close(e.in);
    free(sent);
    free(got);
}

NET_TEST(the_end_of_writing_closes_a_pipe)
{
    for (size_t n = 0; n <= MUCH; n += MUCH) {
        recorder r = {0};
        ends e = open_pipe();
        char *data = calloc(1, MUCH + 1);
        coil_transport *t = writes_to(&r, e.out);
        OK(coil_transport_write(t, data, n));
        OK(coil_transport_write_eof(t));
        ck_assert(coil_transport_is_closing(t));
        RAISES(COIL_ERUNTIME, "Cannot call write() after write_eof()", coil_transport_write(t, "x", 1));
        ck_assert_uint_eq(take(e.in, data, MUCH + 1), n);
        until_lost(&r);
        TRACE_IS(n ? "pause resume lost" : "lost");
        ck_assert_int_eq(r.code, 0);
        coil_transport_free(t);
        close(e.in);
        free(data);
    }
}

NET_TEST(a_writer_hears_that_nobody_reads_any_more)
{
    for (int buffers = 0; buffers < 2; buffers++) {
        recorder r = {0};
        ends e = open_pipe();
        char *data = calloc(1, MUCH);
        coil_transport *t = writes_to(&r, e.out);
        OK(coil_transport_write(t, data, buffers ? MUCH : 1));
        close(e.in);
        until_lost(&r);
        TRACE_IS(buffers ? "pause lost" : "lost");
        ck_assert_int_eq(r.code, buffers ? -EPIPE : 0);
        OK(coil_transport_write(t, data, 1)); /* dropped */
        coil_transport_free(t);
        free(data);
    }
}

NET_TEST(a_writer_s_reading_is_neither_paused_nor_resumed)
{
    recorder r = {0};
    ends e = open_pipe();
    coil_transport *t = writes_to(&r, e.out);
    coil_transport_pause_reading(t);
    coil_transport_resume_reading(t);
    coil_transport_pause_reading(t);
    close(e.in);
    until_lost(&r); /* it is watched all the same */
    coil_transport_free(t);
}

/* --- what else can be read and written ---------------------------------------------------------------------------- */

NET_TEST(sockets_are_pipes_too)
{
    recorder r = {0}, w = {0};
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    coil_transport *in = reads(&r, fds[0]), *out = writes_to(&w, fds[1]);
    OK(coil_transport_write(out, "through", 7));
    until_size(&r, 7);
    coil_transport_close(out);
    until_lost(&r);
    until_lost(&w);
    coil_transport_free(in);
    coil_transport_free(out);
}

NET_TEST(a_terminal_is_written_to_without_regard_to_what_is_typed)
{
    recorder r = {0};
    int master, slave;
    char buf[32];
    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    struct termios mode;
    tcgetattr(slave, &mode);
    cfmakeraw(&mode);
    tcsetattr(slave, TCSANOW, &mode);
    coil_transport *t = writes_to(&r, slave);
    put(master, "keys\n");
    turns(5);
    OK(coil_transport_write(t, "words", 5));
    ck_assert_uint_eq(take(master, buf, 5), 5);
    ck_assert_mem_eq(buf, "words", 5);
    coil_transport_resume_reading(t);
    TRACE_IS("");
    OK(coil_transport_write_eof(t));
    until_lost(&r);
    TRACE_IS("lost");
    coil_transport_free(t);
    close(master);
}

NET_TEST(a_terminal_is_read_until_it_is_hung_up)
{
    recorder r = {0};
    int master, slave;
    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    coil_transport *t = reads(&r, slave);
    put(master, "line\n");
    until_size(&r, 5);
    close(master);
    until_lost(&r);
    ck_assert(r.code == 0 || r.code == -EIO);
    coil_transport_free(t);
}

/* --- what is refused ----------------------------------------------------------------------------------------------- */

NET_TEST(what_is_no_pipe_is_refused_and_closed)
{
    recorder r = {0};
    coil_transport *t = NULL;
    char path[] = "/tmp/coil-pipe-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    RAISES(-EINVAL, "Pipe transport is for pipes/sockets only.",
           coil_create_read_pipe_transport(&reading, &r, fcntl(file, F_DUPFD_CLOEXEC, 0), &t));
    RAISES(-EINVAL, "Pipe transport is only for pipes, sockets and character devices",
           coil_create_write_pipe_transport(&writing, &r, file, &t));
    ck_assert_int_eq(coil_create_read_pipe_transport(&reading, &r, open("/dev/null", O_RDONLY | O_CLOEXEC), &t), -EPERM);
    ck_assert_int_eq(coil_create_write_pipe_transport(&writing, &r, 9999, &t), -EBADF);
    ck_assert_ptr_null(t);
    TRACE_IS("");
}

NET_TEST(protocols_that_make_no_sense_are_refused)
{
    static const coil_protocol nothing;
    coil_transport *t = NULL;
    ends e = open_pipe();
    RAISES(-EINVAL, "a protocol has connection_made, and data_received or get_buffer with buffer_updated",
           coil_create_read_pipe_transport(&writing, NULL, e.in, &t));
    RAISES(-EINVAL, "a protocol has connection_made", coil_create_write_pipe_transport(&nothing, NULL, e.out, &t));
    ck_assert_ptr_null(t);
}

TEST(pipes_with_protocols_need_a_task)
{
    coil_transport *t = NULL;
    ends e = open_pipe();
    int before = open_descriptors();
    ck_assert_int_eq(coil_create_read_pipe_transport(&reading, NULL, e.in, &t), COIL_ENOLOOP);
    ck_assert_int_eq(coil_create_write_pipe_transport(&writing, NULL, e.out, &t), COIL_ENOLOOP);
    ck_assert_ptr_null(t);
    ck_assert_int_eq(open_descriptors(), before - 2);
}

/* --- ends ---------------------------------------------------------------------------------------------------------- */

struct creating {
    recorder *r;
    int fd;
};

static int create(void *arg, void **result)
{
    struct creating *c = arg;
    coil_transport *t;
    (void)result;
    return coil_create_write_pipe_transport(&writing, c->r, c->fd, &t);
}

NET_TEST(a_cancelled_creation_closes_the_pipe)
{
    recorder r = {0};
    ends e = open_pipe();
    char c;
    OK(coil_event_new(&r.lost));
    struct creating creating = {&r, e.out};
    coil_task *task = spawn(coil_coro_of(create, &creating));
    turns(1);
    coil_future_cancel(task, NULL);
    ck_assert_int_eq(coil_join(task, NULL), -ECANCELED);
    until_lost(&r);
    TRACE_IS("made lost");
    ck_assert_uint_eq(take(e.in, &c, 1), 0);
    close(e.in);
}

static void free_when_lost(coil_transport *t, coil_error *error, void *arg)
{
    (void)error;
    (void)arg;
    note("lost");
    coil_transport_free(t);
}

static int make_one_that_frees(void *fd, void **result)
{
    static const coil_protocol frees = {.connection_made = connection_made, .connection_lost = free_when_lost};
    static recorder r;
    coil_transport *t;
    OK(coil_create_write_pipe_transport(&frees, &r, *(int *)fd, &t));
    *result = t;
    return 0;
}

TEST(a_pipe_of_a_closed_loop_may_be_freed_while_its_writing_ends)
{
    int before = open_descriptors();
    ends e = open_pipe();
    coil_loop *loop;
    void *t;
    OK(coil_new_event_loop(NULL, &loop));
    OK(coil_loop_run_until_complete(loop, coil_coro_of(make_one_that_frees, &e.out), &t));
    OK(coil_loop_close(loop));
    OK(coil_transport_write_eof(t));
    TRACE_IS("made lost");
    coil_loop_free(loop);
    close(e.in);
    ck_assert_int_eq(open_descriptors(), before);
}

/* --- a subprocess, from its parts ---------------------------------------------------------------------------------- */

NET_TEST(a_subprocess_writes_to_a_protocol)
{
    recorder r = {0};
    ends e = open_pipe();
    coil_process *process;
    int returncode = -1;
    coil_transport *t = reads(&r, e.in);
    OK(coil_create_subprocess_exec(&(coil_process_options){
        .size = sizeof(coil_process_options), .argv = (const char *[]){"sh", "-c", "printf hello; exit 3", NULL},
        .stdout_to = e.out}, &process));
    close(e.out);
    until_lost(&r);
    OK(coil_process_wait(process, &returncode));
    TRACE_IS("data:hello eof lost");
    ck_assert_int_eq(returncode, 3);
    coil_process_free(process);
    coil_transport_free(t);
}

/* --- several workers ----------------------------------------------------------------------------------------------- */

enum { PIPES = 24, ROUNDS = 50, PIECE = 5000 };

/* One pipe: its protocols count what they are told, on any worker. */
typedef struct flow {
    coil_event *lost; /* of the reader */
    atomic_size_t got;
    atomic_int pauses, made, lost_count;
} flow;

static int flow_made(coil_transport *t, void *arg)
{
    (void)t;
    atomic_fetch_add(&((flow *)arg)->made, 1);
    return 0;
}

static int flow_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    (void)t;
    (void)data;
    atomic_fetch_add(&((flow *)arg)->got, n);
    return 0;
}

static void flow_pause(coil_transport *t, void *arg)
{
    (void)t;
    atomic_fetch_add(&((flow *)arg)->pauses, 1);
}

static void flow_resume(coil_transport *t, void *arg)
{
    (void)t;
    atomic_fetch_sub(&((flow *)arg)->pauses, 1);
}

static void flow_in_lost(coil_transport *t, coil_error *error, void *arg)
{
    flow *f = arg;
    (void)t;
    ck_assert_ptr_null(error);
    atomic_fetch_add(&f->lost_count, 1);
    coil_event_set(f->lost);
}

static void flow_out_lost(coil_transport *t, coil_error *error, void *arg)
{
    (void)t;
    ck_assert_ptr_null(error);
    atomic_fetch_add(&((flow *)arg)->lost_count, 1);
}

static const coil_protocol flow_in = {
    .connection_made = flow_made,
    .data_received = flow_data,
    .connection_lost = flow_in_lost,
};

static const coil_protocol flow_out = {
    .connection_made = flow_made,
    .pause_writing = flow_pause,
    .resume_writing = flow_resume,
    .connection_lost = flow_out_lost,
};

static int run_flow(void *arg, void **result)
{
    static const char piece[PIECE];
    flow f = {0};
    ends e = open_pipe();
    coil_transport *in, *out;
    (void)arg;
    (void)result;
    OK(coil_event_new(&f.lost));
    OK(coil_create_read_pipe_transport(&flow_in, &f, e.in, &in));
    OK(coil_create_write_pipe_transport(&flow_out, &f, e.out, &out));
    for (int i = 0; i < ROUNDS; i++) {
        OK(coil_transport_write(out, piece, sizeof piece));
        OK(coil_sleep(0)); /* perhaps on another worker afterwards */
    }
    OK(coil_transport_write_eof(out));
    OK(coil_event_wait(f.lost));
    while (atomic_load(&f.lost_count) < 2)
        OK(coil_sleep(0));
    ck_assert_uint_eq(atomic_load(&f.got), ROUNDS * PIECE);
    ck_assert_int_eq(atomic_load(&f.made), 2);
    ck_assert_int_eq(atomic_load(&f.pauses), 0);
    coil_transport_free(in);
    coil_transport_free(out);
    coil_event_free(f.lost);
    return 0;
}

static void run_flows(void)
{
    coil_coro flows[PIPES];
    for (int i = 0; i < PIPES; i++)
        flows[i] = coil_coro_of(run_flow, (void *)(uintptr_t)i);
    OK(coil_gather_await(flows, PIPES, NULL));
}

TEST(pipes_flow_on_several_workers)
{
    struct test_body body = {run_flows};
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = 4,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    int before = open_descriptors();
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

COIL_TEST_MAIN("protocol_pipe")
