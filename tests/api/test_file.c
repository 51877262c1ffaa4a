/*
 * test_file.c - files: at offsets, at their position, whole, registered buffers; on whichever backend $COIL_BACKEND names
 */
#define _GNU_SOURCE /* O_DIRECT, struct statx */
#include "files.h"

#include <sys/stat.h>

/* --- opening -------------------------------------------------------------------------------------------------- */

FILE_TEST(open_tells_the_path_that_is_missing)
{
    coil_file *file = NULL;
    char message[128];
    snprintf(message, sizeof message, "%s: No such file or directory", path);
    RAISES(-ENOENT, message, coil_file_open(path, O_RDONLY, 0, &file));
    ck_assert_ptr_null(file);
}

FILE_TEST(open_makes_a_file_with_the_mode_and_closes_it_on_exec)
{
    struct stat st;
    coil_file *file;
    OK(coil_file_open(path, O_WRONLY | O_CREAT | O_EXCL, 0640, &file));
    ck_assert_int_eq(fstat(coil_file_fd(file), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777 & ~(mode_t)0137, 0640 & ~0137);
    ck_assert_int_eq(fcntl(coil_file_fd(file), F_GETFD), FD_CLOEXEC);
    OK(coil_file_close(file));
    ck_assert_int_eq(coil_file_open(path, O_WRONLY | O_CREAT | O_EXCL, 0640, &file), -EEXIST);
}

FILE_TEST(open_refuses_directories_pipes_and_terminals)
{
    coil_file *file;
    char message[128];
    snprintf(message, sizeof message, "%s: Is a directory", directory);
    RAISES(-EISDIR, message, coil_file_open(directory, O_RDONLY, 0, &file));
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    snprintf(message, sizeof message, "%s: not a regular file; pipes, terminals and sockets are streams", path);
    RAISES(-EINVAL, message, coil_file_open(path, O_RDONLY, 0, &file));
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(coil_file_from_fd(ends[0], &file), -EINVAL);
    close(ends[0]); /* it stayed ours */
    close(ends[1]);
}

FILE_TEST(an_open_descriptor_becomes_a_file)
{
    OK(coil_write_file(path, "hello", 5, 0600));
    coil_file *file;
    char buf[8];
    size_t n;
    OK(coil_file_from_fd(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), &file));
    OK(coil_file_pread(file, buf, sizeof buf, 1, &n));
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(buf, "ello", 4);
    OK(coil_file_close(file));
    ck_assert_int_eq(coil_file_from_fd(-1, &file), -EBADF);
}

/* --- at offsets ----------------------------------------------------------------------------------------------- */

FILE_TEST(what_is_written_at_an_offset_is_read_there)
{
    char buf[16] = "";
    size_t n = 77;
    coil_file *file = opened(O_RDWR | O_CREAT);
    OK(coil_file_pwrite(file, "world", 5, 6));
    OK(coil_file_pwrite(file, "hello ", 6, 0));
    OK(coil_file_pread(file, buf, sizeof buf, 0, &n));
    ck_assert_uint_eq(n, 11);
    ck_assert_mem_eq(buf, "hello world", 11);
    OK(coil_file_pread(file, buf, 4, 3, &n));
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(buf, "lo w", 4);
    OK(coil_file_pread(file, buf, 4, 11, &n));
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(coil_file_tell(file), 0);
    OK(coil_file_close(file));
}

FILE_TEST(reading_and_writing_report_their_errors)
{
    char buf[8];
    size_t n = 77;
    coil_file *file = opened(O_WRONLY | O_CREAT);
    RAISES(-EBADF, "read: Bad file descriptor", coil_file_pread(file, buf, sizeof buf, 0, &n));
    RAISES(-EINVAL, "negative offset -1", coil_file_pread(file, buf, sizeof buf, -1, &n));
    RAISES(-EINVAL, "negative offset -5", coil_file_pwrite(file, buf, sizeof buf, -5));
    ck_assert_uint_eq(n, 77);
    OK(coil_file_close(file));
    file = opened(O_RDONLY);
    RAISES(-EBADF, "write: Bad file descriptor", coil_file_pwrite(file, "x", 1, 0));
    OK(coil_file_close(file));
}

FILE_TEST(several_buffers_go_in_one_request)
{
    char a[3], b[5];
    size_t n;
    struct iovec out[] = {{(void *)(uintptr_t)"one", 3}, {(void *)(uintptr_t)"-two-", 5}};
    struct iovec in[] = {{a, sizeof a}, {b, sizeof b}};
    coil_file *file = opened(O_RDWR | O_CREAT);
    OK(coil_file_pwritev(file, out, 2, 2, &n));
    ck_assert_uint_eq(n, 8);
    OK(coil_file_preadv(file, in, 2, 2, &n));
    ck_assert_uint_eq(n, 8);
    ck_assert_mem_eq(a, "one", 3);
    ck_assert_mem_eq(b, "-two-", 5);
    RAISES(-EINVAL, "readv: -1 buffers; at most 1024", coil_file_preadv(file, in, -1, 0, &n));
    OK(coil_file_close(file));
}

FILE_TEST(sync_truncate_size_and_stat)
{
    struct statx st;
    int64_t bytes;
    coil_file *file = opened(O_RDWR | O_CREAT);
    OK(coil_file_pwrite(file, "0123456789", 10, 0));
    OK(coil_file_datasync(file));
    OK(coil_file_truncate(file, 4));
    OK(coil_file_sync(file));
    OK(coil_file_size(file, &bytes));
    ck_assert_int_eq(bytes, 4);
    OK(coil_file_stat(file, &st));
    ck_assert_uint_eq(st.stx_size, 4);
    ck_assert(S_ISREG(st.stx_mode));
    OK(coil_stat(directory, &st));
    ck_assert(S_ISDIR(st.stx_mode));
    RAISES(-EINVAL, "truncate: invalid argument", coil_file_truncate(file, -1));
    OK(coil_file_close(file));
    unlink(path);
    ck_assert_int_eq(coil_stat(path, &st), -ENOENT);
}

FILE_TEST(direct_reads_work_with_the_alignment_that_is_told)
{
    coil_file *file;
    size_t memory, offset, n;
    static char block[8192];
    memset(block, 'x', sizeof block);
    OK(coil_write_file(path, block, sizeof block, 0600));
    int rc = coil_file_open(path, O_RDONLY | O_DIRECT, 0, &file);
    if (rc == -EINVAL)
        return; /* this file system has no O_DIRECT */
    OK(rc);
    OK(coil_file_get_alignment(file, &memory, &offset));
    ck_assert_uint_le(offset, 4096);
    char *buf = aligned_alloc(4096, 8192);
    OK(coil_file_pread(file, buf, 4096, 4096, &n));
    ck_assert_uint_eq(n, 4096);
    ck_assert_mem_eq(buf, block, 4096);
    free(buf);
    OK(coil_file_close(file));
}

/* --- many tasks, cancellation --------------------------------------------------------------------------------- */

struct piece {
    coil_file *file;
    int64_t number;
    uint64_t sum;
};

static int sum_piece(void *arg, void **result)
{
    struct piece *p = arg;
    (void)result;
    unsigned char buf[512];
    size_t n;
    for (int round = 0; round < 20; round++) {
        OK(coil_file_pread(p->file, buf, sizeof buf, p->number * 512, &n));
        ck_assert_uint_eq(n, sizeof buf);
        for (size_t i = 0; i < n; i++)
            p->sum += buf[i];
    }
    return 0;
}

FILE_TEST(many_tasks_read_one_file_at_a_time)
{
    enum { PIECES = 64 };
    static unsigned char data[PIECES * 512];
    struct piece pieces[PIECES];
    coil_task *tasks[PIECES];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i / 512);
    OK(coil_write_file(path, data, sizeof data, 0600));
    coil_file *file = opened(O_RDONLY);
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = (struct piece){file, i, 0};
        tasks[i] = spawn(coil_coro_of(sum_piece, &pieces[i]));
    }
    for (int i = 0; i < PIECES; i++) {
        OK(coil_join(tasks[i], NULL));
        ck_assert_uint_eq(pieces[i].sum, 20u * 512u * (unsigned)i);
    }
    OK(coil_file_close(file));
}

/* What the call said that was interrupted, and the one after it. */
struct interrupted {
    coil_file *file;
    int first, next;
    size_t n;
};

static int read_and_sleep(void *arg, void **result)
{
    struct interrupted *i = arg;
    (void)result;
    char buf[4096];
    i->first = coil_file_pread(i->file, buf, sizeof buf, 0, &i->n);
    coil_error_release(coil_catch(i->first));
    i->next = coil_sleep(COIL_SECONDS(1000));
    return i->next;
}

FILE_TEST(a_cancelled_read_delivers_what_it_has_read_or_raises)
{
    static char block[4096];
    OK(coil_write_file(path, block, sizeof block, 0600));
    coil_file *file = opened(O_RDONLY);
    for (int at = 0; at < 40; at++) {
        struct interrupted i = {.file = file, .first = 1, .next = 1};
        coil_task *task = spawn(coil_coro_of(read_and_sleep, &i));
        turns(at % 4);
        ck_assert(coil_future_cancel(task, NULL));
        int rc = coil_join(task, NULL);
        if (at % 4 == 0) {
            ck_assert_int_eq(rc, -ECANCELED); /* before it began */
            ck_assert_int_eq(i.first, 1);
            continue;
        }
        if (i.first == 0) { /* cancelled after the kernel was done: the next call raises */
            ck_assert_uint_eq(i.n, sizeof block);
            ck_assert_int_eq(i.next, -ECANCELED);
            ck_assert_int_eq(rc, -ECANCELED);
        } else {
            ck_assert_int_eq(i.first, -ECANCELED);
            ck_assert_int_eq(i.next, 0); /* the cancellation was met, and is over */
        }
    }
    OK(coil_file_close(file));
}

/* What a cancelled write to the end says is what it has done. */
struct appending {
    coil_file *file;
    int first;
};

static int append_and_sleep(void *arg, void **result)
{
    struct appending *a = arg;
    (void)result;
    a->first = coil_file_write(a->file, "12345678", 8);
    coil_error_release(coil_catch(a->first));
    return coil_sleep(COIL_SECONDS(1));
}

FILE_TEST(a_cancelled_append_was_made_or_raises)
{
    coil_file *file = opened(O_WRONLY | O_CREAT | O_APPEND);
    int64_t before = 0, after;
    int made = 0;
    for (int at = 0; at < 60; at++, before = after) {
        struct appending a = {.file = file, .first = -ECANCELED};
        coil_task *task = spawn(coil_coro_of(append_and_sleep, &a));
        turns(at % 6);
        while (at % 6 == 5 && a.first != 0) /* made, by a ring or a thread */
            OK(coil_sleep(COIL_MS(1)));
        ck_assert(coil_future_cancel(task, NULL));
        coil_error_release(coil_catch(coil_join(task, NULL)));
        OK(coil_file_size(file, &after));
        ck_assert(a.first == 0 || a.first == -ECANCELED);
        ck_assert_int_eq(after - before, a.first == 0 ? 8 : 0);
        ck_assert_int_eq(coil_file_tell(file), after);
        made += a.first == 0;
    }
    ck_assert_int_gt(made, 0);
    ck_assert_int_lt(made, 60);
    OK(coil_file_close(file));
}

static int close_when_cancelled(void *arg, void **result)
{
    (void)result;
    coil_future_cancel(coil_current_task(), NULL);
    return coil_file_close(arg);
}

FILE_TEST(close_gives_the_descriptor_back_also_when_cancelled)
{
    coil_file *file = opened(O_RDWR | O_CREAT);
    int fd = coil_file_fd(file);
    ck_assert_int_eq(coil_join(spawn(coil_coro_of(close_when_cancelled, file)), NULL), -ECANCELED);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    OK(coil_file_close(NULL));
}

/* --- at the position ------------------------------------------------------------------------------------------ */

FILE_TEST(reads_and_writes_go_on_where_the_last_ended)
{
    char buf[8];
    size_t n;
    coil_file *file = opened(O_RDWR | O_CREAT);
    OK(coil_file_write(file, "one ", 4));
    OK(coil_file_write(file, "two", 3));
    ck_assert_int_eq(coil_file_tell(file), 7);
    OK(coil_file_seek(file, 2));
    OK(coil_file_read(file, buf, 3, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert_mem_eq(buf, "e t", 3);
    OK(coil_file_read(file, buf, sizeof buf, &n));
    ck_assert_uint_eq(n, 2);
    OK(coil_file_read(file, buf, sizeof buf, &n));
    ck_assert_uint_eq(n, 0);
    RAISES(-EINVAL, "negative offset -1", coil_file_seek(file, -1));
    OK(coil_file_close(file));
    file_is("one two");
}

FILE_TEST(appending_puts_everything_at_the_end)
{
    OK(coil_write_file(path, "begin", 5, 0600));
    coil_file *file = opened(O_WRONLY | O_APPEND);
    OK(coil_file_write(file, "-more", 5));
    ck_assert_int_eq(coil_file_tell(file), 10);
    OK(coil_file_seek(file, 0));
    OK(coil_file_write(file, "-end", 4));
    ck_assert_int_eq(coil_file_tell(file), 14);
    OK(coil_file_close(file));
    file_is("begin-more-end");
}

static void line_is(coil_file *file, const char *text)
{
    const char *line;
    size_t n;
    OK(coil_file_readline(file, &line, &n));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_mem_eq(line, text, n);
}

FILE_TEST(lines_come_one_by_one_and_the_last_may_lack_its_newline)
{
    char buf[8];
    size_t n;
    OK(coil_write_file(path, "one\n\nthree\nlast", 15, 0600));
    coil_file *file = opened(O_RDONLY);
    line_is(file, "one\n");
    line_is(file, "\n");
    ck_assert_int_eq(coil_file_tell(file), 5);
    OK(coil_file_read(file, buf, 2, &n)); /* goes on behind the line */
    ck_assert_mem_eq(buf, "th", 2);
    line_is(file, "ree\n");
    line_is(file, "last");
    line_is(file, "");
    line_is(file, "");
    OK(coil_file_close(file));
}

FILE_TEST(a_line_may_be_longer_than_a_block)
{
    enum { BYTES = 300000 };
    char *text = malloc(2 * BYTES + 2);
    const char *line;
    size_t n;
    memset(text, 'a', BYTES);
    text[BYTES] = '\n';
    memset(text + BYTES + 1, 'b', BYTES);
    text[2 * BYTES + 1] = '\n';
    OK(coil_write_file(path, text, 2 * BYTES + 2, 0600));
    coil_file *file = opened(O_RDONLY);
    for (int i = 0; i < 2; i++) {
        OK(coil_file_readline(file, &line, &n));
        ck_assert_uint_eq(n, BYTES + 1);
        ck_assert_mem_eq(line, text + i * (BYTES + 1), n);
    }
    free(text);
    OK(coil_file_close(file));
}

FILE_TEST(a_write_between_lines_is_seen_by_the_next)
{
    OK(coil_write_file(path, "one\ntwo\n", 8, 0600));
    coil_file *file = opened(O_RDWR);
    line_is(file, "one\n");
    OK(coil_file_write(file, "TWO", 3));
    line_is(file, "\n");
    OK(coil_file_close(file));
    file_is("one\nTWO\n");
}

static int read_at_position(void *arg, void **result)
{
    char c;
    size_t n;
    (void)result;
    return coil_file_read(arg, &c, 1, &n);
}

FILE_TEST(a_second_task_at_the_position_is_told_that_it_is_busy)
{
    OK(coil_write_file(path, "ab", 2, 0600));
    coil_file *file = opened(O_RDONLY);
    coil_task *first = spawn(coil_coro_of(read_at_position, file));
    coil_task *second = spawn(coil_coro_of(read_at_position, file));
    OK(coil_join(first, NULL));
    RAISES(COIL_EBUSY, "another task is using the file's position", coil_join(second, NULL));
    OK(coil_file_close(file));
}

FILE_TEST(lines_come_as_a_file_grows_and_may_hold_zeros)
{
    const char *line;
    size_t n;
    coil_file *out = opened(O_WRONLY | O_CREAT | O_APPEND), *in = opened(O_RDONLY);
    line_is(in, "");
    OK(coil_file_write(out, "one\nhal", 7));
    line_is(in, "one\n");
    line_is(in, "hal"); /* what is there */
    OK(coil_file_write(out, "f\n\0\0\n\0", 6));
    line_is(in, "f\n");
    OK(coil_file_readline(in, &line, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert_mem_eq(line, "\0\0\n", 3);
    OK(coil_file_readline(in, &line, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_mem_eq(line, "\0", 1);
    OK(coil_file_truncate(out, 2));
    line_is(in, "");
    OK(coil_file_close(in));
    OK(coil_file_close(out));
}

FILE_TEST(who_appends_stands_behind_what_it_has_written)
{
    coil_file *a = opened(O_WRONLY | O_CREAT | O_APPEND), *b = opened(O_WRONLY | O_APPEND);
    OK(coil_file_write(a, "aa", 2));
    OK(coil_file_write(b, "bbb", 3));
    OK(coil_file_write(a, "A", 1));
    ck_assert_int_eq(coil_file_tell(a), 6);
    ck_assert_int_eq(coil_file_tell(b), 5);
    OK(coil_file_write(b, "", 0));
    ck_assert_int_eq(coil_file_tell(b), 5);
    OK(coil_file_close(a));
    OK(coil_file_close(b));
    file_is("aabbbA");
}

/* --- whole files ---------------------------------------------------------------------------------------------- */

FILE_TEST(a_whole_file_is_written_and_read)
{
    OK(coil_write_file(path, "long text", 9, 0600));
    OK(coil_write_file(path, "text", 4, 0600)); /* replaces it */
    file_is("text");
    OK(coil_write_file(path, "", 0, 0600));
    file_is("");
    char *data = NULL;
    size_t n;
    ck_assert_int_eq(coil_read_file("/nonexistent/file", &data, &n), -ENOENT);
    ck_assert_ptr_null(data);
}

FILE_TEST(a_file_that_says_it_is_empty_is_read_to_its_end)
{
    char *data;
    size_t n;
    OK(coil_read_file("/proc/self/status", &data, &n));
    ck_assert_uint_gt(n, 100);
    ck_assert_uint_eq(strlen(data), n);
    ck_assert(strncmp(data, "Name:", 5) == 0);
    free(data);
}

FILE_TEST(a_file_of_some_megabytes_survives)
{
    size_t n = (size_t)5 << 20, got;
    char *data = malloc(n), *back;
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    OK(coil_write_file(path, data, n, 0600));
    OK(coil_read_file(path, &back, &got));
    ck_assert_uint_eq(got, n);
    ck_assert(memcmp(data, back, n) == 0);
    free(data);
    free(back);
}

/* --- registered buffers --------------------------------------------------------------------------------------- */

FILE_TEST(registered_memory_is_read_into_and_written_from)
{
    coil_loop *loop = coil_get_running_loop();
    coil_buffers *buffers;
    size_t n;
    OK(coil_buffers_new(loop, 8192, &buffers));
    char *memory = coil_buffers_data(buffers);
    ck_assert_uint_eq((uintptr_t)memory % 4096, 0);
    memset(memory, 'r', 8192);
    coil_file *file = opened(O_RDWR | O_CREAT);
    OK(coil_file_pwrite(file, memory + 100, 4000, 0));
    OK(coil_file_pwrite(file, "0", 1, 0)); /* memory of another sort between */
    OK(coil_file_pread(file, memory + 4096, 4096, 0, &n));
    ck_assert_uint_eq(n, 4000);
    ck_assert_mem_eq(memory + 4096, "0rrr", 4);
    coil_buffers_free(buffers);
    OK(coil_file_close(file));
}

FILE_TEST(memory_that_is_partly_registered_is_just_memory)
{
    coil_buffers *buffers;
    size_t n;
    OK(coil_buffers_new(coil_get_running_loop(), 100, &buffers)); /* of a page */
    char *memory = coil_buffers_data(buffers);
    coil_file *file = opened(O_RDWR | O_CREAT);
    memset(memory, 's', 200);
    OK(coil_file_pwrite(file, memory, 100, 0));
    OK(coil_file_pwrite(file, memory + 50, 100, 100));
    OK(coil_file_pread(file, memory + 99, 2, 0, &n));
    ck_assert_uint_eq(n, 2);
    OK(coil_file_pread(file, memory + 100, 50, 0, &n));
    OK(coil_file_pread(file, memory + 100, 0, 0, &n));
    ck_assert_uint_eq(n, 0);
    coil_buffers_free(buffers);
    OK(coil_file_close(file));
}

FILE_TEST(a_region_that_was_freed_makes_room_for_another)
{
    coil_loop *loop = coil_get_running_loop();
    coil_buffers *all[16];
    coil_file *file = opened(O_RDWR | O_CREAT);
    for (int i = 0; i < 16; i++)
        OK(coil_buffers_new(loop, 4096, &all[i]));
    for (int i = 0; i < 50; i++) {
        coil_buffers_free(all[i % 16]);
        OK(coil_buffers_new(loop, 4096, &all[i % 16]));
        OK(coil_file_pwrite(file, coil_buffers_data(all[i % 16]), 4096, 0));
    }
    for (int i = 0; i < 16; i++)
        coil_buffers_free(all[i]);
    OK(coil_file_close(file));
}

FILE_TEST(regions_of_memory_come_and_go)
{
    coil_loop *loop = coil_get_running_loop();
    coil_buffers *all[16], *more;
    coil_file *file = opened(O_RDWR | O_CREAT);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 16; i++) {
            OK(coil_buffers_new(loop, 4096, &all[i]));
            memset(coil_buffers_data(all[i]), 'a' + i, 4096);
            OK(coil_file_pwrite(file, coil_buffers_data(all[i]), 1, i));
        }
        RAISES(-EAGAIN, "16 registered buffers at a time are the most", coil_buffers_new(loop, 4096, &more));
        for (int i = 0; i < 16; i++)
            coil_buffers_free(all[i]);
        turns(2);
    }
    RAISES(-EINVAL, "buffers of 0 bytes; 1 to 1073741824 are possible", coil_buffers_new(loop, 0, &more));
    OK(coil_file_close(file));
    file_is("abcdefghijklmnop");
}

COIL_TEST_MAIN("file")
