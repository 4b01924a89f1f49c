/* A function whose name carries a terminal escape and a carriage return. */
#include <stdlib.h>

void take_evil(void) __asm__("\"evil\033[31mred\rname\"");

__attribute__((noinline)) void take_evil(void)
{
    void *volatile block = malloc(4713);
    free(block);
}

int main(void)
{
    take_evil();
    return 0;
}
