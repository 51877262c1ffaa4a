#define _GNU_SOURCE /* pipe2 */
/* Subprocesses: starting, their pipes, their end, signals, communicate. Programs are those of every Unix. */
#include "net.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PIPE      COIL_SUBPROCESS_PIPE
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The options of a shell command with pipes. */
static coil_process_options piped(const char *const *argv)
{
    return (coil_process_options){
        .size = sizeof(coil_process_options), .argv = argv, .stdin_to = PIPE, .stdout_to = PIPE, .stderr_to = PIPE};
}

static coil_process *start(coil_process_options options)
{
    coil_process *p;
    OK(coil_create_subprocess_exec(&options, &p));
    return p;
}

#define SHELL(command) start(piped(ARGV("/bin/sh", "-c", command)))

static int wait_for_end(coil_process *p)
{
    int code;
    OK(coil_process_wait(p, &code));
    return code;
}

/* No child is left, not even a zombie. */
static void no_children(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}

/* A test in a task, in real time, that ends without children and with as many descriptors as it began with. */
#define PROCESS_TEST(name)                                                                              \
    static void name##_in_task(void);                                                                   \
    static int name##_coro(void *arg, void **result)                                                    \
    {                                                                                                   \
        (void)arg, (void)result;                                                                        \
        name##_in_task();                                                                               \
        return 0;                                                                                       \
    }                                                                                                   \
    TEST(name)                                                                                          \
    {                                                                                                   \
        int before = open_descriptors();                                                                \
        coil_loop_options options = {.size = sizeof options, .default_exception_handler = keep_report}; \
        trace[0] = '\0';                                                                                \
        OK(coil_run_with(&options, coil_coro_of(name##_coro, NULL), NULL));                             \
        ck_assert_int_eq(open_descriptors(), before);                                                   \
        no_children();                                                                                  \
    }                                                                                                   \
    static void name##_in_task(void)

/* Runs a command to its end: its exit status, and that its stdout is @out. */
static int output_is(coil_process *p, const char *out)
{
    coil_process_data data;
    OK(coil_process_communicate(p, NULL, 0, &data, NULL));
    ck_assert_str_eq(data.data, out);
    ck_assert_uint_eq(data.n, strlen(out));
    free(data.data);
    int code = wait_for_end(p);
    coil_process_free(p);
    return code;
}

/* --- starting and ending ----------------------------------------------------------------------------------------- */

PROCESS_TEST(a_program_runs_and_its_status_is_known)
{
    coil_process *p = SHELL("exit 7");
    int code = -1;
    ck_assert_int_gt(coil_process_pid(p), 0);
    ck_assert(!coil_process_returncode(p, &code));
    ck_assert_int_eq(code, -1);
    ck_assert_int_eq(wait_for_end(p), 7);
    ck_assert(coil_process_returncode(p, &code));
    ck_assert_int_eq(code, 7);
    ck_assert_int_eq(wait_for_end(p), 7);
    coil_process_free(p);
}

PROCESS_TEST(a_program_is_looked_for_in_path)
{
    ck_assert_int_eq(output_is(start(piped(ARGV("echo", "a", "b"))), "a b\n"), 0);
    coil_process_options options = piped(ARGV("echo", "c"));
    options.env = ARGV("A=b", "PATH=/nowhere::/usr/bin:/bin");
    ck_assert_int_eq(output_is(start(options), "c\n"), 0);
}

PROCESS_TEST(a_program_that_does_not_exist_is_an_error_that_names_it)
{
    coil_process *p = NULL;
    coil_process_options options = piped(ARGV("no-such-program"));
    for (int i = 0; i < 2; i++) /* how the child reports may change after the first */
        RAISES(-ENOENT, "executing 'no-such-program': No such file or directory",
               coil_create_subprocess_exec(&options, &p));
    options.argv = ARGV("/etc/passwd");
    RAISES(-EACCES, "executing '/etc/passwd': Permission denied", coil_create_subprocess_exec(&options, &p));
    options.argv = ARGV("");
    RAISES(-ENOENT, "a program's name cannot be empty", coil_create_subprocess_exec(&options, &p));
    options.argv = ARGV("echo");
    options.env = ARGV("PATH=/nowhere");
    RAISES(-ENOENT, "executing 'echo': No such file or directory", coil_create_subprocess_exec(&options, &p));
    ck_assert_ptr_null(p);
}

PROCESS_TEST(a_directory_that_does_not_exist_is_an_error_that_names_it)
{
    coil_process *p;
    coil_process_options options = piped(ARGV("echo"));
    options.cwd = "/no/such/directory";
    RAISES(-ENOENT, "changing to directory '/no/such/directory': No such file or directory",
           coil_create_subprocess_exec(&options, &p));
}

PROCESS_TEST(options_that_make_no_sense_are_refused)
{
    coil_process *p;
    coil_process_options options = piped(ARGV("echo"));
    options.size = 1;
    ck_assert_int_eq(coil_create_subprocess_exec(&options, &p), -EINVAL);
    options = piped(NULL);
    RAISES(-EINVAL, "a program is needed", coil_create_subprocess_exec(&options, &p));
    options = piped(ARGV("echo"));
    options.stdout_to = COIL_SUBPROCESS_STDOUT;
    RAISES(-EINVAL, "-2 is no descriptor", coil_create_subprocess_exec(&options, &p));
    options = piped(ARGV("echo"));
    options.stdin_to = 999;
    RAISES(-EBADF, "connecting the standard descriptors for 'echo': Bad file descriptor",
           coil_create_subprocess_exec(&options, &p));
    options = piped(ARGV("echo"));
    options.pass_fds = (int[]){1};
    options.pass_fd_count = 1;
    RAISES(-EINVAL, "descriptor 1 cannot be passed on by pass_fds", coil_create_subprocess_exec(&options, &p));
}

PROCESS_TEST(a_shell_runs_a_command)
{
    coil_process *p;
    coil_process_options options = piped(ARGV("echo $((1 + 2)) $0 $1; exit 3", "zero", "one"));
    OK(coil_create_subprocess_shell(&options, &p));
    ck_assert_int_eq(output_is(p, "3 zero one\n"), 3);
}

PROCESS_TEST(environment_directory_and_name_can_be_chosen)
{
    coil_process_options options = piped(ARGV("another", "-c", "echo $NAME $0; pwd"));
    options.program = "/bin/sh";
    options.env = ARGV("NAME=value");
    options.cwd = "/usr";
    ck_assert_int_eq(output_is(start(options), "value another\n/usr\n"), 0);
}

PROCESS_TEST(a_killed_process_has_minus_the_signal)
{
    coil_process *p = SHELL("exec sleep 100");
    OK(coil_process_kill(p));
    ck_assert_int_eq(wait_for_end(p), -SIGKILL);
    RAISES(-ESRCH, "", coil_process_kill(p));
    coil_process_free(p);
    p = SHELL("exec sleep 100");
    OK(coil_process_terminate(p));
    ck_assert_int_eq(wait_for_end(p), -SIGTERM);
    coil_process_free(p);
    p = SHELL("exec sleep 100");
    RAISES(-EINVAL, "", coil_process_send_signal(p, 1000));
    OK(coil_process_send_signal(p, SIGUSR1));
    ck_assert_int_eq(wait_for_end(p), -SIGUSR1);
    coil_process_free(p);
}

PROCESS_TEST(standard_descriptors_go_where_they_are_told_to)
{
    int ends[2];
    char buf[16] = "";
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    coil_process_options options = {.size = sizeof options,
                                    .argv = ARGV("sh", "-c", "cat; echo out; echo err >&2"),
                                    .stdin_to = COIL_SUBPROCESS_DEVNULL,
                                    .stdout_to = ends[1],
                                    .stderr_to = COIL_SUBPROCESS_STDOUT};
    coil_process *p = start(options);
    ck_assert_ptr_null(coil_process_stdin(p));
    ck_assert_ptr_null(coil_process_stdout(p));
    ck_assert_int_eq(wait_for_end(p), 0);
    coil_process_free(p);
    ck_assert_int_eq(read(ends[0], buf, sizeof buf), 8);
    ck_assert_str_eq(buf, "out\nerr\n");
    close(ends[0]);
    close(ends[1]);
    options.stdout_to = PIPE;
    ck_assert_int_eq(output_is(start(options), "out\nerr\n"), 0);
}

/* The program has closed its own standard descriptors, so that pipes get their numbers. */
PROCESS_TEST(pipes_may_have_the_numbers_of_standard_descriptors)
{
    int kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    coil_process_options options = piped(ARGV("/bin/sh", "-c", "cat; echo err >&2"));
    coil_process_data out, err;
    coil_process *p = NULL;
    int rc = coil_create_subprocess_exec(&options, &p);
    int rc2 = p ? coil_process_communicate(p, "in\n", 3, &out, &err) : 0;
    coil_process_free(p);
    for (int i = 0; i < 3; i++) {
        dup2(kept[i], i);
        close(kept[i]);
    }
    OK(rc);
    OK(rc2);
    ck_assert_str_eq(out.data, "in\n");
    ck_assert_str_eq(err.data, "err\n");
    free(out.data);
    free(err.data);
}

PROCESS_TEST(descriptors_are_closed_but_for_those_that_are_passed)
{
    int ends[2];
    char command[128];
    ck_assert_int_eq(pipe(ends), 0); /* without O_CLOEXEC */
    snprintf(command, sizeof command, "{ true <&%d; } 2>&-; echo -n $?; { true >&%d; } 2>&-; echo -n $?", ends[0],
             ends[1]);
    coil_process_options options = piped(ARGV("/bin/bash", "-c", command));
    options.pass_fds = &ends[1];
    options.pass_fd_count = 1;
    ck_assert_int_eq(output_is(start(options), "10"), 0);
    options.keep_fds = true;
    ck_assert_int_eq(output_is(start(options), "00"), 0);
    close(ends[0]);
    close(ends[1]);
}

PROCESS_TEST(signals_are_as_by_default_in_the_child)
{
    sigset_t blocked;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    coil_process_options options = piped(ARGV("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"));
    ck_assert_int_eq(output_is(start(options), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n"), 0);
    options.keep_signals = true;
    ck_assert_int_eq(output_is(start(options), "SigBlk:\t0000000000000200\nSigIgn:\t0000000000001001\n"), 0);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    ck_assert_int_eq(sigismember(&now, SIGUSR1), 1);
    ck_assert_int_eq(sigismember(&now, SIGUSR2), 0);
}

PROCESS_TEST(sessions_groups_and_umask_can_be_chosen)
{
    coil_process_options options = piped(ARGV("/bin/sh", "-c", "umask; ps -o pid=,pgid=,sid= $$"));
    mode_t mask = 027;
    char expected[64];
    options.umask = &mask;
    options.start_new_session = true;
    coil_process *p = start(options);
    int pid = (int)coil_process_pid(p);
    int a, b, c;
    char *data;
    size_t n;
    OK(coil_stream_read_all(coil_process_stdout(p), &data, &n));
    ck_assert_int_eq(sscanf(data, "0027 %d %d %d", &a, &b, &c), 3);
    ck_assert(a == pid && b == pid && c == pid);
    free(data);
    wait_for_end(p);
    coil_process_free(p);
    options.start_new_session = false;
    options.process_group = -1;
    p = start(options);
    pid = (int)coil_process_pid(p);
    snprintf(expected, sizeof expected, "%d", (int)getsid(0));
    OK(coil_stream_read_all(coil_process_stdout(p), &data, &n));
    ck_assert_int_eq(sscanf(data, "0027 %d %d %d", &a, &b, &c), 3);
    ck_assert(a == pid && b == pid && c == (int)getsid(0));
    free(data);
    wait_for_end(p);
    coil_process_free(p);
}

PROCESS_TEST(a_process_may_belong_to_another_user)
{
    uid_t user = 65534;
    gid_t group = 65534;
    coil_process_options options = piped(ARGV("id", "-u"));
    options.user = &user;
    options.group = &group;
    if (geteuid() == 0) {
        options.extra_groups = &group;
        options.extra_group_count = 1;
        ck_assert_int_eq(output_is(start(options), "65534\n"), 0);
    }
    coil_process *p;
    options.env = ARGV("PATH=/bin");
    options.argv = ARGV("no-such-program");
    ck_assert_int_eq(coil_create_subprocess_exec(&options, &p), geteuid() == 0 ? -ENOENT : -EPERM);
}

/* --- pipes ------------------------------------------------------------------------------------------------------- */

PROCESS_TEST(a_process_is_talked_to_through_its_pipes)
{
    coil_process *p = start(piped(ARGV("cat")));
    writes(coil_process_stdin(p), "there\n");
    reads_line(coil_process_stdout(p), "there\n");
    writes(coil_process_stdin(p), "and back\n");
    reads_line(coil_process_stdout(p), "and back\n");
    OK(coil_stream_write_eof(coil_process_stdin(p)));
    reads_all(coil_process_stdout(p), "");
    ck_assert_int_eq(wait_for_end(p), 0);
    coil_process_free(p);
}

PROCESS_TEST(what_is_written_to_a_process_that_does_not_read_is_a_broken_pipe)
{
    static char block[200000];
    coil_process *p = SHELL("exec 0<&-; echo ready; exec sleep 100");
    reads_line(coil_process_stdout(p), "ready\n");
    OK(coil_stream_write(coil_process_stdin(p), block, sizeof block));
    RAISES(-ECONNRESET, "Connection lost", coil_stream_drain(coil_process_stdin(p)));
    OK(coil_process_kill(p));
    wait_for_end(p);
    coil_process_free(p);
}

static int drain_stdin(void *p, void **result)
{
    (void)result;
    return coil_stream_drain(coil_process_stdin(p));
}

PROCESS_TEST(who_waits_in_drain_hears_that_the_process_has_ended)
{
    static char block[300000];
    char text[80];
    coil_process *p = start(piped(ARGV("sleep", "100")));
    OK(coil_stream_write(coil_process_stdin(p), block, sizeof block));
    coil_task *draining = spawn(coil_coro_of(drain_stdin, p));
    turns(2);
    OK(coil_process_kill(p));
    int rc = coil_join(draining, NULL);
    ck_assert_int_eq(rc, -EPIPE);
    coil_error *error = coil_catch(rc);
    coil_error_format(error, text, sizeof text);
    coil_error_release(error);
    ck_assert_str_eq(text, "BrokenPipeError: Broken pipe");
    wait_for_end(p);
    coil_process_free(p);
}

/* --- communicate ------------------------------------------------------------------------------------------------- */

PROCESS_TEST(communicate_writes_and_reads_everything)
{
    coil_process_data out, err;
    coil_process *p = SHELL("cat; echo error >&2");
    OK(coil_process_communicate(p, "some input", 10, &out, &err));
    ck_assert_str_eq(out.data, "some input");
    ck_assert_str_eq(err.data, "error\n");
    free(out.data);
    free(err.data);
    coil_process_free(p);
}

static char *many_bytes(size_t n)
{
    char *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 31 + (i >> 8) * 7 + (i >> 16));
    return bytes;
}

PROCESS_TEST(communicate_with_much_data_both_ways)
{
    size_t n = 20 * 1000 * 1000;
    char *input = many_bytes(n);
    coil_process_data out, err;
    coil_process *p = SHELL("tee /dev/stderr");
    OK(coil_process_communicate(p, input, n, &out, &err));
    ck_assert_uint_eq(out.n, n);
    ck_assert_uint_eq(err.n, n);
    ck_assert(memcmp(out.data, input, n) == 0);
    ck_assert(memcmp(err.data, input, n) == 0);
    free(input);
    free(out.data);
    free(err.data);
    coil_process_free(p);
}

static int write_much(void *arg, void **result)
{
    static char block[100000];
    coil_stream *s = arg;
    (void)result;
    for (int i = 0; i < 100; i++) {
        COIL_TRY(coil_stream_write(s, block, sizeof block));
        COIL_TRY(coil_stream_drain(s));
    }
    return coil_stream_write_eof(s);
}

PROCESS_TEST(a_child_writes_100_mb_while_we_write_to_it)
{
    coil_process *p = SHELL("head -c 100000000 /dev/zero & cat >/dev/null; wait");
    coil_task *writer = spawn(coil_coro_of(write_much, coil_process_stdin(p)));
    static char buf[65536];
    size_t total = 0, n;
    do {
        OK(coil_stream_read(coil_process_stdout(p), buf, sizeof buf, &n));
        total += n;
    } while (n > 0);
    ck_assert_uint_eq(total, 100000000);
    OK(coil_join(writer, NULL));
    ck_assert_int_eq(wait_for_end(p), 0);
    coil_process_free(p);
}

PROCESS_TEST(communicate_does_not_mind_a_process_that_does_not_read)
{
    static char input[1000000];
    coil_process_data out;
    coil_process *p = SHELL("exec 0<&-; echo done");
    OK(coil_process_communicate(p, input, sizeof input, &out, NULL));
    ck_assert_str_eq(out.data, "done\n");
    free(out.data);
    coil_process_free(p);
}

PROCESS_TEST(communicate_does_not_mind_a_process_that_has_ended)
{
    static char input[300000];
    coil_process_data out;
    coil_process *p = SHELL("echo done");
    wait_for_end(p);
    OK(coil_process_communicate(p, input, sizeof input, &out, NULL));
    ck_assert_str_eq(out.data, "done\n");
    free(out.data);
    coil_process_free(p);
}

static int communicate_much(void *arg, void **result)
{
    static char input[300000];
    (void)result;
    return coil_process_communicate(arg, input, sizeof input, NULL, NULL);
}

PROCESS_TEST(communicate_does_not_mind_a_process_that_ends_before_it_has_read_all)
{
    coil_process *p = start(piped(ARGV("sleep", "100")));
    coil_task *communicating = spawn(coil_coro_of(communicate_much, p));
    turns(3);
    OK(coil_process_kill(p));
    OK(coil_join(communicating, NULL));
    ck_assert_int_eq(wait_for_end(p), -SIGKILL);
    coil_process_free(p);
}

static int communicate(void *arg, void **result)
{
    (void)result;
    return coil_process_communicate(arg, "first\n", 6, NULL, NULL);
}

static int continue_when_stopped(void *arg, void **result)
{
    siginfo_t info = {0};
    (void)result;
    while (info.si_pid == 0) {
        OK(coil_sleep(COIL_MS(1)));
        ck_assert_int_eq(waitid(P_PID, (id_t)coil_process_pid(arg), &info, WSTOPPED | WNOWAIT | WNOHANG), 0);
    }
    return coil_process_send_signal(arg, SIGCONT);
}

PROCESS_TEST(a_communicate_that_timed_out_can_go_on)
{
    coil_process_data out, err;
    coil_process *p = SHELL("cat; echo second; echo error >&2; kill -STOP $$; echo third");
    RAISES(-ETIMEDOUT, "", coil_wait_for(coil_coro_of(communicate, p), COIL_MS(150), NULL));
    coil_task *continuing = spawn(coil_coro_of(continue_when_stopped, p));
    RAISES(-EINVAL, "Cannot send input after starting communication",
           coil_process_communicate(p, "more", 4, &out, &err));
    OK(coil_process_communicate(p, NULL, 0, &out, &err));
    OK(coil_join(continuing, NULL));
    ck_assert_str_eq(out.data, "first\nsecond\nthird\n");
    ck_assert_str_eq(err.data, "error\n");
    free(out.data);
    free(err.data);
    coil_process_free(p);
}

PROCESS_TEST(one_communicates_at_a_time)
{
    coil_process *p = start(piped(ARGV("sleep", "100")));
    coil_task *first = spawn(coil_coro_of(communicate, p));
    turns(2);
    RAISES(COIL_EBUSY, "communicate() called while another coroutine is already communicating",
           coil_process_communicate(p, NULL, 0, NULL, NULL));
    coil_task_cancel(first, NULL);
    RAISES(-ECANCELED, "", coil_join(first, NULL));
    OK(coil_process_kill(p));
    OK(coil_process_communicate(p, NULL, 0, NULL, NULL));
    coil_process_free(p);
}

PROCESS_TEST(communicate_without_pipes_waits)
{
    coil_process_options options = {.size = sizeof options, .argv = ARGV("true")};
    coil_process_data out = {.n = 1}, err = {.n = 1};
    coil_process *p = start(options);
    RAISES(-EINVAL, "input needs a stdin that is a pipe", coil_process_communicate(p, "", 0, &out, &err));
    OK(coil_process_communicate(p, NULL, 0, &out, &err));
    ck_assert_ptr_null(out.data);
    ck_assert_uint_eq(out.n + err.n, 0);
    coil_process_free(p);
}

static int read_byte(void *arg, void **result)
{
    char c;
    size_t n;
    (void)result;
    return coil_stream_read(arg, &c, 1, &n);
}

/* Its helper for stderr has to end as well, although the process goes on. */
PROCESS_TEST(communicate_fails_at_once_if_somebody_else_reads)
{
    coil_process *p = start(piped(ARGV("sleep", "100")));
    coil_task *reader = spawn(coil_coro_of(read_byte, coil_process_stdout(p)));
    turns(1);
    RAISES(COIL_EBUSY, "read() called while another coroutine is already waiting for incoming data",
           coil_process_communicate(p, NULL, 0, NULL, NULL));
    coil_task_cancel(reader, NULL);
    RAISES(-ECANCELED, "", coil_join(reader, NULL));
    OK(coil_process_kill(p));
    wait_for_end(p);
    coil_process_free(p);
}

typedef struct answering {
    coil_process *process;
    int signals;
} answering;

static int count_and_answer(void *arg)
{
    answering *a = arg;
    a->signals++;
    return coil_stream_write(coil_process_stdin(a->process), "\n", 1);
}

/*
 * The next is sent when the one before was handled: two at a time would be one. And when this process sleeps: ThreadSanitizer
 * keeps a signal that comes while a task runs until that very task goes on.
 */
PROCESS_TEST(signals_that_arrive_while_it_communicates_are_handled)
{
    answering a = {0};
    char command[160];
    coil_process_data out;
    OK(coil_loop_add_signal_handler(coil_get_running_loop(), SIGUSR1, count_and_answer, &a));
    snprintf(command, sizeof command,
             "read x; for i in 1 2 3; do until grep -q '^State:.S' /proc/%1$d/status; do :; done; "
             "kill -USR1 %1$d; read x; echo $i; done",
             (int)getpid());
    a.process = SHELL(command);
    writes(coil_process_stdin(a.process), "\n");
    OK(coil_process_communicate(a.process, NULL, 0, &out, NULL));
    ck_assert_int_eq(a.signals, 3);
    ck_assert_str_eq(out.data, "1\n2\n3\n");
    free(out.data);
    coil_process_free(a.process);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static int wait_task(void *arg, void **result)
{
    static int codes[8];
    static int n;
    int *code = &codes[n++ % 8];
    *result = code;
    return coil_process_wait(arg, code);
}

PROCESS_TEST(many_tasks_wait_and_one_gives_up)
{
    coil_process *p = start(piped(ARGV("sh", "-c", "read x; exit 5")));
    coil_task *tasks[5];
    for (int i = 0; i < 5; i++)
        tasks[i] = spawn(coil_coro_of(wait_task, p));
    turns(2);
    coil_task_cancel(tasks[2], NULL);
    RAISES(-ECANCELED, "", coil_join(tasks[2], NULL));
    OK(coil_stream_write_eof(coil_process_stdin(p)));
    for (int i = 0; i < 5; i++) {
        void *code;
        if (i == 2)
            continue;
        OK(coil_join(tasks[i], &code));
        ck_assert_int_eq(*(int *)code, 5);
    }
    coil_process_free(p);
}

PROCESS_TEST(two_hundred_processes_at_once)
{
    static coil_process *all[200];
    coil_process_options options = {
        .size = sizeof options, .argv = ARGV("sh", "-c", "read x; exit $x"), .stdin_to = PIPE};
    for (int i = 0; i < 200; i++)
        all[i] = start(options);
    for (int i = 0; i < 200; i++)
        OK(coil_stream_writef(coil_process_stdin(all[i]), "%d\n", i));
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(wait_for_end(all[i]), i);
        coil_process_free(all[i]);
    }
}

PROCESS_TEST(a_process_that_was_freed_leaves_no_zombie)
{
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    coil_process_options options = piped(ARGV("sh", "-c", "read x <&9; exit"));
    options.argv = ARGV("sh", "-c", "cat >/dev/null");
    options.stdin_to = ends[0];
    coil_process *p = start(options);
    pid_t pid = coil_process_pid(p);
    coil_process_free(p);
    ck_assert_int_eq(kill(pid, 0), 0);
    close(ends[0]);
    close(ends[1]);
    while (kill(pid, 0) == 0)
        OK(coil_sleep(COIL_MS(1)));
}

PROCESS_TEST(the_status_of_a_child_that_somebody_else_took_is_unknown)
{
    char message[96];
    int code;
    coil_process *p = SHELL("exit 3");
    pid_t pid = coil_process_pid(p);
    snprintf(message, sizeof message, "Unknown child process pid %d, will report returncode 255", (int)pid);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(wait_for_end(p), 255);
    ck_assert(coil_process_returncode(p, &code));
    ck_assert_int_eq(code, 255);
    expect_report(message, 0, "");
    coil_process_free(p);
}

PROCESS_TEST(a_program_that_ignores_sigchld_does_not_hang)
{
    signal(SIGCHLD, SIG_IGN);
    coil_process *p = SHELL("exit 3");
    ck_assert_int_eq(wait_for_end(p), 255);
    char message[96];
    snprintf(message, sizeof message, "Unknown child process pid %d, will report returncode 255",
             (int)coil_process_pid(p));
    expect_report(message, 0, "");
    coil_process_free(p);
    coil_process_options options = piped(ARGV("no-such-program"));
    ck_assert_int_eq(coil_create_subprocess_exec(&options, &p), -ENOENT);
    signal(SIGCHLD, SIG_DFL);
}

/* --- the ends of loops ------------------------------------------------------------------------------------------- */

static coil_process *left;

static int leave_running(void *arg, void **result)
{
    (void)arg, (void)result;
    left = start(piped(ARGV("cat")));
    return 0;
}

static int raise_closed(void *arg, void **result)
{
    (void)arg, (void)result;
    return coil_process_wait(left, NULL);
}

TEST(a_loop_may_be_closed_with_processes_running)
{
    int before = open_descriptors();
    OK(coil_run(coil_coro_of(leave_running, NULL), NULL));
    pid_t pid = coil_process_pid(left);
    int code;
    ck_assert_int_eq(kill(pid, 0), 0);
    ck_assert(!coil_process_returncode(left, &code));
    RAISES(-ESRCH, "", coil_process_kill(left));
    RAISES(COIL_ELOOPCLOSED, "Event loop is closed", coil_run(coil_coro_of(raise_closed, NULL), NULL));
    coil_process_free(left); /* its stdin ends, and so does it */
    siginfo_t info;
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    OK(coil_run(coil_coro_of(leave_running, NULL), NULL)); /* starting the next one takes it away */
    ck_assert_int_eq(kill(pid, 0), -1);
    pid = coil_process_pid(left);
    coil_process_free(left);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_le(open_descriptors(), before + 1); /* of the one that we have waited for ourselves */
}

static int communicate_for_ever(void *arg, void **result)
{
    (void)result;
    coil_process *p = start(piped(ARGV("sleep", "100")));
    *(pid_t *)arg = coil_process_pid(p);
    coil_loop_stop(coil_get_running_loop());
    int rc = coil_process_communicate(p, NULL, 0, NULL, NULL);
    note("%s", coil_error_name(rc));
    coil_process_free(p);
    return 0;
}

TEST(a_task_that_communicates_is_unwound_when_its_loop_is_freed)
{
    coil_loop *loop = new_test_loop();
    coil_task *task;
    pid_t pid = 0;
    OK(coil_loop_create_task(loop, coil_coro_of(communicate_for_ever, &pid), NULL, &task));
    OK(coil_loop_run_forever(loop));
    OK(coil_loop_run_until_complete(loop, coil_sleep_coro(0, NULL), NULL));
    coil_release(task);
    coil_loop_free(loop);
    TRACE_IS("GeneratorExit");
    for (int i = 0; i < 3; i++)
        expect_report("Task was destroyed but it is pending!", 0, "");
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
}

TEST(processes_need_a_task)
{
    coil_process *p;
    coil_process_options options = piped(ARGV("true"));
    RAISES(COIL_ENOLOOP, "no running event loop", coil_create_subprocess_exec(&options, &p));
    coil_process_free(NULL);
}

/* --- on several workers ------------------------------------------------------------------------------------------ */

static int one_of_many(void *arg, void **result)
{
    (void)result;
    int number = *(int *)arg;
    coil_process *p;
    coil_process_options options = piped(ARGV("cat"));
    coil_process_data out;
    COIL_TRY(coil_create_subprocess_exec(&options, &p));
    COIL_TRY(coil_process_communicate(p, &number, sizeof number, &out, NULL));
    ck_assert_uint_eq(out.n, sizeof number);
    ck_assert_mem_eq(out.data, &number, sizeof number);
    free(out.data);
    COIL_TRY(coil_process_wait(p, NULL));
    coil_process_free(p);
    return 0;
}

static int many(void *arg, void **result)
{
    coil_coro all[24];
    int numbers[24];
    (void)arg, (void)result;
    for (int i = 0; i < 24; i++) {
        numbers[i] = i;
        all[i] = coil_coro_of(one_of_many, &numbers[i]);
    }
    return coil_gather_await(all, 24, NULL);
}

TEST(processes_on_several_workers)
{
    int before = open_descriptors();
    coil_runtime_options options = {.size = sizeof options, .workers = 4};
    OK(coil_runtime_run(&options, coil_coro_of(many, NULL), NULL));
    ck_assert_int_eq(open_descriptors(), before);
    no_children();
}

COIL_TEST_MAIN("process")
