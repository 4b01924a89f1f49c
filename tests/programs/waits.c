/* Takes a block, says that it is ready, waits until a signal ends it. */
#include <stdlib.h>
#include "say.h"

static void *volatile block;

__attribute__((noinline)) static void take(void)
{
    block = malloc(4712);
}

int main(void)
{
    take();
    say("ready\n");
    for (;;)
        pause();
}
