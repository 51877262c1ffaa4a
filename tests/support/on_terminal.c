/*
 * on_terminal.c - runs a program in a terminal, as a user would: on_terminal STEP... -- PROGRAM ARGUMENT...
 *
 *   expect=TEXT   wait until TEXT has come since the last expect
 *   send=TEXT     type TEXT; \n, \r, \t, \\ and \xHH as in C
 *   never=TEXT    TEXT has not come up to now
 *   wait=MS       let time pass
 *
 * In the end the program has to leave with status 0, and the terminal as it was. A step that takes 20 s has failed.
 * Exit status: 0, 1, or 77 if there are no pseudo-terminals here. Used by ctest, on one thread. Source: pty(7),
 * posix_openpt(3).
 */
#define _GNU_SOURCE /* posix_openpt, memmem */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, SCREEN_BYTES = 65536, SKIPPED = 77 };

static struct {
    int master, slave;
    pid_t pid;
    char seen[SCREEN_BYTES];
    size_t n, from; /* bytes that came; those before `from` were expected */
} t;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "on_terminal: %s %s\nwhat came since:\n%.*s\n", what, detail, (int)(t.n - t.from), t.seen + t.from);
    if (t.pid > 0)
        kill(t.pid, SIGKILL);
    exit(1);
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Takes what comes within @ms. False at the end: nobody has the terminal open. */
static int read_some(int ms)
{
    struct pollfd p = {.fd = t.master, .events = POLLIN};
    if (poll(&p, 1, ms) <= 0)
        return 1;
    if (t.n == SCREEN_BYTES)
        fail("more output than fits for", "the screen");
    ssize_t n = read(t.master, t.seen + t.n, SCREEN_BYTES - t.n);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    t.n += (size_t)n;
    return 1;
}

static void expect(const char *text)
{
    long end = now_ms() + PATIENCE_MS;
    for (;;) {
        char *at = memmem(t.seen + t.from, t.n - t.from, text, strlen(text));
        if (at) {
            t.from = (size_t)(at - t.seen) + strlen(text);
            return;
        }
        if (now_ms() > end || !read_some(100))
            fail("did not come:", text);
    }
}

static void never(const char *text)
{
    if (memmem(t.seen, t.n, text, strlen(text)))
        fail("has come:", text);
}

static int special(char c)
{
    return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
}

static void type(const char *text)
{
    while (*text) {
        char key = *text++;
        if (key == '\\' && *text == 'x') {
            key = (char)strtol((char[]){text[1], text[2], 0}, NULL, 16);
            text += 3;
        } else if (key == '\\') {
            key = (char)special(*text++);
        }
        if (write(t.master, &key, 1) != 1)
            fail("cannot type", text);
    }
}

static void wait_ms(long ms)
{
    for (long end = now_ms() + ms; now_ms() < end;)
        read_some((int)(end - now_ms()));
}

static void step(const char *s)
{
    if (strncmp(s, "expect=", 7) == 0)
        expect(s + 7);
    else if (strncmp(s, "send=", 5) == 0)
        type(s + 5);
    else if (strncmp(s, "never=", 6) == 0)
        never(s + 6);
    else if (strncmp(s, "wait=", 5) == 0)
        wait_ms(atol(s + 5));
    else
        fail("unknown step", s);
}

static void open_terminal(void)
{
    t.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (t.master < 0 || grantpt(t.master) < 0 || unlockpt(t.master) < 0)
        exit(SKIPPED);
    t.slave = open(ptsname(t.master), O_RDWR | O_NOCTTY | O_CLOEXEC); /* kept open, so that its modes stay */
    if (t.slave < 0)
        exit(SKIPPED);
}

static void start(char **program)
{
    t.pid = fork();
    if (t.pid != 0)
        return;
    setsid();
    ioctl(t.slave, TIOCSCTTY, 0);
    for (int fd = 0; fd < 3; fd++)
        dup2(t.slave, fd);
    execvp(program[0], program);
    perror(program[0]);
    _exit(127);
}

static void wait_for_end(void)
{
    int status;
    long end = now_ms() + PATIENCE_MS;
    while (waitpid(t.pid, &status, WNOHANG) == 0) {
        if (now_ms() > end)
            fail("does not end", "by itself");
        read_some(10);
    }
    t.pid = 0;
    if (status != 0)
        fail("ended with a status that is not 0:", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "");
}

int main(int argc, char **argv)
{
    struct termios before, after;
    int steps = 1;
    while (steps < argc && strcmp(argv[steps], "--") != 0)
        steps++;
    if (steps + 1 >= argc) {
        fprintf(stderr, "on_terminal STEP... -- PROGRAM ARGUMENT...\n");
        return 1;
    }
    open_terminal();
    tcgetattr(t.slave, &before);
    start(argv + steps + 1);
    for (int i = 1; i < steps; i++)
        step(argv[i]);
    wait_for_end();
    tcgetattr(t.slave, &after);
    if (before.c_lflag != after.c_lflag)
        fail("the terminal is not", "as it was");
    return 0;
}
