/*
 * kernels.h - the table of known-bad kernels
 *
 * Features are found by trying, not by version, but for those that are there and do not work, in ways that trying would
 * not show. Each row names a feature that is not used on a range of versions, and who says so. Read when features are
 * probed and reported, on any thread. COIL_KERNEL_CHECK=0 in the environment leaves the table out of account.
 *
 * I1 a row whose feature is defer_taskrun refuses io_uring as a whole
 */
#ifndef COIL_IO_KERNELS_H
#define COIL_IO_KERNELS_H

#include <coil/base.h>

#define COIL__KERNEL(major, minor, patch) ((unsigned long)(major) << 32 | (unsigned long)(minor) << 16 | (patch))
#define COIL__KERNEL_LAST 0xffffUL /* patch: all of a series */

typedef struct coil__kernel_flaw {
    size_t feature;            /* COIL__FEATURE(...) */
    unsigned long first, last; /* COIL__KERNEL(...), both included */
    const char *what;          /* what is wrong, and the citation */
} coil__kernel_flaw;

/* Ends with a row without `what`. Tests put their own in its place. */
extern const coil__kernel_flaw *coil__kernel_flaws;

/* The number of a release such as "6.1.0-27-amd64"; 0 if it is none. */
unsigned long coil__kernel_number(const char *release);

/* What is wrong with @feature in @release (NULL: the running kernel); NULL: nothing known, or nobody wants to know. */
const char *coil__kernel_flaw_of(size_t feature, const char *release);

#endif
