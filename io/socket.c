/*
 * socket.c - the sock_* calls of asyncio's loop
 *
 * Called in tasks, in a runtime on any worker. Each makes its system call at once, and waits only if that would
 * block: then the operation lies in its frame (call.h). Source: asyncio.selector_events' sock_recv and so on, CPython
 * 3.11.
 */
#define _GNU_SOURCE /* struct ucred */
#include "sock.h"

#include <string.h>
#include <unistd.h>

#include "../src/sync.h"

/* What all calls begin with: the running loop. */
static int begin(int fd, coil_loop **loop)
{
    COIL_TRY(coil__task_needed());
    *loop = coil__running_loop();
    return coil__sock_check(*loop, fd);
}

int coil_sock_recv(int fd, void *buf, size_t cap, size_t *n)
{
    coil_loop *loop;
    coil__call c;
    COIL_TRY(begin(fd, &loop));
    coil__call_init(&c, COIL__OP_RECV, fd);
    c.op.data = buf;
    c.op.bytes = cap;
    int res = coil__sock_call(loop, &c, "recv");
    COIL_TRY(res);
    *n = (size_t)res;
    return 0;
}

int coil_sock_recvfrom(int fd, void *buf, size_t cap, coil_address *from, size_t *n)
{
    coil_address address = {.bytes = sizeof address.storage};
    struct iovec part = {buf, cap};
    struct msghdr message = coil__sock_message(&part, from ? &address : NULL);
    COIL_TRY(coil_sock_recvmsg(fd, &message, 0, n));
    address.bytes = message.msg_namelen;
    if (from)
        *from = address;
    return 0;
}

int coil_sock_sendto(int fd, const void *data, size_t bytes, const coil_address *to, size_t *n)
{
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr message = coil__sock_message(&part, to);
    return coil_sock_sendmsg(fd, &message, 0, n);
}

static int send_some(coil_loop *loop, int fd, const char *data, size_t bytes)
{
    coil__call c;
    coil__call_init(&c, COIL__OP_SEND, fd);
    c.op.data = (void *)(uintptr_t)data;
    c.op.bytes = bytes;
    return coil__sock_call(loop, &c, "send");
}

int coil_sock_sendall(int fd, const void *data, size_t bytes, size_t *reterr_sent)
{
    coil_loop *loop;
    size_t sent = 0;
    int res = begin(fd, &loop);
    while (res >= 0 && sent < bytes) {
        res = send_some(loop, fd, (const char *)data + sent, bytes - sent);
        sent += res > 0 ? (size_t)res : 0;
    }
    if (reterr_sent)
        *reterr_sent = sent;
    return res < 0 ? res : 0;
}

int coil_sock_connect(int fd, const coil_address *address)
{
    coil_loop *loop;
    COIL_TRY(begin(fd, &loop));
    COIL_TRY(coil__task_may_go_on());
    return coil__sock_connect(loop, fd, address);
}

int coil_sock_accept(int fd, int *conn, coil_address *peer)
{
    coil_loop *loop;
    coil__call c;
    COIL_TRY(begin(fd, &loop));
    coil__call_init(&c, COIL__OP_ACCEPT, fd);
    int res = coil__sock_call(loop, &c, "accept");
    if (res < 0) {
        if (c.op.res >= 0)
            close(c.op.res); /* accepted when the loop was being closed */
        return res;
    }
    if (peer)
        coil__sock_peer(res, peer);
    *conn = res;
    return 0;
}

/* --- messages --------------------------------------------------------------------------------------------------- */

/* Nobody is there any more to own what has come. */
static void close_received(struct msghdr *message)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at < h->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, (char *)h + at, sizeof fd);
            close(fd);
        }
    }
}

int coil_sock_recvmsg(int fd, struct msghdr *message, int flags, size_t *n)
{
    coil_loop *loop;
    coil__call c;
    COIL_TRY(begin(fd, &loop));
    coil__call_init(&c, COIL__OP_RECVMSG, fd);
    c.op.data = message;
    c.op.flags = flags;
    int res = coil__sock_call(loop, &c, "recvmsg");
    if (res < 0) {
        if (c.op.res >= 0) /* received when the loop was being closed */
            close_received(message);
        return res;
    }
    *n = (size_t)res;
    return 0;
}

int coil_sock_sendmsg(int fd, const struct msghdr *message, int flags, size_t *n)
{
    coil_loop *loop;
    coil__call c;
    COIL_TRY(begin(fd, &loop));
    coil__call_init(&c, COIL__OP_SENDMSG, fd);
    c.op.data = (void *)(uintptr_t)message;
    c.op.flags = flags;
    int res = coil__sock_call(loop, &c, "sendmsg");
    COIL_TRY(res);
    *n = (size_t)res;
    return 0;
}

/* --- descriptor passing ----------------------------------------------------------------------------------------- */

/* Room for the most that a message can carry, and for the credentials of sockets that want these, too. */
typedef union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(COIL_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} control;

int coil_sock_send_fds(int fd, const void *data, size_t bytes, const int *fds, size_t count, size_t *n)
{
    control c;
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr message = coil__sock_message(&part, NULL);
    if (bytes == 0)
        return coil_raise(-EINVAL, "descriptors need at least one byte to go with");
    if (count > COIL_FDS_MAX)
        return coil_raise(-EINVAL, "%zu descriptors in a message; %d are the most", count, COIL_FDS_MAX);
    if (count > 0) {
        memset(&c, 0, sizeof c);
        message.msg_control = &c;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        c.align.cmsg_level = SOL_SOCKET;
        c.align.cmsg_type = SCM_RIGHTS;
        c.align.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&c.align), fds, count * sizeof(int));
    }
    return coil_sock_sendmsg(fd, &message, 0, n);
}

/* Takes the descriptors out of a message, as far as there is room. Returns how many came. */
static size_t take_fds(struct msghdr *message, int *fds, size_t max)
{
    size_t came = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (came + count <= max)
            memcpy(fds + came, CMSG_DATA(h), count * sizeof(int));
        came += count;
    }
    return came;
}

int coil_sock_recv_fds(int fd, void *buf, size_t cap, int *fds, size_t max, size_t *count, size_t *n)
{
    control c;
    struct iovec part = {buf, cap};
    struct msghdr message = coil__sock_message(&part, NULL);
    message.msg_control = &c;
    message.msg_controllen = sizeof c;
    size_t bytes;
    COIL_TRY(coil_sock_recvmsg(fd, &message, 0, &bytes));
    size_t came = take_fds(&message, fds, max);
    bool truncated = message.msg_flags & MSG_CTRUNC;
    if (truncated || came > max) {
        close_received(&message);
        return truncated ? coil_raise(-EMFILE, "descriptors were sent that this process cannot have")
                         : coil_raise(-EMSGSIZE, "%zu descriptors were sent, there is room for %zu", came, max);
    }
    *count = came;
    *n = bytes;
    return 0;
}
