/* What processes.c starts: says who it is, takes a block, exits with 7. */
#include <stdlib.h>
#include "say.h"

__attribute__((noinline)) static void worked(void)
{
    void *block = malloc(888);
    say("child=%d block=%p\n", getpid(), block);
    free(block);
}

int main(void)
{
    worked();
    return 7;
}
