/*
 * visited.h - the states that the explorer has reached before, as 64-bit hashes
 *
 * Used by explorer.c alone. With a million states two of them share a hash with a chance of 1 in 10^7.
 */
#ifndef COIL_MODEL_VISITED_H
#define COIL_MODEL_VISITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The hash @h with another value mixed in. */
static inline uint64_t visited_mix(uint64_t h, uint64_t value)
{
    h = ((h ^ value) + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
    h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 29;
}

/* True: @state is new. */
bool visited_add(uint64_t state);

/* How many there are. */
size_t visited_count(void);

/* Forgets all; their memory is kept, or given back. */
void visited_clear(void);
void visited_free(void);

#endif
