/*
 * terminal.h - terminals inside: what becomes of their modes when the process is killed
 */
#ifndef COIL_IO_TERMINAL_H
#define COIL_IO_TERMINAL_H

/*
 * The C handler of signals that end the process while a terminal's modes are changed: restores them, and lets the
 * signal do its work. To others it counts as SIG_DFL.
 */
void coil__terminal_rescue(int number);

#endif
