/*
 * load_conn.c - one connection of the load generator: see load_conn.h for its states
 *
 * Sockets do not block after connecting; a call that would is tried again when epoll says so.
 */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "load_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Every message differs from the one before and from those of other connections, in every word. */
static void draw_message(load_conn *c)
{
    for (size_t at = 0; at < c->bytes; at += sizeof(uint64_t)) {
        c->pattern = c->pattern * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t word = c->pattern ^ (c->pattern >> 29);
        memcpy(c->message + at, &word, sizeof word);
    }
}

static int connect_socket(const char *host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return -EINVAL;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        int code = -errno;
        close(fd);
        return code;
    }
    return fd;
}

int load_conn_open(load_conn *c, const char *host, uint16_t port, size_t bytes, uint64_t number)
{
    int fd = connect_socket(host, port);
    if (fd < 0)
        return fd;
    size_t rounded = (bytes + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
    *c = (load_conn){.fd = fd, .bytes = bytes, .pattern = (number + 1) * UINT64_C(0x9e3779b97f4a7c15)};
    c->message = malloc(rounded);
    if (c->message)
        return 0;
    close(fd);
    return -ENOMEM;
}

void load_conn_close(load_conn *c)
{
    close(c->fd);
    free(c->message);
}

static int begin(load_conn *c, int64_t now_ns)
{
    c->sent = 0;
    c->received = 0;
    c->started_ns = now_ns;
    return load_conn_send(c);
}

int load_conn_begin(load_conn *c, int64_t now_ns)
{
    draw_message(c);
    return begin(c, now_ns);
}

int load_conn_begin_asking(load_conn *c, int64_t now_ns, uint32_t compute_ns)
{
    draw_message(c);
    memcpy(c->message, &compute_ns, sizeof compute_ns);
    c->asking = compute_ns > 0;
    return begin(c, now_ns);
}

int load_conn_send(load_conn *c)
{
    while (load_conn_sending(c)) {
        ssize_t n = send(c->fd, c->message + c->sent, c->bytes - c->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        c->sent += (size_t)n;
    }
    return 0;
}

int load_conn_receive(load_conn *c, char *scratch, size_t scratch_bytes)
{
    ssize_t n = recv(c->fd, scratch, scratch_bytes, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    if ((size_t)n > c->sent - c->received) /* I1 */
        return -EBADMSG;
    if (memcmp(scratch, c->message + c->received, (size_t)n) != 0)
        return -EBADMSG;
    c->received += (size_t)n;
    return c->received == c->bytes;
}
