#define _GNU_SOURCE /* pipe2 */
/* Streams on pipes, fifos, sockets and terminals; stdin and stdout, whatever they are; keystrokes. */
#include "asleep.h"
#include "net.h"
#include "pipes.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <utmp.h>

static bool is_nonblocking(int fd)
{
    return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

/* --- pipes ------------------------------------------------------------------------------------------------------- */

NET_TEST(a_pipe_carries_lines_from_stream_to_stream)
{
    ends e = open_pipe();
    coil_stream *in, *out;
    OK(coil_connect_read_pipe(e.in, 0, &in));
    OK(coil_connect_write_pipe(e.out, &out));
    writes(out, "one\ntwo\n");
    reads_line(in, "one\n");
    reads_line(in, "two\n");
    coil_stream_close(out);
    OK(coil_stream_wait_closed(out));
    reads_line(in, "");
    coil_stream_free(out);
    finish(in);
}

NET_TEST(write_eof_closes_the_writing_end)
{
    ends e = open_pipe();
    coil_stream *in, *out;
    OK(coil_connect_read_pipe(e.in, 0, &in));
    OK(coil_connect_write_pipe(e.out, &out));
    writes(out, "last");
    OK(coil_stream_write_eof(out));
    reads_all(in, "last");
    finish(out);
    finish(in);
}

NET_TEST(each_direction_refuses_the_other)
{
    ends e = open_pipe();
    coil_stream *in, *out;
    OK(coil_connect_read_pipe(e.in, 0, &in));
    OK(coil_connect_write_pipe(e.out, &out));
    RAISES(-EINVAL, "the stream is for reading only", coil_stream_write(in, "x", 1));
    reads_line(out, "");
    finish(out);
    finish(in);
}

static char block[256 * 1024];

static int drain(void *arg, void **result)
{
    (void)result;
    return coil_stream_drain(arg);
}

NET_TEST(drain_waits_for_a_reader)
{
    ends e = open_pipe();
    coil_stream *in, *out;
    OK(coil_connect_write_pipe(e.out, &out));
    for (int i = 0; i < 4; i++)
        OK(coil_stream_write(out, block, sizeof block));
    coil_task *draining = spawn(coil_coro_of(drain, out));
    turns(3);
    ck_assert(!coil_future_done(draining));
    OK(coil_connect_read_pipe(e.in, 0, &in));
    static char got[4 * sizeof block];
    OK(coil_stream_readexactly(in, got, sizeof got));
    OK(coil_join(draining, NULL));
    finish(out);
    finish(in);
}

NET_TEST(a_writer_without_reader_breaks_and_no_signal_kills)
{
    ends e = open_pipe();
    coil_stream *out;
    signal(SIGPIPE, SIG_DFL);
    OK(coil_connect_write_pipe(e.out, &out));
    OK(coil_stream_write(out, block, sizeof block));
    close(e.in);
    ck_assert_int_eq(coil_stream_wait_closed(out), -EPIPE);
    RAISES(-EPIPE, "", coil_stream_drain(out));
    coil_stream_free(out);
}

static void handle_sigpipe(int signal)
{
    (void)signal;
}

NET_TEST(a_program_s_own_handler_for_sigpipe_stays)
{
    ends e = open_pipe();
    coil_stream *out;
    struct sigaction now;
    signal(SIGPIPE, handle_sigpipe);
    OK(coil_connect_write_pipe(e.out, &out));
    sigaction(SIGPIPE, NULL, &now);
    ck_assert(now.sa_handler == handle_sigpipe);
    close(e.in);
    coil_stream_free(out);
}

NET_TEST(what_is_no_pipe_is_refused)
{
    coil_stream *s;
    char path[] = "/tmp/coil-pipe-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    RAISES(-EINVAL, "Pipe transport is for pipes/sockets only.", coil_connect_read_pipe(dup(file), 0, &s));
    RAISES(-EINVAL, "Pipe transport is only for pipes, sockets and character devices",
           coil_connect_write_pipe(file, &s));
    ck_assert_int_eq(coil_connect_read_pipe(open("/dev/null", O_RDONLY | O_CLOEXEC), 0, &s), -EPERM);
    ck_assert_int_eq(coil_connect_read_pipe(9999, 0, &s), -EBADF);
}

NET_TEST(an_inherited_pipe_stays_blocking_for_others)
{
    ends e = open_pipe();
    int theirs = dup(e.in), flags = fcntl(e.in, F_GETFD);
    coil_stream *in;
    OK(coil_connect_read_pipe(e.in, 0, &in));
    ck_assert(!is_nonblocking(theirs));
    ck_assert(is_nonblocking(e.in));
    ck_assert_int_eq(fcntl(e.in, F_GETFD), flags);
    finish(in);
    close(theirs);
    close(e.out);
}

NET_TEST(a_socket_can_be_read_as_a_pipe)
{
    int fds[2];
    coil_stream *in, *out;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    OK(coil_connect_read_pipe(fds[0], 0, &in));
    OK(coil_connect_write_pipe(fds[1], &out));
    writes(out, "through\n");
    reads_line(in, "through\n");
    finish(out);
    reads_line(in, "");
    finish(in);
}

NET_TEST(a_fifo_has_two_ends_in_the_file_system)
{
    char directory[] = "/tmp/coil-fifo-XXXXXX", path[64];
    coil_stream *in, *out;
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/fifo", directory);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    OK(coil_connect_read_pipe(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), 0, &in));
    OK(coil_connect_write_pipe(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), &out));
    writes(out, "over\n");
    reads_line(in, "over\n");
    finish(out);
    finish(in);
    unlink(path);
    rmdir(directory);
}

NET_TEST(a_fifo_that_is_open_for_both_has_no_end)
{
    char directory[] = "/tmp/coil-fifo-XXXXXX", path[64];
    coil_stream *in;
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/fifo", directory);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    OK(coil_connect_read_pipe(open(path, O_RDWR | O_CLOEXEC), 0, &in));
    for (int writer = 0; writer < 2; writer++) {
        int out = open(path, O_WRONLY | O_CLOEXEC);
        ck_assert_int_eq(write(out, "line\n", 5), 5);
        close(out);
        reads_line(in, "line\n");
    }
    finish(in);
    unlink(path);
    rmdir(directory);
}

TEST(pipes_need_a_loop)
{
    coil_stream *s;
    ends e = open_pipe();
    RAISES(COIL_ENOLOOP, "no running event loop", coil_connect_read_pipe(e.in, 0, &s));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_connect_write_pipe(e.out, &s));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_open_stdin(&s));
    ck_assert_int_eq(fcntl(e.in, F_GETFD), -1);
}

static void leave_pipes_open(void)
{
    ends e = open_pipe();
    coil_stream *in, *out;
    OK(coil_connect_read_pipe(e.in, 0, &in));
    OK(coil_connect_write_pipe(e.out, &out));
    OK(coil_stream_write(out, block, sizeof block));
    coil_stream_free(in);
    coil_stream_free(out);
}

NET_TEST(streams_on_pipes_may_be_freed_while_open)
{
    leave_pipes_open();
}

/* --- stdin, stdout ------------------------------------------------------------------------------------------------ */

/* Runs @fn in a process with these standard descriptors, which are closed here; its exit status. */
static int run_with(int in, int out, void (*fn)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in, 0);
        dup2(out, 1);
        run_as_task(fn);
        exit(0);
    }
    close(in);
    close(out);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Copies stdin to stdout. */
static void copy(void)
{
    coil_stream *in, *out;
    char buf[4096];
    size_t n;
    if (coil_open_stdin(&in) < 0 || coil_open_stdout(&out) < 0)
        exit(1);
    for (;;) {
        if (coil_stream_read(in, buf, sizeof buf, &n) < 0)
            exit(2);
        if (n == 0)
            break;
        if (coil_stream_write(out, buf, n) < 0 || coil_stream_drain(out) < 0)
            exit(3);
    }
    coil_stream_close(out);
    if (coil_stream_wait_closed(out) < 0)
        exit(4);
    coil_stream_free(out);
    coil_stream_close(in);
    coil_stream_free(in);
    if (fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0)
        exit(5);
}

static int file_with(const char *text)
{
    char path[] = "/tmp/coil-stdin-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    ck_assert_int_eq(write(file, text, strlen(text)), (int)strlen(text));
    lseek(file, 0, SEEK_SET);
    return file;
}

static void file_is(int file, const char *text)
{
    char buf[64] = "";
    ck_assert_int_eq(pread(file, buf, sizeof buf - 1, 0), (int)strlen(text));
    ck_assert_str_eq(buf, text);
    close(file);
}

TEST(stdin_and_stdout_may_be_pipes)
{
    ends in = open_pipe(), out = open_pipe();
    char buf[16] = "";
    ck_assert_int_eq(write(in.out, "through", 7), 7);
    close(in.out);
    int in_kept = dup(in.in), out_kept = dup(out.out);
    ck_assert_int_eq(run_with(in.in, out.out, copy), 0);
    ck_assert_int_eq(read(out.in, buf, sizeof buf), 7);
    ck_assert_str_eq(buf, "through");
    ck_assert(!is_nonblocking(in_kept));
    ck_assert(!is_nonblocking(out_kept));
    close(in_kept);
    close(out_kept);
    close(out.in);
}

TEST(stdin_and_stdout_may_be_files)
{
    int out = file_with(""), kept = dup(out);
    ck_assert_int_eq(run_with(file_with("from a file\n"), out, copy), 0);
    file_is(kept, "from a file\n");
}

TEST(stdin_and_stdout_may_be_dev_null)
{
    ck_assert_int_eq(run_with(open("/dev/null", O_RDONLY), open("/dev/null", O_WRONLY), copy), 0);
}

TEST(stdin_and_stdout_may_be_sockets_which_stay_blocking)
{
    int in[2], out[2];
    char buf[16] = "";
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, in), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, out), 0);
    ck_assert_int_eq(write(in[1], "through", 7), 7);
    shutdown(in[1], SHUT_WR);
    int in_kept = dup(in[0]), out_kept = dup(out[0]);
    ck_assert_int_eq(run_with(in[0], out[0], copy), 0);
    ck_assert_int_eq(read(out[1], buf, sizeof buf), 7);
    ck_assert_str_eq(buf, "through");
    ck_assert(!is_nonblocking(in_kept));
    ck_assert(!is_nonblocking(out_kept));
}

static void read_a_little(void)
{
    coil_stream *in;
    if (coil_open_stdin(&in) < 0)
        exit(1);
    reads_line(in, "first\n");
    coil_stream_close(in);
    coil_stream_free(in);
}

static char lines[300 * 1024];

TEST(a_file_as_stdin_may_be_closed_half_way)
{
    memcpy(lines, "first\n", 6);
    memset(lines + 6, 'x', sizeof lines - 7);
    ck_assert_int_eq(run_with(file_with(lines), open("/dev/null", O_WRONLY), read_a_little), 0);
}

static void leave_stdin_open(void)
{
    coil_stream *in;
    if (coil_open_stdin(&in) < 0)
        exit(1);
    turns(2);
    coil_stream_free(in);
}

TEST(a_file_as_stdin_may_be_left_half_way)
{
    ck_assert_int_eq(run_with(file_with(lines), open("/dev/null", O_WRONLY), leave_stdin_open), 0);
}

/* --- terminals ---------------------------------------------------------------------------------------------------- */

typedef struct terminal {
    int master, slave;
} terminal;

static terminal open_terminal(void)
{
    terminal t;
    ck_assert_int_eq(openpty(&t.master, &t.slave, NULL, NULL, NULL), 0);
    fcntl(t.master, F_SETFD, FD_CLOEXEC);
    fcntl(t.slave, F_SETFD, FD_CLOEXEC);
    return t;
}

static void types(const terminal *t, const char *keys)
{
    ck_assert_int_eq(write(t->master, keys, strlen(keys)), (int)strlen(keys));
}

/* What the terminal shows. */
static void shows(const terminal *t, const char *text)
{
    char buf[64] = "";
    size_t n = 0;
    while (n < strlen(text))
        n += (size_t)read(t->master, buf + n, sizeof buf - 1 - n);
    ck_assert_str_eq(buf, text);
    ck_assert_int_eq(poll(&(struct pollfd){.fd = t->master, .events = POLLIN}, 1, 0), 0);
}

static tcflag_t local_modes(const terminal *t)
{
    struct termios modes;
    ck_assert_int_eq(tcgetattr(t->slave, &modes), 0);
    return modes.c_lflag;
}

NET_TEST(a_terminal_is_read_line_by_line_at_first)
{
    terminal t = open_terminal();
    coil_stream *in;
    OK(coil_connect_read_pipe(dup(t.slave), 0, &in));
    types(&t, "ab");
    shows(&t, "ab");
    types(&t, "c\n");
    reads_line(in, "abc\n");
    ck_assert(!is_nonblocking(t.slave));
    finish(in);
    close(t.slave);
    close(t.master);
}

NET_TEST(single_keystrokes_arrive_without_echo)
{
    terminal t = open_terminal();
    coil_terminal *saved;
    coil_stream *in, *out;
    char key;
    OK(coil_connect_read_pipe(dup(t.slave), 0, &in));
    OK(coil_connect_write_pipe(dup(t.slave), &out));
    OK(coil_terminal_cbreak(t.slave, &saved));
    for (const char *keys = "xyz"; *keys; keys++) {
        types(&t, (char[]){*keys, '\0'});
        OK(coil_stream_readexactly(in, &key, 1));
        ck_assert_int_eq(key, *keys);
    }
    writes(out, "shown\n");
    shows(&t, "shown\r\n");
    coil_terminal_restore(saved);
    ck_assert_uint_eq(local_modes(&t) & (ECHO | ICANON), ECHO | ICANON);
    finish(in);
    finish(out);
    close(t.slave);
    close(t.master);
}

NET_TEST(a_raw_terminal_gives_ctrl_c_as_a_byte)
{
    terminal t = open_terminal();
    coil_terminal *saved;
    coil_stream *in;
    char key;
    OK(coil_connect_read_pipe(dup(t.slave), 0, &in));
    OK(coil_terminal_raw(t.slave, &saved));
    types(&t, "\x03");
    OK(coil_stream_readexactly(in, &key, 1));
    ck_assert_int_eq(key, 3);
    coil_terminal_restore(saved);
    ck_assert_uint_eq(local_modes(&t) & ISIG, ISIG);
    finish(in);
    close(t.slave);
    close(t.master);
}

NET_TEST(what_is_no_terminal_has_no_modes)
{
    ends e = open_pipe();
    coil_terminal *saved;
    ck_assert_int_eq(coil_terminal_cbreak(e.in, &saved), -ENOTTY);
    ck_assert_int_eq(coil_terminal_raw(9999, &saved), -EBADF);
    coil_terminal_restore(NULL);
    close(e.in);
    close(e.out);
}

NET_TEST(terminals_are_restored_in_reverse)
{
    terminal t = open_terminal();
    coil_terminal *first, *second, *saved[COIL_TERMINALS_MAX];
    OK(coil_terminal_cbreak(t.slave, &first));
    OK(coil_terminal_raw(t.slave, &second));
    coil_terminal_restore(second);
    ck_assert_uint_eq(local_modes(&t) & (ECHO | ISIG), ISIG);
    coil_terminal_restore(first);
    ck_assert_uint_eq(local_modes(&t) & (ECHO | ISIG), ECHO | ISIG);
    for (int i = 0; i < COIL_TERMINALS_MAX; i++)
        OK(coil_terminal_raw(t.slave, &saved[i]));
    ck_assert_int_eq(coil_terminal_raw(t.slave, &first), -EMFILE);
    for (int i = COIL_TERMINALS_MAX; i-- > 0;)
        coil_terminal_restore(saved[i]);
    ck_assert_uint_eq(local_modes(&t) & (ECHO | ISIG), ECHO | ISIG);
    close(t.slave);
    close(t.master);
}

/* A process makes the terminal raw, and ends by @signal, or by exit() without one: how it has ended. */
static int end_raw(const terminal *t, int number)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        coil_terminal *saved;
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        if (coil_terminal_raw(t->slave, &saved) < 0 || (local_modes(t) & ECHO))
            _exit(1);
        close(t->slave);
        if (number)
            raise(number);
        exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(a_terminal_is_restored_when_the_program_ends)
{
    static const int numbers[] = {0, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    terminal t = open_terminal();
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(end_raw(&t, numbers[i]), -numbers[i]);
        ck_assert_uint_eq(local_modes(&t) & (ECHO | ICANON), ECHO | ICANON);
    }
    close(t.slave);
    close(t.master);
}

/* Ctrl-C in a program that has its terminal as stdin: the loop hears of it, and the terminal is as it was. */
static int wait_for_ever(void *arg, void **result)
{
    (void)arg, (void)result;
    ck_assert_int_eq(write(1, "ready", 5), 5);
    return coil_sleep(COIL_FOREVER);
}

TEST(ctrl_c_in_a_cbreak_terminal_interrupts_the_run)
{
    int status;
    terminal t = open_terminal();
    pid_t pid = fork();
    if (pid == 0) {
        coil_terminal *saved;
        signal(SIGINT, SIG_DFL);
        login_tty(t.slave);
        if (coil_terminal_cbreak(0, &saved) < 0)
            _exit(1);
        int rc = coil_run(coil_coro_of(wait_for_ever, NULL), NULL);
        exit(rc == COIL_EKEYBOARDINTERRUPT ? 42 : 1);
    }
    shows(&t, "ready");
    wait_until_asleep(pid);
    types(&t, "\x03");
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 42);
    ck_assert_uint_eq(local_modes(&t) & (ECHO | ICANON), ECHO | ICANON);
    close(t.slave);
    close(t.master);
}

COIL_TEST_MAIN("pipe")
