/*
 * load_open.h - coil-loadgen's open loop: messages go at times of their own, whether or not the server keeps up (W11)
 */
#ifndef COIL_PERF_LOAD_OPEN_H
#define COIL_PERF_LOAD_OPEN_H

#include "load.h"

/* Warms up, measures, prints. The connections are open and nothing is under way. 0 or a negative errno. */
int load_open_measure(load *l);

#endif
