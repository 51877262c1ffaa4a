/*
 * test_buffers.c - memory that rings know, and requests of files that a ring does not have
 *
 * Kernels that lack requests, or register no memory, are this one, looking older (old_kernel.h). That stays until the
 * process ends: tests that need it are left out where Check does not fork, or where there is no io_uring.
 */
#define _GNU_SOURCE /* memfd_create, struct statx, names of registers */
#include "net.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "old_kernel.h"

#include "../../io/buffers.h"
#include "../../io/op.h"

static coil__backend *my_backend(void)
{
    return coil__here(coil_get_running_loop())->backend;
}

static bool on_ring(void)
{
    return strcmp(my_backend()->ops->name, "io_uring") == 0;
}

/* The backend is given that many requests for what @call does. */
#define REQUESTS_ARE(count, call)                                                   \
    do {                                                                            \
        uint64_t before_call = load_relaxed(&my_backend()->counters.submissions);   \
        OK(call);                                                                   \
        uint64_t made = load_relaxed(&my_backend()->counters.submissions) - before_call; \
        ck_assert_uint_eq(made, count);                                             \
    } while (0)

static coil_file *memory_file(void)
{
    coil_file *file;
    int fd = memfd_create("file", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    OK(coil_file_from_fd(fd, &file));
    return file;
}

/* --- requests that are missing ------------------------------------------------------------------------------------ */

static const old_kernel this_kernel = {.setup_flags = UINT32_MAX, .features = UINT32_MAX, .last_op = 255};

static bool wants_uring(void)
{
    const char *word = getenv("COIL_BACKEND");
    return forks() && word && !strcmp(word, "uring");
}

static void use_a_file(uint64_t plain, uint64_t vectors, uint64_t syncs, uint64_t stats)
{
    char buf[4] = "";
    size_t n;
    struct iovec iov = {buf, 2};
    struct statx st;
    coil_file *file = memory_file();
    REQUESTS_ARE(plain, coil_file_pwrite(file, "text", 4, 0));
    REQUESTS_ARE(plain, coil_file_pread(file, buf, 4, 0, &n));
    ck_assert_mem_eq(buf, "text", 4);
    REQUESTS_ARE(vectors, coil_file_preadv(file, &iov, 1, 2, &n));
    ck_assert_mem_eq(buf, "xt", 2);
    REQUESTS_ARE(syncs, coil_file_sync(file));
    REQUESTS_ARE(stats, coil_file_stat(file, &st));
    ck_assert_uint_eq(st.stx_size, 4);
    REQUESTS_ARE(0, coil_file_truncate(file, 2));
    REQUESTS_ARE(stats, coil_file_close(file)); /* as old as statx */
}

static void with_all(void)
{
    uint64_t each = on_ring();
    use_a_file(each, each, each, each);
}

TEST(a_ring_makes_the_requests_that_it_has)
{
    run_as_task(with_all);
}

/* Readv, writev and fsync came with the first kernel that had rings. */
static void with_the_first(void)
{
    ck_assert(on_ring());
    use_a_file(0, 1, 1, 0);
}

TEST(what_a_ring_has_not_is_made_by_a_thread)
{
    old_kernel kernel = this_kernel;
    kernel.last_op = IORING_OP_CONNECT;
    if (!wants_uring())
        return;
    ck_assert_int_eq(look_like(kernel), 0);
    run_as_task(with_the_first);
}

static void with_none(void)
{
    ck_assert(on_ring());
    use_a_file(0, 0, 0, 0);
}

TEST(without_io_uring_register_threads_do_it_all)
{
    if (!wants_uring())
        return;
    ck_assert_int_eq(forbid(SYS_io_uring_register, EPERM), 0);
    run_as_task(with_none);
}

/* --- memory that is refused --------------------------------------------------------------------------------------- */

static void read_and_write_many_times(void)
{
    coil_buffers *buffers[2];
    coil_file *file = memory_file();
    size_t n;
    for (int i = 0; i < 2; i++)
        OK(coil_buffers_new(coil_get_running_loop(), 4096, &buffers[i]));
    for (int i = 0; i < 20; i++) {
        char *memory = coil_buffers_data(buffers[i % 2]);
        memset(memory, 'a' + i, 4096);
        OK(coil_file_pwrite(file, memory, 4096, 0));
        memset(memory, 0, 4096);
        OK(coil_file_pread(file, memory, 4096, 0, &n));
        ck_assert(n == 4096 && memory[0] == 'a' + i && memory[4095] == 'a' + i);
    }
    for (int i = 0; i < 2; i++)
        coil_buffers_free(buffers[i]);
    OK(coil_file_close(file));
}

TEST(memory_that_the_kernel_refuses_works_and_is_offered_once)
{
    old_kernel kernel = this_kernel;
    kernel.no_regions = true;
    if (!wants_uring())
        return;
    ck_assert_int_eq(look_like(kernel), 0);
    run_as_task(read_and_write_many_times);
    ck_assert_uint_eq(old_regions_asked, 2); /* each once */
}

/* --- regions in a runtime ----------------------------------------------------------------------------------------- */

enum { WORKERS = 3, USERS = 24 };

/* Makes regions, uses them on whatever worker, and frees them there. */
static int use_regions(void *arg, void **result)
{
    char expected = (char)('a' + *(int *)arg);
    coil_file *file = memory_file();
    (void)result;
    for (int i = 0; i < 40; i++) {
        coil_buffers *buffers;
        size_t n;
        int rc = coil_buffers_new(coil_get_running_loop(), 8192, &buffers);
        coil_error_release(coil_catch(rc));
        if (rc == -EAGAIN) { /* others have them all */
            COIL_TRY(coil_sleep(0));
            continue;
        }
        OK(rc);
        char *memory = coil_buffers_data(buffers);
        memset(memory, expected, 4096);
        OK(coil_file_pwrite(file, memory, 4096, i));
        COIL_TRY(coil_sleep(0));
        OK(coil_file_pread(file, memory + 4096, 4096, i, &n));
        ck_assert(n == 4096 && memory[4096] == expected && memory[8191] == expected);
        coil_buffers_free(buffers);
    }
    return coil_file_close(file);
}

static int use_regions_everywhere(void *arg, void **result)
{
    coil_task *tasks[USERS];
    int numbers[USERS];
    coil_buffers *kept;
    (void)arg, (void)result;
    for (int i = 0; i < USERS; i++) {
        numbers[i] = i;
        tasks[i] = spawn(coil_coro_of(use_regions, &numbers[i]));
    }
    for (int i = 0; i < USERS; i++)
        OK(coil_join(tasks[i], NULL));
    int rc = -EAGAIN;
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++) {
        rc = coil_buffers_new(coil_get_running_loop(), 4096, &kept);
        coil_error_release(coil_catch(rc));
        OK(coil_sleep(COIL_MS(1)));
    }
    OK(rc);
    coil_buffers_free(kept); /* the runtime ends before all have heard of it */
    return 0;
}

TEST(workers_share_regions_and_let_go_of_them)
{
    coil_runtime_options o = {.size = sizeof o, .workers = WORKERS, .loop = {.size = sizeof o.loop}};
    OK(coil_runtime_run(&o, coil_coro_of(use_regions_everywhere, NULL), NULL));
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static coil_buffers *left;

static void use_and_leave(void)
{
    coil_file *file = memory_file();
    OK(coil_buffers_new(coil_get_running_loop(), 4096, &left));
    OK(coil_file_pwrite(file, coil_buffers_data(left), 4096, 0));
    OK(coil_file_close(file));
}

static int run_use_and_leave(void *arg, void **result)
{
    (void)arg, (void)result;
    use_and_leave();
    return 0;
}

TEST(regions_are_freed_between_runs_and_after_closing)
{
    for (int closed = 0; closed < 2; closed++) {
        coil_loop *loop = new_test_loop();
        OK(coil_loop_run_until_complete(loop, coil_coro_of(run_use_and_leave, NULL), NULL));
        if (closed)
            OK(coil_loop_close(loop));
        coil_buffers_free(left);
        coil_loop_free(loop);
    }
}

COIL_TEST_MAIN("buffers")
