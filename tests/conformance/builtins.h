/*
 * builtins.h - the tables of builtins and methods; each ends with an entry without a name
 */
#ifndef SCENARIO_BUILTINS_H
#define SCENARIO_BUILTINS_H

#include "eval.h"

extern const native value_builtins[];  /* builtins.c */
extern const native loop_builtins[];   /* loops.c */
extern const native task_builtins[];   /* tasks.c */
extern const native combine_builtins[]; /* combine.c */
extern const native object_builtins[]; /* objects.c */
extern const native thread_builtins[]; /* threads.c */
extern const native job_builtins[];    /* jobs.c */

extern const native future_methods[], task_methods[], thread_future_methods[], handle_methods[];
extern const native runner_methods[], var_methods[], context_methods[]; /* methods.c */
extern const native queue_methods[], lock_methods[], event_methods[], condition_methods[];
extern const native semaphore_methods[], barrier_methods[], group_methods[], timeout_methods[]; /* sync.c */
extern const native reader_methods[]; /* streams.c */
extern const native agen_methods[]; /* agens.c */

extern const native jobs[]; /* jobs.c: what executors can be given; called with the arguments after the ticks */

const native *native_find(const native *table, const char *name);

/* Arguments with their types checked: a wrong one ends the program. */
int64_t int_argument(const arguments *args, size_t i, const char *name, int64_t fallback);
int64_t ticks_argument(const arguments *args, size_t i, const char *name); /* None or missing: COIL_FOREVER */
coil_context *context_argument(const arguments *args);                     /* context=, or NULL */
coil_future *future_argument(const arguments *args, size_t i);

/* name= and context= of a task, from position 1 on. */
coil_task_options task_options(const arguments *args);

#endif
