/*
 * errno_twice.c - reads errno before and after a call that may suspend; tests/errno.sh counts how often it is looked up
 */
#ifdef WITH_COIL
#include <coil/errno.h>
#else
#include <errno.h>
#endif

#ifdef __cplusplus
extern "C"
#endif
int may_suspend(void);
int twice(void);

int twice(void)
{
    int before = errno;
    int rc = may_suspend();
    return before + rc + errno;
}
