/*
 * visited.c - the states that the explorer has reached before
 *
 * Open addressing; 0 is no state, so that a hash of 0 counts as 1. At most half of the places are taken.
 */
#include "visited.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static struct {
    uint64_t *keys;
    size_t capacity, count;
} visited;

static bool insert(uint64_t key)
{
    size_t i = key & (visited.capacity - 1);
    for (; visited.keys[i] != 0; i = (i + 1) & (visited.capacity - 1)) {
        if (visited.keys[i] == key)
            return false;
    }
    visited.keys[i] = key;
    visited.count++;
    return true;
}

static void grow(void)
{
    uint64_t *old = visited.keys;
    size_t old_capacity = visited.capacity;
    visited.capacity = old_capacity ? 2 * old_capacity : 1 << 16;
    visited.keys = calloc(visited.capacity, sizeof *visited.keys);
    coil_assert(visited.keys);
    visited.count = 0;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != 0)
            insert(old[i]);
    }
    free(old);
}

bool visited_add(uint64_t state)
{
    if (2 * visited.count >= visited.capacity)
        grow();
    return insert(state ? state : 1);
}

size_t visited_count(void)
{
    return visited.count;
}

void visited_clear(void)
{
    if (visited.keys)
        memset(visited.keys, 0, visited.capacity * sizeof *visited.keys);
    visited.count = 0;
}

void visited_free(void)
{
    free(visited.keys);
    memset(&visited, 0, sizeof visited);
}
