/*
 * uring_probe.c - finds out what this kernel's io_uring can do
 *
 * Called when a ring is set up, on any thread; the first call that succeeds does the work, on a ring of its
 * own. Nothing is concluded from versions. What the kernel does not list is tried: a request with a bad
 * descriptor fails with EBADF if its flags are known and with EINVAL if not; a multishot receive is made to see
 * the end of a stream, which some kernels lose. Where io_uring_register(2) is forbidden everything optional
 * counts as missing.
 *
 * I1 `found` is written once, under `mutex`, before `known` is set
 *
 * Source: io_uring_setup(2), io_uring_register(2), CVE-2026-23473.
 */
#include "features.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernels.h"
#include "uring_compat.h"

#define BUFFERS 4u
#define BUFFER_BYTES 16u

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool known;
static coil__features found; /* I1 */

/* The kernel wants a buffer ring to begin a page; the buffers lie behind it. */
typedef struct area {
    union {
        struct io_uring_buf_ring ring;
        struct io_uring_buf slots[BUFFERS];
    };
    char buffers[BUFFERS][BUFFER_BYTES];
} area;

typedef struct trial {
    struct io_uring ring;
    area *area; /* a mapping of its own */
} trial;

/* Runs what is pending. The kernel may need a further enter for what the first has set going. */
static int run(trial *t)
{
    unsigned submit = coil__uring_flush(&t->ring);
    int rc = io_uring_enter2((unsigned)t->ring.ring_fd, submit, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    for (int i = 0; rc >= 0 && i < 2; i++)
        rc = io_uring_enter2((unsigned)t->ring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    return rc < 0 ? rc : 0;
}

/* The next result; false if there is none. */
static bool next(trial *t, int *res)
{
    const struct io_uring_cqe *cqe = coil__uring_first(&t->ring);
    if (!cqe)
        return false;
    *res = cqe->res;
    io_uring_cq_advance(&t->ring, 1);
    return true;
}

static bool knows_multishot_accept(trial *t)
{
    int res = -EINVAL;
    io_uring_prep_multishot_accept(io_uring_get_sqe(&t->ring), -1, NULL, NULL, 0);
    return run(t) == 0 && next(t, &res) && res == -EBADF;
}

static bool has_buffer_ring(trial *t)
{
    struct io_uring_buf_ring *ring = &t->area->ring;
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)ring, .ring_entries = BUFFERS, .bgid = 0};
    if (io_uring_register_buf_ring(&t->ring, &reg, 0) < 0)
        return false;
    io_uring_buf_ring_init(ring);
    for (unsigned i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(ring, t->area->buffers[i], BUFFER_BYTES, (unsigned short)i,
                              io_uring_buf_ring_mask(BUFFERS), (int)i);
    io_uring_buf_ring_advance(ring, BUFFERS);
    return true;
}

/* A byte and the end of the stream arrive at once: both have to be reported. */
static bool receives_both(trial *t, const int ends[2])
{
    int byte = -1, end = -1;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);
    io_uring_prep_recv_multishot(sqe, ends[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    if (run(t) < 0 || send(ends[1], "x", 1, MSG_NOSIGNAL) != 1 || shutdown(ends[1], SHUT_WR) < 0)
        return false;
    return run(t) == 0 && next(t, &byte) && byte == 1 && next(t, &end) && end == 0;
}

static bool has_multishot_recv(trial *t)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    bool both = receives_both(t, ends);
    close(ends[0]);
    close(ends[1]);
    return both;
}

static void list_requests(trial *t, coil__features *can)
{
    struct io_uring_probe *list = io_uring_get_probe_ring(&t->ring);
    if (!list)
        return;
    can->send_zc = io_uring_opcode_supported(list, IORING_OP_SEND_ZC);
    can->read = io_uring_opcode_supported(list, IORING_OP_READ);
    can->write = io_uring_opcode_supported(list, IORING_OP_WRITE);
    can->readv = io_uring_opcode_supported(list, IORING_OP_READV);
    can->writev = io_uring_opcode_supported(list, IORING_OP_WRITEV);
    can->fsync = io_uring_opcode_supported(list, IORING_OP_FSYNC);
    can->openat = io_uring_opcode_supported(list, IORING_OP_OPENAT);
    can->close = io_uring_opcode_supported(list, IORING_OP_CLOSE);
    can->statx = io_uring_opcode_supported(list, IORING_OP_STATX);
    can->splice = io_uring_opcode_supported(list, IORING_OP_SPLICE);
    can->sendmsg = io_uring_opcode_supported(list, IORING_OP_SENDMSG);
    can->recvmsg = io_uring_opcode_supported(list, IORING_OP_RECVMSG);
    can->shutdown = io_uring_opcode_supported(list, IORING_OP_SHUTDOWN);
    io_uring_free_probe(list);
}

/* What is known to be broken counts as missing. */
static void leave_out_flaws(coil__features *can)
{
    for (const coil__kernel_flaw *f = coil__kernel_flaws; f->what; f++) {
        if (coil__kernel_flaw_of(f->feature, NULL))
            *(bool *)((char *)can + f->feature) = false;
    }
}

static void try_all(trial *t, uint32_t feature_bits, coil__features *can)
{
    can->single_issuer = can->defer_taskrun = can->coop_taskrun = true; /* older than the newest of them, or EINVAL */
    can->no_iowait = feature_bits & IORING_FEAT_NO_IOWAIT;
    can->min_wait = feature_bits & IORING_FEAT_MIN_TIMEOUT;
    can->registered_descriptors = io_uring_register_files_sparse(&t->ring, 1) == 0;
    list_requests(t, can);
    can->multishot_accept = knows_multishot_accept(t);
    can->buffer_ring = has_buffer_ring(t);
    can->multishot_recv = can->buffer_ring && has_multishot_recv(t);
    leave_out_flaws(can);
}

static int probe_with(trial *t, coil__features *can)
{
    struct io_uring_params p = {.flags = COIL__URING_FLAGS | IORING_SETUP_DEFER_TASKRUN};
    int rc = io_uring_queue_init_params(8, &t->ring, &p);
    if (rc < 0)
        return rc;
    rc = run(t); /* a filter may let us set rings up and not enter them */
    if (rc == 0)
        try_all(t, p.features, can);
    io_uring_queue_exit(&t->ring);
    return rc;
}

static int probe(coil__features *can)
{
    trial t;
    t.area = mmap(NULL, sizeof *t.area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t.area == MAP_FAILED)
        return -ENOMEM;
    int rc = probe_with(&t, can);
    munmap(t.area, sizeof *t.area);
    return rc;
}

int coil__features_probe(const coil__features **can)
{
    int rc = 0;
    pthread_mutex_lock(&mutex);
    if (!known) {
        coil__features f = {.read = false};
        rc = probe(&f);
        if (rc == 0)
            found = f;
        known = rc == 0;
    }
    pthread_mutex_unlock(&mutex);
    if (rc == 0)
        *can = &found;
    return rc;
}
