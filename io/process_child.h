/*
 * process_child.h - what a new process does before it executes its program
 */
#ifndef COIL_IO_PROCESS_CHILD_H
#define COIL_IO_PROCESS_CHILD_H

#include <coil/process.h>
#include <signal.h>

enum coil__child_step {
    COIL__CHILD_STDIO,
    COIL__CHILD_CWD,
    COIL__CHILD_SIGNALS,
    COIL__CHILD_SESSION,
    COIL__CHILD_GROUP,
    COIL__CHILD_USER,
    COIL__CHILD_FDS,
    COIL__CHILD_EXEC,
};

enum { COIL__CHILD_AS_IT_IS = -1 };

/* How far it got. It ends by executing the program, or with an error. */
typedef struct coil__child_report {
    int step;  /* enum coil__child_step */
    int error; /* errno; 0: the program is executed */
} coil__child_report;

typedef struct coil__child {
    const coil_process_options *options;
    const char *paths; /* to execute, the first that can be: strings, one after the other, up to an empty one */
    char *const *argv, *const *env;
    int stdio[3];  /* a descriptor, COIL__CHILD_AS_IT_IS, or COIL_SUBPROCESS_STDOUT */
    int report_fd; /* that the report is written to; -1: none */
    unsigned long mask[1024 / (8 * sizeof(unsigned long))]; /* of signals, the first 64: with `keep_signals` */
    volatile bool here; /* set by the child: the two share memory, and this is the report: */
    volatile coil__child_report report;
} coil__child;

/* For clone(). @child: a coil__child. Does not return. */
int coil__child_main(void *child);

#endif
