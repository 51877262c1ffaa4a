/*
 * process_spawn.h - starting a program: from options to a pidfd
 */
#ifndef COIL_IO_PROCESS_SPAWN_H
#define COIL_IO_PROCESS_SPAWN_H

#include <coil/process.h>

typedef struct coil__spawned {
    pid_t pid;
    int pidfd;    /* owned */
    int pipes[3]; /* this process's ends, nonblocking; owned; -1 where there is none */
} coil__spawned;

/*
 * @shell: argv[0] is a command. On any thread, which waits until the program is executed. Errors: raised, as
 * coil/process.h says.
 */
int coil__spawn(const coil_process_options *options, bool shell, coil__spawned *spawned);

#endif
