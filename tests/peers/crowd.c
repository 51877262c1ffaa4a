/*
 * crowd.c - a plain client of many connections at once: crowd PORT CLIENTS
 *
 * Connects them all, from several addresses of the loopback network, and only then sends a message on each; each
 * has to
 * come back; then all are closed, every second one by a reset. It knows nothing of coil.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64, ADDRESSES = 5 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void allow_descriptors(int n)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < (rlim_t)n) {
        printf("only %llu descriptors are allowed\n", (unsigned long long)limit.rlim_max);
        exit(77);
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int connect_from(int port, int address)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)address)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_port = htons((unsigned short)port);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    return fd;
}

static void make_message(char *message, int number)
{
    memset(message, 'a' + number % 26, MESSAGE_BYTES);
    snprintf(message, MESSAGE_BYTES, "%d", number);
}

static void expect_back(int fd, int number)
{
    char message[MESSAGE_BYTES], answer[MESSAGE_BYTES];
    make_message(message, number);
    if (recv(fd, answer, sizeof answer, MSG_WAITALL) != MESSAGE_BYTES || memcmp(message, answer, sizeof answer) != 0) {
        fprintf(stderr, "connection %d got something else\n", number);
        exit(1);
    }
}

static void leave(int fd, int number)
{
    struct linger reset = {.l_onoff = 1};
    if (number % 2)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

int main(int argc, char **argv)
{
    int port = argc == 3 ? atoi(argv[1]) : 0, n = argc == 3 ? atoi(argv[2]) : 0;
    int *fds = calloc((size_t)(n > 0 ? n : 1), sizeof *fds);
    char message[MESSAGE_BYTES];
    if (!fds || port <= 0 || n <= 0)
        return 2;
    allow_descriptors(n + 50);
    for (int i = 0; i < n; i++)
        fds[i] = connect_from(port, i % ADDRESSES);
    for (int i = 0; i < n; i++) {
        make_message(message, i);
        if (send(fds[i], message, sizeof message, 0) != MESSAGE_BYTES)
            die("send");
    }
    for (int i = 0; i < n; i++)
        expect_back(fds[i], i);
    for (int i = 0; i < n; i++)
        leave(fds[i], i);
    free(fds);
    return 0;
}
