/*
 * coil/context.h - context variables: values that follow the flow of control, from a task to those it makes
 *
 * Every task and callback runs in a context; a new task gets a copy of its maker's. A context that the program
 * gives to several may be used by them on several workers at a time; a value that one gets stays as long as no
 * other sets a new one, if it has a drop function. Source: contextvars, PEP 567.
 */
#ifndef COIL_CONTEXT_H
#define COIL_CONTEXT_H

#include <coil/loop.h>
COIL_BEGIN

typedef struct coil_contextvar coil_contextvar;
typedef struct coil_context_token coil_context_token;

/**
 * coil_contextvar_new - a variable
 * @name: copied
 * @drop: called with each value set when no context holds it any more; may be NULL
 */
COIL_ANY_THREAD int coil_contextvar_new(const char *name, void (*drop)(void *), coil_contextvar **var);

/** coil_contextvar_set_default - what get returns in contexts where it was never set. */
COIL_ANY_THREAD void coil_contextvar_set_default(coil_contextvar *var, void *value);

/** coil_contextvar_free - no context may still hold a value of it that is looked at. */
COIL_ANY_THREAD void coil_contextvar_free(coil_contextvar *var);

/** coil_contextvar_get - the value in the current context, borrowed from it. Errors: COIL_ELOOKUP without a default. */
COIL_ANY_THREAD int coil_contextvar_get(coil_contextvar *var, void **value);

/**
 * coil_contextvar_set - change it in the current context
 * @value: borrows until no context holds it; with a drop function: takes
 * @token: gives, for coil_contextvar_reset(); NULL if not wanted
 */
COIL_ANY_THREAD int coil_contextvar_set(coil_contextvar *var, void *value, coil_context_token **token);

/** coil_contextvar_reset - what it was before. Errors: COIL_ERUNTIME the second time, -EINVAL in another context. */
COIL_ANY_THREAD int coil_contextvar_reset(coil_contextvar *var, coil_context_token *token);
COIL_ANY_THREAD void coil_context_token_free(coil_context_token *token);

/** coil_copy_context - a copy of the current context; gives. */
COIL_ANY_THREAD int coil_copy_context(coil_context **context);
COIL_ANY_THREAD coil_context *coil_context_retain(coil_context *context);
COIL_ANY_THREAD void coil_context_release(coil_context *context); /* NULL is allowed */

/** coil_context_run - call @fn(@arg) in @context; returns its result. Errors: COIL_ERUNTIME if it is entered already. */
COIL_ANY_THREAD int coil_context_run(coil_context *context, coil_callback *fn, void *arg);

COIL_END
#endif
