/*
 * test_watch.c - callbacks when a descriptor is ready, on whichever backend $COIL_BACKEND names
 */
#include "net.h"

#include <fcntl.h>

/* A callback's own: what it read, and what it does then. */
typedef struct ear {
    int fd;
    int calls;
    int stops_after; /* calls; then it removes itself */
    bool leaves;     /* does not read */
    int fails_with;
    char text[64];
    size_t size;
} ear;

static int heard(void *arg)
{
    ear *e = arg;
    e->calls++;
    if (!e->leaves) {
        ssize_t n = read(e->fd, e->text + e->size, sizeof e->text - e->size);
        e->size += n > 0 ? (size_t)n : 0;
    }
    if (e->calls == e->stops_after)
        ck_assert(coil_loop_remove_reader(coil_get_running_loop(), e->fd));
    return e->fails_with ? coil_raise(e->fails_with, "cannot hear") : 0;
}

static void open_pair(int ends[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

static void until_calls(const ear *e, int calls)
{
    while (e->calls < calls)
        turns(1); /* no time passes on the virtual clock while a descriptor is ready */
}

NET_TEST(a_reader_is_called_for_what_comes_until_it_is_removed)
{
    coil_loop *loop = coil_get_running_loop();
    int ends[2];
    open_pair(ends);
    ear e = {.fd = ends[0]};
    OK(coil_loop_add_reader(loop, ends[0], heard, &e));
    turns(3);
    ck_assert_int_eq(e.calls, 0);
    ck_assert_int_eq(write(ends[1], "one", 3), 3);
    until_calls(&e, 1);
    ck_assert_int_eq(write(ends[1], "two", 3), 3);
    until_calls(&e, 2);
    ck_assert_mem_eq(e.text, "onetwo", 6);
    ck_assert(coil_loop_remove_reader(loop, ends[0]));
    ck_assert(!coil_loop_remove_reader(loop, ends[0]));
    ck_assert_int_eq(write(ends[1], "late", 4), 4);
    turns(5);
    ck_assert_int_eq(e.calls, 2);
    close(ends[0]);
    close(ends[1]);
    turns(2);
}

NET_TEST(a_reader_that_does_not_read_is_called_in_each_iteration)
{
    coil_loop *loop = coil_get_running_loop();
    int ends[2];
    open_pair(ends);
    ear e = {.fd = ends[0], .leaves = true, .stops_after = 5};
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    OK(coil_loop_add_reader(loop, ends[0], heard, &e));
    until_calls(&e, 5);
    turns(10);
    ck_assert_int_eq(e.calls, 5);
    close(ends[0]);
    close(ends[1]);
    turns(2);
}

NET_TEST(a_second_reader_takes_the_place_of_the_first)
{
    coil_loop *loop = coil_get_running_loop();
    int ends[2];
    open_pair(ends);
    ear first = {.fd = ends[0]}, second = {.fd = ends[0]};
    OK(coil_loop_add_reader(loop, ends[0], heard, &first));
    OK(coil_loop_add_reader(loop, ends[0], heard, &second));
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    until_calls(&second, 1);
    ck_assert_int_eq(first.calls, 0);
    ck_assert(coil_loop_remove_reader(loop, ends[0]));
    close(ends[0]);
    close(ends[1]);
    turns(2);
}

static int wrote(void *arg)
{
    ear *e = arg;
    e->calls++;
    ck_assert(coil_loop_remove_writer(coil_get_running_loop(), e->fd));
    return 0;
}

NET_TEST(a_writer_and_a_reader_of_one_descriptor_are_two)
{
    coil_loop *loop = coil_get_running_loop();
    int ends[2];
    open_pair(ends);
    ear reader = {.fd = ends[0]}, writer = {.fd = ends[0]};
    OK(coil_loop_add_reader(loop, ends[0], heard, &reader));
    OK(coil_loop_add_writer(loop, ends[0], wrote, &writer));
    until_calls(&writer, 1);
    ck_assert_int_eq(reader.calls, 0);
    close(ends[1]); /* the end can be read, too */
    until_calls(&reader, 1);
    ck_assert(coil_loop_remove_reader(loop, ends[0]));
    ck_assert_int_eq(writer.calls, 1);
    close(ends[0]);
    turns(2);
}

NET_TEST(an_error_of_the_callback_is_reported_and_it_goes_on)
{
    coil_loop *loop = coil_get_running_loop();
    int ends[2];
    open_pair(ends);
    ear e = {.fd = ends[0], .fails_with = -EPROTO};
    OK(coil_loop_add_reader(loop, ends[0], heard, &e));
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    until_calls(&e, 1);
    ck_assert_int_eq(write(ends[1], "y", 1), 1);
    until_calls(&e, 2);
    expect_report("Exception in callback", -EPROTO, "cannot hear");
    expect_report("Exception in callback", -EPROTO, "cannot hear");
    ck_assert(coil_loop_remove_reader(loop, ends[0]));
    close(ends[0]);
    close(ends[1]);
    turns(2);
}

NET_TEST(what_cannot_be_polled_is_refused)
{
    coil_loop *loop = coil_get_running_loop();
    ear e = {0};
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char message[64];
    snprintf(message, sizeof message, "descriptor %d is a file, which is always ready", fd);
    RAISES(-EPERM, message, coil_loop_add_reader(loop, fd, heard, &e));
    close(fd);
    RAISES(-EBADF, "Invalid file descriptor: -1", coil_loop_add_reader(loop, -1, heard, &e));
}

TEST(a_reader_may_be_added_before_the_loop_runs_and_goes_with_it)
{
    int ends[2], before = open_descriptors();
    open_pair(ends);
    coil_loop *loop = new_test_loop();
    ear e = {.fd = ends[0], .stops_after = 99};
    OK(coil_loop_add_reader(loop, ends[0], heard, &e));
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        coil_loop_stop(loop);
        OK(coil_loop_run_forever(loop));
    }
    ck_assert_int_eq(e.calls, 1);
    OK(coil_loop_close(loop));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_loop_add_reader(loop, ends[0], heard, &e));
    coil_loop_free(loop);
    close(ends[0]);
    close(ends[1]);
    ck_assert_int_eq(open_descriptors(), before);
}

COIL_TEST_MAIN("watch")
