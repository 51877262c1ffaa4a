/*
 * net.h - what tests of streams and servers have in common
 *
 * Servers and clients are tasks of one loop, connected through the loopback interface; where a peer has to
 * misbehave it is a plain socket.
 */
#ifndef COIL_TEST_NET_H
#define COIL_TEST_NET_H

#include "coil_test.h"
#include "descriptors.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A test in a task that ends with as many open descriptors as it began with. */
#define NET_TEST(name)                                \
    static void name##_in_task(void);                 \
    TEST(name)                                        \
    {                                                 \
        int before = open_descriptors();              \
        run_as_task(name##_in_task);                  \
        ck_assert_int_eq(open_descriptors(), before); \
    }                                                 \
    static void name##_in_task(void)

/* An abstract name of this process alone: suites run side by side. */
static COIL_TEST_UNUSED const char *abstract_name(void)
{
    static char name[32];
    snprintf(name, sizeof name, "@coil-test-%d", (int)getpid());
    return name;
}

static COIL_TEST_UNUSED coil_server *listen_with(coil_client_connected *callback, void *arg,
                                                 const coil_server_options *options)
{
    coil_server *server;
    OK(coil_start_server(callback, arg, "127.0.0.1", "0", options, &server));
    return server;
}

static COIL_TEST_UNUSED coil_stream *connect_to(const coil_server *server)
{
    char port[16];
    coil_stream *stream;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    OK(coil_open_connection("127.0.0.1", port, &stream));
    return stream;
}

static COIL_TEST_UNUSED void finish(coil_stream *stream)
{
    coil_stream_close(stream);
    OK(coil_stream_wait_closed(stream));
    coil_stream_free(stream);
}

static COIL_TEST_UNUSED void finish_server(coil_server *server)
{
    coil_server_close(server);
    OK(coil_server_wait_closed(server));
    coil_server_free(server);
}

static COIL_TEST_UNUSED void writes(coil_stream *s, const char *text)
{
    OK(coil_stream_write(s, text, strlen(text)));
}

static COIL_TEST_UNUSED void reads_line(coil_stream *s, const char *text)
{
    const char *line;
    size_t n;
    OK(coil_stream_readline(s, &line, &n));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_mem_eq(line, text, n);
}

/* To its end. */
static COIL_TEST_UNUSED void reads_all(coil_stream *s, const char *text)
{
    char *data;
    size_t n;
    OK(coil_stream_read_all(s, &data, &n));
    ck_assert_str_eq(data, text);
    free(data);
}

/* The callback of an echo server. */
static COIL_TEST_UNUSED int echo(coil_stream *stream, void *arg)
{
    char buf[4096];
    size_t n;
    int rc;
    (void)arg;
    while ((rc = coil_stream_read(stream, buf, sizeof buf, &n)) == 0 && n > 0)
        if ((rc = coil_stream_write(stream, buf, n)) < 0 || (rc = coil_stream_drain(stream)) < 0)
            break;
    coil_error *error = coil_catch(rc);
    coil_stream_close(stream);
    coil_stream_free(stream);
    return coil_raise_error(error);
}

static COIL_TEST_UNUSED struct sockaddr_in loopback(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((unsigned short)port);
    return a;
}

/* A listening socket that nobody accepts from, and its port. */
static COIL_TEST_UNUSED int silent_listener(int backlog, int *port)
{
    struct sockaddr_in a = loopback(0);
    socklen_t length = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(fd, backlog), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &length), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static COIL_TEST_UNUSED int plain_client(const coil_server *server)
{
    struct sockaddr_in a = loopback(coil_server_port(server));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static COIL_TEST_UNUSED int socket_option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

/* Closes a plain socket so that its peer sees a reset. */
static COIL_TEST_UNUSED void reset_and_close(int fd)
{
    struct linger reset = {.l_onoff = 1};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
}

#endif
