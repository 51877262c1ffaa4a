/*
 * eval.h - evaluating expressions and calling what can be called
 *
 * All calls return 0, or the code of what was raised, which is then the library's current error.
 */
#ifndef SCENARIO_EVAL_H
#define SCENARIO_EVAL_H

#include "program.h"

/* One invocation of a definition. */
typedef struct frame {
    value **locals;
    value *returned;
    coil_error *handled; /* what a bare `raise` raises; borrowed; NULL outside an except part */
    coil_agen *agen;     /* whose body this is; NULL outside an agen */
} frame;

extern _Atomic(value *) *eval_globals;

int eval(frame *frame, const expression *e, value **out);
void eval_assign(frame *frame, const variable *target, value *v);

/* Runs a definition with its arguments, in the caller's task. */
int call_function(const definition *function, const arguments *args, value **out);

/* The same for the body of a generator. */
int call_generator(coil_agen *agen, const definition *function, const arguments *args);

/* A callable value: def, bound method, builtin, partial. */
int call_value(value *callable, const arguments *args, value **out);

/* `await v`: a coroutine value runs on the spot, a future is waited for. */
int await_value(value *v, value **out);

/* The bodies of statements: exec.c. The positive results say how a body was left. */
enum { FLOW_NORMAL, FLOW_BREAK, FLOW_CONTINUE, FLOW_RETURN };
int exec_body(frame *frame, const statement *body);

/* with.c: `with` on a value; the body is run in between. */
int exec_with(frame *frame, const statement *s);

/* --- values as the library wants them: convert.c ----------------------------------------------------------------- */

/* Anything but a coroutine value becomes a coil_coro without a function, which the library refuses as asyncio does. */
coil_coro value_coro(value *v);
coil_awaitable value_awaitable(value *v);

/* A call to be made later by a loop. */
struct later {
    value *callable;
    arguments args;
};
struct later *later_new(value *callable, size_t skip, const arguments *args);
int later_run(void *later);

/* A done callback; the argument is the callable itself, so that equal ones can be removed. */
int done_callback(coil_future *future, void *callable);

const native *method_find(const value *self, const char *name); /* methods.c */
int iterator_next(value *iterator, value **out);                /* combine.c; *out NULL at the end */

/* loops.c: `with` on a Runner */
int runner_enter(struct runner *runner);
int runner_close(struct runner *runner);

/* --- agens.c ----------------------------------------------------------------------------------------------------- */

int agen_make(const definition *function, const arguments *args, value **out);
int agen_yield(const frame *frame, value *v, value **sent);
int agen_iterate(const value *agen, value **out); /* *out NULL at the end */

#endif
