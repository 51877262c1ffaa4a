/*
 * test_dgram.c - datagrams: sockets for tasks, and endpoints that call a protocol
 */
#include "net.h"

#include <stdatomic.h>
#include <sys/socket.h>

static coil_datagram *open_local(void)
{
    coil_datagram_options o = {.size = sizeof o, .local_host = "127.0.0.1"};
    coil_datagram *d;
    OK(coil_datagram_open(&o, &d));
    return d;
}

static coil_datagram *open_to(const coil_datagram *peer)
{
    char port[8];
    coil_address a;
    coil_datagram *d;
    coil_datagram_address(peer, &a);
    snprintf(port, sizeof port, "%d", coil_address_port(&a));
    coil_datagram_options o = {.size = sizeof o, .remote_host = "127.0.0.1", .remote_port = port};
    OK(coil_datagram_open(&o, &d));
    return d;
}

/* --- for tasks -------------------------------------------------------------------------------------------------- */

NET_TEST(datagrams_come_and_go)
{
    coil_datagram *server = open_local(), *client = open_to(server);
    coil_address from, self;
    char buf[16];
    size_t n;
    OK(coil_datagram_send(client, "question", 8, NULL));
    OK(coil_datagram_recv(server, buf, sizeof buf, &from, &n));
    ck_assert_uint_eq(n, 8);
    coil_datagram_address(client, &self);
    ck_assert(coil_address_equal(&from, &self));
    OK(coil_datagram_send(server, "answer", 6, &from));
    OK(coil_datagram_recv(client, buf, sizeof buf, NULL, &n));
    ck_assert_uint_eq(n, 6);
    coil_datagram_close(client);
    coil_datagram_close(server);
    coil_datagram_close(NULL);
}

static int recv_body(void *arg, void **result)
{
    char buf[16];
    size_t n;
    (void)result;
    int rc = coil_datagram_recv(arg, buf, sizeof buf, NULL, &n);
    note("%d", rc);
    return rc;
}

NET_TEST(a_cancelled_receiver_loses_no_datagram)
{
    coil_datagram *server = open_local(), *client = open_to(server);
    coil_task *task = spawn(coil_coro_of(recv_body, server));
    turns(2);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    OK(coil_datagram_send(client, "x", 1, NULL));
    OK(coil_join(spawn(coil_coro_of(recv_body, server)), NULL));
    TRACE_IS("-125 0");
    coil_datagram_close(client);
    coil_datagram_close(server);
}

NET_TEST(what_the_network_reports_is_raised_once)
{
    coil_datagram *server = open_local(), *client = open_to(server);
    char c;
    size_t n;
    coil_datagram_close(server);
    OK(coil_datagram_send(client, "x", 1, NULL));
    RAISES(-ECONNREFUSED, "receiving a datagram: Connection refused", coil_datagram_recv(client, &c, 1, NULL, &n));
    coil_datagram_close(client);
}

NET_TEST(options_that_make_no_sense_are_refused)
{
    coil_datagram *d;
    coil_datagram_options o = {.size = sizeof o};
    RAISES(-EINVAL, "unexpected address family", coil_datagram_open(NULL, &d));
    RAISES(-EINVAL, "unexpected address family", coil_datagram_open(&o, &d));
    o = (coil_datagram_options){.size = sizeof o, .family = AF_UNIX, .local_port = "1"};
    RAISES(-EINVAL, "Unix sockets have no ports", coil_datagram_open(&o, &d));
    o = (coil_datagram_options){.size = sizeof o, .local_host = "127.0.0.1", .remote_host = "::1", .remote_port = "9"};
    RAISES(-EINVAL, "can not get address information", coil_datagram_open(&o, &d));
    o = (coil_datagram_options){.size = sizeof o, .local_host = "192.0.2.1", .local_port = "9"};
    RAISES(-EADDRNOTAVAIL, "binding to 192.0.2.1:9: Cannot assign requested address", coil_datagram_open(&o, &d));
    o.size = 3;
    int rc = coil_datagram_open(&o, &d);
    ck_assert_int_eq(rc, -EINVAL);
    coil_error_release(coil_catch(rc));
}

NET_TEST(unix_sockets_have_datagrams_too)
{
    char path[64], buf[8];
    size_t n;
    coil_address from;
    coil_datagram *one, *two;
    snprintf(path, sizeof path, "/tmp/coil-dgram-%d", (int)getpid());
    coil_datagram_options o = {.size = sizeof o, .family = AF_UNIX, .local_host = path};
    OK(coil_datagram_open(&o, &one));
    coil_datagram_close(one);
    OK(coil_datagram_open(&o, &one)); /* although the file is there */
    o.local_host = abstract_name();
    o.remote_host = path;
    OK(coil_datagram_open(&o, &two));
    OK(coil_datagram_send(two, "hi", 2, NULL));
    OK(coil_datagram_recv(one, buf, sizeof buf, &from, &n));
    ck_assert_uint_eq(n, 2);
    char name[32];
    coil_address_format(&from, name, sizeof name);
    ck_assert_str_eq(name, abstract_name());
    coil_datagram_close(one);
    coil_datagram_close(two);
    unlink(path);
}

/* --- several at a time ------------------------------------------------------------------------------------------ */

static coil_datagram *open_joining(void)
{
    coil_datagram_options o = {.size = sizeof o, .local_host = "127.0.0.1", .gro = true};
    coil_datagram *d;
    OK(coil_datagram_open(&o, &d));
    return d;
}

NET_TEST(segments_are_sent_and_received)
{
    static char data[10050], got[65536];
    coil_datagram *server = open_joining(), *client = open_to(server);
    size_t n, segment, sent, total = 0;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 3);
    RAISES(COIL_ERUNTIME, "with gro there may be several datagrams: coil_datagram_recv_segments()",
           coil_datagram_recv(server, got, sizeof got, NULL, &n));
    OK(coil_datagram_send_segments(client, data, sizeof data, 1000, NULL, &sent));
    ck_assert_uint_eq(sent, sizeof data);
    while (total < sizeof data) {
        OK(coil_datagram_recv_segments(server, got, sizeof got, NULL, &n, &segment));
        ck_assert(segment == 1000 || (segment == n && n == 50));
        ck_assert_mem_eq(got, data + total, n);
        total += n;
    }
    RAISES(-EINVAL, "datagrams of 0 bytes", coil_datagram_send_segments(client, data, 1, 0, NULL, NULL));
    coil_datagram_close(client);
    coil_datagram_close(server);
}

NET_TEST(segments_are_datagrams_between_unix_sockets_too)
{
    int pair[2];
    char buf[10];
    coil_datagram *one, *two;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    OK(coil_datagram_open_on(pair[0], &one));
    OK(coil_datagram_open_on(pair[1], &two));
    OK(coil_datagram_send_segments(one, "aabbc", 5, 2, NULL, NULL));
    for (size_t i = 0; i < 3; i++) {
        size_t n;
        OK(coil_datagram_recv(two, buf, sizeof buf, NULL, &n));
        ck_assert_uint_eq(n, i < 2 ? 2 : 1);
        ck_assert_mem_eq(buf, &"aabbc"[2 * i], n);
    }
    coil_datagram_close(one);
    coil_datagram_close(two);
}

NET_TEST(segments_arrive_as_datagrams_where_nobody_joins_them)
{
    char data[450], buf[1000];
    coil_datagram *server = open_local(), *client = open_to(server);
    memset(data, 'x', sizeof data);
    OK(coil_datagram_send_segments(client, data, sizeof data, 100, NULL, NULL));
    for (size_t i = 0; i < 5; i++) {
        size_t n;
        OK(coil_datagram_recv(server, buf, sizeof buf, NULL, &n));
        ck_assert_uint_eq(n, i < 4 ? 100 : 50);
    }
    coil_datagram_close(client);
    coil_datagram_close(server);
}

/* --- protocols -------------------------------------------------------------------------------------------------- */

typedef struct endpoint {
    coil_datagram_transport *transport;
    coil_event *something;
    size_t datagrams, bytes;
    bool echoes;
} endpoint;

static void made(coil_datagram_transport *transport, void *arg)
{
    (void)transport;
    (void)arg;
    note("made");
}

static void received(coil_datagram_transport *transport, const void *data, size_t n, const coil_address *from,
                     void *arg)
{
    endpoint *e = arg;
    e->datagrams++;
    e->bytes += n;
    if (e->echoes)
        OK(coil_datagram_transport_sendto(transport, data, n, from));
    else
        note("%.*s", (int)n, (const char *)data);
    coil_event_set(e->something);
}

static void failed(coil_datagram_transport *transport, coil_error *error, void *arg)
{
    (void)transport;
    note("error %d", coil_error_code(error));
    coil_event_set(((endpoint *)arg)->something);
}

static void paused(coil_datagram_transport *transport, void *arg)
{
    (void)transport;
    (void)arg;
    note("pause");
}

static void resumed(coil_datagram_transport *transport, void *arg)
{
    (void)transport;
    note("resume");
    coil_event_set(((endpoint *)arg)->something);
}

static void lost(coil_datagram_transport *transport, coil_error *error, void *arg)
{
    (void)transport;
    note("lost %d", coil_error_code(error));
    coil_event_set(((endpoint *)arg)->something);
}

static const coil_datagram_protocol protocol = {made, received, failed, paused, resumed, lost};

static void open_endpoint(endpoint *e, const coil_datagram_options *o)
{
    OK(coil_event_new(&e->something));
    OK(coil_create_datagram_endpoint(&protocol, e, o, &e->transport));
}

/* On one end of a pair of sockets; returns the other. */
static int open_on_pair(endpoint *e)
{
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    OK(coil_event_new(&e->something));
    OK(coil_create_datagram_endpoint_on(&protocol, e, ends[0], &e->transport));
    return ends[1];
}

static void something_happens(endpoint *e)
{
    OK(coil_event_wait(e->something));
    coil_event_clear(e->something);
}

static void close_endpoint(endpoint *e)
{
    coil_datagram_transport_close(e->transport);
    turns(3);
    coil_datagram_transport_free(e->transport);
    coil_event_free(e->something);
}

static void port_of(const endpoint *e, char *port, size_t size)
{
    coil_address a;
    OK(coil_address_of_socket(coil_datagram_transport_fd(e->transport), &a));
    snprintf(port, size, "%d", coil_address_port(&a));
}

NET_TEST(an_endpoint_calls_its_protocol)
{
    endpoint server = {.echoes = true}, client = {.echoes = false};
    char port[8];
    open_endpoint(&server, &(coil_datagram_options){.size = sizeof(coil_datagram_options), .local_host = "127.0.0.1"});
    port_of(&server, port, sizeof port);
    coil_datagram_options o = {.size = sizeof o, .remote_host = "127.0.0.1", .remote_port = port};
    open_endpoint(&client, &o);
    OK(coil_datagram_transport_sendto(client.transport, "", 0, NULL));
    OK(coil_datagram_transport_sendto(client.transport, "hello", 5, NULL));
    something_happens(&client);
    ck_assert_uint_eq(server.datagrams, 1);
    close_endpoint(&client);
    close_endpoint(&server);
    TRACE_IS("made made hello lost 0 lost 0");
}

NET_TEST(an_endpoint_with_a_peer_sends_to_nobody_else)
{
    endpoint e = {.echoes = false};
    coil_address other;
    coil_datagram_options o = {.size = sizeof o, .remote_host = "127.0.0.1", .remote_port = "9"};
    open_endpoint(&e, &o);
    OK(coil_address_parse("127.0.0.1:10", &other));
    RAISES(-EINVAL, "Invalid address: must be None or 127.0.0.1:9",
           coil_datagram_transport_sendto(e.transport, "x", 1, &other));
    OK(coil_datagram_transport_sendto(e.transport, "x", 1, NULL));
    something_happens(&e); /* nobody listens there */
    close_endpoint(&e);
    TRACE_IS("made error -111 lost 0");
}

NET_TEST(an_endpoint_buffers_and_tells_its_protocol_to_pause)
{
    static char data[4000];
    endpoint e = {.echoes = false};
    int peer = open_on_pair(&e), sent = 0;
    RAISES(-EINVAL, "high (1) must be >= low (2) must be >= 0",
           coil_datagram_transport_set_write_limits(e.transport, 1, 2));
    OK(coil_datagram_transport_set_write_limits(e.transport, 8000, 1000));
    for (; !strstr(trace, "pause"); sent++) {
        data[0] = (char)sent;
        OK(coil_datagram_transport_sendto(e.transport, data, sizeof data, NULL));
    }
    ck_assert_uint_eq(coil_datagram_transport_get_write_buffer_size(e.transport), 12000);
    for (int i = 0; i < sent; i++) {
        while (recv(peer, data, sizeof data, 0) != sizeof data)
            turns(1);
        ck_assert_int_eq(data[0], (char)i);
    }
    something_happens(&e);
    close_endpoint(&e);
    close(peer);
    TRACE_IS("made pause resume lost 0");
}

NET_TEST(lower_limits_pause_an_endpoint_at_once_and_higher_ones_do_not_resume_it)
{
    static char data[4000];
    endpoint e = {.echoes = false};
    int peer = open_on_pair(&e);
    OK(coil_datagram_transport_set_write_limits(e.transport, 0, 0)); /* there is nothing yet */
    OK(coil_datagram_transport_set_write_limits(e.transport, 64 * 1024, 0));
    while (coil_datagram_transport_get_write_buffer_size(e.transport) < 2 * sizeof data)
        OK(coil_datagram_transport_sendto(e.transport, data, sizeof data, NULL));
    OK(coil_datagram_transport_set_write_limits(e.transport, 2 * sizeof data, 0));
    TRACE_IS("made");
    OK(coil_datagram_transport_set_write_limits(e.transport, 2 * sizeof data - 1, 0));
    TRACE_IS("pause");
    OK(coil_datagram_transport_set_write_limits(e.transport, 100, 10));
    OK(coil_datagram_transport_set_write_limits(e.transport, 64 * 1024, 16 * 1024));
    TRACE_IS("");
    while (!strstr(trace, "resume")) {
        while (recv(peer, data, sizeof data, 0) == sizeof data)
            continue;
        turns(1);
    }
    close_endpoint(&e);
    close(peer);
    TRACE_IS("resume lost 0");
}

/* What could not be sent is gone, so there is room. */
NET_TEST(an_endpoint_resumes_when_the_last_that_is_buffered_cannot_be_sent)
{
    static char data[4000];
    endpoint e = {.echoes = false};
    int peer = open_on_pair(&e);
    OK(coil_datagram_transport_set_write_limits(e.transport, 10, 5));
    while (coil_datagram_transport_get_write_buffer_size(e.transport) == 0)
        OK(coil_datagram_transport_sendto(e.transport, data, sizeof data, NULL));
    close(peer);
    while (!strstr(trace, "resume"))
        turns(1);
    ck_assert_uint_eq(coil_datagram_transport_get_write_buffer_size(e.transport), 0);
    close_endpoint(&e);
    ck_assert_ptr_nonnull(strstr(trace, "made pause "));
    trace[0] = '\0';
}

NET_TEST(closing_sends_what_is_buffered_and_aborting_does_not)
{
    for (int aborts = 0; aborts < 2; aborts++) {
        static char data[4000];
        endpoint e = {.echoes = false};
        int peer = open_on_pair(&e), got = 0, sent = 0;
        for (; coil_datagram_transport_get_write_buffer_size(e.transport) < 3 * sizeof data; sent++)
            OK(coil_datagram_transport_sendto(e.transport, data, sizeof data, NULL));
        if (aborts)
            coil_datagram_transport_abort(e.transport);
        else
            coil_datagram_transport_close(e.transport);
        ck_assert(coil_datagram_transport_is_closing(e.transport));
        OK(coil_datagram_transport_sendto(e.transport, "late", 4, NULL)); /* dropped */
        while (!strstr(trace, "lost")) {
            while (recv(peer, data, sizeof data, 0) == sizeof data)
                got++;
            turns(1);
        }
        while (recv(peer, data, sizeof data, 0) == sizeof data)
            got++;
        ck_assert_int_eq(got, aborts ? sent - 3 : sent);
        ck_assert_int_eq(coil_datagram_transport_fd(e.transport), -1);
        coil_datagram_transport_free(e.transport);
        coil_event_free(e.something);
        close(peer);
        TRACE_IS("made lost 0");
    }
}

NET_TEST(nothing_is_called_after_a_paused_endpoint_is_lost)
{
    static char data[4000];
    endpoint e = {.echoes = false};
    int peer = open_on_pair(&e);
    OK(coil_datagram_transport_set_write_limits(e.transport, 8000, 1000));
    while (!strstr(trace, "pause"))
        OK(coil_datagram_transport_sendto(e.transport, data, sizeof data, NULL));
    turns(1); /* it waits for room now */
    coil_datagram_transport_abort(e.transport);
    something_happens(&e);
    turns(3);
    coil_datagram_transport_free(e.transport);
    coil_event_free(e.something);
    close(peer);
    TRACE_IS("made pause lost 0");
}

NET_TEST(a_freed_endpoint_calls_nobody)
{
    endpoint e = {.echoes = false};
    open_endpoint(&e, &(coil_datagram_options){.size = sizeof(coil_datagram_options), .local_host = "127.0.0.1"});
    coil_datagram_transport_free(e.transport);
    coil_datagram_transport_free(NULL);
    turns(3);
    coil_event_free(e.something);
    TRACE_IS("made");
}

static int make_endpoint(void *arg, void **result)
{
    endpoint *e = arg;
    coil_datagram_options o = {.size = sizeof o, .local_host = "127.0.0.1"};
    (void)result;
    return coil_create_datagram_endpoint(&protocol, e, &o, &e->transport);
}

NET_TEST(an_endpoint_that_nobody_got_is_closed)
{
    endpoint e = {.echoes = false};
    OK(coil_event_new(&e.something));
    coil_task *task = spawn(coil_coro_of(make_endpoint, &e));
    turns(1);
    coil_task_cancel(task, NULL);
    RAISES(-ECANCELED, "", coil_join(task, NULL));
    turns(3);
    coil_event_free(e.something);
    TRACE_IS("made lost 0");
}

NET_TEST(joined_datagrams_reach_the_protocol_one_by_one)
{
    static char data[5000];
    endpoint e = {.echoes = false};
    char port[8];
    coil_datagram *client;
    memset(data, 'x', sizeof data);
    coil_datagram_options joining = {.size = sizeof joining, .local_host = "127.0.0.1", .gro = true};
    open_endpoint(&e, &joining);
    port_of(&e, port, sizeof port);
    coil_datagram_options o = {.size = sizeof o, .remote_host = "127.0.0.1", .remote_port = port};
    OK(coil_datagram_open(&o, &client));
    OK(coil_datagram_send_segments(client, data, sizeof data, 500, NULL, NULL));
    while (e.bytes < sizeof data)
        something_happens(&e);
    ck_assert_uint_eq(e.datagrams, 10);
    coil_datagram_close(client);
    close_endpoint(&e);
    trace[0] = '\0';
}

/* --- several workers -------------------------------------------------------------------------------------------- */

enum { WORKERS = 4, EACH = 200 };

typedef struct crowd {
    coil_datagram_transport *transport;
    _Atomic size_t received; /* at the receiver's home; read anywhere */
    _Atomic bool lost;
} crowd;

static void crowd_received(coil_datagram_transport *transport, const void *data, size_t n, const coil_address *from,
                           void *arg)
{
    (void)transport;
    (void)data;
    (void)from;
    ck_assert_uint_eq(n, 4000);
    ((crowd *)arg)->received++;
}

static void crowd_lost(coil_datagram_transport *transport, coil_error *error, void *arg)
{
    (void)transport;
    ck_assert_ptr_null(error);
    ((crowd *)arg)->lost = true;
}

static const coil_datagram_protocol crowd_protocol = {
    .datagram_received = crowd_received,
    .connection_lost = crowd_lost,
};

static int send_each(void *arg, void **result)
{
    static const char data[4000];
    crowd *c = arg;
    (void)result;
    for (int i = 0; i < EACH; i++) {
        OK(coil_datagram_transport_sendto(c->transport, data, sizeof data, NULL));
        OK(coil_sleep(0));
    }
    return 0;
}

static int use_from_all_workers(void *arg, void **result)
{
    crowd sender = {.received = 0}, receiver = {.received = 0};
    coil_task *tasks[WORKERS];
    int ends[2];
    (void)arg;
    (void)result;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(coil_create_datagram_endpoint_on(&crowd_protocol, &sender, ends[0], &sender.transport));
    OK(coil_create_datagram_endpoint_on(&crowd_protocol, &receiver, ends[1], &receiver.transport));
    for (unsigned i = 0; i < WORKERS; i++) {
        coil_task_options o = {.size = sizeof o, .migration = COIL_PINNED, .worker = i + 1};
        OK(coil_create_task_with(coil_coro_of(send_each, &sender), &o, &tasks[i]));
    }
    for (unsigned i = 0; i < WORKERS; i++)
        OK(coil_join(tasks[i], NULL));
    coil_datagram_transport_close(sender.transport); /* what is buffered goes out first */
    while (receiver.received < (size_t)WORKERS * EACH || !sender.lost)
        OK(coil_sleep(COIL_MS(1)));
    coil_datagram_transport_free(sender.transport);
    coil_datagram_transport_free(receiver.transport);
    return 0;
}

TEST(an_endpoint_may_be_used_from_all_workers)
{
    int before = open_descriptors();
    coil_runtime_options o = {
        .size = sizeof o,
        .workers = WORKERS,
        .loop = {.size = sizeof o.loop, .default_exception_handler = keep_report},
    };
    OK(coil_runtime_run(&o, coil_coro_of(use_from_all_workers, NULL), NULL));
    ck_assert_int_eq(open_descriptors(), before);
}

COIL_TEST_MAIN("dgram")
