/*
 * agens.h - generators for the tests of generators
 *
 * In a trace they are known by their names.
 */
#ifndef COIL_TEST_AGENS_H
#define COIL_TEST_AGENS_H

#include "coil_test.h"

/* Yields 1, 2, 3, and tells how it ends. */
static COIL_TEST_UNUSED int count(coil_agen *g, void *name)
{
    for (intptr_t i = 1; i <= 3; i++) {
        int rc = coil_agen_yield(g, (void *)i, NULL);
        if (rc < 0) {
            note("%s:%s", (char *)name, coil_error_name(rc));
            return rc;
        }
    }
    note("%s:end", (char *)name);
    return 0;
}

/* The same with a clean-up that takes 10 ms. */
static COIL_TEST_UNUSED int tidy(coil_agen *g, void *name)
{
    coil_error *error = coil_catch(count(g, name));
    int rc = coil_sleep(COIL_MS(10));
    note("%s:%s", (char *)name, rc < 0 ? coil_error_name(rc) : "tidy");
    if (rc < 0) {
        coil_error_release(error);
        return rc;
    }
    return coil_raise_error(error);
}

static COIL_TEST_UNUSED coil_agen *agen(coil_agen_fn *fn, const char *name)
{
    coil_agen *g;
    OK(coil_agen_new(fn, (void *)(uintptr_t)name, NULL, name, &g));
    return g;
}

/* A generator that has yielded 1. */
static COIL_TEST_UNUSED coil_agen *begun(coil_agen_fn *fn, const char *name)
{
    void *value;
    coil_agen *g = agen(fn, name);
    OK(coil_agen_next(g, &value));
    ck_assert_int_eq((intptr_t)value, 1);
    return g;
}

static COIL_TEST_UNUSED void close_and_release(coil_agen *g)
{
    OK(coil_agen_close(g));
    coil_agen_release(g);
}

static COIL_TEST_UNUSED int next_of(coil_agen *g)
{
    void *value = NULL;
    int rc = coil_agen_next(g, &value);
    return rc < 0 ? rc : (int)(intptr_t)value;
}

/* Yields 1, 2, 3, each after 10 ms. */
static COIL_TEST_UNUSED int slow(coil_agen *g, void *arg)
{
    (void)arg;
    for (intptr_t i = 1; i <= 3; i++) {
        COIL_TRY(coil_sleep(COIL_MS(10)));
        COIL_TRY(coil_agen_yield(g, (void *)i, NULL));
    }
    return 0;
}

/* Waits for ever after its first value. */
static COIL_TEST_UNUSED int stuck(coil_agen *g, void *name)
{
    COIL_TRY(coil_agen_yield(g, (void *)1, NULL));
    int rc = coil_sleep(COIL_SECONDS(1000));
    note("%s:%s", (char *)name, coil_error_name(rc));
    return rc;
}

/* A task that asks for one value. */
static COIL_TEST_UNUSED int take_one(void *g, void **result)
{
    return coil_agen_next(g, result);
}

#endif
