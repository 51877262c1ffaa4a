/*
 * test_connection.c - connections with options: happy eyeballs, local addresses, several addresses, files through
 * streams
 *
 * Names with several addresses are those of all interfaces: NULL is "::1" and "127.0.0.1" for who connects.
 */
#include "net.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>

static char port[16];

static coil_connect_options defaults(void)
{
    return (coil_connect_options){.size = sizeof(coil_connect_options)};
}

/* A server on 127.0.0.1 alone: of the two addresses of NULL the first refuses. */
static coil_server *serve_v4(void)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    return server;
}

static bool has_ipv6(void)
{
    coil_address a;
    OK(coil_address_parse("[::1]:0", &a));
    int fd = socket(AF_INET6, SOCK_STREAM, 0), rc = fd < 0 ? -1 : bind(fd, &a.any, a.bytes);
    close(fd);
    return rc == 0;
}

static void talks(coil_stream *stream)
{
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
}

NET_TEST(options_are_checked)
{
    coil_stream *s;
    coil_connect_options o = defaults();
    o.family = AF_UNIX;
    RAISES(-EINVAL, "unexpected address family", coil_open_connection_with("127.0.0.1", "1", &o, &s));
    o = defaults();
    o.happy_eyeballs_delay_ns = -1;
    RAISES(-EINVAL, "a delay that is negative", coil_open_connection_with("127.0.0.1", "1", &o, &s));
    o = defaults();
    RAISES(-EINVAL, "host and port was not specified and no sock specified",
           coil_open_connection_with(NULL, NULL, &o, &s));
    o.size = 1;
    int rc = coil_open_connection_with("127.0.0.1", "1", &o, &s);
    ck_assert_int_eq(rc, -EINVAL);
    coil_error_release(coil_catch(rc));
}

NET_TEST(the_next_address_is_tried_when_one_refuses)
{
    coil_server *server = serve_v4();
    coil_stream *stream;
    OK(coil_open_connection_with(NULL, port, NULL, &stream));
    talks(stream);
    finish_server(server);
}

NET_TEST(errors_of_all_addresses_are_told)
{
    coil_stream *stream;
    char message[200];
    int number;
    close(silent_listener(1, &number));
    snprintf(port, sizeof port, "%d", number);
    if (!has_ipv6())
        return;
    snprintf(message, sizeof message,
             "Multiple exceptions: connecting to [::1]:%s: Connection refused, "
             "connecting to 127.0.0.1:%s: Connection refused",
             port, port);
    RAISES(-ECONNREFUSED, message, coil_open_connection_with(NULL, port, NULL, &stream));
    coil_connect_options o = defaults();
    o.happy_eyeballs_delay_ns = COIL_MS(250);
    RAISES(-ECONNREFUSED, message, coil_open_connection_with(NULL, port, &o, &stream));
    o.family = AF_INET;
    snprintf(message, sizeof message, "connecting to 127.0.0.1:%s: Connection refused", port);
    RAISES(-ECONNREFUSED, message, coil_open_connection_with(NULL, port, &o, &stream));
}

NET_TEST(a_refusal_starts_the_next_of_a_race_at_once)
{
    coil_server *server = serve_v4();
    coil_stream *stream;
    coil_connect_options o = defaults();
    o.happy_eyeballs_delay_ns = COIL_FOREVER;
    OK(coil_open_connection_with(NULL, port, &o, &stream));
    talks(stream);
    finish_server(server);
    ck_assert_int_eq(now_ms(), 0);
}

/* A listener on [::1] that never accepts, with its queue full: connecting there takes for ever. */
static int deaf_listener(const char *number, int *fillers, size_t count)
{
    coil_address a;
    OK(coil_address_of_ip("::1", (unsigned)atoi(number), &a));
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    ck_assert_int_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), 0);
    ck_assert_int_eq(bind(fd, &a.any, a.bytes), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    for (size_t i = 0; i < count; i++) {
        fillers[i] = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], &a.any, a.bytes);
    }
    return fd;
}

NET_TEST(a_race_goes_on_with_the_next_address_after_the_delay)
{
    enum { FILLERS = 4 };
    int fillers[FILLERS];
    if (!has_ipv6())
        return;
    coil_server *server = serve_v4();
    coil_stream *stream;
    int deaf = deaf_listener(port, fillers, FILLERS);
    coil_connect_options o = defaults();
    o.happy_eyeballs_delay_ns = COIL_MS(250);
    OK(coil_open_connection_with(NULL, port, &o, &stream));
    ck_assert_int_eq(now_ms(), 250);
    char name[64];
    coil_stream_peername(stream, name, sizeof name);
    ck_assert_mem_eq(name, "127.0.0.1:", 10);
    talks(stream);
    finish_server(server);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(deaf);
}

static int open_body(void *arg, void **result)
{
    coil_stream *stream;
    (void)result;
    int rc = coil_open_connection_with(NULL, port, arg, &stream);
    if (rc == 0)
        coil_stream_free(stream);
    return rc;
}

NET_TEST(cancelling_a_race_closes_all_sockets)
{
    enum { FILLERS = 4 };
    int fillers[FILLERS];
    if (!has_ipv6())
        return;
    coil_server *server = serve_v4();
    int deaf = deaf_listener(port, fillers, FILLERS);
    coil_connect_options o = defaults();
    o.happy_eyeballs_delay_ns = COIL_MS(250);
    o.family = AF_INET6;
    int before = open_descriptors();
    coil_task *task = spawn(coil_coro_of(open_body, &o));
    turns(4);
    coil_task_cancel(task, "enough");
    RAISES(-ECANCELED, "enough", coil_join(task, NULL));
    ck_assert_int_eq(open_descriptors(), before);
    finish_server(server);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
    close(deaf);
}

NET_TEST(a_connection_comes_from_the_local_address)
{
    coil_server *server = serve_v4();
    coil_stream *stream;
    coil_connect_options o = defaults();
    char name[64];
    o.local_host = "127.0.0.7";
    OK(coil_open_connection_with("127.0.0.1", port, &o, &stream));
    coil_stream_sockname(stream, name, sizeof name);
    ck_assert_mem_eq(name, "127.0.0.7:", 10);
    talks(stream);
    o.local_host = "192.0.2.1";
    RAISES(-EADDRNOTAVAIL, "error while attempting to bind on address 192.0.2.1:0: cannot assign requested address",
           coil_open_connection_with("127.0.0.1", port, &o, &stream));
    o.local_host = "::1";
    RAISES(-EADDRNOTAVAIL, "no matching local address with family=AF_INET found",
           coil_open_connection_with("127.0.0.1", port, &o, &stream));
    finish_server(server);
}

enum { RACERS = 24 };

static int race_and_talk(void *arg, void **result)
{
    coil_stream *stream;
    coil_connect_options o = defaults();
    (void)arg;
    (void)result;
    o.happy_eyeballs_delay_ns = 1; /* all at once: some lose after having connected */
    OK(coil_open_connection_with(NULL, port, &o, &stream));
    talks(stream);
    return 0;
}

static void race_on_workers(void)
{
    coil_coro racers[RACERS];
    coil_server *server; /* on all addresses */
    coil_server_options o = {.size = sizeof o, .dual_stack = true};
    OK(coil_start_server(echo, NULL, NULL, "0", &o, &server));
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    for (size_t i = 0; i < RACERS; i++)
        racers[i] = coil_coro_of(race_and_talk, NULL);
    OK(coil_gather_await(racers, RACERS, NULL));
    finish_server(server);
}

TEST(races_are_run_by_several_workers)
{
    struct test_body body = {race_on_workers};
    int before = open_descriptors();
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = 4,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

/* --- options of sockets ----------------------------------------------------------------------------------------- */

/* The last descriptor of a connection with this peer. */
static int find_socket(int peer_port)
{
    for (int fd = 0; fd < 64; fd++) {
        coil_address a;
        int rc = coil_address_of_peer(fd, &a);
        if (rc == 0 && coil_address_port(&a) == peer_port)
            return fd;
        coil_error_release(coil_catch(rc));
    }
    return -1;
}

static int port_after_colon(const char *name)
{
    return atoi(strrchr(name, ':') + 1);
}

NET_TEST(options_reach_both_ends)
{
    coil_server_options so = {
        .size = sizeof so,
        .socket = {.keepalive = true, .keepalive_idle_s = 77, .linger = true, .linger_s = 3},
    };
    coil_connect_options co = defaults();
    coil_server *server = listen_with(echo, NULL, &so);
    coil_stream *stream;
    char name[64];
    co.socket = (coil_socket_options){.delay = true, .keepalive = true, .keepalive_probes = 5};
    co.socket.keepalive_interval_s = 6;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    OK(coil_open_connection_with("127.0.0.1", port, &co, &stream));
    writes(stream, "x\n");
    reads_line(stream, "x\n");
    int client = find_socket(coil_server_port(server));
    ck_assert_int_eq(socket_option(client, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(socket_option(client, IPPROTO_TCP, TCP_KEEPCNT), 5);
    ck_assert_int_eq(socket_option(client, IPPROTO_TCP, TCP_KEEPINTVL), 6);
    coil_stream_sockname(stream, name, sizeof name);
    int served = find_socket(port_after_colon(name));
    ck_assert_int_ne(socket_option(served, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_ne(socket_option(served, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_eq(socket_option(served, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    struct linger linger;
    socklen_t size = sizeof linger;
    ck_assert_int_eq(getsockopt(served, SOL_SOCKET, SO_LINGER, &linger, &size), 0);
    ck_assert(linger.l_onoff && linger.l_linger == 3);
    finish(stream);
    finish_server(server);
    so.socket.keepalive_idle_s = 1 << 20;
    RAISES(-EINVAL, "setsockopt: invalid argument", coil_start_server(echo, NULL, "127.0.0.1", "0", &so, &server));
}

/* --- files ------------------------------------------------------------------------------------------------------ */

enum { FILE_BYTES = 1000003 };

static int send_a_file(coil_stream *stream, void *arg)
{
    size_t sent;
    writes(stream, "file\n");
    OK(coil_stream_sendfile(stream, *(int *)arg, 3, 0, &sent));
    ck_assert_uint_eq(sent, FILE_BYTES - 3);
    finish(stream);
    return 0;
}

NET_TEST(a_file_is_sent_through_a_stream)
{
    FILE *f = tmpfile();
    for (size_t i = 0; i < FILE_BYTES; i++)
        putc((char)(i * 11), f);
    fflush(f);
    int fd = fileno(f);
    coil_server *server = listen_with(send_a_file, &fd, NULL);
    coil_stream *stream = connect_to(server);
    char *data;
    size_t n;
    reads_line(stream, "file\n");
    OK(coil_stream_read_all(stream, &data, &n));
    ck_assert_uint_eq(n, FILE_BYTES - 3);
    bool same = true;
    for (size_t i = 0; i < n; i++)
        same &= data[i] == (char)((i + 3) * 11);
    ck_assert(same);
    free(data);
    RAISES(-EINVAL, "offset must be a non-negative integer", coil_stream_sendfile(stream, fd, -1, 0, NULL));
    finish(stream);
    finish_server(server);
    fclose(f);
}

COIL_TEST_MAIN("connection")
