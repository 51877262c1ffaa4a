/*
 * fault.c - lets the n-th request of a worker's backend fail, for the component coil-testing (src/testing.h)
 *
 * Nothing of it is there while no failure is asked for: then the backend's table of functions is replaced by a copy
 * whose submit counts. On the thread that runs the loop; other workers read the table under the loop's backend_latch.
 *
 * I1 a backend's table is the `ops` of a fault exactly as long as the failure is still to come
 */
#include "../src/base/alloc.h"
#include "../src/testing.h"
#include "op.h"

struct fault {
    coil__backend_ops ops;
    const coil__backend_ops *real;
    coil_loop *loop; /* borrowed: it owns the backend */
    uint64_t left;   /* requests until the one that fails */
    int code;
};

_Atomic unsigned coil__faults;

static void fault_submit(coil__backend *b, struct coil__op *op);
static void fault_close(coil__backend *b, coil__list *ready);

/* NULL: no failure is to come. */
static struct fault *fault_of(const coil__backend *b)
{
    if (!b || b->ops->submit != fault_submit)
        return NULL;
    return (struct fault *)(uintptr_t)coil_container_of(b->ops, const struct fault, ops);
}

static void free_fault(struct fault *f)
{
    coil__free(f);
    fetch_sub_acq_rel(&coil__faults, 1); /* [FAULT-1] at least relaxed */
}

static void remove_fault(coil__backend *b, struct fault *f)
{
    {
        COIL__GUARD(&f->loop->backend_latch);
        b->ops = f->real;
    }
    free_fault(f);
}

/* Counts a request: the code that it fails with, or 0. */
static int count_request(coil__backend *b)
{
    struct fault *f = fault_of(b);
    if (!f || --f->left > 0)
        return 0;
    int code = f->code;
    remove_fault(b, f);
    return code;
}

int coil__op_inject(coil_loop *loop)
{
    return count_request(coil__here(loop)->backend);
}

static void fault_submit(coil__backend *b, struct coil__op *op)
{
    const coil__backend_ops *real = fault_of(b)->real;
    int code = count_request(b);
    if (code == 0) {
        real->submit(b, op);
        return;
    }
    COIL__GUARD(&b->latch);
    coil__op_begin(b, op);
    coil__op_complete(b, op, code);
}

/* The loop has given up the backend: nobody else looks. */
static void fault_close(coil__backend *b, coil__list *ready)
{
    struct fault *f = fault_of(b);
    b->ops = f->real;
    free_fault(f);
    b->ops->close(b, ready);
}

static int add_fault(coil_loop *loop, uint64_t n, int code)
{
    struct fault *f = coil__malloc(sizeof *f);
    if (!f)
        return coil_raise(-ENOMEM, NULL);
    *f = (struct fault){
        .ops = *loop->backend->ops, .real = loop->backend->ops, .loop = loop, .left = n, .code = code};
    f->ops.submit = fault_submit;
    f->ops.close = fault_close;
    fetch_add_relaxed(&coil__faults, 1); /* [FAULT-1] */
    COIL__GUARD(&loop->backend_latch);
    loop->backend->ops = &f->ops;
    return 0;
}

int coil__testing_fail_operation(coil_loop *loop, uint64_t n, int code)
{
    coil_loop *here = coil__here(loop);
    if (code >= 0 || code == -EAGAIN)
        return coil_raise(-EINVAL, "no request fails with %d", code);
    if (coil__loop_closed(here))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (!here->backend) {
        int rc = coil__loop_open_backend(here);
        if (rc < 0)
            return coil_raise(rc, NULL);
    }
    struct fault *f = fault_of(here->backend);
    if (f)
        remove_fault(here->backend, f);
    return n > 0 ? add_fault(here, n, code) : 0;
}

uint64_t coil__testing_operations_left(const coil_loop *loop)
{
    const struct fault *f = fault_of(coil__here((coil_loop *)(uintptr_t)loop)->backend);
    return f ? f->left : 0;
}
