/*
 * test_file_limits.c - files at their limits: leases, terminals, large offsets and amounts, loops that end or move in
 * mid-call, kernels' moods; on whichever backend $COIL_BACKEND names
 */
#define _GNU_SOURCE /* O_DIRECT, struct statx, memfd_create, F_SETLEASE */
#include "files.h"

#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "seccomp.h"

/* --- limits and errors ------------------------------------------------------------------------------------------ */

static int open_for_writing(void *arg, void **result)
{
    coil_file *file;
    (void)arg, (void)result;
    COIL_TRY(coil_file_open(path, O_WRONLY, 0, &file));
    return coil_file_close(file);
}

FILE_TEST(open_waits_for_who_has_a_lease)
{
    OK(coil_write_file(path, "leased", 6, 0600));
    int holder = open(path, O_RDONLY | O_CLOEXEC);
    signal(SIGIO, SIG_IGN);
    ck_assert_int_eq(fcntl(holder, F_SETLEASE, F_RDLCK), 0);
    coil_task *task = spawn(coil_coro_of(open_for_writing, NULL));
    while (fcntl(holder, F_GETLEASE) == F_RDLCK) { /* until it is asked for */
        usleep(1000); /* for a thread of the kernel's or the executor's */
        turns(1);
        ck_assert(!coil_future_done(task));
    }
    ck_assert(!coil_future_done(task));
    ck_assert_int_eq(fcntl(holder, F_SETLEASE, F_UNLCK), 0);
    OK(coil_join(task, NULL));
    close(holder);
}

/* In a process of its own, without a terminal. 0: it still has none afterwards. */
static int open_a_terminal(void *arg, void **result)
{
    coil_file *file;
    (void)result;
    int rc = coil_file_open(arg, O_RDWR, 0, &file);
    coil_error_release(coil_catch(rc));
    return rc == -EINVAL && open("/dev/tty", O_RDWR | O_CLOEXEC) < 0 ? 0 : -EPERM;
}

TEST(a_terminal_that_is_refused_does_not_become_the_process_s_own)
{
    int status = -1, terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0)
        return; /* there are none here */
    pid_t child = fork();
    if (child == 0)
        _exit(setsid() < 0 || coil_run(coil_coro_of(open_a_terminal, ptsname(terminal)), NULL) < 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    close(terminal);
}

FILE_TEST(paths_with_errors_are_told)
{
    char *longest = malloc(PATH_MAX + 10);
    char below[80];
    coil_file *file;
    struct statx st;
    memset(longest, 'x', PATH_MAX + 9);
    longest[PATH_MAX + 9] = '\0';
    OK(coil_write_file(path, "", 0, 0600));
    ck_assert_int_eq(coil_file_open(longest, O_RDONLY, 0, &file), -ENAMETOOLONG);
    ck_assert_int_eq(coil_stat(longest, &st), -ENAMETOOLONG);
    ck_assert_int_eq(coil_file_open("", O_RDONLY, 0, &file), -ENOENT);
    ck_assert_int_eq(coil_stat("", &st), -ENOENT);
    snprintf(below, sizeof below, "%s/below", path);
    ck_assert_int_eq(coil_file_open(below, O_RDONLY, 0, &file), -ENOTDIR);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    close(fd);
    RAISES(-EBADF, "descriptor 1000: Bad file descriptor", coil_file_from_fd(1000, &file));
    ck_assert_int_eq(coil_file_from_fd(fd, &file), -EBADF);
    free(longest);
}

FILE_TEST(offsets_may_be_large_and_files_sparse)
{
    int64_t far = ((int64_t)5 << 30) + 77, bytes;
    char buf[8] = "........";
    size_t n;
    coil_file *file = opened(O_RDWR | O_CREAT);
    OK(coil_file_pwrite(file, "far", 3, far));
    OK(coil_file_size(file, &bytes));
    ck_assert_int_eq(bytes, far + 3);
    OK(coil_file_pread(file, buf, sizeof buf, far - 2, &n));
    ck_assert_uint_eq(n, 5);
    ck_assert_mem_eq(buf, "\0\0far", 5);
    OK(coil_file_seek(file, far));
    OK(coil_file_read(file, buf, sizeof buf, &n));
    ck_assert_uint_eq(n, 3);
    OK(coil_file_pread(file, buf, sizeof buf, INT64_MAX - 8, &n));
    ck_assert_uint_eq(n, 0);
    OK(coil_file_close(file));
}

FILE_TEST(a_file_that_may_not_grow_says_so)
{
    static char block[8192];
    size_t n;
    struct rlimit all, little = {.rlim_cur = 4096};
    int64_t bytes;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &all), 0);
    little.rlim_max = all.rlim_max;
    coil_file *file = opened(O_RDWR | O_CREAT);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
    RAISES(-EFBIG, "write: File too large", coil_file_pwrite(file, block, sizeof block, 0));
    OK(coil_file_size(file, &bytes));
    ck_assert_int_eq(bytes, 4096); /* some was written */
    RAISES(-EFBIG, "write: File too large", coil_file_write(file, block, sizeof block));
    ck_assert_int_eq(coil_file_tell(file), 0);
    OK(coil_file_pread(file, block, sizeof block, 0, &n));
    ck_assert_uint_eq(n, 4096);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
    signal(SIGXFSZ, SIG_DFL);
    OK(coil_file_close(file));
}

FILE_TEST(misaligned_direct_reads_are_refused)
{
    static char block[8192];
    coil_file *file;
    size_t memory, offset, n;
    OK(coil_write_file(path, block, sizeof block, 0600));
    int rc = coil_file_open(path, O_RDONLY | O_DIRECT, 0, &file);
    if (rc == -EINVAL)
        return; /* this file system has no O_DIRECT */
    OK(rc);
    rc = coil_file_get_alignment(file, &memory, &offset);
    if (rc == 0 && offset >= 512)
        RAISES(-EINVAL, "read: invalid argument", coil_file_pread(file, block, 512, 1, &n));
    OK(coil_file_close(file));
}

/* Memory of that size in an address space, but of one page table's worth in truth. */
static char *map_much(size_t bytes, int fd, size_t piece)
{
    char *all = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(all, MAP_FAILED);
    for (size_t at = 0; at < bytes; at += piece)
        ck_assert_ptr_ne(mmap(all + at, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), MAP_FAILED);
    return all;
}

NET_TEST(one_call_reads_a_gibibyte_at_most)
{
    enum { PIECE = 1 << 22 };
    size_t gibibyte = (size_t)1 << 30, n;
    coil_file *file;
    int memory = memfd_create("memory", MFD_CLOEXEC), sparse = memfd_create("sparse", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(memory, PIECE), 0);
    ck_assert_int_eq(ftruncate(sparse, (off_t)(3 * gibibyte)), 0);
    char *all = map_much(gibibyte + PIECE, memory, PIECE);
    OK(coil_file_from_fd(sparse, &file));
    OK(coil_file_pread(file, all, gibibyte + PIECE, 5, &n));
    ck_assert_uint_eq(n, gibibyte);
    OK(coil_file_close(file));
    munmap(all, gibibyte + PIECE);
    close(memory);
}

/* --- without a running task ----------------------------------------------------------------------------------- */

static int hang_on_to_a_file(void *arg, void **result)
{
    (void)result;
    coil_file *file = NULL;
    int rc = coil_file_open(path, O_RDONLY, 0, &file);
    coil_event *never = arg;
    if (rc == 0)
        rc = coil_event_wait(never);
    int closed = coil_file_close(file);
    return rc < 0 ? rc : closed;
}

TEST(a_loop_that_is_freed_in_mid_call_leaves_no_descriptor)
{
    make_directory();
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    int before = open_descriptors();
    for (int steps = 0; steps < 6; steps++) {
        coil_loop *loop = new_test_loop();
        coil_event *never;
        OK(coil_event_new(&never));
        coil_task *task;
        OK(coil_loop_create_task(loop, coil_coro_of(hang_on_to_a_file, never), NULL, &task));
        for (int i = 0; i < steps; i++) {
            coil_loop_stop(loop);
            OK(coil_loop_run_forever(loop));
        }
        coil_release(task);
        coil_loop_free(loop);
        coil_event_free(never);
        expect_report("Task was destroyed but it is pending!", 0, "");
    }
    ck_assert_int_eq(open_descriptors(), before);
    remove_directory();
}

/* What a task of a loop uses that is a later one's. */
static coil_file *passed_on;

static int open_and_pass_on(void *arg, void **result)
{
    (void)arg, (void)result;
    COIL_TRY(coil_file_open(path, O_RDWR | O_CREAT, 0600, &passed_on));
    return coil_file_write(passed_on, "one\ntwo\n", 8);
}

static int use_and_close(void *arg, void **result)
{
    const char *line;
    size_t n = 0;
    (void)arg, (void)result;
    COIL_TRY(coil_file_seek(passed_on, 4));
    COIL_TRY(coil_file_readline(passed_on, &line, &n));
    ck_assert_mem_eq(line, "two\n", 4);
    return coil_file_close(passed_on);
}

TEST(a_file_may_be_used_by_one_loop_after_the_other)
{
    make_directory();
    OK(coil_run(coil_coro_of(open_and_pass_on, NULL), NULL));
    OK(coil_run(coil_coro_of(use_and_close, NULL), NULL));
    remove_directory();
}

/* --- one loop, several threads ---------------------------------------------------------------------------------- */

static int write_rounds(void *arg, void **result)
{
    enum { BYTES = 1 << 20 };
    static char blocks[4][BYTES];
    int number = *(int *)arg;
    char *block = blocks[number];
    int64_t offset = (int64_t)number * BYTES;
    coil_file *file;
    (void)result;
    COIL_TRY(coil_file_open(path, O_RDWR | O_CREAT, 0600, &file));
    for (int i = 0; i < 12; i++) {
        size_t n;
        memset(block, 'a' + i, BYTES);
        COIL_TRY(coil_file_pwrite(file, block, BYTES, offset));
        memset(block, '.', BYTES);
        COIL_TRY(coil_file_pread(file, block, BYTES, offset, &n));
        ck_assert(n == BYTES && block[0] == 'a' + i && block[n - 1] == 'a' + i);
        COIL_TRY(coil_file_datasync(file));
    }
    return coil_file_close(file);
}

static void *run_a_little(void *arg)
{
    coil_loop_stop(arg);
    OK(coil_loop_run_forever(arg));
    return NULL;
}

TEST(a_loop_with_files_in_flight_moves_from_thread_to_thread)
{
    pthread_t thread;
    make_directory();
    coil_loop *loop = new_test_loop();
    coil_task *tasks[4];
    int numbers[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++)
        OK(coil_loop_create_task(loop, coil_coro_of(write_rounds, &numbers[i]), NULL, &tasks[i]));
    bool done = false;
    for (int i = 0; i < 100000 && !done; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, run_a_little, loop), 0);
        pthread_join(thread, NULL);
        done = true;
        for (int j = 0; j < 4; j++)
            done &= coil_future_done(tasks[j]);
    }
    ck_assert(done);
    for (int i = 0; i < 4; i++) {
        OK(coil_future_result(tasks[i], NULL));
        coil_release(tasks[i]);
    }
    coil_loop_free(loop);
    remove_directory();
}

/* --- the kernel's moods ------------------------------------------------------------------------------------------- */

static bool files_use_a_ring(void)
{
    coil_backend_info info = {.size = sizeof info};
    OK(coil_loop_backend_info(coil_get_running_loop(), &info));
    return strcmp(info.name, "io_uring") == 0;
}

static void read_with_ecanceled(void)
{
    char buf[8];
    size_t n;
    ck_assert_int_eq(forbid(SYS_pread64, ECANCELED), 0); /* now: it holds for threads that are still to come */
    OK(coil_write_file(path, "text", 4, 0600));
    coil_file *file = opened(O_RDONLY);
    if (files_use_a_ring()) { /* which does not heed filters */
        OK(coil_file_pread(file, buf, sizeof buf, 0, &n));
        ck_assert_uint_eq(n, 4);
    } else {
        RAISES(COIL_ECLOSED, "read: descriptor closed during the operation", coil_file_pread(file, buf, sizeof buf, 0, &n));
    }
    OK(coil_file_close(file));
}

TEST(a_file_system_that_says_cancelled_does_not_cancel_anybody)
{
    if (!forks())
        return;
    make_directory();
    run_as_task(read_with_ecanceled);
    remove_directory();
}

TEST(outside_a_task_there_are_no_files)
{
    coil_file *file;
    ck_assert_int_eq(coil_file_open("/dev/null", O_RDONLY, 0, &file), COIL_ENOLOOP);
    (void)caught(COIL_ENOLOOP);
}

static int open_the_file(void *arg, void **result)
{
    (void)result;
    return coil_file_open(path, O_RDWR | O_CREAT, 0600, arg);
}

static int close_file(void *arg, void **result)
{
    (void)result;
    return coil_file_close(arg);
}

TEST(a_file_that_was_opened_in_a_task_raises_outside_of_one)
{
    coil_file *file;
    char buf[4];
    size_t n;
    make_directory();
    OK(coil_run(coil_coro_of(open_the_file, &file), NULL));
    ck_assert_int_eq(coil_file_pread(file, buf, sizeof buf, 0, &n), COIL_ENOLOOP);
    ck_assert_int_eq(coil_file_pwrite(file, buf, sizeof buf, 0), COIL_ENOLOOP);
    (void)caught(COIL_ENOLOOP);
    OK(coil_run(coil_coro_of(close_file, file), NULL));
    remove_directory();
}

COIL_TEST_MAIN("file_limits")
