/*
 * pair.c - two connected streams in memory: the public side of io/memory.c
 */
#include "testing.h"

enum { CAPACITY_BYTES = 64 * 1024 };

int coil_testing_stream_pair(coil_loop *loop, size_t capacity_bytes, coil_stream **a, coil_stream **b)
{
    if (coil_loop_is_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    return coil__testing_stream_pair(loop, capacity_bytes ? capacity_bytes : CAPACITY_BYTES, a, b);
}
