/*
 * test_writelines.c - several pieces as one write: to sockets, pipes and streams in memory; on whichever backend
 * $COIL_BACKEND names
 */
#define _GNU_SOURCE /* pipe2, struct tcp_info */
#include <coil_testing.h>

#include "net.h"

#include <fcntl.h>
#include <linux/tcp.h>

enum { PIECES = 2500, BYTES = 250 * PIECES }; /* more than one call takes, and more than a socket or a pipe holds */

/* Pieces of 0 to 500 bytes; together they are a pattern. */
typedef struct lines {
    struct iovec pieces[PIECES];
    size_t bytes;
    char pattern[2 * BYTES];
} lines;

static lines *new_lines(void)
{
    lines *l = calloc(1, sizeof *l);
    for (size_t i = 0; i < sizeof l->pattern; i++)
        l->pattern[i] = (char)(i * 131 >> 3);
    for (size_t i = 0; i < PIECES; i++) {
        l->pieces[i] = (struct iovec){l->pattern + l->bytes, i % 11 == 0 ? 0 : i * 37 % 501};
        l->bytes += l->pieces[i].iov_len;
    }
    ck_assert_uint_gt(l->bytes, BYTES / 2);
    return l;
}

/* All pieces, then more, and the end: everything arrives, in order. */
static void lines_pass(coil_stream *from, coil_stream *to)
{
    lines *l = new_lines(), *same = new_lines();
    char *got = malloc(l->bytes);
    OK(coil_stream_writelines(from, l->pieces, PIECES));
    memset(l->pattern, 0, sizeof l->pattern); /* it was borrowed for the call only */
    writes(from, "more\n");
    coil_stream_close(from);
    OK(coil_stream_readexactly(to, got, l->bytes));
    ck_assert_mem_eq(got, same->pattern, l->bytes);
    reads_line(to, "more\n");
    OK(coil_stream_wait_closed(from));
    coil_stream_free(from);
    finish(to);
    free(got);
    free(same);
    free(l);
}

static void open_streams(coil_stream **a, coil_stream **b)
{
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    OK(coil_open_connection_on(ends[0], NULL, a));
    OK(coil_open_connection_on(ends[1], NULL, b));
}

NET_TEST(lines_pass_a_socket)
{
    coil_stream *a, *b;
    open_streams(&a, &b);
    lines_pass(a, b);
}

NET_TEST(lines_pass_a_pipe)
{
    coil_stream *from, *to;
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    OK(coil_connect_read_pipe(fds[0], 0, &to));
    OK(coil_connect_write_pipe(fds[1], &from));
    lines_pass(from, to);
}

NET_TEST(lines_pass_streams_in_memory)
{
    coil_stream *a, *b;
    OK(coil_testing_stream_pair(coil_get_running_loop(), 1000, &a, &b));
    lines_pass(a, b);
}

NET_TEST(lines_go_behind_what_is_buffered)
{
    lines *l = new_lines();
    coil_stream *a, *b;
    char *got = malloc(l->bytes);
    open_streams(&a, &b);
    for (int i = 0; i < 2; i++)
        OK(coil_stream_writelines(a, l->pieces, PIECES));
    for (int i = 0; i < 2; i++) {
        OK(coil_stream_readexactly(b, got, l->bytes));
        ck_assert_mem_eq(got, l->pattern, l->bytes);
    }
    finish(a);
    finish(b);
    free(got);
    free(l);
}

static const struct iovec some[] = {{"ab", 2}, {NULL, 0}, {"c", 1}, {"def", 3}};

static unsigned segments_sent(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_data_segs_out;
}

NET_TEST(lines_are_one_segment)
{
    coil_stream *s;
    int port, listener = silent_listener(1, &port), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = loopback(port);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    OK(coil_open_connection_on(fd, NULL, &s)); /* which sets TCP_NODELAY */
    OK(coil_stream_writelines(s, some, 4));
    ck_assert_uint_eq(segments_sent(fd), 1);
    OK(coil_stream_write(s, "one", 3));
    OK(coil_stream_write(s, "two", 3));
    ck_assert_uint_eq(segments_sent(fd), 3);
    coil_stream_abort(s);
    coil_stream_free(s);
    close(listener);
}

NET_TEST(more_lines_than_one_call_takes_are_not_buffered_where_one_write_is_not)
{
    enum { MANY = 4000, EACH = 16 };
    static struct iovec pieces[MANY];
    coil_stream *a, *b;
    for (size_t i = 0; i < MANY; i++)
        pieces[i] = (struct iovec){"sixteen letters", EACH};
    open_streams(&a, &b);
    OK(coil_stream_writelines(a, pieces, MANY));
    ck_assert_uint_eq(coil_stream_write_buffer_size(a), 0);
    finish(a);
    finish(b);
}

NET_TEST(lines_are_one_packet_in_a_pipe_that_keeps_packets_apart)
{
    coil_stream *s;
    char buf[32];
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_DIRECT), 0);
    OK(coil_connect_write_pipe(fds[1], &s));
    OK(coil_stream_writelines(s, some, 4));
    ck_assert_int_eq(read(fds[0], buf, sizeof buf), 6);
    ck_assert_mem_eq(buf, "abcdef", 6);
    finish(s);
    close(fds[0]);
}

NET_TEST(no_lines_are_nothing)
{
    const struct iovec empty[] = {{NULL, 0}, {"", 0}};
    coil_stream *a, *b;
    open_streams(&a, &b);
    OK(coil_stream_writelines(a, NULL, 0));
    OK(coil_stream_writelines(a, empty, 2));
    finish(a);
    reads_all(b, "");
    finish(b);
}

NET_TEST(lines_are_refused_as_a_write_is)
{
    struct iovec pieces[] = {{"x", 1}, {"y", SIZE_MAX}};
    coil_stream *a, *b;
    open_streams(&a, &b);
    RAISES(-EINVAL, "write size can not be less than zero", coil_stream_writelines(a, pieces, 2));
    OK(coil_stream_write_eof(a));
    RAISES(COIL_ERUNTIME, "Cannot call write() after write_eof()", coil_stream_writelines(a, pieces, 1));
    RAISES(COIL_ERUNTIME, "Cannot call write() after write_eof()", coil_stream_writelines(a, NULL, 0));
    coil_stream_abort(b);
    pieces[1].iov_len = 1;
    OK(coil_stream_writelines(b, pieces, 2)); /* dropped, as what is written to a lost connection */
    coil_stream_free(a);
    coil_stream_free(b);
}

NET_TEST(without_memory_lines_are_not_taken)
{
    lines *l = new_lines();
    coil_stream *a, *b;
    open_streams(&a, &b);
    while (coil_stream_write_buffer_size(a) == 0)
        OK(coil_stream_write(a, l->pattern, 10000));
    size_t before = coil_stream_write_buffer_size(a);
    coil_testing_fail_allocation(1);
    RAISES(-ENOMEM, "", coil_stream_writelines(a, l->pieces, PIECES));
    coil_testing_fail_allocation(0);
    ck_assert_uint_eq(coil_stream_write_buffer_size(a), before);
    OK(coil_stream_writelines(a, l->pieces, PIECES));
    ck_assert_uint_eq(coil_stream_write_buffer_size(a), before + l->bytes);
    coil_stream_abort(a);
    coil_stream_abort(b);
    coil_stream_free(a);
    coil_stream_free(b);
    free(l);
}

COIL_TEST_MAIN("writelines")
