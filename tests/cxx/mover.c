/*
 * mover.c - mover.h for C++, which cannot read the library's private headers
 */
#include "mover.h"

void cxx_hop(void);
bool cxx_on_two_threads(void (*body)(void));

void cxx_hop(void)
{
    hop();
}

bool cxx_on_two_threads(void (*body)(void))
{
    return on_two_threads(body, NULL);
}
