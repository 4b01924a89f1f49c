/* One block from an inlined function, one from a static, one from an exported function. The
 * functions do something with the block, so that no call is a jump. */
#include <stdlib.h>
#include <string.h>

static void *volatile kept;

static inline __attribute__((always_inline)) char *inlined_take(void)
{
    char *block = malloc(5001);
    block[0] = 1;
    return block;
}

__attribute__((noinline)) void around_inlined(void)
{
    char *block = inlined_take();
    block[1] = 2;
    kept = block;
}

__attribute__((noinline)) static void static_take(void)
{
    char *block = malloc(5002);
    block[0] = 1;
    kept = block;
}

__attribute__((noinline)) void exported_take(void)
{
    char *block = malloc(5003);
    block[0] = 1;
    kept = block;
}

int main(void)
{
    around_inlined();
    free(kept);
    static_take();
    free(kept);
    exported_take();
    free(kept);
    return 0;
}
