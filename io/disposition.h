/*
 * disposition.h - what the process does on a signal at the moment; any thread
 */
#ifndef COIL_IO_DISPOSITION_H
#define COIL_IO_DISPOSITION_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether it is this: a handler, SIG_DFL or SIG_IGN. */
static inline bool coil__signal_does(int number, void (*handler)(int))
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == handler;
}

#endif
