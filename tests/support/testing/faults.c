/*
 * faults.c - the n-th allocation or request fails: the public side
 *
 * The counters are the library's: src/base/alloc.c has one for each thread, io/fault.c one for each backend.
 */
#include "../../../src/base/alloc.h"
#include "testing.h"

void coil_testing_fail_allocation(uint64_t n)
{
    coil__alloc_fail_at(n);
}

uint64_t coil_testing_allocations_left(void)
{
    return coil__testing_allocations_left();
}

int coil_testing_fail_operation(coil_loop *loop, uint64_t n, int code)
{
    return coil__testing_fail_operation(loop, n, code);
}

uint64_t coil_testing_operations_left(const coil_loop *loop)
{
    return coil__testing_operations_left(loop);
}
