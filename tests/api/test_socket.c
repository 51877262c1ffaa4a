/*
 * test_socket.c - addresses, sock_* calls, descriptor passing, names
 */
#define _GNU_SOURCE /* pipe2 */
#include "net.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/resource.h>

static int pair[2];

static void open_pair(int type)
{
    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(void)
{
    close(pair[0]);
    close(pair[1]);
}

/* A test in a task that has a pair of stream sockets. */
#define PAIR_TEST(name)                 \
    static void name##_with_pair(void); \
    NET_TEST(name)                      \
    {                                   \
        open_pair(SOCK_STREAM);         \
        name##_with_pair();             \
        close_pair();                   \
    }                                   \
    static void name##_with_pair(void)

/* --- addresses -------------------------------------------------------------------------------------------------- */

static void reads_as(const char *text, const char *again)
{
    coil_address a;
    char buf[128];
    OK(coil_address_parse(text, &a));
    ck_assert_uint_eq(coil_address_format(&a, buf, sizeof buf), strlen(again));
    ck_assert_str_eq(buf, again);
}

TEST(addresses_are_parsed_and_formatted)
{
    reads_as("127.0.0.1:80", "127.0.0.1:80");
    reads_as("[::1]:65535", "[::1]:65535");
    reads_as("[2001:db8:0:0::1]:0", "[2001:db8::1]:0");
    reads_as("/run/a socket", "/run/a socket");
    reads_as("./socket", "./socket");
    reads_as("@abstract", "@abstract");
}

TEST(what_is_no_address_is_refused)
{
    coil_address a = {.bytes = 77};
    static const char *const bad[] = {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:80",
                                      "[::1:80", "localhost:80", ":80", "1.2.3.4:80x"};
    char message[128];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = coil_address_parse(bad[i], &a);
        ck_assert_msg(rc == -EINVAL, "%s: %d", bad[i], rc);
        coil_error_release(coil_catch(rc));
    }
    memset(message, 'x', sizeof message);
    message[0] = '/';
    message[sizeof message - 1] = '\0';
    int rc = coil_address_parse(message, &a);
    ck_assert_int_eq(rc, -ENAMETOOLONG);
    coil_error_release(coil_catch(rc));
    RAISES(-EINVAL, "port 65536 is out of range (0 to 65535)", coil_address_of_ip("::1", 65536, &a));
    RAISES(-EINVAL, "an empty path", coil_address_of_path("", &a));
    ck_assert_uint_eq(a.bytes, 77);
}

TEST(an_address_fits_its_buffer_or_is_cut)
{
    coil_address a = {0};
    char buf[8] = "xxxxxxx";
    ck_assert_uint_eq(coil_address_format(&a, buf, sizeof buf), 0);
    ck_assert_str_eq(buf, "");
    OK(coil_address_parse("/run/long", &a));
    ck_assert_uint_eq(coil_address_format(&a, buf, sizeof buf), 9);
    ck_assert_str_eq(buf, "/run/lo");
    OK(coil_address_parse("10.0.0.1:8080", &a));
    ck_assert_uint_eq(coil_address_format(&a, buf, sizeof buf), 13);
    ck_assert_str_eq(buf, "10.0.0.");
    ck_assert_int_eq(coil_address_port(&a), 8080);
}

TEST(the_longest_path_of_a_socket_has_no_zero_behind_it_in_the_kernel)
{
    char path[109] = "";
    coil_address a;
    memset(path, 'p', 107);
    OK(coil_address_of_path(path, &a));
    char buf[128];
    ck_assert_uint_eq(coil_address_format(&a, buf, sizeof buf), 107);
    a.un.sun_path[107] = 'p';
    a.bytes = sizeof a.un + 1; /* as getsockname() tells it */
    ck_assert_uint_eq(coil_address_format(&a, buf, sizeof buf), 108);
}

TEST(addresses_are_compared)
{
    coil_address a, b, c;
    OK(coil_address_parse("127.0.0.1:80", &a));
    OK(coil_address_parse("127.0.0.1:80", &b));
    OK(coil_address_parse("127.0.0.1:81", &c));
    memset(b.in.sin_zero, 1, sizeof b.in.sin_zero);
    ck_assert(coil_address_equal(&a, &b));
    ck_assert(!coil_address_equal(&a, &c));
    OK(coil_address_parse("@x", &a));
    OK(coil_address_parse("@xy", &b));
    ck_assert(!coil_address_equal(&a, &b));
    ck_assert(!coil_address_equal(&a, &c));
    ck_assert_int_eq(coil_address_port(&a), -1);
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

static int recv_note(void *arg, void **result)
{
    char buf[64];
    size_t n = 0;
    (void)result;
    int rc = coil_sock_recv(*(int *)arg, buf, sizeof buf, &n);
    note("%d:%.*s", rc, (int)n, buf);
    return rc;
}

PAIR_TEST(what_is_there_is_received_without_waiting)
{
    char buf[8];
    size_t n;
    ck_assert_int_eq(write(pair[1], "abc", 3), 3);
    coil_task *other = spawn(coil_sleep_coro(0, NULL));
    OK(coil_sock_recv(pair[0], buf, sizeof buf, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert(!coil_future_done(other));
    OK(coil_join(other, NULL));
}

PAIR_TEST(a_receiver_waits_for_bytes_and_sees_the_end)
{
    coil_task *task = spawn(coil_coro_of(recv_note, &pair[0]));
    turns(2);
    ck_assert_int_eq(write(pair[1], "abc", 3), 3);
    OK(coil_join(task, NULL));
    shutdown(pair[1], SHUT_WR);
    OK(coil_join(spawn(coil_coro_of(recv_note, &pair[0])), NULL));
    TRACE_IS("0:abc 0:");
}

enum { MUCH = 3000000 };

static bool is_pattern(const char *buf, size_t n, size_t from, size_t factor)
{
    for (size_t i = 0; i < n; i++)
        if (buf[i] != (char)((from + i) * factor))
            return false;
    return true;
}

static int send_much(void *arg, void **result)
{
    char *data = calloc(MUCH, 1);
    size_t sent;
    (void)result;
    for (size_t i = 0; i < MUCH; i++)
        data[i] = (char)(i * 7);
    OK(coil_sock_sendall(*(int *)arg, data, MUCH, &sent));
    ck_assert_uint_eq(sent, MUCH);
    free(data);
    return 0;
}

PAIR_TEST(everything_is_sent)
{
    static char buf[100000];
    coil_task *task = spawn(coil_coro_of(send_much, &pair[1]));
    for (size_t got = 0, n; got < MUCH; got += n) {
        OK(coil_sock_recv(pair[0], buf, sizeof buf, &n));
        ck_assert(is_pattern(buf, n, got, 7));
    }
    OK(coil_join(task, NULL));
}

static size_t sent_by_cancelled;

static int send_and_count(void *arg, void **result)
{
    static char data[MUCH];
    (void)result;
    return coil_sock_sendall(*(int *)arg, data, MUCH, &sent_by_cancelled);
}

PAIR_TEST(who_is_cancelled_knows_how_much_was_sent)
{
    static char buf[MUCH];
    coil_task *task = spawn(coil_coro_of(send_and_count, &pair[1]));
    turns(3);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    shutdown(pair[1], SHUT_WR);
    size_t got = 0, n = 1;
    while (n > 0) {
        OK(coil_sock_recv(pair[0], buf, sizeof buf, &n));
        got += n;
    }
    ck_assert_uint_gt(got, 0);
    ck_assert_uint_eq(got, sent_by_cancelled);
}

PAIR_TEST(errors_name_the_call)
{
    char c;
    size_t n;
    RAISES(-EBADF, "recv: Bad file descriptor", coil_sock_recv(-1, &c, 1, &n));
    close(pair[1]);
    RAISES(-EPIPE, "send: Broken pipe", coil_sock_sendall(pair[0], "x", 1, NULL));
    RAISES(-EINVAL, "accept: invalid argument", coil_sock_accept(pair[0], &pair[1], NULL));
    pair[1] = dup(pair[0]);
}

PAIR_TEST(debug_mode_refuses_a_blocking_socket)
{
    char c;
    size_t n;
    coil_loop_set_debug(coil_get_running_loop(), true);
    ck_assert_int_eq(fcntl(pair[0], F_SETFL, 0), 0);
    RAISES(-EINVAL, "the socket must be non-blocking", coil_sock_recv(pair[0], &c, 1, &n));
    RAISES(-EINVAL, "the socket must be non-blocking", coil_sock_sendall(pair[0], &c, 1, &n));
}

TEST(calls_outside_tasks_are_refused)
{
    char c;
    size_t n;
    int rc = coil_sock_recv(0, &c, 1, &n);
    ck_assert_int_eq(rc, COIL_ENOLOOP);
    coil_error_release(coil_catch(rc));
}

PAIR_TEST(a_descriptor_can_be_closed_by_anybody_and_its_number_used_again)
{
    for (int i = 0; i < 3; i++) {
        coil_task *task = spawn(coil_coro_of(recv_note, &pair[0]));
        turns(2);
        ck_assert_int_eq(write(pair[1], "x", 1), 1);
        OK(coil_join(task, NULL));
        int was = pair[0];
        close_pair();
        open_pair(SOCK_STREAM);
        ck_assert_int_eq(pair[0], was);
    }
    TRACE_IS("0:x 0:x 0:x");
}

/* --- connecting, accepting -------------------------------------------------------------------------------------- */

static int listener_of(int *port)
{
    int fd = silent_listener(5, port);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static int accept_note(void *arg, void **result)
{
    int conn, rc = coil_sock_accept(*(int *)arg, &conn, NULL);
    (void)result;
    note("%d", rc);
    if (rc == 0)
        close(conn);
    return rc;
}

NET_TEST(sockets_connect_and_are_accepted)
{
    int port, conn, listener = listener_of(&port), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    coil_address address, peer, self;
    OK(coil_address_of_ip("127.0.0.1", (unsigned)port, &address));
    OK(coil_sock_connect(fd, &address));
    OK(coil_sock_accept(listener, &conn, &peer));
    OK(coil_address_of_socket(fd, &self));
    ck_assert(coil_address_equal(&peer, &self));
    ck_assert_int_eq(fcntl(conn, F_GETFD), FD_CLOEXEC);
    ck_assert(fcntl(conn, F_GETFL) & O_NONBLOCK);
    close(conn);
    close(fd);
    close(listener);
}

NET_TEST(a_refused_connection_tells_the_address)
{
    int port, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    coil_address address;
    char message[80];
    close(silent_listener(1, &port));
    OK(coil_address_of_ip("127.0.0.1", (unsigned)port, &address));
    snprintf(message, sizeof message, "connecting to 127.0.0.1:%d: Connection refused", port);
    RAISES(-ECONNREFUSED, message, coil_sock_connect(fd, &address));
    close(fd);
}

NET_TEST(a_cancelled_accept_leaves_the_connection_to_the_next)
{
    int port, conn, listener = listener_of(&port), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    coil_address address;
    coil_task *task = spawn(coil_coro_of(accept_note, &listener));
    turns(2);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    TRACE_IS("-125");
    OK(coil_address_of_ip("127.0.0.1", (unsigned)port, &address));
    OK(coil_sock_connect(fd, &address));
    OK(coil_sock_accept(listener, &conn, NULL));
    close(conn);
    close(fd);
    close(listener);
}

/* --- datagrams -------------------------------------------------------------------------------------------------- */

static int udp_socket(coil_address *address)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = loopback(0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    OK(coil_address_of_socket(fd, address));
    return fd;
}

NET_TEST(datagrams_tell_who_sent_them)
{
    coil_address a, b, from;
    int one = udp_socket(&a), two = udp_socket(&b);
    char buf[16];
    size_t n;
    OK(coil_sock_sendto(one, "hello", 5, &b, &n));
    ck_assert_uint_eq(n, 5);
    OK(coil_sock_recvfrom(two, buf, sizeof buf, &from, &n));
    ck_assert_uint_eq(n, 5);
    ck_assert(coil_address_equal(&from, &a));
    OK(coil_sock_connect(two, &a));
    OK(coil_sock_sendto(two, "back", 4, NULL, &n));
    OK(coil_sock_recvfrom(one, buf, 2, NULL, &n)); /* cut off */
    ck_assert_uint_eq(n, 2);
    close(one);
    close(two);
}

/* --- descriptor passing ----------------------------------------------------------------------------------------- */

PAIR_TEST(descriptors_travel_with_bytes)
{
    int ends[2], got[4] = {-1, -1, -1, -1};
    size_t n, count;
    char buf[8];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    OK(coil_sock_send_fds(pair[0], "two", 3, ends, 2, &n));
    ck_assert_uint_eq(n, 3);
    OK(coil_sock_recv_fds(pair[1], buf, sizeof buf, got, 4, &count, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(got[2], -1);
    ck_assert_int_eq(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(write(got[1], "x", 1), 1);
    ck_assert_int_eq(read(ends[0], buf, 1), 1);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(got[i]);
    }
}

PAIR_TEST(more_descriptors_than_there_is_room_for_are_closed)
{
    int three[3] = {pair[0], pair[0], pair[1]}, got[2];
    size_t n, count;
    char buf[8];
    OK(coil_sock_send_fds(pair[0], "x", 1, three, 3, &n));
    RAISES(-EMSGSIZE, "3 descriptors were sent, there is room for 2",
           coil_sock_recv_fds(pair[1], buf, sizeof buf, got, 2, &count, &n));
    OK(coil_sock_send_fds(pair[0], "x", 1, three, 3, &n));
    RAISES(-EMSGSIZE, "3 descriptors were sent, there is room for 0",
           coil_sock_recv_fds(pair[1], buf, sizeof buf, NULL, 0, &count, &n));
}

PAIR_TEST(descriptors_that_this_process_cannot_have_are_an_error)
{
    struct rlimit before, now;
    size_t n, count;
    char buf[8];
    int two[2] = {pair[0], pair[0]}, got[2], lowest = dup(0);
    close(lowest);
    OK(coil_sock_send_fds(pair[0], "x", 1, two, 2, &n));
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)lowest + 1; /* room for one of them, which is closed again */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    RAISES(-EMFILE, "descriptors were sent that this process cannot have",
           coil_sock_recv_fds(pair[1], buf, sizeof buf, got, 2, &count, &n));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}

PAIR_TEST(as_many_descriptors_travel_as_a_message_carries)
{
    int many[COIL_FDS_MAX + 1], got[COIL_FDS_MAX];
    size_t n, count;
    char buf[8];
    for (size_t i = 0; i <= COIL_FDS_MAX; i++)
        many[i] = pair[0];
    OK(coil_sock_send_fds(pair[0], "x", 1, many, COIL_FDS_MAX, &n));
    OK(coil_sock_recv_fds(pair[1], buf, sizeof buf, got, COIL_FDS_MAX, &count, &n));
    ck_assert_uint_eq(count, COIL_FDS_MAX);
    for (size_t i = 0; i < count; i++)
        close(got[i]);
    RAISES(-EINVAL, "254 descriptors in a message; 253 are the most",
           coil_sock_send_fds(pair[0], "x", 1, many, COIL_FDS_MAX + 1, &n));
    RAISES(-EINVAL, "descriptors need at least one byte to go with", coil_sock_send_fds(pair[0], "", 0, many, 1, &n));
}

static int recv_fd_note(void *arg, void **result)
{
    int fd = -1;
    size_t n, count = 0;
    char buf[8];
    (void)arg;
    (void)result;
    int rc = coil_sock_recv_fds(pair[1], buf, sizeof buf, &fd, 1, &count, &n);
    note("%d", rc);
    if (rc == 0) {
        ck_assert_uint_eq(count, 1);
        close(fd);
    }
    return rc;
}

PAIR_TEST(a_cancelled_receiver_of_descriptors_leaves_them_to_the_next)
{
    size_t n;
    coil_task *task = spawn(coil_coro_of(recv_fd_note, NULL));
    turns(2);
    coil_task_cancel(task, NULL);
    OK(coil_sock_send_fds(pair[0], "x", 1, &pair[0], 1, &n));
    int rc = coil_join(task, NULL);
    ck_assert(rc == 0 || rc == -ECANCELED); /* the kernel may have been quicker; nothing is lost either way */
    coil_error_release(coil_catch(rc));
    if (rc == 0)
        OK(coil_sock_send_fds(pair[0], "x", 1, &pair[0], 1, &n));
    OK(coil_join(spawn(coil_coro_of(recv_fd_note, NULL)), NULL));
}

/* --- the end of the loop ---------------------------------------------------------------------------------------- */

static int stop(void *loop)
{
    coil_loop_stop(loop);
    return 0;
}

/* Frees a loop in which a task is suspended in a call, after @happens. As many descriptors are open afterwards. */
static void freed_while(coil_coro coro, void (*happens)(void))
{
    coil_loop *loop = new_test_loop();
    coil_task *task;
    OK(coil_loop_create_task(loop, coro, NULL, &task));
    OK(coil_loop_call_later(loop, COIL_MS(1), stop, loop, NULL));
    OK(coil_loop_run_forever(loop));
    coil_release(task);
    happens();
    coil_loop_free(loop);
    expect_report("Task was destroyed but it is pending!", 0, "");
    TRACE_IS("-5014"); /* COIL_EGENERATOREXIT */
}

static void send_one_fd(void)
{
    char c = 'x';
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&c, 1};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    memset(&control, 0, sizeof control);
    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.align), &pair[0], sizeof(int));
    ck_assert_int_eq(sendmsg(pair[0], &message, 0), 1);
}

TEST(descriptors_that_come_while_the_loop_is_freed_are_closed)
{
    int before = open_descriptors();
    trace[0] = '\0';
    open_pair(SOCK_STREAM);
    freed_while(coil_coro_of(recv_fd_note, NULL), send_one_fd);
    close_pair();
    ck_assert_int_eq(open_descriptors(), before);
}

static int knocked_port, knocker;

static void knock(void)
{
    struct sockaddr_in a = loopback(knocked_port);
    knocker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(knocker, (struct sockaddr *)&a, sizeof a), 0);
}

TEST(a_connection_that_comes_while_the_loop_is_freed_is_closed)
{
    int before = open_descriptors(), listener = listener_of(&knocked_port);
    trace[0] = '\0';
    freed_while(coil_coro_of(accept_note, &listener), knock);
    close(knocker);
    close(listener);
    ck_assert_int_eq(open_descriptors(), before);
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static int file_of(size_t bytes)
{
    FILE *f = tmpfile();
    for (size_t i = 0; i < bytes; i++)
        putc((char)(i * 13), f);
    fflush(f);
    int fd = dup(fileno(f));
    fclose(f);
    return fd;
}

static int sent_file;
static size_t file_bytes_sent;

static int send_file(void *arg, void **result)
{
    (void)result;
    int rc = coil_sock_sendfile(pair[1], sent_file, 100, *(size_t *)arg, &file_bytes_sent);
    shutdown(pair[1], SHUT_WR);
    return rc;
}

static void receives_file(size_t count, size_t expected)
{
    static char buf[65536];
    size_t got = 0, n = 1;
    coil_task *task = spawn(coil_coro_of(send_file, &count));
    while (n > 0) {
        OK(coil_sock_recv(pair[0], buf, sizeof buf, &n));
        ck_assert(is_pattern(buf, n, 100 + got, 13));
        got += n;
    }
    OK(coil_join(task, NULL));
    ck_assert_uint_eq(got, expected);
    ck_assert_uint_eq(file_bytes_sent, expected);
}

PAIR_TEST(a_part_of_a_file_is_sent)
{
    sent_file = file_of(1000);
    receives_file(500, 500);
    ck_assert_int_eq(lseek(sent_file, 0, SEEK_CUR), 1000); /* untouched */
    close(sent_file);
}

PAIR_TEST(a_large_file_is_sent_to_its_end)
{
    sent_file = file_of(MUCH);
    receives_file(0, MUCH - 100);
    close(sent_file);
}

PAIR_TEST(a_file_that_ends_early_is_sent_as_far_as_it_goes)
{
    sent_file = file_of(1000);
    receives_file(100000, 900);
    close(sent_file);
}

PAIR_TEST(what_is_no_file_is_refused)
{
    RAISES(-EINVAL, "offset must be a non-negative integer", coil_sock_sendfile(pair[0], 0, -1, 0, NULL));
    ck_assert_int_eq(coil_sock_sendfile(pair[0], -1, 0, 0, NULL), -EBADF);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

NET_TEST(names_are_resolved)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list;
    coil_loop *loop = coil_get_running_loop();
    OK(coil_loop_getaddrinfo(loop, "localhost", "80", &hints, &list));
    coil_address a;
    OK(coil_address_of_sockaddr(list->ai_addr, list->ai_addrlen, &a));
    char buf[64];
    coil_address_format(&a, buf, sizeof buf);
    ck_assert_str_eq(buf, "127.0.0.1:80");
    freeaddrinfo(list);
    OK(coil_loop_getaddrinfo(loop, "10.1.2.3", NULL, NULL, &list));
    freeaddrinfo(list);
    hints.ai_flags = AI_NUMERICHOST;
    RAISES(-EINVAL, "localhost: Name or service not known",
           coil_loop_getaddrinfo(loop, "localhost", "80", &hints, &list));
    RAISES(-EINVAL, "port 70000 is out of range (0 to 65535)",
           coil_loop_getaddrinfo(loop, "localhost", "70000", NULL, &list));
}

static int serve_nobody(coil_stream *stream, void *arg)
{
    (void)arg;
    coil_stream_free(stream);
    return 0;
}

/* The host is blamed for what is wrong with it only. */
NET_TEST(a_port_that_is_none_is_named)
{
    static const char neither[] = "port xyz is neither a number nor a service of this type of socket";
    static const char *const hosts[] = {"127.0.0.1", "localhost", "nowhere.invalid", "", NULL};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    coil_loop *loop = coil_get_running_loop();
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        RAISES(-EINVAL, neither, coil_loop_getaddrinfo(loop, hosts[i], "xyz", &hints, &list));
    coil_stream *stream;
    coil_server *server;
    RAISES(-EINVAL, neither, coil_open_connection("localhost", "xyz", &stream));
    coil_connect_options options = {.size = sizeof options, .local_host = "127.0.0.1", .local_port = "xyz"};
    RAISES(-EINVAL, neither, coil_open_connection_with("127.0.0.1", "1", &options, &stream));
    RAISES(-EINVAL, neither, coil_start_server(serve_nobody, NULL, "127.0.0.1", "xyz", NULL, &server));
    hints.ai_flags = AI_NUMERICSERV;
    RAISES(-EINVAL, "port http is not a number", coil_loop_getaddrinfo(loop, "127.0.0.1", "http", &hints, &list));
}

NET_TEST(addresses_are_named)
{
    coil_address a;
    char host[64], service[16];
    coil_loop *loop = coil_get_running_loop();
    OK(coil_address_parse("127.0.0.1:80", &a));
    OK(coil_loop_getnameinfo(loop, &a, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV));
    ck_assert_str_eq(host, "127.0.0.1");
    ck_assert_str_eq(service, "80");
    OK(coil_loop_getnameinfo(loop, &a, NULL, 0, service, sizeof service, NI_NUMERICSERV));
    int rc = coil_loop_getnameinfo(loop, &a, host, 2, NULL, 0, NI_NUMERICHOST);
    ck_assert_int_eq(rc, -EINVAL); /* too small */
    coil_error_release(coil_catch(rc));
}

COIL_TEST_MAIN("socket")
