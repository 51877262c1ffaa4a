/*
 * context.h - contexts inside
 */
#ifndef COIL_CONTEXT_INTERNAL_H
#define COIL_CONTEXT_INTERNAL_H

#include <coil/context.h>

/* A copy of the current context, or NULL if that is empty (or, *rc = -ENOMEM, without memory). */
coil_context *coil__context_copy_current(int *rc);

/* @given shared, or a copy of the current one if it is NULL. */
coil_context *coil__context_for(coil_context *given, int *rc);

#endif
