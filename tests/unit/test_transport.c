/*
 * test_transport.c - how a transport receives: every byte once and in order, whatever comes between
 *
 * The other end is a plain socket that this thread writes to, so what is there when the loop looks is known. The
 * bytes of a connection are a sequence that any part of can be checked. On io_uring data wait in the backend's
 * buffers; the tests look at the transport's fields to know that they do.
 */
#define _GNU_SOURCE /* accept4 */
#include "net.h"

#include <coil/errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>

#include "../../io/stream.h"

enum { CHUNK = 256 * 1024, MANY = 700, CROWD = 4 * COIL__BATCH, SOME = 60 };

/* A stream, and a plain socket that is connected to it. */
typedef struct wired {
    coil_stream *stream;
    int fd;
    uint64_t sent, got;
} wired;

static coil__transport *transport_of(wired *w)
{
    return &w->stream->transport;
}

static void tcp_pair(int fds[2])
{
    int port, listener = silent_listener(1, &port), yes = 1;
    struct sockaddr_in a = loopback(port);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&a, sizeof a), 0);
    fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ck_assert_int_ge(fds[0], 0);
    ck_assert_int_eq(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    (void)setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    close(listener);
}

static wired wire_of(int family, size_t limit)
{
    int fds[2], big = 1 << 20;
    wired w = {0};
    if (family == AF_INET)
        tcp_pair(fds);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    (void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    w.fd = fds[1];
    OK(coil__stream_open(coil_get_running_loop(), &(coil__wire){.in = fds[0], .out = fds[0], .socket = true}, limit,
                         &w.stream));
    return w;
}

static wired wire_here(size_t limit)
{
    return wire_of(AF_INET, limit);
}

static void unwire(wired *w)
{
    coil_stream_abort(w->stream);
    coil_stream_free(w->stream);
    close(w->fd);
}

static unsigned char byte_at(uint64_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void fill(unsigned char *buf, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(from + i);
}

/* Writes the next @n bytes, or as many as the socket takes. Returns how many. */
static size_t sends(wired *w, size_t n)
{
    static _Thread_local unsigned char buf[CHUNK]; /* it does not suspend */
    ck_assert_uint_le(n, sizeof buf);
    fill(buf, n, w->sent);
    ssize_t rc = send(w->fd, buf, n, MSG_NOSIGNAL);
    if (rc < 0)
        ck_assert_int_eq(errno, EAGAIN);
    w->sent += rc > 0 ? (size_t)rc : 0;
    return rc > 0 ? (size_t)rc : 0;
}

/* Takes some of what is there, at most @cap bytes. */
static size_t takes(wired *w, size_t cap)
{
    static unsigned char buf[CHUNK], expected[CHUNK];
    size_t n;
    OK(coil_stream_read(w->stream, buf, cap, &n));
    fill(expected, n, w->got);
    ck_assert_mem_eq(buf, expected, n);
    w->got += n;
    return n;
}

static void takes_all(wired *w)
{
    while (w->got < w->sent)
        takes(w, CHUNK);
    ck_assert_uint_eq(w->got, w->sent);
}

/* Whatever is still to come, and then the end. */
static void takes_to_the_end(wired *w)
{
    while (takes(w, CHUNK) > 0)
        continue;
    ck_assert_uint_eq(w->got, w->sent);
    ck_assert(coil_stream_at_eof(w->stream));
}

static bool is_at_rest(coil__transport *t)
{
    COIL__GUARD(&t->latch);
    bool many = t->receive.kind == COIL__OP_RECV_MANY;
    return t->reading_paused && (!many || (t->resting && t->receive.first != COIL__NO_BUFFER));
}

/* It is paused and, where the backend has buffers of its own, has data in them: in few enough for SOME to do the same. */
static void rests(wired *w)
{
    for (int i = 0; i < 3; i++)
        sends(w, 4000);
    while (!is_at_rest(transport_of(w)))
        turns(1);
}

/* --- sizes, and the end ---------------------------------------- */

static const size_t sizes[] = {1,     2,     4095,  4096,  4097,   8191,   8192,   8193,   12288,
                               32768, 65535, 65536, 65537, 131071, 131072, 131073, 200000, CHUNK};

NET_TEST(pieces_of_any_size_arrive_whole)
{
    wired w = wire_here(COIL_STREAM_LIMIT);
    for (int again = 0; again < 20; again++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            sends(&w, sizes[i]);
            takes_all(&w);
        }
    }
    unwire(&w);
}

static void end_behind_data(int family, size_t limit, size_t n, int late)
{
    wired w = wire_of(family, limit);
    turns(late);
    sends(&w, n);
    shutdown(w.fd, SHUT_WR);
    takes_to_the_end(&w);
    unwire(&w);
}

static void ends_behind_data(int family)
{
    for (size_t limit = 1; limit <= COIL_STREAM_LIMIT; limit *= 16)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int late = 0; late < 3; late++)
                end_behind_data(family, limit, sizes[i], late);
}

NET_TEST(the_end_comes_directly_behind_the_data)
{
    ends_behind_data(AF_INET);
}

NET_TEST(the_end_comes_directly_behind_the_data_of_a_unix_socket)
{
    ends_behind_data(AF_UNIX);
}

NET_TEST(the_end_comes_alone)
{
    wired w = wire_here(10);
    turns(2);
    shutdown(w.fd, SHUT_WR);
    takes_to_the_end(&w);
    OK(coil_stream_write(w.stream, "still", 5)); /* the other way is open */
    char buf[8];
    ck_assert_int_eq(recv(w.fd, buf, sizeof buf, 0), 5);
    unwire(&w);
}

/* Reads what has arrived before the reset, and then hears of that. */
static void takes_to_the_reset(wired *w)
{
    int rc = 0;
    for (size_t n = 1; rc == 0 && n > 0; w->got += n) {
        unsigned char buf[1000], expected[1000];
        rc = coil_stream_read(w->stream, buf, sizeof buf, &n);
        fill(expected, sizeof expected, w->got);
        ck_assert(rc < 0 || memcmp(buf, expected, n) == 0);
    }
    RAISES(-ECONNRESET, "", rc);
}

NET_TEST(a_peer_that_resets_in_mid_stream_leaves_a_prefix)
{
    for (int round = 0; round < 40; round++) {
        wired w = wire_here(round & 1 ? 10 : COIL_STREAM_LIMIT);
        turns(round & 2);
        for (int i = 0; i < 1 + round % 5; i++)
            sends(&w, 3000);
        turns(round & 4);
        reset_and_close(w.fd);
        takes_to_the_reset(&w);
        coil_stream_free(w.stream);
    }
}

/* --- many and large ---------------------------------------- */

NET_TEST(a_stream_that_turns_from_small_pieces_to_large_ones_and_back_stays_in_order)
{
    wired w = wire_here(COIL_STREAM_LIMIT);
    bool was_large = false, was_small = false;
    for (int round = 0; round < 12; round++) {
        size_t piece = round % 2 ? 100 : 60000;
        for (int i = 0; i < 70; i++) {
            sends(&w, piece);
            if (i % 3 == 0)
                takes_all(&w);
            else if (i % 3 == 1)
                turns(1);
        }
        takes_all(&w);
        was_large |= transport_of(&w)->large;
        was_small |= !transport_of(&w)->large;
    }
    ck_assert(was_large);
    ck_assert(was_small);
    unwire(&w);
}

/* --- resting ---------------------------------------- */

NET_TEST(what_was_received_before_a_pause_comes_after_it)
{
    wired w = wire_here(10);
    rests(&w);
    sends(&w, 5000); /* this the kernel keeps */
    turns(3);
    shutdown(w.fd, SHUT_WR);
    turns(3);
    takes_to_the_end(&w);
    unwire(&w);
}

NET_TEST(a_stream_may_pause_and_go_on_many_times)
{
    wired w = wire_here(10);
    for (int i = 0; i < 300; i++) {
        sends(&w, (size_t)(i * 37 % 9000));
        turns(i % 4);
        if (i % 5 == 4)
            takes(&w, (size_t)(1 + i * 101 % 5000));
    }
    shutdown(w.fd, SHUT_WR);
    takes_to_the_end(&w);
    unwire(&w);
}

static void resumes(wired *w, bool pauses_again)
{
    COIL__GUARD(&transport_of(w)->latch);
    coil__transport_resume_reading(transport_of(w));
    if (pauses_again)
        coil__transport_pause_reading(transport_of(w));
}

/* Resumed, which makes the handle ready, and paused again before that has run. */
NET_TEST(a_pause_just_after_a_rest_loses_nothing)
{
    wired w = wire_here(10);
    rests(&w);
    for (int i = 0; i < 5; i++) {
        for (int flips = 0; flips <= i; flips++)
            resumes(&w, true);
        turns(i);
    }
    resumes(&w, false);
    takes_all(&w);
    unwire(&w);
}

/* What the program does with a stream that rests; each has to give everything back. */
static void closes(wired *w)
{
    coil_stream_close(w->stream);
    OK(coil_stream_wait_closed(w->stream));
}

static void closes_late(wired *w)
{
    while (coil_stream_write_buffer_size(w->stream) == 0)
        OK(coil_stream_write(w->stream, sizes, sizeof sizes));
    coil_stream_close(w->stream);
    turns(2);
    takes(w, 50000);
    turns(2);
    coil_stream_abort(w->stream);
}

static void aborts(wired *w)
{
    coil_stream_abort(w->stream);
}

static void aborts_and_takes(wired *w)
{
    coil_stream_abort(w->stream);
    takes(w, 50000);
}

static void aborts_and_takes_when_lost(wired *w)
{
    coil_stream_abort(w->stream);
    turns(3);
    ck_assert(transport_of(w)->lost);
    while (takes(w, 50000) > 0)
        turns(1);
}

static void takes_and_aborts(wired *w)
{
    takes(w, 50000);
    coil_stream_abort(w->stream);
}

static void resets(wired *w)
{
    reset_and_close(w->fd);
    w->fd = -1;
    OK(coil_stream_write(w->stream, "x", 1));
    turns(3);
    ck_assert(transport_of(w)->lost);
}

static void only_frees(wired *w)
{
    (void)w;
}

static void (*const ends_of_rest[])(wired *w) = {
    closes, closes_late, aborts, aborts_and_takes, aborts_and_takes_when_lost, takes_and_aborts, resets, only_frees,
};

/* Descriptors are counted here, memory by the sanitizer: a stream is given back when its handle lets go. */
NET_TEST(a_stream_that_rests_can_be_ended_in_every_way)
{
    for (size_t i = 0; i < sizeof ends_of_rest / sizeof *ends_of_rest; i++) {
        for (int later = 0; later < 3; later++) {
            wired w = wire_here(10);
            rests(&w);
            ends_of_rest[i](&w);
            turns(later);
            coil_stream_free(w.stream);
            if (w.fd >= 0)
                close(w.fd);
            turns(3);
        }
    }
}

/* --- the backend's buffers ---------------------------------------- */

static void allow_descriptors(rlim_t n)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < n)
        limit.rlim_cur = limit.rlim_max < n ? limit.rlim_max : n;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

NET_TEST(more_messages_than_there_are_buffers_arrive)
{
    static wired w[MANY];
    allow_descriptors(2 * MANY + 100);
    for (int i = 0; i < MANY; i++)
        w[i] = wire_here(COIL_STREAM_LIMIT);
    turns(2);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < MANY; i++)
            sends(&w[i], (size_t)(1 + (i + round) % 300));
        turns(round % 3);
        for (int i = 0; i < MANY; i++)
            takes_all(&w[i]);
    }
    for (int i = 0; i < MANY; i++)
        unwire(&w[i]);
}

/* Nobody reads, and all buffers are taken; one that is read goes on nevertheless, and so do all others then. */
NET_TEST(streams_that_rest_with_all_buffers_stop_nobody)
{
    wired w[SOME], other = wire_here(COIL_STREAM_LIMIT);
    for (int i = 0; i < SOME; i++)
        w[i] = wire_here(10);
    turns(2);
    for (int i = 0; i < SOME; i++)
        sends(&w[i], 100000);
    turns(6);
    for (int i = 0; i < 500; i++) {
        sends(&other, (size_t)(1 + i * 37 % 6000));
        takes_all(&other);
    }
    for (int i = 0; i < SOME; i++)
        shutdown(w[i].fd, SHUT_WR);
    for (int i = 0; i < SOME; i++)
        takes_to_the_end(&w[i]);
    for (int i = 0; i < SOME; i++)
        unwire(&w[i]);
    unwire(&other);
}

/* --- loops that end, and that change threads ---------------------------------------- */

static wired kept[SOME];

static int wire_many(void *arg, void **result)
{
    size_t limit = *(size_t *)arg;
    (void)result;
    for (int i = 0; i < SOME; i++) {
        kept[i] = wire_here(limit);
        sends(&kept[i], (size_t)(1 + i * 100));
    }
    turns(2);
    for (int i = 0; i < SOME; i++)
        sends(&kept[i], 3000);
    turns(2);
    return 0;
}

static void unwire_kept(void)
{
    for (int i = 0; i < SOME; i++)
        unwire(&kept[i]);
}

TEST(a_loop_is_closed_under_streams_that_rest)
{
    for (size_t limit = 1; limit <= COIL_STREAM_LIMIT; limit *= 256) {
        for (int freed_first = 0; freed_first < 2; freed_first++) {
            int before = open_descriptors();
            coil_loop *loop = new_test_loop();
            OK(coil_loop_run_until_complete(loop, coil_coro_of(wire_many, &limit), NULL));
            if (freed_first)
                unwire_kept();
            OK(coil_loop_close(loop));
            if (!freed_first)
                unwire_kept();
            coil_loop_free(loop);
            ck_assert_int_eq(open_descriptors(), before);
        }
    }
}

/*
 * Resumed before the kernel has answered the request to cancel, so the handle is ready while the operation is in
 * flight; then all ends: the loop is closed in the same iteration.
 */
static int rouse_and_leave(void *arg)
{
    wired *w = arg;
    if (!transport_of(w)->resting && transport_of(w)->receive.kind == COIL__OP_RECV_MANY) {
        return coil_loop_call_soon(transport_of(w)->loop, rouse_and_leave, w, NULL);
    }
    resumes(w, false);
    coil_stream_free(w->stream);
    coil_loop_stop(coil_get_running_loop());
    return 0;
}

static int wire_and_flood(void *arg)
{
    wired *w = arg;
    *w = wire_here(10);
    sends(w, 100000);
    return coil_loop_call_soon(transport_of(w)->loop, rouse_and_leave, w, NULL);
}

TEST(a_loop_is_closed_with_a_handle_that_was_roused)
{
    wired w;
    int before = open_descriptors();
    coil_loop *loop = new_test_loop();
    OK(coil_loop_call_soon(loop, wire_and_flood, &w, NULL));
    OK(coil_loop_run_forever(loop));
    OK(coil_loop_close(loop));
    coil_loop_free(loop);
    close(w.fd);
    ck_assert_int_eq(open_descriptors(), before);
}

typedef struct mover_round {
    coil_loop *loop;
    int round;
    bool ends;
} mover_round;

static int use_kept(void *arg, void **result)
{
    const mover_round *m = arg;
    (void)result;
    for (int i = 0; i < SOME; i++) {
        sends(&kept[i], (size_t)(1 + (i * 577 + m->round * 91) % 9000));
        if (m->ends)
            shutdown(kept[i].fd, SHUT_WR);
        turns(i % 8 == 0);
        if (i % 3 == m->round % 3)
            takes(&kept[i], (size_t)(1 + i * 301));
    }
    for (int i = 0; m->ends && i < SOME; i++)
        takes_to_the_end(&kept[i]);
    return 0;
}

static void *run_round(void *arg)
{
    mover_round *m = arg;
    OK(coil_loop_run_until_complete(m->loop, coil_coro_of(use_kept, m), NULL));
    return NULL;
}

/*
 * Each thread takes the loop over from the one before, with streams that rest, that wait, and that have data
 * unseen.
 */
TEST(a_loop_goes_on_in_another_thread_with_what_was_received)
{
    for (size_t limit = 1; limit <= COIL_STREAM_LIMIT; limit *= 256) {
        int before = open_descriptors();
        coil_loop *loop = new_test_loop();
        OK(coil_loop_run_until_complete(loop, coil_coro_of(wire_many, &limit), NULL));
        for (int round = 0; round < 12; round++) {
            mover_round m = {loop, round, round == 11};
            for (int i = 0; i < SOME && !m.ends; i++)
                sends(&kept[i], 700);
            pthread_t thread;
            ck_assert_int_eq(pthread_create(&thread, NULL, run_round, &m), 0);
            pthread_join(thread, NULL);
        }
        unwire_kept();
        coil_loop_free(loop);
        ck_assert_int_eq(open_descriptors(), before);
    }
}

static wired crowd[CROWD];

static int wire_crowd(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < CROWD; i++)
        crowd[i] = wire_here(COIL_STREAM_LIMIT);
    turns(2);
    return 0;
}

static int crowd_takes_all(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < CROWD; i++) {
        takes_all(&crowd[i]);
        unwire(&crowd[i]);
    }
    return 0;
}

static void *run_for_an_iteration(void *loop)
{
    coil_loop_stop(loop);
    OK(coil_loop_run_forever(loop));
    return NULL;
}

/* The first thread has more completions than one wait collects: the ring goes with it, they do not. */
TEST(what_a_thread_has_not_collected_goes_on_with_the_loop)
{
    for (int iterations = 1; iterations <= 3; iterations++) {
        coil_loop *loop = new_test_loop();
        OK(coil_loop_run_until_complete(loop, coil_coro_of(wire_crowd, NULL), NULL));
        for (int i = 0; i < CROWD; i++)
            sends(&crowd[i], 1);
        for (int i = 0; i < iterations; i++) {
            pthread_t thread;
            ck_assert_int_eq(pthread_create(&thread, NULL, run_for_an_iteration, loop), 0);
            pthread_join(thread, NULL);
        }
        OK(coil_loop_run_until_complete(loop, coil_coro_of(crowd_takes_all, NULL), NULL));
        coil_loop_free(loop);
    }
}

/* --- runtimes ---------------------------------------- */

static int rest_on_some_worker(void *arg, void **result)
{
    wired *w = arg;
    (void)result;
    *w = wire_here(10);
    rests(w);
    return 0;
}

static int rest_on_all_workers(void *arg, void **result)
{
    coil_task *tasks[SOME];
    (void)arg;
    (void)result;
    for (int i = 0; i < SOME; i++)
        OK(coil_create_task(coil_coro_make(rest_on_some_worker, &kept[i], NULL, 0, "rests"), &tasks[i]));
    for (int i = 0; i < SOME; i++)
        OK(coil_join(tasks[i], NULL));
    return 0;
}

/* Their operations were other workers', which are gone by then. */
TEST(streams_that_rest_outlive_the_workers_of_their_runtime)
{
    coil_runtime_options options = {.size = sizeof options, .workers = 4};
    coil_runtime *runtime;
    for (int freed = 0; freed < 2; freed++) {
        int before = open_descriptors();
        OK(coil_runtime_new(&options, &runtime));
        OK(coil_runtime_enter(runtime, coil_coro_of(rest_on_all_workers, NULL), NULL));
        OK(coil_runtime_close(runtime));
        if (!freed)
            unwire_kept();
        coil_runtime_free(runtime);
        if (freed)
            unwire_kept();
        ck_assert_int_eq(open_descriptors(), before);
    }
}

COIL_TEST_MAIN("transport")
