/* One block of a size that nothing else asks for; prints nothing. */
#include <stdlib.h>

static void *volatile block;

__attribute__((noinline)) static void take(void)
{
    block = malloc(4711);
}

int main(void)
{
    take();
    free(block);
    return 0;
}
