/*
 * test_protocol.c - transports and protocols, on whichever backend $COIL_BACKEND names
 *
 * The peer is a plain socket of a pair or of a connection. What a protocol is told is noted as a word.
 */
#include "net.h"
#include "recorder.h"

#include <fcntl.h>

static const coil_protocol recording = {
    .connection_made = connection_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
};

/* A connection with the recorder at one end; returns the other end, a plain socket that blocks. */
static int connected(const coil_protocol *protocol, recorder *r, coil_transport **t)
{
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(coil_event_new(&r->lost));
    OK(coil_connect_accepted_socket(protocol, r, ends[0], NULL, t));
    TRACE_IS("made");
    return ends[1];
}

static void send_text(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* --- order -------------------------------------------------------------------------------------------------------- */

NET_TEST(a_protocol_hears_of_the_connection_the_data_the_end_and_the_loss)
{
    recorder r = {0};
    coil_transport *t;
    int peer = connected(&recording, &r, &t);
    ck_assert_ptr_eq(t, r.transport);
    send_text(peer, "hello");
    until_size(&r, 5);
    close(peer);
    until_lost(&r);
    TRACE_IS("data:hello eof lost");
    ck_assert_int_eq(r.code, 0);
    coil_transport_free(t);
}

NET_TEST(data_that_waited_with_the_end_come_before_it)
{
    recorder r = {0};
    int ends[2];
    coil_transport *t;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(coil_event_new(&r.lost));
    send_text(ends[1], "early");
    close(ends[1]);
    OK(coil_connect_accepted_socket(&recording, &r, ends[0], NULL, &t));
    until_lost(&r);
    TRACE_IS("made data:early eof lost");
    coil_transport_free(t);
}

NET_TEST(a_protocol_that_keeps_open_at_the_end_may_go_on_writing)
{
    recorder r = {.keeps_open = true};
    coil_transport *t;
    char buf[8];
    int peer = connected(&recording, &r, &t);
    shutdown(peer, SHUT_WR);
    while (!strstr(trace, "eof"))
        OK(coil_sleep(COIL_MS(1)));
    TRACE_IS("eof");
    OK(coil_transport_write(t, "reply", 5));
    ck_assert_int_eq(recv(peer, buf, sizeof buf, 0), 5);
    coil_transport_close(t);
    until_lost(&r);
    TRACE_IS("lost");
    coil_transport_free(t);
    close(peer);
}

NET_TEST(close_sends_what_is_buffered_and_abort_does_not)
{
    static char big[1 << 20], sink[1 << 16];
    for (int aborts = 0; aborts < 2; aborts++) {
        recorder r = {0};
        coil_transport *t;
        int peer = connected(&recording, &r, &t);
        OK(coil_transport_write(t, big, sizeof big));
        TRACE_IS("pause");
        ck_assert_uint_gt(coil_transport_get_write_buffer_size(t), 0);
        if (aborts)
            coil_transport_abort(t);
        else
            coil_transport_close(t);
        ck_assert(coil_transport_is_closing(t));
        size_t total = 0;
        ssize_t n = 1;
        fcntl(peer, F_SETFL, O_NONBLOCK);
        while (n != 0) {
            n = recv(peer, sink, sizeof sink, 0);
            total += n > 0 ? (size_t)n : 0;
            if (n < 0)
                OK(coil_sleep(COIL_MS(1)));
        }
        ck_assert(aborts ? total < sizeof big : total == sizeof big);
        until_lost(&r);
        TRACE_IS(aborts ? "lost" : "resume lost");
        coil_transport_free(t);
        close(peer);
    }
}

/* --- brakes -------------------------------------------------------------------------------------------------------- */

NET_TEST(writing_is_paused_above_the_high_mark_and_resumed_below_the_low_one)
{
    static char block[64], sink[4096];
    recorder r = {0};
    coil_transport *t;
    size_t high, low;
    int peer = connected(&recording, &r, &t);
    coil_transport_get_write_buffer_limits(t, &high, &low);
    ck_assert_uint_eq(high, 65536);
    ck_assert_uint_eq(low, 16384);
    RAISES(-EINVAL, "high (1) must be >= low (2) must be >= 0", coil_transport_set_write_buffer_limits(t, 1, 2));
    OK(coil_transport_set_write_buffer_limits(t, 100, 10));
    while (coil_transport_get_write_buffer_size(t) <= 100)
        OK(coil_transport_write(t, block, sizeof block));
    TRACE_IS("pause");
    OK(coil_transport_write(t, block, sizeof block));
    TRACE_IS("");
    fcntl(peer, F_SETFL, O_NONBLOCK);
    while (coil_transport_get_write_buffer_size(t) > 0) {
        while (recv(peer, sink, sizeof sink, 0) > 0)
            ;
        OK(coil_sleep(COIL_MS(1)));
    }
    TRACE_IS("resume");
    coil_transport_free(t);
    until_lost(&r);
    TRACE_IS("lost");
    close(peer);
}

NET_TEST(a_paused_protocol_gets_no_data_until_it_resumes)
{
    recorder r = {.pauses_at_data = true};
    coil_transport *t;
    int peer = connected(&recording, &r, &t);
    send_text(peer, "one");
    until_size(&r, 3);
    ck_assert(!coil_transport_is_reading(t));
    send_text(peer, "two");
    for (int i = 0; i < 20; i++)
        OK(coil_sleep(COIL_MS(1)));
    TRACE_IS("data:one");
    coil_transport_resume_reading(t);
    ck_assert(coil_transport_is_reading(t));
    until_size(&r, 6);
    TRACE_IS("data:two");
    coil_transport_free(t);
    until_lost(&r);
    close(peer);
}

NET_TEST(pause_and_resume_at_once_lose_nothing)
{
    recorder r = {0};
    coil_transport *t;
    int peer = connected(&recording, &r, &t);
    for (int round = 0; round < 200; round++) {
        char text[8];
        snprintf(text, sizeof text, "%03d", round % 10);
        coil_transport_pause_reading(t);
        send_text(peer, text);
        if (round % 3 == 0)
            turns(round % 5);
        coil_transport_resume_reading(t);
        if (round % 2)
            turns(round % 4);
        trace[0] = '\0';
    }
    until_size(&r, 600);
    trace[0] = '\0';
    coil_transport_free(t);
    until_lost(&r);
    close(peer);
}

/* --- the program's functions do what they like ----------------------------------------------------------------------- */

NET_TEST(a_protocol_may_close_abort_or_free_while_it_receives)
{
    for (int what = 0; what < 3; what++) {
        recorder r = {.closes_at_data = what == 0, .aborts_at_data = what == 1, .frees_at_data = what == 2};
        coil_transport *t;
        int peer = connected(&recording, &r, &t);
        send_text(peer, "x");
        until_lost(&r);
        TRACE_IS("data:x lost");
        if (what < 2)
            coil_transport_free(t);
        close(peer);
    }
}

NET_TEST(an_error_of_data_received_is_reported_and_ends_the_connection)
{
    recorder r = {.fails_with = -EPROTO};
    coil_transport *t;
    int peer = connected(&recording, &r, &t);
    send_text(peer, "x");
    until_lost(&r);
    TRACE_IS("data:x lost");
    ck_assert_int_eq(r.code, -EPROTO);
    expect_report("Fatal error: protocol.data_received() call failed.", -EPROTO, "no more of this");
    coil_transport_free(t);
    close(peer);
}

static int made_fails(coil_transport *t, void *arg)
{
    (void)connection_made(t, arg);
    return coil_raise(-EPERM, "not you");
}

NET_TEST(an_error_of_connection_made_is_reported_and_the_connection_goes_on)
{
    coil_protocol protocol = recording;
    protocol.connection_made = made_fails;
    recorder r = {0};
    coil_transport *t;
    int peer = connected(&protocol, &r, &t);
    expect_report("Exception in callback", -EPERM, "not you");
    send_text(peer, "on");
    until_size(&r, 2);
    TRACE_IS("data:on");
    coil_transport_free(t);
    until_lost(&r);
    close(peer);
}

NET_TEST(a_protocol_that_makes_no_sense_is_refused)
{
    int ends[2];
    coil_transport *t = NULL;
    coil_protocol nothing = {.connection_made = connection_made};
    coil_protocol both = recording;
    both.get_buffer = (void *)1;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        RAISES(-EINVAL, "a protocol has connection_made, and data_received or get_buffer with buffer_updated",
               coil_connect_accepted_socket(i ? &both : &nothing, NULL, ends[0], NULL, &t));
        close(ends[1]);
    }
    ck_assert_ptr_null(t);
}

NET_TEST(a_reset_is_what_the_connection_is_lost_with)
{
    recorder r = {0};
    coil_transport *t;
    char port[16];
    int number, fd = silent_listener(1, &number);
    snprintf(port, sizeof port, "%d", number);
    OK(coil_event_new(&r.lost));
    OK(coil_create_connection(&recording, &r, "127.0.0.1", port, NULL, &t));
    reset_and_close(accept(fd, NULL, NULL));
    until_lost(&r);
    ck_assert_int_eq(r.code, -ECONNRESET);
    TRACE_IS("made lost");
    coil_address address;
    coil_transport_peername(t, &address);
    ck_assert_int_eq(ntohs(address.in.sin_port), number);
    OK(coil_transport_write(t, "dropped", 7));
    coil_transport_free(t);
    close(fd);
}

/* --- buffered protocols -------------------------------------------------------------------------------------------- */

static int get_buffer(coil_transport *t, void **buf, size_t *n, void *arg)
{
    recorder *r = arg;
    (void)t;
    if (r->fails_with)
        return coil_raise(r->fails_with, "no room");
    *buf = r->buffer;
    *n = r->pauses_at_data ? 0 : 4;
    return 0;
}

static int buffer_updated(coil_transport *t, size_t n, void *arg)
{
    recorder *r = arg;
    (void)t;
    note("got:%.*s", (int)n, r->buffer);
    r->size += n;
    return 0;
}

static const coil_protocol buffering = {
    .connection_made = connection_made,
    .get_buffer = get_buffer,
    .buffer_updated = buffer_updated,
    .connection_lost = connection_lost,
};

NET_TEST(a_buffered_protocol_receives_into_its_own_buffer)
{
    recorder r = {0};
    coil_transport *t;
    int peer = connected(&buffering, &r, &t);
    send_text(peer, "abcdefghij");
    until_size(&r, 10);
    TRACE_IS("got:abcd got:efgh got:ij");
    close(peer);
    until_lost(&r); /* it has no eof_received: closed */
    TRACE_IS("lost");
    coil_transport_free(t);
}

NET_TEST(a_buffered_protocol_without_a_buffer_loses_its_connection)
{
    for (int empty = 0; empty < 2; empty++) {
        recorder r = {.fails_with = empty ? 0 : -ENOBUFS, .pauses_at_data = empty};
        coil_transport *t;
        int peer = connected(&buffering, &r, &t);
        send_text(peer, "x");
        until_lost(&r);
        TRACE_IS("lost");
        ck_assert_int_eq(r.code, empty ? -EINVAL : -ENOBUFS);
        expect_report("Fatal error: protocol.get_buffer() call failed.", r.code,
                      empty ? "get_buffer() returned an empty buffer" : "no room");
        coil_transport_free(t);
        close(peer);
    }
}

/* --- the program's functions at every point ------------------------------------------------------------------------- */

enum point { AT_MADE, AT_DATA, AT_EOF, AT_PAUSE, AT_RESUME, AT_LOST, POINTS };
enum action { CLOSE, ABORT, FREE, PAUSE_READING, PAUSE_AND_RESUME, WRITE, WRITE_EOF, LIMITS, ACTIONS };

/* Does one thing at one point, and minds the order of what it is told. */
typedef struct actor {
    enum point point;
    enum action action;
    bool acted, freed, paused;
    bool made, ended, lost;
    coil_event *over;
} actor;

static char megabyte[1 << 20];

static void act(coil_transport *t, actor *a)
{
    switch (a->action) {
    case CLOSE:
        coil_transport_close(t);
        break;
    case ABORT:
        coil_transport_abort(t);
        break;
    case FREE:
        a->freed = true;
        coil_transport_free(t);
        break;
    case PAUSE_READING:
        coil_transport_pause_reading(t);
        break;
    case PAUSE_AND_RESUME:
        coil_transport_pause_reading(t);
        coil_transport_resume_reading(t);
        break;
    case WRITE:
        coil_error_release(coil_catch(coil_transport_write(t, megabyte, sizeof megabyte)));
        break;
    case WRITE_EOF:
        OK(coil_transport_write_eof(t));
        break;
    default:
        OK(coil_transport_set_write_buffer_limits(t, 100, 10));
        OK(coil_transport_set_write_buffer_limits(t, 1 << 20, 1 << 16));
        OK(coil_transport_set_write_buffer_limits(t, 0, 0));
        break;
    }
}

static void reach(coil_transport *t, actor *a, enum point point)
{
    ck_assert(!a->lost);
    ck_assert(a->made == (point != AT_MADE));
    a->made = true;
    a->lost = point == AT_LOST;
    if (a->point != point || a->acted)
        return;
    a->acted = true;
    act(t, a);
}

static int actor_made(coil_transport *t, void *arg)
{
    reach(t, arg, AT_MADE);
    return 0;
}

static int actor_received(coil_transport *t, const void *data, size_t n, void *arg)
{
    (void)data;
    (void)n;
    ck_assert(!((actor *)arg)->ended);
    reach(t, arg, AT_DATA);
    return 0;
}

static bool actor_eof(coil_transport *t, void *arg)
{
    actor *a = arg;
    ck_assert(!a->ended);
    a->ended = true;
    reach(t, a, AT_EOF);
    return true;
}

static void actor_pause(coil_transport *t, void *arg)
{
    actor *a = arg;
    ck_assert(!a->paused);
    a->paused = true;
    reach(t, a, AT_PAUSE);
}

static void actor_resume(coil_transport *t, void *arg)
{
    actor *a = arg;
    ck_assert(a->paused);
    a->paused = false;
    reach(t, a, AT_RESUME);
}

static void actor_lost(coil_transport *t, coil_error *error, void *arg)
{
    actor *a = arg;
    (void)error;
    reach(t, a, AT_LOST);
    coil_event_set(a->over);
}

static const coil_protocol acting = {actor_made,  actor_received, NULL,       NULL, actor_eof,
                                     actor_pause, actor_resume,   actor_lost};

/* Says something, reads all that comes, and says that it says no more. */
static void play_peer(int peer, const actor *a)
{
    static char sink[1 << 18];
    send(peer, "hello", 5, MSG_NOSIGNAL);
    shutdown(peer, SHUT_WR);
    for (int quiet = 0; quiet < 20 && !a->lost;) {
        ssize_t n = recv(peer, sink, sizeof sink, MSG_DONTWAIT);
        quiet = n > 0 ? 0 : quiet + 1;
        OK(coil_sleep(COIL_MS(1)));
    }
}

NET_TEST(a_protocol_may_do_anything_at_any_point)
{
    for (int at = 0; at < POINTS * ACTIONS; at++) {
        actor a = {.point = (enum point)(at / ACTIONS), .action = (enum action)(at % ACTIONS)};
        coil_transport *t;
        int ends[2];
        if (a.point == AT_MADE && a.action == FREE)
            continue; /* it is the program's only afterwards */
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        OK(coil_event_new(&a.over));
        OK(coil_connect_accepted_socket(&acting, &a, ends[0], NULL, &t));
        if (!a.freed)
            coil_error_release(coil_catch(coil_transport_write(t, megabyte, sizeof megabyte)));
        play_peer(ends[1], &a);
        if (!a.freed)
            coil_transport_close(t);
        play_peer(ends[1], &a);
        if (!a.freed)
            coil_transport_abort(t); /* it was still writing */
        OK(coil_event_wait(a.over));
        turns(3); /* whatever comes late */
        if (!a.freed)
            coil_transport_free(t);
        turns(3);
        ck_assert(a.acted || a.point == AT_RESUME || a.point == AT_DATA || a.point == AT_EOF);
        coil_event_free(a.over);
        close(ends[1]);
    }
}

static void free_when_lost(coil_transport *t, coil_error *error, void *arg)
{
    coil_transport_free(t);
    connection_lost(NULL, error, arg);
}

NET_TEST(a_protocol_may_free_its_transport_when_it_is_lost)
{
    coil_protocol protocol = recording;
    protocol.connection_lost = free_when_lost;
    for (int how = 0; how < 3; how++) {
        recorder r = {0};
        coil_transport *t;
        int peer = connected(&protocol, &r, &t);
        if (how == 0)
            coil_transport_close(t);
        else if (how == 1)
            coil_transport_abort(t);
        else
            shutdown(peer, SHUT_WR);
        until_lost(&r);
        TRACE_IS(how == 2 ? "eof lost" : "lost");
        close(peer);
    }
}

NET_TEST(whatever_a_buffered_protocol_raises_loses_its_connection)
{
    recorder r = {.fails_with = -EAGAIN};
    coil_transport *t;
    int peer = connected(&buffering, &r, &t);
    send_text(peer, "x");
    until_lost(&r);
    ck_assert_int_eq(r.code, -EAGAIN);
    expect_report("Fatal error: protocol.get_buffer() call failed.", -EAGAIN, "no room");
    coil_transport_free(t);
    close(peer);
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
    return coil_connect_accepted_socket(&recording, c->r, c->fd, NULL, &t);
}

NET_TEST(a_cancelled_creation_closes_the_connection)
{
    recorder r = {0};
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(coil_event_new(&r.lost));
    struct creating c = {&r, ends[0]};
    coil_task *task = spawn(coil_coro_of(create, &c));
    turns(1);
    coil_future_cancel(task, NULL);
    ck_assert_int_eq(coil_join(task, NULL), -ECANCELED);
    until_lost(&r);
    TRACE_IS("made lost");
    close(ends[1]);
}

TEST(a_loop_that_is_closed_takes_its_connections_along)
{
    int before = open_descriptors();
    for (int iterations = 1; iterations <= 4; iterations++) {
        coil_loop *loop = new_test_loop();
        recorder r = {0};
        int ends[2];
        trace[0] = '\0';
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        struct creating c = {&r, ends[0]};
        coil_task *task;
        OK(coil_loop_create_task(loop, coil_coro_of(create, &c), NULL, &task));
        for (int i = 0; i < iterations; i++) {
            coil_loop_stop(loop);
            OK(coil_loop_run_forever(loop));
        }
        bool created = coil_future_done(task);
        ck_assert(created == (iterations >= 3));
        coil_release(task);
        OK(coil_loop_close(loop));
        if (created)
            coil_transport_free(r.transport);
        coil_loop_free(loop);
        close(ends[1]);
        if (!created)
            expect_report("Task was destroyed but it is pending!", 0, "");
        TRACE_IS(iterations >= 2 ? "made lost" : "");
    }
    ck_assert_int_eq(open_descriptors(), before);
}

/* --- contexts ------------------------------------------------------------------------------------------------------ */

static coil_contextvar *who;

static int data_in_context(coil_transport *t, const void *data, size_t n, void *arg)
{
    void *value = NULL;
    OK(coil_contextvar_get(who, &value));
    note("%s", (const char *)value);
    return data_received(t, data, n, arg);
}

static char maker[] = "maker", other[] = "other";

NET_TEST(a_protocol_runs_in_a_copy_of_the_context_that_it_was_made_in)
{
    coil_protocol protocol = recording;
    protocol.data_received = data_in_context;
    recorder r = {0};
    coil_transport *t;
    OK(coil_contextvar_new("who", NULL, &who));
    OK(coil_contextvar_set(who, maker, NULL));
    int peer = connected(&protocol, &r, &t);
    OK(coil_contextvar_set(who, other, NULL));
    send_text(peer, "x");
    until_size(&r, 1);
    TRACE_IS("maker data:x");
    coil_transport_free(t);
    until_lost(&r);
    close(peer);
    coil_contextvar_free(who);
}

COIL_TEST_MAIN("protocol")
