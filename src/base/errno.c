/*
 * errno.c - the address of errno, hidden from the optimiser
 *
 * Called by users through <coil/errno.h> and by io/, on any thread. The one place that asks the C library.
 *
 * I1 opaque: neither inlined nor looked through, also not at link time, and not constant: each call finds the thread that
 *    it is on
 * Source: glibc's errno.h, where __errno_location() is declared constant.
 */
#include <coil/errno.h>

#if defined(__GNUC__) && !defined(__clang__)
__attribute__((noipa))
#endif
__attribute__((noinline)) int *
coil_errno_location(void)
{
    int *location = __errno_location();
    __asm__ volatile("" : "+r"(location) : : "memory"); /* I1 */
    return location;
}
