/* What no program may do: it ends with an assertion that names the mistake, not with a crash somewhere else. */
#include "coil_test.h"

#include <sys/wait.h>
#include <unistd.h>

/* Runs in a child, in a task or outside of one, with stderr in @said; the signal that ends it, or 0. */
static int end_of(void (*misuse)(void), bool in_task, char *said, size_t size)
{
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL); /* Check's ends the whole suite */
        if (in_task)
            run_as_task(misuse);
        else
            misuse();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], said + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void asserts(const char *name, void (*misuse)(void), bool in_task, const char *what)
{
    char said[1024];
    int signal = end_of(misuse, in_task, said, sizeof said);
    ck_assert_msg(signal == SIGABRT, "%s ended with signal %d: %s", name, signal, said);
    const char *colon = strstr(said, "assertion failed: ");
    ck_assert_msg(colon && strstr(colon, what), "%s said: %s", name, said);
}

/* --- NULL where an object is due ------------------------------------------------------------------------------ */

#define CALLS(X)                                                     \
    X(rc = coil_file_fd(NULL))                                       \
    X(rc = coil_file_pread(NULL, data, 1, 0, &n))                    \
    X(rc = coil_file_pwrite(NULL, data, 0, 0))                       \
    X(rc = coil_file_preadv(NULL, &part, 1, 0, &n))                  \
    X(rc = coil_file_pwritev(NULL, &part, 1, 0, &n))                 \
    X(rc = coil_file_sync(NULL))                                     \
    X(rc = coil_file_datasync(NULL))                                 \
    X(rc = coil_file_truncate(NULL, 0))                              \
    X(rc = coil_file_stat(NULL, NULL))                               \
    X(rc = coil_file_size(NULL, &offset))                            \
    X(rc = coil_file_get_alignment(NULL, &n, &n))                    \
    X(rc = coil_file_read(NULL, data, 1, &n))                        \
    X(rc = coil_file_readline(NULL, &text, &n))                      \
    X(rc = coil_file_write(NULL, data, 1))                           \
    X(rc = coil_file_seek(NULL, 0))                                  \
    X(offset = coil_file_tell(NULL))                                 \
    X((void)coil_buffers_data(NULL))                                 \
    X(rc = coil_start_server(NULL, NULL, "127.0.0.1", "0", NULL, &server)) \
    X(rc = coil_server_port(NULL))                                   \
    X(n = coil_server_sockets(NULL, NULL, 0))                        \
    X((void)coil_server_is_serving(NULL))                            \
    X(rc = coil_server_serve_forever(NULL))                          \
    X(coil_server_close(NULL))                                       \
    X(rc = coil_server_wait_closed(NULL))                            \
    X(rc = coil_server_drain(NULL, 0))                               \
    X(coil_server_cancel_clients(NULL))                              \
    X(n = coil_server_clients(NULL))                                 \
    X(rc = coil_create_connection(NULL, NULL, "127.0.0.1", "1", NULL, &transport)) \
    X(rc = coil_transport_write(NULL, data, 1))                      \
    X(rc = coil_transport_writelines(NULL, &part, 0))                \
    X(rc = coil_transport_write_eof(NULL))                           \
    X(coil_transport_pause_reading(NULL))                            \
    X(coil_transport_resume_reading(NULL))                           \
    X((void)coil_transport_is_reading(NULL))                         \
    X(rc = coil_transport_set_write_buffer_limits(NULL, 2, 1))       \
    X(coil_transport_get_write_buffer_limits(NULL, &n, &n))          \
    X(n = coil_transport_get_write_buffer_size(NULL))                \
    X(coil_transport_close(NULL))                                    \
    X(coil_transport_abort(NULL))                                    \
    X((void)coil_transport_is_closing(NULL))                         \
    X(coil_transport_peername(NULL, &address))                       \
    X(coil_transport_sockname(NULL, &address))                       \
    X(rc = coil_datagram_fd(NULL))                                   \
    X(coil_datagram_address(NULL, &address))                         \
    X(coil_datagram_peer(NULL, &address))                            \
    X(rc = coil_datagram_recv(NULL, data, 1, NULL, &n))              \
    X(rc = coil_datagram_recv_segments(NULL, data, 1, NULL, &n, &n)) \
    X(rc = coil_datagram_send(NULL, data, 1, NULL))                  \
    X(rc = coil_datagram_send_segments(NULL, data, 1, 1, NULL, &n))  \
    X(rc = coil_create_datagram_endpoint(NULL, NULL, NULL, &endpoint)) \
    X(rc = coil_datagram_transport_sendto(NULL, data, 1, &address))  \
    X(coil_datagram_transport_close(NULL))                           \
    X(coil_datagram_transport_abort(NULL))                           \
    X((void)coil_datagram_transport_is_closing(NULL))                \
    X(rc = coil_datagram_transport_set_write_limits(NULL, 2, 1))     \
    X(coil_datagram_transport_get_write_limits(NULL, &n, &n))        \
    X(n = coil_datagram_transport_get_write_buffer_size(NULL))       \
    X(rc = coil_datagram_transport_fd(NULL))                         \
    X(rc = coil_create_subprocess_exec(NULL, &process))              \
    X((void)coil_process_stdin(NULL))                                \
    X((void)coil_process_stdout(NULL))                               \
    X((void)coil_process_stderr(NULL))                               \
    X((void)coil_process_pid(NULL))                                  \
    X((void)coil_process_returncode(NULL, &rc))                      \
    X(rc = coil_process_wait(NULL, NULL))                            \
    X(rc = coil_process_communicate(NULL, NULL, 0, NULL, NULL))      \
    X(rc = coil_process_send_signal(NULL, SIGTERM))                  \
    X(rc = coil_process_terminate(NULL))                             \
    X(rc = coil_process_kill(NULL))

#define NAME_OF(call) #call,
static const char *const calls[] = {CALLS(NAME_OF)};
static int chosen; /* of them */

#define IF_CHOSEN(call) \
    if (chosen == i++)  \
        call;

static void call_chosen(void)
{
    int rc = 0, i = 0;
    char data[1] = "";
    const char *text;
    struct iovec part = {data, 1};
    size_t n;
    int64_t offset;
    coil_address address = {0};
    coil_server *server;
    coil_transport *transport;
    coil_datagram_transport *endpoint;
    coil_process *process;
    CALLS(IF_CHOSEN)
    fprintf(stderr, "returned %d\n", rc);
}

TEST(an_object_that_is_missing_is_an_assertion)
{
    int n = (int)(sizeof calls / sizeof *calls);
    for (chosen = 0; chosen < n; chosen++)
        asserts(calls[chosen], call_chosen, true, "assertion failed: ");
}

/* --- pinning ---------------------------------------------------------------------------------------------------- */

TEST(pinning_outside_of_a_task_says_where_it_belongs)
{
    asserts("coil_pin()", coil_pin, false, "call coil_pin() inside a task");
    asserts("coil_unpin()", coil_unpin, false, "call coil_unpin() inside the task that called coil_pin()");
    asserts("coil_unpin()", coil_unpin, true, "coil_unpin() without its coil_pin()");
}

COIL_TEST_MAIN("misuse")
