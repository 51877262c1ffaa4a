/*
 * model_test.h - what model tests have in common
 *
 * A suite for Check whose cases are explorations: holds() for the code as it is, finds() for code that lacks
 * something, which the explorer must find. Both print what they explored.
 */
#ifndef COIL_MODEL_TEST_H
#define COIL_MODEL_TEST_H

#include "coil_test.h"

#include "explorer.h"

static COIL_TEST_UNUSED void holds(model m)
{
    model_result result = model_explore(&m, true);
    fflush(stdout);
    ck_assert_msg(!result.failure, "%s: %s", m.name, result.failure);
}

static COIL_TEST_UNUSED void finds(model m)
{
    model_result result = model_explore(&m, false);
    fflush(stdout);
    ck_assert_msg(result.failure != NULL, "%s: not found", m.name);
}

/* @m with what is at @p made relaxed; twice at most. */
static COIL_TEST_UNUSED model weaken(model m, const volatile void *p, enum model_mutation mutation)
{
    int i = m.weakened[0].p ? 1 : 0;
    m.weakened[i].p = p;
    m.weakened[i].mutation = mutation;
    return m;
}

#endif
