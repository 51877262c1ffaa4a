/*
 * process_pool_server.c - the fork server of a process pool: this program, executed once more
 *
 * coil_process_init() runs it in the new process, which has one thread and nothing of the program but what main did
 * before; so forking is safe, however many threads the pool's process has. It forks workers when it is told to, reaps
 * them, tells how they ended, and kills them when it is told to, or ends itself.
 *
 * I1 the server's socket is descriptor SERVER_FD; 0, 1 and 2 are open, so that nothing else gets those numbers
 * I2 SIGCHLD and SIGTERM are blocked and read from a signalfd; posix_spawn has reset all other signals; but SIGINT is
 *    ignored: a terminal sends it to the pool's process too, and that decides what becomes of its jobs
 * I3 what the pool sends is handled in order, and a place is free (0) unless its process is still to be reaped
 *
 * Source: multiprocessing.forkserver of CPython 3.11; unix(7), signalfd(2), prctl(2), close_range(2).
 */
#define _GNU_SOURCE /* close_range, struct ucred */
#include "process_pool_wire.h"

#include <coil/errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/base/alloc.h"

#define SERVER_NAME "coil-fork-server" /* argv[0] of the program when it is one, for ps */
#define SERVER_VARIABLE "COIL_FORK_SERVER" /* in its environment, until it has seen it */
#define SERVER_FD 3

extern char **environ;

static bool ready;
static const char *program = "?"; /* argv[0] of the program, for ps */

/* --- the pool's side --------------------------------------------------------------------------------------------- */

bool coil__process_pool_ready(void)
{
    return ready;
}

int coil__process_pool_socketpair(int type, int pair[2])
{
    return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

/* The environment, and that variable. Owned; NULL without memory. */
static char **server_environment(void)
{
    static char variable[] = SERVER_VARIABLE "=1";
    size_t n = 0;
    while (environ && environ[n])
        n++;
    char **copy = coil__calloc((n + 2) * sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = environ[i];
    if (copy)
        copy[n] = variable;
    return copy;
}

/* @fd becomes SERVER_FD in the new process, where no signal is blocked or handled. */
static int spawn(int fd, char **environment, pid_t *pid)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t actions;
    sigset_t set;
    char *argv[] = {(char[]){SERVER_NAME}, (char *)(uintptr_t)program, NULL};
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_init(&actions);
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attr, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn_file_actions_adddup2(&actions, fd, SERVER_FD);
    if (error == 0)
        error = posix_spawn(pid, "/proc/self/exe", &actions, &attr, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return -error;
}

int coil__process_pool_spawn(int *fd, pid_t *pid)
{
    int pair[2];
    char **environment = server_environment();
    int rc = environment ? coil__process_pool_socketpair(SOCK_SEQPACKET, pair) : -ENOMEM;
    if (rc == 0) {
        rc = spawn(pair[1], environment, pid);
        close(pair[1]);
        if (rc < 0)
            close(pair[0]);
        else
            *fd = pair[0];
    }
    coil__free(environment);
    return rc;
}

/* --- workers ----------------------------------------------------------------------------------------------------- */

static pid_t workers[COIL_PROCESS_WORKERS_MAX]; /* I3 */

static _Noreturn void end(void)
{
    int status;
    for (size_t i = 0; i < COIL_PROCESS_WORKERS_MAX; i++)
        if (workers[i] > 0)
            kill(workers[i], SIGKILL);
    while (waitpid(-1, &status, 0) > 0 || errno == EINTR) {
    }
    _exit(0);
}

/* The pool is gone if it takes nothing. */
static void tell(uint32_t word, uint32_t number, int value)
{
    const coil__server_message m = {.word = word, .number = number, .value = value};
    ssize_t r;
    do
        r = send(SERVER_FD, &m, sizeof m, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        end();
}

static void tell_end_of(pid_t pid, int status)
{
    for (uint32_t i = 0; i < COIL_PROCESS_WORKERS_MAX; i++) {
        if (workers[i] == pid) {
            workers[i] = 0;
            tell(COIL__SERVER_ENDED, i, status);
            return;
        }
    }
}

static void reap(int signals)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;
    while (read(signals, &info, sizeof info) > 0)
        if (info.ssi_signo == SIGTERM)
            end();
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        tell_end_of(pid, status);
}

/* In the new process: nothing is left of the server but its code. */
static _Noreturn void become_worker(uint32_t number, int fd, pid_t server)
{
    sigset_t none;
    char name[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* W3 */
    if (getppid() != server)
        _exit(1); /* it has ended before that */
    snprintf(name, sizeof name, "coil-worker-%u", number % 1000);
    prctl(PR_SET_NAME, name);
    dup3(fd, SERVER_FD, O_CLOEXEC);
    closefrom(SERVER_FD + 1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    coil__process_pool_work(SERVER_FD);
}

static void start_worker(uint32_t number, int fd)
{
    pid_t server = getpid(), pid = fork();
    if (pid == 0)
        become_worker(number, fd, server);
    int error = errno;
    close(fd);
    if (pid < 0)
        tell(COIL__SERVER_REFUSED, number, error);
    else
        workers[number] = pid;
}

/* --- what the pool asks for -------------------------------------------------------------------------------------- */

/* The descriptor that came with a message, or -1. */
static int passed_fd(struct msghdr *message)
{
    int fd = -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static void obey(const coil__server_message *m, int fd)
{
    if (m->number >= COIL_PROCESS_WORKERS_MAX)
        return;
    if (m->word == COIL__SERVER_FORK && fd >= 0)
        start_worker(m->number, fd);
    else if (m->word == COIL__SERVER_FORK)
        tell(COIL__SERVER_REFUSED, m->number, EMFILE); /* there was no descriptor to spare for it */
    else if (m->word == COIL__SERVER_KILL && workers[m->number] > 0)
        kill(workers[m->number], SIGKILL); /* W2 */
}

/* One message. Ends with the pool. */
static void listen_to_pool(void)
{
    coil__server_message m;
    struct iovec part = {&m, sizeof m};
    union {
        struct cmsghdr aligned;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t r = recvmsg(SERVER_FD, &message, MSG_CMSG_CLOEXEC);
    if (r == (ssize_t)sizeof m)
        obey(&m, passed_fd(&message));
    else if (r >= 0 || errno != EINTR)
        end();
}

static _Noreturn void serve(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd fds[] = {{.fd = SERVER_FD, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    if (signals < 0)
        _exit(1);
    for (;;) {
        poll(fds, 2, -1);
        if (fds[1].revents)
            reap(signals);
        if (fds[0].revents)
            listen_to_pool();
    }
}

/* --- coil_process_init ------------------------------------------------------------------------------------------- */

/* Whether SERVER_FD is what a pool in this process's parent has made: its other end is of that process and user. */
static bool from_pool(void)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    return getsockopt(SERVER_FD, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && peer.pid == getppid() &&
           peer.uid == getuid() && getuid() == geteuid() && getgid() == getegid();
}

/* I1: standard input is nobody's; outputs that are closed lead nowhere. */
static void keep_descriptors(void)
{
    int null = open("/dev/null", O_RDWR);
    fcntl(SERVER_FD, F_SETFD, FD_CLOEXEC);
    if (null < 0)
        _exit(1);
    dup2(null, STDIN_FILENO);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            dup2(null, fd);
    if (close_range(SERVER_FD + 1, ~0U, 0) < 0)
        closefrom(SERVER_FD + 1); /* Linux before 5.9 */
}

static _Noreturn void be_server(void)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* W3; no more than that, so that it reaps its workers */
    if (!from_pool()) {
        fputs(SERVER_NAME ": its pool has ended, or there was none\n", stderr);
        _exit(1);
    }
    unsetenv(SERVER_VARIABLE);
    keep_descriptors();
    signal(SIGINT, SIG_IGN); /* I2 */
    prctl(PR_SET_NAME, "coil-forkserver");
    fflush(NULL); /* what main has printed before is the server's, not each worker's */
    serve();
}

int coil_process_init(int argc, char **argv)
{
    coil__process_pool_close_registry();
    if (getenv(SERVER_VARIABLE))
        be_server();
    if (argc > 0)
        program = argv[0];
    ready = true;
    return 0;
}
