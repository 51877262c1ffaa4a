/*
 * test_unix.c - Unix sockets: servers, connections, stale files, descriptors through streams' sockets
 */
#include "net.h"

#include <fcntl.h>
#include <sys/stat.h>

static char path[64];

static const char *fresh_path(void)
{
    static int count;
    snprintf(path, sizeof path, "/tmp/coil-unix-%d-%d", (int)getpid(), count++);
    return path;
}

static void talks(const char *to)
{
    coil_stream *stream;
    OK(coil_open_unix_connection(to, NULL, &stream));
    writes(stream, "hello\n");
    reads_line(stream, "hello\n");
    finish(stream);
}

NET_TEST(a_unix_server_serves)
{
    coil_server *server;
    OK(coil_start_unix_server(echo, NULL, fresh_path(), NULL, &server));
    ck_assert_int_eq(coil_server_port(server), -1);
    talks(path);
    talks(path);
    finish_server(server);
    ck_assert_int_eq(unlink(path), 0); /* it stays, as in asyncio */
}

NET_TEST(peers_are_named_by_path)
{
    coil_server *server;
    coil_stream *stream;
    char name[80];
    OK(coil_start_unix_server(echo, NULL, fresh_path(), NULL, &server));
    OK(coil_open_unix_connection(path, NULL, &stream));
    coil_stream_peername(stream, name, sizeof name);
    ck_assert_str_eq(name, path);
    ck_assert_uint_eq(coil_stream_sockname(stream, name, sizeof name), 0);
    finish(stream);
    finish_server(server);
    unlink(path);
}

NET_TEST(an_abstract_name_leaves_no_file)
{
    coil_server *server;
    const char *name = abstract_name();
    OK(coil_start_unix_server(echo, NULL, name, NULL, &server));
    talks(name);
    finish_server(server);
    char message[80];
    coil_stream *stream;
    snprintf(message, sizeof message, "connecting to %s: Connection refused", name);
    RAISES(-ECONNREFUSED, message, coil_open_unix_connection(name, NULL, &stream));
}

NET_TEST(a_stale_socket_is_removed_before_binding)
{
    coil_server *server;
    OK(coil_start_unix_server(echo, NULL, fresh_path(), NULL, &server));
    finish_server(server);
    OK(coil_start_unix_server(echo, NULL, path, NULL, &server));
    talks(path);
    finish_server(server);
    unlink(path);
}

NET_TEST(what_is_no_socket_is_left_alone)
{
    coil_server *server;
    char message[128];
    close(open(fresh_path(), O_CREAT | O_WRONLY, 0600));
    snprintf(message, sizeof message, "Address '%s' is already in use", path);
    RAISES(-EADDRINUSE, message, coil_start_unix_server(echo, NULL, path, NULL, &server));
    struct stat s;
    ck_assert_int_eq(stat(path, &s), 0);
    unlink(path);
}

NET_TEST(a_missing_server_is_an_error_that_tells_the_path)
{
    coil_stream *stream;
    char message[128];
    snprintf(message, sizeof message, "connecting to %s: No such file or directory", fresh_path());
    RAISES(-ENOENT, message, coil_open_unix_connection(path, NULL, &stream));
    RAISES(-EINVAL, "an empty path", coil_open_unix_connection("", NULL, &stream));
}

NET_TEST(a_full_backlog_is_an_error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;
    coil_stream *streams[8] = {NULL};
    coil_address a;
    OK(coil_address_of_path(abstract_name(), &a));
    ck_assert_int_eq(bind(fd, &a.any, a.bytes), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    for (int i = 0; i < 8 && rc == 0; i++)
        rc = coil_open_unix_connection(abstract_name(), NULL, &streams[i]);
    ck_assert_int_eq(rc, -EAGAIN);
    coil_error_release(coil_catch(rc));
    for (int i = 0; i < 8; i++)
        coil_stream_free(streams[i]);
    close(fd);
    turns(3);
}

NET_TEST(a_connection_can_be_made_of_a_socket)
{
    int ends[2];
    coil_stream *one, *two;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    OK(coil_open_connection_on(ends[0], NULL, &one));
    OK(coil_open_connection_on(ends[1], NULL, &two));
    writes(one, "across\n");
    reads_line(two, "across\n");
    finish(one);
    finish(two);
}

NET_TEST(a_server_can_be_made_of_a_socket)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[2];
    coil_address a;
    coil_server *server;
    OK(coil_address_of_path(abstract_name(), &a));
    ck_assert_int_eq(bind(fd, &a.any, a.bytes), 0);
    OK(coil_start_server_on(echo, NULL, fd, NULL, &server));
    ck_assert_uint_eq(coil_server_sockets(server, fds, 2), 1);
    ck_assert_int_eq(fds[0], fd);
    talks(abstract_name());
    finish_server(server);
}

COIL_TEST_MAIN("unix")
