/*
 * depot.c - magazines of free objects; see depot.h
 *
 * I1 under the mutex: magazines[c] chains count[c] magazines of objects of class c
 * I2 count[c] <= DEPOT_MAX: threads that only free do not hoard
 */
#include "depot.h"

#include <pthread.h>

#define DEPOT_MAX 4 /* magazines of a class */

static struct {
    pthread_mutex_t mutex;
    struct coil__object *magazines[COIL__CLASSES];
    uint32_t count[COIL__CLASSES];
} depot = {.mutex = PTHREAD_MUTEX_INITIALIZER};

bool coil__depot_put(size_t class, struct coil__object *magazine)
{
    pthread_mutex_lock(&depot.mutex);
    bool room = depot.count[class] < DEPOT_MAX; /* I2 */
    if (room) {
        magazine->next_magazine = depot.magazines[class];
        depot.magazines[class] = magazine;
        depot.count[class]++;
    }
    pthread_mutex_unlock(&depot.mutex);
    return room;
}

struct coil__object *coil__depot_take(size_t class)
{
    pthread_mutex_lock(&depot.mutex);
    struct coil__object *magazine = depot.magazines[class];
    if (magazine) {
        depot.magazines[class] = magazine->next_magazine;
        depot.count[class]--;
    }
    pthread_mutex_unlock(&depot.mutex);
    return magazine;
}
