/* Says that it is ready, waits for a line, makes two million events, says that it is still here. */
#include <stdlib.h>
#include "say.h"

__attribute__((noinline)) static void take_and_give(int size)
{
    void *volatile block = malloc((size_t)size);
    free(block);
}

int main(void)
{
    char line[8];
    say("ready\n");
    if (read(0, line, sizeof line) < 1)
        return 1;
    for (int i = 0; i < 1000000; i++)
        take_and_give(1 + i % 100);
    say("still here after 2000000 events\n");
    return 0;
}
