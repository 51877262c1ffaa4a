/*
 * child.h - servers among the examples as child processes, and blocking clients for them
 *
 * A test includes the example's source with its main() renamed, and runs that in a child. The child's first
 * line of output ends with its port.
 */
#ifndef COIL_TEST_CHILD_H
#define COIL_TEST_CHILD_H

#include "asleep.h"
#include "net.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

typedef struct child {
    pid_t pid;
    int port;
} child;

static COIL_TEST_UNUSED child start_child(int (*program)(int, char **))
{
    int ends[2];
    char line[80] = "";
    ck_assert_int_eq(pipe(ends), 0);
    child c = {.pid = fork()};
    if (c.pid == 0) {
        signal(SIGTERM, SIG_DFL); /* Check has handlers that end the whole suite */
        signal(SIGINT, SIG_DFL);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        exit(program(1, (char *[]){(char[]){"server"}, NULL}));
    }
    close(ends[1]);
    FILE *output = fdopen(ends[0], "r");
    ck_assert_ptr_nonnull(fgets(line, sizeof line, output));
    fclose(output);
    c.port = atoi(strrchr(line, ' '));
    return c;
}

/* Sends @signal when it waits; returns the status that the child exits with, or minus the signal that ends it. */
static COIL_TEST_UNUSED int end_child(child c, int signal)
{
    int status;
    wait_until_asleep(c.pid);
    kill(c.pid, signal);
    ck_assert_int_eq(waitpid(c.pid, &status, 0), c.pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* A blocking client, which gives up after ten seconds. */
static COIL_TEST_UNUSED FILE *dial(child c)
{
    struct sockaddr_in a = loopback(c.port);
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    FILE *client = fdopen(fd, "r+");
    setvbuf(client, NULL, _IONBF, 0);
    return client;
}

static COIL_TEST_UNUSED void says(FILE *client, const char *text)
{
    ck_assert_int_ge(fputs(text, client), 0);
}

static COIL_TEST_UNUSED void hears(FILE *client, const char *text)
{
    char line[2000];
    ck_assert_msg(fgets(line, sizeof line, client) != NULL, "nothing came instead of %s", text);
    ck_assert_str_eq(line, text);
}

static COIL_TEST_UNUSED void hears_the_end(FILE *client)
{
    ck_assert_int_eq(fgetc(client), EOF);
    fclose(client);
}

#endif
