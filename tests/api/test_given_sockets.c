/*
 * test_given_sockets.c - sockets that the program brings along: asyncio's `sock`
 *
 * Bound, listening, with clients that knocked before there was a server, inherited by another process; what is refused.
 */
#include "net.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

/* A TCP socket of the loopback interface that is bound, and blocks. */
static int bound_socket(void)
{
    struct sockaddr_in a = loopback(0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int client_of(int port)
{
    struct sockaddr_in a = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* What a blocking client is sent back in the end. */
static void hears(int fd, const char *text)
{
    char buf[64] = "";
    size_t n = 0;
    while (n < strlen(text)) {
        ssize_t got = recv(fd, buf + n, sizeof buf - 1 - n, MSG_DONTWAIT);
        ck_assert(got > 0 || (got < 0 && errno == EAGAIN));
        if (got > 0)
            n += (size_t)got;
        else
            OK(coil_sleep(COIL_MS(1)));
    }
    ck_assert_str_eq(buf, text);
    close(fd);
}

static void says(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* --- a protocol that sends everything back ------------------------------------------------------------------------ */

static atomic_int made, lost;

static int echo_made(coil_transport *t, void *arg)
{
    (void)t;
    (void)arg;
    atomic_fetch_add(&made, 1);
    return 0;
}

static int echo_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    (void)arg;
    return coil_transport_write(t, data, n);
}

static void echo_lost(coil_transport *t, coil_error *error, void *arg)
{
    (void)t;
    (void)error;
    (void)arg;
    atomic_fetch_add(&lost, 1);
}

static const coil_protocol echo_protocol = {
    .connection_made = echo_made,
    .data_received = echo_data,
    .connection_lost = echo_lost,
};

static int make_echo(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    *protocol = &echo_protocol;
    *arg = factory_arg;
    return 0;
}

static void start(bool with_protocols, int fd, const coil_server_options *o, coil_server **server)
{
    if (with_protocols)
        OK(coil_create_server_on(make_echo, NULL, fd, o, server));
    else
        OK(coil_start_server_on(echo, NULL, fd, o, server));
}

/* --- servers ------------------------------------------------------------------------------------------------------ */

NET_TEST(a_bound_socket_becomes_a_server)
{
    for (int protocols = 0; protocols < 2; protocols++) {
        int fd = bound_socket(), same;
        coil_server *server;
        start(protocols, fd, NULL, &server);
        ck_assert_uint_eq(coil_server_sockets(server, &same, 1), 1);
        ck_assert_int_eq(same, fd);
        int client = client_of(coil_server_port(server));
        says(client, "hello");
        hears(client, "hello");
        finish_server(server);
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* it was the server's */
    }
    ck_assert_int_eq(atomic_load(&made), 1);
    ck_assert_int_eq(atomic_load(&lost), 1);
}

NET_TEST(clients_that_knocked_before_there_was_a_server_are_served)
{
    for (int protocols = 0; protocols < 2; protocols++) {
        int port, fd = silent_listener(8, &port), clients[4];
        coil_server *server;
        for (int i = 0; i < 4; i++) {
            clients[i] = client_of(port);
            says(clients[i], "early");
        }
        start(protocols, fd, NULL, &server);
        ck_assert_int_eq(coil_server_port(server), port);
        for (int i = 0; i < 4; i++)
            hears(clients[i], "early");
        finish_server(server);
    }
}

NET_TEST(a_unix_socket_becomes_a_server_of_protocols_with_their_options)
{
    coil_server_options o = {.size = sizeof o, .socket.send_buffer_bytes = 32 * 1024};
    coil_address a;
    coil_server *server;
    coil_stream *s;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    OK(coil_address_of_path(abstract_name(), &a));
    ck_assert_int_eq(bind(fd, &a.any, a.bytes), 0);
    OK(coil_create_server_on(make_echo, NULL, fd, &o, &server));
    ck_assert_int_eq(coil_server_port(server), -1);
    OK(coil_open_unix_connection(abstract_name(), NULL, &s));
    writes(s, "hello\n");
    reads_line(s, "hello\n");
    finish(s);
    finish_server(server);
}

/* Two servers on one open socket, as of two processes that inherited it: whoever is asked first serves. */
NET_TEST(a_socket_may_be_shared_with_others_who_accept)
{
    int port, fd = silent_listener(64, &port), clients[20];
    coil_server *one, *other;
    int shared = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    start(false, fd, NULL, &one);
    start(true, shared, NULL, &other);
    for (int i = 0; i < 20; i++) {
        clients[i] = client_of(port);
        says(clients[i], "whoever");
    }
    for (int i = 0; i < 20; i++)
        hears(clients[i], "whoever");
    finish_server(one);
    int client = client_of(port); /* the other one goes on */
    says(client, "still");
    hears(client, "still");
    finish_server(other);
}

/* One of two servers closes then: it neither takes the connection along, nor is it the only one that is told. */
NET_TEST(who_connects_as_one_of_those_who_share_the_socket_closes_is_served)
{
    for (int i = 0; i < 40; i++) {
        int port, fd = silent_listener(64, &port), client;
        coil_server *one, *other;
        int shared = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        start(i % 2, fd, NULL, &one);
        start(i % 2, shared, NULL, &other);
        turns(1);
        coil_server_close(i % 4 < 2 ? one : other);
        client = client_of(port);
        says(client, "just now");
        hears(client, "just now");
        finish_server(one);
        finish_server(other);
    }
}

NET_TEST(a_closed_server_accepts_nobody_any_more)
{
    int port, fd = silent_listener(64, &port), client;
    char c;
    coil_server *server;
    start(true, fd, NULL, &server);
    turns(1);
    coil_server_close(server);
    client = client_of(port); /* in the backlog */
    finish_server(server);
    ck_assert_int_le(recv(client, &c, 1, 0), 0);
    ck_assert_int_eq(atomic_load(&made), 0);
    close(client);
}

static coil_event *served;

static int echo_once(coil_stream *stream, void *arg)
{
    int rc = echo(stream, arg);
    coil_event_set(served);
    return rc;
}

static int inherited;

/* The other process's part: it serves one connection. */
static void serve_inherited(void)
{
    coil_server *server;
    OK(coil_event_new(&served));
    OK(coil_start_server_on(echo_once, NULL, inherited, NULL, &server));
    OK(coil_event_wait(served));
    finish_server(server);
    coil_event_free(served);
}

TEST(an_inherited_listening_socket_becomes_a_server)
{
    int port, status, client;
    char buf[16] = "";
    inherited = silent_listener(8, &port);
    client = client_of(port);
    says(client, "from before");
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(client);
        run_as_task(serve_inherited);
        _exit(0);
    }
    close(inherited);
    ck_assert_int_eq(recv(client, buf, 11, MSG_WAITALL), 11);
    ck_assert_str_eq(buf, "from before");
    close(client);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

/* --- several workers ---------------------------------------------------------------------------------------------- */

enum { WORKERS = 4, CLIENTS = 60 };

/* How many connections began on each worker, which is a thread. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    pthread_t thread;
    int connections;
} workers[WORKERS];
static int worker_count;

static int counted_made(coil_transport *t, void *arg)
{
    int i = 0;
    pthread_mutex_lock(&mutex);
    while (i < worker_count && !pthread_equal(workers[i].thread, pthread_self()))
        i++;
    ck_assert_int_lt(i, WORKERS);
    if (i == worker_count)
        workers[worker_count++].thread = pthread_self();
    workers[i].connections++;
    pthread_mutex_unlock(&mutex);
    return echo_made(t, arg);
}

static int make_counted(void *factory_arg, const coil_protocol **protocol, void **arg)
{
    static const coil_protocol counted = {
        .connection_made = counted_made,
        .data_received = echo_data,
        .connection_lost = echo_lost,
    };
    *protocol = &counted;
    *arg = factory_arg;
    return 0;
}

static int talk(void *arg, void **result)
{
    coil_stream *s = connect_to(arg);
    (void)result;
    for (int i = 0; i < 20; i++) {
        writes(s, "again\n");
        reads_line(s, "again\n");
    }
    finish(s);
    return 0;
}

static void serve_on_workers(void)
{
    coil_server_options o = {.size = sizeof o, .per_worker = true, .reuse_port = true};
    int fd = bound_socket(), on = -1, fds[8];
    socklen_t size = sizeof on;
    coil_coro clients[CLIENTS];
    coil_server *server;
    atomic_store(&made, 0);
    atomic_store(&lost, 0);
    OK(coil_create_server_on(make_counted, NULL, fd, &o, &server));
    ck_assert_uint_eq(coil_server_sockets(server, fds, 8), 1); /* whatever the options say */
    ck_assert_int_eq(fds[0], fd);
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &size), 0);
    ck_assert_int_eq(on, 0);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = coil_coro_of(talk, server);
    OK(coil_gather_await(clients, CLIENTS, NULL));
    finish_server(server);
    ck_assert_int_eq(atomic_load(&made), CLIENTS);
    ck_assert_int_eq(atomic_load(&lost), CLIENTS);
    for (int i = 0; i < WORKERS; i++) /* handed to all in turn */
        ck_assert_int_eq(workers[i].connections, CLIENTS / WORKERS);
}

TEST(the_workers_of_a_runtime_share_the_one_socket)
{
    struct test_body body = {serve_on_workers};
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = WORKERS,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    int before = open_descriptors();
    OK(coil_runtime_run(&o, coil_coro_of(run_test_body, &body), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

NET_TEST(a_socket_that_the_program_has_connected_becomes_a_connection)
{
    coil_server *server = listen_with(echo, NULL, NULL);
    coil_stream *s;
    int on = -1, fd = plain_client(server);
    socklen_t size = sizeof on;
    OK(coil_open_connection_on(fd, NULL, &s));
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    ck_assert_int_eq(on, 1); /* as of those that coil has connected */
    writes(s, "mine\n");
    reads_line(s, "mine\n");
    finish(s);
    finish_server(server);
}

/* --- what is refused ---------------------------------------------------------------------------------------------- */

/* The message of asyncio, with the descriptor @fd that was taken. */
static const char *expected(const char *what, int fd, const char *kind)
{
    static char text[128];
    snprintf(text, sizeof text, "A %s was expected, got descriptor %d (%s)", what, fd, kind);
    return text;
}

/* A descriptor of each kind that no server, connection or endpoint takes: kinds[i]. */
static const char *const kinds[] = {"SOCK_DGRAM", "SOCK_SEQPACKET", "no socket"};

static int of_kind(int i)
{
    if (i == 2)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    return socket(AF_UNIX, (i == 0 ? SOCK_DGRAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0);
}

NET_TEST(what_is_no_stream_socket_is_refused_and_closed)
{
    static const char stream[] = "Stream Socket";
    coil_server *server = NULL;
    coil_stream *s = NULL;
    coil_transport *t = NULL;
    for (int i = 0; i < 3; i++) {
        int fd = of_kind(i);
        RAISES(-EINVAL, expected(stream, fd, kinds[i]), coil_start_server_on(echo, NULL, fd, NULL, &server));
        fd = of_kind(i);
        RAISES(-EINVAL, expected(stream, fd, kinds[i]), coil_create_server_on(make_echo, NULL, fd, NULL, &server));
        fd = of_kind(i);
        RAISES(-EINVAL, expected(stream, fd, kinds[i]), coil_open_connection_on(fd, NULL, &s));
        fd = of_kind(i);
        RAISES(-EINVAL, expected(stream, fd, kinds[i]),
               coil_connect_accepted_socket(&echo_protocol, NULL, fd, NULL, &t));
    }
    ck_assert(!server && !s && !t);
}

NET_TEST(what_is_no_datagram_socket_is_refused_and_closed)
{
    static const char udp[] = "UDP Socket";
    static const coil_datagram_protocol nothing;
    coil_datagram *d = NULL;
    coil_datagram_transport *t = NULL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    RAISES(-EINVAL, expected(udp, fd, "SOCK_STREAM"), coil_datagram_open_on(fd, &d));
    for (int i = 1; i < 3; i++) {
        fd = of_kind(i);
        RAISES(-EINVAL, expected(udp, fd, kinds[i]), coil_create_datagram_endpoint_on(&nothing, NULL, fd, &t));
    }
    ck_assert(!d && !t);
}

NET_TEST(a_descriptor_that_is_not_open_is_refused)
{
    coil_server *server = NULL;
    coil_stream *s = NULL;
    RAISES(-EBADF, "Stream Socket: Bad file descriptor", coil_create_server_on(make_echo, NULL, 9999, NULL, &server));
    RAISES(-EBADF, "Stream Socket: Bad file descriptor", coil_start_server_on(echo, NULL, -1, NULL, &server));
    RAISES(-EBADF, "Stream Socket: Bad file descriptor", coil_open_connection_on(9999, NULL, &s));
    ck_assert(!server && !s);
}

NET_TEST(a_connected_socket_cannot_listen)
{
    int ends[2];
    coil_server *server = NULL;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert_int_eq(coil_create_server_on(make_echo, NULL, ends[0], NULL, &server), -EINVAL);
    ck_assert_ptr_null(server);
    close(ends[1]);
}

NET_TEST(options_that_make_no_sense_close_the_socket_too)
{
    coil_server_options o = {.size = sizeof o, .backlog = -1};
    coil_server *server = NULL;
    RAISES(-EINVAL, "a backlog of -1", coil_create_server_on(make_echo, NULL, bound_socket(), &o, &server));
    RAISES(-EINVAL, "a backlog of -1", coil_start_server_on(echo, NULL, bound_socket(), &o, &server));
    ck_assert_ptr_null(server);
}

COIL_TEST_MAIN("given_sockets")
