/* Marks the start and the end of the program's own run with blocks of odd sizes, and with
 * MARK_MTRACE lets glibc's mtrace log what lies between. Preloaded; its constructor runs after
 * those of the libraries and before those of the program, its destructor the other way round. */
#include <mcheck.h>
#include <stdlib.h>

static void *volatile block; /* volatile: the pair must not be optimised away */

__attribute__((constructor)) static void start(void)
{
    if (getenv("MARK_MTRACE"))
        mtrace();
    block = malloc(424242);
    free(block);
}

__attribute__((destructor)) static void end(void)
{
    block = malloc(434343);
    free(block);
    if (getenv("MARK_MTRACE"))
        muntrace();
}
