/*
 * test_files.c - files without memory, at every point where they ask for it; and with every one of their requests
 * failing
 *
 * The n-th allocation fails, or the n-th request, for n = 1, 2, 3, ... until the program passes without a failure. It
 * raises that failure and no other; it neither hangs nor crashes, leaves no descriptor, and under a sanitizer leaks
 * nothing.
 */
#define _GNU_SOURCE /* struct statx */
#include "files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../../src/base/alloc.h"
#include "../../src/testing.h"

enum { FAILURES_MAX = 2000 };


static int use_position(coil_file *file)
{
    const char *line;
    size_t n;
    COIL_TRY(coil_file_write(file, "one\ntwo\n", 8));
    COIL_TRY(coil_file_seek(file, 0));
    COIL_TRY(coil_file_readline(file, &line, &n));
    ck_assert_mem_eq(line, "one\n", 4);
    COIL_TRY(coil_file_readline(file, &line, &n));
    ck_assert_mem_eq(line, "two\n", 4);
    COIL_TRY(coil_file_truncate(file, 4));
    return coil_file_sync(file);
}

static int use_region(coil_file *file)
{
    coil_buffers *buffers;
    COIL_TRY(coil_buffers_new(coil_get_running_loop(), 4096, &buffers));
    int rc = coil_file_pwrite(file, coil_buffers_data(buffers), 4096, 0);
    coil_buffers_free(buffers);
    return rc;
}

static int close_with(coil_file *file, int rc)
{
    coil_error *e = coil_catch(rc);
    int closed = coil_file_close(file);
    if (!e)
        return closed;
    coil_error_release(coil_catch(closed));
    return coil_raise_error(e);
}

static int use_a_file(int flags, int (*use)(coil_file *file))
{
    coil_file *file;
    COIL_TRY(coil_file_open(path, O_RDWR | O_CREAT | flags, 0600, &file));
    return close_with(file, use(file));
}

static int append(coil_file *file)
{
    return coil_file_write(file, "three", 5);
}

static int use_files(void)
{
    char *data;
    size_t n;
    struct statx st;
    COIL_TRY(use_a_file(0, use_position));
    COIL_TRY(use_a_file(0, use_region));
    COIL_TRY(use_a_file(O_APPEND, append));
    COIL_TRY(coil_stat(path, &st));
    COIL_TRY(coil_write_file(path, "text", 4, 0600));
    COIL_TRY(coil_read_file(path, &data, &n));
    ck_assert(n == 4 && !memcmp(data, "text", 5));
    free(data);
    return 0;
}

static uint64_t request;
static bool pending;

static int run_files(void *arg, void **result)
{
    (void)arg, (void)result;
    if (request > 0)
        COIL_TRY(coil__testing_fail_operation(coil_get_running_loop(), request, -EIO));
    int rc = use_files();
    pending = coil__testing_operations_left(coil_get_running_loop()) > 0;
    if (pending)
        COIL_TRY(coil__testing_fail_operation(coil_get_running_loop(), 0, -EIO));
    return rc;
}

static int ignore_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
    return 0;
}

static int run_program(void)
{
    coil_loop_options options = {.size = sizeof options, .default_exception_handler = ignore_report};
    int rc = coil_run_with(&options, coil_coro_of(run_files, NULL), NULL);
    coil_error_release(coil_catch(rc));
    return rc;
}

/* Whether the failure is still to come: then it comes now. */
static bool allocation_is_pending(void)
{
    bool comes = false;
    for (int i = 0; i < FAILURES_MAX && !comes; i++) {
        void *p = coil__malloc(1);
        comes = !p;
        coil__free(p);
    }
    coil__alloc_fail_at(0);
    return comes;
}

TEST(files_without_memory_fail_in_good_order)
{
    int before = open_descriptors(), failures = 0;
    make_directory();
    bool still = false;
    for (uint64_t n = 1; !still; n++) {
        ck_assert_uint_lt(n, FAILURES_MAX);
        coil__alloc_fail_at(n);
        int rc = run_program();
        still = allocation_is_pending();
        failures += rc == -ENOMEM;
        ck_assert_msg(rc == 0 || rc == -ENOMEM, "%s", coil_error_name(rc));
        ck_assert(rc == 0 || !still);
        ck_assert_int_eq(open_descriptors(), before);
    }
    ck_assert_int_gt(failures, 10);
    remove_directory();
}

TEST(each_request_of_a_file_may_fail)
{
    int before = open_descriptors(), failures = 0;
    make_directory();
    pending = false;
    for (request = 1; !pending; request++) {
        ck_assert_uint_lt(request, FAILURES_MAX);
        int rc = run_program();
        failures += rc == -EIO;
        ck_assert_msg(rc == (pending ? 0 : -EIO), "request %d: %s", (int)request, coil_error_name(rc));
        ck_assert_int_eq(open_descriptors(), before);
    }
    request = 0;
    ck_assert_int_gt(failures, 15);
    remove_directory();
}

COIL_TEST_MAIN("files")
