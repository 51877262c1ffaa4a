/*
 * assert.c - the end of a program that broke a rule
 *
 * Called from any thread, on any stack. One write, no allocation and no stdio lock: the state of the program is not to be
 * trusted any more.
 */
#include "assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void coil__assert_failed(const char *what, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof text, "coil: %s:%d: assertion failed: %s\n", file, line, what);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (write(STDERR_FILENO, text, length) < 0)
        abort(); /* nobody to tell */
    abort();
}
